//! Which raw records a replay covers.

use std::collections::BTreeSet;

use normalizer::RawMessage;
use schemas::{
    event::{Assignment, DeviceId, PatientId, Reading},
    format::{Defaults, Format, Provider, RawTopic},
    identity::device_key,
    raw::{Headers, RecordKind},
    receipt::{ItemPosition, RawPosition},
};
use serde::{Deserialize, Serialize};
use store::replay::{Holding, RawRange, StoredCommand};
use time::OffsetDateTime;

use crate::defaults::EarlierDefaults;

/// Records of a replay that are at most this far from each other are read in one go.
pub(crate) const GAP: i64 = 2_000;

/// Returns the parts of a range that contain the given offsets, which are in order. Offsets that are at most `gap` from each other are in
/// one part.
pub(crate) fn neighbourhoods(range: &RawRange, offsets: &[i64], gap: i64) -> impl Iterator<Item = RawRange> {
    let runs = offsets.chunk_by(move |one, next| next - one <= gap);
    runs.filter_map(|run| Some(RawRange { first: *run.first()?, end: run.last()? + 1, ..*range }))
}

/// Which raw records a replay covers. A condition that is `None` holds for all records.
///
/// A record is covered whole: if one of its readings is of the device or the patient, all its differences are reported and applied.
/// Otherwise its outcome would contain numbers of two mappings.
#[derive(Clone)]
pub struct Scope {
    /// The provider.
    pub provider: Provider,
    /// Only records that Kafka received at this time or later.
    pub since: Option<OffsetDateTime>,
    /// Only records that Kafka received before this time.
    pub until: Option<OffsetDateTime>,
    /// Only records with a reading of, or a command for, the device with this id.
    pub device: Option<DeviceId>,
    /// Only records with a reading of, or a command for, this patient. A reading is that of the authenticated subject, else of whoever
    /// held the device when it measured.
    pub patient: Option<PatientId>,
    /// Only the payload of this receipt.
    pub receipt: Option<ItemPosition>,
    /// Only payloads that were sent with the credential of this id.
    pub credential: Option<String>,
    /// Only payloads of this format.
    pub format: Option<Format>,
    /// Whose documented defaults apply to records that declare none. `None` for those that earlier replays have applied.
    pub defaults: Option<Defaults>,
    /// Only these records, of whatever provider, and all that they contain: they are mapped and published again, also if nothing differs.
    /// Empty for all records.
    pub records: BTreeSet<RawPosition>,
}

