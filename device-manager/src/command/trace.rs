//! `device-manager trace RECEIPT`.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use normalizer::{group_of, mapped_until};
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use schemas::{
    receipt::{Position, ReceiptKey},
    topic::Topics,
};
use service::kafka::KafkaSettings;
use sqlx::PgConnection;
use store::trace::{self as rows, TracedLetter, TracedOutcome, TracedReading};

use super::{CommandError, KafkaArgs, Output, asking_postgres, connect, reach, receipt_secret};

const ANSWER: Duration = Duration::from_secs(10);

/// Follow a receipt: where its payload lies, what became of it, or where it still waits.
///
/// Exit code 0 when all of it has arrived, as rows, as dead letters, or as a device command; 1 while some of it still waits.
#[derive(Args)]
#[command(after_help = "Example:
  . .device-manager/env; device-manager trace AAAB…")]
pub struct TraceCommand {
    /// The receipt, as the ingress answered it or as the view attributed_readings shows it.
    receipt: String,
    /// The database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The file with the secret that signs receipts; the ingress's.
    #[arg(long, env = "RECEIPT_KEY_FILE", default_value = ".device-manager/receipt.key")]
    receipt_key_file: PathBuf,
    /// Where the brokers are asked what a payload waits for; without them, only the database is.
    #[command(flatten)]
    kafka: KafkaArgs,
    /// The consumer group that all normalizers of the installation share.
    #[arg(long, env = "NORMALIZER_GROUP", default_value = "device-manager-normalizer")]
    group: String,
}

/// Runs the command.
///
/// # Errors
/// The word is no receipt of this installation, or the database or Kafka is away.
pub async fn run(args: TraceCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let secret = receipt_secret(&args.receipt_key_file)?;
    let position = ReceiptKey::new(&secret).and_then(|key| key.read(&args.receipt)).map_err(CommandError::usage)?;
    let Position { topic, partition, offset, item, .. } = position;
    output.line(&format!("raw record: {} partition {partition} offset {offset}, item {item}", topic.as_str()))?;
    let mut connection = connect(&args.database_url).await?;
    let found = Found::load(&mut connection, &position).await.map_err(asking_postgres)?;
    for line in found.lines(item) {
        output.line(&line)?;
    }
    if found.has_arrived() {
        return Ok(ExitCode::SUCCESS);
    }
    let next = rows::next_offsets(&mut connection).await.map_err(asking_postgres)?;
    output.line(&waits(args, position, found.outcome, next).await?)?;
    Ok(ExitCode::from(1))
}

/// What the database has of a payload.
pub(super) struct Found {
    outcome: Option<TracedOutcome>,
    readings: Vec<TracedReading>,
    letters: Vec<TracedLetter>,
    verdict: Option<String>,
}

impl Found {
    pub(super) async fn load(connection: &mut PgConnection, position: &Position) -> Result<Self, sqlx::Error> {
        Ok(Self {
            outcome: rows::outcome(connection, position).await?,
            readings: rows::readings(connection, position).await?,
            letters: rows::letters(connection, position).await?,
            verdict: rows::verdict(connection, position).await?,
        })
    }

    /// Whether everything that the outcome promises is there: the events of a payload reach the database in any order.
    pub(super) fn has_arrived(&self) -> bool {
        let Some(outcome) = self.outcome else { return false };
        let readings: BTreeSet<i32> = self.readings.iter().map(|reading| reading.item).collect();
        let letters = |stage: &str| -> i64 {
            let of_stage = self.letters.iter().filter(|letter| letter.stage == stage);
            of_stage.map(|letter| i64::from(letter.item_count)).sum()
        };
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let reaches = |count: i64, promised: i32| count >= i64::from(promised);
        reaches(count(readings.len()) + letters("sink"), outcome.readings)
            && reaches(letters("normalizer"), outcome.rejections)
            && reaches(i64::from(self.verdict.is_some()), outcome.commands)
    }

