//! Maps the value of an entry by the kind of its metric. The remaining fields become components, so that everything is kept
//! that a component can represent.

use std::borrow::Cow;

use catalogue::{self, Metric, ValueKind};
use schemas::{
    event::{self, Coding, Component, Flag, Missing, Value},
    rejection::Reason,
};
use serde::Deserialize;

use crate::{
    apple::{self, Electrocardiogram},
    json::Word,
    observed::{Coded, SourceNumber, coding},
    refusal::{Refused, refused},
};

use super::{
    other_fields::{amount, parts},
    subject::Subject,
    wire::{Entry, Number, Section, Voltage},
};

/// Fields that are not values: ids, names and units of values, and the apps and devices that wrote them. The reading's id
/// distinguishes entries by them.
pub(super) const ABOUT: [&str; 6] = ["id", "name", "units", "source", "sleepSource", "inBedSource"];
/// Fields with amounts: the hours of sleep stages, counts by kind, and the amount beside the word of a category.
pub(super) const AMOUNTS: [&str; 11] = [
    "qty",
    "totalSleep",
    "asleep",
    "inBed",
    "core",
    "deep",
    "rem",
    "awake",
    "Unspecified",
    "Protection Used",
    "Protection Not Used",
];
/// A total of a workout.
struct Total {
    /// The app's name.
    name: &'static str,
    /// The code of the total in Apple's code system.
    apple: &'static str,
    /// The key of a metric of the same dimension, whose unit the total is converted to.
    like: &'static str,
}

const TOTALS: [Total; 4] = [
    Total { name: "activeEnergy", apple: "HKWorkout.totalEnergyBurned", like: "active_energy_burned" },
    Total { name: "activeEnergyBurned", apple: "HKWorkout.totalEnergyBurned", like: "active_energy_burned" },
    Total { name: "distance", apple: "HKWorkout.totalDistance", like: "distance_walking_running" },
    Total { name: "duration", apple: "HKWorkout.duration", like: "apple_exercise_time" },
];
const NO_VALUE: Refused = refused(Reason::ValueMissing, "the entry has no field with a value");

/// The value and components found so far, and the names of the fields that they were read from.
struct Found {
    coded: Coded,
    components: Vec<Component>,
    taken: Vec<&'static str>,
}

