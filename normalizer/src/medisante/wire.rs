//! The wire format of a Medisanté message.

use std::fmt;

use catalogue::decimal::Decimal;
use schemas::{event::Value, rejection::Reason};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Unexpected, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    json::{Literal, Members, Noted, Object, Wire, Word, has_comparator},
    observed::Series,
    redact,
    refusal::{Refused, refused},
    shape::{ShapeError, shape_error},
};

/// What each required field must be.
pub(super) const REQUIRED: [(&str, &str); 3] =
    [("measurements", "an object"), ("samples", "an array of numbers"), ("frequency", "a number or text")];

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) metadata: Option<Noted<'a, Metadata<'a>>>,
    #[serde(borrow, default)]
    pub(super) device: Option<Noted<'a, Device<'a>>>,
    #[serde(borrow)]
    pub(super) measurements: Members<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(borrow, default)]
    pub(super) correlation_id: Option<Literal<'a>>,
    #[serde(borrow, default)]
    pub(super) received_time: Option<Literal<'a>>,
    #[serde(borrow, default)]
    pub(super) measurement_type: Option<Literal<'a>>,
}

/// A device or a hub. All fields are optional, because senders differ in which they fill. Some write a text of digits as a
/// number.
#[derive(Deserialize)]
pub(super) struct Device<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<Literal<'a>>,
    #[serde(borrow, default, rename = "serialNumber")]
    pub(super) serial_number: Option<Literal<'a>>,
    #[serde(borrow, default, rename = "IMEI")]
    pub(super) imei: Option<Literal<'a>>,
    #[serde(borrow, default)]
    pub(super) manufacturer: Option<Literal<'a>>,
    #[serde(borrow, default)]
    pub(super) model: Option<Literal<'a>>,
}

/// The value of a measurement. A bare number or string is a value without a unit.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measurement<'a> {
    #[serde(borrow, default)]
    pub(super) value: Option<Literal<'a>>,
    #[serde(borrow, default)]
    pub(super) unit: Option<Word<'a>>,
    #[serde(borrow, default)]
    pub(super) is_in_range: Option<InRange<'a>>,
}

/// Whether the value is in the range that the sender expects: a boolean, or a text with one.
pub(super) struct InRange<'a> {
    /// The boolean as it was written.
    pub(super) literal: &'a str,
    pub(super) value: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for InRange<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let literal = <&'de RawValue>::deserialize(deserializer)?.get();
        let is = |word: &str| literal.trim_matches('"').eq_ignore_ascii_case(word);
        match (is("true"), is("false")) {
            (false, false) => Err(D::Error::invalid_type(Unexpected::Other("something else"), &"a boolean")),
            (value, _) => Ok(Self { literal, value }),
        }
    }
}

/// A longer text is not accepted as the value of a measurement.
const TEXT_BYTES_MAX: usize = 4 * 1024;

/// A member of `measurements` or of `documents`, with its item index.
pub(super) struct Member<'m> {
    pub(super) item: u32,
    pub(super) name: &'m str,
    pub(super) raw: &'m RawValue,
}

/// Returns a value that is a boolean or a text and not a number, bare or in an object, and whether it is in the range of the
/// sender. A measurement that the catalogue does not know may have such a value.
pub(super) fn other(raw: &RawValue) -> Option<(Value, Option<InRange<'_>>)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Inner<'a> {
        #[serde(borrow)]
        value: &'a RawValue,
        #[serde(borrow, default)]
        is_in_range: Option<InRange<'a>>,
    }
    let inner = serde_json::from_str::<Object<Inner<'_>>>(raw.get());
    let (inner, is_in_range) = inner.map_or((raw, None), |Object(inner)| (inner.value, inner.is_in_range));
    let value = match serde_json::from_str::<Word<'_>>(inner.get()) {
        Ok(Word(text)) if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX => None,
        Ok(Word(text)) if Decimal::parse(text.trim()).is_ok() => None,
        Ok(Word(text)) => Some(Value::Text(text.into_owned())),
        Err(_) => serde_json::from_str(inner.get()).ok().map(Value::Boolean),
    };
    value.map(|value| (value, is_in_range))
}

