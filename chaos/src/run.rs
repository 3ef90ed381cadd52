//! One seed: an installation, traffic, faults, and the oracle.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{
    error::ChaosError,
    fault::{FaultKind, inject::inject, target::Target},
    installation::{Build, Installation},
    oracle::{
        self,
        compare::{Breach, Finding},
    },
    plan::Plan,
    recovery::recovery,
    report::{Injected, Report},
    servers::Servers,
    traffic::{Traffic, sender::Sender},
};

/// How an installation is treated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the stages are started.
    pub build: Build,
    /// The commit of the build, for the report.
    pub commit: String,
    /// Requests per second.
    pub rate: u32,
    /// In which time a fresh payload must pass after a fault has ended, and in which everything that was accepted must be stored
    /// after the traffic has ended.
    pub recovery_max: Duration,
}

/// How long the traffic runs before each fault.
const BEFORE_FAULT: Duration = Duration::from_millis(1_500);

/// Runs the plan of one seed. Files and logs are written to `directory`.
///
/// # Errors
/// [`ChaosError`]: the run cannot be carried out. What the oracle finds is in the report.
pub async fn run(servers: &Servers, settings: &Settings, plan: &Plan, directory: &Path) -> Result<Report, ChaosError> {
    let begun = Instant::now();
    let installation = Installation::start(servers, &settings.build, plan, directory).await?;
    let sender = Arc::new(Sender::new(&installation)?);
    let mut dice = StdRng::seed_from_u64(plan.seed);
    let started = recovery(&installation, &sender, &mut dice, settings.recovery_max).await;
    if started.is_none() {
        return Err(ChaosError::TimedOut { what: "the first payloads are stored", within: settings.recovery_max });
    }
    let traffic = Traffic::start(&sender, plan.seed, settings.rate);
    let (mut faults, mut findings) = (Vec::new(), Vec::new());
    for round in &plan.rounds {
        tokio::time::sleep(BEFORE_FAULT).await;
        let target = Target { installation: &installation, sender: &sender };
        let hits = join_all(round.iter().map(|kind| {
            let mut own = StdRng::seed_from_u64(dice.random());
            let target = &target;
            async move { inject(target, *kind, &mut own).await }
        }));
        let hits: Vec<_> = hits.await.into_iter().collect::<Result<_, _>>()?;
        let recovered = recovery(&installation, &sender, &mut dice, settings.recovery_max).await;
        if recovered.is_none() {
            findings.push(not_recovered(round, settings.recovery_max));
        }
        let recovery_ms = recovered.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        for (kind, hit) in round.iter().zip(hits) {
            let together_with = round.iter().filter(|other| *other != kind).map(|other| other.name()).collect();
            faults.push(Injected { fault: kind.name(), together_with, hit, recovery_ms });
        }
    }
    traffic.stop().await?;
    let verdict = oracle::settle(&installation, &sender, settings.recovery_max, plan.disturbs_kafka()).await?;
    findings.extend(verdict.findings);
    let crashes = installation.processes.crashes().into_iter();
    findings.extend(crashes.map(|what| Finding { breach: Breach::Unexplained, what }));
    let report = Report {
        commit: settings.commit.clone(),
        seed: plan.seed,
        per_stage: plan.per_stage,
        is_classic: plan.is_classic,
        seconds: begun.elapsed().as_secs(),
        accepted: sender.log().obligations.len(),
        items: verdict.items,
        repeated: verdict.repeated,
        faults,
        findings,
    };
    installation.remove().await?;
    Ok(report)
}

fn not_recovered(round: &[FaultKind], within: Duration) -> Finding {
    let names: Vec<String> = round.iter().map(|kind| kind.name()).collect();
    let what = format!("no fresh payload passes {} s after {}", within.as_secs(), names.join(" with "));
    Finding { breach: Breach::Unexplained, what }
}