/// Maps the value and the components of an entry. `time_fields` are the fields that the time was read from.
pub(super) fn value(
    subject: &Subject<'_>,
    entry: &Entry<'_>,
    time_fields: [&'static str; 3],
) -> Result<(Coded, Vec<Component>), Refused> {
    let Found { coded, mut components, taken } = match (subject.section, subject.metric) {
        (Section::Metrics | Section::Symptoms | Section::CycleTracking, Some(metric)) => match metric.kind() {
            ValueKind::Quantity => quantity(subject, entry)?,
            ValueKind::Panel => panel(subject, entry, metric)?,
            ValueKind::Coded => category(subject, entry, metric)?,
            ValueKind::Waveform | ValueKind::Document => return Err(NO_VALUE),
        },
        (Section::Metrics | Section::Symptoms | Section::CycleTracking, None) => quantity(subject, entry)?,
        (Section::Workouts, _) => workout(subject, entry)?,
        (Section::StateOfMind, _) => {
            let valence = entry.literal("valence")?.ok_or(NO_VALUE)?;
            let coded = measured(subject, subject.metric, &valence, subject.coding())?;
            Found { coded, components: Vec::new(), taken: vec!["valence"] }
        }
        (Section::Medications, _) => medication(subject, entry)?,
        (Section::Ecg, _) => electrocardiogram(subject, entry)?,
        (Section::HeartRateNotifications, _) => {
            // The app does not write which of Apple's three kinds of notification it is.
            let value = Value::Absent(Missing::NotApplicable);
            let coded = Coded {
                code: subject.coding(),
                source_codes: vec![subject.coding()],
                value,
                flags: vec![Flag::UnknownMetric],
            };
            Found { coded, components: Vec::new(), taken: Vec::new() }
        }
    };
    for (name, raw) in &entry.0 {
        let name = name.0.as_ref();
        if ![ABOUT.as_slice(), &time_fields, &taken]
            .iter()
            .any(|names| names.iter().any(|n| n.eq_ignore_ascii_case(name)))
        {
            parts(subject.part(name), raw, 0, &mut components)?;
        }
    }
    Ok((coded, components))
}

/// Maps the number in `qty`. For an aggregate, the value is the average, and the minimum and maximum are components with codes
/// of their own, because the code of the metric stands for a single value. A text is accepted only if the catalogue does not
/// know the metric.
fn quantity(subject: &Subject<'_>, entry: &Entry<'_>) -> Result<Found, Refused> {
    let (qty, average) = (entry.literal("qty")?, entry.literal("Avg")?);
    let mut components: Vec<Component> = Vec::new();
    for name in ["Min", "Avg", "Max"] {
        if let Some(number) = entry.literal(name)?.filter(|_| name != "Avg" || qty.is_some()) {
            let part = subject.part(name);
            let mut coded = measured(subject, subject.metric, &number, part.clone())?;
            coded.code = part;
            components.push(coded.into());
        }
    }
    let mut taken = vec!["qty", "Min", "Avg", "Max"];
    let coded = match (qty.or(average), subject.metric) {
        (Some(number), metric) => measured(subject, metric, &number, subject.coding())?,
        (None, metric) if !components.is_empty() => absent(subject, metric),
        (None, None) => {
            let word = word(entry)?.ok_or(NO_VALUE)?;
            taken.extend(["value", "severity"]);
            let (value, flags) = (Value::Text(word.into_owned()), vec![Flag::UnknownMetric]);
            Coded { code: subject.coding(), source_codes: vec![subject.coding()], value, flags }
        }
        (None, Some(_)) => return Err(NO_VALUE),
    };
    Ok(Found { coded, components, taken })
}

/// Maps a blood pressure.
fn panel(subject: &Subject<'_>, entry: &Entry<'_>, metric: &'static Metric) -> Result<Found, Refused> {
    let taken = vec!["systolic", "diastolic"];
    let mut components = Vec::with_capacity(taken.len());
    for (name, key) in taken.iter().zip(["systolic_blood_pressure", "diastolic_blood_pressure"]) {
        if let Some(number) = entry.literal(name)? {
            let part = catalogue::metric_by_key(key);
            components.push(measured(subject, part, &number, subject.part(name))?.into());
        }
    }
    if components.is_empty() {
        return Err(refused(Reason::ValueMissing, "the panel has no values"));
    }
    Ok(Found { coded: absent(subject, Some(metric)), components, taken })
}

/// Maps the word of a category, or the amounts of its values: an aggregated sleep has the hours of each stage.
fn category(subject: &Subject<'_>, entry: &Entry<'_>, metric: &'static Metric) -> Result<Found, Refused> {
    let mut components = Vec::new();
    for name in AMOUNTS {
        if let Some(number) = entry.literal(name)? {
            // In older versions of the app `asleep` is the sum of all sleep, in newer ones it is sleep without a stage.
            let known = metric.coded_value(name).filter(|_| name != "asleep");
            let mut part = amount(&number, subject.units.as_deref(), subject.part(name))?;
            if let Some(known) = known {
                let (system, code) = (known.system().into(), known.code().into());
                part.code = Coding { system, code, display: Some(known.display().into()) };
            }
            components.push(part);
        }
    }
    let coded = match word(entry)? {
        None if !components.is_empty() => absent(subject, Some(metric)),
        word => apple::category(metric, word.as_deref(), subject.coding())?,
    };
    let taken = AMOUNTS.into_iter().chain(["value", "severity"]).collect();
    Ok(Found { coded, components, taken })
}

/// Maps a workout: its activity, and its totals.
fn workout(subject: &Subject<'_>, entry: &Entry<'_>) -> Result<Found, Refused> {
    let (mut components, mut taken) = (Vec::new(), Vec::new());
    for known in &TOTALS {
        let name = known.name;
        // A list under the same name is a series. A number without a unit is read only if a unit is documented: the duration is
        // in seconds (help.healthyapps.dev, "Workouts - JSON Export Format").
        if entry.get(name).is_none_or(|value| value.get().starts_with('[')) {
            continue;
        }
        let default = (name == "duration").then_some("s");
        if let Some(number) = entry.number(name)?
            && let Some(unit) = number.unit.as_deref().or(default)
        {
            components.push(total(known, &number, unit, subject.part(name))?);
            taken.push(name);
        }
    }
    let value = match entry.literal("name")? {
        Some(name) => {
            let code = Coding { code: name.into_owned().into(), ..subject.coding() };
            Value::Coded(event::Coded { coding: code, text: None })
        }
        None if components.is_empty() => {
            return Err(refused(Reason::ValueMissing, "the workout has neither a kind nor a total"));
        }
        None => Value::Absent(Missing::Panel),
    };
    Ok(Found { coded: Coded { value, ..absent(subject, subject.metric) }, components, taken })
}

/// Maps a total of a workout, under Apple's name and in the unit of a metric of the same dimension.
fn total(total: &Total, number: &Number<'_>, unit: &str, source: Coding) -> Result<Component, Refused> {
    let measure = SourceNumber { number: &number.text, units: [Some(unit), None], comparator: None }
        .total(catalogue::metric_by_key(total.like))?;
    let mut quantity = measure.quantity;
    let mut flags = measure.flags;
    if number.unit.is_none() {
        quantity.source_unit = None;
        flags.push(Flag::DefaultUnit);
    }
    let (code, value) = (apple::code(total.apple), Value::Quantity(quantity));
    Ok(Component { code, source_codes: vec![source], value, flags })
}

/// Maps a dose of a medication: its status, and the codes of the medication.
fn medication(subject: &Subject<'_>, entry: &Entry<'_>) -> Result<Found, Refused> {
    #[derive(Deserialize)]
    struct MedicationCode<'a> {
        #[serde(borrow)]
        system: Word<'a>,
        #[serde(borrow)]
        code: Word<'a>,
    }
    let metric = subject.metric.ok_or(NO_VALUE)?;
    let status = entry.literal("status")?.ok_or(NO_VALUE)?;
    let components = entry.list::<MedicationCode<'_>>("codings")?.into_iter().map(|code| {
        let (system, code) = (code.system.0.into_owned().into(), code.code.0.into_owned().into());
        let coding = Coding { system, code, display: None };
        let part = subject.part("codings");
        let value = Value::Coded(event::Coded { coding, text: None });
        Component { code: part.clone(), source_codes: vec![part], value, flags: Vec::new() }
    });
    let components = components.collect();
    let coded = apple::category(metric, Some(&status), subject.coding())?;
    Ok(Found { coded, components, taken: vec!["status", "codings"] })
}

