//! `device-manager trace`: follows a payload.

pub(super) mod report;
mod waiting;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use schemas::receipt::{ItemPosition, ReceiptKey};
use service::cluster::Cluster;
use sqlx::{Connection as _, PgConnection};
use store::trace::{Progress, next_offsets};
use time::OffsetDateTime;

use super::{
    KafkaArgs, database,
    raw_log::{self, Search, Wanted},
    reach, receipt_secret,
    since::Since,
};
use crate::{
    error::CommandError,
    output::{Output, remark},
};

/// Follow a payload by its receipt or its correlation id: where it is stored, what became of it, or what it waits for.
///
/// For a payload with many items, counts and the first few items of each kind are shown. A word that is not a receipt of
/// this installation is treated as a correlation id, the X-Correlation-ID of a request. It is searched for in the headers
/// of the raw records since --since, which requires KAFKA_BOOTSTRAP_SERVERS.
///
/// Exit code 0 if all of it has arrived, as rows, as dead letters, or as a device command; 1 if some of it still waits, if
/// no record has the correlation id, if more payloads have it than are shown (--all shows all), or if there is no answer within
/// --timeout-seconds.
#[derive(Args)]
#[command(after_help = "Examples:
  . .device-manager/env; device-manager trace AAAB…
  device-manager trace order-4711 --since 7d
  device-manager trace AAAB… --json | jq .waits_for")]
pub struct TraceCommand {
    /// The receipt, from the answer of the ingress or from the view attributed_readings; or the X-Correlation-ID of a request.
    #[arg(value_name = "RECEIPT_OR_CORRELATION_ID")]
    word: String,
    /// Print one JSON object for each payload.
    #[arg(long)]
    json: bool,
    /// List all readings and dead letters, and all payloads with the correlation id, however many there are.
    #[arg(long)]
    all: bool,
    /// Where the search for a correlation id starts: a duration before now, such as 90m, 24h or 7d, or a time, such as
    /// 2026-01-31T00:00:00Z. Compared with the time at which Kafka received a record.
    #[arg(long, default_value = "24h")]
    since: Since,
    /// The time limit for the answers of Postgres and Kafka, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout_seconds: u32,
    /// The address of the database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The file with the secret that signs receipts; the same as the ingress's.
    #[arg(long, env = "RECEIPT_KEY_FILE", default_value = ".device-manager/receipt.key")]
    receipt_key_file: PathBuf,
    /// The brokers as host:port,host:port. They are asked what a payload waits for, and searched for a correlation id. Without
    /// them, only the database is queried.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS")]
    kafka_bootstrap_servers: Option<String>,
    /// A prefix of every topic name, for installations that share a cluster.
    #[arg(long, env = "TOPIC_PREFIX", default_value = "")]
    topic_prefix: String,
    /// The consumer group that all normalizers of the installation share.
    #[arg(long, env = "NORMALIZER_GROUP", default_value = "device-manager-normalizer")]
    group: String,
    /// The topic epoch of the raw topics; the same as the ingress's. A search requires it.
    #[arg(long, env = "TOPIC_EPOCH", default_value_t = 0)]
    topic_epoch: u16,
}

/// Runs the command.
///
/// # Errors
/// The word is neither a receipt nor a correlation id, or the database or Kafka does not answer in time.
pub async fn run(args: TraceCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let timeout = Duration::from_secs(args.timeout_seconds.into());
    // A search ends a little earlier, so that it can report how far it got.
    let traced = trace(&args, Instant::now() + timeout.mul_f32(0.9), output);
    tokio::time::timeout(timeout, traced).await.unwrap_or_else(|_elapsed| {
        let why = format!("there was no answer within {} s (--timeout-seconds)", args.timeout_seconds);
        Err(CommandError::failed("following the payload", why))
    })
}

