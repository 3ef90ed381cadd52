//! Deterministic names: the keys of devices, the ids of readings, and the hashes of contents.
//!
//! The id of a reading is computed only from what the source wrote, never from a mapped output, so that a retry, a redelivery, a
//! replay and a better mapping produce the same id. It includes the [`TrustScope`], so that no sender can overwrite the reading of
//! another sender. All parts are length-prefixed, so that two different lists of parts never produce the same bytes.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::{
    event::{DeviceId, PatientId, SourceName},
    format::Provider,
};

/// The UUID namespace of device keys.
const DEVICE: Uuid = Uuid::from_u128(0x6b1c_6f0c_9f0e_5d39_8f7a_2f64_3b85_5a11);
/// The UUID namespace of reading ids.
const READING: Uuid = Uuid::from_u128(0x2a45_7c3e_04fb_5b7e_9c53_71d0_cf44_9e02);

/// Returns the `_id` of a device: UUIDv5 (RFC 9562, section 5.5) over its provider and its id at that provider.
#[must_use]
pub fn device_key(provider: Provider, id: &DeviceId) -> Uuid {
    let mut name = Parts::default();
    name.push(provider.as_str());
    name.push(id.as_str());
    name.uuid(DEVICE)
}

/// The patient or sender within whose readings the identity of an observation is unique.
#[derive(Clone, Copy)]
pub enum TrustScope<'a> {
    /// The patient that the request authenticated.
    Subject(&'a PatientId),
    /// The stable name of the credential.
    Source(&'a SourceName),
}

/// What identifies an observation: the source's own stable id where there is one, else its literals.
#[derive(Clone, Copy)]
pub enum Identity<'a> {
    /// A HealthKit sample UUID; a FHIR identifier (system and value) or a FHIR id with its server; a Medisanté correlation id
    /// with the metric.
    Stable(&'a [&'a str]),
    /// Device, type, time and value as the source wrote them. For Apple's times the instant is used instead, because a second
    /// export of the same history may write it with another offset.
    Literals(&'a [&'a str]),
}

/// Returns the id of a reading: UUIDv5 over the trust scope, the provider and the identity.
#[must_use]
pub fn reading_id(scope: TrustScope<'_>, provider: Provider, identity: Identity<'_>) -> Uuid {
    let mut name = Parts::default();
    match scope {
        TrustScope::Subject(patient) => {
            name.push("subject");
            name.push(patient.as_str());
        }
        TrustScope::Source(source) => {
            name.push("source");
            name.push(source.as_str());
        }
    }
    name.push(provider.as_str());
    let (kind, parts) = match identity {
        Identity::Stable(parts) => ("stable", parts),
        Identity::Literals(parts) => ("literals", parts),
    };
    name.push(kind);
    for part in parts {
        name.push(part);
    }
    name.uuid(READING)
}

/// Hashes the literals that the source wrote for an item: two deliveries with the same content are one version.
///
/// The mapping adds the literals in a fixed order. It adds [`ContentDigest::absent`] for each absent literal, so that an absent literal
/// and an empty one produce different hashes.
#[derive(Default)]
pub struct ContentDigest(Parts);

impl ContentDigest {
    /// Adds a literal.
    pub fn literal(&mut self, text: &str) {
        self.0.push(text);
    }

    /// Adds the marker of a literal that the source did not write.
    pub fn absent(&mut self) {
        self.0.0.push(0xff);
    }

    /// Adds a literal, or the marker of an absent one.
    pub fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.literal(text),
            None => self.absent(),
        }
    }

    /// Returns the first 16 bytes of the SHA-256 of all parts.
    #[must_use]
    pub fn finish(self) -> [u8; 16] {
        first_16(Sha256::digest(&self.0.0))
    }
}

/// Starts from the hash of a content. What is added afterwards produces the hash of another content.
impl From<[u8; 16]> for ContentDigest {
    fn from(content: [u8; 16]) -> Self {
        Self(Parts(content.to_vec()))
    }
}

fn first_16(digest: impl IntoIterator<Item = u8>) -> [u8; 16] {
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(digest) {
        *to = from;
    }
    first
}

/// Length-prefixed parts. A prefix is four bytes, big-endian. It never begins with 0xff, because no body is that long, so the
/// marker of an absent part is unambiguous.
struct Parts(Vec<u8>);

impl Default for Parts {
    fn default() -> Self {
        // Most names and contents fit into this capacity; growing step by step costs more than the hash.
        Self(Vec::with_capacity(256))
    }
}

impl Parts {
    fn push(&mut self, part: &str) {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX >> 1);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(part.as_bytes());
    }

    /// Returns the UUIDv5, which is the beginning of a SHA-1.
    fn uuid(&self, namespace: Uuid) -> Uuid {
        let digest = Sha1::new().chain_update(namespace).chain_update(&self.0).finalize();
        Builder::from_sha1_bytes(first_16(digest)).into_uuid()
    }
}
