//! Numbers, times, device commands and the catalogue: exact, refused where they are wrong, and the data of the catalogue sound.

#[cfg(test)]
mod unit {
    mod catalogue;
    mod command;
    mod completeness;
    mod decimal;
    mod facts;
    mod moment;
    mod mutation;
    mod samples;
    mod spelling;
    mod standards;
}