    fn lines(&self, item: u32) -> Vec<String> {
        let outcome = self.outcome.map(|outcome| {
            let TracedOutcome { items, readings, commands, rejections, mapping_version } = outcome;
            format!(
                "normalized by mapping {mapping_version}: {items} items, {readings} readings, {commands} commands, \
                 {rejections} rejections"
            )
        });
        let readings = self.readings.iter().map(|reading| {
            let what = reading.display.as_deref().or(reading.code.as_deref()).unwrap_or("a value without a code");
            format!(
                "item {}: reading {} ({}), {what}, {}, patient by {}",
                reading.item, reading.reading_id, reading.state, reading.status, reading.attribution
            )
        });
        let letters = self.letters.iter().map(|letter| {
            let place = match (letter.item, letter.item_count) {
                (..0, _) => "the payload".to_owned(),
                (item, 1) => format!("item {item}"),
                (item, count) => format!("items {item} to {}", item.saturating_add(count - 1)),
            };
            let asked = i32::try_from(item).is_ok_and(|item| letter.item_count > 1 && letter.covers(item));
            let among = if asked { format!(", item {item} among them") } else { String::new() };
            format!("{place}{among}: dead letter of the {}: {}: {}", letter.stage, letter.reason, letter.detail)
        });
        let verdict = self.verdict.iter().map(|verdict| format!("device command: {verdict}"));
        outcome.into_iter().chain(readings).chain(letters).chain(verdict).collect()
    }
}

/// Where what has not arrived is.
async fn waits(
    args: TraceCommand,
    position: Position,
    outcome: Option<TracedOutcome>,
    next: Vec<(String, i32, i64)>,
) -> Result<String, CommandError> {
    if args.kafka.kafka_bootstrap_servers.is_none() {
        return Ok(match outcome {
            Some(_) => "the rest of its events wait for the sink".to_owned(),
            None => "not in the database yet: name the brokers (KAFKA_BOOTSTRAP_SERVERS) to see what it waits for"
                .to_owned(),
        });
    }
    let (settings, topics) = (args.kafka.settings()?, Topics::new(&args.kafka.topic_prefix));
    reach(&settings).await?;
    let asked = move || {
        ask(&settings, &topics, &args.group, (position, next))
            .map_err(|error| CommandError::failed("asking Kafka", error))
    };
    tokio::task::spawn_blocking(asked).await.map_err(|error| CommandError::failed("asking Kafka", error))?
}

/// Asks the brokers how far normalizer and sink are. Blocks.
fn ask(
    settings: &KafkaSettings,
    topics: &Topics,
    group: &str,
    (position, next): (Position, Vec<(String, i32, i64)>),
) -> Result<String, KafkaError> {
    let Position { topic, partition, offset, .. } = position;
    let raw = topics.raw(topic);
    let consumer: BaseConsumer = settings.client().set("group.id", group_of(group, topic)).create()?;
    let (start, end) = consumer.fetch_watermarks(&raw, partition, ANSWER)?;
    if !(start..end).contains(&offset) {
        return Ok(format!(
            "{raw} partition {partition} holds {start} to {end}: the record was deleted, or this is another Kafka"
        ));
    }
    let mut list = TopicPartitionList::new();
    list.add_partition(&raw, partition);
    let committed = consumer.committed_offsets(list, ANSWER)?;
    let read = committed.find_partition(&raw, partition).and_then(|found| {
        let offset = found.offset().to_raw().filter(|offset| *offset >= 0)?;
        Some(mapped_until(offset, found.metadata()))
    });
    let read = read.unwrap_or(start);
    if read <= offset {
        return Ok(format!(
            "it waits for the normalizer, which has {} records of this partition before it",
            offset - read
        ));
    }
    let mut behind = 0;
    for (topic, partition, next) in next {
        let (_, end) = consumer.fetch_watermarks(&topic, partition, ANSWER)?;
        behind += end.saturating_sub(next).max(0);
    }
    Ok(format!("normalized; it waits for the sink, which has {behind} events before it or behind it"))
}
