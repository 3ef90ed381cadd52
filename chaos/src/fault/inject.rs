//! Injects a fault while traffic runs, and finds out what was in flight.

use std::time::{Duration, Instant};

use rand::{Rng as _, rngs::StdRng};
use schemas::receipt::RawPosition;
use serde::{Deserialize, Serialize};

use super::{FaultKind, network, postgres, server, stage, topic};
use crate::{
    error::ChaosError, installation::Installation, process::Stage, recovery::unstored, traffic::sender::Sender,
};

/// How long to wait until something is in flight.
const WORK_WITHIN: Duration = Duration::from_secs(3);
/// How much is to be in flight when a fault begins.
const WORK_MIN: usize = 10;
/// The last accepted requests, among which those that are not stored yet are counted.
const LAST: usize = 200;
/// How long a question about what is in flight may take.
const ANSWER: Duration = Duration::from_secs(1);

/// What a fault hit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Requests that were accepted and not stored when the fault began. For a fault of the ingress also those that were open.
    pub in_flight: usize,
    /// Whether the fault hit work in flight. A fault that did not is not counted.
    pub is_hit: bool,
}

impl Hit {
    pub(super) const fn of(in_flight: usize) -> Self {
        Self { in_flight, is_hit: in_flight > 0 }
    }
}

/// Where faults are injected.
pub(crate) struct Target<'a> {
    pub(crate) installation: &'a Installation<'a>,
    pub(crate) sender: &'a Sender,
}

impl Target<'_> {
    /// Injects a fault and heals it again.
    pub(crate) async fn inject(&self, kind: FaultKind, dice: &mut StdRng) -> Result<Hit, ChaosError> {
        let mut number = |count: usize| if count == 0 { 0 } else { dice.random_range(0..count) };
        let per_stage = self.installation.per_stage;
        match kind {
            FaultKind::Kill(of) => stage::kill(self, (of, number(per_stage))).await,
            FaultKind::FailPoint(point) => {
                let member = (point.stage, number(per_stage));
                stage::end_at(self, member, point.name, number(15)).await
            }
            FaultKind::Terminate(of) => stage::terminate(self, (of, number(per_stage))).await,
            FaultKind::Freeze(of) => stage::freeze(self, (of, number(per_stage))).await,
            FaultKind::RollingRestart => stage::restart_all(self).await,
            FaultKind::MemberComesAndGoes(of) => stage::join_and_leave(self, of).await,
            FaultKind::KillServer(of) => server::kill(self, of).await,
            FaultKind::RestartServer(of) => server::restart(self, of).await,
            FaultKind::FreezeBroker => server::freeze_broker(self).await,
            FaultKind::Slow(of) => network::slow(self, of).await,
            FaultKind::Silent(of) => network::silent(self, of).await,
            FaultKind::Reset(of) => network::reset(self, of).await,
            FaultKind::ReadOnly => postgres::read_only(self).await,
            FaultKind::NoConnections => postgres::no_connections(self).await,
            FaultKind::CommitTerminated => postgres::commit_terminated(self).await,
            FaultKind::CommitCut => postgres::commit_cut(self).await,
            FaultKind::TableLocked => postgres::table_locked(self).await,
            FaultKind::DiskFull => postgres::errors(self, "53100").await,
            FaultKind::SerializationFailures => postgres::errors(self, "40001").await,
            FaultKind::Deadlocks => postgres::errors(self, "40P01").await,
            FaultKind::PoisonRecords => topic::poison_records(self).await,
            FaultKind::DeadLettersRefused => topic::dead_letters_refused(self).await,
        }
    }

    /// Waits until something is in flight, and then begins the fault. Counts what was accepted before it and is still not stored
    /// when it has begun; if Postgres does not answer then, what was not stored directly before.
    pub(super) async fn strike<E>(&self, begin: impl Future<Output = Result<(), E>>) -> Result<Hit, ChaosError>
    where
        ChaosError: From<E>,
    {
        let (accepted, before) = self.wait_for_work().await;
        let begun = begin.await;
        self.sender.hurry(false);
        begun?;
        let after = tokio::time::timeout(ANSWER, unstored(&self.installation.pool, &accepted)).await;
        Ok(Hit::of(match after {
            Ok(Ok(after)) => after,
            Ok(Err(_)) | Err(_) => before,
        }))
    }

    /// As [`Target::strike`] for a fault of one stage; the requests that the ingress has not answered count as well.
    pub(super) async fn strike_stage(
        &self,
        stage: Stage,
        begin: impl FnOnce() -> Result<(), ChaosError>,
    ) -> Result<Hit, ChaosError> {
        let mut open = 0;
        let hit = self
            .strike(async {
                open = self.sender.open();
                begin()
            })
            .await?;
        Ok(if stage == Stage::Ingress { Hit::of(hit.in_flight + open) } else { hit })
    }

    /// Returns the requests that were accepted last, and how many of them are not stored; waits until some are not.
    async fn wait_for_work(&self) -> (Vec<RawPosition>, usize) {
        let begun = Instant::now();
        self.sender.hurry(true);
        loop {
            let accepted = self.last_accepted();
            let count = tokio::time::timeout(ANSWER, unstored(&self.installation.pool, &accepted)).await;
            let count = count.ok().and_then(Result::ok).unwrap_or_default();
            if count >= WORK_MIN || begun.elapsed() > WORK_WITHIN {
                return (accepted, count);
            }
        }
    }

    fn last_accepted(&self) -> Vec<RawPosition> {
        self.sender.log().obligations.iter().rev().take(LAST).map(|obligation| obligation.position).collect()
    }
}
