//! Why ingress does not start, or why it ends.

use std::{net::SocketAddr, path::PathBuf};

use schemas::limit::BODY_BYTES_CEILING;
use service::secret::SecretError;

use crate::keys::KeysError;

/// An error of ingress. The message is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// The keys file is missing or invalid.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The keys file contains no key, so no request could be authenticated.
    #[error("the keys file {path} has no key: add one with `device-manager keys create`")]
    NoCredential {
        /// The file.
        path: PathBuf,
    },
    /// The file of the receipt key is missing or invalid.
    #[error(transparent)]
    ReceiptKey(#[from] SecretError),
    /// The receipt key cannot be used.
    #[error("the receipt key cannot be used")]
    ReceiptKeyForm,
    /// API keys would travel unencrypted.
    #[error(
        "{address} is not a loopback address, and this port uses plain HTTP: API keys would travel unencrypted. Listen on \
         127.0.0.1, or put a TLS terminator in front and name it with --tls-terminator (TLS_TERMINATOR)"
    )]
    PlainHttp {
        /// The configured address.
        address: SocketAddr,
    },
    /// The body limit is zero or does not fit a Kafka record.
    #[error("a body limit of {requested} bytes is not possible: it must be 1 to {BODY_BYTES_CEILING} (BODY_BYTES_MAX)")]
    BodyLimit {
        /// The configured limit.
        requested: usize,
    },
    /// The Kafka producer cannot be created from the settings.
    #[error("the Kafka producer cannot be created: check the KAFKA_ variables")]
    Producer(#[from] rdkafka::error::KafkaError),
    /// Listening on the port failed.
    #[error("cannot listen on {address} (HTTP_ADDRESS, HTTP_PORT)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The listener failed.
    #[error("the HTTP port failed")]
    Serve(#[from] std::io::Error),
}
