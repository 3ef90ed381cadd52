//! Tests of times, device commands and spellings.

#[cfg(test)]
mod unit {
    mod command;
    mod moment;
    mod spelling;
}
