//! The pure parts: whatever the order of arrival, the same result.

#[cfg(test)]
mod unit {
    mod error;
    mod fold;
    mod ranges;
}
