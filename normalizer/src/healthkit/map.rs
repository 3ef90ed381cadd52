//! One sample becomes one reading.

use catalogue::{self, Kind, Metric, Vocabulary};
use schemas::{
    event::{Coding, Device, DeviceId, Reading},
    format::{Defaults, Format},
    identity::{Content, Identity},
    raw::RawRecord,
    rejection::Reason,
};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    apple,
    json::{Literal, Word},
    observed::{Observed, Origin, Refused, Times, device, refused},
};

use super::{value, wire::Sample};

/// What HealthKit calls characteristics: facts about a person, without a time. Apple's identifiers have a prefix of their
/// own; these are the library's names.
const CHARACTERISTICS: &[&str] =
    &["ActivityMoveMode", "BiologicalSex", "BloodType", "DateOfBirth", "FitzpatrickSkinType", "WheelchairUse"];
const CHARACTERISTIC_PREFIX: &str = "HKCharacteristicTypeIdentifier";

/// What is asked of an element where it does not say it itself.
pub(super) struct Named<'s> {
    /// The type as it is written.
    pub(super) kind: &'s str,
    /// The metric that the type names.
    pub(super) metric: Option<&'static Metric>,
    /// The unit as it is written.
    pub(super) unit: Option<&'s str>,
    /// Whose documented defaults hold where no unit is written.
    pub(super) defaults: Option<Defaults>,
}

impl Named<'_> {
    /// The type as a code of Apple's.
    pub(super) fn coding(&self) -> Coding {
        apple::code(self.kind)
    }
}

/// Maps one sample, which the device has measured.
pub(crate) fn reading(
    (record, origin): (&RawRecord<'_>, Origin),
    item: u32,
    sample: &Sample<'_>,
    device: impl FnOnce() -> Result<Option<Device>, Refused>,
) -> Result<Reading, Refused> {
    let named = named((record, origin), sample)?;
    let device = device()?;
    let (start, end) = span(sample);
    let end_of_span = end.filter(|end| Some(*end) != start);
    let (coded, components) = match named.metric.map(|metric| (metric, metric.kind())) {
        Some((_, Kind::Panel)) => value::panel(&named, sample)?,
        Some((metric, Kind::Coded)) if metric.key() == "workout" => value::workout(&named, sample)?,
        Some((metric, Kind::Waveform)) => value::waveform(&named, metric, sample)?,
        Some((metric, Kind::Quantity)) => (value::single(&named, sample)?, value::sources(&named, metric, sample)?),
        Some((_, Kind::Coded | Kind::Document)) | None => (value::single(&named, sample)?, Vec::new()),
    };
    let observed =
        Observed { times: Times::read(start, end_of_span)?, ..Observed::of(item, device, coded, components) };
    let device = observed.device.as_ref().map(|device| device.id.clone());
    let device = device.as_ref().map(DeviceId::as_str);
    let literals = |times| literals(&named, sample, device, times);
    let mut content = Content::default();
    for literal in literals((start, end)) {
        content.optional(literal);
    }
    content.optional(named.unit);
    for object in sample.objects.iter().flatten() {
        content.literal(object.get());
    }
    if observed.components.iter().any(value::is_of_source) {
        content.optional(sample.metadata.map(RawValue::get));
    }
    let series = series(sample);
    if series.iter().any(Option::is_some) {
        for literal in series {
            content.optional(literal);
        }
    }
    // Apple writes UUIDs in upper case, some apps turn them into lower case.
    let id = literal(sample.id.as_ref()).map(str::to_ascii_lowercase);
    let stable = id.as_deref();
    if let Some(id) = &stable {
        return Ok(observed.reading(record, origin, Identity::Stable(std::slice::from_ref(id)), content));
    }
    let [from, until] = observed.times.instants();
    let alone = literals((from.as_deref(), until.as_deref())).map(Option::unwrap_or_default);
    match sample.objects.as_deref() {
        None | Some([]) => Ok(observed.reading(record, origin, Identity::Literals(&alone), content)),
        Some(objects) => {
            let all: Vec<&str> = alone.into_iter().chain(objects.iter().map(|object| object.get())).collect();
            Ok(observed.reading(record, origin, Identity::Literals(&all), content))
        }
    }
}

/// The type of a sample that may be a reading.
pub(super) fn kind<'s>(record: &'s RawRecord<'_>, sample: &'s Sample<'_>) -> Result<&'s str, Refused> {
    let kind = word(sample.kind.as_ref())
        .or_else(|| record.headers.sample_type.as_deref().map(str::trim).filter(|kind| !kind.is_empty()))
        .ok_or(refused(Reason::TypeMissing, "neither the sample nor the request names a type"))?;
    if kind.starts_with(CHARACTERISTIC_PREFIX) || CHARACTERISTICS.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        return Err(refused(Reason::NotAReading, "the type is a characteristic"));
    }
    Ok(kind)
}

