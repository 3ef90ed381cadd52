//! Faults of the servers' processes.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{
    Server,
    target::{Hit, Target},
};
use crate::error::ChaosError;

/// Longer than a session of a consumer group.
const FROZEN: Duration = Duration::from_secs(7);
/// How long a server stays away after an orderly stop.
const AWAY: Duration = Duration::from_secs(3);

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
