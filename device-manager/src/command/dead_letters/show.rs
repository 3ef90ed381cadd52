//! `device-manager dead-letters show`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use rdkafka::Message as _;
use schemas::{
    dead_letter::{Stage, header},
    receipt::ItemPosition,
    rejection::Reason,
};
use serde_json::{Value, json};
use service::cluster::Cluster;
use store::{
    audit,
    dead_letters::{Letter, LetterId},
};

use super::time;
use crate::{
    command::{
        KafkaArgs, connect,
        operator::OperatorArgs,
        payload::Payload,
        raw_log::{header_of, record},
        reach,
    },
    error::CommandError,
    output::Output,
};

/// Show what is known of a dead letter, what to do about it, and with --reveal what was refused.
///
/// With --reveal, the refused item is printed, or the payload if the dead letter does not have the item; the table `audit` records who
/// looked. `device-manager payload RECEIPT --reveal` prints the payload byte for byte.
#[derive(Args)]
pub(super) struct ShowCommand {
    /// The id, as `dead-letters list` shows it.
    #[arg(value_name = "ID")]
    id: LetterId,
    /// Print what was refused, which may contain health data. Requires KAFKA_BOOTSTRAP_SERVERS.
    #[arg(long)]
    reveal: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    operator: OperatorArgs,
    /// The address of the database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The brokers as host:port,host:port, for --reveal.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS")]
    kafka_bootstrap_servers: Option<String>,
    /// A prefix of every topic name, for installations that share a cluster.
    #[arg(long, env = "TOPIC_PREFIX", default_value = "")]
    topic_prefix: String,
    /// The topic epoch of the raw topics; the same as the ingress's.
    #[arg(long, env = "TOPIC_EPOCH", default_value_t = 0)]
    topic_epoch: u16,
}

pub(super) async fn run(args: &ShowCommand, output: &mut Output) -> Result<(), CommandError> {
    let mut connection = connect(&args.database_url).await?;
    let letter = super::find(&mut connection, &args.id).await?;
    let refused = if args.reveal {
        let refused = refused(args, &letter).await?;
        audit::record(&mut connection, &args.operator.name()?, "dead-letters show", &args.id.to_string()).await?;
        Some(refused)
    } else {
        None
    };
    if args.json {
        let mut object = object(&letter);
        if let (Some((_, bytes)), Value::Object(members)) = (&refused, &mut object) {
            let (name, text) = match std::str::from_utf8(bytes) {
                Ok(text) => ("refused", text.to_owned()),
                Err(_) => ("refused_base64", STANDARD.encode(bytes)),
            };
            members.insert(name.to_owned(), text.into());
        }
        output.json(&object)?;
        return Ok(());
    }
    for line in lines(&letter) {
        output.line(&line)?;
    }
    if let Some((what, bytes)) = refused {
        output.line(&format!("{what}, {} bytes:", bytes.len()))?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            output.line(line)?;
        }
    }
    Ok(())
}

/// The dead letter as JSON, with what to do about it.
pub(super) fn object(letter: &Letter) -> Value {
    let mut object = json!(letter);
    if let (Some(reason), Value::Object(members)) = (Reason::from_word(&letter.reason), &mut object) {
        members.insert("advice".to_owned(), reason.advice().into());
        members.insert("remedy".to_owned(), remedy(reason).into());
    }
    object
}

/// The page and the anchor that describe what to do about a reason.
fn remedy(reason: Reason) -> String {
    format!("docs/rejections.md#{}", reason.as_str())
}

