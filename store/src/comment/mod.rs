//! Comments in the database on each table, view and column, as `\d+` of psql or a BI tool shows them.
//!
//! When a column has the content of a field of an event, the comment is the documentation of that field in the Avro schema.

pub(crate) mod source;
mod texts;

use std::collections::BTreeMap;

use sqlx::{Executor as _, PgConnection};

use crate::reading::column_comments;
pub use source::CommentSource;
use source::Schemas;
pub use texts::RELATIONS;

/// A table or view.
#[derive(Debug, Clone, Copy)]
pub struct Relation {
    /// Its name.
    pub name: &'static str,
    /// The kind of relation.
    pub kind: RelationKind,
    /// The comment on the relation.
    pub text: &'static str,
    /// Its columns.
    pub columns: Columns,
}

/// The kind of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// A table.
    Table,
    /// A view that is not part of the contract with analysts.
    View,
    /// A view of the contract: analysts may rely on it, and the reader role may read it.
    Contract,
}

/// The columns of a relation and the sources of their comments.
#[derive(Debug, Clone, Copy)]
pub enum Columns {
    /// Lists of columns, which relations may share.
    Listed(&'static [&'static [(&'static str, CommentSource)]]),
    /// The columns of a reading, which are defined in [`crate::reading`], and when it was stored.
    OfReadings,
    /// The same, and when the reading was replaced.
    ReplacedReadings,
}

impl Relation {
    fn column_comments(&self) -> Vec<(&'static str, CommentSource)> {
        match self.columns {
            Columns::Listed(lists) => lists.iter().copied().flatten().copied().collect(),
            Columns::OfReadings => column_comments().chain(texts::OF_STORING.iter().copied()).collect(),
            Columns::ReplacedReadings => column_comments().chain(texts::OF_REPLACING.iter().copied()).collect(),
        }
    }
}

/// Writes the comments that are missing or different in the database. Each `COMMENT` waits until its table is not locked.
pub(crate) async fn apply(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let schemas = Schemas::read().map_err(|error| sqlx::Error::Decode(error.into()))?;
    let existing = existing_comments(connection).await?;
    let mut statements = Vec::new();
    for relation in RELATIONS {
        let kind = match relation.kind {
            RelationKind::Table => "TABLE",
            RelationKind::View | RelationKind::Contract => "VIEW",
        };
        let is_known = |column: &str, text: &str| {
            existing.get(&(relation.name.to_owned(), column.to_owned())).is_some_and(|there| there == text)
        };
        if !is_known("", relation.text) {
            statements.push(format!("COMMENT ON {kind} {} IS {}", relation.name, quoted(relation.text)));
        }
        for (column, source) in relation.column_comments() {
            let text =
                schemas.text(source).map_err(|field| sqlx::Error::Decode(format!("no schema has {field}").into()))?;
            if !is_known(column, &text) {
                statements.push(format!("COMMENT ON COLUMN {}.{column} IS {}", relation.name, quoted(&text)));
            }
        }
    }
    statements.push(format!(
        "COMMENT ON FUNCTION readings_as_of IS {}",
        quoted("The rows of attributed_readings as they were at a time: what was stored then, attributed by the assignments that were stored then. With a patient, only the rows of this patient.")
    ));
    if !statements.is_empty() {
        connection.execute(statements.join(";").as_str()).await?;
    }
    Ok(())
}

/// Returns the existing comments by relation and column. The column of a comment on a relation is empty.
async fn existing_comments(connection: &mut PgConnection) -> Result<BTreeMap<(String, String), String>, sqlx::Error> {
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

/// Quotes a text as an SQL literal.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
