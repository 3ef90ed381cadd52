//! Units: their spellings, and their conversions into the base unit of their property.

use crate::{
    decimal::Conversion,
    index::{Index, SPELLING_BYTES_MAX, folded},
};

/// One UCUM unit.
pub struct Unit {
    pub(crate) ucum: String,
    pub(crate) property: String,
    pub(crate) to_base: Conversion,
    pub(crate) exact: Vec<String>,
    pub(crate) names: Vec<String>,
}

impl Unit {
    /// Returns the unit, in UCUM.
    #[must_use]
    pub fn ucum(&self) -> &str {
        &self.ucum
    }

    /// Returns the kind of quantity that the unit measures, such as `mass concentration`.
    #[must_use]
    pub fn property(&self) -> &str {
        &self.property
    }

    /// Returns the conversion into the base unit of its property.
    #[must_use]
    pub fn to_base(&self) -> &Conversion {
        &self.to_base
    }

    /// Returns the other spellings that are matched exactly.
    #[must_use]
    pub fn exact(&self) -> &[String] {
        &self.exact
    }

    /// Returns the spellings that are matched without regard to ASCII case.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// All units, and the positions of the units by their spellings.
#[derive(Default)]
pub(crate) struct Units {
    pub(crate) all: Vec<Unit>,
    pub(crate) exact: Index,
    pub(crate) names: Index,
}

impl Units {
    pub(crate) fn ucum(&self, position: usize) -> Option<&str> {
        self.all.get(position).map(|unit| unit.ucum.as_str())
    }

    pub(crate) fn position(&self, spelling: &str) -> Option<usize> {
        let spelling = spelling.trim_ascii();
        self.spelled(spelling).or_else(|| {
            let brackets = match spelling {
                _ if spelling.contains('{') => Brackets { open: b'{', close: b'}' },
                // HealthKit writes the molar mass after `mol`, with a varying number of digits (HKUnit, unitFromString:).
                _ if spelling.contains("mol<") => Brackets { open: b'<', close: b'>' },
                _ => return None,
            };
            without(spelling, &brackets, |bare| self.spelled(bare))
        })
    }

    fn spelled(&self, spelling: &str) -> Option<usize> {
        self.exact.get(spelling).copied().or_else(|| folded(spelling, |name| self.names.get(name).copied()))
    }
}

/// The brackets around text that is not part of the unit.
struct Brackets {
    open: u8,
    close: u8,
}

/// Removes bracketed text, such as UCUM's `{annotations}`. A spelling that is only an annotation is the unit `1`.
fn without<T>(spelling: &str, brackets: &Brackets, find: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let mut buffer = [0_u8; SPELLING_BYTES_MAX];
    let (mut length, mut inside) = (0_usize, false);
    for byte in spelling.bytes() {
        match byte {
            _ if byte == brackets.open && !inside => inside = true,
            _ if byte == brackets.close && inside => inside = false,
            _ if byte == brackets.open || byte == brackets.close => return None,
            _ if inside => {}
            _ => {
                *buffer.get_mut(length)? = byte;
                length += 1;
            }
        }
    }
    let bare = if inside { return None } else { std::str::from_utf8(buffer.get(..length)?).ok()? };
    find(if bare.is_empty() { "1" } else { bare })
}
