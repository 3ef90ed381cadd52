//! FHIR R4 as it stands on the wire, in its two syntaxes: JSON (json.html) and XML (xml.html). Each reads the elements that
//! a reading is made of, passes over all others, and notes which of an Observation's the standard does not define; what they
//! have in common is here.

pub(super) mod json;
mod names;
pub(super) mod xml;

use schemas::{moment::Moment, rejection::Reason};

use super::model::{Contained, Device, DeviceMetric, Effective, Observation, Patient, Text, Value};
use crate::{
    refusal::{Refused, refused},
    shape::Misshapen,
};

/// The extension that names a hub (Personal Health Device implementation guide).
const GATEWAY: &str = "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice";
/// The extension that says why a value is missing.
const DATA_ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

/// A resource or an entry of a Bundle in one of the syntaxes, not yet read.
pub(super) trait Node<'a>: Copy {
    /// As it stands in the payload.
    fn text(self) -> &'a str;

    /// The resource's type and nothing else; none where it has none.
    fn resource_type(self) -> Result<Option<Text<'a>>, Misshapen>;

    /// Reads an Observation.
    fn observation(self) -> Result<Observation<'a>, Misshapen>;

    /// Reads a Device.
    fn device(self) -> Result<Device<'a>, Misshapen>;

    /// Reads a DeviceMetric.
    fn device_metric(self) -> Result<DeviceMetric<'a>, Misshapen>;

    /// Reads a Patient.
    fn patient(self) -> Result<Patient<'a>, Misshapen>;

    /// Reads a Bundle as far as its entries.
    fn entries(self) -> Result<Vec<Self>, Misshapen>;

    /// Reads one entry of a Bundle.
    fn entry(self) -> Result<Entry<'a, Self>, Misshapen>;
}

/// One entry of a Bundle.
pub(super) struct Entry<'a, N> {
    pub(super) full_url: Option<Text<'a>>,
    pub(super) resource: Option<N>,
    /// Why the entry is refused where it has no resource; none where it needs none.
    pub(super) lack: Option<Refused>,
}

/// Why an entry without a resource is refused. Those need none that only answer, and requests that carry none (FHIR R4,
/// bundle.html, bdl-5; http.html#transaction).
fn lack(method: Option<&str>, url: Option<&str>, is_answer: bool) -> Option<Refused> {
    let is_observation = |url: &str| url.split(['/', '?']).any(|part| part == "Observation");
    match method {
        Some("DELETE") if url.is_some_and(is_observation) => {
            Some(refused(Reason::NotAReading, "the deletion of an Observation is not read"))
        }
        Some("GET" | "HEAD" | "DELETE" | "PATCH") => None,
        _ if is_answer => None,
        _ => Some(refused(Reason::Incomplete, "the entry has no resource")),
    }
}

/// What an Observation holds: who and what with, and other Observations.
#[derive(Default)]
struct Inside<'a> {
    contained: Vec<Contained<'a>>,
    observations: Vec<Observation<'a>>,
}

impl<'a> Inside<'a> {
    fn read<N: Node<'a>>(resources: impl IntoIterator<Item = N>) -> Result<Self, Misshapen> {
        let mut found = Self::default();
        for resource in resources {
            found.add(resource).map_err(|fault| fault.within("contained[]"))?;
        }
        Ok(found)
    }

    fn add<N: Node<'a>>(&mut self, resource: N) -> Result<(), Misshapen> {
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

/// `effective[x]`: a point where one is given, else a period, else what a timing comes to.
fn effective<'a>(point: Option<Text<'a>>, period: Option<Period<'a>>, timing: Option<Effective<'a>>) -> Effective<'a> {
    match (point, period) {
        (Some(point), _) => Effective::Point(point),
        (None, Some((start, end))) => Effective::Period { start, end },
        (None, None) => timing.unwrap_or_default(),
    }
}

/// A timing is a schedule; what it says of the span is its events, which are in no order (FHIR R4, datatypes.html#Timing), or its
/// bounds. An event that is no time comes first, to be refused.
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

/// The one `value[x]` among all that there may be.
fn only<'a>(values: impl IntoIterator<Item = Option<Value<'a>>>) -> Option<Value<'a>> {
    let mut values = values.into_iter().flatten();
    let value = values.next();
    if values.next().is_some() { Some(Value::Several) } else { value }
}
