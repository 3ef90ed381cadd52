//! The HTTP/1.1 port: so many connections at once, a time for the headers and for reading the answers, and an end that loses no answer.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::IngressConfig, write_timeout::WriteTimeout};

/// How long accepting rests after the operating system refused a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How large a request's headers may be; also how much is read at once.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// The caps of the port.
#[derive(Debug, Clone, Copy)]
pub struct PortLimits {
    /// How many connections are served at once.
    pub connections_max: usize,
    /// For a request's headers, and for an idle connection.
    pub header_timeout: Duration,
    /// For a client to take the next piece of its answers.
    pub write_timeout: Duration,
    /// For requests in hand after `shutdown`.
    pub drain_timeout: Duration,
}

impl From<&IngressConfig> for PortLimits {
    fn from(config: &IngressConfig) -> Self {
        Self {
            connections_max: config.connections_max,
            header_timeout: config.header_timeout,
            write_timeout: config.write_timeout,
            drain_timeout: config.drain_timeout,
        }
    }
}

/// Serves until `shutdown`; then accepts nothing more and waits, within a bound, for the requests in hand.
///
/// # Errors
/// None at present: a connection that cannot be accepted is tried again.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    limits: PortLimits,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    server.max_buf_size(HEADER_BYTES_MAX);
    let (slots, connections) = (Arc::new(Semaphore::new(limits.connections_max)), TaskTracker::new());
    loop {
        let accepted = shutdown.run_until_cancelled(async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        });
        let Some((slot, accepted)) = accepted.await else { break };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let connection = connection(server.clone(), stream, app.clone(), limits.write_timeout, shutdown.clone());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests that did not end in time are dropped unanswered");
    }
    Ok(())
}

async fn connection(
    server: http1::Builder,
    stream: TcpStream,
    app: Router,
    write_timeout: Duration,
    shutdown: CancellationToken,
) {
    // Answers are small and whole: waiting for more to send only delays them. A socket that refuses this is used as it is.
    let _delayed = stream.set_nodelay(true);
    let stream = TokioIo::new(WriteTimeout::new(stream, write_timeout));
    let mut connection = pin!(server.serve_connection(stream, TowerToHyperService::new(app)));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if ended.is_err() {
        metrics::counter!("device_manager_ingress_connections_broken_total").increment(1);
    }
}
