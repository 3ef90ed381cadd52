//! The routes.

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{get, post},
};

use crate::{
    body,
    endpoint::{assign, docs, health_data, openapi, unassign},
    exchange::Exchange,
    refusal::Refusal,
    state::AppState,
};

/// The whole HTTP application, without a port.
pub fn app(state: AppState) -> Router {
    let docs = if state.shared().has_docs { docs::router() } else { Router::new() };
    Router::new()
        .route("/health-data/medisante", post(health_data::medisante))
        .route("/health-data/medisante/{format}", post(health_data::medisante_format))
        .route("/health-data/healthkit", post(health_data::healthkit))
        .route("/health-data/healthkit/{format}", post(health_data::healthkit_format))
        .route("/devices/assign", post(assign::assign))
        .route("/devices/{id}/unassign", post(unassign::unassign))
        .route("/openapi.json", get(openapi::openapi))
        .merge(docs)
        .fallback(async |state: State<AppState>, request: Request| refuse(Refusal::UnknownPath, &state, request).await)
        .method_not_allowed_fallback(async |state: State<AppState>, request: Request| {
            refuse(Refusal::Method, &state, request).await
        })
        .with_state(state)
}

async fn refuse(refusal: Refusal, state: &AppState, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let exchange = Exchange::begin(state, &parts.headers);
    body::discard(&parts.headers, body).await;
    exchange.answer(refusal)
}
