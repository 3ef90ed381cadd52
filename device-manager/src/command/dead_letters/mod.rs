//! `device-manager dead-letters list|show|redrive|discard`.

mod redrive;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use schemas::{event::DeviceId, format::Provider, identity::device_key, rejection::Reason};
use store::dead_letters::{self, Letter, LetterFilter, LetterId, LetterState};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{connect, operator::OperatorArgs, since::Since};
use crate::{
    error::CommandError,
    output::{Output, counted, remark},
};

/// List, show, redrive and discard dead letters: items and payloads that were refused.
///
/// A refused item is never lost: its payload stays on the raw topic. A dead letter is open until a redrive or a replay accepts its
/// items, which resolves it, or until an operator discards it. docs/dead-letters.md says what to do about each reason.
#[derive(Args)]
#[command(after_help = "Examples:
  . .device-manager/env; device-manager dead-letters list --since 24h
  device-manager dead-letters list --reason unit-missing --source portal --json | jq -r .id
  device-manager dead-letters show raw.healthkit:0:2:17:3:normalizer
  device-manager dead-letters redrive --reason format-not-read --since 30d    # after an upgrade
  device-manager dead-letters discard raw.healthkit:0:2:17:3:normalizer --reason 'test data of the vendor'")]
pub struct DeadLettersCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    List(ListCommand),
    Show(show::ShowCommand),
    Redrive(redrive::RedriveCommand),
    Discard(DiscardCommand),
}

/// List dead letters, without payloads: those whose items were refused last come first.
#[derive(Args)]
struct ListCommand {
    #[command(flatten)]
    filter: FilterArgs,
    /// The maximum number of dead letters.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    limit: i64,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    /// The address of the database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

/// Which dead letters are meant.
#[derive(Args)]
struct FilterArgs {
    /// Only those with this reason, such as unit-missing.
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
    /// Only those about this device: the id that the payload gives, or the _id of device commands.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Only those about payloads of this provider: medisante or healthkit.
    #[arg(long, value_parser = provider)]
    provider: Option<Provider>,
    /// Only those about payloads of this source, the stable name of a sender.
    #[arg(long)]
    source: Option<String>,
    /// Only those whose items were refused since then: a duration before now, such as 24h or 7d, or a time, such as
    /// 2026-01-31T00:00:00Z.
    #[arg(long)]
    since: Option<Since>,
    /// Only those whose items were refused before that; as --since.
    #[arg(long)]
    until: Option<Since>,
    /// Only those in these states: open, redriven, resolved, discarded.
    #[arg(long, value_delimiter = ',', default_values = ["open", "redriven"], value_parser = state)]
    state: Vec<LetterState>,
}

/// Discard dead letters about which nothing is to be done, after `yes` is read from standard input.
///
/// A discarded dead letter is not listed by default. It is open again if a replay refuses the items for another reason.
#[derive(Args)]
struct DiscardCommand {
    /// The ids, as `dead-letters list` shows them.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<LetterId>,
    /// Why nothing is to be done, up to 200 characters. Must not contain health data.
    #[arg(long, value_parser = why)]
    reason: String,
    /// Discard them without asking.
    #[arg(long)]
    yes: bool,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    operator: OperatorArgs,
    /// The address of the database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

fn reason(word: &str) -> Result<String, String> {
    let all = || Reason::ALL.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(", ");
    Reason::from_word(word).map(|reason| reason.as_str().to_owned()).ok_or_else(|| format!("the reasons are {}", all()))
}

pub(super) fn provider(word: &str) -> Result<Provider, &'static str> {
    Provider::parse(word).ok_or("the providers are medisante and healthkit")
}

fn state(word: &str) -> Result<LetterState, &'static str> {
    LetterState::from_word(word).ok_or("the states are open, redriven, resolved and discarded")
}

fn why(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 200 || text.chars().any(char::is_control) {
        return Err("1 to 200 characters, none of them a control character");
    }
    Ok(text.to_owned())
}

/// Returns the keys of the devices that an operator may mean: by the `_id`, and by the id that payloads of each provider give.
pub(super) fn device_keys(text: &str) -> Vec<Uuid> {
    let id = DeviceId::parse(text).ok();
    let of_providers = Provider::ALL.iter().filter_map(|provider| Some(device_key(*provider, id.as_ref()?)));
    text.parse().ok().into_iter().chain(of_providers).collect()
}

impl FilterArgs {
    /// Whether there is a condition besides the state.
    fn is_restricted(&self) -> bool {
        let Self { reason, device, provider, source, since, until, state: _ } = self;
        [reason.is_some(), device.is_some(), provider.is_some(), source.is_some(), since.is_some(), until.is_some()]
            .contains(&true)
    }

