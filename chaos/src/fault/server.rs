//! Faults of the servers' processes.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, prlimit};
use tokio::sync::oneshot;

use super::{
    Server,
    target::{Hit, Target},
};
use crate::{error::ChaosError, wait::holds_within};

/// Longer than a session of a consumer group.
const FROZEN: Duration = Duration::from_secs(7);
/// How long a server stays away after an orderly stop.
const AWAY: Duration = Duration::from_secs(3);
/// How long the broker may take to stop when it cannot write.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn kill(target: &Target<'_>, server: Server) -> Result<Hit, ChaosError> {
    let servers = target.installation.servers;
    let hit = target.strike(servers.kill(server)).await?;
    servers.start_again(server).await?;
    Ok(hit)
}

pub(super) async fn restart(target: &Target<'_>, server: Server) -> Result<Hit, ChaosError> {
    let embedded = &target.installation.servers.embedded;
    // An orderly stop takes a moment, in which what is in flight may be stored. So it is counted when the stop begins.
    let (begins, has_begun) = oneshot::channel();
    let begin = async {
        // The receiver lives until the server has stopped.
        let _waits = begins.send(());
        Ok::<_, ChaosError>(())
    };
    let stop = async {
        let _begun = has_begun.await;
        match server {
            Server::Kafka => embedded.stop_kafka().await,
            Server::Postgres => embedded.stop_postgres().await,
        }
    };
    let (hit, ()) = tokio::join!(target.strike(begin), stop);
    let hit = hit?;
    tokio::time::sleep(AWAY).await;
    target.installation.servers.start_again(server).await?;
    Ok(hit)
}

pub(super) async fn freeze_broker(target: &Target<'_>) -> Result<Hit, ChaosError> {
    let embedded = &target.installation.servers.embedded;
    let freeze = async {
        embedded.pause_kafka();
        Ok::<_, ChaosError>(())
    };
    let hit = target.strike(freeze).await?;
    tokio::time::sleep(FROZEN).await;
    embedded.resume_kafka();
    Ok(hit)
}

/// Lets no file of the broker grow, as on a full disk: each write fails with `File too large`. The broker stops by itself when it has
/// noticed that. If it does not, it is killed, and the fault counts as no hit.
pub(super) async fn broker_disk_full(target: &Target<'_>) -> Result<Hit, ChaosError> {
    let servers = target.installation.servers;
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    let fill = async {
        if let Some(pid) = servers.pid(Server::Kafka) {
            prlimit(Some(pid), Resource::Fsize, nothing).map_err(std::io::Error::from)?;
        }
        Ok::<_, ChaosError>(())
    };
    let hit = target.strike(fill).await?;
    let stops = holds_within(STOPS_WITHIN, async || servers.pid(Server::Kafka).is_none()).await.is_some();
    if !stops {
        servers.kill(Server::Kafka).await?;
    }
    tokio::time::sleep(AWAY).await;
    servers.start_again(Server::Kafka).await?;
    Ok(Hit { is_hit: hit.is_hit && stops, ..hit })
}