/// Samples of an ECG. Medisanté does not document their form, so the plain one is read and every other one is refused.
#[derive(Deserialize)]
pub(super) struct Waveform<'a> {
    #[serde(alias = "values", alias = "data")]
    pub(super) samples: Samples,
    #[serde(borrow, alias = "samplingRate", alias = "sampleRate", alias = "samplingFrequency")]
    pub(super) frequency: Literal<'a>,
    #[serde(borrow, default)]
    pub(super) unit: Option<Word<'a>>,
}

/// The samples as one text, or why a sample is refused. A list of short numbers as separate elements would take many times its
/// bytes.
pub(super) struct Samples(pub(super) Result<Series, Refused>);

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lists;
        impl<'de> Visitor<'de> for Lists {
            type Value = Samples;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Samples, A::Error> {
                let mut series = Ok(Series::default());
                while let Some(Literal(number)) = list.next_element()? {
                    series = series.and_then(|mut series: Series| series.push(&number).map(|()| series));
                }
                Ok(Samples(series))
            }
        }
        deserializer.deserialize_seq(Lists)
    }
}

impl Wire for Message<'_> {
    const UNREAD: &'static [&'static str] = &[];
}

impl Wire for Metadata<'_> {
    const UNREAD: &'static [&'static str] = &["deviceGroups"];
}

impl Wire for Device<'_> {
    const UNREAD: &'static [&'static str] = &["IMSI", "timezone"];
}

impl Wire for Measurement<'_> {
    const UNREAD: &'static [&'static str] = &[];
}

impl Wire for Waveform<'_> {
    const UNREAD: &'static [&'static str] = &[];
}

const BOUND: Refused = refused(
    Reason::ValueInvalid,
    "a measurement has a comparator, which Medisanté does not document; without it the number would mean something else",
);

/// Parses `{value, unit, isInRange}`, or a bare value.
pub(super) fn measurement<'a>(name: &str, raw: &'a RawValue) -> Result<Noted<'a, Measurement<'a>>, Refused> {
    if raw.get() == "null" {
        return Err(refused(Reason::ValueMissing, "a measurement has no value"));
    }
    if raw.get().starts_with('{') {
        let found: Noted<'_, Measurement<'_>> = shaped(name, raw)?;
        return if has_comparator(&found.unknown) { Err(BOUND) } else { Ok(found) };
    }
    let bare = |value| Measurement { value: Some(value), unit: None, is_in_range: None };
    let value = read::<Literal<'_>>(raw).ok_or_else(|| {
        let fault = ShapeError::whole("must be a number, text, or an object with value and unit");
        fault.within(&format!("measurements.{}", redact::name(name))).refused("the payload")
    })?;
    Ok(Noted { known: bare(value), unknown: Vec::new() })
}

/// The text of an identifier, unless it is blank.
pub(super) fn trimmed<'a>(literal: Option<&'a Literal<'_>>) -> Option<&'a str> {
    literal.map(|literal| literal.0.trim()).filter(|text| !text.is_empty())
}

/// The text of a word, unless it is blank.
pub(super) fn text<'a>(word: Option<&'a Word<'_>>) -> Option<&'a str> {
    word.map(|word| word.0.trim()).filter(|text| !text.is_empty())
}

/// Parses a member of `measurements`.
pub(super) fn shaped<'a, T: Deserialize<'a>>(name: &str, raw: &'a RawValue) -> Result<T, Refused> {
    read(raw).ok_or_else(|| {
        let fault = shape_error::<T>(raw.get()).expecting(&REQUIRED);
        fault.within(&format!("measurements.{}", redact::name(name))).refused("the payload")
    })
}

pub(super) fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}
