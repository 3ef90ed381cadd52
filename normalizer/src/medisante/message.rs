//! What all readings of a message share.

use std::borrow::Cow;

use schemas::{
    event::{Component, Device, Reading, Status},
    format::Provider,
    identity::{ContentDigest, Identity},
    rejection::Reason,
};

use super::{
    timestamp,
    wire::{self, read, shaped, trimmed},
    xml::Groups,
};
use crate::{
    drift::Shapes,
    json::{Literal, Noted},
    observed::{Coded, Observed, Payload, Times, device},
    refusal::{Refused, RefusedItem, refused},
};

/// The message as it was sent, from which the bytes of a refused item are taken.
pub(super) enum Sent<'a> {
    /// Sent as JSON: the text that is mapped is the text that was sent.
    Json,
    /// Sent as XML: the elements of `measurements` and of `documents`.
    Xml { measurements: Groups<'a, 'a>, documents: Groups<'a, 'a> },
}

impl Sent<'_> {
    /// The text that was sent for a measurement, or for all parts of a blood pressure. `json` is the JSON that is mapped.
    pub(super) fn measured<'j>(&self, names: &[&str], json: impl Into<Cow<'j, str>>) -> Cow<'j, str> {
        match self {
            Self::Json => json.into(),
            Self::Xml { measurements, .. } => measurements.outer(names).map_or_else(|| json.into(), Cow::Owned),
        }
    }

    /// The text that was sent for a document. `json` is the JSON that is mapped.
    pub(super) fn document<'j>(&self, name: &str, json: &'j str) -> Cow<'j, str> {
        match self {
            Self::Json => Cow::Borrowed(json),
            Self::Xml { documents, .. } => documents.outer(&[name]).map_or(Cow::Borrowed(json), Cow::Owned),
        }
    }
}

/// What all readings of a message share.
pub(super) struct Head<'a> {
    pub(super) payload: Payload<'a>,
    pub(super) sent: Sent<'a>,
    correlation_id: Option<&'a str>,
    pub(super) measurement_type: Option<&'a str>,
    device: Option<Device>,
    gateway: Option<Device>,
    timestamp: Option<String>,
    updated_at: Option<i64>,
}

impl<'a> Head<'a> {
    pub(super) fn of(
        payload: Payload<'a>,
        sent: Sent<'a>,
        Noted { known: message, unknown }: &'a Noted<'a, wire::Message<'a>>,
        shapes: &mut Shapes,
    ) -> Result<Self, Refused> {
        shapes.members("", unknown);
        let outer = message
            .device
            .as_ref()
            .map(|device| described(payload.provider, "device.", device, shapes))
            .transpose()?
            .flatten();
        let inner = match message.measurements.get("device") {
            Some(raw) => shaped::<Option<Noted<'_, wire::Device<'_>>>>("device", raw)?
                .map(|device| described(payload.provider, "measurements.device.", &device, shapes))
                .transpose()?
                .flatten(),
            None => None,
        };
        let (device, gateway) = if inner.is_some() { (inner, outer) } else { (outer, None) };
        let timestamp = match message.measurements.get("timestamp") {
            Some(raw) => read::<Option<Literal<'_>>>(raw)
                .ok_or(refused(Reason::TimeInvalid, "measurements.timestamp is neither text nor a number"))?
                .map(|literal| literal.0.into_owned())
                .filter(|text| !text.trim().is_empty()),
            None => None,
        };
        if let Some(metadata) = &message.metadata {
            shapes.members("metadata.", &metadata.unknown);
        }
        let metadata = message.metadata.as_ref().map(|metadata| &metadata.known);
        Ok(Self {
            payload,
            sent,
            correlation_id: metadata.and_then(|metadata| trimmed(metadata.correlation_id.as_ref())),
            measurement_type: metadata.and_then(|metadata| trimmed(metadata.measurement_type.as_ref())),
            device,
            gateway,
            timestamp,
            updated_at: metadata
                .and_then(|metadata| metadata.received_time.as_ref())
                .and_then(|literal| timestamp::read(&literal.0).ok())
                .map(|moment| moment.from_us()),
        })
    }

    /// Adds the message's device to the refusal of an item.
    pub(super) fn own(&self, found: Result<Reading, Refused>) -> Result<Reading, RefusedItem> {
        found.map_err(|refused| refused.with_device(self.device.as_ref().map(|device| device.key)))
    }

    fn times(&self) -> Result<Times, Refused> {
        let Some(text) = &self.timestamp else { return Ok(Times::default()) };
        let moment = timestamp::read(text).map_err(|_| {
            refused(
                Reason::TimeInvalid,
                "measurements.timestamp is neither an RFC 3339 time nor seconds or milliseconds since 1970",
            )
        })?;
        Ok(Times {
            from: Some(moment.from_us()),
            imprecise_until: moment.until_us(),
            precision: moment.precision(),
            offset_minutes: moment.offset_minutes().map(i32::from),
            from_text: Some(text.clone()),
            local: moment.zone_assumed(),
            ..Times::default()
        })
    }

    /// Builds the reading of one measurement. `literals` are the texts that the source wrote for it.
    pub(super) fn reading(
        &self,
        item: u32,
        key: &str,
        value: ObservedValue,
        literals: &[Option<&str>],
    ) -> Result<Reading, Refused> {
        let key = key.to_ascii_lowercase();
        let device_id = self.device.as_ref().map(|device| device.id.as_str());
        let timestamp = self.timestamp.as_deref();
        let mut content = ContentDigest::default();
        content.literal(&key);
        content.optional(device_id);
        content.optional(self.gateway.as_ref().map(|gateway| gateway.id.as_str()));
        content.optional(timestamp);
        for literal in literals {
            content.optional(*literal);
        }
        let times = self.times()?;
        let observed = Observed {
            item,
            device: self.device.clone(),
            gateway: self.gateway.clone(),
            patient_claim: None,
            coded: value.coded,
            components: value.components,
            status: Status::Final,
            times,
            source_version: None,
            source_updated_at: self.updated_at,
        };
        if let Some(correlation_id) = self.correlation_id {
            let stable = [correlation_id, key.as_str()];
            return Ok(observed.reading(self.payload, Identity::Stable(&stable), content));
        }
        let mut named = vec![key.as_str(), device_id.unwrap_or_default(), timestamp.unwrap_or_default()];
        named.extend(literals.iter().map(|literal| literal.unwrap_or_default()));
        Ok(observed.reading(self.payload, Identity::Literals(&named), content))
    }
}

/// The code, the value and the components of a reading.
pub(super) struct ObservedValue {
    pub(super) coded: Coded,
    pub(super) components: Vec<Component>,
}

impl From<Coded> for ObservedValue {
    fn from(coded: Coded) -> Self {
        Self { coded, components: Vec::new() }
    }
}

/// Reads the device, under the first of its ids that is not empty; `None` if it has no id.
fn described(
    provider: Provider,
    path: &str,
    Noted { known: wire, unknown }: &Noted<'_, wire::Device<'_>>,
    shapes: &mut Shapes,
) -> Result<Option<Device>, Refused> {
    shapes.members(path, unknown);
    let ids = [wire.id.as_ref(), wire.imei.as_ref(), wire.serial_number.as_ref()];
    let Some(id) = ids.into_iter().find_map(trimmed) else { return Ok(None) };
    Ok(Some(Device {
        manufacturer: trimmed(wire.manufacturer.as_ref()).map(Into::into),
        model: trimmed(wire.model.as_ref()).map(Into::into),
        serial: trimmed(wire.serial_number.as_ref()).map(Into::into),
        ..device(provider, id)?
    }))
}
