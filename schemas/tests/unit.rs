//! Times and device commands: exact, and refused where they are wrong.

#[cfg(test)]
mod unit {
    mod command;
    mod moment;
    mod spelling;
}
