//! From when on a transaction's rows can be seen, without reading the rows.
//!
//! A snapshot names the transactions it does not see. Taken again and again on its own connection, with its time, it
//! tells for each row afterwards, by the row's `xmin`, when another session could see it first. It reads no table, so
//! it costs the database next to nothing, and its error is the distance of two snapshots, on the late side.

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
    /// The first transaction that had not begun.
    next: i64,
    /// Those before it that had not ended.
    running: HashSet<i64>,
}

impl Watcher {
    /// Starts at once.
    pub(crate) fn start(mut connection: PgConnection) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut snapshots = Vec::new();
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                // One more after it was asked to stop: it sees all that was committed until then.
                let last = stopped.is_cancelled();
                ticks.tick().await;
                let text: String =
                    sqlx::query_scalar("SELECT pg_current_snapshot()::text").fetch_one(&mut connection).await?;
                let (next, running) = parse(&text).ok_or("a snapshot has another form")?;
                snapshots.push(Snapshot { taken: Instant::now(), next, running });
                if last {
                    return Ok(Snapshots(snapshots));
                }
            }
        });
        Self { stop, task }
    }

    /// What was taken.
    pub(crate) async fn stop(self) -> Result<Snapshots> {
        self.stop.cancel();
        self.task.await?
    }
}

impl Snapshots {
    /// When a transaction was seen first. Snapshots see ever more, so this is a search by halves.
    pub(crate) fn first_that_sees(&self, transaction: i64) -> Option<Instant> {
        let place = self.0.partition_point(|snapshot| !snapshot.sees(transaction));
        self.0.get(place).map(|snapshot| snapshot.taken)
    }
}

impl Snapshot {
    fn sees(&self, transaction: i64) -> bool {
        transaction < self.next && !self.running.contains(&transaction)
    }
}

/// `oldest:next:running,running,…`
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
    fn a_transaction_is_seen_when_it_no_longer_runs() {
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
