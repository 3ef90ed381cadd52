//! A TCP proxy in this process, whose network can be slow, silent or broken.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

use crate::port::unused_port;

/// The number of bytes that are relayed at once. Small, so that a connection can break within a message.
const PIECE_BYTES: usize = 4_096;

/// The state of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Bytes pass at once.
    Works,
    /// Each piece is delayed.
    Slow(Duration),
    /// Connections stay open, but nothing passes, and new connections are not answered.
    Silent,
    /// Connections are reset, and so are new ones.
    Resets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    network: Network,
    /// The number of resets so far. A connection ends when it changes.
    resets: u64,
}

/// A proxy in front of one server.
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    _accepts: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, unused_port())).await?;
        let port = listener.local_addr()?.port();
        let (state, changes) = watch::channel(State { network: Network::Works, resets: 0 });
        let accepts = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, server, changes.clone()));
            }
        });
        Ok(Self { port, state, _accepts: AbortOnDropHandle::new(accepts) })
    }

    /// The port on which clients connect.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Changes the network.
    pub fn set(&self, network: Network) {
        self.state.send_modify(|state| state.network = network);
    }

    /// Resets all open connections. New ones work as before.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }
}

async fn relay(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    let resets = state.borrow().resets;
    let is_broken = move |now: &State| now.resets != resets || now.network == Network::Resets;
    let mut changes = state.clone();
    let served = tokio::select! {
        _ = state.wait_for(is_broken) => Err(None),
        served = serve(&mut client, server, &mut changes) => served.map_err(Some),
    };
    if matches!(served, Err(None)) {
        // Instead of an orderly end, the client gets a reset.
        let _best_effort = client.set_zero_linger();
    }
}

async fn serve(client: &mut TcpStream, server: SocketAddr, state: &mut watch::Receiver<State>) -> io::Result<()> {
    passes(state).await;
    let mut upstream = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (client_reads, client_writes) = client.split();
    let (server_reads, server_writes) = upstream.split();
    // An error of one side, such as a reset, ends the other side too.
    tokio::try_join!(
        pump(client_reads, server_writes, state.clone()),
        pump(server_reads, client_writes, state.clone()),
    )?;
    Ok(())
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let mut piece = [0; PIECE_BYTES];
    loop {
        let length = from.read(&mut piece).await?;
        passes(&mut state).await;
        let network = state.borrow().network;
        if let Network::Slow(delay) = network {
            tokio::time::sleep(delay).await;
        }
        match piece.get(..length) {
            Some([]) | None => return to.shutdown().await,
            Some(read) => to.write_all(read).await?,
        }
    }
}

/// Waits while the network is silent.
async fn passes(state: &mut watch::Receiver<State>) {
    // The sender lives as long as the proxy.
    let _proxy_is_gone = state.wait_for(|now| now.network != Network::Silent).await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// A server that answers each byte with the same byte.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = client.split();
                    let _ended = tokio::io::copy(&mut reads, &mut writes).await;
                });
            }
        });
        address
    }

    async fn answer(client: &mut TcpStream) -> io::Result<u8> {
        client.write_u8(7).await?;
        client.read_u8().await
    }

    #[tokio::test]
    async fn a_network_is_silent_works_again_and_resets() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        assert_eq!(answer(&mut client).await.unwrap(), 7);
        proxy.set(Network::Silent);
        let silent = tokio::time::timeout(Duration::from_millis(200), answer(&mut client)).await;
        assert!(silent.is_err());
        proxy.set(Network::Works);
        assert_eq!(client.read_u8().await.unwrap(), 7, "what was held back arrives");
        proxy.reset();
        assert_eq!(answer(&mut client).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        assert_eq!(answer(&mut client).await.unwrap(), 7);
    }
}
