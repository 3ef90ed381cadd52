//! Resolves references to devices and patients, which are resources of the Bundle or contained in the Observation (FHIR R4,
//! references.html and bundle.html, "Resolving references in Bundles").

use std::collections::HashMap;

use schemas::{event, format::Provider};

use crate::observed::device;
use crate::refusal::Refused;

use super::{
    model::{Contained, Device, Identifier, Observation, Patient, Reference},
    value::filled,
};

/// The resources of a Bundle by full URL and by `Type/id`. If two resources have the same name, the first one is used.
#[derive(Default)]
pub(super) struct Context<'a> {
    names: HashMap<String, usize>,
    all: Vec<Contained<'a>>,
}

impl<'a> Context<'a> {
    /// Adds a resource of the Bundle.
    pub(super) fn add(&mut self, full_url: Option<&str>, mut resource: Contained<'a>) {
        let kind = match &mut resource {
            Contained::Device(_) => "Device",
            Contained::Metric(metric) => {
                metric.source = metric.source.take().and_then(|source| rooted(source, full_url));
                "DeviceMetric"
            }
            Contained::Patient(_) => "Patient",
        };
        if let Some(url) = full_url {
            self.names.entry(url.to_owned()).or_insert(self.all.len());
        }
        if let Some(id) = resource.id() {
            self.names.entry(format!("{kind}/{id}")).or_insert(self.all.len());
        }
        self.all.push(resource);
    }
}

/// Converts the source of a DeviceMetric to a reference that can be resolved outside of the DeviceMetric. Resources that the
/// DeviceMetric contains are ignored.
fn rooted<'a>(source: Reference<'a>, full_url: Option<&str>) -> Option<Reference<'a>> {
    let Some(text) = filled(source.reference.as_ref()) else { return Some(source) };
    if text.starts_with('#') {
        return None;
    }
    let base = full_url.and_then(|url| base(url, "DeviceMetric")).filter(|_| is_relative(text));
    let absolute = base.map(|base| format!("{base}/{text}").into());
    Some(Reference { reference: absolute.or(source.reference), ..source })
}

/// Where a reference occurs, which determines what it can resolve to.
pub(super) struct Scope<'s, 'a> {
    /// The resource whose contained resources `#` refers to: the Observation, or the one that contains it.
    pub(super) holder: &'s Observation<'a>,
    /// The full URL of the Bundle entry.
    pub(super) full_url: Option<&'s str>,
    /// The resources of the Bundle.
    pub(super) context: &'s Context<'a>,
}

impl<'s, 'a> Scope<'s, 'a> {
    /// The device that a reference names.
    pub(super) fn device(
        &self,
        provider: Provider,
        reference: &Reference<'_>,
    ) -> Result<Option<event::Device>, Refused> {
        let metric = self.find(reference, |resource| match resource {
            Contained::Metric(metric) => Some(metric),
            Contained::Device(_) | Contained::Patient(_) => None,
        });
        let Some(reference) = metric.map_or(Some(reference), |metric| metric.source.as_ref()) else { return Ok(None) };
        if kind_of(reference) == Some("DeviceMetric") {
            return Ok(None);
        }
        let found = self.find(reference, |resource| match resource {
            Contained::Device(device) => Some(device),
            Contained::Metric(_) | Contained::Patient(_) => None,
        });
        // The id of a contained device is unique within its container only. A UDI without a serial number identifies only the
        // model.
        let id_of = |device: &'s Device<'a>| filled(device.id.as_ref()).filter(|_| !is_inside(reference));
        let id = found
            .and_then(|device| {
                first(&device.identifiers).or_else(|| filled(device.serial.as_ref())).or_else(|| id_of(device))
            })
            .or_else(|| filled(reference.reference.as_ref()).and_then(|text| outside(text, tail)))
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

    /// The patient that a reference claims: the identifier of the patient if there is one, else the reference itself. A
    /// reference to a contained patient is not used itself, because its id has no meaning outside of the payload.
    pub(super) fn patient(&self, reference: &'s Reference<'_>) -> Option<&'s str> {
        let text = filled(reference.reference.as_ref());
        if kind_of(reference).is_some_and(|kind| kind != "Patient") {
            return None;
        }
        self.patient_of(reference)
            .and_then(|patient| first(&patient.identifiers))
            .or_else(|| reference.identifier.as_ref().and_then(|identifier| filled(identifier.value.as_ref())))
            .or_else(|| text.and_then(|text| outside(text, |text| Some(without_version(text)))))
    }

