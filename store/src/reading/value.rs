//! The columns of a value, and the JSON for what has no column.
//!
//! What can be derived is not stored: the source's number when it has the same text as the canonical number, the source's unit when
//! it is the canonical unit, and the code of a coded value as a source value.

use std::borrow::Cow;

use catalogue::decimal::Decimal;
use hex::FromHex as _;
use schemas::event::{Coded, Coding, Component, DocumentReference, Flag, Missing, Quantity, Value, Waveform};
use serde::{Deserialize, Serialize};

use super::unreadable::unknown_word;

/// The columns of a value, as they are written.
#[derive(Default)]
pub(super) struct Cells<'a> {
    pub(super) number: Option<&'a str>,
    pub(super) text: Option<&'a str>,
    pub(super) unit: Option<&'a str>,
    /// Present only when its text differs from that of the number.
    pub(super) source_value: Option<&'a str>,
    /// Present only when it differs from the unit; empty when the source wrote none.
    pub(super) source_unit: Option<&'a str>,
    pub(super) comparator: Option<&'a str>,
    pub(super) absent: Option<Missing>,
    value: Option<&'a Value>,
}

/// The columns of a value, as they are read.
#[derive(Default)]
pub(super) struct StoredCells {
    pub(super) number: Option<String>,
    pub(super) text: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) source_value: Option<String>,
    pub(super) source_unit: Option<String>,
    pub(super) comparator: Option<String>,
    pub(super) absent: Option<Missing>,
}

/// The content of the column `extra`, and of `x` in a component.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Extra<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    coding: Option<StoredCoding<'a>>,
    /// The source's text beside the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boolean: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waveform: Option<StoredWaveform<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<StoredDocument<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    source_codes: Vec<StoredCoding<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredCoding<'a> {
    system: Cow<'a, str>,
    code: Cow<'a, str>,
    display: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
struct StoredWaveform<'a> {
    origin: Cow<'a, str>,
    period_ms: Cow<'a, str>,
    factor: Cow<'a, str>,
    dimensions: i32,
    samples: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
struct StoredDocument<'a> {
    /// Lower-case hexadecimal.
    sha256: Cow<'a, str>,
    content_type: Cow<'a, str>,
    bytes: i64,
    title: Option<Cow<'a, str>>,
}

/// A component in the column `components`: the id of its code, and its value. Numbers are stored as text, because a JSON number
/// would be converted to a float on the way.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredComponent<'a> {
    pub(super) c: i64,
    /// The number.
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<Cow<'a, str>>,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<Cow<'a, str>>,
    /// The unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    u: Option<Cow<'a, str>>,
    /// The source's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<Cow<'a, str>>,
    /// The source's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    su: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmp: Option<Cow<'a, str>>,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<Cow<'a, str>>,
    /// The flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    f: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<Extra<'a>>,
}

impl<'a> Cells<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        let cells = Self { value: Some(value), ..Self::default() };
        match value {
            Value::Quantity(quantity) => {
                let source_unit = quantity.source_unit.as_deref().unwrap_or_default();
                Self {
                    number: Some(&quantity.value),
                    unit: Some(&quantity.unit),
                    source_value: (!reads_like(&quantity.source_value, &quantity.value))
                        .then_some(&quantity.source_value),
                    source_unit: (source_unit != quantity.unit).then_some(source_unit),
                    comparator: quantity.comparator.as_deref(),
                    ..cells
                }
            }
            Value::Text(text) => Self { text: Some(text), ..cells },
            Value::Waveform(wave) => Self { unit: Some(&wave.unit), ..cells },
            Value::Absent(missing) => Self { absent: Some(*missing), ..cells },
            Value::Coded(_) | Value::Boolean(_) | Value::Document(_) => cells,
        }
    }

    /// Returns what must be stored of the value and its codes besides the columns; `None` when there is nothing.
    pub(super) fn extra(&self, source_codes: &'a [Coding]) -> Option<Extra<'a>> {
        let source_codes: Vec<_> = source_codes.iter().map(StoredCoding::of).collect();
        let has_codes = !source_codes.is_empty();
        let extra = Extra { source_codes, ..Extra::default() };
        match self.value {
            Some(Value::Coded(coded)) => Some(Extra {
                coding: Some(StoredCoding::of(&coded.coding)),
                text: coded.text.as_deref().map(Cow::Borrowed),
                ..extra
            }),
            Some(Value::Boolean(truth)) => Some(Extra { boolean: Some(*truth), ..extra }),
            Some(Value::Waveform(wave)) => Some(Extra { waveform: Some(StoredWaveform::of(wave)), ..extra }),
            Some(Value::Document(document)) => Some(Extra { document: Some(StoredDocument::of(document)), ..extra }),
            Some(Value::Quantity(_) | Value::Text(_) | Value::Absent(_)) | None => has_codes.then_some(extra),
        }
    }
}

/// Returns whether Postgres prints the canonical number exactly as the source wrote its number.
fn reads_like(source: &str, canonical: &str) -> bool {
    let digits = canonical.strip_prefix('-').unwrap_or(canonical);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let has_lead = whole.len() > 1 && whole.starts_with('0');
    let is_minus_zero = canonical.starts_with('-') && digits.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    source == canonical && is_number(whole) && is_number(fraction) && !has_lead && !is_minus_zero
}

impl<'a> StoredCoding<'a> {
    fn of(coding: &'a Coding) -> Self {
        Self {
            system: coding.system.as_ref().into(),
            code: coding.code.as_ref().into(),
            display: coding.display.as_deref().map(Cow::Borrowed),
        }
    }
}

