//! Words by which something is found.

use std::collections::HashMap;

/// Positions by name. The names are the catalogue's own, so that nobody can choose them to collide, and a fast hash serves.
pub(crate) type Index = HashMap<String, usize, foldhash::fast::FixedState>;

/// Looks a word up in lower case without an allocation; no spelling is longer than the buffer.
pub(crate) fn folded<T>(word: &str, find: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let mut buffer = [0_u8; 96];
    let lower = buffer.get_mut(..word.len())?;
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    find(std::str::from_utf8(lower).ok()?)
}
