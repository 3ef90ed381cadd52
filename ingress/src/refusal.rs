//! The reasons for refusing a request, with their statuses and texts.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use schemas::format::Provider;
use service::http::{
    body::BodyError,
    problem::{self, Fault, Location, Problem, ProblemType},
};

use crate::{keys::Scope, wellformed::Malformed};

const KEPT: &str = "It is stored under the receipt; `device-manager trace` shows its outcome.";

/// A reason for refusing a request. A new variant does not compile until its status and texts are defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No API key was sent, or more than one.
    KeyMissing,
    /// The key is unknown, not valid yet or expired; the response does not say which.
    KeyInvalid,
    /// The request names a patient in a header. Only a signed token could prove who the patient is.
    SubjectHeader,
    /// The key lacks the permission.
    Forbidden(Scope),
    /// The path does not exist.
    UnknownPath,
    /// The path names a format that is not accepted from the provider.
    UnknownFormat(Provider),
    /// The path exists, but not with this method.
    Method,
    /// The content type does not determine the format.
    ContentType(Provider),
    /// The content coding is unknown, or several codings are combined.
    ContentCoding,
    /// Query parameters are unknown or invalid.
    Parameters(Vec<Fault>),
    /// The body is larger than the limit in bytes.
    TooLarge(usize),
    /// The body did not arrive in time.
    BodyTimeout,
    /// The client closed the connection before the end of the body, or the framing is invalid.
    BodyIncomplete,
    /// The payload was stored with this receipt, but it is malformed as a whole.
    Malformed(Malformed, String),
    /// The device command was stored with this receipt, but it is invalid.
    Command(Vec<Fault>, String),
    /// Kafka did not acknowledge the body in time.
    Unavailable,
}

