//! The elements of an export, one after the other, from any source of bytes. Memory is bounded by the longest single tag that
//! is accepted. The internal DTD is passed over, never read.

use std::{borrow::Cow, io::BufRead};

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_xml_entity,
    events::{BytesStart, Event, attributes::Attribute},
};
use schemas::limit::{ATTRIBUTES_MAX, DEPTH_MAX, TOKEN_BYTES_MAX};
use service::capped::Capped;

use crate::observed::PARTS_MAX;

/// Why reading ends before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The XML is not well-formed.
    Syntax,
    /// The root is not `HealthData`.
    Root,
    /// The XML declares another encoding than UTF-8.
    Encoding,
    /// One token is longer than [`TOKEN_BYTES_MAX`].
    TooLarge,
    /// More than 64 levels.
    TooDeep,
    /// More than 128 attributes.
    TooWide,
}

/// What stands below `HealthData`.
pub(super) enum Element<'e> {
    /// `ExportDate`: when the export was made.
    ExportDate(Option<Cow<'e, str>>),
    /// `Record`, with its start tag as it was written.
    Record(Record<'e>, &'e str),
    /// `Workout`, with its start tag.
    Workout(Workout, String),
    /// `ActivitySummary`, with its start tag.
    ActivitySummary(ActivitySummary<'e>, &'e str),
    /// `WorkoutRoute`: the places of a workout.
    WorkoutRoute,
    /// `Correlation`: records that also stand by themselves.
    Correlation,
    /// `Me`: the characteristics of the owner.
    Me,
    /// An element of which the DTD knows and that is no reading.
    Document,
    /// Any other element, by its name.
    Other(&'e str),
    /// An attribute or an element of these that nobody knows. It is no item.
    Unknown {
        /// Where it stands, with a dot at the end.
        path: &'static str,
        /// Its name.
        name: &'e str,
    },
}

/// `Record`: one sample.
#[derive(Default)]
pub(super) struct Record<'e> {
    pub(super) kind: Option<Cow<'e, str>>,
    pub(super) unit: Option<Cow<'e, str>>,
    pub(super) value: Option<Cow<'e, str>>,
    pub(super) source_name: Option<Cow<'e, str>>,
    pub(super) device: Option<&'e str>,
    pub(super) start: Option<Cow<'e, str>>,
    pub(super) end: Option<Cow<'e, str>>,
}

/// `Workout`, with its totals: as attributes until iOS 15, as `WorkoutStatistics` since.
#[derive(Default)]
pub(super) struct Workout {
    pub(super) activity: Option<String>,
    pub(super) source_name: Option<String>,
    pub(super) device: Option<String>,
    pub(super) start: Option<String>,
    pub(super) end: Option<String>,
    pub(super) duration: Total,
    pub(super) distance: Total,
    pub(super) energy: Total,
    pub(super) statistics: Vec<Statistics>,
}

/// A number with its unit.
#[derive(Default)]
pub(super) struct Total {
    pub(super) number: Option<String>,
    pub(super) unit: Option<String>,
}

/// `WorkoutStatistics`: what a type came to over a workout.
#[derive(Default)]
pub(super) struct Statistics {
    pub(super) kind: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) average: Option<String>,
    pub(super) minimum: Option<String>,
    pub(super) maximum: Option<String>,
    pub(super) sum: Option<String>,
}

/// `ActivitySummary`: the rings of a day.
#[derive(Default)]
pub(super) struct ActivitySummary<'e> {
    pub(super) date: Option<Cow<'e, str>>,
    pub(super) energy: Option<Cow<'e, str>>,
    pub(super) energy_unit: Option<Cow<'e, str>>,
    pub(super) move_time: Option<Cow<'e, str>>,
    pub(super) exercise_time: Option<Cow<'e, str>>,
    pub(super) stand_hours: Option<Cow<'e, str>>,
}

/// What is called with each element; it says whether to go on.
type Each<'f> = &'f mut dyn FnMut(Element<'_>) -> bool;

/// Reads elements until the end, or until `each` says `false`.
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

/// Where in the tree the reader stands, and the last device.
#[derive(Default)]
struct Walk {
    depth: usize,
    rooted: bool,
    inside: Inside,
    device: Described,
}

/// The element below the root in which the reader stands.
#[derive(Default)]
enum Inside {
    Record,
    /// With its start tag: it is complete when it ends. In a box, as most elements are records and small.
    Workout(Box<Workout>, String),
    /// Of others nothing within is looked at; the records of a correlation also stand by themselves.
    #[default]
    Other,
}

/// The description of a device as it was last written, and what it says. It is nothing but references and stands in long runs,
/// so that it is read once a run.
#[derive(Default)]
struct Described {
    written: String,
    said: String,
}

impl Described {
    fn read(&mut self, attribute: Attribute<'_>) -> Result<(), Broken> {
        if attribute.value != self.written {
            attribute.value.as_ref().clone_into(&mut self.written);
            self.said = said(attribute)?.into_owned();
        }
        Ok(())
    }
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
            // One more than may be, so that the mapping sees it.
            (Inside::Workout(workout, _), "WorkoutStatistics") => {
                let statistics = statistics(tag, each)?;
                if workout.statistics.len() <= PARTS_MAX {
                    workout.statistics.push(statistics);
                }
                return Ok(true);
            }
            // Samples of a workout that stand nowhere else, such as its effort.
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

fn record<'e>(tag: &'e BytesStart<'_>, device: &'e mut Described, each: Each<'_>) -> Result<Record<'e>, Broken> {
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
        *slot = Some(said(attribute)?);
    }
    record.device = has_device.then_some(device.said.as_str());
    Ok(record)
}

fn workout(tag: &BytesStart<'_>, each: Each<'_>) -> Result<Workout, Broken> {
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

fn statistics(tag: &BytesStart<'_>, each: Each<'_>) -> Result<Statistics, Broken> {
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

fn activity_summary<'e>(tag: &'e BytesStart<'_>, each: Each<'_>) -> Result<ActivitySummary<'e>, Broken> {
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

/// Goes through all attributes, also of elements that say nothing: what is not well-formed is an error wherever it stands.
fn attributes<'e>(tag: &'e BytesStart<'_>, mut each: impl FnMut(&str, Cow<'e, str>)) -> Result<(), Broken> {
    for attribute in written(tag) {
        let attribute = attribute?;
        each(attribute.key.into_inner(), said(attribute)?);
    }
    Ok(())
}

/// All attributes as they are written, each name once (XML 1.0, section 3.1).
fn written<'e>(tag: &'e BytesStart<'_>) -> impl Iterator<Item = Result<Attribute<'e>, Broken>> {
    let mut attributes = tag.attributes();
    // quick-xml compares each name with all before it. No two of Apple's names have the same bit here, so none is compared.
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

/// What an attribute says (XML 1.0, section 3.3.3). Most values are short and have nothing in them that must be read: looking at
/// all bytes without a branch in each step is faster than looking for the first such.
fn said(attribute: Attribute<'_>) -> Result<Cow<'_, str>, Broken> {
    let to_be_read = |byte| u8::from(byte < b' ') | u8::from(byte == b'&') | u8::from(byte == b'<');
    if attribute.value.bytes().fold(0, |found, byte| found | to_be_read(byte)) == 0 {
        return Ok(attribute.value);
    }
    if attribute.value.contains('<') {
        return Err(Broken::Syntax);
    }
    attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| Broken::Syntax)
}
