//! The part of the raw topics that a replay compares.

use schemas::{
    event::{PatientId, Reading},
    format::{Format, Provider, RawTopic},
    raw::{Headers, RecordKind},
    receipt::ItemPosition,
};
use store::replay::Holding;
use time::OffsetDateTime;

/// The raw records and readings that a replay compares. An absent condition does not restrict it.
#[derive(Clone)]
pub struct Scope {
    /// The provider, which determines the raw topics.
    pub provider: Provider,
    /// Only records that Kafka received at this time or later.
    pub since: Option<OffsetDateTime>,
    /// Only records that Kafka received before this time.
    pub until: Option<OffsetDateTime>,
    /// Only readings of the device with this id.
    pub device: Option<String>,
    /// Only readings of this patient: by the authenticated subject, else by whoever held the device when it measured.
    pub patient: Option<PatientId>,
    /// Only the payload of this receipt.
    pub receipt: Option<ItemPosition>,
    /// Only payloads sent with the credential of this id.
    pub credential: Option<String>,
    /// Only payloads of this format.
    pub format: Option<Format>,
}

impl Scope {
    /// Returns the scope of all records of a provider.
    #[must_use]
    pub const fn of(provider: Provider) -> Self {
        Self {
            provider,
            since: None,
            until: None,
            device: None,
            patient: None,
            receipt: None,
            credential: None,
            format: None,
        }
    }

    /// The raw topics that the scope covers.
    #[must_use]
    pub fn topics(&self) -> Vec<RawTopic> {
        let all = self.provider_topics();
        match self.receipt {
            Some(position) => all.into_iter().filter(|topic| *topic == position.topic).collect(),
            None => all,
        }
    }

    /// All raw topics with payloads of the provider.
    pub(crate) fn provider_topics(&self) -> Vec<RawTopic> {
        let mut topics: Vec<RawTopic> =
            self.provider.formats().iter().map(|format| self.provider.raw_topic(*format)).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// Whether a raw record is compared. A record whose headers cannot be read is compared if no condition depends on them.
    pub(crate) fn has_record(&self, headers: Option<&Headers>) -> bool {
        let Some(headers) = headers else { return self.credential.is_none() && self.format.is_none() };
        self.credential.as_ref().is_none_or(|credential| *credential == headers.credential)
            && self.format.is_none_or(|format| headers.kind == RecordKind::Payload(format))
    }

    /// Whether the scope depends on what a reading contains. If it does, refusals are not compared, because a refused item has
    /// neither a device nor a patient.
    pub(crate) const fn is_by_reading(&self) -> bool {
        self.device.is_some() || self.patient.is_some()
    }

    /// Whether a reading is compared. `holdings` are those of the patient.
    pub(crate) fn has_reading(&self, reading: &Reading, holdings: &[Holding]) -> bool {
        let device = reading.device.as_ref();
        self.device.as_ref().is_none_or(|id| device.is_some_and(|device| device.id.as_str() == id))
            && self.patient.as_ref().is_none_or(|patient| match &reading.subject {
                Some(subject) => subject == patient,
                None => device.is_some_and(|device| {
                    holdings.iter().any(|held| held.device_key == device.key && held.covers(reading.measured_from))
                }),
            })
    }
}
