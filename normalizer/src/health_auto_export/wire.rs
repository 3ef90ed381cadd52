//! The wire format of an export: `{"data": {"metrics": […], "workouts": […], …}}`. Version 1 of the app's format also wrote
//! `workouts` beside `data`.

use std::borrow::Cow;

use schemas::{event::UnknownKind, limit::ITEMS_MAX, rejection::Reason};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    drift::Shapes,
    json::{self, Elements, Literal, Members, Noted, Object, Wire, Word},
    refusal::{Refused, refused},
    shape::{ShapeError, shape_error},
};

/// What each required field must be.
const REQUIRED: [(&str, &str); 3] = [("voltage", "a number or text"), ("system", "text"), ("code", "text")];

/// The maximum length of a name or a unit. The name and unit of a metric are repeated in each of its readings, and the name of
/// a field in its component, so longer ones would let a small body produce large events.
pub(super) const NAME_BYTES_MAX: usize = 128;

/// A member of the export that contains entries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Samples of one metric, or aggregates over an interval.
    Metrics,
    Workouts,
    StateOfMind,
    /// Doses that were taken, skipped or not logged.
    Medications,
    Symptoms,
    CycleTracking,
    Ecg,
    /// Apple's events for a high, a low and an irregular heart rate.
    HeartRateNotifications,
}

impl Section {
    /// The name of the member. The code system of its entries' names ends with it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Workouts => "workouts",
            Self::StateOfMind => "stateOfMind",
            Self::Medications => "medications",
            Self::Symptoms => "symptoms",
            Self::CycleTracking => "cycleTracking",
            Self::Ecg => "ecg",
            Self::HeartRateNotifications => "heartRateNotifications",
        }
    }

    /// The path of the member's entries, as it begins the shape of an unknown field.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Metrics => "metrics.data.",
            Self::Workouts => "workouts.",
            Self::StateOfMind => "stateOfMind.",
            Self::Medications => "medications.",
            Self::Symptoms => "symptoms.",
            Self::CycleTracking => "cycleTracking.",
            Self::Ecg => "ecg.",
            Self::HeartRateNotifications => "heartRateNotifications.",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [
            Self::Metrics,
            Self::Workouts,
            Self::StateOfMind,
            Self::Medications,
            Self::Symptoms,
            Self::CycleTracking,
            Self::Ecg,
            Self::HeartRateNotifications,
        ]
        .into_iter()
        .find(|section| section.name() == name)
    }
}

/// Entries that share a section, a name and a unit.
pub(super) struct Group<'a> {
    /// The section of the entries, or why none of them can be read.
    pub(super) section: Result<Section, Refused>,
    /// The name of the metric.
    pub(super) name: Option<Literal<'a>>,
    /// The unit of the metric's numbers.
    pub(super) units: Option<Literal<'a>>,
    pub(super) entries: Vec<&'a str>,
}

/// One element of `metrics`.
#[derive(Deserialize)]
struct Metric<'a> {
    #[serde(borrow)]
    name: Option<Literal<'a>>,
    #[serde(borrow)]
    units: Option<Literal<'a>>,
    /// Null if the metric has no entries.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Wire for Metric<'_> {
    const UNREAD: &'static [&'static str] = &[];
}

/// Returns all entries of an export, in document order.
pub(super) fn groups<'a>(body: &'a [u8], shapes: &mut Shapes) -> Result<Vec<Group<'a>>, Refused> {
    let text = json::text(body)?;
    let root: Members<'_> = serde_json::from_str(text).map_err(|_| json::broken::<Members<'_>>(text))?;
    let mut groups = Vec::new();
    let mut known = false;
    for (name, value) in root.0 {
        if name.0 == "data" {
            known = true;
            let data: Option<Members<'_>> = serde_json::from_str(value.get())
                .map_err(|_| shape_error::<Option<Members<'_>>>(value.get()).within("data").refused("the payload"))?;
            for (name, value) in data.map_or(Vec::new(), |data| data.0) {
                member(&name.0, value, &mut groups, shapes);
            }
        } else if Section::named(&name.0).is_some() {
            known = true;
            member(&name.0, value, &mut groups, shapes);
        } else {
            shapes.member(UnknownKind::Field, "", &name.0, value);
        }
    }
    if !known {
        return Err(refused(Reason::UnexpectedShape, "data is required and must be an object"));
    }
    match groups.iter().map(|group| group.entries.len()).sum::<usize>() {
        0 => Err(refused(Reason::Empty, "the export has no entry")),
        count if count > ITEMS_MAX => Err(refused(Reason::TooLarge, "the export has more than 100,000 entries")),
        _ => Ok(groups),
    }
}