fn named<'s>((record, origin): (&'s RawRecord<'_>, Origin), sample: &'s Sample<'_>) -> Result<Named<'s>, Refused> {
    let kind = kind(record, sample)?;
    let unit = word(sample.unit.as_ref())
        .or_else(|| record.headers.unit.as_deref().map(str::trim).filter(|unit| !unit.is_empty()));
    // The defaults document the library's JSON; an export.xml, whose records are mapped here too, has units of its own.
    let defaults = record.headers.defaults.filter(|_| origin.format == Format::StandardJson);
    Ok(Named { kind, metric: catalogue::metric_by_spelling(Vocabulary::HealthKit, kind), unit, defaults })
}

/// The device that the sample or the request names.
pub(super) fn device_of(
    record: &RawRecord<'_>,
    origin: Origin,
    sample: &Sample<'_>,
) -> Result<Option<Device>, Refused> {
    let id = sample.device_id.as_ref().map(|id| id.0.as_ref()).or(record.headers.device_id.as_deref());
    id.map(|id| device(origin.provider, id)).transpose()
}

/// The `_id` of the device that a refused sample names, else that of the request.
pub(super) fn refused_device(
    origin: Origin,
    sample: &Sample<'_>,
    by_request: impl FnOnce() -> Option<Uuid>,
) -> Option<Uuid> {
    match &sample.device_id {
        Some(id) => device(origin.provider, &id.0).ok().map(|device| device.key),
        None => by_request(),
    }
}

fn span<'s>(sample: &'s Sample<'_>) -> (Option<&'s str>, Option<&'s str>) {
    (
        word(sample.start_date.as_ref()).or_else(|| word(sample.start.as_ref())),
        word(sample.end_date.as_ref()).or_else(|| word(sample.end.as_ref())),
    )
}

/// Type, device, source, time and value as the source wrote them.
fn literals<'s>(
    named: &Named<'s>,
    sample: &'s Sample<'_>,
    device: Option<&'s str>,
    (start, end): (Option<&'s str>, Option<&'s str>),
) -> [Option<&'s str>; 14] {
    [
        Some(named.kind),
        device,
        word(sample.source_id.as_ref()),
        word(sample.source_name.as_ref()),
        start,
        end,
        literal(sample.value.as_ref()),
        literal(sample.blood_pressure_systolic_value.as_ref()),
        literal(sample.blood_pressure_diastolic_value.as_ref()),
        literal(sample.activity_name.as_ref()),
        literal(sample.activity_id.as_ref()),
        literal(sample.calories.as_ref()),
        literal(sample.distance.as_ref()),
        literal(sample.duration.as_ref()),
    ]
}

/// What only ECGs and heartbeat series have.
fn series<'s>(sample: &'s Sample<'_>) -> [Option<&'s str>; 5] {
    [
        literal(sample.classification.as_ref()),
        literal(sample.average_heart_rate.as_ref()),
        literal(sample.sampling_frequency.as_ref()),
        sample.voltage_measurements.map(RawValue::get),
        sample.heartbeat_series.map(RawValue::get),
    ]
}

/// The word, unless it is nothing but white space.
pub(super) fn word<'s>(word: Option<&'s Word<'_>>) -> Option<&'s str> {
    word.map(|word| word.0.trim()).filter(|word| !word.is_empty())
}

/// The literal, unless it is nothing but white space.
pub(super) fn literal<'s>(literal: Option<&'s Literal<'_>>) -> Option<&'s str> {
    literal.map(|literal| literal.0.trim()).filter(|literal| !literal.is_empty())
}
