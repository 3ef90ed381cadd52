//! Runs a comparison. Its progress and what it finds are in the database, so that it continues after it was killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

use catalogue::CatalogueFile;
use normalizer::{MAPPING_VERSION, NormalizerConfig};
use schemas::{format::Provider, receipt::ReceiptKey};
use sqlx::{PgConnection, PgPool};
use store::{
    replay::{self, Job, JobKind, JobRange, JobState, NewJob, Pass, RawRange},
    trace,
};
use tokio::sync::mpsc;

use crate::{
    compare_batch::OpenRecord,
    counts::Counts,
    defaults::EarlierDefaults,
    diff::Diff,
    error::ReplayError,
    examples::{Example, Examples},
    job::{alone, ended, job_of, require_mapping},
    log::{Covered, RawLog},
    parallel::for_each,
    scope::Scope,
    state::{Progress, Replay, ReplayConfig},
};

/// How long to wait for the sinks before comparing.
const SINKS_WITHIN: Duration = Duration::from_mins(1);
const SINKS_POLL: Duration = Duration::from_millis(100);

pub(crate) fn log_of(config: &NormalizerConfig) -> RawLog {
    let NormalizerConfig { kafka: settings, topics, topic_epoch, group, .. } = config.clone();
    RawLog { settings, topics, topic_epoch, group }
}

/// Stores a replay of the records that exist now and that the stages have finished. Returns its number.
///
/// # Errors
/// [`ReplayError`].
pub async fn start(config: &ReplayConfig, pool: &PgPool, scope: &Scope, operator: &str) -> Result<i32, ReplayError> {
    let log = log_of(&config.normalizer);
    let ranges = finished_ranges(&log, pool, scope).await?;
    wait_for_sinks(&log, pool).await?;
    let kind = if scope.is_redrive() { JobKind::Redrive } else { JobKind::Compare };
    create(pool, kind, scope, operator, &ranges).await
}

async fn create(
    pool: &PgPool,
    kind: JobKind,
    scope: &Scope,
    operator: &str,
    ranges: &[(RawRange, String)],
) -> Result<i32, ReplayError> {
    let stored = scope.stored().map_err(|error| sqlx::Error::Encode(error.into()))?;
    let new = NewJob {
        kind,
        scope: &stored,
        mapping_version: MAPPING_VERSION,
        catalogue_revision: catalogue::revision(),
        catalogue_sha256: catalogue::file().map(CatalogueFile::sha256),
        operator,
    };
    let mut transaction = pool.begin().await?;
    let id = replay::create(&mut transaction, &new).await?;
    replay::add_ranges(&mut transaction, id, Pass::Compare, ranges).await?;
    transaction.commit().await?;
    Ok(id)
}

/// Returns the ranges that a scope covers, without the records that the stages have not finished, and what is known of them.
async fn finished_ranges(log: &RawLog, pool: &PgPool, scope: &Scope) -> Result<Vec<(RawRange, String)>, ReplayError> {
    let (reader, wanted) = (log.clone(), scope.clone());
    let covered = tokio::task::spawn_blocking(move || reader.covered(&wanted)).await??;
    let mut ranges = Vec::new();
    for Covered { mut range, deleted, is_time_unknown } in covered {
        let end = finished_until(log, pool, &range).await?;
        let unfinished_records = u64::try_from(range.end - end).unwrap_or(0);
        let mut counts = Counts { unfinished_records, ..Counts::default() };
        counts.add_deleted(&range, deleted, is_time_unknown);
        range.end = end;
        ranges.push((range, counts.stored()));
    }
    Ok(ranges)
}

/// Compares the records of a replay from where the comparison ended, and returns what the replay would change. With `examples`, the
/// values of some differences that this call finds are returned, too.
///
/// # Errors
/// [`ReplayError`]. The comparison continues with the next call.
pub async fn compare(
    config: ReplayConfig,
    pool: &PgPool,
    replay_id: i32,
    progress: Arc<Progress>,
    examples: bool,
) -> Result<(Diff, Vec<Example>), ReplayError> {
    alone(pool, replay_id, Box::pin(compare_alone(config, pool, replay_id, progress, examples))).await
}

