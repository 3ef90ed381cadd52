//! An embedded Kafka and Postgres of the run's own, each behind a proxy. The stages connect through the proxies, the oracle does not.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use embedded::{DataDir, Embedded, EmbeddedConfig, ProxiedListener};
use rustix::process::{Pid, Signal, kill_process};

use crate::{error::ChaosError, fault::Server, port::unused_port, proxy::Proxy, wait::until};

/// A Kafka and a Postgres, and the proxies in front of them.
pub struct Servers {
    /// The child processes.
    pub embedded: Embedded,
    /// The proxy in front of Kafka.
    pub kafka_proxy: Proxy,
    /// The proxy in front of Postgres.
    pub postgres_proxy: Proxy,
}

impl Servers {
    /// Starts both, with their data in `data_dir`. `kafka_home` is the directory with Kafka's jars; they are searched for if it is
    /// not given.
    ///
    /// # Errors
    /// [`ChaosError`]: something is not installed, or another process uses the directory.
    pub async fn start(data_dir: &Path, kafka_home: Option<PathBuf>) -> Result<Self, ChaosError> {
        let data_dir = DataDir::acquire(data_dir)?;
        let port = unused_port();
        let kafka_proxy = Proxy::start(loopback(port)).await?;
        let proxied = ProxiedListener { port, proxy_port: kafka_proxy.port() };
        let config = EmbeddedConfig { kafka: true, postgres: true, kafka_home, kafka_proxied: Some(proxied) };
        let embedded = Embedded::start(data_dir, config).await?;
        let postgres_proxy = Proxy::start(loopback(port_of(embedded.database_url().unwrap_or_default()))).await?;
        Ok(Self { embedded, kafka_proxy, postgres_proxy })
    }

    /// The address of Kafka for the oracle.
    #[must_use]
    pub fn kafka_direct(&self) -> &str {
        self.embedded.kafka_bootstrap().unwrap_or_default()
    }

    /// The address of Kafka for the stages.
    #[must_use]
    pub fn kafka_proxied(&self) -> String {
        loopback(self.kafka_proxy.port()).to_string()
    }

    /// The URL of a database for the oracle.
    #[must_use]
    pub fn database_direct(&self, name: &str) -> String {
        let (server, _) = self.embedded.database_url().unwrap_or_default().rsplit_once('/').unwrap_or_default();
        format!("{server}/{name}")
    }

    /// The URL of a database for the stages.
    #[must_use]
    pub fn database_proxied(&self, name: &str) -> String {
        let direct = self.database_direct(name);
        let port = port_of(&direct);
        direct.replacen(&format!(":{port}/"), &format!(":{}/", self.postgres_proxy.port()), 1)
    }

    /// The process of a server; `None` if it does not run.
    pub(crate) fn pid(&self, server: Server) -> Option<Pid> {
        let pid = match server {
            Server::Kafka => self.embedded.kafka_pid(),
            Server::Postgres => self.embedded.postgres_pid(),
        };
        Pid::from_raw(i32::try_from(pid?).ok()?)
    }

    /// Sends SIGKILL to a server, and waits for its end.
    pub(crate) async fn kill(&self, server: Server) -> Result<(), ChaosError> {
        if let Some(process) = self.pid(server) {
            kill_process(process, Signal::KILL).map_err(std::io::Error::from)?;
        }
        until("a killed server ends", async || self.pid(server).is_none()).await
    }

    /// Starts a server again, with the same data. Returns when it answers.
    pub(crate) async fn start_again(&self, server: Server) -> Result<(), ChaosError> {
        let started = match server {
            Server::Kafka => self.embedded.start_kafka().await,
            Server::Postgres => self.embedded.start_postgres().await,
        };
        Ok(started?)
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// The port in the URL of an embedded database.
fn port_of(url: &str) -> u16 {
    let address = url.rsplit_once('@').map_or("", |(_, rest)| rest);
    address.split('/').next().and_then(|address| address.rsplit_once(':')?.1.parse().ok()).unwrap_or_default()
}
