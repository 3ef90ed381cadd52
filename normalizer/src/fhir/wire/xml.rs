//! FHIR XML (xml.html): one XML element for each FHIR element, with its value in the attribute `value`. Repeated elements are a
//! list. The narrative belongs to another namespace and is not in the tree.

use std::borrow::Cow;

use super::{
    super::model::{self, Text},
    DATA_ABSENT, Entry, GATEWAY, Inside, Node, Period, effective, missing_resource_refusal,
    names::{is_of_component, is_of_observation, is_of_quantity, is_value},
    only, timing,
};
use crate::{json::is_comparator, shape::ShapeError, xml::Element};

/// The namespace of all elements except those of the narrative.
pub(in crate::fhir) const NAMESPACE: &str = "http://hl7.org/fhir";

/// At most this many unknown elements of one element are recorded.
const UNKNOWN_MAX: usize = 32;

/// The maximum number of elements of one Observation, Device or Patient, including its descendants. One object of FHIR JSON
/// corresponds to about four elements.
const ELEMENTS_MAX: u32 = 4_000;

impl<'a> Node<'a> for Element<'_, 'a> {
    fn text(self) -> &'a str {
        self.outer()
    }

    fn resource_type(self) -> Result<Option<Text<'a>>, ShapeError> {
        Ok(Some(Cow::Borrowed(self.name())))
    }

    fn observation(self) -> Result<model::Observation<'a>, ShapeError> {
        small(self)?;
        let point = word(self, "effectiveDateTime")?.or(word(self, "effectiveInstant")?);
        let inside = Inside::read(named(self, "contained").flat_map(Element::children))?;
        Ok(model::Observation {
            text: self.outer(),
            id: word(self, "id")?,
            meta: part(self, "meta", meta)?.unwrap_or_default(),
            implicit_rules: word(self, "implicitRules")?,
            has_modifier: has_modifier(self),
            identifiers: all(self, "identifier", identifier)?,
            status: word(self, "status")?,
            code: part(self, "code", concept)?,
            subject: part(self, "subject", reference)?,
            device: part(self, "device", reference)?,
            gateway: extension(self, GATEWAY).map_or(Ok(None), |found| part(found, "valueReference", reference))?,
            effective: effective(
                point,
                part(self, "effectivePeriod", period)?,
                part(self, "effectiveTiming", schedule)?,
            ),
            issued: word(self, "issued")?,
            value: given(self)?,
            body_site: part(self, "bodySite", concept)?,
            components: all(self, "component", component)?,
            has_members: named(self, "hasMember").next().is_some(),
            contained: inside.contained,
            observations: inside.observations,
            unknown: unknown(self, is_of_observation),
        })
    }

    fn device(self) -> Result<model::Device<'a>, ShapeError> {
        small(self)?;
        Ok(model::Device {
            id: word(self, "id")?,
            identifiers: all(self, "identifier", identifier)?,
            manufacturer: word(self, "manufacturer")?,
            model: word(self, "modelNumber")?,
            serial: word(self, "serialNumber")?,
        })
    }

    fn device_metric(self) -> Result<model::DeviceMetric<'a>, ShapeError> {
        small(self)?;
        Ok(model::DeviceMetric { id: word(self, "id")?, source: part(self, "source", reference)? })
    }

    fn patient(self) -> Result<model::Patient<'a>, ShapeError> {
        small(self)?;
        Ok(model::Patient { id: word(self, "id")?, identifiers: all(self, "identifier", identifier)? })
    }

    fn entries(self) -> Result<Vec<Self>, ShapeError> {
        Ok(named(self, "entry").collect())
    }

    fn entry(self) -> Result<Entry<'a, Self>, ShapeError> {
        let request = |name| one(self, "request")?.map_or(Ok(None), |request| word(request, name));
        Ok(Entry {
            full_url: word(self, "fullUrl")?,
            resource: part(self, "resource", wrapped)?,
            missing_resource_refusal: missing_resource_refusal(
                request("method")?.as_deref(),
                request("url")?.as_deref(),
                named(self, "response").next().is_some(),
            ),
        })
    }
}

/// Refuses a resource with too many elements: some take many times the memory of their text.
fn small(resource: Element<'_, '_>) -> Result<(), ShapeError> {
    if resource.elements() > ELEMENTS_MAX {
        return Err(ShapeError::whole("contains more than 4,000 elements"));
    }
    Ok(())
}

