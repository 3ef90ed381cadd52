//! The routes.

use axum::{
    Router,
    extract::Request,
    response::Response,
    routing::{get, post},
};
use service::http::body;

use crate::{
    endpoint::{
        devices::{assign, unassign},
        docs,
        health_data::provider,
        openapi,
    },
    refusal::Refusal,
    request_context::RequestContext,
    state::AppState,
};

/// Returns the whole HTTP application, without a listener.
pub fn app(state: AppState) -> Router {
    let docs = if state.shared().has_docs { docs::router() } else { Router::new() };
    Router::new()
        .merge(provider::router())
        .route("/devices/assign", post(assign::assign))
        .route("/devices/{id}/unassign", post(unassign::unassign))
        .route("/openapi.json", get(openapi::openapi))
        .merge(docs)
        .fallback(async |context: RequestContext, request: Request| {
            refuse(Refusal::UnknownPath, context, request).await
        })
        .method_not_allowed_fallback(async |context: RequestContext, request: Request| {
            refuse(Refusal::Method, context, request).await
        })
        .with_state(state)
}

async fn refuse(refusal: Refusal, context: RequestContext, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    body::discard(&parts.headers, body).await;
    context.answer(refusal)
}
