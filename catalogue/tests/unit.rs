//! Tests of exact numbers and of the data of the catalogue.

#[cfg(test)]
mod unit {
    mod catalogue;
    mod completeness;
    mod decimal;
    mod extension;
    mod facts;
    mod mutation;
    mod samples;
    mod standards;
}