async fn trace(args: &TraceCommand, deadline: Instant, output: &mut Output) -> Result<ExitCode, CommandError> {
    let secret = receipt_secret(&args.receipt_key_file)?;
    let key = ReceiptKey::new(&secret).map_err(CommandError::usage)?;
    if args.word.is_empty() || args.word.len() > 128 || !args.word.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CommandError::usage(
            "this is neither a receipt nor a correlation id, which has 1 to 128 visible ASCII characters",
        ));
    }
    let cluster = args.cluster()?;
    let (positions, is_cut) = match (key.read(&args.word), &cluster) {
        (Ok(position), _) => (vec![position], false),
        (Err(error), None) => {
            return Err(CommandError::usage(format!(
                "{error}; to search for it as a correlation id, name the brokers (KAFKA_BOOTSTRAP_SERVERS)"
            )));
        }
        (Err(_), Some(cluster)) => search(args, cluster, deadline).await?,
    };
    let mut connection = connect(args).await?;
    let mut is_complete = !is_cut;
    for position in positions {
        let report = report::Report {
            receipt: key.issue(&position),
            position,
            progress: Progress::load(&mut connection, &position).await?,
            waits_for: None,
        };
        is_complete &= show(args, cluster.as_ref(), report, &mut connection, output).await?;
    }
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Shows what became of one payload. Returns whether all of it has arrived.
async fn show(
    args: &TraceCommand,
    cluster: Option<&Cluster>,
    mut report: report::Report,
    connection: &mut PgConnection,
    output: &mut Output,
) -> Result<bool, CommandError> {
    let is_complete = report.progress.is_complete();
    if !is_complete {
        report.waits_for = Some(match (cluster, &report.progress.outcome) {
            (Some(cluster), _) => {
                let next = next_offsets(connection).await?;
                waiting::explain(cluster, &args.group, report.position, next).await?
            }
            (None, Some(_)) => "the rest of its events wait for the sink".to_owned(),
            (None, None) => {
                "it is not in the database yet. Name the brokers (KAFKA_BOOTSTRAP_SERVERS) to see what it waits for"
                    .to_owned()
            }
        });
    }
    if args.json {
        report.json(connection, args.all, output).await?;
    } else {
        report.text(connection, args.all, output).await?;
    }
    Ok(is_complete)
}

/// The number of payloads that are shown without --all: some clients give every request the same id.
const PAYLOADS_MAX: usize = 20;

/// Searches for the payloads whose request had the correlation id. Returns them, and whether there are more.
async fn search(
    args: &TraceCommand,
    cluster: &Cluster,
    deadline: Instant,
) -> Result<(Vec<ItemPosition>, bool), CommandError> {
    reach(&cluster.settings).await?;
    let search = Search {
        cluster: cluster.clone(),
        wanted: Wanted { correlation_id: Some(args.word.clone()), ..Wanted::default() },
        topic_epoch: args.topic_epoch,
        since: args.since.moment(OffsetDateTime::now_utc()),
        until: None,
        deadline,
        payloads_max: if args.all { usize::MAX } else { PAYLOADS_MAX },
    };
    let searched = tokio::task::spawn_blocking(move || search.run()).await;
    let found = searched
        .map_err(|error| CommandError::failed("searching the raw topics", error))?
        .map_err(|error| CommandError::failed("searching the raw topics", error))?;
    if found.payloads.is_empty() {
        let why = format!(
            "it is not a receipt of this installation, and none of the {} raw records since {} has it as correlation id \
             (an earlier --since searches further back)",
            found.records, args.since
        );
        return Err(CommandError::failed("following the payload", why));
    }
    if found.is_cut {
        let shown = found.payloads.len();
        remark(&format!("more payloads have this correlation id: the first {shown} are shown; --all shows all"));
    }
    Ok((found.payloads.into_iter().map(|payload| payload.position).collect(), found.is_cut))
}

impl TraceCommand {
    fn cluster(&self) -> Result<Option<Cluster>, CommandError> {
        let servers = self.kafka_bootstrap_servers.clone();
        servers
            .map(|kafka_bootstrap_servers| {
                KafkaArgs { kafka_bootstrap_servers, topic_prefix: self.topic_prefix.clone() }.cluster()
            })
            .transpose()
    }
}

/// Opens a connection on which Postgres ends a query when nothing waits for it any more.
async fn connect(args: &TraceCommand) -> Result<PgConnection, CommandError> {
    let timeout = ("statement_timeout", format!("{}s", args.timeout_seconds));
    let options = database(&args.database_url)?.options([timeout]);
    Ok(PgConnection::connect_with(&options).await?)
}
