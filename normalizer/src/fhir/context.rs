//! The resources that say who and with what: devices and patients of a Bundle or inside an Observation, found by reference
//! (FHIR R4, references.html and bundle.html, "Resolving references in Bundles").

use std::collections::HashMap;

use schemas::{event, format::Provider};

use crate::observed::{Refused, device};

use super::{
    model::{Contained, Device, Identifier, Observation, Patient, Reference},
    value::filled,
};

/// Devices and patients of a Bundle by full URL and by `Type/id`; where two have the same name, the first.
#[derive(Default)]
pub(super) struct Context<'a> {
    devices: HashMap<String, usize>,
    patients: HashMap<String, usize>,
    all: Vec<Contained<'a>>,
}

impl<'a> Context<'a> {
    /// Adds a resource of the Bundle.
    pub(super) fn add(&mut self, full_url: Option<&str>, resource: Contained<'a>) {
        let (map, kind, id) = match &resource {
            Contained::Device(device) => (&mut self.devices, "Device", &device.id),
            Contained::Patient(patient) => (&mut self.patients, "Patient", &patient.id),
        };
        if let Some(url) = full_url {
            map.entry(url.to_owned()).or_insert(self.all.len());
        }
        if let Some(id) = id {
            map.entry(format!("{kind}/{id}")).or_insert(self.all.len());
        }
        self.all.push(resource);
    }
}

/// Where a reference stands: what it may lead to.
pub(super) struct Scope<'s, 'a> {
    /// The resource that `#` refers into: the Observation, or the one that contains it.
    pub(super) holder: &'s Observation<'a>,
    /// The full URL of its entry.
    pub(super) full_url: Option<&'s str>,
    /// The Bundle's resources.
    pub(super) context: &'s Context<'a>,
}

impl<'s, 'a> Scope<'s, 'a> {
    /// The device that a reference names.
    pub(super) fn device(
        &self,
        provider: Provider,
        reference: &Reference<'_>,
    ) -> Result<Option<event::Device>, Refused> {
        let found = self.find_device(reference);
        // The id of a contained device names it within its holder only, and a UDI without a serial number names its model.
        let id_of = |device: &'s Device<'a>| filled(device.id.as_ref()).filter(|_| !is_inside(reference));
        let id = found
            .and_then(|device| {
                first(&device.identifiers).or_else(|| filled(device.serial.as_ref())).or_else(|| id_of(device))
            })
            .or_else(|| filled(reference.reference.as_ref()).and_then(tail))
            .or_else(|| reference.identifier.as_ref().and_then(|identifier| filled(identifier.value.as_ref())));
        let Some(id) = id else { return Ok(None) };
        let mut named = device(provider, id)?;
        if let Some(found) = found {
            let text = |text| filled(text).map(Into::into);
            named.manufacturer = text(found.manufacturer.as_ref());
            named.model = text(found.model.as_ref());
            named.serial = text(found.serial.as_ref());
        }
        Ok(Some(named))
    }

    /// What a reference claims as the patient: the patient's identifier where it is known, else the reference, unless that
    /// leads to a contained patient, whose id names nobody outside.
    pub(super) fn patient(&self, reference: &'s Reference<'_>) -> Option<&'s str> {
        let text = filled(reference.reference.as_ref());
        if kind_of(reference).is_some_and(|kind| kind != "Patient") {
            return None;
        }
        self.find_patient(reference)
            .and_then(|patient| first(&patient.identifiers))
            .or_else(|| reference.identifier.as_ref().and_then(|identifier| filled(identifier.value.as_ref())))
            .or(text.filter(|_| !is_inside(reference)))
    }

    fn find_device(&self, reference: &Reference<'_>) -> Option<&'s Device<'a>> {
        let text = filled(reference.reference.as_ref())?;
        if let Some(id) = text.strip_prefix('#') {
            return self.holder.contained.iter().find_map(|resource| match resource {
                Contained::Device(device) if device.id.as_deref() == Some(id) => Some(device),
                Contained::Device(_) | Contained::Patient(_) => None,
            });
        }
        match self.context.all.get(*self.find(&self.context.devices, text)?)? {
            Contained::Device(device) => Some(device),
            Contained::Patient(_) => None,
        }
    }

    fn find_patient(&self, reference: &Reference<'_>) -> Option<&'s Patient<'a>> {
        let text = filled(reference.reference.as_ref())?;
        if let Some(id) = text.strip_prefix('#') {
            return self.holder.contained.iter().find_map(|resource| match resource {
                Contained::Patient(patient) if patient.id.as_deref() == Some(id) => Some(patient),
                Contained::Device(_) | Contained::Patient(_) => None,
            });
        }
        match self.context.all.get(*self.find(&self.context.patients, text)?)? {
            Contained::Patient(patient) => Some(patient),
            Contained::Device(_) => None,
        }
    }

    /// A relative reference means the server of the Observation's full URL; where that names no server, any resource of the
    /// name.
    fn find(&self, names: &'s HashMap<String, usize>, reference: &str) -> Option<&'s usize> {
        if names.is_empty() {
            return None;
        }
        let reference = without_version(reference);
        // Neither a type nor an id has a colon, and every absolute reference has one.
        match self.full_url.and_then(server).filter(|_| !reference.contains(':')) {
            Some(server) => names.get(&format!("{server}/{reference}")),
            None => names.get(reference),
        }
    }
}

/// Whether a reference leads to a contained resource.
fn is_inside(reference: &Reference<'_>) -> bool {
    filled(reference.reference.as_ref()).is_some_and(|text| text.starts_with('#'))
}

/// The type of the resource that a reference leads to, where the reference says it.
fn kind_of<'r>(reference: &'r Reference<'_>) -> Option<&'r str> {
    filled(reference.kind.as_ref()).or_else(|| {
        let (head, _) = without_version(filled(reference.reference.as_ref())?).rsplit_once('/')?;
        Some(head.rsplit_once('/').map_or(head, |(_, kind)| kind))
    })
}

/// The base of a RESTful URL: what stands before `/Observation/id`.
pub(super) fn server(full_url: &str) -> Option<&str> {
    let (rest, _) = without_version(full_url).rsplit_once('/')?;
    let (base, kind) = rest.rsplit_once('/')?;
    (kind == "Observation" && base.contains("://")).then_some(base)
}

/// The last part of a reference: the id of a RESTful one, all of a URN. A fragment names nothing outside its resource.
pub(super) fn tail(reference: &str) -> Option<&str> {
    let reference = without_version(reference);
    if reference.starts_with('#') {
        return None;
    }
    let tail = reference.rsplit_once('/').map_or(reference, |(_, id)| id);
    (!tail.is_empty()).then_some(tail)
}

fn without_version(reference: &str) -> &str {
    reference.split_once("/_history/").map_or(reference, |(resource, _)| resource)
}

fn first<'s>(identifiers: &'s [Identifier<'_>]) -> Option<&'s str> {
    identifiers.iter().find_map(|identifier| filled(identifier.value.as_ref()))
}
