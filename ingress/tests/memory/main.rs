//! The memory that a body can make the process use, whatever the response: a decompression bomb is decoded only up to the
//! limit, and an upload uses no more than the help of `UPLOADS_MAX` states.

#[cfg(test)]
#[path = "../http/bench.rs"]
#[expect(dead_code, reason = "the tests in tests/http use more of the module")]
mod bench;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod counting;
#[cfg(test)]
mod requests;
