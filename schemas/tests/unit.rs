//! Tests of times, device commands, limits and spellings.

#[cfg(test)]
mod unit {
    mod command;
    mod limit;
    mod moment;
    mod spelling;
}
