//! The authenticated sender of a request as an extractor: a handler with a [`Principal`] parameter cannot run for an
//! unauthenticated request.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION, request::Parts},
    response::IntoResponse,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The state of a service that authenticates requests. Each service defines its own kind of principal, such as the holder of an
/// API key or of a session.
pub trait Authenticate {
    /// The authenticated sender.
    type Principal;
    /// Why a request is refused.
    type Refusal: IntoResponse;

    /// Authenticates the sender of a request by its headers.
    ///
    /// # Errors
    /// The headers identify no known sender.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Self::Principal, Self::Refusal>;
}

/// The authenticated sender of a request. A handler that takes `Result<Principal<P>, R>` sends the refusal itself. It can read
/// the rest of the body first, so that the client receives the response.
pub struct Principal<P>(pub P);

impl<S: Authenticate<Principal = P> + Sync, P> FromRequestParts<S> for Principal<P> {
    type Rejection = S::Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, S::Refusal> {
        state.authenticate(&parts.headers).map(Self)
    }
}

/// Returns the API key of a request, from `X-API-Key` or `Authorization: Bearer`; `None` unless there is exactly one.
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
