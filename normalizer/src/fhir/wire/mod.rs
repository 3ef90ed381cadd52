//! FHIR R4 JSON as it stands on the wire (json.html): the elements that a reading is made of; all others are passed over.

mod choice;
mod datatype;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::model;
use crate::json::{Literal, Object, Word};
use choice::Choice;
use datatype::{
    Concept, Device, Extension, Identifier, Meta, Patient, Period, Quantity, Range, Ratio, Reference, Sampled, Timing,
    identifiers, words,
};

const GATEWAY: &str = "http://hl7.org/fhir/StructureDefinition/observation-gatewayDevice";

/// A text has not the shape of the resource that it says it is.
pub(super) struct Misshapen;

/// Reads the resource's type and nothing else; none where it has none.
pub(super) fn resource_type(text: &str) -> Result<Option<Cow<'_, str>>, serde_json::Error> {
    serde_json::from_str::<Object<Head<'_>>>(text).map(|head| words(head.0.resource_type))
}

/// Reads an Observation.
pub(super) fn observation(text: &str) -> Result<model::Observation<'_>, Misshapen> {
    read::<Observation<'_>>(text)?.model()
}

/// Reads a Device.
pub(super) fn device(text: &str) -> Result<model::Device<'_>, Misshapen> {
    read::<Device<'_>>(text).map(Device::model)
}

/// Reads a Patient.
pub(super) fn patient(text: &str) -> Result<model::Patient<'_>, Misshapen> {
    read::<Patient<'_>>(text).map(Patient::model)
}

/// Reads a Bundle as far as its entries.
pub(super) fn bundle(text: &str) -> Result<Vec<&RawValue>, Misshapen> {
    read::<Bundle<'_>>(text).map(|bundle| bundle.entry.unwrap_or_default())
}

/// One entry of a Bundle.
pub(super) struct Entry<'a> {
    pub(super) full_url: Option<Cow<'a, str>>,
    pub(super) resource: Option<&'a str>,
    /// `request.method` and `request.url` are those of a deleted Observation.
    pub(super) deletes_observation: bool,
}

/// Reads one entry of a Bundle.
pub(super) fn entry(text: &str) -> Result<Entry<'_>, Misshapen> {
    let entry = read::<BundleEntry<'_>>(text)?;
    let deletes_observation = entry.request.is_some_and(|Object(request)| {
        request.method.is_some_and(|method| method.0 == "DELETE")
            && request.url.is_some_and(|url| url.0.starts_with("Observation"))
    });
    Ok(Entry { full_url: words(entry.full_url), resource: entry.resource.map(RawValue::get), deletes_observation })
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Misshapen> {
    serde_json::from_str::<Object<T>>(text).map(|object| object.0).map_err(|_| Misshapen)
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "resourceType")]
    resource_type: Option<Word<'a>>,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(borrow)]
    entry: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BundleEntry<'a> {
    #[serde(borrow)]
    full_url: Option<Word<'a>>,
    resource: Option<&'a RawValue>,
    request: Option<Object<Request<'a>>>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    method: Option<Word<'a>>,
    url: Option<Word<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Observation<'a> {
    #[serde(borrow)]
    id: Option<Word<'a>>,
    meta: Option<Object<Meta<'a>>>,
    contained: Option<Vec<&'a RawValue>>,
    extension: Option<Vec<Object<Extension<'a>>>>,
    identifier: Option<Vec<Object<Identifier<'a>>>>,
    status: Option<Word<'a>>,
    code: Option<Object<Concept<'a>>>,
    subject: Option<Object<Reference<'a>>>,
    device: Option<Object<Reference<'a>>>,
    effective_date_time: Option<Word<'a>>,
    effective_instant: Option<Word<'a>>,
    effective_period: Option<Object<Period<'a>>>,
    effective_timing: Option<Object<Timing<'a>>>,
    issued: Option<Word<'a>>,
    value_quantity: Option<Object<Quantity<'a>>>,
    value_codeable_concept: Option<Object<Concept<'a>>>,
    value_string: Option<Word<'a>>,
    value_boolean: Option<bool>,
    value_integer: Option<Literal<'a>>,
    value_range: Option<Object<Range<'a>>>,
    value_ratio: Option<Object<Ratio<'a>>>,
    value_sampled_data: Option<Object<Sampled<'a>>>,
    value_time: Option<Word<'a>>,
    value_date_time: Option<Word<'a>>,
    value_period: Option<Object<Period<'a>>>,
    data_absent_reason: Option<Object<Concept<'a>>>,
    has_member: Option<Vec<&'a RawValue>>,
    component: Option<Vec<Object<Component<'a>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component<'a> {
    #[serde(borrow)]
    code: Option<Object<Concept<'a>>>,
    value_quantity: Option<Object<Quantity<'a>>>,
    value_codeable_concept: Option<Object<Concept<'a>>>,
    value_string: Option<Word<'a>>,
    value_boolean: Option<bool>,
    value_integer: Option<Literal<'a>>,
    value_range: Option<Object<Range<'a>>>,
    value_ratio: Option<Object<Ratio<'a>>>,
    value_sampled_data: Option<Object<Sampled<'a>>>,
    value_time: Option<Word<'a>>,
    value_date_time: Option<Word<'a>>,
    value_period: Option<Object<Period<'a>>>,
    data_absent_reason: Option<Object<Concept<'a>>>,
}

