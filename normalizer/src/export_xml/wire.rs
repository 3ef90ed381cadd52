//! Reads the elements of an export one after another, from any byte source. Memory is bounded by the longest tag that is
//! accepted. The internal DTD is skipped.

use std::io::BufRead;

use quick_xml::{
    Reader,
    escape::resolve_xml_entity,
    events::{BytesStart, Event},
};
use schemas::limit::{DEPTH_MAX, TOKEN_BYTES_MAX};
use service::capped::Capped;

use super::{
    attribute::{DeviceDescription, activity_summary, attributes, record, statistics, workout},
    element::{Broken, Each, Element, Workout},
};
use crate::observed::PARTS_MAX;

/// Reads elements until the end, or until `each` returns `false`.
pub(super) fn elements(input: impl BufRead, each: Each<'_>) -> Result<(), Broken> {
    let mut reader = Reader::from_reader(Capped::new(input, TOKEN_BYTES_MAX));
    reader.config_mut().enable_all_checks(true);
    let mut buffer = Vec::new();
    let mut walk = Walk::default();
    loop {
        buffer.clear();
        reader.get_mut().renew();
        let event = match reader.read_event_into(&mut buffer) {
            Ok(event) => event,
            Err(_) if reader.get_ref().exceeded() => return Err(Broken::TooLarge),
            Err(_) => return Err(Broken::Syntax),
        };
        let goes_on = match event {
            Event::Start(tag) => walk.open(&tag, each)?,
            Event::Empty(tag) => walk.open(&tag, each)? && walk.close(each),
            Event::End(_) => walk.close(each),
            Event::Eof => return if walk.depth == 0 && walk.rooted { Ok(()) } else { Err(Broken::Syntax) },
            Event::Text(text) if walk.depth == 0 && !text.trim_ascii().is_empty() => return Err(Broken::Syntax),
            Event::CData(_) if walk.depth == 0 => return Err(Broken::Syntax),
            Event::DocType(_) if walk.rooted => return Err(Broken::Syntax),
            Event::GeneralRef(reference) => {
                let known = if reference.is_char_ref() {
                    reference.resolve_char_ref().is_ok_and(|char| char.is_some())
                } else {
                    resolve_xml_entity(&reference).is_some()
                };
                if walk.depth == 0 || !known {
                    return Err(Broken::Syntax);
                }
                true
            }
            Event::Decl(declaration) => match declaration.encoding() {
                None => true,
                Some(Ok(name)) if ["utf-8", "utf8", "us-ascii"].iter().any(|utf8| name.eq_ignore_ascii_case(utf8)) => {
                    true
                }
                Some(Ok(_)) => return Err(Broken::Encoding),
                Some(Err(_)) => return Err(Broken::Syntax),
            },
            Event::Text(_) | Event::CData(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => true,
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// The position of the reader in the tree, and the last device.
#[derive(Default)]
struct Walk {
    depth: usize,
    rooted: bool,
    inside: Inside,
    device: DeviceDescription,
}

/// The element below the root that the reader is inside of.
#[derive(Default)]
enum Inside {
    Record,
    /// With its start tag, because a workout is passed on when it ends. Boxed, because most elements are records and small.
    Workout(Box<Workout>, String),
    /// The content of other elements is ignored; the records of a correlation also occur at the top level.
    #[default]
    Other,
}

impl Walk {
    fn open(&mut self, tag: &BytesStart<'_>, each: Each<'_>) -> Result<bool, Broken> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Broken::TooDeep);
        }
        let name = tag.local_name();
        let name: &str = name.as_ref();
        match self.depth {
            1 if self.rooted => Err(Broken::Syntax),
            1 if name == "HealthData" => {
                self.rooted = true;
                attributes(tag, |_, _| {})?;
                Ok(true)
            }
            1 => Err(Broken::Root),
            2 => self.child(name, tag, each),
            3 => self.grandchild(name, tag, each),
            _ => attributes(tag, |_, _| {}).map(|()| true),
        }
    }

    fn child(&mut self, name: &str, tag: &BytesStart<'_>, each: Each<'_>) -> Result<bool, Broken> {
        let element = match name {
            "Record" => {
                self.inside = Inside::Record;
                Element::Record(record(tag, &mut self.device, each)?, tag)
            }
            "Workout" => {
                self.inside = Inside::Workout(Box::new(workout(tag, each)?), tag.to_string());
                return Ok(true);
            }
            "ActivitySummary" => Element::ActivitySummary(activity_summary(tag, each)?, tag),
            "ExportDate" => {
                let mut value = None;
                attributes(tag, |key, text| {
                    if key == "value" {
                        value = Some(text);
                    }
                })?;
                Element::ExportDate(value)
            }
            other => {
                attributes(tag, |_, _| {})?;
                match other {
                    "Correlation" => Element::Correlation,
                    "Me" => Element::Me,
                    "ClinicalRecord" | "Audiogram" | "VisionPrescription" => Element::Document,
                    other => Element::Other(other),
                }
            }
        };
        Ok(each(element))
    }

    fn grandchild(&mut self, name: &str, tag: &BytesStart<'_>, each: Each<'_>) -> Result<bool, Broken> {
        match (&mut self.inside, name) {
            // One more than the maximum is kept, so that the mapping can refuse the workout.
            (Inside::Workout(workout, _), "WorkoutStatistics") => {
                let statistics = statistics(tag, each)?;
                if workout.statistics.len() <= PARTS_MAX {
                    workout.statistics.push(statistics);
                }
                return Ok(true);
            }
            // Samples of a workout that occur nowhere else, such as its effort.
            (Inside::Workout(..), "Record") => {
                let record = record(tag, &mut self.device, each)?;
                return Ok(each(Element::Record(record, tag)));
            }
            _ => {}
        }
        attributes(tag, |_, _| {})?;
        Ok(match (&self.inside, name) {
            (Inside::Workout(..), "WorkoutRoute") => each(Element::WorkoutRoute),
            (Inside::Workout(..), "MetadataEntry" | "WorkoutEvent" | "WorkoutActivity")
            | (Inside::Record, "MetadataEntry" | "HeartRateVariabilityMetadataList")
            | (Inside::Other, _) => true,
            (Inside::Workout(..), name) => each(Element::Unknown { path: "Workout.", name }),
            (Inside::Record, name) => each(Element::Unknown { path: "Record.", name }),
        })
    }

    fn close(&mut self, each: Each<'_>) -> bool {
        self.depth = self.depth.saturating_sub(1);
        if self.depth != 1 {
            return true;
        }
        match std::mem::take(&mut self.inside) {
            Inside::Workout(workout, tag) => each(Element::Workout(*workout, tag)),
            Inside::Record | Inside::Other => true,
        }
    }
}
