//! The type of a sample, and what holds for it: said by the sample itself, else by the request.

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

/// What HealthKit calls characteristics: facts about a person, without a time. Apple's identifiers have a prefix of their
/// own; these are the library's names.
const CHARACTERISTICS: &[&str] =
    &["ActivityMoveMode", "BiologicalSex", "BloodType", "DateOfBirth", "FitzpatrickSkinType", "WheelchairUse"];
const CHARACTERISTIC_PREFIX: &str = "HKCharacteristicTypeIdentifier";

/// The type of a sample with its unit.
pub(super) struct SampleType<'s> {
    /// The type as it is written.
    pub(super) name: &'s str,
    /// The metric that the type names.
    pub(super) metric: Option<&'static Metric>,
    /// The unit as it is written.
    pub(super) unit: Option<&'s str>,
    /// Whose documented defaults hold where no unit is written.
    pub(super) defaults: Option<Defaults>,
}

impl<'s> SampleType<'s> {
    /// The type of a sample of a payload.
    pub(super) fn of(payload: Payload<'s>, sample: &'s Sample<'_>) -> Result<Self, Refused> {
        let headers = &payload.record.headers;
        let name = type_name(payload.record, sample)?;
        let unit = word(sample.unit.as_ref())
            .or_else(|| headers.unit.as_deref().map(str::trim).filter(|unit| !unit.is_empty()));
        // The defaults document the library's JSON; an export.xml, whose records are mapped here too, has units of its own.
        let defaults = headers.defaults.filter(|_| payload.format == Format::StandardJson);
        Ok(Self { name, metric: metric_by_spelling(Vocabulary::HealthKit, name), unit, defaults })
    }

    /// The type as a code of Apple's.
    pub(super) fn coding(&self) -> Coding {
        apple::code(self.name)
    }
}

/// The type of a sample that may be a reading, as it is written.
pub(super) fn type_name<'s>(record: &'s RawRecord<'_>, sample: &'s Sample<'_>) -> Result<&'s str, Refused> {
    let name = word(sample.kind.as_ref())
        .or_else(|| record.headers.sample_type.as_deref().map(str::trim).filter(|name| !name.is_empty()))
        .ok_or(refused(Reason::TypeMissing, "neither the sample nor the request names a type"))?;
    if name.starts_with(CHARACTERISTIC_PREFIX) || CHARACTERISTICS.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return Err(refused(Reason::NotAReading, "the type is a characteristic"));
    }
    Ok(name)
}
