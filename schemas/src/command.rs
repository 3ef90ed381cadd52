//! The bodies of `POST /devices/assign` and `POST /devices/:id/unassign`. The ingress and the normalizer share this check, so the
//! ingress answers 400 to exactly the bodies that the normalizer refuses.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    event::{DeviceId, PatientId, SourceName},
    format::Provider,
    moment::Moment,
    spelling,
};

/// The members of an assign body. The first five are required.
pub const ASSIGN_MEMBERS: [&str; 8] = [
    "deviceId",
    "deviceType",
    "name",
    "deviceProvider",
    "assignedPatientId",
    "serialNumber",
    "features",
    "effectiveFrom",
];
/// The members of an unassign body.
pub const UNASSIGN_MEMBERS: [&str; 1] = ["effectiveFrom"];
/// The largest number of unknown members that are reported for one body.
const UNKNOWN_MAX: usize = 16;

const TEXT: &str = "text of 1 to 256 bytes without control characters";
const TIME: &str = "an RFC 3339 time with an offset, in the years 1 to 9999";

/// A valid assign command.
pub struct Assign {
    /// The device's provider.
    pub provider: Provider,
    /// The device's id at its provider.
    pub device_id: DeviceId,
    /// The patient to whom the device is assigned.
    pub patient: PatientId,
    /// The kind of device.
    pub device_type: String,
    /// The device's name.
    pub name: String,
    /// The serial number.
    pub serial_number: Option<String>,
    /// What the device can do, as JSON text.
    pub features: Option<String>,
    /// The time from which the command is in effect, microseconds since 1970-01-01T00:00:00Z.
    pub effective_from: Option<i64>,
}

/// A valid unassign command.
pub struct Unassign {
    /// The time from which the command is in effect, microseconds since 1970-01-01T00:00:00Z.
    pub effective_from: Option<i64>,
}

/// All faults of a body.
pub struct Refused {
    /// First repeated members in the order of the body, then missing and invalid members in the documented order, then unknown
    /// members in the order of the body.
    pub faults: Vec<Fault>,
    /// The device, if its provider and its id are valid in spite of the faults.
    pub device: Option<(Provider, DeviceId)>,
}

