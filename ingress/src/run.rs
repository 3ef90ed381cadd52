//! The stage: everything put together, from the files to the port.

use std::{io, sync::Arc};

use schemas::{content::ContentKey, receipt::ReceiptKey, topic::Topics};
use service::{health::StageHealth, kafka::KafkaSettings, recall::Recall, secret};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use crate::{
    app::app,
    config::IngressConfig,
    durability,
    error::IngressError,
    keys::KeyRing,
    raw_log::KafkaLog,
    serve::{PortLimits, serve},
    state::AppState,
};

/// What the system keeps of answers that a client does not take yet. By itself it would keep some megabytes for each, and say that
/// there is room again only when a third of that is taken.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// Listens where the configuration says. Apart from [`run`], so that a caller can ask the listener for its port.
///
/// As many connections may wait to be accepted as are served. With the usual 128, a portal that opens more at once, as after
/// an outage, has the rest of them dropped by the system, and each of those tries again only after a second.
///
/// # Errors
/// [`IngressError::Listen`].
pub fn listen(config: &IngressConfig) -> Result<TcpListener, IngressError> {
    let bound = || -> io::Result<TcpListener> {
        let socket = if config.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.bind(config.address)?;
        socket.listen(u32::try_from(config.connections_max).unwrap_or(u32::MAX))
    };
    bound().map_err(|source| IngressError::Listen { address: config.address, source })
}

/// Whether [`run`] can work with these settings: refused before anything listens.
///
/// # Errors
/// [`IngressError`]: what is missing or unsafe.
pub fn check(config: &IngressConfig) -> Result<(), IngressError> {
    config.check(config.address)?;
    secrets(config).map(drop)
}

/// The keys, of which there is one at least, and the secret that signs receipts.
fn secrets(config: &IngressConfig) -> Result<(KeyRing, [u8; 32]), IngressError> {
    let keys = KeyRing::open(&config.keys_file)?;
    if keys.count() == 0 {
        return Err(IngressError::NoCredential { path: config.keys_file.clone() });
    }
    Ok((keys, secret::load_or_refuse(&config.receipt_key_file)?))
}

/// Serves clients on `listener` until `shutdown`; everything that was answered 2xx is then on the broker.
///
/// # Errors
/// [`IngressError`]: what is missing or unsafe in the configuration.
pub async fn run(
    config: IngressConfig,
    listener: TcpListener,
    (settings, topics): (KafkaSettings, Topics),
    health: StageHealth,
    shutdown: CancellationToken,
) -> Result<(), IngressError> {
    let address = listener.local_addr()?;
    config.check(address)?;
    let (keys, secret) = secrets(&config)?;
    let keys = Arc::new(keys);
    let receipt_key = ReceiptKey::new(&secret).map_err(|_| IngressError::ReceiptKeyForm)?;
    let content_key = ContentKey::derive(&secret).map_err(|_| IngressError::ReceiptKeyForm)?;
    let log = Arc::new(KafkaLog::new(&settings, &topics, config.produce_timeout)?);
    tokio::spawn(Arc::clone(&keys).watch(health.clone(), shutdown.clone()));
    let recall = Recall::new(&settings);
    tokio::spawn(Arc::clone(&log).watch(recall, health.clone(), shutdown.clone()));
    tokio::spawn(durability::watch(Arc::clone(&log), (settings.client(), topics), health.clone(), shutdown.clone()));
    health.detail("address", &address.to_string());
    tracing::info!(%address, "listening");
    let raw_log: Arc<dyn crate::raw_log::RawLog> = log.clone();
    let state = AppState::new(keys, raw_log, (receipt_key, content_key), &config);
    serve(listener, app(state), PortLimits::from(&config), shutdown).await?;
    // Each answer waited for its own record, so only records whose clients were given up can be left.
    let flushed = tokio::task::spawn_blocking(move || log.flush(config.produce_timeout)).await;
    if !matches!(flushed, Ok(Ok(()))) {
        tracing::warn!("records without an answered request were not flushed in time");
    }
    Ok(())
}