    fn filter(&self) -> LetterFilter {
        let now = OffsetDateTime::now_utc();
        LetterFilter {
            states: self.state.clone(),
            reason: self.reason.clone(),
            device_keys: self.device.as_deref().map(device_keys),
            provider: self.provider.map(|provider| provider.as_str().to_owned()),
            source: self.source.clone(),
            since: self.since.as_ref().map(|since| since.moment(now)),
            until: self.until.as_ref().map(|until| until.moment(now)),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A dead letter does not exist or cannot be discarded, nobody confirms, or the database or Kafka does not answer.
pub async fn run(args: DeadLettersCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    match args.action {
        Action::List(args) => list(&args, output).await?,
        Action::Show(args) => show::run(&args, output).await?,
        Action::Redrive(args) => return redrive::run(&args, output).await,
        Action::Discard(args) => discard(&args, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &ListCommand, output: &mut Output) -> Result<(), CommandError> {
    let mut connection = connect(&args.database_url).await?;
    // One more shows whether there are more.
    let mut letters = dead_letters::list(&mut connection, &args.filter.filter(), args.limit.saturating_add(1)).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let is_cut = letters.len() > limit;
    letters.truncate(limit);
    for letter in &letters {
        if args.json { output.json(&show::object(letter))? } else { output.line(&line(letter))? }
    }
    if letters.is_empty() && !args.json {
        output.line("no dead letter matches")?;
    }
    if is_cut {
        remark(&format!("there are more: the first {limit} are shown (--limit)"));
    }
    Ok(())
}

async fn discard(args: &DiscardCommand, output: &mut Output) -> Result<(), CommandError> {
    let operator = args.operator.name()?;
    let mut connection = connect(&args.database_url).await?;
    let mut letters = Vec::with_capacity(args.ids.len());
    for id in &args.ids {
        let letter = find(&mut connection, id).await?;
        if !LetterState::UNSETTLED.contains(&letter.state) {
            let why = format!("{id} is {} already", letter.state.as_str());
            return Err(CommandError::failed("nothing was discarded", why));
        }
        letters.push(letter);
    }
    if !args.yes {
        confirm(&letters)?;
    }
    let discarded = dead_letters::discard(&mut connection, &args.ids, &operator, &args.reason).await?;
    if discarded != args.ids.len() as u64 {
        return Err(CommandError::failed(
            "nothing was discarded",
            "a dead letter has changed meanwhile, or is named twice",
        ));
    }
    for id in &args.ids {
        let letter = find(&mut connection, id).await?;
        if args.json { output.json(&show::object(&letter))? } else { output.line(&line(&letter))? }
    }
    Ok(())
}

async fn find(connection: &mut sqlx::PgConnection, id: &LetterId) -> Result<Letter, CommandError> {
    let found = dead_letters::get(connection, id).await?;
    found.ok_or_else(|| CommandError::failed("finding the dead letter", format!("there is no dead letter {id}")))
}

/// Asks for a confirmation on standard error, and reads the answer from standard input.
fn confirm(letters: &[Letter]) -> Result<(), CommandError> {
    for letter in letters {
        remark(&line(letter));
    }
    let count = i64::try_from(letters.len()).unwrap_or(i64::MAX);
    remark(&format!("discard {}? Their items stay refused. Type yes:", counted(count, "dead letter")));
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|error| CommandError::failed("reading the answer", error))?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(CommandError::failed("nothing was discarded", "nobody typed yes (--yes discards without asking)")),
    }
}

fn line(letter: &Letter) -> String {
    let Letter { id, item_count, reason, detail, state, attempts, .. } = letter;
    let at = time(letter.last_attempt_at.or(letter.received_at));
    let (items, attempts) = (counted(*item_count, "item"), counted(*attempts, "attempt"));
    let by = match (&letter.state_by, &letter.state_reason) {
        (Some(operator), Some(why)) => format!(" by {operator}: {why}"),
        (Some(operator), None) => format!(" by {operator}"),
        (None, _) => String::new(),
    };
    let source = letter.source.as_deref().unwrap_or("unknown");
    format!("{id}\t{reason}: {detail}\t{items}, {attempts}, last {at}, source {source}\t{}{by}", state.as_str())
}

/// Formats a time, to the second.
pub(super) fn time(at: Option<OffsetDateTime>) -> String {
    let to_second = at.and_then(|at| at.replace_nanosecond(0).ok());
    to_second.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| "unknown".to_owned())
}
