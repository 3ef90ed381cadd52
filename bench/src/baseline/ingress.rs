//! The peer of the ingress: a bare axum handler that produces the body to Kafka and answers 200. It has no authentication, no
//! validation, no limits and no metrics.

use std::{net::SocketAddr, sync::Arc};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use bytes::Bytes;
use clap::Args;
use rdkafka::producer::{FutureProducer, FutureRecord};
use service::kafka::KafkaSettings;

use crate::{Result, wrk};

/// The arguments of the baseline.
#[derive(Args)]
pub(crate) struct IngressArgs {
    /// The address to listen on.
    #[arg(long)]
    address: SocketAddr,
    /// The bootstrap servers of Kafka.
    #[arg(long)]
    bootstrap: String,
    /// The topic to write.
    #[arg(long)]
    topic: String,
}

struct Handler {
    producer: FutureProducer,
    topic: String,
}

/// Serves until the process is ended.
pub(crate) async fn run(args: IngressArgs) -> Result<()> {
    let producer = KafkaSettings::new(&args.bootstrap).producer().create()?;
    let handler = Arc::new(Handler { producer, topic: args.topic });
    let router = Router::new().route(wrk::PATH, post(receive)).with_state(handler);
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(args.address)?;
    let listener = socket.listen(4_096)?;
    Ok(axum::serve(listener, router).await?)
}

async fn receive(State(handler): State<Arc<Handler>>, body: Bytes) -> axum::response::Response {
    let record: FutureRecord<'_, (), [u8]> = FutureRecord::to(&handler.topic).payload(&body);
    let Ok(delivery) = handler.producer.send_result(record) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    match delivery.await {
        Ok(Ok(kept)) => {
            Json(serde_json::json!({ "_id": format!("{}-{}", kept.partition, kept.offset) })).into_response()
        }
        Ok(Err(_)) | Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
