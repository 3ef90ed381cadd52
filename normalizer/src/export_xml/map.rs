//! Maps elements to readings.

use std::borrow::Cow;

use catalogue::{self, Metric, Vocabulary};
use schemas::{
    event::{Component, Device, Flag, Missing, Quantity, Reading, Value},
    identity::{ContentDigest, Identity},
    moment::Moment,
    rejection::Reason,
};

use super::{
    description::Description,
    element::{ActivitySummary, Element, Record, Statistics, Total, Workout},
};
use crate::{
    apple,
    drift::Shapes,
    healthkit::{self, Sample},
    json::{Literal, Word},
    normalized::Rejection,
    observed::{Coded, Observed, PARTS_MAX, Payload, SourceNumber, TOO_MANY_PARTS, Times, coding, device},
    refusal::{Refused, refused},
};

/// HealthKit's percent is a fraction of one (HKUnit.percent): an export writes 97 % as `0.97 %`.
const PERCENT: &str = "%";

/// The state of mapping one export, whose elements are mapped in their order.
pub(super) struct Export<'r> {
    payload: Payload<'r>,
    /// The time of the export. It is the version of readings that change between two exports, such as the rings of a day.
    made_at: Option<i64>,
    /// The last device, with its description. An export repeats a device in long runs, and computing a device key costs a hash.
    last_device: Option<(String, Device)>,
    /// The shapes of what the mapping does not know.
    pub(super) unknown: Shapes,
}

impl<'r> Export<'r> {
    pub(super) fn new(payload: Payload<'r>) -> Self {
        Self { payload, made_at: None, last_device: None, unknown: Shapes::default() }
    }

    /// Maps an element; `None` if it is not an item.
    pub(super) fn map_element(&mut self, item: u32, element: Element<'_>) -> Option<Result<Reading, Rejection>> {
        let not_a_reading = |detail| (Err(refused(Reason::NotAReading, detail)), None, Cow::Borrowed(""));
        let (found, device, tag) = match element {
            Element::Record(sample, tag) => {
                let found = self.sample(item, &sample);
                if found.is_err() {
                    healthkit::refused_type(self.payload.record, &as_sample(&sample), &mut self.unknown);
                }
                (found, sample.device.map(Cow::Borrowed), Cow::Borrowed(tag))
            }
            Element::Workout(workout, tag) => {
                (self.workout(item, &workout), workout.device.map(Cow::Owned), Cow::Owned(tag))
            }
            Element::ActivitySummary(summary, tag) => (self.summary(item, &summary), None, Cow::Borrowed(tag)),
            Element::WorkoutRoute => not_a_reading("the route of a workout is a list of places"),
            Element::Me => not_a_reading("birth date, sex, blood type and skin type are characteristics"),
            Element::Document | Element::Other(_) => {
                if let Element::Other(name) = element {
                    self.unknown.element("HealthData.", name);
                }
                not_a_reading("the element is not a record, a workout or an activity summary")
            }
            Element::ExportDate(date) => {
                self.made_at = date.and_then(|text| Moment::rfc3339(&text).ok()).map(|moment| moment.from_us());
                return None;
            }
            Element::Unknown { path, name } => {
                self.unknown.element(path, name);
                return None;
            }
            Element::Correlation => return None,
        };
        if let Ok(reading) = &found {
            self.unknown.reading(reading);
        }
        Some(found.map_err(|Refused { reason, detail }| Rejection {
            item: Some(item),
            item_count: 1,
            reason,
            detail,
            device: self.device(device.as_deref()).ok().flatten().map(|device| device.key),
            bytes: tag.as_bytes().to_vec(),
        }))
    }

    fn sample(&mut self, item: u32, sample: &Record<'_>) -> Result<Reading, Refused> {
        let device = self.device(sample.device)?;
        let mut reading = healthkit::sample(self.payload, item, &as_sample(sample), || Ok(device))?;
        if let (Value::Quantity(quantity), Some(unit)) = (&mut reading.value, sample.unit.as_deref()) {
            written_unit(quantity, unit, &reading.flags);
        }
        Ok(reading)
    }

