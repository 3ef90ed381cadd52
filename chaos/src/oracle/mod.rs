//! The oracle: knows what was accepted, and looks for all of it.
//!
//! Each answer with a receipt is an obligation. The raw topics must have its record with the bytes that were sent
//! (`obligations`). What must be in Postgres follows from all raw records by the pure mapping (`expected`), and everything that is
//! there is compared with it (`compare`), so that a missing row, an additional one and a wrong one are all found.

pub(crate) mod compare;
pub(crate) mod expected;
pub(crate) mod obligations;
pub(crate) mod raw;
pub(crate) mod stored;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::{error::ChaosError, installation::Installation, traffic::sender::Sender};
use compare::{Finding, Findings, compare};
use expected::{Expected, expected};
use obligations::Checked;
use raw::Records;
use stored::Stored;

/// How often the comparison is repeated until it finds nothing.
const COMPARE_EVERY: Duration = Duration::from_millis(500);

/// The result of a comparison.
pub(crate) struct Verdict {
    pub(crate) findings: Vec<Finding>,
    /// The number of items that the raw records contain.
    pub(crate) items: u64,
    /// The number of raw records beyond one for each request.
    pub(crate) repeated: u32,
}

/// Compares until nothing is found, at most `within`. Events are on their way for a moment, so a first finding proves nothing.
pub(crate) async fn settle(
    installation: &Installation<'_>,
    sender: &Sender,
    within: Duration,
    may_repeat: bool,
) -> Result<Verdict, ChaosError> {
    let begun = Instant::now();
    let (mut records, mut owed) = (Records::new(), Expected::default());
    loop {
        let (has_new, read) = read(installation, records).await?;
        records = read;
        if has_new {
            owed = expected(&records, &installation.receipt_key);
        }
        let Checked { findings: Findings(mut findings), repeated } =
            obligations::check(&sender.log(), &records, may_repeat);
        let stored = Stored::load(&installation.pool).await;
        let is_over = begun.elapsed() > within;
        match stored {
            Ok(stored) => findings.extend(compare(&owed, &stored)),
            Err(error) if is_over => return Err(error.into()),
            Err(_) => {
                tokio::time::sleep(COMPARE_EVERY).await;
                continue;
            }
        }
        if findings.is_empty() || is_over {
            findings.sort();
            let items = owed.outcomes.values().map(|counts| u64::try_from(counts.items).unwrap_or_default()).sum();
            return Ok(Verdict { findings, items, repeated });
        }
        tokio::time::sleep(COMPARE_EVERY).await;
    }
}

async fn read(installation: &Installation<'_>, mut records: Records) -> Result<(bool, Records), ChaosError> {
    let (kafka, topics, partitions) = (installation.kafka(), installation.topics.clone(), installation.partitions);
    let read = move || raw::read_new(&kafka, &topics, partitions, &mut records).map(|has_new| (has_new, records));
    Ok(tokio::task::spawn_blocking(read).await??)
}
