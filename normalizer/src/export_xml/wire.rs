//! The elements of an export, one after the other, from any source of bytes. Memory is bounded by the longest single tag that
//! is accepted. The internal DTD is passed over, never read.

use std::{borrow::Cow, io::BufRead};

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_xml_entity,
    events::{BytesStart, Event},
};
use service::capped::Capped;

/// A tag, a text, a comment or the DTD may have this many bytes; the DTD of an export has some ten thousand.
const TOKEN_BYTES_MAX: usize = 1024 * 1024;
const DEPTH_MAX: usize = 64;
const ATTRIBUTES_MAX: usize = 128;

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
}

/// `Record`: one sample.
#[derive(Default)]
pub(super) struct Record<'e> {
    pub(super) kind: Option<Cow<'e, str>>,
    pub(super) unit: Option<Cow<'e, str>>,
    pub(super) value: Option<Cow<'e, str>>,
    pub(super) source_name: Option<Cow<'e, str>>,
    pub(super) device: Option<Cow<'e, str>>,
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

/// Reads elements until the end, or until `each` says `false`.
pub(super) fn elements(input: impl BufRead, each: &mut dyn FnMut(Element<'_>) -> bool) -> Result<(), Broken> {
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

/// Where in the tree the reader stands, and the workout that is open.
#[derive(Default)]
struct Walk {
    depth: usize,
    rooted: bool,
    workout: Option<(Workout, String)>,
}

impl Walk {
    fn open(&mut self, tag: &BytesStart<'_>, each: &mut dyn FnMut(Element<'_>) -> bool) -> Result<bool, Broken> {
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
            3 if self.workout.is_some() => self.of_workout(name, tag, each),
            _ => attributes(tag, |_, _| {}).map(|()| true),
        }
    }

    fn child(
        &mut self,
        name: &str,
        tag: &BytesStart<'_>,
        each: &mut dyn FnMut(Element<'_>) -> bool,
    ) -> Result<bool, Broken> {
        let element = match name {
            "Record" => Element::Record(record(tag)?, tag),
            "Workout" => {
                self.workout = Some((workout(tag)?, tag.to_string()));
                return Ok(true);
            }
            "ActivitySummary" => Element::ActivitySummary(activity_summary(tag)?, tag),
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

    fn of_workout(
        &mut self,
        name: &str,
        tag: &BytesStart<'_>,
        each: &mut dyn FnMut(Element<'_>) -> bool,
    ) -> Result<bool, Broken> {
        match (name, &mut self.workout) {
            ("WorkoutStatistics", Some((workout, _))) => {
                workout.statistics.push(statistics(tag)?);
                Ok(true)
            }
            ("WorkoutRoute", _) => attributes(tag, |_, _| {}).map(|()| each(Element::WorkoutRoute)),
            _ => attributes(tag, |_, _| {}).map(|()| true),
        }
    }

    fn close(&mut self, each: &mut dyn FnMut(Element<'_>) -> bool) -> bool {
        self.depth = self.depth.saturating_sub(1);
        match (self.depth, self.workout.take()) {
            (1, Some((workout, tag))) => each(Element::Workout(workout, tag)),
            (_, open) => {
                self.workout = open;
                true
            }
        }
    }
}

fn record<'e>(tag: &'e BytesStart<'_>) -> Result<Record<'e>, Broken> {
    let mut record = Record::default();
    attributes(tag, |key, text| {
        let slot = match key {
            "type" => &mut record.kind,
            "unit" => &mut record.unit,
            "value" => &mut record.value,
            "sourceName" => &mut record.source_name,
            "device" => &mut record.device,
            "startDate" => &mut record.start,
            "endDate" => &mut record.end,
            _ => return,
        };
        *slot = Some(text);
    })?;
    Ok(record)
}

fn workout(tag: &BytesStart<'_>) -> Result<Workout, Broken> {
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
            _ => return,
        };
        *slot = Some(text.into_owned());
    })?;
    Ok(workout)
}

fn statistics(tag: &BytesStart<'_>) -> Result<Statistics, Broken> {
    let mut statistics = Statistics::default();
    attributes(tag, |key, text| {
        let slot = match key {
            "type" => &mut statistics.kind,
            "unit" => &mut statistics.unit,
            "average" => &mut statistics.average,
            "minimum" => &mut statistics.minimum,
            "maximum" => &mut statistics.maximum,
            "sum" => &mut statistics.sum,
            _ => return,
        };
        *slot = Some(text.into_owned());
    })?;
    Ok(statistics)
}

fn activity_summary<'e>(tag: &'e BytesStart<'_>) -> Result<ActivitySummary<'e>, Broken> {
    let mut summary = ActivitySummary::default();
    attributes(tag, |key, text| {
        let slot = match key {
            "dateComponents" => &mut summary.date,
            "activeEnergyBurned" => &mut summary.energy,
            "activeEnergyBurnedUnit" => &mut summary.energy_unit,
            "appleMoveTime" => &mut summary.move_time,
            "appleExerciseTime" => &mut summary.exercise_time,
            "appleStandHours" => &mut summary.stand_hours,
            _ => return,
        };
        *slot = Some(text);
    })?;
    Ok(summary)
}

/// Goes through all attributes, also of elements that say nothing: what is not well-formed is an error wherever it stands.
fn attributes<'e>(tag: &'e BytesStart<'_>, mut each: impl FnMut(&str, Cow<'e, str>)) -> Result<(), Broken> {
    for (number, attribute) in tag.attributes().enumerate() {
        if number >= ATTRIBUTES_MAX {
            return Err(Broken::TooWide);
        }
        let attribute = attribute.map_err(|_| Broken::Syntax)?;
        if attribute.value.contains('<') {
            return Err(Broken::Syntax);
        }
        let text = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| Broken::Syntax)?;
        each(attribute.key.as_ref(), text);
    }
    Ok(())
}
