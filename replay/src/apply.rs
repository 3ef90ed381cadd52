//! Applies a replay: maps the records that differ once more, and publishes the differences as events with the number of the replay.
//!
//! Before the first event, all differences are checked against the database. Afterwards a change of the database is no error: the sink
//! orders the versions of a reading, whatever published them. The progress is stored after the events of a record are acknowledged, and
//! an event that is published twice has no effect, so that an apply continues after it was killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use normalizer::{MAPPING_VERSION, Republisher};
use schemas::event::Reading;
use sqlx::{PgConnection, PgPool};
use store::{
    dead_letters,
    reading::load,
    replay::{
        self, Change, ChangeKind, Job, JobRange, JobState, PagePosition, Pass, RawRange, changed_offsets, changes,
        changes_of,
    },
};
use uuid::Uuid;

use crate::{
    compare_batch::{command_fingerprint, fingerprint},
    defaults::EarlierDefaults,
    diff::Diff,
    error::ReplayError,
    job::{alone, ended, gone_records, job_of, require_mapping},
    parallel::for_each,
    publish::Listed,
    run::{ends_of_events, open, remove_read},
    scope::Scope,
    state::{Progress, Replay, ReplayConfig, receipt_at},
};

/// The number of changes that are checked at once.
const PAGE: i64 = 5_000;
/// The number of records that are published together.
const RECORDS: i64 = 500;
/// How long the sinks may read no event before the wait for them ends.
const SINKS_WITHIN: Duration = Duration::from_mins(2);
const SINKS_POLL: Duration = Duration::from_millis(200);
/// The number of receipts that an error names.
const NAMED: usize = 5;

/// Applies a replay from where an earlier call ended, and waits until the sinks have stored it. Returns what was applied.
///
/// # Errors
/// [`ReplayError`]. Unless the replay is aborted or another mapping is in use, the next call continues.
pub async fn apply(
    config: ReplayConfig,
    pool: &PgPool,
    replay_id: i32,
    progress: Arc<Progress>,
) -> Result<Diff, ReplayError> {
    alone(pool, replay_id, Box::pin(apply_alone(config, pool, replay_id, progress))).await
}

/// Applies, while no other process works on the replay.
pub(crate) async fn apply_alone(
    config: ReplayConfig,
    pool: &PgPool,
    replay_id: i32,
    progress: Arc<Progress>,
) -> Result<Diff, ReplayError> {
    let job = job_of(&mut *pool.acquire().await?, replay_id).await?;
    match job.state {
        JobState::Applied => return Diff::load(&mut *pool.acquire().await?, &job, &config.receipt_key).await,
        JobState::Compared | JobState::Applying => {}
        JobState::Aborted => return Err(ReplayError::Aborted(replay_id)),
        JobState::Comparing => {
            return Err(ReplayError::NotCompared { replay: replay_id, state: job.state.as_str() });
        }
    }
    require_mapping(&job)?;
    let scope = Scope::from_stored(&job.scope).ok_or(ReplayError::Scope(replay_id))?;
    let replay = Arc::new(open(config, pool, &job, scope, progress).await?);
    if job.state == JobState::Compared {
        replay.begin(&job).await?;
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("replay-begun");
    }
    let publisher = Arc::new(Republisher::connect(replay.config.normalizer.clone(), replay_id).await?);
    let parts = replay::ranges(&mut *pool.acquire().await?, replay_id, Pass::Apply).await?;
    replay.progress.begin(&parts);
    for_each(replay.config.parallel, parts, |part| {
        let (replay, publisher) = (Arc::clone(&replay), Arc::clone(&publisher));
        async move { replay.apply_range(part, &publisher).await }
    })
    .await?;
    replay.wait_until_stored().await?;
    #[cfg(feature = "fail-points")]
    service::fail_point::pass("replay-stored");
    let mut connection = pool.acquire().await?;
    if replay.scope.is_redrive() {
        // What the sinks have refused again is on the topic of dead letters now.
        replay.wait_until_stored().await?;
        let gone = gone_records(&mut connection, replay_id, &replay.scope).await?;
        let (gone, mapped) = replay.scope.records.iter().copied().partition(|raw| gone.contains(raw));
        dead_letters::end_redrive(&mut connection, (&mapped, &gone), (replay_id, &job.operator)).await?;
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("redrive-closed");
    }
    if !replay::set_state(&mut connection, replay_id, &[JobState::Applying], JobState::Applied).await? {
        return Err(ended(&mut connection, replay_id).await);
    }
    #[cfg(feature = "fail-points")]
    service::fail_point::pass("replay-applied");
    let job = job_of(&mut connection, replay_id).await?;
    Diff::load(&mut connection, &job, &replay.config.receipt_key).await
}

