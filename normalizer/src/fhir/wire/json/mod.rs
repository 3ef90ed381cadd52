//! FHIR JSON (json.html).

mod choice;
mod datatype;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    super::model::{self, Text},
    Entry, GATEWAY, Inside, effective, missing_resource_refusal,
};
use crate::{
    json::{Elements, Literal, Noted, Object, Wire, Word, brackets},
    shape::{ShapeError, shape_error},
};
use choice::Choice;
use datatype::{
    Concept, Device, DeviceMetric, Element, Extension, Identifier, Meta, Patient, Period, Quantity, Range, Ratio,
    Reference, Sampled, Timing, identifiers, names, words,
};

/// The maximum number of objects of one Observation, Device or Patient, including nested ones.
const OBJECTS_MAX: usize = 1_000;

/// The text of a JSON value.
#[derive(Clone, Copy)]
pub(in crate::fhir) struct Node<'a>(pub(in crate::fhir) &'a str);

impl<'a> super::Node<'a> for Node<'a> {
    fn text(self) -> &'a str {
        self.0
    }

    fn resource_type(self) -> Result<Option<Text<'a>>, ShapeError> {
        self.read::<Head<'_>>().map(|head| words(head.resource_type))
    }

    fn observation(self) -> Result<model::Observation<'a>, ShapeError> {
        let text = self.small()?.0;
        let Noted { known, unknown } =
            serde_json::from_str(text).map_err(|_| shape_error::<Noted<'_, Observation<'_>>>(text))?;
        Observation::model(known, self.0, names(unknown))
    }

    fn device(self) -> Result<model::Device<'a>, ShapeError> {
        self.small()?.read::<Device<'_>>().map(Device::model)
    }

    fn device_metric(self) -> Result<model::DeviceMetric<'a>, ShapeError> {
        self.small()?.read::<DeviceMetric<'_>>().map(DeviceMetric::model)
    }

    fn patient(self) -> Result<model::Patient<'a>, ShapeError> {
        self.small()?.read::<Patient<'_>>().map(Patient::model)
    }

    fn entries(self) -> Result<Vec<Self>, ShapeError> {
        let bundle = self.read::<Bundle<'_>>()?;
        Ok(bundle.entry.unwrap_or_default().0.into_iter().map(Self::of).collect())
    }

    fn entry(self) -> Result<Entry<'a, Self>, ShapeError> {
        let entry = self.read::<BundleEntry<'_>>()?;
        let (method, url) = entry.request.map_or((None, None), |request| (request.0.method, request.0.url));
        Ok(Entry {
            full_url: words(entry.full_url),
            resource: entry.resource.map(Self::of),
            missing_resource_refusal: missing_resource_refusal(
                words(method).as_deref(),
                words(url).as_deref(),
                entry.response.is_some(),
            ),
        })
    }
}

impl<'a> Node<'a> {
    fn of(raw: &'a RawValue) -> Self {
        Self(raw.get())
    }

    /// Refuses a resource with too many objects: each takes many times the memory of its text.
    fn small(self) -> Result<Self, ShapeError> {
        let objects = |bytes: &mut dyn Iterator<Item = u8>| bytes.filter(|byte| *byte == b'{').count() > OBJECTS_MAX;
        // Most resources have few braces, even if those inside strings are counted, so the exact count is rarely needed.
        let too_many = objects(&mut self.0.bytes()) && objects(&mut brackets(self.0.as_bytes()));
        if too_many { Err(ShapeError::whole("contains more than 1,000 objects")) } else { Ok(self) }
    }

    fn read<T: Deserialize<'a>>(self) -> Result<T, ShapeError> {
        serde_json::from_str::<Object<T>>(self.0).map(|object| object.0).map_err(|_| shape_error::<Object<T>>(self.0))
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "resourceType")]
    resource_type: Option<Word<'a>>,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(borrow)]
    entry: Option<Elements<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BundleEntry<'a> {
    #[serde(borrow)]
    full_url: Option<Word<'a>>,
    resource: Option<&'a RawValue>,
    request: Option<Object<Request<'a>>>,
    response: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    method: Option<Word<'a>>,
    url: Option<Word<'a>>,
}

