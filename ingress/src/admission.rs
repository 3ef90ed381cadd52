//! The checks before a body is read: the credential, its permissions, and the headers of the request.

use std::sync::Arc;

use axum::http::{
    HeaderMap,
    header::{CONTENT_TYPE, HeaderName},
};
use schemas::format::{Format, Provider};
use service::http::principal::{self, Authenticate, Principal};
use time::OffsetDateTime;

use crate::{
    keys::{Credential, Scope},
    refusal::Refusal,
    state::AppState,
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Headers with which a client might try to name a patient.
const SUBJECTS: [HeaderName; 6] = [
    HeaderName::from_static("subject"),
    HeaderName::from_static("x-subject"),
    HeaderName::from_static("x-patient"),
    HeaderName::from_static("x-patient-id"),
    HeaderName::from_static("x-actor"),
    HeaderName::from_static("x-on-behalf-of"),
];

/// The credential of the request's API key, or the refusal.
pub(crate) type Authenticated = Result<Principal<Arc<Credential>>, Refusal>;

impl Authenticate for AppState {
    type Principal = Arc<Credential>;
    type Refusal = Refusal;

    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Credential>, Refusal> {
        let key = principal::api_key(headers).ok_or(Refusal::KeyMissing)?;
        let now = OffsetDateTime::now_utc();
        let credential = self.shared().keys.authenticate(key, now).map_err(|_| Refusal::KeyInvalid)?;
        if SUBJECTS.iter().any(|name| headers.contains_key(name)) {
            return Err(Refusal::SubjectHeader);
        }
        Ok(credential)
    }
}

/// Returns the sender's credential if it is permitted `scope` and, if given, `provider`.
pub(crate) fn admit(
    sender: Authenticated,
    scope: Scope,
    provider: Option<Provider>,
) -> Result<Arc<Credential>, Refusal> {
    let Principal(credential) = sender?;
    if credential.may(scope, provider) { Ok(credential) } else { Err(Refusal::Forbidden(scope)) }
}

/// Returns the format: from the path if it is named there, otherwise from the content type.
pub(crate) fn format(provider: Provider, named: Option<&str>, headers: &HeaderMap) -> Result<Format, Refusal> {
    if let Some(word) = named {
        let known = Format::parse(word).filter(|format| provider.formats().contains(format));
        return known.ok_or(Refusal::UnknownFormat(provider));
    }
    let media_type = content_type(headers).and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let media_type = if media_type.eq_ignore_ascii_case("text/xml") { "application/xml" } else { media_type };
    let selects = |format: &&Format| format.media_type().is_some_and(|known| known.eq_ignore_ascii_case(media_type));
    provider.formats().iter().find(selects).copied().ok_or(Refusal::ContentType(provider))
}

/// Returns the content type as text if it is at most 256 bytes long; only then is it stored.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).filter(|text| text.len() <= 256)
}

/// Returns `traceparent` if it is valid by W3C Trace Context, version 00.
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