/// A scope as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredScope {
    provider: String,
    since: Option<i64>,
    until: Option<i64>,
    device: Option<String>,
    patient: Option<String>,
    receipt: Option<(String, i32)>,
    credential: Option<String>,
    format: Option<String>,
    defaults: Option<String>,
    records: Vec<String>,
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
            defaults: None,
            records: BTreeSet::new(),
        }
    }

    /// Returns the scope of the records of dead letters.
    #[must_use]
    pub fn of_records(records: BTreeSet<RawPosition>) -> Self {
        Self { records, ..Self::of(Provider::Medisante) }
    }

    /// Whether the scope names its records.
    pub(crate) fn is_redrive(&self) -> bool {
        !self.records.is_empty()
    }

    /// Returns the scope as JSON, for the database.
    pub(crate) fn stored(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&StoredScope {
            provider: self.provider.as_str().to_owned(),
            since: self.since.map(OffsetDateTime::unix_timestamp),
            until: self.until.map(OffsetDateTime::unix_timestamp),
            device: self.device.as_ref().map(|id| id.as_str().to_owned()),
            patient: self.patient.as_ref().map(|id| id.as_str().to_owned()),
            receipt: self.receipt.map(|at| {
                let topic_epoch = i32::from(at.topic_epoch);
                let raw = RawPosition { topic: at.topic, topic_epoch, partition: at.partition, offset: at.offset };
                (raw.to_string(), i32::try_from(at.item).unwrap_or(0))
            }),
            credential: self.credential.clone(),
            format: self.format.map(|format| format.as_str().to_owned()),
            defaults: self.defaults.map(|defaults| defaults.as_str().to_owned()),
            records: self.records.iter().map(ToString::to_string).collect(),
        })
    }

    /// Reads a stored scope. `None` if it has a word that this release does not know.
    pub(crate) fn from_stored(text: &str) -> Option<Self> {
        let stored: StoredScope = serde_json::from_str(text).ok()?;
        let time = |seconds: Option<i64>| seconds.map(OffsetDateTime::from_unix_timestamp).transpose().ok();
        let receipt = match stored.receipt {
            None => None,
            Some((raw, item)) => {
                let RawPosition { topic, topic_epoch, partition, offset } = raw.parse().ok()?;
                let topic_epoch = u16::try_from(topic_epoch).ok()?;
                Some(ItemPosition { topic, topic_epoch, partition, offset, item: u32::try_from(item).ok()? })
            }
        };
        let known = |word: Option<String>| word.map_or(Some(None), |word| Format::from_word(&word).map(Some));
        Some(Self {
            provider: Provider::from_word(&stored.provider)?,
            since: time(stored.since)?,
            until: time(stored.until)?,
            device: stored.device.map(|id| DeviceId::parse(&id)).transpose().ok()?,
            patient: stored.patient.map(|id| PatientId::parse(&id)).transpose().ok()?,
            receipt,
            credential: stored.credential,
            format: known(stored.format)?,
            defaults: stored.defaults.map_or(Some(None), |word| Defaults::parse(&word).map(Some))?,
            records: stored.records.iter().map(|text| text.parse().ok()).collect::<Option<_>>()?,
        })
    }

    /// Describes the scope for a report. The description names no patient.
    #[must_use]
    pub fn describe(&self) -> String {
        if self.is_redrive() {
            return format!("{} records with dead letters", self.records.len());
        }
        let second = |time: OffsetDateTime| {
            let time = time.replace_nanosecond(0).unwrap_or(time);
            time.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
        };
        let conditions = [
            self.since.map(|since| format!("since {}", second(since))),
            self.until.map(|until| format!("until {}", second(until))),
            self.device.as_ref().map(|device| format!("device {}", device.as_str())),
            self.patient.as_ref().map(|_| "one patient".to_owned()),
            self.receipt.map(|at| format!("one payload of {}", at.topic.as_str())),
            self.credential.as_ref().map(|credential| format!("credential {credential}")),
            self.format.map(|format| format!("format {}", format.as_str())),
            self.defaults.map(|defaults| format!("with the defaults of {}", defaults.as_str())),
        ];
        let all = [format!("all records of {}", self.provider.as_str())];
        all.into_iter().chain(conditions.into_iter().flatten()).collect::<Vec<_>>().join(", ")
    }

    /// The raw topics that the scope covers.
    #[must_use]
    pub fn topics(&self) -> Vec<RawTopic> {
        if self.is_redrive() {
            let topics: BTreeSet<RawTopic> = self.records.iter().map(|raw| raw.topic).collect();
            return topics.into_iter().collect();
        }
        let mut topics: Vec<RawTopic> =
            self.provider.formats().iter().map(|format| self.provider.raw_topic(*format)).collect();
        topics.push(RawTopic::Devices);
        topics.sort_unstable();
        topics.dedup();
        topics.retain(|topic| self.receipt.is_none_or(|at| at.topic == *topic));
        topics
    }

    /// Whether a raw record is compared. A record whose headers cannot be read is compared if no condition depends on them.
    pub(crate) fn has_record(&self, headers: Option<&Headers>) -> bool {
        let Some(headers) = headers else { return self.credential.is_none() && self.format.is_none() };
        self.credential.as_ref().is_none_or(|credential| *credential == headers.credential)
            && self.format.is_none_or(|format| headers.kind == RecordKind::Payload(format))
    }

    /// Whether the scope covers the record at a position, as far as it names records.
    pub(crate) fn has_position(&self, range: &RawRange, offset: i64) -> bool {
        !self.is_redrive() || self.records.contains(&range.position(offset))
    }

    /// Returns the parts of a range that are read: all of it, or the neighbourhoods of the named records, which may be far from each other.
    pub(crate) fn parts(&self, range: &RawRange, gap: i64) -> Vec<RawRange> {
        if !self.is_redrive() {
            return vec![*range];
        }
        let is_within =
            |raw: &&RawPosition| (range.first..range.end).contains(&raw.offset) && **raw == range.position(raw.offset);
        let offsets: Vec<i64> = self.records.iter().filter(is_within).map(|raw| raw.offset).collect();
        neighbourhoods(range, &offsets, gap).collect()
    }

    /// Prepares a record for the mapping: the defaults of the scope apply to it, else those that an earlier replay has applied.
    pub(crate) fn prepare(&self, raw: &mut RawMessage, earlier: &EarlierDefaults) {
        if let Some(defaults) = self.defaults.or_else(|| earlier.at(raw.offset())) {
            raw.add_defaults(defaults);
        }
    }

    /// Whether the scope depends on what a record contains.
    pub(crate) const fn is_by_content(&self) -> bool {
        self.device.is_some() || self.patient.is_some()
    }

    /// Whether a reading is of the device and of the patient. `holdings` are those of the patient.
    pub(crate) fn has_reading(&self, reading: &Reading, holdings: &[Holding]) -> bool {
        let device = reading.device.as_ref();
        self.device.as_ref().is_none_or(|id| device.is_some_and(|device| device.id == *id))
            && self.patient.as_ref().is_none_or(|patient| match &reading.subject {
                Some(subject) => subject == patient,
                None => device.is_some_and(|device| {
                    holdings.iter().any(|held| held.device_key == device.key && held.covers(reading.measured_from))
                }),
            })
    }

    /// Whether a device command is compared: one for a device of the provider, or for one whose provider the command does not give.
    pub(crate) fn has_command(&self, command: &Assignment) -> bool {
        let is_device = |id: &DeviceId| command.device_key == device_key(self.provider, id);
        self.is_redrive()
            || command.provider.is_none_or(|provider| provider == self.provider)
                && self.device.as_ref().is_none_or(is_device)
                && self.patient.as_ref().is_none_or(|patient| command.patient.as_ref() == Some(patient))
    }

    /// Whether a stored device command is of the provider, as far as it says.
    pub(crate) fn has_stored_command(&self, command: &StoredCommand) -> bool {
        self.is_redrive() || command.provider.as_deref().is_none_or(|provider| provider == self.provider.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_scope_is_the_same() {
        let scope = Scope {
            since: OffsetDateTime::from_unix_timestamp(1_700_000_000).ok(),
            device: DeviceId::parse("scale-1").ok(),
            patient: PatientId::parse("p-1").ok(),
            receipt: Some(ItemPosition {
                topic: RawTopic::HealthKit,
                topic_epoch: 1,
                partition: 2,
                offset: 3,
                item: 4,
            }),
            credential: Some("key-1".to_owned()),
            format: Some(Format::FhirJson),
            defaults: Some(Defaults::ReactNativeHealth),
            ..Scope::of(Provider::HealthKit)
        };
        let stored = scope.stored().unwrap();
        assert_eq!(Scope::from_stored(&stored).unwrap().stored().unwrap(), stored);
        assert!(!scope.describe().contains("p-1"));
    }

    #[test]
    fn only_the_neighbourhoods_of_named_records_are_read() {
        let range = RawRange { topic: RawTopic::HealthKit, topic_epoch: 1, partition: 2, first: 0, end: 100 };
        let records = ["raw.healthkit:1:2:3", "raw.healthkit:1:2:5", "raw.healthkit:1:2:90", "raw.healthkit:1:2:100"];
        let others = ["raw.healthkit:0:2:40", "raw.healthkit:1:1:41", "raw.uploads:1:2:42"];
        let records = records.into_iter().chain(others).map(|raw| raw.parse().unwrap()).collect();
        let scope = Scope::of_records(records);
        let parts: Vec<_> = scope.parts(&range, 10).into_iter().map(|part| part.first..part.end).collect();
        assert_eq!(parts, [3..6, 90..91]);
        assert_eq!(Scope::of(Provider::HealthKit).parts(&range, 10), [range]);
    }
}