impl From<StoredCoding<'static>> for Coding {
    fn from(stored: StoredCoding<'static>) -> Self {
        Self { system: stored.system, code: stored.code, display: stored.display }
    }
}

impl<'a> StoredWaveform<'a> {
    fn of(wave: &'a Waveform) -> Self {
        Self {
            origin: (&wave.origin).into(),
            period_ms: (&wave.period_ms).into(),
            factor: (&wave.factor).into(),
            dimensions: wave.dimensions,
            samples: (&wave.samples).into(),
        }
    }
}

impl<'a> StoredDocument<'a> {
    fn of(document: &'a DocumentReference) -> Self {
        Self {
            sha256: hex::encode(document.sha256).into(),
            content_type: (&document.content_type).into(),
            bytes: document.bytes,
            title: document.title.as_deref().map(Cow::Borrowed),
        }
    }
}

impl StoredCells {
    /// Builds the value from the columns and `extra`.
    pub(super) fn value(self, extra: &mut Extra<'static>) -> Result<Value, sqlx::Error> {
        if let Some(number) = self.number {
            let unit = self.unit.ok_or_else(unknown_word)?;
            let source_unit = self.source_unit.unwrap_or_else(|| unit.clone());
            return Ok(Value::Quantity(Quantity {
                // Postgres writes no exponents.
                value: Decimal::parse(&number).map_err(|_| unknown_word())?.canonical(),
                source_value: self.source_value.unwrap_or(number),
                source_unit: (!source_unit.is_empty()).then_some(source_unit),
                unit: unit.into(),
                comparator: self.comparator,
            }));
        }
        if let Some(coding) = extra.coding.take() {
            let text = extra.text.take().map(Cow::into_owned);
            return Ok(Value::Coded(Coded { coding: coding.into(), text }));
        }
        if let Some(wave) = extra.waveform.take() {
            return Ok(Value::Waveform(Waveform {
                origin: wave.origin.into_owned(),
                unit: self.unit.ok_or_else(unknown_word)?.into(),
                period_ms: wave.period_ms.into_owned(),
                factor: wave.factor.into_owned(),
                dimensions: wave.dimensions,
                samples: wave.samples.into_owned(),
            }));
        }
        if let Some(document) = extra.document.take() {
            return Ok(Value::Document(DocumentReference {
                sha256: <[u8; 32]>::from_hex(document.sha256.as_ref()).map_err(|_| unknown_word())?,
                content_type: document.content_type.into_owned(),
                bytes: document.bytes,
                title: document.title.map(Cow::into_owned),
            }));
        }
        let other = self.text.map(Value::Text).or_else(|| extra.boolean.map(Value::Boolean));
        other.or_else(|| self.absent.map(Value::Absent)).ok_or_else(unknown_word)
    }
}

impl Extra<'static> {
    /// Returns the codes as the source wrote them.
    pub(super) fn source_codes(self) -> Vec<Coding> {
        self.source_codes.into_iter().map(Coding::from).collect()
    }
}

impl StoredComponent<'static> {
    /// Builds the component. `code` is the dictionary entry with the id `c`.
    pub(super) fn component(self, code: Coding) -> Result<Component, sqlx::Error> {
        let owned = |text: Option<Cow<'static, str>>| text.map(Cow::into_owned);
        let mut extra = self.x.unwrap_or_default();
        let cells = StoredCells {
            number: owned(self.n),
            text: owned(self.t),
            unit: owned(self.u),
            source_value: owned(self.s),
            source_unit: owned(self.su),
            comparator: owned(self.cmp),
            absent: self.a.map(|word| Missing::from_word(&word).ok_or_else(unknown_word)).transpose()?,
        };
        let flags = self.f.iter().map(|word| Flag::from_word(word).ok_or_else(unknown_word));
        Ok(Component {
            code,
            value: cells.value(&mut extra)?,
            flags: flags.collect::<Result<_, _>>()?,
            source_codes: extra.source_codes(),
        })
    }
}

/// A placeholder of nineteen digits, which [`padded`] overwrites.
const PLACEHOLDER: i64 = i64::MAX;

/// Appends the components as JSON, and adds the position of the id of each code to `placeholders`.
pub(super) fn write_components(components: &[Component], placeholders: &mut Vec<usize>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, component) in components.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        placeholders.push(out.len() + b"{\"c\":".len());
        let cells = Cells::of(&component.value);
        let stored = StoredComponent {
            c: PLACEHOLDER,
            n: cells.number.map(Cow::Borrowed),
            t: cells.text.map(Cow::Borrowed),
            u: cells.unit.map(Cow::Borrowed),
            s: cells.source_value.map(Cow::Borrowed),
            su: cells.source_unit.map(Cow::Borrowed),
            cmp: cells.comparator.map(Cow::Borrowed),
            a: cells.absent.map(|absent| absent.as_str().into()),
            f: component.flags.iter().map(|flag| flag.as_str().into()).collect(),
            x: cells.extra(&component.source_codes),
        };
        write_json(&stored, out);
    }
    out.push(b']');
}

/// Returns an id as JSON, padded to the length of the placeholder.
#[must_use]
pub fn padded(id: i64) -> String {
    format!("{id:>19}")
}

/// Appends a value as JSON. Writing strings and numbers into memory cannot fail.
pub(super) fn write_json(value: &impl Serialize, out: &mut Vec<u8>) {
    let _infallible = serde_json::to_writer(out, value);
}
