//! The context of a request: the state that all requests share, and the correlation id. Also counts the requests.
//!
//! The context is an extractor through which each endpoint also responds, and not a middleware layer: axum boxes and moves the
//! future of every layer for every request.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse, Response},
};
use service::http::correlation::CorrelationId;

use crate::state::{AppState, Shared};

/// The context of one request. It must be the first argument of a handler, so that every request is counted.
pub(crate) struct RequestContext {
    pub(crate) correlation_id: CorrelationId,
    in_flight: InFlight,
}

impl FromRequestParts<AppState> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let in_flight = InFlight::begin(state.clone());
        Ok(Self { correlation_id: CorrelationId::of(&parts.headers), in_flight })
    }
}

impl RequestContext {
    pub(crate) fn shared(&self) -> &Shared {
        self.in_flight.0.shared()
    }

    pub(crate) fn answer(self, with: impl IntoResponse) -> Response {
        let mut response = with.into_response();
        self.correlation_id.add_to(&mut response);
        response
    }
}

/// Counts a request as in flight. The count also decreases if the client disconnects and the request is dropped.
struct InFlight(AppState);

impl InFlight {
    fn begin(state: AppState) -> Self {
        let meters = &state.shared().meters;
        meters.requests.increment(1);
        meters.in_flight.increment(1.0);
        Self(state)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.shared().meters.in_flight.decrement(1.0);
    }
}
