//! The problem document (RFC 9457) that every answer beside 2xx has, and the faults in it. Nothing of the request's content is in
//! it beyond the names of its members and parameters.

use schemas::command;
use serde::Serialize;
use utoipa::ToSchema;

use crate::wellformed::Malformed;

/// The body of every answer that is not 2xx.
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Names the kind of problem; compare this, not the texts.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The kind of problem in words.
    pub(crate) title: &'static str,
    /// The status code.
    pub(crate) status: u16,
    /// What is wrong with this request, and the way out.
    pub(crate) detail: String,
    /// The status code as a string, for existing clients.
    #[serde(rename = "statusCode")]
    pub(crate) status_code: String,
    /// The status in words, for existing clients.
    pub(crate) error: &'static str,
    /// The same as `detail`, for existing clients.
    pub(crate) message: String,
    /// All faults, each with the member of the body or the query parameter that it is about; absent where it is about neither.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    pub(crate) errors: Vec<Fault>,
    /// Where the body was kept although it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receipt: Option<String>,
}

/// What is wrong with one member of the body, one query parameter or one part of the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Fault {
    /// The exact name; absent where the fault has none, or where the name may be content in a wrong place.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Where it stands, or should.
    #[serde(rename = "in")]
    location: Location,
    /// What is wrong.
    pub(crate) detail: String,
}

/// A part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Location {
    /// The body.
    Body,
    /// The query of the URL.
    Query,
    /// The path of the URL.
    Path,
}

impl Fault {
    pub(crate) fn new(name: Option<&str>, location: Location, detail: String) -> Self {
        Self { name: name.map(str::to_owned), location, detail }
    }

    /// Of a member of a command's body.
    pub(crate) fn of_command(fault: &command::Fault) -> Self {
        let name = match fault {
            command::Fault::NotAnObject => None,
            command::Fault::Missing { member, .. }
            | command::Fault::Invalid { member, .. }
            | command::Fault::Repeated { member } => Some(*member),
            command::Fault::Unknown { name, .. } => name.as_deref(),
        };
        Self::new(name, Location::Body, fault.for_sender())
    }

    /// Of a payload that cannot be used; none where that is not the matter of one place in it.
    pub(crate) fn of_payload(malformed: &Malformed) -> Option<Self> {
        let name = match malformed {
            Malformed::WrongType { member, .. } => *member,
            Malformed::Missing { member, .. } => Some(*member),
            Malformed::Empty
            | Malformed::Coding
            | Malformed::NotUtf8 { .. }
            | Malformed::Json { .. }
            | Malformed::Xml { .. }
            | Malformed::XmlEncoding
            | Malformed::DocumentType
            | Malformed::TooDeep
            | Malformed::TooManyItems
            | Malformed::TokenTooLong
            | Malformed::TooManyAttributes => return None,
        };
        Some(Self::new(name, Location::Body, malformed.to_string()))
    }
}

/// The faults as one sentence, without its end.
pub(crate) fn sentence(faults: &[Fault]) -> String {
    faults.iter().map(|fault| fault.detail.as_str()).collect::<Vec<_>>().join("; ")
}