    fn workout(&mut self, item: u32, workout: &Workout) -> Result<Reading, Refused> {
        let kind = filled(workout.activity.as_deref())
            .ok_or(refused(Reason::TypeMissing, "the workout has no activity type"))?;
        let mut components = Vec::new();
        for (name, like, Total { number, unit }) in [
            ("duration", "HKQuantityTypeIdentifierAppleExerciseTime", &workout.duration),
            ("totalDistance", "HKQuantityTypeIdentifierDistanceWalkingRunning", &workout.distance),
            ("totalEnergyBurned", "HKQuantityTypeIdentifierActiveEnergyBurned", &workout.energy),
        ] {
            if let Some(number) = number {
                components.push(part(&format!("HKWorkout.{name}"), like, number, unit.as_deref())?);
            }
        }
        if workout.statistics.len() > PARTS_MAX {
            return Err(TOO_MANY_PARTS);
        }
        for statistics in &workout.statistics {
            statistics_parts(statistics, &mut components)?;
        }
        let metric = catalogue::metric_by_spelling(Vocabulary::HealthKit, "HKWorkoutTypeIdentifier");
        let coded = Coded {
            code: metric.map_or_else(|| apple::code("HKWorkoutTypeIdentifier"), |metric| coding(metric.code())),
            source_codes: vec![apple::code("HKWorkoutTypeIdentifier")],
            value: apple::coded(kind),
            flags: Vec::new(),
        };
        let device = self.device(workout.device.as_deref())?;
        let (start, end) = (workout.start.as_deref(), workout.end.as_deref());
        let id = device.as_ref().map_or("", |device| device.id.as_str()).to_owned();
        let totals = [&workout.duration, &workout.distance, &workout.energy];
        let statistics = workout.statistics.iter().flat_map(|statistics| {
            let Statistics { kind, unit, average, minimum, maximum, sum } = statistics;
            [kind, unit, average, minimum, maximum, sum]
        });
        let numbers = totals.into_iter().flat_map(|total| [&total.number, &total.unit]).chain(statistics);
        let mut content = ContentDigest::default();
        for literal in [Some(kind), Some(id.as_str()), start, end] {
            content.optional(literal);
        }
        for literal in numbers {
            content.optional(literal.as_deref());
        }
        let observed = Observed { times: Times::read(start, end)?, ..Observed::new(item, device, coded, components) };
        // The totals of a workout are not part of its id, because later releases of iOS write them in more detail.
        let source = workout.source_name.as_deref().unwrap_or_default();
        let [from, until] = observed.times.instants().map(Option::unwrap_or_default);
        let name = ["HKWorkoutTypeIdentifier", id.as_str(), source, from.as_str(), until.as_str(), kind];
        Ok(observed.reading(self.payload, Identity::Literals(&name), content))
    }

    fn summary(&mut self, item: u32, summary: &ActivitySummary<'_>) -> Result<Reading, Refused> {
        let date =
            filled(summary.date.as_deref()).ok_or(refused(Reason::TimeInvalid, "the activity summary has no date"))?;
        // In the DTD, only the energy has an attribute for its unit. Apple's rings count the minutes of moving and of exercise,
        // and the hours of the day in which the owner stood; the latter is a count and not a duration.
        let parts = [
            ("activeEnergyBurned", "HKQuantityTypeIdentifierActiveEnergyBurned", &summary.energy, None),
            ("appleMoveTime", "HKQuantityTypeIdentifierAppleMoveTime", &summary.move_time, Some("min")),
            ("appleExerciseTime", "HKQuantityTypeIdentifierAppleExerciseTime", &summary.exercise_time, Some("min")),
            ("appleStandHours", "HKActivitySummary.appleStandHours", &summary.stand_hours, Some("1")),
        ];
        let mut components = Vec::new();
        let mut content = ContentDigest::default();
        content.literal(date);
        for (name, like, number, documented) in parts {
            content.optional(number.as_deref());
            if let Some(number) = filled(number.as_deref()) {
                let unit = documented.or(filled(summary.energy_unit.as_deref()));
                let mut component = part(&format!("HKActivitySummary.{name}"), like, number, unit)?;
                if let (Value::Quantity(quantity), Some(_)) = (&mut component.value, documented) {
                    quantity.source_unit = None;
                    component.flags.push(Flag::DefaultUnit);
                }
                components.push(component);
            }
        }
        content.optional(summary.energy_unit.as_deref());
        if components.is_empty() {
            return Err(refused(Reason::ValueMissing, "the activity summary has no values"));
        }
        let coded = Coded {
            code: apple::code("HKActivitySummaryTypeIdentifier"),
            source_codes: vec![apple::code("HKActivitySummaryTypeIdentifier")],
            value: Value::Absent(Missing::Panel),
            flags: Vec::new(),
        };
        // The numbers of a day grow until its end. A changed number is a new version of the same reading, so numbers are not
        // part of its id.
        let observed = Observed {
            times: Times::read(Some(date), None)?,
            source_updated_at: self.made_at,
            ..Observed::new(item, self.device(None)?, coded, components)
        };
        let id = observed.device.as_ref().map_or("", |device| device.id.as_str()).to_owned();
        let name = ["HKActivitySummaryTypeIdentifier", id.as_str(), date];
        Ok(observed.reading(self.payload, Identity::Stable(&name), content))
    }

