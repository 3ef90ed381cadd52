//! The comparison of a reading that the current mapping produces with the stored one.

use schemas::{event::Reading, version::Version};
use serde::Serialize;
use store::reading::StoredReading;

/// The result of comparing a produced reading with the stored one of the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// The stored reading is the same.
    Unchanged,
    /// The stored reading is a later version: another delivery, or the same one by a later mapping.
    Superseded,
    /// No reading with the id is stored.
    Added,
    /// The produced reading would replace the stored one. These fields differ.
    Changed(Vec<Field>),
}

/// A part of a reading that a mapping derives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// The code, or its display text.
    Code,
    /// The codes of the source.
    SourceCodes,
    /// The value with its unit.
    Value,
    /// The components of a panel.
    Components,
    /// The status.
    Status,
    /// The times of measurement, their precision or their texts.
    Time,
    /// The device.
    Device,
    /// The gateway.
    Gateway,
    /// The authenticated patient.
    Subject,
    /// The patient that the payload names.
    PatientClaim,
    /// The flags.
    Flags,
    /// The source of the credential.
    Source,
    /// The version that the source gives.
    SourceVersion,
    /// The content: another delivery of the reading is now the current one.
    Content,
}

/// Compares a produced reading with the stored one of the same id.
#[must_use]
pub fn compare(produced: &Reading, stored: Option<&StoredReading>) -> Comparison {
    let Some(stored) = stored else { return Comparison::Added };
    let version = Version::of(produced);
    let is_later = if produced.content == stored.reading.content {
        stored.version.mapping_version > version.mapping_version
    } else {
        stored.version > version
    };
    let fields = differences(produced, &stored.reading);
    match (is_later, fields.is_empty()) {
        (true, _) => Comparison::Superseded,
        (false, true) => Comparison::Unchanged,
        (false, false) => Comparison::Changed(fields),
    }
}

/// Returns the fields in which two readings differ. Where the payload is stored, when it was received and which mapping read it are
/// not compared.
fn differences(one: &Reading, other: &Reading) -> Vec<Field> {
    let times = |reading: &Reading| {
        let texts = (reading.measured_text.clone(), reading.measured_until_text.clone());
        let span = (reading.measured_from, reading.measured_until, reading.imprecise_until);
        (span, reading.time_precision, reading.offset_minutes, texts)
    };
    let version = |reading: &Reading| (reading.source_version, reading.source_updated_at);
    [
        (one.code != other.code, Field::Code),
        (one.source_codes != other.source_codes, Field::SourceCodes),
        (one.value != other.value, Field::Value),
        (one.components != other.components, Field::Components),
        (one.status != other.status, Field::Status),
        (times(one) != times(other), Field::Time),
        (one.device != other.device, Field::Device),
        (one.gateway != other.gateway, Field::Gateway),
        (one.subject != other.subject, Field::Subject),
        (one.patient_claim != other.patient_claim, Field::PatientClaim),
        (one.flags != other.flags, Field::Flags),
        (one.source != other.source, Field::Source),
        (version(one) != version(other), Field::SourceVersion),
        (one.content != other.content, Field::Content),
    ]
    .into_iter()
    .filter_map(|(differs, field)| differs.then_some(field))
    .collect()
}

#[cfg(test)]
mod tests {
    use schemas::event::{Quantity, SourceName, Value};

    use super::*;

    fn reading(value: &str, mapping_version: i32) -> Reading {
        let mut reading = Reading::blank(SourceName::parse("tests").unwrap());
        reading.value = Value::Quantity(Quantity {
            value: value.to_owned(),
            unit: "kg".into(),
            source_value: "80500".to_owned(),
            source_unit: Some("g".to_owned()),
            comparator: None,
        });
        reading.provenance.mapping_version = mapping_version;
        reading.provenance.offset = 7;
        reading
    }

    fn stored(reading: Reading) -> StoredReading {
        let version = Version::of(&reading);
        StoredReading { reading, version }
    }

    #[test]
    fn only_what_a_mapping_derives_is_compared() {
        assert_eq!(compare(&reading("80.5", 1), None), Comparison::Added);
        let mut same = reading("80.5", 1);
        (same.received_at, same.provenance.offset) = (1, 8);
        assert_eq!(compare(&reading("80.5", 2), Some(&stored(same))), Comparison::Unchanged);
        let wrong = stored(reading("80500", 1));
        assert_eq!(compare(&reading("80.5", 2), Some(&wrong)), Comparison::Changed(vec![Field::Value]));
    }

    #[test]
    fn a_later_version_is_not_replaced() {
        let later_mapping = stored(reading("80500", 3));
        assert_eq!(compare(&reading("80.5", 2), Some(&later_mapping)), Comparison::Superseded);
        let mut correction = reading("81", 1);
        (correction.content, correction.received_at) = ([1; 16], 5);
        assert_eq!(compare(&reading("80.5", 2), Some(&stored(correction.clone()))), Comparison::Superseded);
        let first = stored(reading("80.5", 2));
        assert_eq!(compare(&correction, Some(&first)), Comparison::Changed(vec![Field::Value, Field::Content]));
    }
}
