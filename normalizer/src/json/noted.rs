//! Objects whose members are known, and what else they hold.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor,
        value::{BorrowedStrDeserializer, CowStrDeserializer},
    },
};
use serde_json::value::RawValue;

use super::Word;

/// Unknown members beyond this many of one object are not noted.
const UNKNOWN_MAX: usize = 32;

/// The fields of a wire structure, and which members are known and not read.
pub(crate) trait Wire {
    /// Names of members that the format documents and no mapping needs.
    const UNREAD: &'static [&'static str];
}

/// An object (as [`super::Object`]) and those of its members that are neither fields of `T` nor of [`Wire::UNREAD`].
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
                let known = T::deserialize(Fields { map, unread: T::UNREAD, unknown: &mut unknown })?;
                Ok(Noted { known, unknown })
            }
        }
        let Noted { known, unknown } = deserializer.deserialize_map(Maps(PhantomData))?;
        Ok(Self { known, unknown })
    }
}

/// Asked by a derived implementation for a structure, it learns the names of its fields.
struct Fields<'n, 'de, A> {
    map: A,
    unread: &'static [&'static str],
    unknown: &'n mut Vec<(Word<'de>, &'de RawValue)>,
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for Fields<'_, 'de, A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, A::Error> {
        Err(A::Error::custom("only a structure has known members"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        visitor.visit_map(Sifted { fields, of: self })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The members that the structure has; the others are put aside as they come.
struct Sifted<'n, 'de, A> {
    fields: &'static [&'static str],
    of: Fields<'n, 'de, A>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Sifted<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(Word(name)) = self.of.map.next_key::<Word<'de>>()? {
            if self.fields.contains(&name.as_ref()) {
                return match name {
                    Cow::Borrowed(name) => seed.deserialize(BorrowedStrDeserializer::new(name)),
                    Cow::Owned(_) => seed.deserialize(CowStrDeserializer::new(name)),
                }
                .map(Some);
            }
            if self.of.unread.contains(&name.as_ref()) || self.of.unknown.len() >= UNKNOWN_MAX {
                self.of.map.next_value::<IgnoredAny>()?;
            } else {
                let value = self.of.map.next_value()?;
                self.of.unknown.push((Word(name), value));
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.of.map.next_value_seed(seed)
    }
}
