//! What each table, view and column means, as comments in the database: what a person sees who looks at it with `\d+` or a BI tool.
//!
//! Where an event's field and a column are the same thing, the comment is the documentation of the field in the Avro schema.

pub(crate) mod meaning;
mod texts;

use std::collections::BTreeMap;

use sqlx::{Executor as _, PgConnection};

use crate::reading::meanings;
pub use meaning::Meaning;
use meaning::Schemas;
pub use texts::RELATIONS;

/// A table or view.
#[derive(Debug, Clone, Copy)]
pub struct Relation {
    /// Its name.
    pub name: &'static str,
    /// Whether it is a table or a view.
    pub kind: RelationKind,
    /// What it holds.
    pub text: &'static str,
    /// Its columns.
    pub columns: Columns,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// A table.
    Table,
    /// A view that is no promise to anybody.
    View,
    /// A view that analysts may rely on, and that the reader role reads.
    Contract,
}

/// Where the columns of a relation and their meanings are listed.
#[derive(Debug, Clone, Copy)]
pub enum Columns {
    /// In lists that relations may share.
    Listed(&'static [&'static [(&'static str, Meaning)]]),
    /// Beside how the columns of a reading are written.
    OfReadings,
}

impl Relation {
    fn meanings(&self) -> Vec<(&'static str, Meaning)> {
        match self.columns {
            Columns::Listed(lists) => lists.iter().copied().flatten().copied().collect(),
            Columns::OfReadings => meanings().collect(),
        }
    }
}

/// Writes the comments into the database that are not there yet. Each waits for who has locked its table.
pub(crate) async fn apply(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let schemas = Schemas::read().map_err(|error| sqlx::Error::Decode(error.into()))?;
    let known = known(connection).await?;
    let mut statements = Vec::new();
    for relation in RELATIONS {
        let kind = match relation.kind {
            RelationKind::Table => "TABLE",
            RelationKind::View | RelationKind::Contract => "VIEW",
        };
        let is_known = |column: &str, text: &str| {
            known.get(&(relation.name.to_owned(), column.to_owned())).is_some_and(|there| there == text)
        };
        if !is_known("", relation.text) {
            statements.push(format!("COMMENT ON {kind} {} IS {}", relation.name, quoted(relation.text)));
        }
        for (column, meaning) in relation.meanings() {
            let text =
                schemas.text(meaning).map_err(|field| sqlx::Error::Decode(format!("no schema has {field}").into()))?;
            if !is_known(column, &text) {
                statements.push(format!("COMMENT ON COLUMN {}.{column} IS {}", relation.name, quoted(&text)));
            }
        }
    }
    if !statements.is_empty() {
        connection.execute(statements.join(";").as_str()).await?;
    }
    Ok(())
}

/// The comments that are there, by relation and column; those of relations have an empty column.
async fn known(connection: &mut PgConnection) -> Result<BTreeMap<(String, String), String>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT c.relname::text AS \"relation!\", coalesce(a.attname::text, '') AS \"column!\", d.description AS \"text!\" \
         FROM pg_description d JOIN pg_class c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass \
         LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0 \
         WHERE c.relnamespace = current_schema()::regnamespace"
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| ((row.relation, row.column), row.text)).collect())
}

/// A text as a literal of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
