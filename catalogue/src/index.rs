//! Indexes from names to positions.

use std::collections::HashMap;

/// Positions by name. The names are only those of the catalogue, so nobody can choose names that collide, and a fast hash is safe.
pub(crate) type Index = HashMap<String, usize, foldhash::fast::FixedState>;

/// The length of the longest spelling, in bytes.
pub(crate) const SPELLING_BYTES_MAX: usize = 96;

/// Looks up a word in lower case without an allocation. A word that is longer than the buffer is not found: no spelling is that
/// long.
pub(crate) fn folded<T>(word: &str, find: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let mut buffer = [0_u8; SPELLING_BYTES_MAX];
    let lower = buffer.get_mut(..word.len())?;
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    find(std::str::from_utf8(lower).ok()?)
}
