//! Reads the attributes of an element.

use std::borrow::Cow;

use quick_xml::{
    XmlVersion,
    events::{BytesStart, attributes::Attribute},
};
use schemas::limit::ATTRIBUTES_MAX;

use super::element::{ActivitySummary, Broken, Each, Element, Record, Statistics, Workout};

/// The description of the last device, as written and unescaped. It consists mostly of character references and is repeated in
/// long runs of records, so it is unescaped once for each run.
#[derive(Default)]
pub(super) struct DeviceDescription {
    written: String,
    value: String,
}

impl DeviceDescription {
    fn read(&mut self, attribute: Attribute<'_>) -> Result<(), Broken> {
        if attribute.value != self.written {
            attribute.value.as_ref().clone_into(&mut self.written);
            self.value = normalized_value(attribute)?.into_owned();
        }
        Ok(())
    }
}

pub(super) fn record<'e>(
    tag: &'e BytesStart<'_>,
    device: &'e mut DeviceDescription,
    each: Each<'_>,
) -> Result<Record<'e>, Broken> {
    let mut record = Record::default();
    let mut has_device = false;
    for attribute in written(tag) {
        let attribute = attribute?;
        let slot = match attribute.key.into_inner() {
            "device" => {
                device.read(attribute)?;
                has_device = true;
                continue;
            }
            "type" => &mut record.kind,
            "unit" => &mut record.unit,
            "value" => &mut record.value,
            "sourceName" => &mut record.source_name,
            "startDate" => &mut record.start,
            "endDate" => &mut record.end,
            "sourceVersion" | "creationDate" => &mut None,
            name => {
                each(Element::Unknown { path: "Record.", name });
                &mut None
            }
        };
        *slot = Some(normalized_value(attribute)?);
    }
    record.device = has_device.then_some(device.value.as_str());
    Ok(record)
}

pub(super) fn workout(tag: &BytesStart<'_>, each: Each<'_>) -> Result<Workout, Broken> {
    let mut workout = Workout::default();
    attributes(tag, |key, text| {
        let slot = match key {
            "workoutActivityType" => &mut workout.activity,
            "sourceName" => &mut workout.source_name,
            "device" => &mut workout.device,
            "startDate" => &mut workout.start,
            "endDate" => &mut workout.end,
            "duration" => &mut workout.duration.number,
            "durationUnit" => &mut workout.duration.unit,
            "totalDistance" => &mut workout.distance.number,
            "totalDistanceUnit" => &mut workout.distance.unit,
            "totalEnergyBurned" => &mut workout.energy.number,
            "totalEnergyBurnedUnit" => &mut workout.energy.unit,
            "sourceVersion" | "creationDate" => return,
            name => {
                each(Element::Unknown { path: "Workout.", name });
                return;
            }
        };
        *slot = Some(text.into_owned());
    })?;
    Ok(workout)
}

pub(super) fn statistics(tag: &BytesStart<'_>, each: Each<'_>) -> Result<Statistics, Broken> {
    let mut statistics = Statistics::default();
    attributes(tag, |key, text| {
        let slot = match key {
            "type" => &mut statistics.kind,
            "unit" => &mut statistics.unit,
            "average" => &mut statistics.average,
            "minimum" => &mut statistics.minimum,
            "maximum" => &mut statistics.maximum,
            "sum" => &mut statistics.sum,
            "startDate" | "endDate" => return,
            name => {
                each(Element::Unknown { path: "WorkoutStatistics.", name });
                return;
            }
        };
        *slot = Some(text.into_owned());
    })?;
    Ok(statistics)
}

pub(super) fn activity_summary<'e>(tag: &'e BytesStart<'_>, each: Each<'_>) -> Result<ActivitySummary<'e>, Broken> {
    let mut summary = ActivitySummary::default();
    attributes(tag, |key, text| {
        let slot = match key {
            "dateComponents" => &mut summary.date,
            "activeEnergyBurned" => &mut summary.energy,
            "activeEnergyBurnedUnit" => &mut summary.energy_unit,
            "appleMoveTime" => &mut summary.move_time,
            "appleExerciseTime" => &mut summary.exercise_time,
            "appleStandHours" => &mut summary.stand_hours,
            "activeEnergyBurnedGoal" | "appleMoveTimeGoal" | "appleExerciseTimeGoal" | "appleStandHoursGoal" => return,
            name => {
                each(Element::Unknown { path: "ActivitySummary.", name });
                return;
            }
        };
        *slot = Some(text);
    })?;
    Ok(summary)
}

/// Reads all attributes, also of elements whose attributes are not used, because a syntax error anywhere is an error.
pub(super) fn attributes<'e>(tag: &'e BytesStart<'_>, mut each: impl FnMut(&str, Cow<'e, str>)) -> Result<(), Broken> {
    for attribute in written(tag) {
        let attribute = attribute?;
        each(attribute.key.into_inner(), normalized_value(attribute)?);
    }
    Ok(())
}

/// The attributes as written. A duplicate name is an error (XML 1.0, section 3.1).
fn written<'e>(tag: &'e BytesStart<'_>) -> impl Iterator<Item = Result<Attribute<'e>, Broken>> {
    let mut attributes = tag.attributes();
    // quick-xml compares each name with all before it. Here a bit set rules out most duplicates: no two of Apple's names map to
    // the same bit, so none of them are compared.
    attributes.with_checks(false);
    let (mut names, mut bits) = (Vec::with_capacity(16), 0_u64);
    attributes.map(move |attribute| {
        let attribute = attribute.map_err(|_| Broken::Syntax)?;
        let name = attribute.key.into_inner();
        let bit = 1 << ((name.len() + usize::from(name.as_bytes().last().copied().unwrap_or_default())) % 64);
        if bits & bit != 0 && names.contains(&name) {
            return Err(Broken::Syntax);
        }
        bits |= bit;
        names.push(name);
        if names.len() > ATTRIBUTES_MAX { Err(Broken::TooWide) } else { Ok(attribute) }
    })
}

/// The normalized value of an attribute (XML 1.0, section 3.3.3). Most values are short and contain nothing to normalize.
/// Testing all bytes without a branch in each step is faster than searching for the first byte that must be normalized.
fn normalized_value(attribute: Attribute<'_>) -> Result<Cow<'_, str>, Broken> {
    let to_be_read = |byte| u8::from(byte < b' ') | u8::from(byte == b'&') | u8::from(byte == b'<');
    if attribute.value.bytes().fold(0, |found, byte| found | to_be_read(byte)) == 0 {
        return Ok(attribute.value);
    }
    if attribute.value.contains('<') {
        return Err(Broken::Syntax);
    }
    attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| Broken::Syntax)
}
