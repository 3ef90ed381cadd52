//! Where a fault is injected while traffic runs, and what was in flight.

use std::time::{Duration, Instant};

use schemas::receipt::RawPosition;
use serde::{Deserialize, Serialize};

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