fn lines(letter: &Letter) -> Vec<String> {
    let Letter { id, item_count, reason, detail, state, attempts, replay, .. } = letter;
    let text = |value: &Option<String>| value.clone();
    let items = match (id.item, *item_count) {
        (..0, _) => "the payload".to_owned(),
        (first, 1) => format!("item {first}"),
        (first, count) => format!("items {first} to {}", first.saturating_add(count - 1)),
    };
    let by = if *replay > 0 { format!("replay {replay}") } else { format!("the {}", id.stage) };
    let changed = letter.state_at.map(|at| {
        let who = letter.state_by.as_deref().unwrap_or("the sink");
        let why = letter.state_reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!(" since {} by {who}{why}", time(Some(at)))
    });
    let known = Reason::from_word(reason);
    let fields = [
        ("dead letter", Some(id.to_string())),
        ("state", Some(format!("{}{}", state.as_str(), changed.unwrap_or_default()))),
        ("refused", Some(format!("{items}, by the {}", id.stage))),
        ("reason", Some(format!("{reason}: {detail}"))),
        ("what to do", known.map(|reason| reason.advice().to_owned())),
        ("see", known.map(remedy)),
        (
            "attempts",
            Some(format!(
                "{attempts}, first {}, last {} by {by}",
                time(letter.first_attempt_at),
                time(letter.last_attempt_at)
            )),
        ),
        ("received", Some(time(letter.received_at))),
        ("receipt", text(&letter.receipt)),
        ("raw record", letter.raw_record.map(|raw| raw.to_string())),
        ("provider", text(&letter.provider)),
        ("format", text(&letter.format)),
        ("source", text(&letter.source)),
        ("credential", text(&letter.credential)),
        ("correlation id", text(&letter.correlation_id)),
        ("device", letter.device_key.map(|key| key.to_string())),
    ];
    fields.into_iter().filter_map(|(name, value)| Some(format!("{name}: {}", value?))).collect()
}

/// Returns what was refused, and what it is: the item that the dead letter has, else the payload, else the refused event.
async fn refused(args: &ShowCommand, letter: &Letter) -> Result<(&'static str, Vec<u8>), CommandError> {
    let Some(kafka_bootstrap_servers) = args.kafka_bootstrap_servers.clone() else {
        return Err(CommandError::usage("to show what was refused, name the brokers (KAFKA_BOOTSTRAP_SERVERS)"));
    };
    let cluster = KafkaArgs { kafka_bootstrap_servers, topic_prefix: args.topic_prefix.clone() }.cluster()?;
    reach(&cluster.settings).await?;
    let is_item = letter.id.stage == Stage::Normalizer.as_str() && letter.item_count == 1 && letter.id.item >= 0;
    // The dead letters are deleted after some time, but the raw records are kept.
    if is_item && let Some(item) = value(&cluster, letter).await.ok().filter(|item| !item.is_empty()) {
        return Ok(("the item", item));
    }
    let Some(raw) = letter.raw_record else {
        return Ok(("the event", value(&cluster, letter).await?));
    };
    let position = ItemPosition {
        topic: raw.topic,
        topic_epoch: u16::try_from(raw.topic_epoch).map_err(CommandError::usage)?,
        partition: raw.partition,
        offset: raw.offset,
        item: 0,
    };
    Ok(("the payload", Payload::open(cluster, args.topic_epoch, position).await?.into_body()))
}

/// The value of the message on the topic of dead letters.
async fn value(cluster: &Cluster, letter: &Letter) -> Result<Vec<u8>, CommandError> {
    let (cluster, partition, offset) = (cluster.clone(), letter.letter_partition, letter.letter_offset);
    let read = tokio::task::spawn_blocking(move || record(&cluster, &cluster.topics.dead_letters(), partition, offset));
    let read = read.await.map_err(|error| CommandError::failed("reading the dead letter", error))?;
    let message = read.map_err(|error| CommandError::failed("reading the dead letter", error))?;
    let LetterId { topic, partition, offset, .. } = &letter.id;
    let about = [
        (header::ORIGIN_TOPIC, topic.clone()),
        (header::ORIGIN_PARTITION, partition.to_string()),
        (header::ORIGIN_OFFSET, offset.to_string()),
    ];
    if about.iter().any(|(name, text)| header_of(&message, name) != Some(text)) {
        let why = "another message is at its position: the topic was recreated";
        return Err(CommandError::failed("reading the dead letter", why));
    }
    Ok(message.payload().unwrap_or_default().to_vec())
}
