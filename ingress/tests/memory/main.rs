//! What a body can do to the memory, whatever it is answered with: a bomb is inflated up to the limit and no further, and an upload
//! takes what is documented of `UPLOADS_MAX`.

#[cfg(test)]
#[path = "../http/bench.rs"]
#[expect(dead_code, reason = "the tests of the HTTP contract use more of it")]
mod bench;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod counting;
#[cfg(test)]
mod requests;
