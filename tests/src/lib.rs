//! Nothing: this crate is its tests, see `tests/end_to_end`.
