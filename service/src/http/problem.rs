//! The problem document (RFC 9457) that is the body of every response other than 2xx, and the faults that it lists. It repeats
//! nothing of the request except the names of its members and parameters.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// The `Retry-After` of a 503 response, in seconds.
const RETRY_AFTER_SECONDS: u16 = 2;

/// The properties that all problems of one type share. Each service has its own closed list of types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemType {
    /// The last part of the type's URI; also a label value in metrics.
    pub word: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// A short description of the type.
    pub title: &'static str,
}

/// The body of every response other than 2xx.
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// A URI that identifies the problem type. Clients should compare this, not the texts.
    #[serde(rename = "type")]
    type_uri: String,
    /// A short description of the problem type.
    title: &'static str,
    /// The HTTP status code.
    status: u16,
    /// What is wrong with this request, and how to correct it.
    detail: String,
    /// The HTTP status code as a string, for existing clients.
    #[serde(rename = "statusCode")]
    status_code: String,
    /// The reason phrase of the status, for existing clients.
    error: String,
    /// The same as `detail`, for existing clients.
    message: String,
    /// All faults, each with the member of the body or the parameter that it concerns. Absent if there are none.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: Vec<Fault>,
    /// The receipt of the body, if the body was stored although the request was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
}

impl Problem {
    /// Creates a problem of this type, without faults and without a receipt.
    #[must_use]
    pub fn new(of: ProblemType, detail: String) -> Self {
        let ProblemType { word, status, title } = of;
        Self {
            type_uri: format!("urn:device-manager:problem:{word}"),
            title,
            status: status.as_u16(),
            status_code: status.as_str().to_owned(),
            error: words(status),
            message: detail.clone(),
            detail,
            errors: Vec::new(),
            receipt: None,
        }
    }

    /// Sets the faults.
    #[must_use]
    pub fn with_errors(self, errors: Vec<Fault>) -> Self {
        Self { errors, ..self }
    }

    /// Sets the receipt of the stored body.
    #[must_use]
    pub fn with_receipt(self, receipt: Option<String>) -> Self {
        Self { receipt, ..self }
    }
}

impl IntoResponse for Problem {
    /// Builds the response: the status, its headers, and the document.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
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

/// Returns the reason phrase in the spelling that existing clients expect, such as "Not found".
fn words(status: StatusCode) -> String {
    let mut words = status.canonical_reason().unwrap_or_default().to_ascii_lowercase();
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

/// A fault in one member of the body, one query parameter or one part of the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// The exact name. Absent if the fault concerns no named part, or if the name itself may be misplaced content.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The part of the request that the fault is in.
    #[serde(rename = "in")]
    location: Location,
    /// What is wrong.
    detail: String,
}

/// A part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// The body.
    Body,
    /// The query of the URL.
    Query,
    /// The path of the URL.
    Path,
}

impl Fault {
    /// Creates a fault in the part of the request that has this name and location.
    #[must_use]
    pub fn new(name: Option<&str>, location: Location, detail: String) -> Self {
        Self { name: name.map(str::to_owned), location, detail }
    }
}

/// Returns the details of the faults, joined by semicolons, without a final full stop.
#[must_use]
pub fn sentence(faults: &[Fault]) -> String {
    faults.iter().map(|fault| fault.detail.as_str()).collect::<Vec<_>>().join("; ")
}