/// Compares, while no other process works on the replay.
pub(crate) async fn compare_alone(
    config: ReplayConfig,
    pool: &PgPool,
    replay_id: i32,
    progress: Arc<Progress>,
    examples: bool,
) -> Result<(Diff, Vec<Example>), ReplayError> {
    let job = job_of(&mut *pool.acquire().await?, replay_id).await?;
    if job.state == JobState::Aborted {
        return Err(ReplayError::Aborted(replay_id));
    }
    if job.state != JobState::Comparing {
        return Ok((Diff::load(&mut *pool.acquire().await?, &job, &config.receipt_key).await?, Vec::new()));
    }
    require_mapping(&job)?;
    let scope = Scope::from_stored(&job.scope).ok_or(ReplayError::Scope(replay_id))?;
    let mut replay = open(config, pool, &job, scope, progress).await?;
    replay.examples = examples.then(|| Mutex::new(Examples::default()));
    replay = run_pass(replay, Pass::Compare).await?;
    let mut connection = pool.acquire().await?;
    // The outcome of a record may be stored before its last reading.
    let in_flight = replay::forget_arrived(&mut connection, replay_id).await?;
    if let Some(mut first) = replay::ranges(&mut connection, replay_id, Pass::Compare).await?.into_iter().next()
        && in_flight > 0
    {
        let mut counts = Counts::from_stored(&first.counts);
        counts.in_flight += in_flight;
        first.counts = counts.stored();
        replay::advance(&mut connection, replay_id, Pass::Compare, &first).await?;
    }
    replay.missing = replay::missing(&mut connection, replay_id).await?.into_iter().collect();
    if !replay.missing.is_empty() {
        let log = replay.log.clone();
        let mut everything = vec![Scope::of(replay.scope.provider)];
        if replay.scope.is_redrive() {
            everything = Provider::ALL.iter().map(|provider| Scope::of(*provider)).collect();
        }
        let covered = tokio::task::spawn_blocking(move || {
            let of_each = everything.iter().map(|scope| log.covered(scope));
            of_each.collect::<Result<Vec<_>, _>>()
        });
        let ranges: Vec<(RawRange, String)> = covered
            .await??
            .into_iter()
            .flatten()
            .filter(|covered| covered.range.topic.provider().is_some())
            .map(|covered| (covered.range, Counts::default().stored()))
            .collect();
        replay::add_ranges(&mut connection, replay_id, Pass::Find, &ranges).await?;
        replay = run_pass(replay, Pass::Find).await?;
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("replay-others-found");
        replay::settle_missing(&mut connection, replay_id).await?;
    }
    #[cfg(feature = "fail-points")]
    service::fail_point::pass("replay-compared");
    let found = replay.examples.take().map(|examples| examples.into_inner().unwrap_or_else(PoisonError::into_inner));
    if !replay::set_state(&mut connection, replay_id, &[JobState::Comparing], JobState::Compared).await? {
        return Err(ended(&mut connection, replay_id).await);
    }
    let job = job_of(&mut connection, replay_id).await?;
    let diff = Diff::load(&mut connection, &job, &replay.config.receipt_key).await?;
    Ok((diff, found.map(Examples::into_list).unwrap_or_default()))
}

/// Returns what a replay would change, or has changed. Of one that was aborted, it is what it had published.
///
/// # Errors
/// The replay does not exist or still compares records, or Postgres is unavailable.
pub async fn diff(pool: &PgPool, replay_id: i32, key: &ReceiptKey) -> Result<Diff, ReplayError> {
    let mut connection = pool.acquire().await?;
    let job = job_of(&mut connection, replay_id).await?;
    if job.state == JobState::Comparing {
        return Err(ReplayError::NotCompared { replay: replay_id, state: job.state.as_str() });
    }
    Diff::load(&mut connection, &job, key).await
}

/// Ends a replay. What it has published stays.
///
/// # Errors
/// The replay does not exist or has ended, or Postgres is unavailable.
pub async fn abort(pool: &PgPool, replay_id: i32) -> Result<(), ReplayError> {
    let mut connection = pool.acquire().await?;
    let job = job_of(&mut connection, replay_id).await?;
    let from = [JobState::Comparing, JobState::Compared, JobState::Applying];
    if replay::set_state(&mut connection, replay_id, &from, JobState::Aborted).await? {
        Ok(())
    } else {
        Err(ReplayError::Ended { replay: replay_id, state: job.state.as_str() })
    }
}

pub(crate) async fn open(
    config: ReplayConfig,
    pool: &PgPool,
    job: &Job,
    scope: Scope,
    progress: Arc<Progress>,
) -> Result<Replay, ReplayError> {
    let holdings = match &scope.patient {
        Some(patient) => replay::holdings_of(&mut *pool.acquire().await?, patient.as_str()).await?,
        None => Vec::new(),
    };
    Ok(Replay {
        id: job.replay_id,
        log: log_of(&config.normalizer),
        config,
        scope,
        pool: pool.clone(),
        holdings,
        missing: BTreeSet::new(),
        progress,
        examples: None,
        started: Instant::now(),
        read: AtomicU64::new(0),
    })
}

