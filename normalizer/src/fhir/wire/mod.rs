//! The wire format of FHIR R4 in its two syntaxes: JSON (json.html) and XML (xml.html). Each syntax reads the elements that a
//! reading is made of, skips all others, and records the elements of an Observation that the standard does not define. This
//! module contains what the syntaxes have in common.

pub(super) mod json;
mod names;
pub(super) mod xml;

use schemas::{moment::Moment, rejection::Reason};

use super::model::{Contained, Device, DeviceMetric, Effective, Observation, Patient, Text, Value};
use crate::{
    refusal::{Refused, refused},
    shape::ShapeError,
};

/// The extension that names a hub (Personal Health Device implementation guide).
const GATEWAY: &str = "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice";
/// The extension that gives the reason for a missing value.
const DATA_ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

/// An unparsed resource or Bundle entry in one of the syntaxes.
pub(super) trait Node<'a>: Copy {
    /// The node as it is written in the payload.
    fn text(self) -> &'a str;

    /// The type of the resource, without parsing anything else; `None` if it has none.
    fn resource_type(self) -> Result<Option<Text<'a>>, ShapeError>;

    /// Parses an Observation.
    fn observation(self) -> Result<Observation<'a>, ShapeError>;

    /// Parses a Device.
    fn device(self) -> Result<Device<'a>, ShapeError>;

    /// Parses a DeviceMetric.
    fn device_metric(self) -> Result<DeviceMetric<'a>, ShapeError>;

    /// Parses a Patient.
    fn patient(self) -> Result<Patient<'a>, ShapeError>;

    /// Returns the entries of a Bundle, unparsed.
    fn entries(self) -> Result<Vec<Self>, ShapeError>;

    /// Parses one entry of a Bundle, without its resource.
    fn entry(self) -> Result<Entry<'a, Self>, ShapeError>;
}

/// One entry of a Bundle.
pub(super) struct Entry<'a, N> {
    pub(super) full_url: Option<Text<'a>>,
    pub(super) resource: Option<N>,
    /// Why the entry is refused if it has no resource; `None` if it needs none.
    pub(super) missing_resource_refusal: Option<Refused>,
}

/// Returns why an entry without a resource is refused. Responses need no resource, nor do requests whose method carries none
/// (FHIR R4, bundle.html, bdl-5; http.html#transaction).
fn missing_resource_refusal(method: Option<&str>, url: Option<&str>, is_response: bool) -> Option<Refused> {
    let is_observation = |url: &str| url.split(['/', '?']).any(|part| part == "Observation");
    match method {
        Some("DELETE") if url.is_some_and(is_observation) => {
            Some(refused(Reason::NotAReading, "the deletion of an Observation is not read"))
        }
        Some("GET" | "HEAD" | "DELETE" | "PATCH") => None,
        _ if is_response => None,
        _ => Some(refused(Reason::Incomplete, "the entry has no resource")),
    }
}

/// The contained resources of an Observation: devices and patients, and other Observations.
#[derive(Default)]
struct Inside<'a> {
    contained: Vec<Contained<'a>>,
    observations: Vec<Observation<'a>>,
}

impl<'a> Inside<'a> {
    fn read<N: Node<'a>>(resources: impl IntoIterator<Item = N>) -> Result<Self, ShapeError> {
        let mut found = Self::default();
        for resource in resources {
            found.add(resource).map_err(|fault| fault.within("contained[]"))?;
        }
        Ok(found)
    }

    fn add<N: Node<'a>>(&mut self, resource: N) -> Result<(), ShapeError> {
        match resource.resource_type()?.as_deref() {
            Some("Device") => self.contained.push(Contained::Device(resource.device()?)),
            Some("DeviceMetric") => self.contained.push(Contained::Metric(resource.device_metric()?)),
            Some("Patient") => self.contained.push(Contained::Patient(resource.patient()?)),
            Some("Observation") => self.observations.push(resource.observation()?),
            _ => {}
        }
        Ok(())
    }
}

/// `Period`: its start and its end.
type Period<'a> = (Option<Text<'a>>, Option<Text<'a>>);

/// `effective[x]`: the point in time if one is given, else the period, else the result of a timing.
fn effective<'a>(point: Option<Text<'a>>, period: Option<Period<'a>>, timing: Option<Effective<'a>>) -> Effective<'a> {
    match (point, period) {
        (Some(point), _) => Effective::Point(point),
        (None, Some((start, end))) => Effective::Period { start, end },
        (None, None) => timing.unwrap_or_default(),
    }
}

/// Maps a timing, which is a schedule. Its interval is that of its events, which are in no particular order (FHIR R4,
/// datatypes.html#Timing), or its bounds. An event that is not a time sorts first, so that it becomes the start and is refused.
fn timing<'a>(mut events: Vec<Text<'a>>, bounds: Option<Period<'a>>) -> Effective<'a> {
    let time = |text: &Text<'_>| Moment::fhir(text, 0).ok();
    let first = |text: &&Text<'_>| time(text).map(|moment| moment.from_us());
    let last = |text: &&Text<'_>| time(text).map(|moment| moment.until_us().unwrap_or(moment.from_us()));
    match (events.iter().min_by_key(first), events.iter().max_by_key(last)) {
        (Some(start), Some(end)) if events.len() > 1 => {
            Effective::Period { start: Some(start.clone()), end: Some(end.clone()) }
        }
        _ => events.pop().map_or_else(|| effective(None, bounds, None), Effective::Point),
    }
}

/// The only `value[x]` of those that may be given, or [`Value::Several`].
fn only<'a>(values: impl IntoIterator<Item = Option<Value<'a>>>) -> Option<Value<'a>> {
    let mut values = values.into_iter().flatten();
    let value = values.next();
    if values.next().is_some() { Some(Value::Several) } else { value }
}
