//! Why a request is refused, and the words, the status and the headers that say so.

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

const KEPT: &str = "It is kept under the receipt, and `device-manager trace` shows what became of it.";

/// Each decision against a request. A new one does not compile until its status and its words are decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No API key was shown, or more than one.
    KeyMissing,
    /// The key is unknown, not valid yet or no longer valid; which of them is not told.
    KeyInvalid,
    /// The request names a patient in a header, which only a signed token may do.
    SubjectHeader,
    /// The key is not good for this.
    Forbidden(Scope),
    /// Nothing is served at this path.
    UnknownPath,
    /// The path names a format that the provider does not send.
    UnknownFormat(Provider),
    /// The path is served, but not with this method.
    Method,
    /// The content type does not decide the format.
    ContentType(Provider),
    /// The content coding is not understood, or several are stacked.
    ContentCoding,
    /// Query parameters are unknown or cannot be used.
    Parameters(Vec<Fault>),
    /// The body is larger than the limit in bytes.
    TooLarge(usize),
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body broke off, or its framing is broken.
    BodyBrokenOff,
    /// The payload is kept under this receipt, but it cannot be used as a whole.
    Malformed(Malformed, String),
    /// The device command is kept under this receipt, but it cannot be used.
    Command(Vec<Fault>, String),
    /// The body was not acknowledged by Kafka in time.
    Unavailable,
}

impl Refusal {
    /// The word for metrics and the problem's URI, the status and the title.
    pub(crate) const fn problem_type(&self) -> ProblemType {
        let (word, status, title) = match self {
            Self::KeyMissing => ("key-missing", StatusCode::UNAUTHORIZED, "API key missing"),
            Self::KeyInvalid => ("key-invalid", StatusCode::UNAUTHORIZED, "API key not valid"),
            Self::SubjectHeader => ("subject-header", StatusCode::BAD_REQUEST, "Patient named in a header"),
            Self::Forbidden(_) => ("forbidden", StatusCode::FORBIDDEN, "API key without this right"),
            Self::UnknownPath => ("unknown-path", StatusCode::NOT_FOUND, "Unknown path"),
            Self::UnknownFormat(_) => ("unknown-format", StatusCode::NOT_FOUND, "Unknown format"),
            Self::Method => ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
            Self::ContentType(_) => ("content-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "Format not decided"),
            Self::ContentCoding => {
                ("content-coding", StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content coding not supported")
            }
            Self::Parameters(_) => ("parameter", StatusCode::BAD_REQUEST, "Query parameter not usable"),
            Self::TooLarge(_) => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "Body too large"),
            Self::BodyTimeout => ("body-timeout", StatusCode::REQUEST_TIMEOUT, "Body too slow"),
            Self::BodyBrokenOff => ("body-broken-off", StatusCode::BAD_REQUEST, "Body broken off"),
            Self::Malformed(..) => ("malformed", StatusCode::BAD_REQUEST, "Body malformed"),
            Self::Command(..) => ("malformed", StatusCode::BAD_REQUEST, "Command not usable"),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "Not accepted for now"),
        };
        ProblemType { word, status, title }
    }

    fn detail(&self) -> String {
        match self {
            Self::KeyMissing => {
                "Send exactly one API key, as X-API-Key or as Authorization: Bearer. The operator makes one with \
                 `device-manager keys create`."
                    .to_owned()
            }
            Self::KeyInvalid => {
                "The API key is unknown, not valid yet, expired or revoked. Ask the operator for a valid one.".to_owned()
            }
            Self::SubjectHeader => {
                "A patient cannot be named in a header of the request. Leave the header out; the patient is known by the \
                 device's assignment."
                    .to_owned()
            }
            Self::Forbidden(scope) => format!(
                "This needs a key with the scope {} for this provider. Ask the operator for one.",
                scope.as_str()
            ),
            Self::UnknownPath => {
                "Served are POST /health-data/medisante, POST /health-data/healthkit (each also with /{format}), POST \
                 /devices/assign and POST /devices/{id}/unassign; see /openapi.json."
                    .to_owned()
            }
            Self::UnknownFormat(provider) => format!(
                "The formats of {} are {}. Without a format in the path, the Content-Type decides.",
                provider.as_str(),
                formats(*provider)
            ),
            Self::Method => "This path is served with the methods in the Allow header.".to_owned(),
            Self::ContentType(provider) => format!(
                "The Content-Type does not decide the format. Send application/json, application/fhir+json, \
                 application/fhir+xml or application/xml, or name the format in the path: {}.",
                formats(*provider)
            ),
            Self::ContentCoding => {
                "Send the body plain, or with one Content-Encoding out of gzip, deflate and zstd.".to_owned()
            }
            Self::Parameters(faults) => format!("The query cannot be used: {}.", problem::sentence(faults)),
            Self::TooLarge(limit) => format!(
                "The body may have {limit} bytes, also after its content coding is undone. Split the payload."
            ),
            Self::BodyTimeout => "The body did not arrive in time. Send it again.".to_owned(),
            Self::BodyBrokenOff => "The body broke off or its framing is broken. Send it again.".to_owned(),
            // Of an export what stands before the fault becomes readings, of every other body nothing.
            Self::Malformed(malformed, _) => format!("The body cannot be used: {malformed}. {KEPT}"),
            Self::Command(faults, _) => format!("The command cannot be used: {}. {KEPT}", problem::sentence(faults)),
            Self::Unavailable => {
                "The body could not be kept in time. Send it again: what is kept twice is counted once.".to_owned()
            }
        }
    }

    /// The faults, and where the body was kept.
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
            | Self::BodyBrokenOff
            | Self::Unavailable => (Vec::new(), None),
        }
    }

    /// The problem document.
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
            BodyError::BrokenOff => Self::BodyBrokenOff,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        metrics::counter!("device_manager_ingress_rejected_total", "reason" => self.problem_type().word).increment(1);
        self.problem().into_response()
    }
}

/// The fault of a payload that cannot be used; none where that is not the matter of one place in it.
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
