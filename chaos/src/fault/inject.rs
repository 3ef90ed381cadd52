//! Injects a fault of each kind.

use rand::{Rng as _, rngs::StdRng};

use super::{
    FaultKind, clock, network, postgres, restore, server, stage,
    target::{Hit, Target},
    topic,
};
use crate::error::ChaosError;

/// Injects a fault and heals it again.
pub(crate) async fn inject(target: &Target<'_>, kind: FaultKind, dice: &mut StdRng) -> Result<Hit, ChaosError> {
    let mut number = |count: usize| if count == 0 { 0 } else { dice.random_range(0..count) };
    let per_stage = target.installation.per_stage;
    match kind {
        FaultKind::Kill(of) => stage::kill(target, (of, number(per_stage))).await,
        FaultKind::FailPoint(point) => {
            let member = (point.stage, number(per_stage));
            stage::end_at(target, member, point.name, number(15)).await
        }
        FaultKind::Terminate(of) => stage::terminate(target, (of, number(per_stage))).await,
        FaultKind::Freeze(of) => stage::freeze(target, (of, number(per_stage))).await,
        FaultKind::StepClock(of) => {
            let member = (of, number(per_stage));
            clock::step(target, member, dice).await
        }
        FaultKind::RollingRestart => stage::restart_all(target).await,
        FaultKind::MemberComesAndGoes(of) => stage::join_and_leave(target, of).await,
        FaultKind::KillServer(of) => server::kill(target, of).await,
        FaultKind::RestartServer(of) => server::restart(target, of).await,
        FaultKind::FreezeBroker => server::freeze_broker(target).await,
        FaultKind::BrokerDiskFull => server::broker_disk_full(target).await,
        FaultKind::Slow(of) => network::slow(target, of).await,
        FaultKind::Silent(of) => network::silent(target, of).await,
        FaultKind::Reset(of) => network::reset(target, of).await,
        FaultKind::ReadOnly => postgres::read_only(target).await,
        FaultKind::NoConnections => postgres::no_connections(target).await,
        FaultKind::CommitTerminated => postgres::commit_terminated(target).await,
        FaultKind::CommitCut => postgres::commit_cut(target).await,
        FaultKind::TableLocked => postgres::table_locked(target).await,
        FaultKind::DiskFull => postgres::errors(target, "53100").await,
        FaultKind::SerializationFailures => postgres::errors(target, "40001").await,
        FaultKind::Deadlocks => postgres::errors(target, "40P01").await,
        FaultKind::OlderDump => restore::older_dump(target).await,
        FaultKind::PoisonRecords => topic::poison_records(target).await,
        FaultKind::DeadLettersRefused => topic::dead_letters_refused(target).await,
    }
}
