//! Why a request is refused, and the words, the status and the headers that say so.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use schemas::format::Provider;

use crate::{
    keys::Scope,
    problem::{self, Fault, Problem},
    wellformed::Malformed,
};

/// Seconds after which a client may try again when Kafka is away.
const RETRY_AFTER_SECONDS: u16 = 2;
const KEPT: &str = "It is kept under the receipt, and `device-manager trace` shows what became of it.";

/// Each decision against a request. A new one does not compile until its status and its words are decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
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
    /// The word for metrics and the problem's type.
    #[must_use]
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::KeyMissing => "key-missing",
            Self::KeyInvalid => "key-invalid",
            Self::SubjectHeader => "subject-header",
            Self::Forbidden(_) => "forbidden",
            Self::UnknownPath => "unknown-path",
            Self::UnknownFormat(_) => "unknown-format",
            Self::Method => "method-not-allowed",
            Self::ContentType(_) => "content-type",
            Self::ContentCoding => "content-coding",
            Self::Parameters(_) => "parameter",
            Self::TooLarge(_) => "too-large",
            Self::BodyTimeout => "body-timeout",
            Self::BodyBrokenOff => "body-broken-off",
            Self::Malformed(..) | Self::Command(..) => "malformed",
            Self::Unavailable => "unavailable",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::KeyMissing | Self::KeyInvalid => StatusCode::UNAUTHORIZED,
            Self::SubjectHeader
            | Self::Parameters(_)
            | Self::BodyBrokenOff
            | Self::Malformed(..)
            | Self::Command(..) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::UnknownPath | Self::UnknownFormat(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType(_) | Self::ContentCoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn title(&self) -> &'static str {
        match self {
            Self::KeyMissing => "API key missing",
            Self::KeyInvalid => "API key not valid",
            Self::SubjectHeader => "Patient named in a header",
            Self::Forbidden(_) => "API key without this right",
            Self::UnknownPath => "Unknown path",
            Self::UnknownFormat(_) => "Unknown format",
            Self::Method => "Method not allowed",
            Self::ContentType(_) => "Format not decided",
            Self::ContentCoding => "Content coding not supported",
            Self::Parameters(_) => "Query parameter not usable",
            Self::TooLarge(_) => "Body too large",
            Self::BodyTimeout => "Body too slow",
            Self::BodyBrokenOff => "Body broken off",
            Self::Malformed(..) => "Body malformed",
            Self::Command(..) => "Command not usable",
            Self::Unavailable => "Not accepted for now",
        }
    }

    /// The status in words as existing clients know them.
    const fn error(&self) -> &'static str {
        match self {
            Self::KeyMissing | Self::KeyInvalid => "Unauthorized",
            Self::SubjectHeader
            | Self::Parameters(_)
            | Self::BodyBrokenOff
            | Self::Malformed(..)
            | Self::Command(..) => "Bad request",
            Self::Forbidden(_) => "Forbidden",
            Self::UnknownPath | Self::UnknownFormat(_) => "Not found",
            Self::Method => "Method not allowed",
            Self::ContentType(_) | Self::ContentCoding => "Unsupported media type",
            Self::TooLarge(_) => "Payload too large",
            Self::BodyTimeout => "Request timeout",
            Self::Unavailable => "Service unavailable",
        }
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
            Self::Malformed(malformed, receipt) => (Fault::of_payload(&malformed).into_iter().collect(), Some(receipt)),
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
        let status = self.status().as_u16();
        let (word, title, error, detail) = (self.word(), self.title(), self.error(), self.detail());
        let (errors, receipt) = self.into_parts();
        Problem {
            kind: format!("urn:device-manager:problem:{word}"),
            title,
            status,
            status_code: status.to_string(),
            error,
            message: detail.clone(),
            detail,
            errors,
            receipt,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        metrics::counter!("device_manager_ingress_rejected_total", "reason" => self.word()).increment(1);
        let status = self.status();
        let body = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"device-manager\""));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}

fn formats(provider: Provider) -> String {
    let names: Vec<_> = provider.formats().iter().map(|format| format.as_str()).collect();
    names.join(", ")
}