/// Returns the one resource in the element `resource`. It must belong to FHIR's namespace.
fn wrapped<'t, 'a>(wrapper: Element<'t, 'a>) -> Result<Element<'t, 'a>, ShapeError> {
    let mut resources = wrapper.children();
    resources
        .next()
        .filter(|_| resources.next().is_none())
        .ok_or(ShapeError::whole("must contain exactly one resource"))
}

/// The child elements with this name.
fn named<'t, 'a>(of: Element<'t, 'a>, name: &str) -> impl Iterator<Item = Element<'t, 'a>> {
    of.children().filter(move |child| child.name() == name)
}

/// Returns the child element with this name, which must not repeat.
fn one<'t, 'a>(of: Element<'t, 'a>, name: &str) -> Result<Option<Element<'t, 'a>>, ShapeError> {
    let mut found = named(of, name);
    let first = found.next();
    if found.next().is_some() {
        return Err(ShapeError::whole("must occur only once").within(name));
    }
    Ok(first)
}

/// Returns the value of a primitive; `None` if it has only extensions.
fn word<'a>(of: Element<'_, 'a>, name: &str) -> Result<Option<Text<'a>>, ShapeError> {
    Ok(one(of, name)?.and_then(|found| found.attribute("value")))
}

type Read<'t, 'a, T> = fn(Element<'t, 'a>) -> Result<T, ShapeError>;

fn part<'t, 'a, T>(of: Element<'t, 'a>, name: &str, read: Read<'t, 'a, T>) -> Result<Option<T>, ShapeError> {
    one(of, name)?.map(|found| read(found).map_err(|fault| fault.within(name))).transpose()
}

fn all<'t, 'a, T>(of: Element<'t, 'a>, name: &str, read: Read<'t, 'a, T>) -> Result<Vec<T>, ShapeError> {
    named(of, name).map(|found| read(found).map_err(|fault| fault.within(name))).collect()
}

fn extension<'t, 'a>(of: Element<'t, 'a>, url: &str) -> Option<Element<'t, 'a>> {
    named(of, "extension").find(|extension| extension.attribute("url").is_some_and(|found| found == url))
}

fn has_modifier(of: Element<'_, '_>) -> bool {
    named(of, "modifierExtension").next().is_some()
}

fn meta<'a>(of: Element<'_, 'a>) -> Result<model::Meta<'a>, ShapeError> {
    Ok(model::Meta {
        version_id: word(of, "versionId")?,
        last_updated: word(of, "lastUpdated")?,
        source: word(of, "source")?,
    })
}

fn identifier<'a>(of: Element<'_, 'a>) -> Result<model::Identifier<'a>, ShapeError> {
    Ok(model::Identifier { system: word(of, "system")?, value: word(of, "value")? })
}

fn reference<'a>(of: Element<'_, 'a>) -> Result<model::Reference<'a>, ShapeError> {
    Ok(model::Reference {
        reference: word(of, "reference")?,
        kind: word(of, "type")?,
        identifier: part(of, "identifier", identifier)?,
    })
}

fn concept<'a>(of: Element<'_, 'a>) -> Result<model::Concept<'a>, ShapeError> {
    Ok(model::Concept { codings: all(of, "coding", coding)?, text: word(of, "text")? })
}

fn coding<'a>(of: Element<'_, 'a>) -> Result<model::Coding<'a>, ShapeError> {
    Ok(model::Coding { system: word(of, "system")?, code: word(of, "code")?, display: word(of, "display")? })
}

fn period<'a>(of: Element<'_, 'a>) -> Result<Period<'a>, ShapeError> {
    Ok((word(of, "start")?, word(of, "end")?))
}

fn schedule<'a>(of: Element<'_, 'a>) -> Result<model::Effective<'a>, ShapeError> {
    let events = named(of, "event").filter_map(|event| event.attribute("value")).collect();
    let bounds = one(of, "repeat")?.map_or(Ok(None), |repeat| part(repeat, "boundsPeriod", period))?;
    Ok(timing(events, bounds))
}

fn component<'a>(of: Element<'_, 'a>) -> Result<model::Component<'a>, ShapeError> {
    Ok(model::Component {
        has_modifier: has_modifier(of),
        code: part(of, "code", concept)?,
        value: given(of)?,
        unknown: unknown(of, is_of_component),
    })
}

