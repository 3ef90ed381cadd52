//! Macros that declare Avro types as Rust types.

/// Declares an Avro record. The fields are encoded in the order of the declaration, which is the order in the `.avsc` file.
/// The type deliberately has no `Debug`, because events contain health data (ARCHITECTURE.md, "Invariants").
macro_rules! avro_record {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash, serde::Serialize)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type),+ }

        impl $crate::codec::Datum for $name {
            fn write(&self, out: &mut Vec<u8>) { $($crate::codec::Datum::write(&self.$field, out);)+ }

            fn read(input: &mut $crate::codec::Input<'_>) -> Result<Self, $crate::codec::DecodeError> {
                Ok(Self { $($field: $crate::codec::Datum::read(input)?),+ })
            }
        }
    };
}

/// Declares an Avro enum. The word of a value is its text in JSON and SQL; its Avro symbol is the word with `_` for `-` and `.`.
macro_rules! avro_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }

        impl $name {
            /// All values in the order of the schema's symbols.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the word used in JSON, SQL and documentation.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Returns the value that has this word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl $crate::codec::Datum for $name {
            fn write(&self, out: &mut Vec<u8>) { $crate::codec::Datum::write(&(*self as i32), out); }

            fn read(input: &mut $crate::codec::Input<'_>) -> Result<Self, $crate::codec::DecodeError> {
                let index: i32 = $crate::codec::Datum::read(input)?;
                usize::try_from(index)
                    .ok()
                    .and_then(|index| Self::ALL.get(index).copied())
                    .ok_or($crate::codec::DecodeError::Branch)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

/// Declares an Avro union of named branches, in the order of the declaration.
macro_rules! avro_union {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident($type:ty) = $index:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash, serde::Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_meta])* $variant($type)),+ }

        impl $crate::codec::Datum for $name {
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(value) => {
                        $crate::codec::Datum::write(&$index, out);
                        $crate::codec::Datum::write(value, out);
                    })+
                }
            }

            fn read(input: &mut $crate::codec::Input<'_>) -> Result<Self, $crate::codec::DecodeError> {
                let index: i64 = $crate::codec::Datum::read(input)?;
                match index {
                    $($index => $crate::codec::Datum::read(input).map(Self::$variant),)+
                    _ => Err($crate::codec::DecodeError::Branch),
                }
            }
        }
    };
}

pub(crate) use {avro_enum, avro_record, avro_union};
