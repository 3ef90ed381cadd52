//! Maps one sample to one reading.

use catalogue::ValueKind;
use schemas::{
    event::{Device, DeviceId, Reading},
    format::Provider,
    identity::{ContentDigest, Identity},
};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    sample_type::SampleType,
    value,
    wire::{Sample, literal, word},
};
use crate::{
    observed::{Observed, Payload, Times, device},
    refusal::Refused,
};

/// Maps one sample. `device` returns the device that measured; it is called only if the type of the sample can be a reading.
pub(crate) fn reading(
    payload: Payload<'_>,
    item: u32,
    sample: &Sample<'_>,
    device: impl FnOnce() -> Result<Option<Device>, Refused>,
) -> Result<Reading, Refused> {
    let kind = SampleType::of(payload, sample)?;
    let device = device()?;
    let span = Span::of(sample);
    let end_of_span = span.end.filter(|end| Some(*end) != span.start);
    let (coded, components) = match kind.metric.map(|metric| (metric, metric.kind())) {
        Some((_, ValueKind::Panel)) => value::panel(&kind, sample)?,
        Some((metric, ValueKind::Coded)) if metric.key() == "workout" => value::workout(&kind, sample)?,
        Some((metric, ValueKind::Waveform)) => value::waveform(&kind, metric, sample)?,
        Some((metric, ValueKind::Quantity)) => (value::single(&kind, sample)?, value::sources(&kind, metric, sample)?),
        Some((_, ValueKind::Coded | ValueKind::Document)) | None => (value::single(&kind, sample)?, Vec::new()),
    };
    let observed =
        Observed { times: Times::read(span.start, end_of_span)?, ..Observed::new(item, device, coded, components) };
    let device = observed.device.as_ref().map(|device| device.id.clone());
    let device = device.as_ref().map(DeviceId::as_str);
    let literals = |span| literals(&kind, sample, device, span);
    let mut content = ContentDigest::default();
    for literal in literals(span) {
        content.optional(literal);
    }
    content.optional(kind.unit);
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
    // Apple writes UUIDs in upper case; some apps convert them to lower case.
    let id = literal(sample.id.as_ref()).map(str::to_ascii_lowercase);
    let stable = id.as_deref();
    if let Some(id) = &stable {
        return Ok(observed.reading(payload, Identity::Stable(std::slice::from_ref(id)), content));
    }
    let [from, until] = observed.times.instants();
    let alone = literals(Span { start: from.as_deref(), end: until.as_deref() }).map(Option::unwrap_or_default);
    match sample.objects.as_deref() {
        None | Some([]) => Ok(observed.reading(payload, Identity::Literals(&alone), content)),
        Some(objects) => {
            let all: Vec<&str> = alone.into_iter().chain(objects.iter().map(|object| object.get())).collect();
            Ok(observed.reading(payload, Identity::Literals(&all), content))
        }
    }
}

/// Returns the device that the sample names, else the device that the request names.
pub(super) fn device_of(payload: Payload<'_>, sample: &Sample<'_>) -> Result<Option<Device>, Refused> {
    let id = sample.device_id.as_ref().map(|id| id.0.as_ref()).or(payload.record.headers.device_id.as_deref());
    id.map(|id| device(payload.provider, id)).transpose()
}

/// Returns the `_id` of the device that a refused sample names, else of the device that the request names.
pub(super) fn refused_device(
    provider: Provider,
    sample: &Sample<'_>,
    by_request: impl FnOnce() -> Option<Uuid>,
) -> Option<Uuid> {
    match &sample.device_id {
        Some(id) => device(provider, &id.0).ok().map(|device| device.key),
        None => by_request(),
    }
}

/// The start and the end of a sample, as written.
#[derive(Clone, Copy)]
struct Span<'s> {
    start: Option<&'s str>,
    end: Option<&'s str>,
}

impl<'s> Span<'s> {
    fn of(sample: &'s Sample<'_>) -> Self {
        Self {
            start: word(sample.start_date.as_ref()).or_else(|| word(sample.start.as_ref())),
            end: word(sample.end_date.as_ref()).or_else(|| word(sample.end.as_ref())),
        }
    }
}

/// The type, device, source, times and values of a sample as the source wrote them.
fn literals<'s>(
    kind: &SampleType<'s>,
    sample: &'s Sample<'_>,
    device: Option<&'s str>,
    span: Span<'s>,
) -> [Option<&'s str>; 14] {
    [
        Some(kind.name),
        device,
        word(sample.source_id.as_ref()),
        word(sample.source_name.as_ref()),
        span.start,
        span.end,
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

/// The fields that only ECGs and heartbeat series have.
fn series<'s>(sample: &'s Sample<'_>) -> [Option<&'s str>; 5] {
    [
        literal(sample.classification.as_ref()),
        literal(sample.average_heart_rate.as_ref()),
        literal(sample.sampling_frequency.as_ref()),
        sample.voltage_measurements.map(RawValue::get),
        sample.heartbeat_series.map(RawValue::get),
    ]
}
