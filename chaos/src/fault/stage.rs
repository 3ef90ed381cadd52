//! Faults of the stages' processes.

use std::time::Duration;

use rustix::process::Signal;

use super::target::{Hit, Target};
use crate::{
    error::ChaosError,
    process::{Member, Stage, Variables},
    wait::{holds_within, until},
};

/// Longer than a group waits for a member: the session timeout of the embedded Kafka is 4 s, of the classic protocol 8 s.
const FROZEN: Duration = Duration::from_secs(9);
/// How long an additional member stays.
const STAYS: Duration = Duration::from_secs(4);
/// How long to wait for a process that ends itself at a step.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn kill(target: &Target<'_>, member: Member) -> Result<Hit, ChaosError> {
    let processes = &target.installation.processes;
    let hit = target
        .strike_stage(member.0, || {
            processes.kill(member);
            Ok(())
        })
        .await?;
    processes.start(member)?;
    Ok(hit)
}

/// Starts a process that ends itself when it has passed a step `passes` times.
pub(super) async fn end_at(target: &Target<'_>, member: Member, step: &str, passes: usize) -> Result<Hit, ChaosError> {
    let processes = &target.installation.processes;
    processes.kill(member);
    let action = if passes == 0 { format!("{step}=return") } else { format!("{step}={passes}*off->return") };
    processes.start_unsupervised(member, &Variables::from([("FAILPOINTS".to_owned(), action)]))?;
    let has_ended = holds_within(ENDS_WITHIN, async || processes.has_ended(member)).await.is_some();
    let hit = target.strike_stage(member.0, || Ok(())).await?;
    processes.start(member)?;
    // A process at a step is by definition in the middle of a delivery.
    Ok(Hit { is_hit: has_ended, ..hit })
}

pub(super) async fn terminate(target: &Target<'_>, member: Member) -> Result<Hit, ChaosError> {
    let processes = &target.installation.processes;
    processes.expect_end(member);
    let hit = target.strike_stage(member.0, || processes.signal(member, Signal::TERM)).await?;
    processes.wait_for_end(member).await;
    processes.start(member)?;
    Ok(hit)
}

pub(super) async fn freeze(target: &Target<'_>, member: Member) -> Result<Hit, ChaosError> {
    let processes = &target.installation.processes;
    let hit = target.strike_stage(member.0, || processes.signal(member, Signal::STOP)).await?;
    tokio::time::sleep(FROZEN).await;
    processes.signal(member, Signal::CONT)?;
    Ok(hit)
}

pub(super) async fn restart_all(target: &Target<'_>) -> Result<Hit, ChaosError> {
    let (installation, processes) = (target.installation, &target.installation.processes);
    let mut all = Hit::default();
    // Consumers before producers, as in an upgrade.
    for stage in Stage::ALL.into_iter().rev() {
        for member in installation.members(stage) {
            let hit = terminate(target, member).await?;
            all = Hit { in_flight: all.in_flight.max(hit.in_flight), is_hit: all.is_hit || hit.is_hit };
            until("a restarted process is ready", async || processes.is_ready(member).await).await?;
        }
    }
    Ok(all)
}

pub(super) async fn join_and_leave(target: &Target<'_>, stage: Stage) -> Result<Hit, ChaosError> {
    let (installation, processes) = (target.installation, &target.installation.processes);
    let joining = (stage, installation.per_stage);
    let hit = target.strike_stage(stage, || processes.start(joining)).await?;
    until("a joining process is ready", async || processes.is_ready(joining).await).await?;
    tokio::time::sleep(STAYS).await;
    processes.expect_end(joining);
    let leaves = target.strike_stage(stage, || processes.signal(joining, Signal::TERM)).await?;
    processes.wait_for_end(joining).await;
    Ok(Hit { in_flight: hit.in_flight.max(leaves.in_flight), is_hit: hit.is_hit && leaves.is_hit })
}
