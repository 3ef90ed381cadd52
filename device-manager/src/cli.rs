//! The command line.

use std::process::ExitCode;

use clap::{
    Arg, CommandFactory as _, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use service::telemetry;

use crate::{
    command::{
        catalogue_file, chaos, completions, dead_letters, docs, drift, event_schemas, find, ingress, keys, man,
        metrics, normalize, normalizer, payload, reconcile, replay, roles, simulate, sink, skip, topics, trace, up,
    },
    error::CommandError,
    output::Output,
};

/// Receives readings of health devices, stores them on Kafka, and writes clinical events to Postgres.
///
/// For a first look, `device-manager up --demo` starts its own Kafka and Postgres, sends some traffic, and shows the
/// resulting readings. In production each stage runs as a process of its own: `ingress`, `normalizer`, `sink`.
///
/// Exit codes: 0 success; 1 failure (a port is in use, Kafka or Postgres does not answer), or something was refused,
/// differs or still waits; 2 the arguments, the environment, or a file that they name, such as RECEIPT_KEY_FILE, cannot be
/// used; 130 ended by a second signal, or by a signal while `up` was starting its servers. The reason is written to
/// standard error, or to the log of a command that runs until it is stopped. If the reader of a pipe closes it, as `head`
/// does, the exit code does not change.
#[derive(Parser)]
#[command(name = "device-manager", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(up::UpCommand),
    Ingress(ingress::IngressCommand),
    Normalizer(normalizer::NormalizerCommand),
    Sink(sink::SinkCommand),
    Normalize(normalize::NormalizeCommand),
    Metrics(metrics::MetricsCommand),
    Catalogue(catalogue_file::CatalogueCommand),
    Trace(trace::TraceCommand),
    Find(find::FindCommand),
    Payload(payload::PayloadCommand),
    DeadLetters(dead_letters::DeadLettersCommand),
    Drift(drift::DriftCommand),
    Replay(replay::ReplayCommand),
    Reconcile(reconcile::ReconcileCommand),
    Skip(skip::SkipCommand),
    Topics(topics::TopicsArgs),
    Roles(roles::RolesCommand),
    Schemas(event_schemas::SchemasCommand),
    Keys(keys::KeysCommand),
    Simulate(simulate::SimulateArgs),
    Chaos(chaos::ChaosCommand),
    Completions(completions::CompletionsCommand),
    Man(man::ManCommand),
    #[command(hide = true)]
    Docs(docs::DocsCommand),
}

impl Command {
    /// Whether the command runs until it is stopped, and writes a log to standard error.
    const fn has_log(&self) -> bool {
        matches!(self, Self::Up(_) | Self::Ingress(_) | Self::Normalizer(_) | Self::Sink(sink::SinkCommand::Stage(_)))
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// [`CommandError`], which determines the exit code of the process.
    pub async fn run(self) -> Result<ExitCode, CommandError> {
        let mut output = Output::stdout();
        if !self.command.has_log() {
            telemetry::init_silence();
        }
        match self.command {
            Command::Up(args) => up::run(args, &mut output).await,
            Command::Ingress(args) => ingress::run(args).await,
            Command::Normalizer(args) => normalizer::run(args).await,
            Command::Sink(args) => sink::run(args, &mut output).await,
            Command::Normalize(args) => normalize::run(&args, &mut output),
            Command::Metrics(args) => metrics::run(&args, &mut output),
            Command::Catalogue(args) => catalogue_file::run(&args, &mut output),
            Command::Trace(args) => trace::run(args, &mut output).await,
            Command::Find(args) => find::run(args, &mut output).await,
            Command::Payload(args) => payload::run(args, &mut output).await,
            Command::DeadLetters(args) => dead_letters::run(args, &mut output).await,
            Command::Drift(args) => drift::run(args, &mut output).await,
            Command::Replay(args) => replay::run(args, &mut output).await,
            Command::Reconcile(args) => reconcile::run(args, &mut output).await,
            Command::Skip(args) => skip::run(args, &mut output).await,
            Command::Docs(args) => docs::run(&args, &command()),
            Command::Keys(args) => keys::run(args, &mut output),
            Command::Roles(args) => roles::run(args, &mut output).await,
            Command::Schemas(args) => event_schemas::run(args, &mut output).await,
            Command::Topics(args) => topics::run(args, &mut output).await,
            Command::Simulate(args) => simulate::run(args, &mut output).await,
            Command::Chaos(args) => chaos::run(args, &mut output).await,
            Command::Completions(args) => completions::run(&args, command(), &mut output),
            Command::Man(args) => man::run(&args, command()),
        }
    }
}

/// Returns the command line, with corrected usage lines.
#[must_use]
pub fn command() -> clap::Command {
    with_usage(Cli::command(), "device-manager")
}

/// Corrects usage lines. clap's usage line lists every required argument, even one that an environment variable can set.
/// The corrected line lists only arguments that must be typed.
fn with_usage(command: clap::Command, path: &str) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = names
        .iter()
        .fold(command, |command, name| command.mut_subcommand(name, |sub| with_usage(sub, &format!("{path} {name}"))));
    if !command.get_arguments().any(|argument| argument.is_required_set() && argument.get_env().is_some()) {
        return command;
    }
    let must_be_typed =
        |argument: &&Arg| (argument.is_required_set() && argument.get_env().is_none()) || argument.is_positional();
    // Only a built command contains how an argument is displayed.
    let mut built = command.clone();
    built.build();
    let typed = built.get_arguments().filter(must_be_typed).map(ToString::to_string);
    let usage = [path.to_owned(), "[OPTIONS]".to_owned()].into_iter().chain(typed).collect::<Vec<_>>().join(" ");
    let usage = match (names.is_empty(), command.is_subcommand_negates_reqs_set()) {
        (true, _) => usage,
        (false, false) => format!("{usage} <COMMAND>"),
        (false, true) => format!("{usage}\n       {path} <COMMAND>"),
    };
    command.override_usage(usage)
}

/// Returns what clap does not say about missing arguments: the variables that can set them, and their help. One line for
/// each.
#[must_use]
pub fn variables_of(error: &clap::Error) -> Vec<String> {
    let (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    else {
        return Vec::new();
    };
    let all = arguments(&Cli::command());
    let known = missing.iter().filter_map(|shown| {
        let long = shown.strip_prefix("--")?.split(' ').next();
        let argument = all.iter().find(|argument| {
            // The help of the same argument differs in commands where it is optional.
            argument.is_required_set() && argument.get_long() == long && argument.get_env().is_some()
        })?;
        let (variable, help) = (argument.get_env()?.to_string_lossy(), argument.get_help()?);
        Some(format!("Alternatively, set {variable} in the environment. {help}"))
    });
    known.collect()
}

fn arguments(command: &clap::Command) -> Vec<Arg> {
    command.get_arguments().cloned().chain(command.get_subcommands().flat_map(arguments)).collect()
}
