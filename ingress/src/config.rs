//! The configuration of ingress.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use schemas::limit;
use service::http::{body::BodyLimits, listener::ConnectionLimits};

use crate::error::IngressError;

pub(crate) const BODY_BYTES_MAX_DEFAULT: usize = 1024 * 1024;

/// The HTTP port, the API keys, and the limits on requests.
#[derive(Debug, Clone, Args)]
pub struct IngressArgs {
    /// The port for clients. Port 0 selects a free one.
    #[arg(long, env = "HTTP_PORT", default_value_t = 3000)]
    pub http_port: u16,
    /// The address to listen on. An address other than loopback requires --tls-terminator.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "127.0.0.1")]
    pub http_address: IpAddr,
    /// A description of the TLS terminator in front of this port, such as "nginx on the same host". The keys travel unencrypted
    /// from the terminator to this port, so no other client may be able to reach it.
    #[arg(long, env = "TLS_TERMINATOR")]
    pub tls_terminator: Option<String>,
    /// The file with the API keys' hashes, as `device-manager keys create` writes it. It is reloaded when it changes.
    #[arg(long, env = "KEYS_FILE")]
    pub keys_file: PathBuf,
    /// The file with the secret that signs receipts: 64 hexadecimal digits, readable by its owner and its group only.
    /// `(umask 077; openssl rand -hex 32 > receipt.key)` creates one. All stages of an installation use the same secret.
    #[arg(long, env = "RECEIPT_KEY_FILE")]
    pub receipt_key_file: PathBuf,
    /// The epoch of the raw topics. Raise it when the topics are deleted and created again, so that old receipts do not point
    /// to new records.
    #[arg(long, env = "TOPIC_EPOCH", default_value_t = 0)]
    pub topic_epoch: u16,
    /// The largest body in bytes, before and after its content coding is decoded.
    #[arg(long, env = "BODY_BYTES_MAX", default_value_t = BODY_BYTES_MAX_DEFAULT)]
    pub body_bytes_max: usize,
    /// How long a client may take to send a request's headers, and how long a connection may be idle.
    #[arg(long, env = "HEADER_TIMEOUT_SECONDS", default_value_t = 30)]
    pub header_timeout_seconds: u64,
    /// How long a client may leave a response unread before its connection is closed.
    #[arg(long, env = "WRITE_TIMEOUT_SECONDS", default_value_t = 30)]
    pub write_timeout_seconds: u64,
    /// How long a client may take to send a request's body.
    #[arg(long, env = "BODY_TIMEOUT_SECONDS", default_value_t = 30)]
    pub body_timeout_seconds: u64,
    /// The largest export-xml upload in bytes, before and after its content coding is decoded. It is stored in chunks.
    #[arg(long, env = "UPLOAD_BYTES_MAX", default_value_t = 2 * 1024 * 1024 * 1024)]
    pub upload_bytes_max: u64,
    /// How long a client may take to send an export-xml upload. Each 64 KiB of it must arrive within BODY_TIMEOUT_SECONDS.
    #[arg(long, env = "UPLOAD_TIMEOUT_SECONDS", default_value_t = 3_600)]
    pub upload_timeout_seconds: u64,
    /// How many export-xml uploads are received at once; each uses about 8 MiB of memory.
    #[arg(long, env = "UPLOADS_MAX", default_value_t = 2)]
    pub uploads_max: usize,
    /// How long Kafka may take to acknowledge a record. After that the client receives a 503.
    #[arg(long, env = "PRODUCE_TIMEOUT_MS", default_value_t = 5_000)]
    pub produce_timeout_ms: u64,
    /// How many connections are served at once; further connections wait to be accepted.
    #[arg(long, env = "CONNECTIONS_MAX", default_value_t = 4_096)]
    pub connections_max: usize,
    /// Serve the page /docs even if the address is not loopback. No key is required to read the page.
    #[arg(long = "docs", env = "DOCS_ENABLED")]
    pub docs_enabled: bool,
    /// How long requests in progress may take to end after SIGTERM.
    #[arg(long, env = "DRAIN_TIMEOUT_SECONDS", default_value_t = 15)]
    pub drain_timeout_seconds: u64,
}

