//! Keyed hashes of payloads. The hash selects the partition, so that a client's retry goes to the partition of the first attempt,
//! and it shows that an upload is complete. Without the key nobody can find out by trial to which payload a hash belongs, so a
//! hash may be kept after its payload was erased.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The `info` input of the key derivation (RFC 5869).
const PURPOSE: &[u8] = b"device-manager content hash";

/// The key with which an installation hashes all payloads. It has neither `Debug` nor `Display`.
#[derive(Clone)]
pub struct ContentKey(Hmac<Sha256>);

/// Computes the hash of a payload that arrives in pieces.
pub struct ContentHasher(Hmac<Sha256>);

/// HMAC-SHA256 (RFC 2104) of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHash([u8; 32]);

/// The key cannot be derived. This never happens, because HMAC accepts keys of any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no content key can be derived")]
pub struct NoKey;

impl ContentKey {
    /// Derives the key from the secret that signs receipts, as the first block of HKDF-Expand (RFC 5869, section 2.3). HKDF-Extract
    /// is not needed, because the secret is already random.
    ///
    /// # Errors
    /// [`NoKey`], which never occurs in practice.
    pub fn derive(secret: &[u8; 32]) -> Result<Self, NoKey> {
        let mut expand: Hmac<Sha256> = Hmac::new_from_slice(secret).map_err(|_| NoKey)?;
        expand.update(PURPOSE);
        expand.update(&[1]);
        Hmac::new_from_slice(&expand.finalize().into_bytes()).map(Self).map_err(|_| NoKey)
    }

    /// Returns the hash of a payload.
    #[must_use]
    pub fn hash(&self, payload: &[u8]) -> ContentHash {
        let mut hasher = self.hasher();
        hasher.update(payload);
        hasher.finish()
    }

    /// Starts the hash of a payload that arrives in pieces.
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

    /// Returns the hash of all pieces.
    #[must_use]
    pub fn finish(self) -> ContentHash {
        ContentHash(self.0.finalize().into_bytes().into())
    }
}

impl ContentHash {
    /// Returns the hash as lower-case hexadecimal digits, the form used in headers.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Returns the partition of the payload on a topic with `count` partitions.
    #[must_use]
    pub fn partition(&self, count: std::num::NonZeroU16) -> i32 {
        let head = self.0.first_chunk::<8>().map_or(0, |head| u64::from_be_bytes(*head));
        // The remainder is less than `count`, a u16, so the conversion cannot fail.
        i32::try_from(head % u64::from(count.get())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with OpenSSL 3.0: `openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt mode:EXPAND_ONLY -kdfopt
    /// hexkey:0101…01 -kdfopt info:"device-manager content hash" HKDF`, then `openssl dgst -sha256 -mac hmac -macopt hexkey:…`.
    #[test]
    fn content_hashes_agree_with_hkdf_and_hmac_of_openssl() {
        let key = ContentKey::derive(&[1; 32]).unwrap();
        assert_eq!(key.hash(b"{}").to_hex(), "c24a4e3dc0ec29ab2d3ead7dd1c53c78d8c4498e844c6bf40ed8a7ae53c970fa");
        let mut hasher = key.hasher();
        hasher.update(b"{");
        hasher.update(b"}");
        assert_eq!(hasher.finish(), key.hash(b"{}"));
        assert_ne!(ContentKey::derive(&[2; 32]).unwrap().hash(b"{}"), key.hash(b"{}"));
    }

    #[test]
    fn all_partitions_are_used_and_equal_payloads_get_the_same_one() {
        let key = ContentKey::derive(&[1; 32]).unwrap();
        let count = std::num::NonZeroU16::new(6).unwrap();
        let used: std::collections::BTreeSet<i32> =
            (0..200_u16).map(|one| key.hash(&one.to_be_bytes()).partition(count)).collect();
        assert_eq!(used, (0..6).collect());
        assert_eq!(key.hash(b"x").partition(count), key.hash(b"x").partition(count));
    }
}
