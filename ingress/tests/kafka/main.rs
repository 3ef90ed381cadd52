//! Ingress on a real Kafka: a body that was answered with 2xx is stored, an outage is answered with 503 within a time limit,
//! and a shutdown loses nothing. Requires `make setup`.

#[cfg(test)]
mod durability;
#[cfg(test)]
mod edge;
