//! The HTTP contract, spoken to the router itself. What is kept goes to a named double, which can also fail in ways that a
//! real broker cannot be made to; the real one is in `kafka.rs`.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod documented;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod parameters;
#[cfg(test)]
mod payloads;
#[cfg(test)]
mod port;
#[cfg(test)]
mod secrecy;
#[cfg(test)]
mod shape;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod uploads;
