//! What a payload contained that this release does not know: its shape, never a value.

use sha2::{Digest as _, Sha256};

use crate::{
    codec::{Element, avro_enum, avro_record},
    format::{Format, Provider},
};

avro_enum! {
    /// What kind of thing is unknown.
    pub enum UnknownKind {
        /// A JSON member or an XML element that is not known in the format.
        Field = "field",
        /// A type of measurement that is not in the catalogue.
        Metric = "metric",
        /// A unit that is not in the catalogue.
        Unit = "unit",
        /// A code of a code system that is not in the catalogue.
        Code = "code",
    }
}

avro_record! {
    /// Something unknown, described by names and types, such as `measurements.newThing{unit:string,value:number}`.
    pub struct Unknown {
        /// The format of the payload.
        pub format: Format,
        /// What kind of thing is unknown.
        pub kind: UnknownKind,
        /// Names and types. A name that could contain a value is replaced by its length.
        pub shape: String,
    }
}

impl Element for Unknown {}

impl Unknown {
    /// Returns the short name of the shape in tables and lists: the first 8 bytes of a SHA-256 as 16 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self, provider: Provider) -> String {
        let mut hash = Sha256::new();
        for part in [provider.as_str(), self.format.as_str(), self.kind.as_str(), self.shape.as_str()] {
            hash.update(part);
            hash.update([0]);
        }
        hash.finalize().first_chunk::<8>().map(hex::encode).unwrap_or_default()
    }
}