impl Replay {
    /// Checks that the database is as it was when it was compared, and stores what is to be read.
    async fn begin(&self, job: &Job) -> Result<(), ReplayError> {
        let mut connection = self.pool.acquire().await?;
        self.require_unchanged(&mut connection).await?;
        let mut ranges: BTreeMap<(&str, i32), RawRange> = BTreeMap::new();
        let mut after = None;
        loop {
            let page = changes(&mut connection, job.replay_id, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(PagePosition::after(last));
            for Change { raw, .. } in page {
                let range = ranges.entry((raw.topic.as_str(), raw.partition)).or_insert(RawRange {
                    topic: raw.topic,
                    topic_epoch: self.log.topic_epoch,
                    partition: raw.partition,
                    first: raw.offset,
                    end: raw.offset + 1,
                });
                range.end = range.end.max(raw.offset + 1);
            }
        }
        let ranges: Vec<(RawRange, String)> = ranges.into_values().map(|range| (range, "{}".to_owned())).collect();
        replay::add_ranges(&mut connection, job.replay_id, Pass::Apply, &ranges).await?;
        if replay::set_state(&mut connection, job.replay_id, &[JobState::Compared], JobState::Applying).await? {
            Ok(())
        } else {
            Err(ended(&mut connection, job.replay_id).await)
        }
    }

    async fn require_unchanged(&self, connection: &mut PgConnection) -> Result<(), ReplayError> {
        let (mut differing, mut receipts) = (0_u64, Vec::new());
        let mut after = None;
        loop {
            let page = changes(connection, self.id, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(PagePosition::after(last));
            let current = self.fingerprints(connection, &page).await?;
            for change in &page {
                let is_same = match change.kind {
                    ChangeKind::Record => true,
                    ChangeKind::Added
                    | ChangeKind::Changed
                    | ChangeKind::Missing
                    | ChangeKind::Withdrawn
                    | ChangeKind::Moved => current.readings.get(&change.subject_id).copied() == change.before,
                    ChangeKind::Command => current.commands.get(&change.raw).copied() == change.before,
                };
                if !is_same {
                    differing += 1;
                    if receipts.len() < NAMED {
                        receipts.push(receipt_at(change.raw, change.item.max(0), &self.config.receipt_key));
                    }
                }
            }
        }
        if differing == 0 {
            Ok(())
        } else {
            Err(ReplayError::Differs { replay: self.id, differing, receipts: receipts.join(", ") })
        }
    }

    async fn fingerprints(&self, connection: &mut PgConnection, page: &[Change]) -> Result<Fingerprints, ReplayError> {
        let ids: BTreeSet<Uuid> = page.iter().map(|change| change.subject_id).collect();
        let readings = load(&mut *connection, &ids.into_iter().collect::<Vec<_>>()).await?;
        let mut found = Fingerprints {
            readings: readings.iter().map(|stored| (stored.reading.reading_id, fingerprint(stored))).collect(),
            commands: BTreeMap::new(),
        };
        for change in page.iter().filter(|change| change.kind == ChangeKind::Command) {
            let at = RawRange {
                topic: change.raw.topic,
                topic_epoch: self.log.topic_epoch,
                partition: change.raw.partition,
                first: change.raw.offset,
                end: change.raw.offset + 1,
            };
            let commands = replay::commands(connection, &at).await?;
            found.commands.extend(commands.first().map(|stored| (change.raw, command_fingerprint(stored))));
        }
        Ok(found)
    }

    async fn apply_range(self: &Arc<Self>, mut part: JobRange, publisher: &Republisher) -> Result<(), ReplayError> {
        let mut connection = self.pool.acquire().await?;
        loop {
            let offsets = changed_offsets(&mut connection, self.id, &part.range, part.next, RECORDS).await?;
            let Some(last) = offsets.last().copied() else { break };
            let of_page = changes_of(&mut connection, self.id, &part.range, &offsets).await?;
            let mut records: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
            for change in of_page {
                records.entry(change.raw.offset).or_default().push(change);
            }
            let gone = self.gone(&mut connection, &records).await?;
            let of_page = RawRange { first: part.next, end: last + 1, ..part.range };
            let earlier = EarlierDefaults::load(&mut connection, &of_page).await?;
            self.publish(part.range, Arc::new(Listed { records, gone, earlier }), publisher).await?;
            #[cfg(feature = "fail-points")]
            service::fail_point::pass("replay-published");
            self.progress.read.fetch_add(u64::try_from(last + 1 - part.next).unwrap_or(0), Ordering::Relaxed);
            part.next = last + 1;
            if !replay::advance(&mut connection, self.id, Pass::Apply, &part).await? {
                return Err(ended(&mut connection, self.id).await);
            }
            #[cfg(feature = "fail-points")]
            service::fail_point::pass("replay-publication-stored");
        }
        Ok(())
    }

    /// Returns the readings that items no longer yield, as events that withdraw these deliveries, without the time of the append.
    async fn gone(
        &self,
        connection: &mut PgConnection,
        records: &BTreeMap<i64, Vec<Change>>,
    ) -> Result<BTreeMap<i64, Vec<Reading>>, ReplayError> {
        let is_gone = |change: &&Change| matches!(change.kind, ChangeKind::Missing | ChangeKind::Withdrawn);
        let missing: Vec<&Change> = records.values().flatten().filter(is_gone).collect();
        let ids: BTreeSet<Uuid> = missing.iter().map(|change| change.subject_id).collect();
        let stored: BTreeMap<Uuid, Reading> = load(connection, &ids.into_iter().collect::<Vec<_>>())
            .await?
            .into_iter()
            .map(|stored| (stored.reading.reading_id, stored.reading))
            .collect();
        let mut gone: BTreeMap<i64, Vec<Reading>> = BTreeMap::new();
        for change in missing {
            let Some(reading) = stored.get(&change.subject_id) else { continue };
            let mut reading = Reading { withdrawn: true, ..reading.clone() };
            let from = &mut reading.provenance;
            (from.topic, from.topic_epoch) = (Some(change.raw.topic), change.raw.topic_epoch);
            (from.partition, from.offset, from.item) = (change.raw.partition, change.raw.offset, change.item);
            (from.mapping_version, from.catalogue_revision) = (MAPPING_VERSION, catalogue::revision());
            gone.entry(change.raw.offset).or_default().push(reading);
        }
        Ok(gone)
    }

    /// Waits until the sinks have stored what is on the event topics at this moment.
    async fn wait_until_stored(&self) -> Result<(), ReplayError> {
        self.progress.waits_for_sinks.store(true, Ordering::Relaxed);
        let mut ends = ends_of_events(&self.log).await?;
        let (mut unread, mut since) = (u64::MAX, Instant::now());
        loop {
            let mut connection = self.pool.acquire().await?;
            let left = remove_read(&mut ends, &mut connection).await?;
            if left == 0 {
                return Ok(());
            }
            if job_of(&mut connection, self.id).await?.state != JobState::Applying {
                return Err(ended(&mut connection, self.id).await);
            }
            drop(connection);
            if left < unread {
                (unread, since) = (left, Instant::now());
            }
            if since.elapsed() > SINKS_WITHIN {
                return Err(ReplayError::NotStored { replay: self.id, events: left, seconds: SINKS_WITHIN.as_secs() });
            }
            tokio::time::sleep(SINKS_POLL).await;
        }
    }
}

/// The hashes over what is stored now.
struct Fingerprints {
    readings: BTreeMap<Uuid, Uuid>,
    commands: BTreeMap<schemas::receipt::RawPosition, Uuid>,
}
