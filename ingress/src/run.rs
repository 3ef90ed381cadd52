//! The ingress stage: connects all parts, from the files to the HTTP server.

use std::sync::Arc;

use service::{
    cluster::Cluster,
    health::StageHealth,
    http::listener::{self, ConnectionLimits, HttpPort},
    rebootstrap::Rebootstrap,
    secret,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    app::app,
    config::IngressConfig,
    durability,
    error::IngressError,
    keys::KeyRing,
    raw_log::kafka::KafkaLog,
    state::{AppState, SecretKeys},
};

/// Binds the configured address. Separate from [`run`], so that the caller can ask the listener for its port.
///
/// # Errors
/// [`IngressError::Listen`].
pub fn listen(config: &IngressConfig) -> Result<TcpListener, IngressError> {
    let address = config.address;
    listener::listen(address, config.connections_max).map_err(|source| IngressError::Listen { address, source })
}

/// Checks the configuration, before anything listens.
///
/// # Errors
/// [`IngressError`]: what is missing or unsafe.
pub fn check(config: &IngressConfig) -> Result<(), IngressError> {
    config.check(config.address)?;
    secrets(config).map(drop)
}

/// Loads the API keys, of which there must be at least one, and derives the secret keys.
fn secrets(config: &IngressConfig) -> Result<(KeyRing, SecretKeys), IngressError> {
    let keys = KeyRing::open(&config.keys_file)?;
    if keys.count() == 0 {
        return Err(IngressError::NoCredential { path: config.keys_file.clone() });
    }
    Ok((keys, SecretKeys::derive(&secret::load(&config.receipt_key_file)?)?))
}

/// Serves clients on `listener` until `shutdown`. Every body that was answered with 2xx has then been acknowledged by the
/// broker.
///
/// # Errors
/// [`IngressError`]: what is missing or unsafe in the configuration.
pub async fn run(
    config: IngressConfig,
    listener: TcpListener,
    cluster: Cluster,
    health: StageHealth,
    shutdown: CancellationToken,
) -> Result<(), IngressError> {
    let address = listener.local_addr()?;
    config.check(address)?;
    let (keys, secrets) = secrets(&config)?;
    let keys = Arc::new(keys);
    let log = Arc::new(KafkaLog::new(&cluster, config.produce_timeout)?);
    tokio::spawn(Arc::clone(&keys).watch(health.clone(), shutdown.clone()));
    let rebootstrap = Rebootstrap::new(&cluster.settings.bootstrap);
    tokio::spawn(Arc::clone(&log).watch(rebootstrap, health.clone(), shutdown.clone()));
    tokio::spawn(durability::watch(Arc::clone(&log), cluster, health.clone(), shutdown.clone()));
    health.detail("address", &address.to_string());
    tracing::info!(%address, "listening");
    let app = app(AppState::new(keys, log.clone(), secrets, &config));
    let limits = ConnectionLimits::from(&config);
    let connections_broken = metrics::counter!("device_manager_ingress_connections_broken_total");
    HttpPort { listener, limits, connections_broken }.serve(app, shutdown).await?;
    // Each response waited for its own record, so only records of timed-out or dropped requests can still be queued.
    let flushed = tokio::task::spawn_blocking(move || log.flush(config.produce_timeout)).await;
    if !matches!(flushed, Ok(Ok(()))) {
        tracing::warn!("queued records of timed-out or dropped requests were not flushed in time");
    }
    Ok(())
}
