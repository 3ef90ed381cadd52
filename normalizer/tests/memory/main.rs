//! The memory that a body can take: each hostile body ends in its stated outcome within 2 MiB plus ten times its own size.

#[cfg(test)]
mod bombs;
#[cfg(test)]
mod counting;
#[cfg(test)]
#[path = "../mapping/record.rs"]
mod record;
