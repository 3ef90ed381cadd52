//! The HTTP/1.1 port: so many connections at once, a time for the headers and for reading the answers, and an end that loses no answer.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use metrics::Counter;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::write_timeout::WriteTimeout;

/// How long accepting rests after the operating system refused a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How large a request's headers may be; also how much is read at once.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// What the system keeps of answers that a client does not take yet. By itself it would keep some megabytes for each, and say that
/// there is room again only when a third of that is taken.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// The limits of a port's connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// How many connections are served at once.
    pub connections_max: usize,
    /// For a request's headers, and for an idle connection.
    pub header_timeout: Duration,
    /// For a client to take the next piece of its answers.
    pub write_timeout: Duration,
    /// For requests in hand after `shutdown`.
    pub drain_timeout: Duration,
}

/// Listens at `address`. As many connections may wait to be accepted as are served. With the usual 128, a client that opens more
/// at once, as after an outage, has the rest of them dropped by the system, and each of those tries again only after a second.
///
/// # Errors
/// The operating system refuses.
pub fn listen(address: SocketAddr, connections_max: usize) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(u32::try_from(connections_max).unwrap_or(u32::MAX))
}

/// A port that is listened on, and how it is served.
pub struct HttpPort {
    /// Where connections come from; [`listen`] makes it.
    pub listener: TcpListener,
    /// The limits.
    pub limits: ConnectionLimits,
    /// Counts connections that ended with an error.
    pub connections_broken: Counter,
}

impl HttpPort {
    /// Serves until `shutdown`; then accepts nothing more and waits, within a bound, for the requests in hand.
    ///
    /// # Errors
    /// None at present: a connection that cannot be accepted is tried again.
    pub async fn serve(self, app: Router, shutdown: CancellationToken) -> io::Result<()> {
        let Self { listener, limits, connections_broken } = self;
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
            let connection = Connection { server: server.clone(), stream, write_timeout: limits.write_timeout };
            let (app, shutdown, broken) = (app.clone(), shutdown.clone(), connections_broken.clone());
            connections.spawn(async move {
                if connection.serve(app, shutdown).await.is_err() {
                    broken.increment(1);
                }
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
}

/// A connection that was accepted.
struct Connection {
    server: http1::Builder,
    stream: TcpStream,
    write_timeout: Duration,
}

impl Connection {
    async fn serve(self, app: Router, shutdown: CancellationToken) -> hyper::Result<()> {
        // Answers are small and whole: waiting for more to send only delays them. A socket that refuses this is used as it is.
        let _delayed = self.stream.set_nodelay(true);
        let stream = TokioIo::new(WriteTimeout::new(self.stream, self.write_timeout));
        let mut connection = pin!(self.server.serve_connection(stream, TowerToHyperService::new(app)));
        tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }
}
