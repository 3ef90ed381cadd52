//! Maps the value of a sample by the kind of its metric.

use std::{borrow::Cow, cmp::Ordering};

use catalogue::{self, Metric, ValueKind, Vocabulary, decimal::Decimal};
use schemas::{
    event::{Coding, Component, Flag, Missing, Value, Waveform},
    format::Defaults,
    rejection::Reason,
};

use crate::{
    apple::{self, Electrocardiogram},
    json::{Elements, Members, Object, Word},
    observed::{Coded, NO_UNIT, PARTS_MAX, Series, SourceNumber, TOO_MANY_PARTS, coding},
    refusal::{Refused, refused},
    shape::shape_error,
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    sample_type::SampleType,
    wire::{self, Beat, Sample, SourceContribution, Voltage, literal, word},
};

/// The code system for the apps and devices that wrote a sample. Apple publishes none for their bundle identifiers.
const SOURCE: &str = "urn:healthkit:source";
const NO_VALUE: Refused = refused(Reason::ValueMissing, "the sample has no value");

/// Maps a sample with one value.
pub(super) fn single(kind: &SampleType<'_>, sample: &Sample<'_>) -> Result<Coded, Refused> {
    let value = literal(sample.value.as_ref());
    match kind.metric {
        Some(metric) => match metric.kind() {
            ValueKind::Quantity => quantity(kind, metric, value.ok_or(NO_VALUE)?, kind.coding()),
            ValueKind::Coded => apple::category(metric, value, kind.coding()),
            ValueKind::Panel | ValueKind::Waveform | ValueKind::Document => {
                Err(refused(Reason::UnexpectedShape, "objects[].type must be a type with a single value"))
            }
        },
        None => unknown(kind, value.ok_or(NO_VALUE)?),
    }
}

fn quantity(kind: &SampleType<'_>, metric: &'static Metric, number: &str, source: Coding) -> Result<Coded, Refused> {
    let default = kind.defaults.filter(|_| kind.unit.is_none()).and_then(|defaults| metric.default_unit(defaults));
    let is_share = metric.codes().any(|code| code.unit() == Some("%"));
    let part = kind.unit.filter(|unit| is_share && is_part_of_one(unit, number));
    let unit = if part.is_some() { Some("1") } else { kind.unit.or(default) };
    let measure = SourceNumber { number, units: [unit, None], comparator: None }.measure(Some(metric))?;
    let mut flags = measure.flags;
    let mut quantity = measure.quantity;
    if let Some(written) = part {
        quantity.source_unit = Some(written.to_owned());
    }
    if default.is_some() {
        flags.push(Flag::DefaultUnit);
        quantity.source_unit = None;
    }
    Ok(Coded {
        code: coding(measure.code.unwrap_or_else(|| metric.code())),
        source_codes: vec![source],
        value: Value::Quantity(quantity),
        flags,
    })
}

/// Whether a number in per cent is a fraction of one. HealthKit writes 97 % as `0.97 %` (HKUnit, percent). Some apps multiply
/// by 100 before they send; then the number is greater than one, which a fraction is not.
fn is_part_of_one(unit: &str, number: &str) -> bool {
    catalogue::ucum_of(unit) == Some("%")
        && Decimal::parse(number)
            .is_ok_and(|number| Decimal::parse("1").is_ok_and(|one| number.cmp_value(&one) != Ordering::Greater))
}

