//! Rounds: product and peer in turn, A B B A.

use crate::{Result, machine, plan::Plan, stats::Spread};

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// This project.
    Product,
    /// What it is compared with.
    Peer,
}

/// What one run gave, after its gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Items a second.
    pub(crate) rate: f64,
    /// Processor seconds of the measured process for a million items.
    pub(crate) cpu_seconds_per_million: Option<f64>,
    /// The most memory it had resident.
    pub(crate) peak_rss_mib: Option<f64>,
}

/// All rounds of one figure.
#[derive(Default)]
pub(crate) struct Rounds {
    product: Vec<Measured>,
    peer: Vec<Measured>,
    busiest: f64,
}

/// Runs the plan's rounds; each measures both sides, in turned order every second time.
pub(crate) async fn interleaved(
    plan: &Plan,
    name: &str,
    mut run: impl AsyncFnMut(Side, u32) -> Result<Measured>,
) -> Result<Rounds> {
    let mut rounds = Rounds::default();
    for round in 0..plan.rounds {
        let order = if round.is_multiple_of(2) { [Side::Product, Side::Peer] } else { [Side::Peer, Side::Product] };
        for side in order {
            rounds.busiest = rounds.busiest.max(machine::until_idle(plan.idle_limit()).await);
            let measured =
                run(side, round).await.map_err(|error| format!("{name}, {side:?}, round {round}: {error}"))?;
            eprintln!("{name}, round {round}, {side:?}: {:.0}/s", measured.rate);
            match side {
                Side::Product => rounds.product.push(measured),
                Side::Peer => rounds.peer.push(measured),
            }
        }
    }
    Ok(rounds)
}

impl Rounds {
    /// The rates of one side.
    pub(crate) fn rate(&self, side: Side) -> Option<Spread> {
        Spread::of(self.side(side).iter().map(|measured| measured.rate))
    }

    /// The ratio of each round's two rates.
    pub(crate) fn ratio(&self) -> Option<Spread> {
        Spread::of(self.product.iter().zip(&self.peer).map(|(product, peer)| product.rate / peer.rate))
    }

    /// The ratio of the processor time that each round's two runs took for as many items.
    pub(crate) fn cpu_ratio(&self) -> Option<Spread> {
        let pairs = self.product.iter().zip(&self.peer);
        Spread::of(
            pairs.filter_map(|(product, peer)| Some(product.cpu_seconds_per_million? / peer.cpu_seconds_per_million?)),
        )
    }

    /// Processor seconds a million of one side.
    pub(crate) fn cpu(&self, side: Side) -> Option<Spread> {
        Spread::of(self.side(side).iter().filter_map(|measured| measured.cpu_seconds_per_million))
    }

    /// The highest peak of one side.
    pub(crate) fn peak_rss_mib(&self, side: Side) -> Option<f64> {
        self.side(side).iter().filter_map(|measured| measured.peak_rss_mib).max_by(f64::total_cmp)
    }

    /// The largest share of the cores that something else used before a run.
    pub(crate) const fn busiest(&self) -> f64 {
        self.busiest
    }

    fn side(&self, side: Side) -> &[Measured] {
        match side {
            Side::Product => &self.product,
            Side::Peer => &self.peer,
        }
    }
}
