//! Objects whose member names are data, or are known only in part.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Unexpected, Visitor},
};
use serde_json::value::RawValue;

use super::literal::Word;

/// More members than any object of a payload has. An object with more is refused, because each name is compared with all before
/// it.
const MEMBERS_MAX: usize = 1_000;

/// The members of an object in their order. An object with two members of the same name is refused, because it is unclear which
/// of them the sender meant. Names are compared without regard to ASCII case.
pub(crate) struct Members<'a>(pub(crate) Vec<(Word<'a>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Returns the member with this name, without regard to ASCII case.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
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
                        return Err(A::Error::invalid_length(members.len(), &"an object of at most 1,000 members"));
                    }
                    if members.iter().any(|(found, _)| found.0.eq_ignore_ascii_case(&name.0)) {
                        return Err(A::Error::invalid_value(Unexpected::Map, &"an object whose names differ"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Maps)
    }
}
