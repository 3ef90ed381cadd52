//! Maps the measurements of a message to readings.

use catalogue::{Vocabulary, metric_by_spelling};
use schemas::event::{Flag, Reading, UnknownKind};

use super::{
    annotation::annotate,
    document::attached,
    message::Head,
    value::{PRESSURES, measurement, pressure, pressure_text},
    wire::{self, Member},
};
use crate::{observed::ItemResults, refusal::Refused};

/// Members of `measurements` that are not measurements.
const ABOUT: [&str; 4] = ["timestamp", "annotations", "device", "documents"];

/// Maps all measurements of a message, in their order. The parts of a blood pressure are one item, at the position of the first
/// part.
pub(super) fn items(head: &Head<'_>, message: &wire::Message<'_>, items: &mut ItemResults) {
    let measurements = &message.measurements;
    let is_pressure = |name: &str| PRESSURES.iter().any(|pressure| name.eq_ignore_ascii_case(pressure));
    let (mut item, mut pressure_done) = (0, false);
    for (name, raw) in &measurements.0 {
        let name = name.0.as_ref();
        if ABOUT.iter().any(|about| name.eq_ignore_ascii_case(about)) || (is_pressure(name) && pressure_done) {
            continue;
        }
        let found = if is_pressure(name) {
            pressure_done = true;
            pressure(head, item, message, &mut items.unknown)
        } else {
            measurement(head, &Member { item, name, raw }, &mut items.unknown)
        };
        if is_unknown(name, &found) {
            items.unknown.member(UnknownKind::Metric, "measurements.", name, raw);
        }
        if found.is_err() && is_pressure(name) {
            items.add(item, head.own(found), &head.sent.measured(&PRESSURES, pressure_text(measurements)));
        } else {
            items.add(item, head.own(found), &head.sent.measured(&[name], raw.get()));
        }
        item += 1;
    }
    if let Some(raw) = measurements.get("documents") {
        attached(head, item, raw, items);
    }
    if let Some(raw) = measurements.get("annotations") {
        annotate(&mut items.readings, head.measurement_type, raw);
    }
}

/// Whether the catalogue does not know a measurement. The catalogue is searched again only if there is no reading whose flags
/// show it.
fn is_unknown(name: &str, found: &Result<Reading, Refused>) -> bool {
    match found {
        Ok(reading) => reading.flags.contains(&Flag::UnknownMetric),
        Err(_) => metric_by_spelling(Vocabulary::Medisante, name).is_none(),
    }
}
