//! The type of a sample and what depends on it. The sample names its type, or the request does.

use catalogue::{Metric, Vocabulary, metric_by_spelling};
use schemas::{
    event::Coding,
    format::{Defaults, Format},
    raw::RawRecord,
    rejection::Reason,
};

use super::wire::{Sample, word};
use crate::{
    apple,
    observed::Payload,
    refusal::{Refused, refused},
};

/// The types that HealthKit calls characteristics: facts about a person, without a time. These are the names that
/// react-native-health uses; Apple's identifiers have a prefix of their own.
const CHARACTERISTICS: &[&str] =
    &["ActivityMoveMode", "BiologicalSex", "BloodType", "DateOfBirth", "FitzpatrickSkinType", "WheelchairUse"];
const CHARACTERISTIC_PREFIX: &str = "HKCharacteristicTypeIdentifier";

/// The type of a sample, with its unit.
pub(super) struct SampleType<'s> {
    /// The type as written.
    pub(super) name: &'s str,
    /// The metric of the type, if the catalogue contains it.
    pub(super) metric: Option<&'static Metric>,
    /// The unit as written.
    pub(super) unit: Option<&'s str>,
    /// The declared documentation whose default units apply if no unit is written.
    pub(super) defaults: Option<Defaults>,
}

impl<'s> SampleType<'s> {
    /// Determines the type of a sample of a payload.
    pub(super) fn of(payload: Payload<'s>, sample: &'s Sample<'_>) -> Result<Self, Refused> {
        let headers = &payload.record.headers;
        let name = type_name(payload.record, sample)?;
        let unit = word(sample.unit.as_ref())
            .or_else(|| headers.unit.as_deref().map(str::trim).filter(|unit| !unit.is_empty()));
        // The defaults document the JSON of react-native-health. An export.xml, whose records are mapped here too, states its
        // units itself.
        let defaults = headers.defaults.filter(|_| payload.format == Format::StandardJson);
        Ok(Self { name, metric: metric_by_spelling(Vocabulary::HealthKit, name), unit, defaults })
    }

    /// The type as a code in Apple's code system.
    pub(super) fn coding(&self) -> Coding {
        apple::code(self.name)
    }
}

/// Returns the type of a sample as written. Characteristics are refused, because they are not readings.
pub(super) fn type_name<'s>(record: &'s RawRecord<'_>, sample: &'s Sample<'_>) -> Result<&'s str, Refused> {
    let name = word(sample.kind.as_ref())
        .or_else(|| record.headers.sample_type.as_deref().map(str::trim).filter(|name| !name.is_empty()))
        .ok_or(refused(Reason::TypeMissing, "neither the sample nor the request names a type"))?;
    if name.starts_with(CHARACTERISTIC_PREFIX) || CHARACTERISTICS.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return Err(refused(Reason::NotAReading, "the type is a characteristic"));
    }
    Ok(name)
}
