//! `device-manager keys create|list|revoke`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use ingress::keys::{KeySummary, KeysError, NewKey, Scope, create, list, revoke};
use schemas::format::Provider;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::provider_name;
use crate::{
    error::{CommandError, chain},
    output::{Output, remark},
};

/// Create, list and revoke the API keys of senders.
///
/// The file contains only hashes. A running ingress notices a change within seconds. To rotate a key, create a second one
/// with the same --source, give it to the sender, and revoke the first.
#[derive(Args)]
#[command(after_help = "Examples:
  device-manager keys create --source portal --scope health-data:write --provider medisante
  API_KEY=$(device-manager keys create --source app --scope health-data:write | tail -n 1)
  device-manager keys create --source rn-app --scope health-data:write --defaults react-native-health
  device-manager keys list --json | jq -r 'select(.expires_at == null) | .id'
  device-manager keys revoke key-1a2b3c4d")]
pub struct KeysCommand {
    #[command(subcommand)]
    action: Action,
    /// The keys file.
    #[arg(long, env = "KEYS_FILE", default_value = "keys.json", global = true)]
    file: PathBuf,
    /// Print one JSON object for each key that `create` creates, `list` shows or `revoke` removes.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Create a key. Prints its id, then its secret on a line of its own. The secret is shown only once.
    Create(Create),
    /// Show all keys, without secrets.
    List,
    /// Remove a key, after `yes` is read from standard input. A running ingress answers requests with the key 401 within two
    /// seconds.
    Revoke {
        /// The key's id, as `keys list` shows it.
        id: String,
        /// Remove it without asking.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args)]
struct Create {
    /// The stable name of the sender. Keys that replace each other share it, because it is part of the identity of every
    /// reading.
    #[arg(long)]
    source: String,
    /// What the key permits: health-data:write, devices:write. May be given more than once.
    #[arg(long = "scope", required = true, value_parser = scope)]
    scopes: Vec<Scope>,
    /// The providers that the key may send for. By default all.
    #[arg(long = "provider", value_parser = provider_name())]
    providers: Vec<Provider>,
    /// The library whose documented defaults apply to HealthKit samples without a unit: react-native-health. The query
    /// parameter `defaults` of a request takes precedence. Without both, such a sample is refused if its type has several
    /// units.
    #[arg(long)]
    defaults: Option<String>,
    /// The id of the key. By default a random one.
    #[arg(long)]
    id: Option<String>,
    /// The time from which the key is valid, RFC 3339.
    #[arg(long, value_parser = moment)]
    not_before: Option<OffsetDateTime>,
    /// The time from which the key is no longer valid, RFC 3339.
    #[arg(long, value_parser = moment)]
    expires_at: Option<OffsetDateTime>,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read or written, the id exists already or does not exist, or nobody confirms.
pub fn run(args: KeysCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    match args.action {
        Action::Create(new) => {
            let providers: Vec<String> = new.providers.iter().map(|provider| provider.as_str().to_owned()).collect();
            let providers = (!providers.is_empty()).then_some(providers);
            let (id, secret) = create(
                &args.file,
                NewKey {
                    id: new.id,
                    source: new.source,
                    scopes: new.scopes,
                    providers,
                    defaults: new.defaults,
                    not_before: new.not_before,
                    expires_at: new.expires_at,
                },
            )?;
            let printed = if args.json {
                remark("the secret is shown only once");
                output.json(&json!({"id": id, "secret": secret.reveal()}))
            } else {
                output.line(&format!("id: {id}")).and_then(|()| {
                    remark("the next line is the secret of the key, which is shown only once");
                    output.line(secret.reveal())
                })
            };
            if printed.is_err() {
                remark(&format!("the key {id} exists, but its secret could not be printed: revoke the key"));
            }
            printed?;
        }
        Action::List => {
            for key in list(&args.file)? {
                if args.json { output.json(&object(&key))? } else { output.line(&line(&key))? }
            }
        }
        Action::Revoke { id, yes } => {
            let key = find(&args.file, &id)?;
            if !yes {
                confirm(&key)?;
            }
            revoke(&args.file, &id)?;
            if args.json {
                output.json(&object(&key))?;
            } else {
                output.line(&format!("revoked: {}", line(&key)))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find(file: &Path, id: &str) -> Result<KeySummary, CommandError> {
    let found = list(file)?.into_iter().find(|key| key.id == id);
    Ok(found.ok_or_else(|| KeysError::Unknown { id: id.to_owned() })?)
}

/// Asks for a confirmation on standard error, and reads the answer from standard input.
fn confirm(key: &KeySummary) -> Result<(), CommandError> {
    remark(&format!("{}: revoke this key? Its sender will not be able to send any more. Type yes:", line(key)));
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|error| CommandError::failed("reading the answer", error))?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(CommandError::failed("nothing was revoked", "nobody typed yes (--yes revokes without asking)")),
    }
}

fn object(key: &KeySummary) -> Value {
    let time = |time: Option<OffsetDateTime>| time.and_then(|time| time.format(&Rfc3339).ok());
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    json!({
        "id": key.id,
        "source": key.source,
        "scopes": scopes,
        "providers": key.providers,
        "defaults": key.defaults,
        "not_before": time(key.not_before),
        "expires_at": time(key.expires_at),
    })
}

fn line(key: &KeySummary) -> String {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let providers = key.providers.as_ref().map_or("all".to_owned(), |providers| providers.join(","));
    let time =
        |time: Option<OffsetDateTime>| time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or("-".to_owned());
    let (from, until) = (time(key.not_before), time(key.expires_at));
    let defaults = key.defaults.as_deref().unwrap_or("-");
    let (id, source, scopes) = (&key.id, &key.source, scopes.join(","));
    format!("{id}\t{source}\t{scopes}\tproviders {providers}\tdefaults {defaults}\tfrom {from}\tuntil {until}")
}

fn scope(text: &str) -> Result<Scope, &'static str> {
    Scope::parse(text).ok_or("health-data:write or devices:write")
}

fn moment(text: &str) -> Result<OffsetDateTime, &'static str> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "a time such as 2026-01-31T00:00:00Z")
}

impl From<KeysError> for CommandError {
    fn from(error: KeysError) -> Self {
        match &error {
            KeysError::Io { .. } | KeysError::Form { .. } | KeysError::Key { .. } | KeysError::Argument { .. } => {
                Self::usage(chain(&error))
            }
            KeysError::Unknown { .. } => Self::failed("finding the key", error),
        }
    }
}