/// Moves the fields of [`Choice`] out of an element.
macro_rules! choice {
    ($element:ident) => {
        Choice {
            value_quantity: $element.value_quantity,
            value_codeable_concept: $element.value_codeable_concept,
            value_string: $element.value_string,
            value_boolean: $element.value_boolean,
            value_integer: $element.value_integer,
            value_range: $element.value_range,
            value_ratio: $element.value_ratio,
            value_sampled_data: $element.value_sampled_data,
            value_time: $element.value_time,
            value_date_time: $element.value_date_time,
            value_period: $element.value_period,
            data_absent_reason: $element.data_absent_reason,
        }
    };
}

impl<'a> Observation<'a> {
    fn model(self) -> Result<model::Observation<'a>, Misshapen> {
        let effective = self.effective_date_time.or(self.effective_instant).map_or_else(
            || match (self.effective_period, self.effective_timing) {
                (Some(Object(period)), _) => {
                    model::Effective::Period { start: words(period.start), end: words(period.end) }
                }
                (None, Some(Object(timing))) => timing.model(),
                (None, None) => model::Effective::Absent,
            },
            |point| model::Effective::Point(point.0),
        );
        let inside = inside(self.contained)?;
        Ok(model::Observation {
            id: words(self.id),
            meta: self.meta.map(|meta| meta.0.model()).unwrap_or_default(),
            identifiers: identifiers(self.identifier),
            status: words(self.status),
            code: self.code.map(|code| code.0.model()),
            subject: self.subject.map(|subject| subject.0.model()),
            device: self.device.map(|device| device.0.model()),
            gateway: self.extension.and_then(gateway),
            effective,
            issued: words(self.issued),
            has_members: self.has_member.is_some_and(|members| !members.is_empty()),
            contained: inside.contained,
            observations: inside.observations,
            value: choice!(self).model(),
            components: self.component.unwrap_or_default().into_iter().map(|part| part.0.model()).collect(),
        })
    }
}

impl<'a> Component<'a> {
    fn model(self) -> model::Component<'a> {
        model::Component { value: choice!(self).model(), code: self.code.map(|code| code.0.model()) }
    }
}

/// What an Observation holds: who and what with, and other Observations.
#[derive(Default)]
struct Inside<'a> {
    contained: Vec<model::Contained<'a>>,
    observations: Vec<model::Observation<'a>>,
}

fn inside(resources: Option<Vec<&RawValue>>) -> Result<Inside<'_>, Misshapen> {
    let mut found = Inside::default();
    for resource in resources.unwrap_or_default() {
        match resource_type(resource.get()).map_err(|_| Misshapen)?.as_deref() {
            Some("Device") => found.contained.push(model::Contained::Device(device(resource.get())?)),
            Some("Patient") => found.contained.push(model::Contained::Patient(patient(resource.get())?)),
            Some("Observation") => found.observations.push(observation(resource.get())?),
            _ => {}
        }
    }
    Ok(found)
}

fn gateway(extensions: Vec<Object<Extension<'_>>>) -> Option<model::Reference<'_>> {
    extensions
        .into_iter()
        .find(|extension| extension.0.url.as_ref().is_some_and(|url| url.0 == GATEWAY))
        .and_then(|extension| extension.0.value_reference)
        .map(|reference| reference.0.model())
}
