//! Tests of the pure parts: the result is the same in any order of arrival.

#[cfg(test)]
mod unit {
    mod error;
    mod fold;
    mod merge;
    mod outcome_runs;
}
