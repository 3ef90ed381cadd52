//! FHIR R4: Observations, alone or in Bundles. `wire` is FHIR's JSON and XML, `model` is what both syntaxes have in common, and
//! `map` turns the model into readings. No code outside this folder uses any of them.

mod context;
mod literals;
mod map;
mod model;
mod value;
mod wire;

use std::cell::OnceCell;

use schemas::{limit::ITEMS_MAX, rejection::Reason};
use uuid::Uuid;

use crate::{
    json,
    observed::{ItemResults, Payload},
    refusal::{Refused, refused},
    xml,
};

use context::Context;
use map::{Holder, Location, Mapping};
use model::{Contained, Given, Observation, Text, Value};
use wire::Node;

/// The response to a batch may contain Bundles. At most this many levels of them are read.
const BUNDLES_MAX: usize = 4;

/// Resources that describe people, places, devices and messages, but no observation. In a Bundle they are not items.
const ABOUT: &[&str] = &[
    "Device",
    "DeviceDefinition",
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

/// Maps a FHIR JSON payload.
pub(crate) fn json(payload: Payload<'_>) -> ItemResults {
    Reader::read(payload, |reader| {
        let text = json::text(payload.record.body)?;
        let root = wire::json::Node(text);
        let kind = root
            .resource_type()
            .map_err(|fault| if json::is_json(text) { fault.refused(PAYLOAD) } else { json::MALFORMED })?;
        reader.root(root, &kind.ok_or(NO_TYPE)?)
    })
}

/// Maps a FHIR XML payload.
pub(crate) fn xml(payload: Payload<'_>) -> ItemResults {
    Reader::read(payload, |reader| {
        let tree = xml::read(payload.record.body, Some(wire::xml::NAMESPACE))?;
        let root = tree
            .root()
            .ok_or(refused(Reason::UnexpectedShape, "the root element must be in the namespace http://hl7.org/fhir"))?;
        reader.root(root, root.name())
    })
}

/// What the error text names if the fault has no path within the payload or the resource.
const PAYLOAD: &str = "the payload";
const RESOURCE: &str = "the resource";
const NO_TYPE: Refused = refused(Reason::UnexpectedShape, "resourceType is required and must be text");
const NOT_OBSERVED: Refused = refused(Reason::NotAReading, "the resource is not an Observation");

struct Reader<'r> {
    payload: Payload<'r>,
    items: ItemResults,
    /// The device that the request names, computed when it is first needed.
    device: OnceCell<Option<Uuid>>,
    /// The item number of the next contained Observation. Contained ones are numbered after all entries, so that they do not
    /// change the numbers of entries.
    next: u32,
}

impl<'r> Reader<'r> {
    fn read(payload: Payload<'r>, read: impl FnOnce(&mut Self) -> Result<(), Refused>) -> ItemResults {
        let mut reader = Self { payload, items: ItemResults::default(), device: OnceCell::new(), next: 1 };
        if let Err(refusal) = read(&mut reader) {
            reader.items.refuse_all(refusal);
        }
        reader.items
    }

    fn root<'a, N: Node<'a>>(&mut self, root: N, kind: &str) -> Result<(), Refused> {
        match kind {
            "Observation" => self.observation(0, None, root, &Context::default()),
            "Bundle" => {
                let mut walk = Walk { count: 0, entries: Vec::new(), context: Context::default() };
                walk.bundle(root, 0)?;
                if walk.entries.is_empty() {
                    return Err(refused(Reason::Empty, "the Bundle contains no Observation"));
                }
                self.next = walk.count;
                for Item { item, full_url, found, node } in walk.entries {
                    match found {
                        Ok(()) => self.observation(item, full_url.as_deref(), node, &walk.context),
                        Err(refusal) => self.refuse(item, refusal, node.text()),
                    }
                }
            }
            _ => self.refuse(0, NOT_OBSERVED, root.text()),
        }
        Ok(())
    }

    /// Maps an Observation and those that it contains.
    fn observation<'a, N: Node<'a>>(&mut self, item: u32, full_url: Option<&str>, node: N, context: &Context<'a>) {
        let text = node.text();
        let observation = match node.observation() {
            Ok(observation) => observation,
            Err(fault) => return self.refuse(item, fault.refused(RESOURCE), text),
        };
        let location = Location { item, full_url, holder: None };
        self.add(&location, &observation, context, text);
        if observation.observations.is_empty() {
            return;
        }
        let holder = Holder::of(&observation, full_url, context);
        for inner in &observation.observations {
            let location = Location { item: self.next, full_url, holder: Some(&holder) };
            self.next += 1;
            self.add(&location, inner, context, inner.text);
        }
    }

