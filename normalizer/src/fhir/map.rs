//! Maps one Observation to one reading, independent of its syntax.

use schemas::{
    event::{Component, Device, Missing, Reading, Status},
    identity::{ContentDigest, Identity},
    moment::Moment,
    rejection::Reason,
};
use uuid::Uuid;

use crate::observed::{Observed, Payload, Times, device};
use crate::refusal::{Refused, refused};

use super::{
    context::{Context, Scope, server, tail},
    literals,
    model::{self, Effective, Observation},
    value::{coded, filled},
};

/// The position of an Observation in its payload.
pub(super) struct Location<'s, 'a> {
    /// The number of the item.
    pub(super) item: u32,
    /// The full URL of its Bundle entry.
    pub(super) full_url: Option<&'s str>,
    /// The Observation that contains it, if any.
    pub(super) holder: Option<&'s Holder<'s, 'a>>,
}

/// An Observation that contains other Observations.
pub(super) struct Holder<'s, 'a> {
    observation: &'s Observation<'a>,
    /// A hash of its literals. It is part of the reading ids of the contained Observations, because these often contain neither
    /// a time nor a patient.
    name: String,
}

impl<'s, 'a> Holder<'s, 'a> {
    /// Computes the hash once for all Observations that it contains.
    pub(super) fn of(observation: &'s Observation<'a>, full_url: Option<&'s str>, context: &'s Context<'a>) -> Self {
        let mut content = ContentDigest::default();
        content.optional(filled(observation.id.as_ref()));
        literals::observed(observation, &mut content);
        literals::subject(subject(observation, &Scope { holder: observation, full_url, context }), &mut content);
        for name in observation.identifiers.iter().filter_map(|name| filled(name.value.as_ref())) {
            content.literal(name);
        }
        Self { observation, name: format!("{:032x}", u128::from_be_bytes(content.finish())) }
    }
}

/// The patient that the source means, as literals.
fn subject<'s>(observation: &'s Observation<'_>, scope: &Scope<'s, '_>) -> [Option<&'s str>; 2] {
    observation.subject.as_ref().map_or([None, None], |reference| scope.subject(reference))
}

/// One Observation, with what is needed to map it.
#[derive(Clone, Copy)]
pub(super) struct Mapping<'s, 'a> {
    /// The payload that contains it.
    pub(super) payload: Payload<'s>,
    /// Its position in the payload.
    pub(super) location: &'s Location<'s, 'a>,
    /// The Observation.
    pub(super) observation: &'s Observation<'a>,
    /// The resources of the Bundle.
    pub(super) context: &'s Context<'a>,
}

impl<'s, 'a> Mapping<'s, 'a> {
    /// Maps the Observation to a reading.
    pub(super) fn reading(self) -> Result<Reading, Refused> {
        let Self { payload, location, observation, .. } = self;
        let (provider, headers) = (payload.provider, &payload.record.headers);
        let scope = self.scope();
        understood(observation)?;
        let status = status(observation)?;
        let components = components(&observation.components)?;
        let without = without_value(observation, status);
        let device = match (self.named_device()?, &headers.device_id) {
            (Some(named), _) => Some(named),
            (None, Some(id)) => Some(device(provider, id)?),
            (None, None) => None,
        };
        let gateway =
            observation.gateway.as_ref().map(|reference| scope.device(provider, reference)).transpose()?.flatten();
        let updated_at = filled(observation.meta.last_updated.as_ref()).or_else(|| filled(observation.issued.as_ref()));
        let observed = Observed {
            item: location.item,
            gateway,
            patient_claim: observation.subject.as_ref().and_then(|subject| scope.patient(subject)).map(str::to_owned),
            coded: coded(observation.code.as_ref(), &observation.value, without)?,
            components,
            status,
            times: times(&observation.effective)?,
            source_version: filled(observation.meta.version_id.as_ref()).and_then(|version| version.parse().ok()),
            source_updated_at: updated_at.and_then(|text| Moment::fhir(text, 0).ok()).map(|moment| moment.from_us()),
            device,
        };
        Ok(self.named(observed))
    }

    /// The `_id` of the device that a refused Observation names, else of the device that the request names.
    pub(super) fn refused_device(self, by_request: impl FnOnce() -> Option<Uuid>) -> Option<Uuid> {
        match self.named_device() {
            Ok(Some(device)) => Some(device.key),
            Ok(None) => by_request(),
            Err(_) => None,
        }
    }

    /// The scope in which its references are resolved.
    fn scope(self) -> Scope<'s, 'a> {
        let holder = self.location.holder.map_or(self.observation, |holder| holder.observation);
        Scope { holder, full_url: self.location.full_url, context: self.context }
    }

    fn named_device(self) -> Result<Option<Device>, Refused> {
        let reference = self.observation.device.as_ref();
        let device = |reference| self.scope().device(self.payload.provider, reference);
        Ok(reference.map(device).transpose()?.flatten())
    }