    /// The patient that the source means, as literals: the reference as it was written. A reference that is valid only within
    /// the payload is replaced by the system and value of the patient's identifier, if there is one.
    pub(super) fn subject(&self, reference: &'s Reference<'_>) -> [Option<&'s str>; 2] {
        let text = filled(reference.reference.as_ref());
        if let Some(text) = text.filter(|text| !is_inside(reference) && !text.starts_with("urn:")) {
            return [None, Some(without_version(text))];
        }
        let own = self.patient_of(reference).into_iter().flat_map(|patient| &patient.identifiers);
        own.chain(&reference.identifier)
            .find_map(|name| Some([filled(name.system.as_ref()), Some(filled(name.value.as_ref())?)]))
            .unwrap_or([None, text])
    }

    fn patient_of(&self, reference: &Reference<'_>) -> Option<&'s Patient<'a>> {
        self.find(reference, |resource| match resource {
            Contained::Patient(patient) => Some(patient),
            Contained::Device(_) | Contained::Metric(_) => None,
        })
    }

    /// Resolves a reference to a resource that `pick` accepts.
    fn find<T>(&self, reference: &Reference<'_>, pick: impl Fn(&'s Contained<'a>) -> Option<&'s T>) -> Option<&'s T> {
        let text = filled(reference.reference.as_ref())?;
        match text.strip_prefix('#') {
            Some(id) => self.holder.contained.iter().filter(|resource| resource.id() == Some(id)).find_map(pick),
            None => self.context.all.get(self.position(text)?).and_then(pick),
        }
    }

    /// The index of the resource that a reference names. A relative reference is resolved against the server of the
    /// Observation's full URL; if the full URL names no server, against all resources of the Bundle.
    fn position(&self, reference: &str) -> Option<usize> {
        let names = &self.context.names;
        if names.is_empty() {
            return None;
        }
        let reference = without_version(reference);
        let found = match self.full_url.and_then(server).filter(|_| is_relative(reference)) {
            Some(server) => names.get(&format!("{server}/{reference}")),
            None => names.get(reference),
        };
        found.copied()
    }
}

/// Whether a reference is to a contained resource.
fn is_inside(reference: &Reference<'_>) -> bool {
    filled(reference.reference.as_ref()).is_some_and(|text| text.starts_with('#'))
}

/// Whether a reference is relative, that is `Type/id`: an absolute reference always contains a colon, a relative one never.
fn is_relative(reference: &str) -> bool {
    !reference.contains(':')
}

/// The id in a reference that is valid outside of the payload: the identifier of a conditional reference, else what `plain`
/// returns. `None` for a reference to a contained resource.
fn outside<'t>(reference: &'t str, plain: impl FnOnce(&'t str) -> Option<&'t str>) -> Option<&'t str> {
    match reference.split_once('?') {
        _ if reference.starts_with('#') => None,
        Some((_, query)) => searched(query),
        None => plain(reference),
    }
}

/// The value in the query of a conditional reference such as `Device?identifier=system|value`; `None` if the query does not ask
/// for exactly one identifier.
fn searched(query: &str) -> Option<&str> {
    let token = query.split('&').find_map(|part| part.strip_prefix("identifier="));
    let value = token.map(|token| ["|", "%7C", "%7c"].into_iter().fold(token, after));
    // Excludes a list, an escape sequence, and an encoded character.
    value.filter(|value| !value.is_empty() && !value.contains(['|', ',', '\\', '%', '+']))
}

fn after<'t>(text: &'t str, separator: &str) -> &'t str {
    text.split_once(separator).map_or(text, |(_, value)| value)
}

/// The type of the referenced resource, if the reference states it.
fn kind_of<'r>(reference: &'r Reference<'_>) -> Option<&'r str> {
    filled(reference.kind.as_ref()).or_else(|| {
        let text = without_version(filled(reference.reference.as_ref())?);
        let head = text.split_once('?').or_else(|| text.rsplit_once('/'))?.0;
        Some(head.rsplit_once('/').map_or(head, |(_, kind)| kind))
    })
}

/// The base of the RESTful URL of an Observation: the part before `/Observation/id`.
pub(super) fn server(full_url: &str) -> Option<&str> {
    base(full_url, "Observation")
}

/// The base of the RESTful URL of a resource of the type `of`.
fn base<'u>(full_url: &'u str, of: &str) -> Option<&'u str> {
    let (rest, _) = without_version(full_url).rsplit_once('/')?;
    let (base, kind) = rest.rsplit_once('/')?;
    (kind == of && base.contains("://")).then_some(base)
}

/// The last part of a reference: the id of a RESTful URL, or a whole URN. `None` for a fragment, which has no meaning outside
/// its resource.
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
