//! The memory that a body can make the process use, whatever the response: a decompression bomb is decoded only up to the
//! limit, and an upload uses no more than the help of `UPLOADS_MAX` states.

#[cfg(test)]
mod bodies;
#[cfg(test)]
mod counting;
#[cfg(test)]
mod requests;
#[cfg(test)]
#[path = "../http/test_app.rs"]
#[expect(dead_code, reason = "the tests in tests/http use more of the module")]
mod test_app;
