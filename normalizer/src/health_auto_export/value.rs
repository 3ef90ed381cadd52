//! What an entry's value is, by the kind of its metric, and what else it says: the rest of its fields become components,
//! so that nothing is lost that a component can say.

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

/// Fields that are no value: names and units of what is, and the apps and devices that wrote it, which the reading's name
/// keeps apart.
pub(super) const ABOUT: [&str; 6] = ["id", "name", "units", "source", "sleepSource", "inBedSource"];
/// Hours of a night's stages, counts of a kind, and the amount that stands beside a category's word.
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
    /// Apple's name.
    apple: &'static str,
    /// The key of a metric of the same dimension.
    like: &'static str,
}

const TOTALS: [Total; 4] = [
    Total { name: "activeEnergy", apple: "HKWorkout.totalEnergyBurned", like: "active_energy_burned" },
    Total { name: "activeEnergyBurned", apple: "HKWorkout.totalEnergyBurned", like: "active_energy_burned" },
    Total { name: "distance", apple: "HKWorkout.totalDistance", like: "distance_walking_running" },
    Total { name: "duration", apple: "HKWorkout.duration", like: "apple_exercise_time" },
];
const NO_VALUE: Refused = refused(Reason::ValueMissing, "the entry has none of the fields that carry a value");

/// What was found, and the fields that said it.
struct Found {
    coded: Coded,
    components: Vec<Component>,
    taken: Vec<&'static str>,
}

/// The value of an entry, and its components. `time_fields` are the fields that said when.
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
            // The app does not say of which of Apple's three kinds it is.
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

/// A number under `qty`; of an aggregate, its average, with the least and the greatest as components, as the code of the
/// metric means any of its values. A text where the catalogue does not know the metric.
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

/// A blood pressure.
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
        return Err(refused(Reason::ValueMissing, "the panel has none of its numbers"));
    }
    Ok(Found { coded: absent(subject, Some(metric)), components, taken })
}

/// A category's word, or the amounts of its values: an aggregated sleep has the hours of each stage.
fn category(subject: &Subject<'_>, entry: &Entry<'_>, metric: &'static Metric) -> Result<Found, Refused> {
    let mut components = Vec::new();
    for name in AMOUNTS {
        if let Some(number) = entry.literal(name)? {
            // `asleep` is the sum of all sleep in older versions of the app and sleep of no stage in newer ones.
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

/// A workout: what it was, and its totals.
fn workout(subject: &Subject<'_>, entry: &Entry<'_>) -> Result<Found, Refused> {
    let (mut components, mut taken) = (Vec::new(), Vec::new());
    for known in &TOTALS {
        let name = known.name;
        // A list under the same name is a series, and a number without a unit is read only where one is documented: the duration
        // is in seconds (help.healthyapps.dev, "Workouts - JSON Export Format").
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

/// A total of a workout under Apple's name, measured like a metric of the same dimension.
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

/// A dose: what became of it, and the codes of the medication.
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

/// The number where its unit is this one or not written.
fn in_unit<'a>(number: Number<'a>, ucum: &str) -> Result<Number<'a>, Refused> {
    if number.unit.as_ref().is_some_and(|unit| catalogue::ucum_of(unit) != Some(ucum)) {
        return Err(refused(Reason::UnitInvalid, "a number of the electrocardiogram has another unit than its own"));
    }
    Ok(number)
}

/// The word of a category or of a symptom.
fn word<'a>(entry: &Entry<'a>) -> Result<Option<Cow<'a, str>>, Refused> {
    Ok(entry.literal("value")?.or(entry.literal("severity")?))
}

/// The subject's code without a value of its own.
fn absent(subject: &Subject<'_>, metric: Option<&'static Metric>) -> Coded {
    Coded {
        code: metric.map_or_else(|| subject.coding(), |metric| coding(metric.code())),
        source_codes: vec![subject.coding()],
        value: Value::Absent(Missing::Panel),
        flags: if metric.is_some() { Vec::new() } else { vec![Flag::UnknownMetric] },
    }
}

/// A number in the unit of the entry.
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
