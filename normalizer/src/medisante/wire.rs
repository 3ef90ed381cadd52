//! A Medisanté message as it arrives.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::json::{Literal, Object, Word};

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) metadata: Option<Object<Metadata<'a>>>,
    #[serde(borrow, default)]
    pub(super) device: Option<Object<Device<'a>>>,
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
}

/// A device or a hub. Some senders leave out what others fill, and write identifiers of digits as numbers.
#[derive(Deserialize)]
pub(super) struct Device<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<Literal<'a>>,
    #[serde(borrow, default, rename = "serialNumber")]
    pub(super) serial_number: Option<Literal<'a>>,
    #[serde(borrow, default, rename = "IMEI")]
    pub(super) imei: Option<Literal<'a>>,
    #[serde(borrow, default)]
    pub(super) manufacturer: Option<Word<'a>>,
    #[serde(borrow, default)]
    pub(super) model: Option<Word<'a>>,
}

/// A measurement's value. A bare number or string is a value without a unit.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measurement<'a> {
    #[serde(borrow, default)]
    pub(super) value: Option<Literal<'a>>,
    #[serde(borrow, default)]
    pub(super) unit: Option<Word<'a>>,
    #[serde(borrow, default)]
    pub(super) is_in_range: Option<&'a RawValue>,
}

/// Samples of an ECG: Medisanté documents no form, so the plain one is read and every other is refused.
#[derive(Deserialize)]
pub(super) struct Waveform<'a> {
    #[serde(borrow, alias = "values", alias = "data")]
    pub(super) samples: Vec<Literal<'a>>,
    #[serde(borrow, alias = "samplingRate", alias = "sampleRate", alias = "samplingFrequency")]
    pub(super) frequency: Literal<'a>,
    #[serde(borrow, default)]
    pub(super) unit: Option<Word<'a>>,
}

/// More members than any message has; each is compared with those before it.
const MEMBERS_MAX: usize = 1_000;

/// The members of an object in their order. Two members of one name are refused: nobody knows which of them the sender
/// meant. Names differ only if they do without regard to ASCII case.
pub(super) struct Members<'a>(pub(super) Vec<(Word<'a>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The member whose name is this one, without regard to ASCII case.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(found, _)| found.0.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Maps;
        impl<'de> Visitor<'de> for Maps {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members: Vec<(Word<'de>, &'de RawValue)> = Vec::with_capacity(8);
                while let Some((name, value)) = map.next_entry::<Word<'de>, &'de RawValue>()? {
                    if members.len() >= MEMBERS_MAX {
                        return Err(A::Error::custom("too many members"));
                    }
                    if members.iter().any(|(found, _)| found.0.eq_ignore_ascii_case(&name.0)) {
                        return Err(A::Error::custom("two members of one name"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Maps)
    }
}
