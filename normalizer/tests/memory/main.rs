//! What a body can do to the memory: each bomb ends in its stated outcome within 2 MiB and ten times its own size.

#[cfg(test)]
mod bombs;
#[cfg(test)]
mod counting;
#[cfg(test)]
#[path = "../mapping/record.rs"]
mod record;
