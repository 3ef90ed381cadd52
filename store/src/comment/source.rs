//! The text of the comment on one column.

use schemas::{
    codec::Event as _,
    event::{Assignment, Document, Outcome, Reading},
    format::RawTopic,
};
use serde_json::Value;

/// Where the text of the comment on a column comes from.
#[derive(Debug, Clone, Copy)]
pub enum CommentSource {
    /// The documentation of a field of an event, by the names of the record and of the field.
    Field(&'static str, &'static str),
    /// The given text.
    Text(&'static str),
    /// The text for a column with the number of a raw topic.
    TopicCode,
}

/// The schemas of the events, which contain the documentation of their fields.
pub(super) struct Schemas(Vec<Value>);

impl Schemas {
    pub(super) fn read() -> Result<Self, serde_json::Error> {
        let texts = [Reading::SCHEMA, Assignment::SCHEMA, Document::SCHEMA, Outcome::SCHEMA];
        texts.into_iter().map(serde_json::from_str).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the text of the comment.
    ///
    /// # Errors
    /// The names of the record and the field, when no schema has the field.
    pub(super) fn text(&self, source: CommentSource) -> Result<String, String> {
        match source {
            CommentSource::Text(text) => Ok(text.to_owned()),
            CommentSource::TopicCode => {
                let topics: Vec<_> =
                    RawTopic::ALL.iter().map(|topic| format!("{} {}", topic.code(), topic.as_str())).collect();
                Ok(format!("The raw topic: {}.", topics.join(", ")))
            }
            CommentSource::Field(record, field) => {
                let found = self.0.iter().find_map(|schema| documentation_in(schema, record, field));
                found.map(|text| of_column(&text)).ok_or_else(|| format!("{record}.{field}"))
            }
        }
    }
}

/// What the documentation of a field says of the notation in an event, and what holds of the column instead. A column has a type of
/// its own, such as `timestamptz`.
const NOTATIONS: [(&str, &str); 4] = [
    (", microseconds since the epoch", ""),
    (", as decimal text", ""),
    ("; absent ", "; null "),
    (". Absent ", ". Null "),
];

fn of_column(documentation: &str) -> String {
    NOTATIONS
        .into_iter()
        .fold(documentation.to_owned(), |text, (of_event, of_column)| text.replace(of_event, of_column))
}

fn documentation_in(schema: &Value, record: &str, field: &str) -> Option<String> {
    let fields = schema.get("fields").and_then(Value::as_array);
    if schema.get("name").and_then(Value::as_str) == Some(record)
        && let Some(found) = fields.and_then(|fields| {
            fields.iter().find(|field_schema| field_schema.get("name").is_some_and(|name| name == field))
        })
    {
        return found.get("doc")?.as_str().map(str::to_owned);
    }
    match schema {
        Value::Object(members) => members.values().find_map(|member| documentation_in(member, record, field)),
        Value::Array(elements) => elements.iter().find_map(|element| documentation_in(element, record, field)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
