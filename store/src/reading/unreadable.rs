//! The error for a row that this project did not write.

/// Returns the error for a value that no release writes.
pub(super) fn unknown_word() -> sqlx::Error {
    sqlx::Error::Decode("a row of readings has a value that no release writes".into())
}
