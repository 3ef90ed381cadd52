//! The problem document (RFC 9457) that every answer beside 2xx has, and the faults in it. Nothing of the request's content is in
//! it beyond the names of its members and parameters.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Seconds after which a client may try again when the service cannot work for now.
const RETRY_AFTER_SECONDS: u16 = 2;

/// What all problems of one type have in common. Each service has a closed list of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemType {
    /// Ends the URI of the type, and stands in metrics.
    pub word: &'static str,
    /// The status.
    pub status: StatusCode,
    /// The type in words.
    pub title: &'static str,
}

/// The body of every answer that is not 2xx.
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem; compare this, not the texts.
    #[serde(rename = "type")]
    type_uri: String,
    /// The kind of problem in words.
    title: &'static str,
    /// The status code.
    status: u16,
    /// What is wrong with this request, and the way out.
    detail: String,
    /// The status code as a string, for existing clients.
    #[serde(rename = "statusCode")]
    status_code: String,
    /// The status in words, for existing clients.
    error: String,
    /// The same as `detail`, for existing clients.
    message: String,
    /// All faults, each with the member of the body or the query parameter that it is about; absent where it is about neither.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: Vec<Fault>,
    /// Where the body was kept although it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
}

impl Problem {
    /// A problem of this type, without faults and without a receipt.
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

    /// The same with these faults.
    #[must_use]
    pub fn with_errors(self, errors: Vec<Fault>) -> Self {
        Self { errors, ..self }
    }

    /// The same with the receipt of the body that was kept.
    #[must_use]
    pub fn with_receipt(self, receipt: Option<String>) -> Self {
        Self { receipt, ..self }
    }
}

impl IntoResponse for Problem {
    /// The status, the headers that belong to it, and the document.
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

/// The status in words as existing clients know them, such as "Not found".
fn words(status: StatusCode) -> String {
    let mut words = status.canonical_reason().unwrap_or_default().to_ascii_lowercase();
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

/// What is wrong with one member of the body, one query parameter or one part of the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// The exact name; absent where the fault has none, or where the name may be content in a wrong place.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Where it stands, or should.
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
    /// A fault of what has this name and stands there.
    #[must_use]
    pub fn new(name: Option<&str>, location: Location, detail: String) -> Self {
        Self { name: name.map(str::to_owned), location, detail }
    }
}

/// The faults as one sentence, without its end.
#[must_use]
pub fn sentence(faults: &[Fault]) -> String {
    faults.iter().map(|fault| fault.detail.as_str()).collect::<Vec<_>>().join("; ")
}
