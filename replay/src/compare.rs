//! The comparison of a reading that the current mapping produces with the stored one.

use schemas::{
    event::{Assignment, DeviceId, PatientId, Reading},
    format::Provider,
    version::Version,
};
use store::{reading::StoredReading, replay::StoredCommand};

/// The result of comparing a produced reading with the stored one of the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// The stored reading is the same.
    Unchanged,
    /// The stored reading is a later version: another delivery, or the same one by a later mapping.
    Superseded,
    /// No reading with the id is stored, or it is withdrawn.
    Added,
    /// The produced reading would replace the stored one. These fields differ.
    Changed(Vec<Field>),
}

/// A part of a reading that a mapping derives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl Field {
    /// Returns the word for it in the database and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::SourceCodes => "source-codes",
            Self::Value => "value",
            Self::Components => "components",
            Self::Status => "status",
            Self::Time => "time",
            Self::Device => "device",
            Self::Gateway => "gateway",
            Self::Subject => "subject",
            Self::PatientClaim => "patient-claim",
            Self::Flags => "flags",
            Self::Source => "source",
            Self::SourceVersion => "source-version",
            Self::Content => "content",
        }
    }
}

/// Compares a produced reading with the stored one of the same id.
#[must_use]
pub fn compare(produced: &Reading, stored: Option<&StoredReading>) -> Comparison {
    let Some(stored) = stored else { return Comparison::Added };
    let version = Version::of(produced);
    if stored.version.withdrawn {
        return Comparison::Added;
    }
    let is_later = if produced.content == stored.reading.content {
        stored.version.mapped_by.mapping_and_catalogue() > version.mapped_by.mapping_and_catalogue()
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
/// not compared. The reading is taken apart without `..`, so that a new field does not compile until it is compared here.
fn differences(one: &Reading, other: &Reading) -> Vec<Field> {
    let Reading {
        reading_id: _,
        provider: _,
        source,
        device,
        gateway,
        subject,
        patient_claim,
        code,
        source_codes,
        value,
        components,
        status,
        measured_from,
        measured_until,
        imprecise_until,
        time_precision,
        offset_minutes,
        measured_text,
        measured_until_text,
        received_at: _,
        source_version,
        source_updated_at,
        content,
        flags,
        provenance: _,
        key_id: _,
        withdrawn: _,
        replay: _,
    } = one;
    let is_same_time = *measured_from == other.measured_from
        && *measured_until == other.measured_until
        && *imprecise_until == other.imprecise_until
        && *time_precision == other.time_precision
        && *offset_minutes == other.offset_minutes
        && *measured_text == other.measured_text
        && *measured_until_text == other.measured_until_text;
    let is_same_version = *source_version == other.source_version && *source_updated_at == other.source_updated_at;
    [
        (*code == other.code, Field::Code),
        (*source_codes == other.source_codes, Field::SourceCodes),
        (*value == other.value, Field::Value),
        (*components == other.components, Field::Components),
        (*status == other.status, Field::Status),
        (is_same_time, Field::Time),
        (*device == other.device, Field::Device),
        (*gateway == other.gateway, Field::Gateway),
        (*subject == other.subject, Field::Subject),
        (*patient_claim == other.patient_claim, Field::PatientClaim),
        (*flags == other.flags, Field::Flags),
        (*source == other.source, Field::Source),
        (is_same_version, Field::SourceVersion),
        (*content == other.content, Field::Content),
    ]
    .into_iter()
    .filter_map(|(is_same, field)| (!is_same).then_some(field))
    .collect()
}

/// Returns the fields in which a produced device command differs from the stored one. Without a later mapping there are none, because a
/// mapping produces the same command each time.
pub(crate) fn command_differences(produced: &Assignment, stored: &StoredCommand) -> Vec<&'static str> {
    if produced.mapping_version <= stored.mapping_version {
        return Vec::new();
    }
    [
        (produced.device_key == stored.device_key, "device"),
        (produced.command.as_str() == stored.command, "command"),
        (produced.provider.map(Provider::as_str) == stored.provider.as_deref(), "provider"),
        (produced.device_id.as_ref().map(DeviceId::as_str) == stored.device_id.as_deref(), "device-id"),
        (produced.device_type == stored.device_type, "device-type"),
        (produced.name == stored.name, "name"),
        (produced.serial_number == stored.serial_number, "serial-number"),
        (produced.features == stored.features, "features"),
        (produced.patient.as_ref().map(PatientId::as_str) == stored.patient_id.as_deref(), "patient"),
        (produced.effective_from == stored.effective_from, "effective-from"),
    ]
    .into_iter()
    .filter_map(|(is_same, field)| (!is_same).then_some(field))
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
