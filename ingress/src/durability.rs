//! Reports the durability of a 2xx response in the log and on `/ready`. It depends on the cluster, because the operator creates
//! the topics.

use std::{sync::Arc, time::Duration};

use rdkafka::ClientConfig;
use schemas::format::RawTopic;
use service::{
    cluster::Cluster,
    health::StageHealth,
    topics::{self, Durability},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::raw_log::kafka::KafkaLog;

/// The interval between attempts while the durability is unknown.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// The interval between checks once it is known: an operator may change the topics.
const CHECK_EVERY: Duration = Duration::from_mins(10);

/// Queries the durability of the raw topics until `shutdown`, and reports it when it becomes known or changes. An unavailable
/// cluster is not queried; the producer reports that it is unavailable.
pub(crate) async fn watch(log: Arc<KafkaLog>, cluster: Cluster, health: StageHealth, shutdown: CancellationToken) {
    let client = cluster.settings.client();
    let names: Vec<String> = RawTopic::ALL.iter().map(|topic| cluster.topics.raw(*topic)).collect();
    let mut known = None;
    loop {
        let found = if log.works() { query(client.clone(), names.clone()).await } else { None };
        if let Some(durability) = found.filter(|_| found != known) {
            report(durability, &health);
        }
        known = found.or(known);
        let pause = if found.is_some() { CHECK_EVERY } else { RETRY_EVERY };
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Queries the durability on a blocking thread, because the future is not `Send`.
async fn query(client: ClientConfig, names: Vec<String>) -> Option<Durability> {
    let runtime = Handle::current();
    let queried = tokio::task::spawn_blocking(move || runtime.block_on(topics::durability(&client, &names)));
    queried.await.ok()?.ok()?
}

fn report(durability: Durability, health: &StageHealth) {
    health.detail("durability", &durability.to_string());
    if durability.losses_survived() == 0 {
        tracing::warn!(%durability, "a 2xx response is as durable as the raw topics");
    } else {
        tracing::info!(%durability, "a 2xx response is as durable as the raw topics");
    }
}
