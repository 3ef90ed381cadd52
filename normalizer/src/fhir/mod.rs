//! FHIR R4: Observations, alone or in Bundles. `wire` is FHIR's JSON, `model` what both syntaxes say, `map` turns that into
//! readings; nothing outside knows either.

mod context;
mod literals;
mod map;
mod model;
mod value;
mod wire;

use schemas::{raw::RawRecord, rejection::Reason};

use crate::{
    json,
    observed::{Items, Origin, Refused, refused},
};

use context::Context;
use map::Place;
use model::Contained;

/// More items than this are not taken from one body.
const ITEMS_MAX: usize = 100_000;
/// A batch's response holds Bundles; deeper than that none is read.
const BUNDLES_MAX: usize = 4;

/// Resources that say who, where, with what and by which message, but nothing that was observed. In a Bundle they are no
/// items of their own.
const ABOUT: &[&str] = &[
    "Device",
    "DeviceDefinition",
    "DeviceMetric",
    "Location",
    "MessageHeader",
    "OperationOutcome",
    "Organization",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "Provenance",
    "RelatedPerson",
];

/// Reads a FHIR JSON payload.
pub(crate) fn json(record: &RawRecord<'_>, origin: Origin) -> Items {
    let mut reader = Reader { record, origin, items: Items::default(), next: 1 };
    if let Err(refusal) = reader.payload() {
        reader.items.refuse_all(refusal);
    }
    reader.items
}

const NOT_OBSERVED: Refused = refused(Reason::NotAReading, "the resource is no Observation");
const MISSHAPEN: Refused = refused(Reason::UnexpectedShape, "an element has not the shape that FHIR JSON gives it");

struct Reader<'r> {
    record: &'r RawRecord<'r>,
    origin: Origin,
    items: Items,
    /// The number of the next contained Observation: behind those of all entries, so that none of these is moved.
    next: u32,
}

impl Reader<'_> {
    fn payload(&mut self) -> Result<(), Refused> {
        let text = json::text(self.record.body)?;
        let kind = wire::resource_type(text)
            .map_err(|_| json::broken(text))?
            .ok_or(refused(Reason::UnexpectedShape, "there is no resourceType"))?;
        match kind.as_ref() {
            "Observation" => self.observation(0, None, text, &Context::default()),
            "Bundle" => {
                let mut walk = Walk::default();
                walk.bundle(text, 0)?;
                if walk.entries.is_empty() {
                    return Err(refused(Reason::Empty, "the Bundle holds no Observation"));
                }
                self.next = walk.count;
                for Item { item, full_url, found, text } in &walk.entries {
                    match found {
                        Ok(()) => self.observation(*item, full_url.as_deref(), text, &walk.context),
                        Err(refusal) => self.items.add(*item, Err(*refusal), text),
                    }
                }
            }
            _ => self.items.add(0, Err(NOT_OBSERVED), text),
        }
        Ok(())
    }

    /// Reads an Observation and the ones inside it.
    fn observation<'a>(&mut self, item: u32, full_url: Option<&str>, text: &'a str, context: &Context<'a>) {
        let Ok(observation) = wire::observation(text) else {
            self.items.add(item, Err(MISSHAPEN), text);
            return;
        };
        let place = Place { item, full_url, holder: None };
        self.items.add(item, map::reading(self.record, self.origin, &place, &observation, context), text);
        for inner in &observation.observations {
            let place = Place { item: self.next, full_url, holder: Some(&observation) };
            self.next += 1;
            self.items.add(place.item, map::reading(self.record, self.origin, &place, inner, context), text);
        }
    }
}

/// An entry that counts as an item.
struct Item<'a> {
    item: u32,
    full_url: Option<std::borrow::Cow<'a, str>>,
    /// That it is an Observation, or why it is refused.
    found: Result<(), Refused>,
    /// The resource, or the entry where it has none.
    text: &'a str,
}

/// Goes through the entries in the order of the document, also through those of Bundles within, and numbers all of them.
#[derive(Default)]
struct Walk<'a> {
    count: u32,
    entries: Vec<Item<'a>>,
    context: Context<'a>,
}

impl<'a> Walk<'a> {
    fn bundle(&mut self, text: &'a str, depth: usize) -> Result<(), Refused> {
        let entries = wire::bundle(text).map_err(|wire::Misshapen| MISSHAPEN)?;
        if self.entries.len() + entries.len() > ITEMS_MAX {
            return Err(refused(Reason::TooLarge, "the Bundle has more than 100,000 entries"));
        }
        for entry in entries {
            self.entry(entry.get(), depth);
        }
        Ok(())
    }

    fn entry(&mut self, text: &'a str, depth: usize) {
        let item = self.count;
        self.count += 1;
        let Ok(entry) = wire::entry(text) else {
            self.entries.push(Item { item, full_url: None, found: Err(MISSHAPEN), text });
            return;
        };
        let Some(resource) = entry.resource else {
            if entry.deletes_observation {
                let refusal = refused(Reason::NotAReading, "the deletion of an Observation is not read");
                self.entries.push(Item { item, full_url: None, found: Err(refusal), text });
            }
            return;
        };
        let found = match wire::resource_type(resource).map(Option::unwrap_or_default).as_deref() {
            Ok("Observation") => Ok(()),
            Ok("Bundle") if depth < BUNDLES_MAX => match self.bundle(resource, depth + 1) {
                Ok(()) => return,
                Err(refusal) => Err(refusal),
            },
            Ok("Device") => match wire::device(resource) {
                Ok(device) => return self.context.add(entry.full_url.as_deref(), Contained::Device(device)),
                Err(wire::Misshapen) => Err(MISSHAPEN),
            },
            Ok("Patient") => match wire::patient(resource) {
                Ok(patient) => return self.context.add(entry.full_url.as_deref(), Contained::Patient(patient)),
                Err(wire::Misshapen) => Err(MISSHAPEN),
            },
            Ok(kind) if ABOUT.contains(&kind) => return,
            Ok("") => Err(refused(Reason::UnexpectedShape, "there is no resourceType")),
            Ok(_) => Err(NOT_OBSERVED),
            Err(_) => Err(MISSHAPEN),
        };
        self.entries.push(Item { item, full_url: entry.full_url, found, text: resource });
    }
}
