//! The management port: `/live`, `/ready` and `/metrics`, separate from the port that clients use.

use std::time::Duration;

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::health::Health;

#[derive(Clone)]
struct Management {
    health: Health,
    metrics: PrometheusHandle,
}

/// How often the metrics recorder runs its upkeep. The recorder stores every sample of a histogram until it is scraped or its
/// upkeep runs, and a process may never be scraped.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

/// Serves until `shutdown`, and runs the recorder's upkeep meanwhile.
///
/// # Errors
/// An I/O error of the listener.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let recorder = metrics.clone();
    let _upkeep = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut interval = tokio::time::interval(UPKEEP_EVERY);
        loop {
            interval.tick().await;
            recorder.run_upkeep();
        }
    }));
    let app = Router::new()
        .route("/live", get(|| async { "alive\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(|State(management): State<Management>| async move { management.metrics.render() }))
        .with_state(Management { health, metrics });
    axum::serve(listener, app).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn ready(State(management): State<Management>) -> impl IntoResponse {
    let stages = management.health.stages();
    let is_ready = management.health.is_ready();
    let stages: Map<String, Value> = stages
        .into_iter()
        .map(|(name, stage)| {
            let state = json!({
                "ready": stage.waiting.is_none(),
                "degraded": stage.degraded,
                "waiting": stage.waiting,
                "details": stage.details,
            });
            (name.to_owned(), state)
        })
        .collect();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": is_ready, "stages": stages })))
}
