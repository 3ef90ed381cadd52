//! The HTTP/1.1 server: limits on the number of connections, on the time to send headers and on the time to read responses, and
//! a shutdown that lets requests in progress finish.

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

/// How long accepting pauses after the operating system refused a connection, for example because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The largest size of a request's headers; also the size of the read buffer.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// The size of the send buffer (`SO_SNDBUF`) of each connection. The operating system's default buffers several megabytes for a
/// client that does not read its responses, and reports the socket writable only when a third of the buffer is free.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// The limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// How many connections are served at once.
    pub connections_max: usize,
    /// The time to receive a request's headers; also the time that a connection may be idle.
    pub header_timeout: Duration,
    /// How long a write may wait for the client to read.
    pub write_timeout: Duration,
    /// How long requests in progress may take after `shutdown`.
    pub drain_timeout: Duration,
}

/// Binds and listens at `address`. The accept backlog is as large as the number of connections that are served at once. With
/// the usual backlog of 128, the operating system drops the excess connections of a client that opens many at once, as after an
/// outage, and each of them is retried only after a second.
///
/// # Errors
/// The error of the operating system.
pub fn listen(address: SocketAddr, connections_max: usize) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(u32::try_from(connections_max).unwrap_or(u32::MAX))
}

/// A listener and the settings with which it is served.
pub struct HttpPort {
    /// The listener; [`listen`] creates it.
    pub listener: TcpListener,
    /// The limits on connections.
    pub limits: ConnectionLimits,
    /// Counts the connections that ended with an error.
    pub connections_broken: Counter,
}

impl HttpPort {
    /// Serves until `shutdown`. Then accepts no more connections and waits, up to `drain_timeout`, for the requests in
    /// progress.
    ///
    /// # Errors
    /// None at present: a failed accept is retried.
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
            tracing::warn!(connections = connections.len(), "drain timeout exceeded: open requests get no response");
        }
        Ok(())
    }
}

/// An accepted connection.
struct Connection {
    server: http1::Builder,
    stream: TcpStream,
    write_timeout: Duration,
}

impl Connection {
    async fn serve(self, app: Router, shutdown: CancellationToken) -> hyper::Result<()> {
        // Most responses are small and written at once, so Nagle's algorithm would only delay them. A failure to set the option
        // is harmless.
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
