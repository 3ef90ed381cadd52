//! Maps measurements by the kind of their value.

use super::{
    message::{Head, ObservedValue},
    wire::{self, InRange, Member, shaped, text},
};
use crate::{
    drift::Shapes,
    json::{Members, Noted},
    observed::{self, Coded, NO_UNIT, SourceNumber, coding},
    refusal::{Refused, refused},
};
use catalogue::{MEDISANTE, Metric, Vocabulary, metric_by_key, metric_by_spelling};
use schemas::{
    event::{Coding, Flag, Missing, Reading, Value},
    rejection::Reason,
};

/// The parts of a blood pressure, which become one reading with components (LOINC 85354-9).
pub(super) const PRESSURES: [&str; 3] = ["systolicBloodPressure", "diastolicBloodPressure", MEAN];
const MEAN: &str = "meanBloodPressure";
const NO_VALUE: Refused = refused(Reason::ValueMissing, "a measurement has no value");

/// The parts of a blood pressure as the source wrote them, as one JSON object.
pub(super) fn pressure_text(measurements: &Members<'_>) -> String {
    let parts = PRESSURES.iter().filter_map(|name| Some(format!("\"{name}\":{}", measurements.get(name)?.get())));
    format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
}

/// Maps the parts of a blood pressure to one reading.
pub(super) fn pressure(
    head: &Head<'_>,
    item: u32,
    message: &wire::Message<'_>,
    shapes: &mut Shapes,
) -> Result<Reading, Refused> {
    let mut components = Vec::new();
    let mut literals = Vec::new();
    let mut measured = Vec::new();
    for name in PRESSURES {
        // Some models do not measure the mean and send null for it. Half of a blood pressure is never stored.
        let is_mean = name == MEAN;
        let Some(raw) = message.measurements.get(name).filter(|raw| !is_mean || raw.get() != "null") else { continue };
        let measurement = wire::measurement(name, raw)?;
        if !is_mean || measurement.known.value.is_some() {
            measured.push((name, measurement));
        }
    }
    if measured.is_empty() {
        return Err(NO_VALUE);
    }
    for (name, measurement) in &measured {
        let Noted { known, .. } = measurement;
        let metric = metric_by_spelling(Vocabulary::Medisante, name);
        components.push(quantity(name, metric, measurement, shapes)?.into());
        literals.push(Some(*name));
        literals.push(known.value.as_ref().map(|value| value.0.as_ref()));
        literals.push(text(known.unit.as_ref()));
        literals.push(known.is_in_range.as_ref().map(|is| is.literal));
    }
    let panel = metric_by_key("blood_pressure").or_else(|| metric_by_spelling(Vocabulary::Medisante, "bloodPressure"));
    let code = panel.map_or_else(|| local("bloodPressure"), |panel| coding(panel.code()));
    let coded = Coded { code, source_codes: Vec::new(), value: Value::Absent(Missing::Panel), flags: Vec::new() };
    head.reading(item, "bloodPressure", ObservedValue { coded, components }, &literals)
}

/// Maps any other measurement.
pub(super) fn measurement(head: &Head<'_>, member: &Member<'_>, shapes: &mut Shapes) -> Result<Reading, Refused> {
    let Member { item, name, raw } = *member;
    if name.eq_ignore_ascii_case("ecgSamples") {
        return waveform(head, member, shapes);
    }
    let metric = metric_by_spelling(Vocabulary::Medisante, name);
    if metric.is_none()
        && let Some((value, is_in_range)) = wire::other(raw)
    {
        let code = local(name);
        let mut flags = vec![Flag::UnknownMetric];
        flags.extend(sender_out_of_range(is_in_range.as_ref()));
        let coded = Coded { code: code.clone(), source_codes: vec![code], value, flags };
        return head.reading(item, name, coded.into(), &[Some(raw.get())]);
    }
    let measurement = wire::measurement(name, raw)?;
    let coded = quantity(name, metric, &measurement, shapes)?;
    let Noted { known, .. } = &measurement;
    let literals = [
        known.value.as_ref().map(|value| value.0.as_ref()),
        text(known.unit.as_ref()),
        known.is_in_range.as_ref().map(|is| is.literal),
    ];
    head.reading(item, name, coded.into(), &literals)
}

fn quantity(
    name: &str,
    metric: Option<&'static Metric>,
    Noted { known: measurement, unknown }: &Noted<'_, wire::Measurement<'_>>,
    shapes: &mut Shapes,
) -> Result<Coded, Refused> {
    if metric.is_some() && !unknown.is_empty() {
        shapes.members(&format!("measurements.{name}."), unknown);
    }
    let number = measurement.value.as_ref().ok_or(NO_VALUE)?;
    let given = text(measurement.unit.as_ref());
    let source = SourceNumber { number: number.0.trim(), units: [given, None], comparator: None };
    let mut measure = source.measure(metric)?;
    if measure.flags.contains(&Flag::UnknownUnit) {
        shapes.unit(given.unwrap_or_default());
        return Err(refused(Reason::UnitInvalid, "the catalogue does not know the unit for this measurement"));
    }
    measure.flags.extend(sender_out_of_range(measurement.is_in_range.as_ref()));
    let code = measure.code.or_else(|| metric.map(Metric::code)).map_or_else(|| local(name), coding);
    Ok(Coded { code, source_codes: vec![local(name)], value: Value::Quantity(measure.quantity), flags: measure.flags })
}

fn sender_out_of_range(is_in_range: Option<&InRange<'_>>) -> Option<Flag> {
    is_in_range.filter(|is| !is.value).map(|_| Flag::SenderOutOfRange)
}

/// The code of a measurement in Medisanté's own code system.
pub(super) fn local(name: &str) -> Coding {
    Coding { system: MEDISANTE.into(), code: name.to_owned().into(), display: None }
}

fn waveform(head: &Head<'_>, member: &Member<'_>, shapes: &mut Shapes) -> Result<Reading, Refused> {
    let Member { item, name, raw } = *member;
    let Noted::<'_, wire::Waveform<'_>> { known: wave, unknown } = shaped("ecgSamples", raw)?;
    shapes.members("measurements.ecgSamples.", &unknown);
    let number = refused(
        Reason::ValueInvalid,
        "a sample of ecgSamples is not a number, or the frequency is not a number above zero",
    );
    let unit = text(wave.unit.as_ref()).ok_or(NO_UNIT)?;
    let waveform = wave.samples.0.and_then(|samples| observed::waveform(samples, wave.frequency.0.trim(), unit));
    let (found, flags) = waveform.map_err(|_| number)?;
    if found.samples.is_empty() {
        return Err(NO_VALUE);
    }
    let samples = found.samples.clone();
    let literals = [Some(samples.as_str()), Some(wave.frequency.0.as_ref()), Some(unit)];
    let value = Value::Waveform(found);
    let metric = metric_by_spelling(Vocabulary::Medisante, name);
    let code = metric.map_or_else(|| local(name), |metric| coding(metric.code()));
    let coded = Coded { code, source_codes: vec![local(name)], value, flags };
    head.reading(item, name, coded.into(), &literals)
}
