//! What `trace` reports about one payload, as text and as JSON.

use schemas::receipt::ItemPosition;
use serde_json::{Value, json};
use sqlx::PgConnection;
use store::trace::{
    DeadLetterCount, ListingLimits, Progress, ReadingCount, TracedDeadLetter, TracedOutcome, TracedReading,
};

use crate::{
    error::CommandError,
    output::{Output, counted},
};

/// A payload with at most this many readings and refused items is listed completely.
const LISTED_MAX: i64 = 20;
/// For a larger payload, this many of each kind are listed.
const PER_KIND_MAX: i64 = 3;

/// What is known of one payload.
pub(super) struct Report {
    pub(super) receipt: String,
    pub(super) position: ItemPosition,
    pub(super) progress: Progress,
    /// What the payload waits for; `None` if all of it has arrived.
    pub(super) waits_for: Option<String>,
}

impl Report {
    /// Prints one JSON object.
    pub(super) async fn json(
        &self,
        connection: &mut PgConnection,
        all: bool,
        output: &mut Output,
    ) -> Result<(), CommandError> {
        let (listing, position) = (self.listing(all), &self.position);
        let mut readings = Vec::new();
        let keep = |reading| {
            readings.push(reading);
            Ok::<(), CommandError>(())
        };
        listing.readings(connection, position, keep).await?;
        let letters = listing.dead_letters(connection, position).await?;
        output.json(&self.object(&readings, &letters))?;
        Ok(())
    }

    fn object(&self, readings: &[TracedReading], letters: &[TracedDeadLetter]) -> Value {
        let ItemPosition { topic, topic_epoch, partition, offset, item } = self.position;
        let command =
            self.progress.verdict.map(|verdict| json!({"verdict": verdict.as_str(), "meaning": verdict.meaning()}));
        json!({
            "receipt": self.receipt,
            "raw_record": {
                "topic": topic.as_str(), "topic_epoch": topic_epoch, "partition": partition, "offset": offset, "item": item,
            },
            "is_complete": self.progress.is_complete(),
            "waits_for": self.waits_for,
            "outcome": self.progress.outcome,
            "device_command": command,
            "reading_counts": self.progress.readings,
            "readings": readings,
            "dead_letter_counts": self.progress.dead_letters,
            "dead_letters": letters,
        })
    }

    /// Prints lines for people.
    pub(super) async fn text(
        &self,
        connection: &mut PgConnection,
        all: bool,
        output: &mut Output,
    ) -> Result<(), CommandError> {
        let (listing, position) = (self.listing(all), &self.position);
        for line in self.summary() {
            output.line(&line)?;
        }
        let print = |reading: TracedReading| -> Result<(), CommandError> { Ok(output.line(&reading_line(&reading))?) };
        listing.readings(connection, position, print).await?;
        for letter in listing.dead_letters(connection, position).await? {
            output.line(&letter_line(&letter, listing.item))?;
        }
        if listing.per_kind_max == Some(PER_KIND_MAX) {
            output.line(&format!("only the first {PER_KIND_MAX} of each kind are listed; --all lists all"))?;
        }
        if let Some(verdict) = self.progress.verdict {
            output.line(&format!("device command: {}: {}", verdict.as_str(), verdict.meaning()))?;
        }
        if let Some(waits_for) = &self.waits_for {
            output.line(waits_for)?;
        }
        Ok(())
    }

    fn listing(&self, all: bool) -> ListingLimits {
        let per_kind_max = match (all, self.is_large()) {
            (true, _) | (false, false) => None,
            (false, true) => Some(PER_KIND_MAX),
        };
        ListingLimits { per_kind_max, item: i32::try_from(self.position.item).unwrap_or(i32::MAX) }
    }

    fn is_large(&self) -> bool {
        let readings: i64 = self.progress.readings.iter().map(|count| count.readings).sum();
        let refused: i64 = self.progress.dead_letters.iter().map(|count| count.items).sum();
        readings + refused > LISTED_MAX
    }

    /// The lines about the payload as a whole; for a large payload, including counts.
    fn summary(&self) -> Vec<String> {
        let ItemPosition { topic, partition, offset, item, .. } = self.position;
        let mut lines =
            vec![format!("raw record: {} partition {partition} offset {offset}, item {item}", topic.as_str())];
        if let Some(outcome) = self.progress.outcome {
            let TracedOutcome { items, readings, commands, rejections, mapping_version } = outcome;
            lines.push(format!(
                "normalized by mapping {mapping_version}: {}, {}, {}, {}",
                counted(items, "item"),
                counted(readings, "reading"),
                counted(commands, "device command"),
                counted(rejections, "refused item"),
            ));
        }
        if self.is_large() {
            lines.extend(self.progress.readings.iter().map(|count| {
                let ReadingCount { state, status, code, display, readings, .. } = count;
                let what = named(display.as_deref(), Some(code));
                format!("{} ({state}): {what}, {status}", counted(*readings, "reading"))
            }));
            lines.extend(self.progress.dead_letters.iter().map(|count| {
                let DeadLetterCount { stage, reason, state, items } = count;
                format!("{}: dead letters of the {stage} ({state}): {reason}", counted(*items, "refused item"))
            }));
        }
        lines
    }
}

fn reading_line(reading: &TracedReading) -> String {
    let TracedReading { item, state, row } = reading;
    let patient = match row.attribution.as_str() {
        "subject" => "patient authenticated by the sender".to_owned(),
        "assignment" => "patient by device assignment".to_owned(),
        reason => format!("no patient: {reason}"),
    };
    let what = named(row.display.as_deref(), row.code.as_deref());
    format!("item {item}: reading {} ({state}), {what}, {}, {patient}", row.reading_id, row.status)
}

fn letter_line(letter: &TracedDeadLetter, item: i32) -> String {
    let TracedDeadLetter { item: first, item_count, stage, reason, detail, state } = letter;
    let items = match (*first, *item_count) {
        (..0, _) => "the payload".to_owned(),
        (first, 1) => format!("item {first}"),
        (first, count) => format!("items {first} to {}", first.saturating_add(count - 1)),
    };
    let among = if *item_count > 1 && letter.covers(item) { format!(", including item {item}") } else { String::new() };
    format!("{items}{among}: dead letter of the {stage} ({state}): {reason}: {detail}")
}

/// The display text and the code of a value.
pub(in super::super) fn named(display: Option<&str>, code: Option<&str>) -> String {
    match (display, code) {
        (Some(display), Some(code)) => format!("{display} ({code})"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        (None, None) => "a value without a code".to_owned(),
    }
}
