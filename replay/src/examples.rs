//! Example values of differences, for an operator who asks to see them. They are never stored.

use std::collections::BTreeMap;

use schemas::event::{Reading, Value};
use serde::Serialize;

/// The number of examples for each kind of difference, code and device.
const EXAMPLES_MAX: usize = 3;

/// A difference with the values before and after.
#[derive(Clone, Serialize)]
pub struct Example {
    /// How it differs.
    pub kind: &'static str,
    /// The code.
    pub code: String,
    /// The device.
    pub device: Option<String>,
    /// The receipt of the payload.
    pub receipt: String,
    /// The stored value; `None` if none is stored.
    pub before: Option<String>,
    /// The value that the mapping produces.
    pub after: String,
}

/// Collects examples.
#[derive(Default)]
pub(crate) struct Examples(BTreeMap<(&'static str, String, Option<String>), Vec<Example>>);

impl Examples {
    pub(crate) fn add(
        &mut self,
        kind: &'static str,
        before: Option<&Reading>,
        after: &Reading,
        receipt: impl Fn() -> String,
    ) {
        let device = after.device.as_ref().map(|device| device.id.as_str().to_owned());
        let code = after.code.code.to_string();
        let examples = self.0.entry((kind, code.clone(), device.clone())).or_default();
        if examples.len() < EXAMPLES_MAX {
            let (before, after) = (before.map(text), text(after));
            examples.push(Example { kind, code, device, receipt: receipt(), before, after });
        }
    }

    pub(crate) fn into_list(self) -> Vec<Example> {
        self.0.into_values().flatten().collect()
    }
}

/// The value of a reading as one line.
fn text(reading: &Reading) -> String {
    let all = std::iter::once(&reading.value).chain(reading.components.iter().map(|component| &component.value));
    all.filter_map(value_text).collect::<Vec<_>>().join(", ")
}

fn value_text(value: &Value) -> Option<String> {
    match value {
        Value::Quantity(quantity) => {
            Some(format!("{}{} {}", quantity.comparator.as_deref().unwrap_or_default(), quantity.value, quantity.unit))
        }
        Value::Coded(coded) => Some(coded.coding.code.to_string()),
        Value::Text(text) => Some(text.clone()),
        Value::Boolean(is_true) => Some(is_true.to_string()),
        Value::Waveform(_) => Some("a waveform".to_owned()),
        Value::Document(_) => Some("a document".to_owned()),
        Value::Absent(_) => None,
    }
}