/// Declares structures that have the fields of a [`Choice`] among others. (serde's `flatten` would copy what is borrowed, and
/// numbers would lose their text.)
macro_rules! with_choice {
    ($(struct $name:ident<'a> { $($(#[$meta:meta])* $field:ident: $type:ty,)+ })+) => {$(
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct $name<'a> {
            $($(#[$meta])* $field: $type,)+
            value_quantity: Option<Noted<'a, Quantity<'a>>>,
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
            #[serde(rename = "_valueString")]
            value_string_element: Option<Object<Element<'a>>>,
            #[serde(rename = "_valueBoolean")]
            value_boolean_element: Option<Object<Element<'a>>>,
            #[serde(rename = "_valueInteger")]
            value_integer_element: Option<Object<Element<'a>>>,
            #[serde(rename = "_valueTime")]
            value_time_element: Option<Object<Element<'a>>>,
            #[serde(rename = "_valueDateTime")]
            value_date_time_element: Option<Object<Element<'a>>>,
            data_absent_reason: Option<Object<Concept<'a>>>,
        }

        impl<'a> $name<'a> {
            fn choice(&mut self) -> Choice<'a> {
                Choice {
                    value_quantity: self.value_quantity.take(),
                    value_codeable_concept: self.value_codeable_concept.take(),
                    value_string: self.value_string.take(),
                    value_boolean: self.value_boolean.take(),
                    value_integer: self.value_integer.take(),
                    value_range: self.value_range.take(),
                    value_ratio: self.value_ratio.take(),
                    value_sampled_data: self.value_sampled_data.take(),
                    value_time: self.value_time.take(),
                    value_date_time: self.value_date_time.take(),
                    value_period: self.value_period.take(),
                    elements: [
                        self.value_string_element.take(),
                        self.value_boolean_element.take(),
                        self.value_integer_element.take(),
                        self.value_time_element.take(),
                        self.value_date_time_element.take(),
                    ],
                    data_absent_reason: self.data_absent_reason.take(),
                }
            }
        }
    )+};
}

with_choice! {
    struct Observation<'a> {
        #[serde(borrow)]
        id: Option<Word<'a>>,
        meta: Option<Object<Meta<'a>>>,
        implicit_rules: Option<Word<'a>>,
        modifier_extension: Option<Elements<'a>>,
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
        body_site: Option<Object<Concept<'a>>>,
        has_member: Option<Elements<'a>>,
        component: Option<Vec<Noted<'a, Component<'a>>>>,
    }

    struct Component<'a> {
        #[serde(borrow)]
        modifier_extension: Option<Elements<'a>>,
        code: Option<Object<Concept<'a>>>,
    }
}

/// The members that FHIR R4 defines for every resource and for an Observation (observation.html) and that are not read, with
/// the `_` members of primitives (json.html#primitive).
impl Wire for Observation<'_> {
    const UNREAD: &'static [&'static str] = &[
        "resourceType",
        "category",
        "text",
        "performer",
        "encounter",
        "interpretation",
        "note",
        "method",
        "referenceRange",
        "derivedFrom",
        "basedOn",
        "partOf",
        "focus",
        "specimen",
        "language",
        "_id",
        "_implicitRules",
        "_language",
        "_status",
        "_effectiveDateTime",
        "_effectiveInstant",
        "_issued",
    ];
}

impl Wire for Component<'_> {
    const UNREAD: &'static [&'static str] = &["id", "extension", "interpretation", "referenceRange"];
}

impl<'a> Observation<'a> {
    fn model(mut self, text: &'a str, unknown: Vec<Text<'a>>) -> Result<model::Observation<'a>, ShapeError> {
        let value = self.choice().model();
        let effective = effective(
            words(self.effective_date_time.or(self.effective_instant)),
            self.effective_period.map(|period| period.0.model()),
            self.effective_timing.map(|timing| timing.0.model()),
        );
        let inside = Inside::read(self.contained.unwrap_or_default().into_iter().map(Node::of))?;
        Ok(model::Observation {
            text,
            id: words(self.id),
            meta: self.meta.map(|meta| meta.0.model()).unwrap_or_default(),
            implicit_rules: words(self.implicit_rules),
            has_modifier: is_filled(self.modifier_extension),
            identifiers: identifiers(self.identifier),
            status: words(self.status),
            code: self.code.map(|code| code.0.model()),
            subject: self.subject.map(|subject| subject.0.model()),
            device: self.device.map(|device| device.0.model()),
            gateway: self.extension.and_then(gateway),
            effective,
            issued: words(self.issued),
            has_members: is_filled(self.has_member),
            contained: inside.contained,
            observations: inside.observations,
            value,
            body_site: self.body_site.map(|site| site.0.model()),
            components: self.component.unwrap_or_default().into_iter().map(Component::model).collect(),
            unknown,
        })
    }
}

impl<'a> Component<'a> {
    fn model(Noted { mut known, unknown }: Noted<'a, Self>) -> model::Component<'a> {
        model::Component {
            value: known.choice().model(),
            has_modifier: is_filled(known.modifier_extension),
            code: known.code.map(|code| code.0.model()),
            unknown: names(unknown),
        }
    }
}

fn is_filled(list: Option<Elements<'_>>) -> bool {
    list.is_some_and(|list| !list.0.is_empty())
}

fn gateway(extensions: Vec<Object<Extension<'_>>>) -> Option<model::Reference<'_>> {
    extensions
        .into_iter()
        .find(|extension| extension.0.url.as_ref().is_some_and(|url| url.0 == GATEWAY))
        .and_then(|extension| extension.0.value_reference)
        .map(|reference| reference.0.model())
}
