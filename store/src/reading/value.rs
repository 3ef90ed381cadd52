//! A value spread over the columns, and the JSON of what has no column.

use std::borrow::Cow;

use schemas::{
    event::{Coding, Component, Flag, Missing, Value},
    hex,
};
use serde::Serialize;

/// The cells of one value.
#[derive(Default)]
pub(super) struct Cells<'a> {
    pub(super) number: Option<&'a str>,
    pub(super) text: Option<Cow<'a, str>>,
    pub(super) unit: Option<&'a str>,
    pub(super) source_value: Option<&'a str>,
    pub(super) source_unit: Option<&'a str>,
    pub(super) comparator: Option<&'a str>,
    pub(super) absent: Option<Missing>,
    rest: Option<Rest<'a>>,
}

/// What a value has beside its cells.
enum Rest<'a> {
    Coded { coding: &'a Coding, text: Option<&'a str> },
    Waveform(WaveformRest<'a>),
    Document(DocumentRest<'a>),
}

/// The columns `extra` and, in a component, `x`.
#[derive(Default, Serialize)]
pub(super) struct Extra<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    coding: Option<&'a Coding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waveform: Option<WaveformRest<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<DocumentRest<'a>>,
    #[serde(skip_serializing_if = "<[Coding]>::is_empty")]
    source_codes: &'a [Coding],
}

#[derive(Serialize)]
struct WaveformRest<'a> {
    origin: &'a str,
    period_ms: &'a str,
    factor: &'a str,
    dimensions: i32,
}

#[derive(Serialize)]
struct DocumentRest<'a> {
    content_type: &'a str,
    bytes: i64,
    title: Option<&'a str>,
}

/// A component in the column `components`. The number is text: JSON's own would pass through a float on the way.
#[derive(Serialize)]
struct Part<'a> {
    c: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    u: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    su: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<Missing>,
    #[serde(skip_serializing_if = "<[Flag]>::is_empty")]
    f: &'a [Flag],
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<Extra<'a>>,
}

impl<'a> Cells<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        let mut cells = Self::default();
        match value {
            Value::Quantity(quantity) => {
                cells.number = Some(&quantity.value);
                cells.unit = Some(&quantity.unit);
                cells.source_value = Some(&quantity.source_value);
                cells.source_unit = quantity.source_unit.as_deref();
                cells.comparator = quantity.comparator.as_deref();
            }
            Value::Coded(coded) => {
                let text = coded.coding.display.as_deref().or(coded.text.as_deref()).unwrap_or(&coded.coding.code);
                cells.text = Some(text.into());
                cells.source_value = Some(&coded.coding.code);
                cells.rest = Some(Rest::Coded { coding: &coded.coding, text: coded.text.as_deref() });
            }
            Value::Text(text) => cells.text = Some(text.into()),
            Value::Boolean(truth) => cells.text = Some(if *truth { "true" } else { "false" }.into()),
            Value::Waveform(wave) => {
                cells.text = Some((&wave.samples).into());
                cells.unit = Some(&wave.unit);
                cells.rest = Some(Rest::Waveform(WaveformRest {
                    origin: &wave.origin,
                    period_ms: &wave.period_ms,
                    factor: &wave.factor,
                    dimensions: wave.dimensions,
                }));
            }
            Value::Document(document) => {
                cells.text = Some(hex::encode(&document.sha256).into());
                cells.rest = Some(Rest::Document(DocumentRest {
                    content_type: &document.content_type,
                    bytes: document.bytes,
                    title: document.title.as_deref(),
                }));
            }
            Value::Absent(missing) => cells.absent = Some(*missing),
        }
        cells
    }

    /// What else is to be kept of the value and its codes; none when that is nothing.
    pub(super) fn extra(&mut self, source_codes: &'a [Coding]) -> Option<Extra<'a>> {
        let extra = Extra { source_codes, ..Extra::default() };
        match self.rest.take() {
            None => (!source_codes.is_empty()).then_some(extra),
            Some(Rest::Coded { coding, text }) => Some(Extra { coding: Some(coding), text, ..extra }),
            Some(Rest::Waveform(waveform)) => Some(Extra { waveform: Some(waveform), ..extra }),
            Some(Rest::Document(document)) => Some(Extra { document: Some(document), ..extra }),
        }
    }
}

/// Nineteen digits, to be written over by [`padded`].
const BLANK: i64 = i64::MAX;

/// Appends the components, and notes where the number of each one's code belongs.
pub(super) fn components(parts: &[Component], blanks: &mut Vec<usize>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        blanks.push(out.len() + b"{\"c\":".len());
        let mut cells = Cells::of(&part.value);
        let x = cells.extra(&part.source_codes);
        let part = Part {
            c: BLANK,
            n: cells.number,
            t: cells.text.as_deref(),
            u: cells.unit,
            s: cells.source_value,
            su: cells.source_unit,
            cmp: cells.comparator,
            a: cells.absent,
            f: &part.flags,
            x,
        };
        write(&part, out);
    }
    out.push(b']');
}

/// A number as JSON in as many bytes as the blank has.
pub(crate) fn padded(number: i64) -> String {
    format!("{number:>19}")
}

/// Appends JSON text. Strings and numbers into memory: there is nothing that could fail.
pub(super) fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    let _infallible = serde_json::to_writer(out, value);
}