fn given<'a>(of: Element<'_, 'a>) -> Result<model::Given<'a>, ShapeError> {
    let stated = part(of, "dataAbsentReason", concept)?.and_then(model::Concept::reason);
    let (quantity, extended) = part(of, "valueQuantity", quantity_with_absent)?.unzip();
    let value = only([
        quantity.map(model::Value::Quantity),
        part(of, "valueCodeableConcept", concept)?.map(model::Value::Concept),
        word(of, "valueString")?.map(model::Value::Text),
        word(of, "valueBoolean")?.as_deref().map(boolean).transpose()?,
        word(of, "valueInteger")?.map(model::Value::Integer),
        part(of, "valueRange", range)?,
        part(of, "valueRatio", ratio)?,
        part(of, "valueSampledData", sampled)?.map(model::Value::Sampled),
        word(of, "valueTime")?.map(model::Value::Text),
        word(of, "valueDateTime")?.map(model::Value::Text),
        part(of, "valuePeriod", period)?.map(|(start, end)| model::Value::Period { start, end }),
    ]);
    let mut others = of.children().filter(|child| is_value(child.name()) && child.name() != "valueQuantity");
    let reason = others.find_map(|value| data_absent(value).transpose()).transpose()?;
    Ok(model::Given { value, absent: stated.or(extended.flatten()).or(reason) })
}

/// The names of the first elements that the standard does not define, which include all of other namespaces.
fn unknown<'a>(of: Element<'_, 'a>, is_known: fn(&str) -> bool) -> Vec<Text<'a>> {
    let unknown = of.all_children().filter(|child| child.is_foreign() || !is_known(child.name()));
    unknown.take(UNKNOWN_MAX).map(|child| Cow::Borrowed(child.name())).collect()
}

fn boolean(word: &str) -> Result<model::Value<'static>, ShapeError> {
    match word {
        "true" => Ok(model::Value::Boolean(true)),
        "false" => Ok(model::Value::Boolean(false)),
        _ => Err(ShapeError::whole("must be true or false").within("valueBoolean")),
    }
}

fn quantity<'a>(of: Element<'_, 'a>) -> Result<model::Quantity<'a>, ShapeError> {
    Ok(model::Quantity {
        value: word(of, "value")?,
        comparator: comparator(of)?,
        unit: word(of, "unit")?,
        system: word(of, "system")?,
        code: word(of, "code")?,
        unknown: unknown(of, is_of_quantity),
    })
}

/// The comparator of a quantity. It is empty if the element has no value, or if there is one under a misspelt name, in another
/// namespace or as an attribute of the quantity.
fn comparator<'a>(of: Element<'_, 'a>) -> Result<Option<Text<'a>>, ShapeError> {
    let written = one(of, "comparator")?;
    let is_misplaced =
        |child: Element<'_, '_>| is_comparator(child.name()) && (child.is_foreign() || child.name() != "comparator");
    if of.all_children().any(is_misplaced) || of.attributes().any(|(name, _)| is_comparator(name)) {
        return Ok(Some(Cow::Borrowed("")));
    }
    Ok(written.map(|found| found.attribute("value").unwrap_or_default()))
}

/// Parses a quantity, and the reason for an absent number that an extension gives.
fn quantity_with_absent<'a>(of: Element<'_, 'a>) -> Result<(model::Quantity<'a>, Option<Text<'a>>), ShapeError> {
    let beside = one(of, "value")?.map_or(Ok(None), data_absent)?;
    Ok((quantity(of)?, beside.or(data_absent(of)?)))
}

fn data_absent<'a>(of: Element<'_, 'a>) -> Result<Option<Text<'a>>, ShapeError> {
    extension(of, DATA_ABSENT).map_or(Ok(None), |found| word(found, "valueCode"))
}

fn range<'a>(of: Element<'_, 'a>) -> Result<model::Value<'a>, ShapeError> {
    let side = |name| part(of, name, quantity).map(Option::unwrap_or_default);
    Ok(model::Value::Range { low: side("low")?, high: side("high")? })
}

fn ratio<'a>(of: Element<'_, 'a>) -> Result<model::Value<'a>, ShapeError> {
    let side = |name| part(of, name, quantity).map(Option::unwrap_or_default);
    Ok(model::Value::Ratio { numerator: side("numerator")?, denominator: side("denominator")? })
}

fn sampled<'a>(of: Element<'_, 'a>) -> Result<model::Sampled<'a>, ShapeError> {
    Ok(model::Sampled {
        origin: part(of, "origin", quantity)?.unwrap_or_default(),
        period: word(of, "period")?,
        factor: word(of, "factor")?,
        dimensions: word(of, "dimensions")?,
        data: word(of, "data")?,
    })
}