    fn add<'a>(
        &mut self,
        location: &Location<'_, 'a>,
        observation: &Observation<'a>,
        context: &Context<'a>,
        text: &str,
    ) {
        self.undefined("Observation.", &observation.unknown, &observation.value);
        for part in &observation.components {
            self.undefined("Observation.component.", &part.unknown, &part.value);
        }
        let mapping = Mapping { payload: self.payload, location, observation, context };
        let found = mapping.reading();
        if found.is_err()
            && let Some(code) = observation.code.as_ref().and_then(value::unknown)
        {
            self.items.unknown.code(&code.system, &code.code);
        }
        let found = found.map_err(|refusal| refusal.with_device(mapping.refused_device(|| self.by_request())));
        self.items.add(location.item, found, text);
    }

    /// Records the elements at `path`, and in the quantities of the value, that FHIR does not define.
    fn undefined(&mut self, path: &str, names: &[Text<'_>], given: &Given<'_>) {
        for name in names {
            self.items.unknown.element(path, name);
        }
        for (of, quantity) in given.value.iter().flat_map(Value::quantities) {
            for name in &quantity.unknown {
                self.items.unknown.element(&format!("{path}{of}"), name);
            }
        }
    }

    /// Refuses an item that names no device. The refusal names the device of the request instead.
    fn refuse(&mut self, item: u32, refusal: Refused, text: &str) {
        let refusal = refusal.with_device(self.by_request());
        self.items.add(item, Err(refusal), text);
    }

    fn by_request(&self) -> Option<Uuid> {
        *self.device.get_or_init(|| self.payload.request_device())
    }
}

/// An entry that is an item.
struct Item<'a, N> {
    item: u32,
    full_url: Option<Text<'a>>,
    /// `Ok` if it is an Observation, else why it is refused.
    found: Result<(), Refused>,
    /// The resource, or the entry if it has no resource.
    node: N,
}

/// Traverses and numbers all entries in document order, including those of nested Bundles.
struct Walk<'a, N> {
    count: u32,
    entries: Vec<Item<'a, N>>,
    context: Context<'a>,
}

impl<'a, N: Node<'a>> Walk<'a, N> {
    fn bundle(&mut self, bundle: N, depth: usize) -> Result<(), Refused> {
        let entries = bundle.entries().map_err(|fault| fault.refused(RESOURCE))?;
        if self.entries.len() + entries.len() > ITEMS_MAX {
            return Err(refused(Reason::TooLarge, "the Bundle has more than 100,000 entries"));
        }
        for entry in entries {
            self.entry(entry, depth);
        }
        Ok(())
    }

    fn entry(&mut self, node: N, depth: usize) {
        let item = self.count;
        self.count += 1;
        let entry = match node.entry() {
            Ok(entry) => entry,
            Err(fault) => {
                self.entries.push(Item { item, full_url: None, found: Err(fault.refused("the entry")), node });
                return;
            }
        };
        let Some(resource) = entry.resource else {
            if let Some(refusal) = entry.missing_resource_refusal {
                self.entries.push(Item { item, full_url: None, found: Err(refusal), node });
            }
            return;
        };
        let found = match resource.resource_type().map(Option::unwrap_or_default).as_deref() {
            Ok("Observation") => Ok(()),
            Ok("Bundle") if depth < BUNDLES_MAX => match self.bundle(resource, depth + 1) {
                Ok(()) => return,
                Err(refusal) => Err(refusal),
            },
            Ok("Device") => match resource.device() {
                Ok(device) => return self.context.add(entry.full_url.as_deref(), Contained::Device(device)),
                Err(fault) => Err(fault.refused(RESOURCE)),
            },
            Ok("DeviceMetric") => match resource.device_metric() {
                Ok(metric) => return self.context.add(entry.full_url.as_deref(), Contained::Metric(metric)),
                Err(fault) => Err(fault.refused(RESOURCE)),
            },
            Ok("Patient") => match resource.patient() {
                Ok(patient) => return self.context.add(entry.full_url.as_deref(), Contained::Patient(patient)),
                Err(fault) => Err(fault.refused(RESOURCE)),
            },
            Ok(kind) if ABOUT.contains(&kind) => return,
            Ok("") => Err(NO_TYPE),
            Ok(_) => Err(NOT_OBSERVED),
            Err(fault) => Err(fault.clone().refused(RESOURCE)),
        };
        self.entries.push(Item { item, full_url: entry.full_url, found, node: resource });
    }
}
