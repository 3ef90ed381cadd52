//! `device-manager find`: lists payloads and what became of them.

mod by_header;
mod by_holder;
mod report;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use schemas::{
    event::PatientId,
    format::Provider,
    receipt::{ItemPosition, RawPosition, ReceiptKey},
};
use service::cluster::Cluster;
use sqlx::{Connection as _, PgConnection};
use store::audit;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    database,
    dead_letters::{device_keys, provider},
    installation::InstallationArgs,
    operator::OperatorArgs,
    since::Since,
};
use crate::{error::CommandError, output::Output};

/// Find payloads and what became of them: by patient, device, sender, request or time.
///
/// For a patient or a device, the answer has the devices and who held them, the payloads with their readings, duplicates and refused
/// items, the device commands, and how many raw records are still on their way. Of a reading that is attributed to somebody else, it says
/// `another patient`; --reveal adds the id, and the table `audit` records who looked. No value of a reading is shown.
///
/// Otherwise the headers of the raw records since --since are searched. A patient or a device is found in the database by indexes on the
/// devices; repeated, corrected and claimed readings by the positions of the time span, so a longer one takes longer.
///
/// Exit code 0 if a payload was found, 1 if none was.
#[derive(Args)]
#[command(after_help = "Examples:
  . .device-manager/env; device-manager find --patient patient-77
  device-manager find --device 350000000000001 --since 7d
  device-manager find --source portal --since 2026-01-31T08:00:00Z --until 2026-01-31T08:05:00Z
  device-manager find --correlation-id order-4711 --json | jq .payloads")]
pub struct FindCommand {
    /// Payloads of this patient: of the devices that were ever assigned to the patient, and those that name the patient.
    #[arg(long, value_name = "ID", value_parser = patient, conflicts_with_all = ["device", "correlation_id"])]
    patient: Option<PatientId>,
    /// Payloads of this device: the id that the payload gives, or the _id of device commands.
    #[arg(long, value_name = "ID", conflicts_with = "correlation_id")]
    device: Option<String>,
    /// Payloads of the request with this X-Correlation-ID. The metadata.correlationId of a message is another one: it identifies a reading.
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Only payloads of this source, the stable name of a sender.
    #[arg(long)]
    source: Option<String>,
    /// Only payloads of this provider: medisante or healthkit.
    #[arg(long, value_parser = provider)]
    provider: Option<Provider>,
    /// Only payloads that Kafka received since then: a duration before now, such as 90m, 24h or 7d, or a time, such as
    /// 2026-01-31T00:00:00Z.
    #[arg(long, default_value = "24h")]
    since: Since,
    /// Only payloads that Kafka received before that; as --since.
    #[arg(long)]
    until: Option<Since>,
    /// The maximum number of payloads.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Show the ids of other patients.
    #[arg(long)]
    reveal: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// The time limit for the answers of Postgres and Kafka, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout_seconds: u32,
    #[command(flatten)]
    operator: OperatorArgs,
    #[command(flatten)]
    installation: InstallationArgs,
}

fn patient(text: &str) -> Result<PatientId, String> {
    PatientId::parse(text).map_err(|error| error.to_string())
}

/// What a search needs.
struct Finder<'a> {
    args: &'a FindCommand,
    cluster: Cluster,
    connection: PgConnection,
    key: ReceiptKey,
    since: OffsetDateTime,
    until: OffsetDateTime,
    deadline: Instant,
}

impl Finder<'_> {
    /// The receipt of a raw record.
    fn receipt(&self, raw: RawPosition) -> Option<String> {
        let RawPosition { topic, topic_epoch, partition, offset } = raw;
        let topic_epoch = u16::try_from(topic_epoch).ok()?;
        Some(self.key.issue(&ItemPosition { topic, topic_epoch, partition, offset, item: 0 }))
    }
}

/// Runs the command.
///
/// # Errors
/// The database or Kafka does not answer in time.
pub async fn run(args: FindCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let timeout = Duration::from_secs(args.timeout_seconds.into());
    // A search ends a little earlier, so that it can report how far it got.
    let found = find(&args, Instant::now() + timeout.mul_f32(0.9), output);
    tokio::time::timeout(timeout, found).await.unwrap_or_else(|_elapsed| {
        let why = format!("there was no answer within {} s (--timeout-seconds)", args.timeout_seconds);
        Err(CommandError::failed("finding payloads", why))
    })
}

async fn find(args: &FindCommand, deadline: Instant, output: &mut Output) -> Result<ExitCode, CommandError> {
    let (_, key) = args.installation.secret()?;
    let cluster = args.installation.cluster().await?;
    // Postgres ends a query when nothing waits for it any more.
    let timeout = ("statement_timeout", format!("{}s", args.timeout_seconds));
    let options = database(&args.installation.database_url)?.options([timeout]);
    let now = OffsetDateTime::now_utc();
    let mut finder = Finder {
        args,
        cluster,
        connection: PgConnection::connect_with(&options).await?,
        key,
        since: args.since.moment(now),
        until: args.until.as_ref().map_or(now, |until| until.moment(now)),
        deadline,
    };
    if args.reveal {
        let operator = args.operator.name()?;
        audit::record(&mut finder.connection, &operator, "find", &described(args)).await?;
    }
    let devices: Option<Vec<Uuid>> = args.device.as_deref().map(device_keys);
    let report = match (&args.patient, devices) {
        (None, None) => finder.by_header().await?,
        (patient, devices) => finder.by_holder(patient.as_ref(), devices.unwrap_or_default()).await?,
    };
    if args.json {
        output.json(&report)?;
    } else {
        for line in report.lines() {
            output.line(&line)?;
        }
    }
    Ok(ExitCode::from(u8::from(report.payloads.is_empty())))
}

/// What the command was asked for, for the audit.
fn described(args: &FindCommand) -> String {
    let conditions = [
        ("patient", args.patient.as_ref().map(|patient| patient.as_str().to_owned())),
        ("device", args.device.clone()),
        ("correlation id", args.correlation_id.clone()),
        ("source", args.source.clone()),
        ("provider", args.provider.map(|provider| provider.as_str().to_owned())),
        ("since", Some(args.since.to_string())),
        ("until", args.until.as_ref().map(ToString::to_string)),
    ];
    let given = conditions.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    given.collect::<Vec<_>>().join(", ")
}
