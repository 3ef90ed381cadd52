//! The behaviour of the crate `service` that needs no cluster.

#[cfg(test)]
mod capped;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod health;
#[cfg(test)]
mod http;
#[cfg(test)]
mod kafka;
#[cfg(test)]
mod kafka_error;
#[cfg(test)]
mod librdkafka;
#[cfg(test)]
mod log;
#[cfg(test)]
mod management;
#[cfg(test)]
mod rebootstrap;
#[cfg(test)]
mod secret;