    /// The device that Apple's description names. Its id is the one that the request gives, else it comes from the description.
    /// The id never contains the memory address that the description begins with, because that differs in each export, nor the
    /// software version.
    fn device(&mut self, text: Option<&str>) -> Result<Option<Device>, Refused> {
        let text = text.unwrap_or_default();
        if let Some((_, last)) = self.last_device.as_ref().filter(|(known, _)| known == text) {
            return Ok(Some(last.clone()));
        }
        let described = Description::read(text);
        let id = match self.payload.record.headers.device_id.as_deref() {
            Some(id) => id.to_owned(),
            None => match described.id() {
                Some(id) => id,
                None => return Ok(None),
            },
        };
        let mut named = device(self.payload.provider, &id)?;
        named.manufacturer = described.manufacturer.map(Into::into);
        named.model = described.hardware.or(described.model).map(Into::into);
        self.last_device = Some((text.to_owned(), named.clone()));
        Ok(Some(named))
    }
}

/// Builds the component of a panel, under Apple's name of the number and in the unit of a metric of the same dimension, `like`.
fn part(name: &str, like: &str, number: &str, unit: Option<&str>) -> Result<Component, Refused> {
    let metric: Option<&'static Metric> = catalogue::metric_by_spelling(Vocabulary::HealthKit, like);
    let measure =
        SourceNumber { number: number.trim(), units: [unit.map(fraction), None], comparator: None }.total(metric)?;
    let mut quantity = measure.quantity;
    if let Some(unit) = unit {
        written_unit(&mut quantity, unit, &measure.flags);
    }
    Ok(Component {
        code: apple::code(name),
        source_codes: vec![apple::code(name)],
        value: Value::Quantity(quantity),
        flags: measure.flags,
    })
}

fn statistics_parts(statistics: &Statistics, components: &mut Vec<Component>) -> Result<(), Refused> {
    let Some(kind) = statistics.kind.as_deref() else { return Ok(()) };
    let numbers = [
        ("average", &statistics.average),
        ("minimum", &statistics.minimum),
        ("maximum", &statistics.maximum),
        ("sum", &statistics.sum),
    ];
    for (name, number) in numbers {
        if let Some(number) = filled(number.as_deref()) {
            components.push(part(&format!("HKWorkout.{kind}.{name}"), kind, number, statistics.unit.as_deref())?);
        }
    }
    Ok(())
}

/// The unit of a number in an export: its percentages are always fractions of one.
fn fraction(unit: &str) -> &str {
    if unit == PERCENT { "1" } else { unit }
}

/// Restores the unit that [`fraction`] replaced: always as the source's unit, and as the unit of the value if the value was not
/// converted, because it is then the source's own.
fn written_unit(quantity: &mut Quantity, unit: &str, flags: &[Flag]) {
    if unit == PERCENT {
        quantity.source_unit = Some(PERCENT.to_owned());
        if flags.iter().any(|flag| matches!(flag, Flag::UnknownMetric | Flag::UnknownUnit)) {
            quantity.unit = PERCENT.into();
        }
    }
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

/// Converts a record to a sample of HealthKit's JSON, so that both are mapped by the same code.
fn as_sample<'s>(record: &'s Record<'_>) -> Sample<'s> {
    let unit = record.unit.as_deref().map(fraction);
    let word = |text: &'s Option<Cow<'_, str>>| text.as_deref().map(|text| Word(Cow::Borrowed(text)));
    Sample {
        kind: word(&record.kind),
        unit: unit.map(|unit| Word(Cow::Borrowed(unit))),
        value: record.value.as_deref().map(|text| Literal(Cow::Borrowed(text))),
        source_name: word(&record.source_name),
        start_date: word(&record.start),
        end_date: word(&record.end),
        ..Sample::default()
    }
}
