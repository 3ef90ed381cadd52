//! Faults of the network between the stages and a server.

use std::time::Duration;

use super::{
    Server,
    target::{Hit, Target},
};
use crate::{
    error::ChaosError,
    proxy::{Network, Proxy},
};

/// How long each piece is delayed.
const DELAY: Duration = Duration::from_millis(30);
/// How long the network is slow.
const SLOW: Duration = Duration::from_secs(5);
/// How long the network is silent. Longer than a session of a consumer group.
const SILENT: Duration = Duration::from_secs(7);
/// How often connections are reset, and how much time is between two resets.
const RESETS: u32 = 5;
const BETWEEN_RESETS: Duration = Duration::from_millis(300);

fn proxy<'t>(target: &Target<'t>, server: Server) -> &'t Proxy {
    let servers = target.installation.servers;
    match server {
        Server::Kafka => &servers.kafka_proxy,
        Server::Postgres => &servers.postgres_proxy,
    }
}

pub(super) async fn slow(target: &Target<'_>, server: Server) -> Result<Hit, ChaosError> {
    change(target, server, Network::Slow(DELAY), SLOW).await
}

pub(super) async fn silent(target: &Target<'_>, server: Server) -> Result<Hit, ChaosError> {
    change(target, server, Network::Silent, SILENT).await
}

async fn change(target: &Target<'_>, server: Server, network: Network, lasts: Duration) -> Result<Hit, ChaosError> {
    let proxy = proxy(target, server);
    let begin = async {
        proxy.set(network);
        Ok::<_, ChaosError>(())
    };
    let hit = target.strike(begin).await?;
    tokio::time::sleep(lasts).await;
    proxy.set(Network::Works);
    Ok(hit)
}

/// Resets all connections several times, and refuses new ones in between.
pub(super) async fn reset(target: &Target<'_>, server: Server) -> Result<Hit, ChaosError> {
    let proxy = proxy(target, server);
    let mut all = Hit::default();
    for _ in 0..RESETS {
        let begin = async {
            proxy.set(Network::Resets);
            Ok::<_, ChaosError>(())
        };
        let hit = target.strike(begin).await?;
        all = Hit { in_flight: all.in_flight.max(hit.in_flight), is_hit: all.is_hit || hit.is_hit };
        tokio::time::sleep(BETWEEN_RESETS).await;
        proxy.set(Network::Works);
        tokio::time::sleep(BETWEEN_RESETS).await;
    }
    Ok(all)
}