/// Returns the end of the part of a range that the stages have finished. A record without a value has no outcome, and counts as
/// finished.
async fn finished_until(log: &RawLog, pool: &PgPool, range: &RawRange) -> Result<i64, ReplayError> {
    let mut rest = *range;
    loop {
        rest.first = replay::stored_until(&mut *pool.acquire().await?, &rest).await?;
        if rest.first >= range.end {
            return Ok(rest.first);
        }
        let (reader, next) = (log.clone(), RawRange { end: rest.first + 1, ..rest });
        let has_value = tokio::task::spawn_blocking(move || reader.has_value(&next)).await??;
        if has_value {
            return Ok(rest.first);
        }
        rest.first += 1;
    }
}

/// The end of each partition of the event topics, by the topic's full name and the partition.
pub(crate) type Ends = BTreeMap<(String, i32), i64>;

pub(crate) async fn ends_of_events(log: &RawLog) -> Result<Ends, ReplayError> {
    let reader = log.clone();
    let mut ends = tokio::task::spawn_blocking(move || reader.ends_of_events()).await??;
    ends.retain(|_, end| *end > 0);
    Ok(ends)
}

/// Removes the partitions that the sinks have read up to these ends. Returns the number of events that they have not read.
pub(crate) async fn remove_read(ends: &mut Ends, connection: &mut PgConnection) -> Result<u64, ReplayError> {
    let mut unread = 0;
    let next: BTreeMap<(String, i32), i64> = trace::next_offsets(connection)
        .await?
        .into_iter()
        .map(|next| ((next.topic, next.partition), next.next_offset))
        .collect();
    ends.retain(|partition, end| {
        let left = *end - next.get(partition).copied().unwrap_or(0);
        unread += u64::try_from(left).unwrap_or(0);
        left > 0
    });
    Ok(unread)
}

/// Waits until the sinks have written the events that are on their topics at this moment, so that a reading on its way does not count as
/// added.
pub(crate) async fn wait_for_sinks(log: &RawLog, pool: &PgPool) -> Result<(), ReplayError> {
    let (mut ends, deadline) = (ends_of_events(log).await?, Instant::now() + SINKS_WITHIN);
    while remove_read(&mut ends, &mut *pool.acquire().await?).await? > 0 {
        if Instant::now() > deadline {
            return Err(ReplayError::Sinks { partitions: ends.len(), seconds: SINKS_WITHIN.as_secs() });
        }
        tokio::time::sleep(SINKS_POLL).await;
    }
    Ok(())
}

/// Reads the ranges of a pass that are not read yet, several at the same time. Returns the replay, which nothing else holds any more.
async fn run_pass(replay: Replay, pass: Pass) -> Result<Replay, ReplayError> {
    let parts = replay::ranges(&mut *replay.pool.acquire().await?, replay.id, pass).await?;
    replay.progress.begin(&parts);
    let replay = Arc::new(replay);
    for_each(replay.config.parallel, parts, |part| {
        let replay = Arc::clone(&replay);
        async move { replay.compare_range(part, pass).await }
    })
    .await?;
    Arc::try_unwrap(replay).map_err(|_| ReplayError::Busy)
}

impl Replay {
    async fn compare_range(self: &Arc<Self>, mut part: JobRange, pass: Pass) -> Result<(), ReplayError> {
        let rest = RawRange { first: part.next, ..part.range };
        let mut connection = self.pool.acquire().await?;
        if pass == Pass::Compare {
            replay::forget_changes(&mut connection, self.id, &part.range, part.next).await?;
        }
        let (batches, mut receiver) = mpsc::channel(1);
        let earlier = EarlierDefaults::load(&mut connection, &rest).await?;
        let replay = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || replay.read((&rest, pass), &earlier, &batches));
        let (mut counts, mut open) = (Counts::from_stored(&part.counts), OpenRecord::default());
        let mut result = Ok(());
        while let Some(batch) = receiver.recv().await {
            result = self.compare(&mut connection, (pass, &mut part, &mut counts), batch, &mut open).await;
            if result.is_err() {
                break;
            }
        }
        // Reading ends when the receiver of its batches is dropped.
        drop(receiver);
        let read = reading.await?;
        result?;
        read
    }
}
