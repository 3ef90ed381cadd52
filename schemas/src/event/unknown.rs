//! What a payload held that this release does not know: the shape of it, never a value.

use sha2::{Digest as _, Sha256};

use crate::{
    codec::{Element, avro_enum, avro_record},
    format::{Format, Provider},
};

avro_enum! {
    /// What is unknown.
    pub enum UnknownKind {
        /// A member or an element that the format is not known to have.
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
    /// Something unknown by its names and types, such as `measurements.newThing{unit:string,value:number}`.
    pub struct Unknown {
        /// The format of the payload.
        pub format: Format,
        /// What is unknown.
        pub kind: UnknownKind,
        /// Names and types. A name that could hold a value is replaced by how long it is.
        pub shape: String,
    }
}

impl Element for Unknown {}

impl Unknown {
    /// 16 hexadecimal digits that name the shape in tables and lists: the first 8 bytes of a SHA-256.
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
