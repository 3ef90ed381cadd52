//! What each table, view and column means, as comments in the database: what a person sees who looks at it with `\d+` or a BI tool.
//!
//! Where an event's field and a column are the same thing, the comment is the documentation of the field in the Avro schema.

mod texts;

use std::collections::BTreeMap;

use schemas::{
    codec::Event as _,
    event::{Assignment, Document, Outcome, Reading},
};
use serde_json::Value;
use sqlx::{Executor as _, PgConnection};

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
    /// Its columns, as lists that relations may share.
    pub columns: &'static [&'static [(&'static str, Meaning)]],
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

/// What a column means.
#[derive(Debug, Clone, Copy)]
pub enum Meaning {
    /// What a field of an event means, by the record's name and the field's.
    Field(&'static str, &'static str),
    /// This.
    Text(&'static str),
}

impl Meaning {
    /// The text.
    ///
    /// # Errors
    /// The name of the field, where no schema has it.
    pub fn text(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.to_owned()),
            Self::Field(record, field) => documentation(record, field).ok_or_else(|| format!("{record}.{field}")),
        }
    }
}

/// The documentation of a field in the schemas of the events.
fn documentation(record: &str, field: &str) -> Option<String> {
    [Reading::SCHEMA, Assignment::SCHEMA, Document::SCHEMA, Outcome::SCHEMA]
        .into_iter()
        .find_map(|schema| documentation_in(&serde_json::from_str(schema).ok()?, record, field))
}

fn documentation_in(schema: &Value, record: &str, field: &str) -> Option<String> {
    let fields = schema.get("fields").and_then(Value::as_array);
    if schema.get("name").and_then(Value::as_str) == Some(record)
        && let Some(found) =
            fields.and_then(|fields| fields.iter().find(|one| one.get("name").is_some_and(|name| name == field)))
    {
        return found.get("doc")?.as_str().map(str::to_owned);
    }
    match schema {
        Value::Object(members) => members.values().find_map(|member| documentation_in(member, record, field)),
        Value::Array(elements) => elements.iter().find_map(|element| documentation_in(element, record, field)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Writes the comments into the database that are not there yet. Each waits for who has locked its table.
pub(crate) async fn apply(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
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
        for (column, meaning) in relation.columns.iter().copied().flatten() {
            let text = meaning.text().map_err(|field| sqlx::Error::Decode(format!("no schema has {field}").into()))?;
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
