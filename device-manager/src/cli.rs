//! The command line.

use std::process::ExitCode;

use clap::{
    CommandFactory as _, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use service::telemetry;

use crate::command::{
    CommandError, Output, docs, drift, ingress, keys, metrics, normalize, normalizer, roles, simulate, sink, skip,
    topics, trace, up,
};

/// Receives readings of health devices, keeps them on Kafka, and writes clinical events to Postgres.
///
/// A first look: `device-manager up --demo` starts a Kafka and a Postgres of its own, sends some traffic, and shows the
/// readings that came of it. In production each stage runs as a process of its own: `ingress`, `normalizer`, `sink`.
///
/// Exit codes: 0 done; 1 it failed (a port is taken, Kafka or Postgres does not answer), or something was refused, differs or still
/// waits; 2 the arguments, the environment, or a file that they name, such as RECEIPT_KEY_FILE, cannot be used as they are;
/// 130 a second signal ended it. Why is said on standard error, or in the log of what runs until it is stopped.
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
    Trace(trace::TraceCommand),
    Drift(drift::DriftCommand),
    Skip(skip::SkipCommand),
    Topics(topics::TopicsArgs),
    Roles(roles::RolesCommand),
    Keys(keys::KeysCommand),
    Simulate(simulate::SimulateArgs),
    #[command(hide = true)]
    Docs(docs::DocsCommand),
}

impl Command {
    /// Whether it runs until it is stopped, and says on standard error what it does meanwhile.
    const fn has_log(&self) -> bool {
        matches!(self, Self::Up(_) | Self::Ingress(_) | Self::Normalizer(_) | Self::Sink(sink::SinkCommand::Stage(_)))
    }
}

impl Cli {
    /// Runs the command that was given.
    ///
    /// # Errors
    /// [`CommandError`], whose exit code is the process's.
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
            Command::Trace(args) => trace::run(args, &mut output).await,
            Command::Drift(args) => drift::run(args, &mut output).await,
            Command::Skip(args) => skip::run(args, &mut output).await,
            Command::Docs(args) => docs::run(&args),
            Command::Keys(args) => keys::run(args, &mut output),
            Command::Roles(args) => roles::run(args, &mut output).await,
            Command::Topics(args) => topics::run(args, &mut output).await,
            Command::Simulate(args) => simulate::run(args, &mut output).await,
        }
    }
}

/// What clap leaves unsaid of arguments that are missing: the variables that give them, and what they are. One a line.
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
            // Where it may be missing, its help says something else.
            argument.is_required_set() && argument.get_long() == long && argument.get_env().is_some()
        })?;
        let (variable, help) = (argument.get_env()?.to_string_lossy(), argument.get_help()?);
        Some(format!("{variable} in the environment will do as well. {help}"))
    });
    known.collect()
}

fn arguments(command: &clap::Command) -> Vec<clap::Arg> {
    command.get_arguments().cloned().chain(command.get_subcommands().flat_map(arguments)).collect()
}
