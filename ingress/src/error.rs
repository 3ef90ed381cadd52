//! Why the ingress does not start, or ends.

use std::{net::SocketAddr, path::PathBuf};

use schemas::limit::BODY_BYTES_MAX;
use service::secret::SecretError;

use crate::keys::KeysError;

/// Each one is for the operator, and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// The keys file is missing or cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The keys file has no key: nobody could send anything, or everybody.
    #[error("the keys file {path} has no key: add one with `device-manager keys create`")]
    NoCredential {
        /// The file.
        path: PathBuf,
    },
    /// The receipt key's file is missing or cannot be used.
    #[error(transparent)]
    ReceiptKey(#[from] SecretError),
    /// The receipt key cannot be used.
    #[error("the receipt key cannot be used")]
    ReceiptKeyForm,
    /// API keys would travel in clear.
    #[error(
        "{address} is no loopback address, and this port speaks plain HTTP: API keys would travel in clear. Listen on \
         127.0.0.1, or put a TLS terminator in front and name it with --tls-terminator (TLS_TERMINATOR)"
    )]
    PlainHttp {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// The body limit is zero or does not fit a Kafka record.
    #[error("a body limit of {asked} bytes cannot be: it must be 1 to {BODY_BYTES_MAX} (BODY_BYTES_MAX)")]
    BodyLimit {
        /// What was asked for.
        asked: usize,
    },
    /// The Kafka producer cannot be made from the settings.
    #[error("the Kafka producer cannot be made: check the KAFKA_ variables")]
    Producer(#[from] rdkafka::error::KafkaError),
    /// The port cannot be listened on.
    #[error("{address} cannot be listened on (HTTP_ADDRESS, HTTP_PORT)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The listener failed.
    #[error("the HTTP port failed")]
    Serve(#[from] std::io::Error),
}
