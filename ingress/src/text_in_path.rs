//! The variable part of a path.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

/// The variable part of a path as text. Bytes that are not UTF-8 become U+FFFD, which no format and no device id contains, so that
/// the endpoint refuses them as it refuses every other unknown word.
pub(crate) struct TextInPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for TextInPath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let decoded = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(decoded.map_or_else(|_not_utf8| char::REPLACEMENT_CHARACTER.to_string(), |Path(text)| text)))
    }
}
