//! Publishes the events of raw records again, for a replay.

use schemas::event::{Assignment, Document, Outcome, Reading};

use super::{
    again::RawMessage,
    catalogue_claim::{Claimed, claim_catalogue},
    config::NormalizerConfig,
    error::NormalizerError,
    event::{Counts, command_event, outcome, reading_event},
    produce::{EventProducer, Window},
    publish::publish_schemas,
};
use crate::normalized::Rejection;

/// What a replay publishes about a raw record, or about a piece of a large upload.
#[derive(Default)]
pub struct Republished {
    /// Documents, which are acknowledged before the readings are sent.
    pub documents: Vec<Document>,
    /// Readings, also withdrawn ones.
    pub readings: Vec<Reading>,
    /// The device command.
    pub commands: Vec<Assignment>,
    /// All refused items of the record, which replace those of earlier attempts.
    pub rejections: Vec<Rejection>,
    /// The numbers for the outcome; `None` for a piece of an upload that is not the last one.
    pub totals: Option<Totals>,
}

/// What a mapping makes of a raw record, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of readings.
    pub readings: usize,
    /// The number of device commands.
    pub commands: usize,
    /// The number of refused items.
    pub rejections: usize,
}

/// Publishes events to the topics of the normalizer. Readings go to `readings.bulk`, so that no other reading waits behind them.
pub struct Republisher {
    config: NormalizerConfig,
    events: EventProducer,
    replay: i32,
}

impl Republisher {
    /// Connects to Kafka, claims the catalogue of this process, and publishes the schemas of this release. `replay` is the number of the
    /// replay.
    ///
    /// # Errors
    /// Kafka does not answer, or the catalogue of this process must not be used.
    pub async fn connect(config: NormalizerConfig, replay: i32) -> Result<Self, NormalizerError> {
        if let Claimed::NoTopic(name) = claim_catalogue(&config).await? {
            return Err(NormalizerError::NoTopic(name));
        }
        let events = EventProducer::new(&config)?;
        publish_schemas(&config, &events).await?;
        Ok(Self { config, events, replay })
    }

    /// Publishes the events of records. Returns after all of them are acknowledged. The outcome of a record is sent after its other
    /// events are acknowledged.
    ///
    /// # Errors
    /// Kafka does not acknowledge an event. All records can be published again.
    pub async fn publish(&self, records: Vec<(RawMessage, Republished)>) -> Result<(), NormalizerError> {
        let mut window = Window::of_replay(&self.events, &self.config, self.replay);
        for (_, republished) in &records {
            window.send_documents(&republished.documents).await?;
        }
        window.wait_for_all().await?;
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(records.len());
        for (RawMessage { record }, Republished { readings, commands, rejections, totals, .. }) in records {
            for reading in readings {
                let reading = Reading { replay: Some(self.replay), ..reading };
                // It fits: the mapping has checked it, and the limit leaves room for the number of the replay.
                window.send_bulk(&reading_event(&reading)).await?;
            }
            for command in commands {
                window.send_command(&command_event(&command)).await?;
            }
            window.send_rejections(&record, rejections).await?;
            outcomes.extend(totals.map(|totals| {
                let Totals { readings, commands, rejections } = totals;
                let counts = Counts { readings, commands, rejections, unknown: Vec::new() };
                Outcome { replay: Some(self.replay), ..outcome(&self.config, &record, counts) }
            }));
        }
        window.wait_for_all().await?;
        for outcome in &outcomes {
            window.send_outcome(outcome).await?;
        }
        window.wait_for_all().await
    }
}