    /// Builds the reading, with an id from the source's own identifier, else from its id and server, else from its literals.
    fn named(self, observed: Observed) -> Reading {
        let Self { payload, location, observation, .. } = self;
        let content = content(&observed, observation);
        let mut identifiers = observation.identifiers.iter();
        let identifier = identifiers.find_map(|own| Some((filled(own.system.as_ref()), filled(own.value.as_ref())?)));
        if let Some((system, value)) = identifier {
            let identity = Identity::Stable(&["identifier", system.unwrap_or_default(), value]);
            return observed.reading(payload, identity, content);
        }
        // The id of a contained resource is unique within its container only.
        let own = location.holder.is_none().then_some(observation);
        let base = location.full_url.and_then(server);
        let id = own.and_then(|own| filled(own.id.as_ref()).or_else(|| base.and(location.full_url).and_then(tail)));
        if let Some(id) = id {
            // On some servers, the part of meta.source after `#` changes with each request.
            let source = filled(observation.meta.source.as_ref()).and_then(|source| source.split('#').next());
            let identity = Identity::Stable(&["id", base.or(source).unwrap_or_default(), id]);
            return observed.reading(payload, identity, content);
        }
        let device = observed.device.as_ref().map(|device| device.id.clone());
        let mut parts = vec![device.as_ref().map_or("", |id| id.as_str())];
        literals::observed(observation, &mut parts);
        literals::subject(subject(observation, &self.scope()), &mut parts);
        if let Some(holder) = location.holder {
            parts.extend([holder.name.as_str(), filled(observation.id.as_ref()).unwrap_or_default()]);
        }
        observed.reading(payload, Identity::Literals(&parts), content)
    }
}

/// What makes a new version of the reading when it changes; not the version number and the times of the version.
fn content(observed: &Observed, observation: &Observation<'_>) -> ContentDigest {
    let mut content = ContentDigest::default();
    content.literal(observed.status.as_str());
    content.optional(observed.device.as_ref().map(|device| device.id.as_str()));
    content.optional(observed.gateway.as_ref().map(|device| device.id.as_str()));
    content.optional(observed.patient_claim.as_deref());
    literals::observed(observation, &mut content);
    content
}

/// Refuses an Observation that may mean something else than its elements say (FHIR R4, extensibility.html, "Modifier
/// Extensions", and resource.html, "implicitRules"). This release knows none of these, and such data must not be read as if it
/// had none.
fn understood(observation: &Observation<'_>) -> Result<(), Refused> {
    if filled(observation.implicit_rules.as_ref()).is_some() {
        return Err(refused(
            Reason::FormatNotRead,
            "implicitRules may change the meaning, and this release knows no such rules",
        ));
    }
    if observation.has_modifier || observation.components.iter().any(|part| part.has_modifier) {
        return Err(refused(
            Reason::FormatNotRead,
            "a modifierExtension may change the meaning, and this release knows none",
        ));
    }
    Ok(())
}

fn status(observation: &Observation<'_>) -> Result<Status, Refused> {
    let word = filled(observation.status.as_ref()).ok_or(refused(Reason::Incomplete, "status is missing"))?;
    match Status::from_word(word) {
        // `deleted` is a status of this system, not of FHIR.
        None | Some(Status::Deleted) => {
            Err(refused(Reason::ValueInvalid, "status is not a code of FHIR's ObservationStatus"))
        }
        Some(status) => Ok(status),
    }
}

/// Returns why an Observation without a value and without a dataAbsentReason may be accepted nevertheless; `None` if it may
/// not.
fn without_value(observation: &Observation<'_>, status: Status) -> Option<Missing> {
    if observation.has_members || !observation.components.is_empty() {
        return Some(Missing::Panel);
    }
    match status {
        Status::Registered => Some(Missing::TemporarilyUnknown),
        Status::Cancelled => Some(Missing::NotPerformed),
        Status::EnteredInError => Some(Missing::Unknown),
        Status::Final
        | Status::Preliminary
        | Status::Amended
        | Status::Corrected
        | Status::Deleted
        | Status::Unknown => None,
    }
}

fn components(parts: &[model::Component<'_>]) -> Result<Vec<Component>, Refused> {
    let part = |part: &model::Component<'_>| coded(part.code.as_ref(), &part.value, Some(Missing::Unknown));
    parts.iter().map(|each| part(each).map(Component::from)).collect()
}

fn times(effective: &Effective<'_>) -> Result<Times, Refused> {
    match effective {
        Effective::Absent => Ok(Times::default()),
        Effective::Point(point) => Times::read(Some(point.trim()), None),
        Effective::Period { start, end } => Times::read(filled(start.as_ref()), filled(end.as_ref())),
    }
}
