//! The HTTP contract, tested on the router itself. Records go to a fake log, which can also fail in ways in which a real broker
//! cannot be made to fail. The tests on a real Kafka are in `tests/kafka`.

#[cfg(test)]
mod commands;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod examples;
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
mod test_app;
#[cfg(test)]
mod uploads;
