//! Who sent a request, as an extractor: a handler that has a principal cannot be reached without one.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION, request::Parts},
    response::IntoResponse,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The state of a service that knows who may use it. Each service has principals of its own kind: holders of API keys, or of
/// sessions.
pub trait Authenticate {
    /// Who is known.
    type Principal;
    /// Why a request is refused.
    type Refusal: IntoResponse;

    /// Finds out by a request's headers who sent it.
    ///
    /// # Errors
    /// Nobody is known by them.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Self::Principal, Self::Refusal>;
}

/// The authenticated sender of a request. A handler that takes `Result<Principal<P>, R>` answers the refusal itself, and can read the
/// body on before, so that the client gets to see the answer.
pub struct Principal<P>(pub P);

impl<S: Authenticate<Principal = P> + Sync, P> FromRequestParts<S> for Principal<P> {
    type Rejection = S::Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, S::Refusal> {
        state.authenticate(&parts.headers).map(Self)
    }
}

/// The API key in a request, as `X-API-Key` or as `Authorization: Bearer`; none where there is not exactly one.
#[must_use]
pub fn api_key(headers: &HeaderMap) -> Option<&[u8]> {
    let mut keys = headers.get_all(API_KEY).iter().map(HeaderValue::as_bytes);
    let mut tokens = headers.get_all(AUTHORIZATION).iter().map(|value| bearer(value.as_bytes()));
    match (keys.next(), keys.next(), tokens.next(), tokens.next()) {
        (Some(key), None, None, None) if !key.is_empty() => Some(key),
        (None, None, Some(Some(token)), None) if !token.is_empty() => Some(token),
        _ => None,
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}
