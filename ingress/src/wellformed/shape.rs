//! Checks the top level of a body against its format, as far as a violation makes the whole body unusable. A single item of a
//! wrong shape is not checked here: the normalizer rejects that item only, and stores the others.

use schemas::format::{Format, Provider};

use super::{json::Top, malformed::Malformed, xml::Root};

/// A type of a JSON value.
#[derive(Clone, Copy)]
enum JsonType {
    Object,
    Text,
}

impl JsonType {
    const fn name(self) -> &'static str {
        match self {
            Self::Object => "a JSON object",
            Self::Text => "a JSON string",
        }
    }

    /// Returns whether a value that begins with this byte has this type.
    const fn begins_with(self, byte: u8) -> bool {
        match self {
            Self::Object => byte == b'{',
            Self::Text => byte == b'"',
        }
    }
}

/// A member of the top-level object. A member that is not required may also be null.
struct Member {
    name: &'static str,
    expected: JsonType,
    is_required: bool,
}

const MESSAGE: [Member; 3] = [
    Member { name: "metadata", expected: JsonType::Object, is_required: false },
    Member { name: "device", expected: JsonType::Object, is_required: false },
    Member { name: "measurements", expected: JsonType::Object, is_required: true },
];
const RESOURCE: [Member; 1] = [Member { name: "resourceType", expected: JsonType::Text, is_required: true }];
const EXPORT: [Member; 1] = [Member { name: "data", expected: JsonType::Object, is_required: false }];

const fn members(provider: Provider, format: Format) -> &'static [Member] {
    match (provider, format) {
        (Provider::Medisante, Format::StandardJson) => &MESSAGE,
        (_, Format::FhirJson) => &RESOURCE,
        (_, Format::HealthAutoExport) => &EXPORT,
        (Provider::HealthKit, Format::StandardJson)
        | (_, Format::StandardXml | Format::FhirXml | Format::ExportXml) => &[],
    }
}

/// Checks the top level of a JSON body against its format, member by member.
pub(super) struct JsonShape {
    members: &'static [Member],
    is_array_allowed: bool,
    /// One bit for each member that has been seen.
    seen: u8,
    fault: Option<Malformed>,
}

impl JsonShape {
    pub(super) fn new(provider: Provider, format: Format) -> Self {
        let is_array_allowed = format.has_item_receipts(provider);
        Self { members: members(provider, format), is_array_allowed, seen: 0, fault: None }
    }

    /// Checks a member of the top-level object by the first byte of its value.
    pub(super) fn member(&mut self, name: &str, value: u8) {
        let Some((number, member)) = self.members.iter().enumerate().find(|(_, member)| member.name == name) else {
            return;
        };
        self.seen |= 1 << number;
        let is_absent = value == b'n' && !member.is_required;
        if !is_absent && !member.expected.begins_with(value) {
            let fault = Malformed::WrongType { member: Some(member.name), expected: member.expected.name() };
            self.fault.get_or_insert(fault);
        }
    }

    /// Returns the first fault, after the whole body has been read.
    pub(super) fn check(self, top: &Top) -> Result<(), Malformed> {
        let expected = if self.is_array_allowed { "a JSON array or a JSON object" } else { JsonType::Object.name() };
        let is_expected = top.first == b'{' || (top.first == b'[' && self.is_array_allowed);
        if !is_expected {
            return Err(Malformed::WrongType { member: None, expected });
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let missing = self
            .members
            .iter()
            .enumerate()
            .find(|(number, member)| top.first == b'{' && member.is_required && self.seen & (1 << number) == 0);
        match missing {
            Some((_, member)) => Err(Malformed::Missing { member: member.name, expected: member.expected.name() }),
            None => Ok(()),
        }
    }
}

/// Checks the root of an XML body against its format.
pub(crate) fn xml(format: Format, root: Root) -> Result<(), Malformed> {
    match format {
        Format::StandardXml if !root.has_measurements => {
            Err(Malformed::Missing { member: "measurements", expected: "an element below the root" })
        }
        Format::FhirXml if !root.is_fhir => {
            Err(Malformed::WrongType { member: None, expected: "an element in the namespace http://hl7.org/fhir" })
        }
        Format::ExportXml if !root.is_health_data => {
            Err(Malformed::WrongType { member: None, expected: "the element HealthData" })
        }
        Format::StandardXml
        | Format::FhirXml
        | Format::ExportXml
        | Format::StandardJson
        | Format::FhirJson
        | Format::HealthAutoExport => Ok(()),
    }
}
