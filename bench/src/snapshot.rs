//! Determines when the rows of a transaction became visible, without reading the rows.
//!
//! A snapshot lists the transactions that it does not see. The watcher takes snapshots repeatedly on a connection of its own and
//! records their times. Afterwards, the `xmin` of a row gives the first snapshot in which another session could see it. A snapshot
//! reads no table, so it costs the database almost nothing. The error is at most the interval of two snapshots, and the result is
//! never too early.

use std::{collections::HashSet, time::Duration};

use sqlx::PgConnection;
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::Result;

const EVERY: Duration = Duration::from_millis(5);

/// Takes snapshots until it is stopped.
pub(crate) struct Watcher {
    stop: CancellationToken,
    task: JoinHandle<Result<Snapshots>>,
}

/// All snapshots, in the order in which they were taken.
pub(crate) struct Snapshots(Vec<Snapshot>);

struct Snapshot {
    taken: Instant,
    /// The lowest transaction id that was not assigned yet.
    next: i64,
    /// The transactions below `next` that were still in progress.
    running: HashSet<i64>,
}

impl Watcher {
    /// Starts to take snapshots.
    pub(crate) fn start(mut connection: PgConnection) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut snapshots = Vec::new();
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                // The last snapshot is taken after the request to stop, so that it sees everything that was committed before.
                let last = stopped.is_cancelled();
                ticks.tick().await;
                let text: String =
                    sqlx::query_scalar("SELECT pg_current_snapshot()::text").fetch_one(&mut connection).await?;
                let (next, running) = parse(&text).ok_or("pg_current_snapshot() has an unexpected form")?;
                snapshots.push(Snapshot { taken: Instant::now(), next, running });
                if last {
                    return Ok(Snapshots(snapshots));
                }
            }
        });
        Self { stop, task }
    }

    /// Stops, and returns the snapshots.
    pub(crate) async fn stop(self) -> Result<Snapshots> {
        self.stop.cancel();
        self.task.await?
    }
}

impl Snapshots {
    /// Returns when a transaction was first visible. Uses binary search: a snapshot sees all transactions that an earlier one sees.
    pub(crate) fn first_that_sees(&self, transaction: i64) -> Option<Instant> {
        let index = self.0.partition_point(|snapshot| !snapshot.sees(transaction));
        self.0.get(index).map(|snapshot| snapshot.taken)
    }
}

impl Snapshot {
    fn sees(&self, transaction: i64) -> bool {
        transaction < self.next && !self.running.contains(&transaction)
    }
}

/// Parses the text form of a `pg_snapshot`, `xmin:xmax:xip_list`, into `xmax` and the list.
fn parse(text: &str) -> Option<(i64, HashSet<i64>)> {
    let mut parts = text.split(':').skip(1);
    let next = parts.next()?.parse().ok()?;
    let running = parts.next()?.split(',').filter(|word| !word.is_empty()).map(str::parse);
    Some((next, running.collect::<std::result::Result<_, _>>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_sees_a_transaction_that_no_longer_runs() {
        let start = Instant::now();
        let snapshots = ["10:10:", "10:12:10,11", "11:13:11", "13:13:"];
        let snapshots = Snapshots(
            (0..)
                .zip(snapshots)
                .map(|(millis, text)| {
                    let (next, running) = parse(text).unwrap();
                    Snapshot { taken: start + Duration::from_millis(millis), next, running }
                })
                .collect(),
        );
        let seen = |transaction| snapshots.first_that_sees(transaction).map(|at| at.duration_since(start).as_millis());
        assert_eq!(seen(9), Some(0));
        assert_eq!(seen(10), Some(2));
        assert_eq!(seen(11), Some(3));
        assert_eq!(seen(13), None);
    }
}
