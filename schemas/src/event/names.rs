//! Identifiers that other systems chose. They are checked once, when they are read.

use std::sync::Arc;

use crate::codec::{Datum, DecodeError, Input};

/// Why a text is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty or only white space.
    #[error("is empty")]
    Empty,
    /// The text has more than 256 bytes.
    #[error("is longer than 256 bytes")]
    TooLong,
    /// The text has a control character (U+0000 to U+001F, U+007F to U+009F).
    #[error("has a control character")]
    Control,
}

fn check(text: &str) -> Result<&str, NameError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > 256 {
        return Err(NameError::TooLong);
    }
    if text.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(text)
}

macro_rules! name {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Accepts 1 to 256 bytes without control characters, after white space at both ends is removed.
            ///
            /// # Errors
            /// [`NameError`] with the rule that is broken. The error does not contain the text.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check(text).map(|text| Self(text.into()))
            }

            /// Returns the identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Datum for $name {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }

            fn read(input: &mut Input<'_>) -> Result<Self, DecodeError> {
                Self::parse(input.text()?).map_err(|_| DecodeError::Domain)
            }
        }
    };
}

name! {
    /// A device's identifier as its provider writes it (Medisanté `device.id`, IMEI or serial number; an app's device id;
    /// a FHIR Device identifier). Unique only within the provider.
    DeviceId
}
name! {
    /// A patient's identifier in the organisation that operates the installation.
    PatientId
}
name! {
    /// The stable name of a sender, which the keys that replace each other share. It is a part of a reading's identity.
    SourceName
}