/// The configuration in the types that [`crate::run`] uses.
#[derive(Debug, Clone)]
pub struct IngressConfig {
    /// The address to listen on.
    pub address: SocketAddr,
    /// The description of the TLS terminator in front of the port.
    pub tls_terminator: Option<String>,
    /// The file with the API keys' hashes.
    pub keys_file: PathBuf,
    /// The file with the secret that signs receipts.
    pub receipt_key_file: PathBuf,
    /// The epoch of the raw topics.
    pub topic_epoch: u16,
    /// The largest body in bytes.
    pub body_bytes_max: usize,
    /// The time to receive a request's headers; also the time that a connection may be idle.
    pub header_timeout: Duration,
    /// How long a client may leave a response unread.
    pub write_timeout: Duration,
    /// The time to receive a request's body.
    pub body_timeout: Duration,
    /// The largest upload in bytes.
    pub upload_bytes_max: u64,
    /// The time to receive an upload.
    pub upload_timeout: Duration,
    /// How many uploads are received at once.
    pub uploads_max: usize,
    /// The time for Kafka to acknowledge a record.
    pub produce_timeout: Duration,
    /// How many connections are served at once.
    pub connections_max: usize,
    /// Whether the page /docs is served on any address.
    pub docs_enabled: bool,
    /// The time for requests in progress to end after SIGTERM.
    pub drain_timeout: Duration,
}

impl IngressConfig {
    /// Creates a configuration with these two files and the defaults, on a free port of the loopback address.
    #[must_use]
    pub fn new(keys_file: PathBuf, receipt_key_file: PathBuf) -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls_terminator: None,
            keys_file,
            receipt_key_file,
            topic_epoch: 0,
            body_bytes_max: BODY_BYTES_MAX_DEFAULT,
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            upload_bytes_max: 2 * 1024 * 1024 * 1024,
            upload_timeout: Duration::from_secs(3_600),
            uploads_max: 2,
            produce_timeout: Duration::from_secs(5),
            connections_max: 4_096,
            docs_enabled: false,
            drain_timeout: Duration::from_secs(15),
        }
    }

    /// Returns whether the page /docs is served: on a loopback address always, on others only if enabled.
    pub(crate) fn has_docs(&self) -> bool {
        self.docs_enabled || self.address.ip().is_loopback()
    }

    /// Checks the settings that guarantees depend on.
    ///
    /// # Errors
    /// [`IngressError::PlainHttp`] and [`IngressError::BodyLimit`].
    pub fn check(&self, listening: SocketAddr) -> Result<(), IngressError> {
        let terminated = self.tls_terminator.as_deref().is_some_and(|name| !name.trim().is_empty());
        if !listening.ip().is_loopback() && !terminated {
            return Err(IngressError::PlainHttp { address: listening });
        }
        if self.body_bytes_max == 0 || self.body_bytes_max > limit::BODY_BYTES_CEILING {
            return Err(IngressError::BodyLimit { requested: self.body_bytes_max });
        }
        Ok(())
    }
}

impl From<&IngressArgs> for IngressConfig {
    fn from(args: &IngressArgs) -> Self {
        Self {
            address: SocketAddr::new(args.http_address, args.http_port),
            tls_terminator: args.tls_terminator.clone(),
            keys_file: args.keys_file.clone(),
            receipt_key_file: args.receipt_key_file.clone(),
            topic_epoch: args.topic_epoch,
            body_bytes_max: args.body_bytes_max,
            header_timeout: Duration::from_secs(args.header_timeout_seconds),
            write_timeout: Duration::from_secs(args.write_timeout_seconds),
            body_timeout: Duration::from_secs(args.body_timeout_seconds),
            upload_bytes_max: args.upload_bytes_max,
            upload_timeout: Duration::from_secs(args.upload_timeout_seconds),
            uploads_max: args.uploads_max.max(1),
            produce_timeout: Duration::from_millis(args.produce_timeout_ms),
            connections_max: args.connections_max,
            docs_enabled: args.docs_enabled,
            drain_timeout: Duration::from_secs(args.drain_timeout_seconds),
        }
    }
}

impl From<&IngressConfig> for ConnectionLimits {
    fn from(config: &IngressConfig) -> Self {
        Self {
            connections_max: config.connections_max,
            header_timeout: config.header_timeout,
            write_timeout: config.write_timeout,
            drain_timeout: config.drain_timeout,
        }
    }
}

impl From<&IngressConfig> for BodyLimits {
    fn from(config: &IngressConfig) -> Self {
        Self { bytes_max: config.body_bytes_max, time_max: config.body_timeout }
    }
}
