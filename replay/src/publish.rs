//! Maps listed records once more, and publishes their changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use normalizer::{MappedItem, RawMessage, Republished, Republisher, Totals, map_again};
use rdkafka::{Message as _, message::OwnedMessage};
use schemas::event::Reading;
use store::replay::{Change, ChangeKind, RawRange};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    defaults::EarlierDefaults,
    error::ReplayError,
    read::is_chunk,
    scope::{GAP, neighbourhoods},
    state::Replay,
};

/// The events of a large upload are published when there are this many.
const EVENTS: usize = 5_000;

/// Records with what is to be published about them.
type Pieces = Vec<(RawMessage, Republished)>;

/// The changes of some records, the deliveries that are withdrawn, and the defaults that earlier replays have applied.
pub(super) struct Listed {
    pub(super) records: BTreeMap<i64, Vec<Change>>,
    pub(super) gone: BTreeMap<i64, Vec<Reading>>,
    pub(super) earlier: EarlierDefaults,
}

fn record_gone(range: &RawRange, offset: i64) -> ReplayError {
    ReplayError::RecordGone { topic: range.topic.as_str(), partition: range.partition, offset }
}

impl Replay {
    /// Maps the listed records and publishes their changes.
    pub(super) async fn publish(
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
        for mut run in neighbourhoods(range, &offsets, GAP) {
            let mut read = |message: OwnedMessage| {
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
            };
            while let Some(gone) = self.log.read(&run, &mut read)? {
                run.first = gone.end;
            }
        }
        if let Some(offset) = left.first() {
            return Err(record_gone(range, *offset));
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
        self.scope.prepare(&mut raw, &listed.earlier);
        if self.lacks_chunks(range, &raw)? {
            return Err(record_gone(range, raw.offset()));
        }
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
        });
        let is_mapped = match is_mapped {
            Err(_) if self.lacks_chunks(range, &raw)? => return Err(record_gone(range, raw.offset())),
            is_mapped => is_mapped?,
        };
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
}
