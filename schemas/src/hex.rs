//! Bytes as lower-case hexadecimal digits, two for each.

const DIGITS: [u8; 16] = *b"0123456789abcdef";

/// The digits of `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or_default());
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(digit).collect()
}

/// Exactly `N` bytes, from digits of either case and nothing else.
#[must_use]
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let nibble = |digit: Option<&u8>| char::from(*digit?).to_digit(16).and_then(|nibble| u8::try_from(nibble).ok());
        *byte = nibble(pair.first())? << 4 | nibble(pair.last())?;
    }
    Some(bytes)
}