/// Maps what each source contributed to a sum, as components. Each has the code of its source: under the code of the metric, it
/// would be counted twice.
pub(super) fn sources(
    kind: &SampleType<'_>,
    metric: &'static Metric,
    sample: &Sample<'_>,
) -> Result<Vec<Component>, Refused> {
    let listed = sample.metadata.and_then(|raw| serde_json::from_str::<Elements<'_>>(raw.get()).ok());
    let listed = listed.map_or_else(Vec::new, |listed| listed.0);
    if listed.len() > PARTS_MAX {
        return Err(TOO_MANY_PARTS);
    }
    let mut components = Vec::with_capacity(listed.len());
    // An element of another shape is not a source.
    for Object(contribution) in
        listed.into_iter().filter_map(|raw| serde_json::from_str::<Object<SourceContribution<'_>>>(raw.get()).ok())
    {
        let name = word(contribution.source_name.as_ref());
        if let (Some(id), Some(number)) =
            (word(contribution.source_id.as_ref()).or(name), literal(contribution.quantity.as_ref()))
        {
            let display = name.map(|name| name.to_owned().into());
            let source = Coding { system: SOURCE.into(), code: id.to_owned().into(), display };
            components.push(Component { code: source.clone(), ..quantity(kind, metric, number, source)?.into() });
        }
    }
    Ok(components)
}

/// Whether a component is the contribution of a source to a sum.
pub(super) fn is_of_source(component: &Component) -> bool {
    component.code.system == SOURCE
}

/// Maps a sample of a type that the catalogue does not know. It keeps what the source says.
fn unknown(kind: &SampleType<'_>, value: &str) -> Result<Coded, Refused> {
    let (value, flags) = if kind.name.starts_with("HKCategoryTypeIdentifier") {
        (apple::coded(value), vec![Flag::UnknownMetric])
    } else if Decimal::parse(value).is_ok() {
        let measure = SourceNumber { number: value, units: [kind.unit, None], comparator: None }.measure(None)?;
        (Value::Quantity(measure.quantity), measure.flags)
    } else {
        (Value::Text(value.to_owned()), vec![Flag::UnknownMetric])
    };
    Ok(Coded { code: kind.coding(), source_codes: vec![kind.coding()], value, flags })
}

/// Maps a correlation: a blood pressure, whose two numbers react-native-health writes in fields of their own, or a food.
pub(super) fn panel(kind: &SampleType<'_>, sample: &Sample<'_>) -> Result<(Coded, Vec<Component>), Refused> {
    let metric = kind.metric.ok_or(NO_VALUE)?;
    let parts = [
        ("HKQuantityTypeIdentifierBloodPressureSystolic", &sample.blood_pressure_systolic_value),
        ("HKQuantityTypeIdentifierBloodPressureDiastolic", &sample.blood_pressure_diastolic_value),
    ];
    let mut components = Vec::with_capacity(parts.len());
    for (name, number) in parts {
        if let (Some(number), Some(part)) =
            (literal(number.as_ref()), catalogue::metric_by_spelling(Vocabulary::HealthKit, name))
        {
            let source = apple::code(name);
            components.push(quantity(kind, part, number, source)?.into());
        }
    }
    let objects = sample.objects.as_deref().unwrap_or_default();
    if objects.len() > PARTS_MAX {
        return Err(TOO_MANY_PARTS);
    }
    for object in objects {
        components.push(part(object.get(), kind.defaults)?.into());
    }
    if components.is_empty() {
        return Err(refused(Reason::ValueMissing, "the panel has no values"));
    }
    let value = food_type(sample).map_or(Value::Absent(Missing::Panel), Value::Text);
    let panel = Coded { code: coding(metric.code()), source_codes: vec![kind.coding()], value, flags: Vec::new() };
    Ok((panel, components))
}

/// Maps a sample inside a correlation. The type and unit of the request are those of the correlation, so they do not apply.
fn part(text: &str, defaults: Option<Defaults>) -> Result<Coded, Refused> {
    let part = wire::sample(text).map_err(|fault| fault.within("objects[]").refused("the sample"))?.known;
    let name = word(part.kind.as_ref())
        .ok_or(refused(Reason::TypeMissing, "a part of the correlation does not name its type"))?;
    let metric = catalogue::metric_by_spelling(Vocabulary::HealthKit, name);
    single(&SampleType { name, metric, unit: word(part.unit.as_ref()), defaults }, &part)
}

/// The name of the food that was eaten (HKMetadataKeyFoodType).
fn food_type(sample: &Sample<'_>) -> Option<String> {
    let metadata: Members<'_> = serde_json::from_str(sample.metadata?.get()).ok()?;
    let name: Word<'_> = serde_json::from_str(metadata.get("HKFoodType")?.get()).ok()?;
    Some(name.0.into_owned()).filter(|name| !name.trim().is_empty())
}

/// Maps a workout: its activity, and its totals. react-native-health documents the units of totals and never writes them, so
/// totals are refused unless its defaults are declared.
pub(super) fn workout(kind: &SampleType<'_>, sample: &Sample<'_>) -> Result<(Coded, Vec<Component>), Refused> {
    let metric = kind.metric.ok_or(NO_VALUE)?;
    let totals = [
        ("totalEnergyBurned", &sample.calories, "HKQuantityTypeIdentifierActiveEnergyBurned", "kcal"),
        ("totalDistance", &sample.distance, "HKQuantityTypeIdentifierDistanceWalkingRunning", "[mi_i]"),
        ("duration", &sample.duration, "HKQuantityTypeIdentifierAppleExerciseTime", "s"),
    ];
    let mut components = Vec::with_capacity(totals.len());
    for (name, number, like, unit) in totals {
        if let Some(number) = literal(number.as_ref()) {
            documented(kind)?;
            components.push(total(name, number, like, unit)?);
        }
    }
    let activity = literal(sample.activity_name.as_ref())
        .or_else(|| literal(sample.value.as_ref()))
        .or_else(|| literal(sample.activity_id.as_ref()));
    let value = match activity {
        Some(activity) => apple::coded(activity),
        None if components.is_empty() => {
            return Err(refused(Reason::ValueMissing, "the workout has neither a kind nor a total"));
        }
        None => Value::Absent(Missing::Panel),
    };
    let coded = Coded { code: coding(metric.code()), source_codes: vec![kind.coding()], value, flags: Vec::new() };
    Ok((coded, components))
}

/// Checks that react-native-health's defaults are declared. It documents the units of an ECG, of heartbeats and of a workout's
/// totals, and never writes them.
fn documented(kind: &SampleType<'_>) -> Result<(), Refused> {
    match kind.defaults {
        Some(Defaults::ReactNativeHealth) => Ok(()),
        None => Err(NO_UNIT),
    }
}

/// Maps a waveform: an ECG, or a series of heartbeats. In react-native-health, voltages are in volts and the times of beats in
/// seconds.
pub(super) fn waveform(
    kind: &SampleType<'_>,
    metric: &'static Metric,
    sample: &Sample<'_>,
) -> Result<(Coded, Vec<Component>), Refused> {
    if let Some(raw) = sample.heartbeat_series {
        let beats: Vec<Object<Beat<'_>>> = series("heartbeatSeries", raw)?;
        documented(kind)?;
        return Ok((heartbeats(kind, metric, &beats)?, Vec::new()));
    }
    let voltages: Vec<Voltage<'_>> =
        sample.voltage_measurements.map_or(Ok(Vec::new()), |raw| series("voltageMeasurements", raw))?;
    let borrowed = |field| literal(field).map(Cow::Borrowed);
    let written = Electrocardiogram {
        voltages: voltages.into_iter().map(|(_, volts)| volts.0).collect(),
        unit: Some(Cow::Borrowed("V")),
        hertz: borrowed(sample.sampling_frequency.as_ref()),
        classification: borrowed(sample.classification.as_ref()),
        average_heart_rate: borrowed(sample.average_heart_rate.as_ref()).map(|number| (number, None)),
    };
    let (mut coded, components) = written.read(metric, kind.coding())?;
    if matches!(coded.value, Value::Waveform(_)) {
        documented(kind)?;
        coded.flags.push(Flag::DefaultUnit);
    }
    Ok((coded, components))
}

fn series<'a, T: Deserialize<'a>>(name: &str, raw: &'a RawValue) -> Result<T, Refused> {
    serde_json::from_str(raw.get()).map_err(|_| {
        let fault = shape_error::<T>(raw.get()).expecting(&[("timeSinceSeriesStart", "a number or text")]);
        fault.within(name).refused("the sample")
    })
}

/// Maps a series of heartbeats. Beats are not at equal intervals, so the period is zero and each beat has its own time. The
/// first of the two dimensions is the seconds since the start; the second is 1 if beats before this one may be missing, else 0.
fn heartbeats(kind: &SampleType<'_>, metric: &'static Metric, beats: &[Object<Beat<'_>>]) -> Result<Coded, Refused> {
    if beats.is_empty() {
        return Err(NO_VALUE);
    }
    let numbers = beats.iter().flat_map(|Object(beat)| {
        [beat.time_since_series_start.0.as_ref(), if beat.preceded_by_gap { "1" } else { "0" }]
    });
    let value = Value::Waveform(Waveform {
        origin: "0".to_owned(),
        unit: "s".into(),
        period_ms: "0".to_owned(),
        factor: "1".to_owned(),
        dimensions: 2,
        samples: Series::of(numbers)?.into_text(),
    });
    let flags = vec![Flag::DefaultUnit];
    Ok(Coded { code: coding(metric.code()), source_codes: vec![kind.coding()], value, flags })
}

/// Maps a total of a workout, under Apple's name of the property. `like` is the type of a metric of the same dimension, whose
/// unit it is converted to.
fn total(name: &str, number: &str, like: &str, unit: &str) -> Result<Component, Refused> {
    let metric = catalogue::metric_by_spelling(Vocabulary::HealthKit, like);
    let measure = SourceNumber { number, units: [Some(unit), None], comparator: None }.total(metric)?;
    let code = apple::code(&format!("HKWorkout.{name}"));
    let mut quantity = measure.quantity;
    quantity.source_unit = None;
    let mut flags = measure.flags;
    flags.push(Flag::DefaultUnit);
    Ok(Component { code: code.clone(), source_codes: vec![code], value: Value::Quantity(quantity), flags })
}