fn member<'a>(name: &str, value: &'a RawValue, groups: &mut Vec<Group<'a>>, shapes: &mut Shapes) {
    const UNKNOWN: Refused = refused(Reason::FormatNotRead, "this release does not know this member of the export");
    const NO_LIST: ShapeError = ShapeError::whole("must be an array");
    if Section::named(name).is_none() {
        shapes.member(UnknownKind::Field, "data.", name, value);
    }
    match (Section::named(name), elements(value)) {
        (Some(Section::Metrics), Some(metrics)) => {
            groups.extend(metrics.into_iter().filter_map(|text| metric(text, shapes)));
        }
        (Some(section), Some(entries)) => groups.push(group(Ok(section), entries)),
        (None, Some(entries)) => groups.push(group(Err(UNKNOWN), entries)),
        (Some(section), None) if value.get() != "null" => {
            let refusal = NO_LIST.within(section.name()).refused("the payload");
            groups.push(group(Err(refusal), vec![value.get()]));
        }
        (None, None) if value.get().starts_with('{') => groups.push(group(Err(UNKNOWN), vec![value.get()])),
        // Null means an empty list. A scalar beside the lists describes the export itself and is not an item.
        (_, None) => {}
    }
}

/// Reads one element of `metrics`. A metric without entries is skipped; one that cannot be read is a single item.
fn metric<'a>(text: &'a str, shapes: &mut Shapes) -> Option<Group<'a>> {
    let refuse_metric = |fault: ShapeError| fault.within("metrics[]").refused("the payload");
    let Ok(Noted::<'_, Metric<'_>> { known: Metric { name, units, data }, unknown }) = serde_json::from_str(text)
    else {
        let refusal = refuse_metric(shape_error::<Noted<'_, Metric<'_>>>(text));
        return Some(group(Err(refusal), vec![text]));
    };
    shapes.members("metrics.", &unknown);
    if [&name, &units].into_iter().flatten().any(|word| word.0.len() > NAME_BYTES_MAX) {
        let long = refused(Reason::IdentifierInvalid, "the metric's name or unit is longer than 128 bytes");
        return Some(group(Err(long), vec![text]));
    }
    let Some(entries) = elements(data?) else {
        let refusal = refuse_metric(ShapeError::whole("must be an array").within("data"));
        return Some(group(Err(refusal), vec![text]));
    };
    Some(Group { section: Ok(Section::Metrics), name, units, entries })
}

fn group(section: Result<Section, Refused>, entries: Vec<&str>) -> Group<'_> {
    Group { section, name: None, units: None, entries }
}

fn elements(list: &RawValue) -> Option<Vec<&str>> {
    let Elements(elements) = serde_json::from_str(list.get()).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// One entry: its members sorted by name, because the app writes them in any order.
pub(super) struct Entry<'a>(pub(super) Vec<(Word<'a>, &'a RawValue)>);

/// A number, with its unit if one is written beside it.
pub(super) struct Number<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) unit: Option<Cow<'a, str>>,
}

/// An amount, such as `{"qty": 1, "units": "kcal"}`.
#[derive(Deserialize)]
struct Amount<'a> {
    #[serde(borrow)]
    qty: Option<Literal<'a>>,
    #[serde(borrow)]
    units: Option<Word<'a>>,
}

/// One voltage of an ECG.
#[derive(Deserialize)]
pub(super) struct Voltage<'a> {
    #[serde(borrow)]
    pub(super) voltage: Literal<'a>,
    #[serde(borrow)]
    pub(super) units: Option<Word<'a>>,
}

impl<'a> Entry<'a> {
    /// Parses an entry.
    pub(super) fn read(text: &'a str) -> Result<Self, Refused> {
        let Members(mut members) =
            serde_json::from_str(text).map_err(|_| shape_error::<Members<'_>>(text).refused("the entry"))?;
        if members.iter().any(|(name, _)| name.0.len() > NAME_BYTES_MAX) {
            return Err(refused(Reason::IdentifierInvalid, "the name of a field is longer than 128 bytes"));
        }
        members.sort_by(|(one, _), (other, _)| one.0.cmp(&other.0));
        Ok(Self(members))
    }

    /// Returns a field that is not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().find(|(found, _)| found.0.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value).filter(|value| value.get() != "null")
    }

    /// Returns a field that is a number or text, unless it is blank.
    pub(super) fn literal(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let literal: Literal<'a> = field(name, value)?;
        Ok(Some(literal.0).filter(|text| !text.trim().is_empty()))
    }

    /// Returns a field that is a number, or an object of a number and its unit.
    pub(super) fn number(&self, name: &str) -> Result<Option<Number<'a>>, Refused> {
        match self.get(name) {
            Some(value) if value.get().starts_with('{') => {
                let Object::<Amount<'a>>(amount) = field(name, value)?;
                Ok(amount.qty.map(|number| Number { text: number.0, unit: amount.units.map(|units| units.0) }))
            }
            _ => Ok(self.literal(name)?.map(|text| Number { text, unit: None })),
        }
    }

    /// Returns a field that is an array of objects.
    pub(super) fn list<T: Deserialize<'a>>(&self, name: &str) -> Result<Vec<T>, Refused> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let elements: Vec<Object<T>> = field(name, value)?;
        Ok(elements.into_iter().map(|element| element.0).collect())
    }
}

fn field<'a, T: Deserialize<'a>>(name: &str, value: &'a RawValue) -> Result<T, Refused> {
    serde_json::from_str(value.get()).map_err(|_| {
        let fault = shape_error::<T>(value.get()).expecting(&REQUIRED);
        fault.within(name).refused("the entry")
    })
}
