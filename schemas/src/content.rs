//! Keyed hashes of payloads: they bring a client's retry into the partition of the first try, and show that an upload is
//! whole. Without the key nobody can try out which payload a hash is of, so a hash may outlive a payload that was erased.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// What the key is derived for (RFC 5869, `info`).
const PURPOSE: &[u8] = b"device-manager content hash";

/// The key of the hashes of all payloads of an installation. Does not print.
#[derive(Clone)]
pub struct ContentKey(Hmac<Sha256>);

/// A hash in the making.
pub struct ContentHasher(Hmac<Sha256>);

/// HMAC-SHA256 (RFC 2104) of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHash([u8; 32]);

/// No key can be made. Does not happen: HMAC takes keys of any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no content key can be derived")]
pub struct NoKey;

impl ContentKey {
    /// Derives the key from the secret that signs receipts, by the first block of HKDF-Expand (RFC 5869, section 2.3): the
    /// secret is random as it is, so that nothing need be extracted from it.
    ///
    /// # Errors
    /// [`NoKey`] never in practice.
    pub fn derive(secret: &[u8; 32]) -> Result<Self, NoKey> {
        let mut expand: Hmac<Sha256> = Hmac::new_from_slice(secret).map_err(|_| NoKey)?;
        expand.update(PURPOSE);
        expand.update(&[1]);
        Hmac::new_from_slice(&expand.finalize().into_bytes()).map(Self).map_err(|_| NoKey)
    }

    /// The hash of a payload.
    #[must_use]
    pub fn hash(&self, payload: &[u8]) -> ContentHash {
        let mut hasher = self.hasher();
        hasher.update(payload);
        hasher.finish()
    }

    /// Begins the hash of a payload that comes in pieces.
    #[must_use]
    pub fn hasher(&self) -> ContentHasher {
        ContentHasher(self.0.clone())
    }
}

impl ContentHasher {
    /// Adds a piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of all pieces.
    #[must_use]
    pub fn finish(self) -> ContentHash {
        ContentHash(self.0.finalize().into_bytes().into())
    }
}

impl ContentHash {
    /// Lower-case hexadecimal digits, as headers have it.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The partition of a payload on a topic of `count` partitions, at least one.
    #[must_use]
    pub fn partition(&self, count: std::num::NonZeroU16) -> i32 {
        let head = self.0.first_chunk::<8>().map_or(0, |head| u64::from_be_bytes(*head));
        // Less than the count, which is a u16.
        i32::try_from(head % u64::from(count.get())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with OpenSSL 3.0: `openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt mode:EXPAND_ONLY -kdfopt
    /// hexkey:0101…01 -kdfopt info:"device-manager content hash" HKDF`, then `openssl dgst -sha256 -mac hmac -macopt hexkey:…`.
    #[test]
    fn is_hkdf_and_hmac_as_others_compute_them() {
        let key = ContentKey::derive(&[1; 32]).unwrap();
        assert_eq!(key.hash(b"{}").to_hex(), "c24a4e3dc0ec29ab2d3ead7dd1c53c78d8c4498e844c6bf40ed8a7ae53c970fa");
        let mut hasher = key.hasher();
        hasher.update(b"{");
        hasher.update(b"}");
        assert_eq!(hasher.finish(), key.hash(b"{}"));
        assert_ne!(ContentKey::derive(&[2; 32]).unwrap().hash(b"{}"), key.hash(b"{}"));
    }

    #[test]
    fn partitions_are_all_used_and_the_same_for_the_same_payload() {
        let key = ContentKey::derive(&[1; 32]).unwrap();
        let count = std::num::NonZeroU16::new(6).unwrap();
        let used: std::collections::BTreeSet<i32> =
            (0..200_u16).map(|one| key.hash(&one.to_be_bytes()).partition(count)).collect();
        assert_eq!(used, (0..6).collect());
        assert_eq!(key.hash(b"x").partition(count), key.hash(b"x").partition(count));
    }
}
