//! The contract is what it says: bytes that any Avro library reads, names that never change, receipts nobody can
//! guess, and an order of versions that does not depend on arrival.

#[cfg(test)]
mod contract {
    mod codec;
    mod history;
    mod naming;
    mod sample;
    mod versions;
}
