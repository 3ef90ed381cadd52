//! Objects with known members, and the unknown members that they contain.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, MapAccess, Visitor,
        value::{BorrowedStrDeserializer, CowStrDeserializer, MapAccessDeserializer, UnitDeserializer},
    },
};
use serde_json::value::RawValue;

use super::literal::Word;

/// At most this many unknown members of one object are recorded.
const UNKNOWN_MAX: usize = 32;

/// A wire structure that lists the members which are known but not read.
pub(crate) trait Wire {
    /// Names of members that the format documents and no mapping needs.
    const UNREAD: &'static [&'static str];
}

/// Whether a name is `comparator` in any case. A bound whose comparator is passed over would be stored as a plain number, so
/// what is not understood under this name is refused instead of noted.
pub(crate) fn is_comparator(name: &str) -> bool {
    name.eq_ignore_ascii_case("comparator")
}

/// Whether there is a member `comparator`, in any case, that is not null.
pub(crate) fn has_comparator(unknown: &[(Word<'_>, &RawValue)]) -> bool {
    unknown.iter().any(|(name, value)| is_comparator(&name.0) && value.get() != "null")
}

/// An object (as in [`super::literal::Object`]), and its members that are neither fields of `T` nor in [`Wire::UNREAD`].
pub(crate) struct Noted<'a, T> {
    pub(crate) known: T,
    pub(crate) unknown: Vec<(Word<'a>, &'a RawValue)>,
}

impl<'de: 'a, 'a, T: Wire + Deserialize<'de>> Deserialize<'de> for Noted<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Maps<T>(PhantomData<T>);
        impl<'de, T: Wire + Deserialize<'de>> Visitor<'de> for Maps<T> {
            type Value = Noted<'de, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let mut unknown = Vec::new();
                let members = Members { map, name: Cow::Borrowed(""), unread: T::UNREAD, unknown: &mut unknown };
                let known = T::deserialize(MapAccessDeserializer::new(members))?;
                Ok(Noted { known, unknown })
            }
        }
        let Noted { known, unknown } = deserializer.deserialize_map(Maps(PhantomData))?;
        Ok(Self { known, unknown })
    }
}

/// Passes the members of an object on to a structure, and collects the unknown ones.
struct Members<'n, 'de, A> {
    map: A,
    /// The name of the member whose value comes next.
    name: Cow<'de, str>,
    unread: &'static [&'static str],
    unknown: &'n mut Vec<(Word<'de>, &'de RawValue)>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, 'de, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(Word(name)) = self.map.next_key::<Word<'de>>()? else { return Ok(None) };
        self.name = name;
        match &self.name {
            Cow::Borrowed(name) => seed.deserialize(BorrowedStrDeserializer::new(name)),
            Cow::Owned(name) => seed.deserialize(CowStrDeserializer::new(Cow::Borrowed(name))),
        }
        .map(Some)
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        // A derived implementation requests a zero-sized type (`IgnoredAny`) if and only if it has no field with the name. So
        // the names of known members are not looked up a second time.
        let is_over = self.unknown.len() >= UNKNOWN_MAX && !is_comparator(&self.name);
        if size_of::<V::Value>() > 0 || self.unread.contains(&self.name.as_ref()) || is_over {
            return self.map.next_value_seed(seed);
        }
        let value = self.map.next_value()?;
        self.unknown.push((Word(std::mem::take(&mut self.name)), value));
        seed.deserialize(UnitDeserializer::new())
    }
}
