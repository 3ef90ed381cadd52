//! What a 2xx is worth on the cluster as it is: said in the log and on `/ready`, as the topics are the operator's to make.

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

/// How soon a cluster is looked at again that was away.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked at again: an operator may change it.
const EVERY: Duration = Duration::from_mins(10);

/// Asks for the raw topics' durability until `shutdown`, and says what it is when it is known or changes. A cluster that is away
/// is not asked: that it is away is said elsewhere.
pub(crate) async fn watch(log: Arc<KafkaLog>, cluster: Cluster, health: StageHealth, shutdown: CancellationToken) {
    let client = cluster.settings.client();
    let names: Vec<String> = RawTopic::ALL.iter().map(|topic| cluster.topics.raw(*topic)).collect();
    let mut known = None;
    loop {
        let found = if log.works() { ask(client.clone(), names.clone()).await } else { None };
        if let Some(durability) = found.filter(|_| found != known) {
            say(durability, &health);
        }
        known = found.or(known);
        let pause = if found.is_some() { EVERY } else { AGAIN };
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// On a thread that may block: the answer takes a while, and what waits for it cannot move between threads.
async fn ask(client: ClientConfig, names: Vec<String>) -> Option<Durability> {
    let runtime = Handle::current();
    let asked = tokio::task::spawn_blocking(move || runtime.block_on(topics::durability(&client, &names)));
    asked.await.ok()?.ok()?
}

fn say(durability: Durability, health: &StageHealth) {
    health.detail("durability", &durability.to_string());
    if durability.losses_survived() == 0 {
        tracing::warn!(%durability, "what is answered 2xx is as durable as the raw topics");
    } else {
        tracing::info!(%durability, "what is answered 2xx is as durable as the raw topics");
    }
}
