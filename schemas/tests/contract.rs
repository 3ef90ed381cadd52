//! The contract between the stages: bytes that any Avro library can read, names that never change, receipts that nobody can
//! guess, and an order of versions that does not depend on the order of arrival.

#[cfg(test)]
mod contract {
    mod codec;
    mod evolution;
    mod history;
    mod naming;
    mod sample;
    mod versions;
}
