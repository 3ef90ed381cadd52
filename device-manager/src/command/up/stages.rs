//! Runs all stages in this process.

use std::time::Duration;

use ::replay::reconcile::{WatchConfig, watch};
use ingress::IngressConfig;
use service::{
    secret,
    topics::{Finding, Size, apply},
};
use sqlx::PgPool;
use store::role;

use super::context::{KEYS, UpContext};
use crate::{
    boot::Process,
    command::{database, normalizer as normalizer_command, sink as sink_command},
    error::CommandError,
};

/// Several partitions, to show that nothing depends on there being only one.
const PARTITIONS: i32 = 3;
/// The time between two comparisons of what outcomes promise with what is stored.
const ACCOUNT_EVERY: Duration = Duration::from_mins(1);

/// Applies topics and migrations, and starts ingress, normalizer and sink. Returns the address of the ingress when all are
/// ready.
pub(super) async fn launch(process: &mut Process, context: &UpContext) -> Result<String, CommandError> {
    let cluster = &context.cluster;
    let (client, size) = (cluster.settings.client(), Size { partitions: PARTITIONS, replication: -1 });
    for (topic, finding) in apply(&client, &cluster.topics, size).await? {
        if let Finding::LongerRetention { setting, is, must_be } = finding {
            tracing::warn!(
                topic,
                setting,
                is,
                must_be,
                "records are kept longer than required: `device-manager topics apply --yes` lowers the setting"
            );
        }
    }
    let pool = PgPool::connect_with(database(&context.database_url)?).await?;
    store::migrate::migrate(&pool).await.map_err(|error| CommandError::failed("applying the migrations", error))?;
    if context.has_own_database {
        let mut connection = pool.acquire().await?;
        role::apply(&mut connection).await.map_err(|error| CommandError::failed("the role for analysts", error))?;
    }
    pool.close().await;

    let receipt_key_file = context.receipt_key_file.clone();
    let receipt_secret =
        secret::load_or_create(&receipt_key_file).map_err(|error| CommandError::failed("the receipt key", error))?;
    let mut config = IngressConfig::new(context.data_dir.join(KEYS), receipt_key_file);
    config.address.set_port(context.http_port);
    let failed = |error| CommandError::failed("the ingress (choose another --http-port)", error);
    let listener = ingress::listen(&config).map_err(failed)?;
    let address = listener.local_addr().map_err(|error| CommandError::failed("the ingress's port", error))?;

    let shutdown = process.shutdown.clone();
    let health = process.health.stage("normalizer");
    let group = "device-manager-normalizer".to_owned();
    let normalizer = normalizer_command::config(cluster.clone(), group, config.topic_epoch, &receipt_secret)?;
    let (database_url, every) = (context.database_url.clone(), ACCOUNT_EVERY);
    let watch_config = WatchConfig { normalizer: normalizer.clone(), database_url, every };
    process.stage("the comparison of outcomes with rows", watch(watch_config, shutdown.clone()));
    process.stage("the normalizer", ::normalizer::run(normalizer, health, shutdown.clone()));
    let health = process.health.stage("sink");
    let sink = sink_command::config(
        cluster.clone(),
        context.database_url.clone(),
        "device-manager-sink".to_owned(),
        &receipt_secret,
    )?;
    process.stage("the sink", ::sink::run(sink, health, shutdown.clone()));
    let health = process.health.stage("ingress");
    process.stage("the ingress", ingress::run(config, listener, cluster.clone(), health, shutdown));
    until_ready(process).await?;
    Ok(format!("http://{address}"))
}

/// Waits until all stages are ready, or one has ended.
async fn until_ready(process: &mut Process) -> Result<(), CommandError> {
    const LIMIT: Duration = Duration::from_secs(60);
    let (health, shutdown) = (process.health.clone(), process.shutdown.clone());
    let ready = async {
        while !health.is_ready() && !shutdown.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::select! {
        // First: a stage that has ended asks the others to end.
        biased;
        Some(ended) = process.next_ended() => return ended,
        waited = tokio::time::timeout(LIMIT, ready) => waited,
    };
    waited.map_err(|_elapsed| {
        let stages = health.stages().into_iter();
        let waiting: Vec<String> =
            stages.filter_map(|(name, stage)| stage.waiting.map(|reason| format!("{name}: {reason}"))).collect();
        CommandError::failed("starting the stages", format!("still waiting after 60 s: {}", waiting.join("; ")))
    })
}
