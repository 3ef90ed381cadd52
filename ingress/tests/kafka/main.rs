//! The ingress on a real Kafka: what is answered 2xx is there, an outage is a 503 in bounded time, and stopping loses
//! nothing. Needs the jars that the set-up puts into `.kafka/libs`.

#[cfg(test)]
mod broker;
#[cfg(test)]
mod durability;