impl Refusal {
    /// Returns the word for metrics and for the problem's URI, the status, and the title.
    pub(crate) const fn problem_type(&self) -> ProblemType {
        let (word, status, title) = match self {
            Self::KeyMissing => ("key-missing", StatusCode::UNAUTHORIZED, "API key missing"),
            Self::KeyInvalid => ("key-invalid", StatusCode::UNAUTHORIZED, "API key not valid"),
            Self::SubjectHeader => ("subject-header", StatusCode::BAD_REQUEST, "Patient named in a header"),
            Self::Forbidden(_) => ("forbidden", StatusCode::FORBIDDEN, "API key lacks permission"),
            Self::UnknownPath => ("unknown-path", StatusCode::NOT_FOUND, "Unknown path"),
            Self::UnknownFormat(_) => ("unknown-format", StatusCode::NOT_FOUND, "Unknown format"),
            Self::Method => ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            Self::ContentType(_) => ("content-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "Format not determined"),
            Self::ContentCoding => {
                ("content-coding", StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content coding not supported")
            }
            Self::Parameters(_) => ("parameter", StatusCode::BAD_REQUEST, "Query parameter invalid"),
            Self::TooLarge(_) => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "Body too large"),
            Self::BodyTimeout => ("body-timeout", StatusCode::REQUEST_TIMEOUT, "Body too slow"),
            Self::BodyIncomplete => ("body-broken-off", StatusCode::BAD_REQUEST, "Body incomplete"),
            Self::Malformed(..) => ("malformed", StatusCode::BAD_REQUEST, "Body malformed"),
            Self::Command(..) => ("malformed", StatusCode::BAD_REQUEST, "Command invalid"),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable"),
        };
        ProblemType { word, status, title }
    }

    fn detail(&self) -> String {
        match self {
            Self::KeyMissing => {
                "Send exactly one API key, as X-API-Key or as Authorization: Bearer. The operator creates one with \
                 `device-manager keys create`."
                    .to_owned()
            }
            Self::KeyInvalid => {
                "The API key is unknown, not valid yet, expired or revoked. Ask the operator for a valid one.".to_owned()
            }
            Self::SubjectHeader => {
                "A patient cannot be named in a header of the request. Remove the header; the patient is determined by the \
                 device's assignment."
                    .to_owned()
            }
            Self::Forbidden(scope) => format!(
                "This request needs a key with the scope {} for this provider. Ask the operator for one.",
                scope.as_str()
            ),
            Self::UnknownPath => {
                let payloads: Vec<_> =
                    Provider::ALL.iter().map(|provider| format!("POST /health-data/{}", provider.as_str())).collect();
                format!(
                    "The paths are {} (each also with /{{format}}), POST /devices/assign and POST /devices/{{id}}/unassign; see \
                     /openapi.json.",
                    payloads.join(", ")
                )
            }
            Self::UnknownFormat(provider) => format!(
                "The formats of {} are {}. If the path has no format, the Content-Type determines it.",
                provider.as_str(),
                formats(*provider)
            ),
            Self::Method => "This path supports the methods in the Allow header.".to_owned(),
            Self::ContentType(provider) => {
                let media_types: Vec<_> =
                    provider.formats().iter().filter_map(|format| format.media_type()).collect();
                format!(
                    "The Content-Type does not determine the format. Send {}, or name the format in the path: {}.",
                    media_types.join(", "),
                    formats(*provider)
                )
            }
            Self::ContentCoding => {
                "Send the body without a Content-Encoding, or with exactly one of gzip, deflate and zstd.".to_owned()
            }
            Self::Parameters(faults) => format!("The query is invalid: {}.", problem::sentence(faults)),
            Self::TooLarge(limit) => format!(
                "The body may have at most {limit} bytes, before and after its content coding is decoded. Split the payload."
            ),
            Self::BodyTimeout => "The body did not arrive in time. Send it again.".to_owned(),
            Self::BodyIncomplete => "The body ended early or its framing is invalid. Send it again.".to_owned(),
            // The text says only "cannot be used": the records of an export before the fault still become readings; any other
            // body yields none.
            Self::Malformed(malformed, _) => format!("The body cannot be used: {malformed}. {KEPT}"),
            Self::Command(faults, _) => format!("The command is invalid: {}. {KEPT}", problem::sentence(faults)),
            Self::Unavailable => {
                "The body could not be stored in time. Send it again: a body that is stored twice is counted once.".to_owned()
            }
        }
    }

    /// Returns the faults and the receipt.
    fn into_parts(self) -> (Vec<Fault>, Option<String>) {
        match self {
            Self::Parameters(faults) => (faults, None),
            Self::Malformed(malformed, receipt) => (payload_fault(&malformed).into_iter().collect(), Some(receipt)),
            Self::Command(faults, receipt) => (faults, Some(receipt)),
            Self::KeyMissing
            | Self::KeyInvalid
            | Self::SubjectHeader
            | Self::Forbidden(_)
            | Self::UnknownPath
            | Self::UnknownFormat(_)
            | Self::Method
            | Self::ContentType(_)
            | Self::ContentCoding
            | Self::TooLarge(_)
            | Self::BodyTimeout
            | Self::BodyIncomplete
            | Self::Unavailable => (Vec::new(), None),
        }
    }

    /// Returns the problem document.
    pub(crate) fn problem(self) -> Problem {
        let problem = Problem::new(self.problem_type(), self.detail());
        let (errors, receipt) = self.into_parts();
        problem.with_errors(errors).with_receipt(receipt)
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Coding => Self::ContentCoding,
            BodyError::TooLarge(limit) => Self::TooLarge(limit),
            BodyError::Timeout => Self::BodyTimeout,
            BodyError::Incomplete => Self::BodyIncomplete,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        metrics::counter!("device_manager_ingress_rejected_total", "reason" => self.problem_type().word).increment(1);
        self.problem().into_response()
    }
}

/// Returns the fault of a malformed payload; `None` if the fault does not concern one member or the top level.
fn payload_fault(malformed: &Malformed) -> Option<Fault> {
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
    Some(Fault::new(name, Location::Body, malformed.to_string()))
}

fn formats(provider: Provider) -> String {
    let names: Vec<_> = provider.formats().iter().map(|format| format.as_str()).collect();
    names.join(", ")
}
