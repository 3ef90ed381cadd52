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

use normalizer::{MAPPING_VERSION, MappedItem, RawMessage, Republished, Republisher, Totals, map_again};
use rdkafka::{Message as _, message::OwnedMessage};
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
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    compare_batch::{command_fingerprint, fingerprint},
    diff::Diff,
    error::ReplayError,
    parallel::for_each,
    read::is_chunk,
    run::{ends_of_events, job_of, open, remove_read, require_mapping},
    scope::Scope,
    state::{Progress, Replay, ReplayConfig, receipt_at},
};

/// The number of changes that are checked at once.
const PAGE: i64 = 5_000;
/// The number of records that are published together.
const RECORDS: i64 = 500;
/// Records that differ and are at most this far from each other are read in one go.
pub(crate) const GAP: i64 = 2_000;
/// The events of a large upload are published when there are this many.
const EVENTS: usize = 5_000;
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
        dead_letters::end_redrive(&mut connection, &replay.scope.records, (replay_id, &job.operator)).await?;
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("redrive-closed");
    }
    if !replay::set_state(&mut connection, replay_id, &[JobState::Applying], JobState::Applied).await? {
        return Err(ReplayError::Aborted(replay_id));
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
            Err(ReplayError::Aborted(job.replay_id))
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
            self.publish(part.range, Arc::new(Listed { records, gone }), publisher).await?;
            #[cfg(feature = "fail-points")]
            service::fail_point::pass("replay-published");
            self.progress.read.fetch_add(u64::try_from(last + 1 - part.next).unwrap_or(0), Ordering::Relaxed);
            part.next = last + 1;
            if !replay::advance(&mut connection, self.id, Pass::Apply, &part).await? {
                return Err(ReplayError::Aborted(self.id));
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

    /// Maps the listed records and publishes their changes.
    async fn publish(
        self: &Arc<Self>,
        range: RawRange,
        listed: Arc<Listed>,
        publisher: &Republisher,
    ) -> Result<(), ReplayError> {
        let (pieces, mut receiver) = mpsc::channel(2);
        let replay = Arc::clone(self);
        let mapping = tokio::task::spawn_blocking(move || replay.map_listed(&range, &listed, &pieces));
        let mut result = Ok(());
        while let Some(piece) = receiver.recv().await {
            result = publisher.publish(piece).await;
            if result.is_err() {
                break;
            }
        }
        // The mapping ends when the receiver of its pieces is dropped.
        drop(receiver);
        let mapped = mapping.await?;
        result?;
        mapped
    }

    /// Reads and maps the listed records, and passes their changes on in pieces. Blocks.
    fn map_listed(&self, range: &RawRange, listed: &Listed, pieces: &mpsc::Sender<Pieces>) -> Result<(), ReplayError> {
        let offsets: Vec<i64> = listed.records.keys().copied().collect();
        let mut piece = Vec::new();
        let mut events = 0;
        let mut left: BTreeSet<i64> = offsets.iter().copied().collect();
        for run in offsets.chunk_by(|one, next| next - one <= GAP) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            self.log.read(&RawRange { first: *first, end: last + 1, ..*range }, |message| {
                let offset = message.offset();
                if !left.remove(&offset) {
                    return Ok(true);
                }
                self.hold_rate();
                self.map_record(range, message, listed, &mut |raw, republished| {
                    events += republished.readings.len() + republished.rejections.len() + 1;
                    piece.push((raw, republished));
                    if events < EVENTS {
                        return true;
                    }
                    events = 0;
                    pieces.blocking_send(std::mem::take(&mut piece)).is_ok()
                })
            })?;
        }
        if let Some(offset) = left.first() {
            return Err(ReplayError::RecordGone {
                topic: range.topic.as_str(),
                partition: range.partition,
                offset: *offset,
            });
        }
        // If the receiver is gone, the receiving side reports the error.
        let _sent = pieces.blocking_send(piece);
        Ok(())
    }

    /// Maps a record, and passes what is to be published to `each`, of a large upload in pieces. Returns whether to continue. Blocks.
    fn map_record(
        &self,
        range: &RawRange,
        message: OwnedMessage,
        listed: &Listed,
        each: &mut dyn FnMut(RawMessage, Republished) -> bool,
    ) -> Result<bool, ReplayError> {
        let mut raw = RawMessage::new(range.topic, message);
        self.scope.prepare(&mut raw);
        let (about, received_at) = (raw.without_body(), raw.received_at());
        let changes = listed.records.get(&raw.offset()).map(Vec::as_slice).unwrap_or_default();
        let gone = listed.gone.get(&raw.offset()).map(Vec::as_slice).unwrap_or_default();
        let is_published =
            |change: &&Change| matches!(change.kind, ChangeKind::Added | ChangeKind::Changed | ChangeKind::Moved);
        let mut expected: BTreeSet<Uuid> =
            changes.iter().filter(is_published).map(|change| change.subject_id).collect();
        let wanted = expected.clone();
        let has_command = changes.iter().any(|change| change.kind == ChangeKind::Command);
        let (mut totals, mut republished, mut is_open) = (Totals::default(), Republished::default(), true);
        let gone = gone.iter().map(|reading| Reading { received_at, ..reading.clone() });
        republished.readings.extend(gone);
        let is_mapped = map_again(&self.config.normalizer, &raw, &mut |item| {
            match item {
                MappedItem::Reading(reading) => {
                    totals.readings += 1;
                    expected.remove(&reading.reading_id);
                    if wanted.contains(&reading.reading_id) {
                        republished.readings.push(*reading);
                    }
                }
                MappedItem::Command(command) => {
                    totals.commands += 1;
                    republished.commands.extend(has_command.then_some(*command));
                }
                MappedItem::Document(document) => republished.documents.push(*document),
                MappedItem::Rejection(rejection) => {
                    totals.rejections += rejection.item_count as usize;
                    republished.rejections.push(rejection);
                }
            }
            if republished.readings.len() + republished.rejections.len() >= EVENTS {
                is_open = each(about.without_body(), std::mem::take(&mut republished));
            }
            is_open
        })?;
        if !is_open {
            return Ok(false);
        }
        // A chunk is listed if the upload was given up and has its end now.
        if !(is_mapped || is_chunk(&raw)) || !expected.is_empty() {
            return Err(ReplayError::OtherResult {
                topic: range.topic.as_str(),
                partition: range.partition,
                offset: about.offset(),
            });
        }
        republished.totals = Some(totals);
        Ok(each(about, republished))
    }

    /// Waits until the sinks have stored what is on the event topics at this moment.
    async fn wait_until_stored(&self) -> Result<(), ReplayError> {
        self.progress.waits_for_sinks.store(true, Ordering::Relaxed);
        let mut ends = ends_of_events(&self.log).await?;
        let (mut unread, mut since) = (u64::MAX, Instant::now());
        loop {
            let left = remove_read(&mut ends, &mut *self.pool.acquire().await?).await?;
            if left == 0 {
                return Ok(());
            }
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

/// Records with what is to be published about them.
type Pieces = Vec<(RawMessage, Republished)>;

/// The hashes over what is stored now.
struct Fingerprints {
    readings: BTreeMap<Uuid, Uuid>,
    commands: BTreeMap<schemas::receipt::RawPosition, Uuid>,
}

/// The changes of some records, and the deliveries that are withdrawn.
struct Listed {
    records: BTreeMap<i64, Vec<Change>>,
    gone: BTreeMap<i64, Vec<Reading>>,
}
