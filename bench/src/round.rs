//! Rounds: product and peer are measured in turn, in the order A B B A.

use crate::{Result, machine, plan::Plan, stats::Spread};

/// The process that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The build of this project under test.
    Product,
    /// The program or the other build that it is compared with.
    Peer,
}

/// The result of one run that has passed its correctness gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Items per second.
    pub(crate) rate: f64,
    /// Processor seconds of the measured process per million items.
    pub(crate) cpu_seconds_per_million: Option<f64>,
    /// Its peak resident memory.
    pub(crate) peak_rss_mib: Option<f64>,
}

/// All rounds of one figure.
#[derive(Default)]
pub(crate) struct Rounds {
    product: Vec<Measured>,
    peer: Vec<Measured>,
    busiest: f64,
}

/// Runs the plan's rounds. Each round measures both sides; every second round starts with the peer. `run` gets the side and the
/// round's number.
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

    /// The ratios of the rates, product divided by peer, over the rounds.
    pub(crate) fn ratio(&self) -> Option<Spread> {
        Spread::of(self.product.iter().zip(&self.peer).map(|(product, peer)| product.rate / peer.rate))
    }

    /// The ratios of the processor time per item, product divided by peer, over the rounds.
    pub(crate) fn cpu_ratio(&self) -> Option<Spread> {
        let pairs = self.product.iter().zip(&self.peer);
        Spread::of(
            pairs.filter_map(|(product, peer)| Some(product.cpu_seconds_per_million? / peer.cpu_seconds_per_million?)),
        )
    }

    /// Processor seconds per million items of one side.
    pub(crate) fn cpu(&self, side: Side) -> Option<Spread> {
        Spread::of(self.side(side).iter().filter_map(|measured| measured.cpu_seconds_per_million))
    }

    /// The highest peak of resident memory of one side.
    pub(crate) fn peak_rss_mib(&self, side: Side) -> Option<f64> {
        self.side(side).iter().filter_map(|measured| measured.peak_rss_mib).max_by(f64::total_cmp)
    }

    /// The largest share of the cores, from 0 to 1, that other processes used before a run.
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
