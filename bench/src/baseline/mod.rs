//! The peers: minimal programs that do the same on the same Kafka with the same client settings.

pub(crate) mod copier;
pub(crate) mod ingress;
