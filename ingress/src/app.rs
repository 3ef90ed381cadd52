//! The routes, and what surrounds each request.

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use metrics::Gauge;

use crate::{
    body,
    endpoint::{assign, docs, health_data, openapi, unassign},
    refusal::Refusal,
    state::{AppState, CORRELATION_ID, CorrelationId},
};

/// The whole HTTP application, without a port.
pub fn app(state: AppState) -> Router {
    Router::new()
        .route("/health-data/medisante", post(health_data::medisante))
        .route("/health-data/medisante/{format}", post(health_data::medisante_format))
        .route("/health-data/healthkit", post(health_data::healthkit))
        .route("/health-data/healthkit/{format}", post(health_data::healthkit_format))
        .route("/devices/assign", post(assign::assign))
        .route("/devices/{id}/unassign", post(unassign::unassign))
        .route("/openapi.json", get(openapi::openapi))
        .merge(docs::router())
        .fallback(|request: Request| refuse(Refusal::UnknownPath, request))
        .method_not_allowed_fallback(|request: Request| refuse(Refusal::Method, request))
        .layer(from_fn_with_state(state.clone(), surround))
        .with_state(state)
}

async fn refuse(refusal: Refusal, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts.headers, body).await;
    refusal.into_response()
}

/// Counts the request and gives it its correlation id.
async fn surround(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    state.shared().meters.requests.increment(1);
    let _in_flight = InFlight::begin(&state.shared().meters.in_flight);
    let correlation_id = CorrelationId::of(request.headers().get(CORRELATION_ID));
    request.extensions_mut().insert(correlation_id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(CORRELATION_ID, correlation_id.into_value());
    response
}

/// Counts down also when the client goes away and the request is dropped.
struct InFlight(Gauge);

impl InFlight {
    fn begin(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