/// One fault of a body. Its `Display` never contains a value or the name of an unknown member.
#[derive(PartialEq, Eq)]
pub enum Fault {
    /// The body is not a JSON object.
    NotAnObject,
    /// A required member is missing or null.
    Missing {
        /// Its name.
        member: &'static str,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// A member has the wrong type or content.
    Invalid {
        /// Its name.
        member: &'static str,
        /// The values that are allowed.
        expected: &'static str,
    },
    /// A member is given more than once.
    Repeated {
        /// Its name.
        member: &'static str,
    },
    /// A member is not documented.
    Unknown {
        /// Its position in the body, from 1.
        position: usize,
        /// Its name, if it looks like a name ([`spelling::is_name`]). Only the answer to the sender contains it.
        name: Option<String>,
        /// The documented name of which it is most likely a misspelling.
        nearest: Option<&'static str>,
    },
}

impl Fault {
    /// Returns the text for the answer to the sender, who may see the name of an unknown member because they wrote it.
    #[must_use]
    pub fn for_sender(&self) -> String {
        match self {
            Self::Unknown { name: Some(name), nearest, .. } => unknown(name, *nearest),
            Self::Unknown { name: None, .. }
            | Self::NotAnObject
            | Self::Missing { .. }
            | Self::Invalid { .. }
            | Self::Repeated { .. } => self.to_string(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("the body must be a JSON object"),
            Self::Missing { member, expected } => write!(f, "{member} is required and must be {expected}"),
            Self::Invalid { member, expected } => write!(f, "{member} must be {expected}"),
            Self::Repeated { member } => write!(f, "{member} is given more than once"),
            Self::Unknown { position, nearest, .. } => f.write_str(&unknown(&format!("member {position}"), *nearest)),
        }
    }
}

fn unknown(member: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("{member} is unknown, the nearest known member is {nearest}"),
        None => format!("{member} is unknown"),
    }
}

/// Reads the body of an assign command.
///
/// # Errors
/// [`Refused`] with all faults of the body.
pub fn assign(body: &str) -> Result<Assign, Refused> {
    let mut members = Members::read(body, &ASSIGN_MEMBERS)?;
    let device_id = members.required("deviceId", TEXT, |text| DeviceId::parse(text).ok());
    let device_type = members.required("deviceType", TEXT, name);
    let own_name = members.required("name", TEXT, name);
    let provider = members.required("deviceProvider", Provider::names_text(), Provider::parse);
    let patient = members.required("assignedPatientId", TEXT, |text| PatientId::parse(text).ok());
    let serial_number = members.optional("serialNumber", TEXT, name);
    let features = members.get("features").map(|value| value.get().to_owned());
    let effective_from = members.optional("effectiveFrom", TIME, time_us);
    let device = provider.zip(device_id.clone());
    let faults = members.into_faults();
    match (device_id, device_type, own_name, provider, patient) {
        (Some(device_id), Some(device_type), Some(name), Some(provider), Some(patient)) if faults.is_empty() => {
            Ok(Assign { provider, device_id, patient, device_type, name, serial_number, features, effective_from })
        }
        _ => Err(Refused { faults, device }),
    }
}

/// Reads the body of an unassign command, which may be empty.
///
/// # Errors
/// [`Refused`] with all faults of the body.
pub fn unassign(body: &str) -> Result<Unassign, Refused> {
    if body.trim_ascii().is_empty() {
        return Ok(Unassign { effective_from: None });
    }
    let mut members = Members::read(body, &UNASSIGN_MEMBERS)?;
    let effective_from = members.optional("effectiveFrom", TIME, time_us);
    let faults = members.into_faults();
    if faults.is_empty() { Ok(Unassign { effective_from }) } else { Err(Refused { faults, device: None }) }
}

/// Checks a text by the rules that all names share.
fn name(text: &str) -> Option<String> {
    SourceName::parse(text).ok().map(|name| name.as_str().to_owned())
}

/// Reads a time into microseconds. Unlike a time in a payload, the time of a command must have an offset.
fn time_us(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Moment::rfc3339(text).ok().map(|moment| moment.from_us())
}

/// The known members of a body, and the faults found so far.
struct Members<'a> {
    known: Vec<(&'static str, &'a RawValue)>,
    faults: Vec<Fault>,
    unknown: Vec<Fault>,
}

impl<'a> Members<'a> {
    fn read(body: &'a str, names: &'static [&'static str]) -> Result<Self, Refused> {
        let mut json = serde_json::Deserializer::from_str(body);
        let members = Names(names).deserialize(&mut json).and_then(|members| json.end().map(|()| members));
        members.map_err(|_| Refused { faults: vec![Fault::NotAnObject], device: None })
    }

    /// Returns the value of a member. A null counts as absent.
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.known.iter().find(|(known, value)| *known == name && value.get() != "null").map(|(_, value)| *value)
    }

    fn optional<T>(
        &mut self,
        member: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = serde_json::from_str::<String>(self.get(member)?.get());
        let value = text.ok().and_then(|text| parse(&text));
        if value.is_none() {
            self.faults.push(Fault::Invalid { member, expected });
        }
        value
    }

    fn required<T>(
        &mut self,
        member: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if self.get(member).is_none() {
            self.faults.push(Fault::Missing { member, expected });
            return None;
        }
        self.optional(member, expected, parse)
    }

    fn into_faults(self) -> Vec<Fault> {
        let Self { mut faults, unknown, .. } = self;
        faults.extend(unknown);
        faults
    }
}

/// The documented member names of a body.
struct Names(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Names {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Members<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members { known: Vec::with_capacity(self.0.len()), faults: Vec::new(), unknown: Vec::new() };
        let mut position = 0;
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            position += 1;
            match self.0.iter().find(|known| **known == name) {
                Some(member) if members.known.iter().any(|(known, _)| known == member) => {
                    let repeated = Fault::Repeated { member };
                    if !members.faults.contains(&repeated) {
                        members.faults.push(repeated);
                    }
                }
                Some(member) => members.known.push((member, value)),
                None if members.unknown.len() < UNKNOWN_MAX => {
                    let nearest = spelling::nearest(&name, self.0);
                    let name = spelling::is_name(&name).then_some(name);
                    members.unknown.push(Fault::Unknown { position, name, nearest });
                }
                None => {}
            }
        }
        Ok(members)
    }
}
