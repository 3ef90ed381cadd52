//! Numbers and the catalogue: exact, and the data of the catalogue sound.

#[cfg(test)]
mod unit {
    mod catalogue;
    mod completeness;
    mod decimal;
    mod facts;
    mod mutation;
    mod samples;
    mod standards;
}
