//! Names that a sender misspelled or invented: the nearest known name, and whether a report may contain such a name.

/// A longer text is neither put into a report nor compared.
const TEXT_BYTES_MAX: usize = 64;
/// A name with more digits may be a value, a date or an identifier.
const DIGITS_MAX: usize = 3;
/// The smallest similarity, on a scale from 0 to 1, at which a name counts as a misspelling of another one.
const SIMILARITY_MIN: f64 = 0.8;
/// A name of at least this length that is part of another name counts as similar: `patientId` and `assignedPatientId`.
const PART_BYTES_MIN: usize = 4;

/// Returns the known name of which `word` is most likely a misspelling, ignoring ASCII case; `None` when all are too different.
#[must_use]
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > TEXT_BYTES_MAX {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let similar = known.iter().map(|name| (similarity(&word, &name.to_ascii_lowercase()), *name));
    let best = similar.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(similarity, _)| *similarity >= SIMILARITY_MIN).map(|(_, name)| name)
}

fn similarity(word: &str, name: &str) -> f64 {
    let is_part = word.len() >= PART_BYTES_MIN && name.contains(word);
    strsim::jaro_winkler(word, name).max(if is_part { SIMILARITY_MIN } else { 0.0 })
}

/// Returns whether a text is short and has only the characters of codes and units, so that a report may contain it.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/%{}[]()^*-".contains(&byte);
    text.len() <= TEXT_BYTES_MAX && text.bytes().all(is_plain)
}

/// Returns whether a text has so few digits that it cannot be a value, a date or an identifier.
#[must_use]
pub fn has_few_digits(text: &str) -> bool {
    text.bytes().filter(u8::is_ascii_digit).count() <= DIGITS_MAX
}

/// Returns whether a text that a sender used as a name looks like a name, so that a report may contain it. Senders also use
/// values, dates and identifiers as names.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && has_few_digits(text) && is_plain(text)
}
