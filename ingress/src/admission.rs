//! What is decided before a body is read: who sends, whether they may, and what the request's head says.

use std::sync::Arc;

use axum::http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName},
};
use schemas::format::{Format, Provider};
use time::OffsetDateTime;

use crate::{
    keys::{Credential, KeyRing, Scope},
    refusal::Refusal,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Headers by which a client might try to name a patient.
const SUBJECTS: [HeaderName; 6] = [
    HeaderName::from_static("subject"),
    HeaderName::from_static("x-subject"),
    HeaderName::from_static("x-patient"),
    HeaderName::from_static("x-patient-id"),
    HeaderName::from_static("x-actor"),
    HeaderName::from_static("x-on-behalf-of"),
];

/// Finds the sender and checks the right.
pub(crate) fn admit(
    keys: &KeyRing,
    headers: &HeaderMap,
    scope: Scope,
    provider: Option<Provider>,
    now: OffsetDateTime,
) -> Result<Arc<Credential>, Refusal> {
    let credential = keys.authenticate(shown_key(headers)?, now).map_err(|_| Refusal::KeyInvalid)?;
    if SUBJECTS.iter().any(|name| headers.contains_key(name)) {
        return Err(Refusal::SubjectHeader);
    }
    if !credential.may(scope, provider) {
        return Err(Refusal::Forbidden(scope));
    }
    Ok(credential)
}

/// The key in the request: exactly one.
fn shown_key(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    let mut keys = headers.get_all(API_KEY).iter().map(HeaderValue::as_bytes);
    let mut tokens = headers.get_all(AUTHORIZATION).iter().map(|value| bearer(value.as_bytes()));
    match (keys.next(), keys.next(), tokens.next(), tokens.next()) {
        (Some(key), None, None, None) if !key.is_empty() => Ok(key),
        (None, None, Some(Some(token)), None) if !token.is_empty() => Ok(token),
        _ => Err(Refusal::KeyMissing),
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// The format: from the path where it is named there, else from the content type.
pub(crate) fn format(provider: Provider, named: Option<&str>, headers: &HeaderMap) -> Result<Format, Refusal> {
    if let Some(word) = named {
        let known = Format::parse(word).filter(|format| provider.formats().contains(format));
        return known.ok_or(Refusal::UnknownFormat(provider));
    }
    let media_type = content_type(headers).and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    match (media_type.to_ascii_lowercase().as_str(), provider) {
        ("application/json", _) => Ok(Format::StandardJson),
        ("application/fhir+json", _) => Ok(Format::FhirJson),
        ("application/fhir+xml", _) => Ok(Format::FhirXml),
        ("application/xml" | "text/xml", Provider::Medisante) => Ok(Format::StandardXml),
        ("application/xml" | "text/xml", Provider::HealthKit) => Ok(Format::ExportXml),
        _ => Err(Refusal::ContentType(provider)),
    }
}

/// The content type as text, if it is one that can be kept.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).filter(|text| text.len() <= 256)
}

/// `traceparent` where it has the form of W3C Trace Context, version 00.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let has_id = |part: &str| part.bytes().any(|byte| byte != b'0');
    let valid = parts.next().is_none()
        && version == "00"
        && is_hex(trace, 32)
        && has_id(trace)
        && is_hex(parent, 16)
        && has_id(parent)
        && is_hex(flags, 2);
    valid.then_some(text)
}