fn electrocardiogram(subject: &Subject<'_>, entry: &Entry<'_>) -> Result<Found, Refused> {
    let metric = subject.metric.ok_or(NO_VALUE)?;
    let voltages: Vec<Voltage<'_>> = entry.list("voltageMeasurements")?;
    let unit = |voltage: &Voltage<'_>| voltage.units.as_ref().map(|units| units.0.clone().into_owned());
    let first = voltages.first().and_then(unit);
    if voltages.iter().any(|voltage| voltage.units.as_ref().map(|units| units.0.as_ref()) != first.as_deref()) {
        return Err(refused(Reason::UnitInvalid, "the voltages have more than one unit"));
    }
    let written = Electrocardiogram {
        unit: first.map(Into::into),
        voltages: voltages.into_iter().map(|voltage| voltage.voltage.0).collect(),
        hertz: entry
            .number("samplingFrequency")?
            .map(|number| in_unit(number, "Hz"))
            .transpose()?
            .map(|number| number.text),
        classification: entry.literal("classification")?,
        average_heart_rate: entry
            .number("averageHeartRate")?
            .map(|number| in_unit(number, "/min"))
            .transpose()?
            .map(|number| (number.text, number.unit)),
    };
    let (coded, components) = written.read(metric, subject.coding())?;
    let taken = vec!["voltageMeasurements", "samplingFrequency", "classification", "averageHeartRate"];
    Ok(Found { coded, components, taken })
}

/// Returns the number if its unit is `ucum` or is not written.
fn in_unit<'a>(number: Number<'a>, ucum: &str) -> Result<Number<'a>, Refused> {
    if number.unit.as_ref().is_some_and(|unit| catalogue::ucum_of(unit) != Some(ucum)) {
        return Err(refused(
            Reason::UnitInvalid,
            "samplingFrequency is not in hertz, or averageHeartRate is not in beats per minute",
        ));
    }
    Ok(number)
}

/// The word of a category or of a symptom.
fn word<'a>(entry: &Entry<'a>) -> Result<Option<Cow<'a, str>>, Refused> {
    Ok(entry.literal("value")?.or(entry.literal("severity")?))
}

/// The code of the subject with an absent value, for entries whose values are in components.
fn absent(subject: &Subject<'_>, metric: Option<&'static Metric>) -> Coded {
    Coded {
        code: metric.map_or_else(|| subject.coding(), |metric| coding(metric.code())),
        source_codes: vec![subject.coding()],
        value: Value::Absent(Missing::Panel),
        flags: if metric.is_some() { Vec::new() } else { vec![Flag::UnknownMetric] },
    }
}

/// Maps a number in the unit of the entry.
fn measured(
    subject: &Subject<'_>,
    metric: Option<&'static Metric>,
    number: &str,
    source: Coding,
) -> Result<Coded, Refused> {
    let units = [subject.units.as_deref(), None];
    let measure = SourceNumber { number, units, comparator: None }.measure(metric)?;
    let code = measure.code.or_else(|| metric.map(Metric::code)).map_or_else(|| subject.coding(), coding);
    Ok(Coded { code, source_codes: vec![source], value: Value::Quantity(measure.quantity), flags: measure.flags })
}
