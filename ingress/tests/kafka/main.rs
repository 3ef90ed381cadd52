//! The ingress on a real Kafka: what is answered 2xx is there, an outage is a 503 in bounded time, and stopping loses
//! nothing. Needs what `make setup` installs.

#[cfg(test)]
mod durability;
#[cfg(test)]
mod edge;
