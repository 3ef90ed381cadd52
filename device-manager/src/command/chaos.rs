//! `device-manager chaos`: injects faults into an installation of its own, and shows that nothing is lost.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use ::chaos::{
    Breach, Build, Settings,
    error::ChaosError,
    fault::{FaultKind, clock},
    plan::Plan,
    report::{self, Report},
    servers::Servers,
};
use clap::Args;
use service::HAS_FAIL_POINTS;
use tokio::signal::unix::{SignalKind, signal};

use super::catalogue_file::CatalogueArgs;
use crate::{
    error::{CommandError, chain},
    output::{Output, remark},
};

/// Variables that name a Kafka or a Postgres that is in use.
const OTHERS: [&str; 2] = ["KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"];
/// The number of findings that are shown for a seed. The results file has all of them.
const SHOWN: usize = 10;

/// Inject faults under traffic, and show that nothing is lost, doubled or unexplained.
///
/// The command starts a Kafka and a Postgres of its own in a temporary folder, and the stages as processes. It sends invented
/// payloads of every provider and format over HTTP, repeats and corrects some, and assigns devices. Meanwhile it kills, freezes and
/// restarts processes, cuts the network, locks tables, and so on. Then an oracle compares every 2xx with the raw topics, and the
/// raw topics with Postgres, row by row.
///
/// A seed determines the traffic, the faults, the protocol of the consumer groups, and the number of processes: one for each stage
/// if it is odd, three if it is even. A fault counts only if it hit work in flight. After each fault, fresh payloads must pass through all partitions within
/// --recovery-seconds.
///
/// The command never uses the servers of an installation, because invented readings would stay there: it refuses to start if
/// KAFKA_BOOTSTRAP_SERVERS or DATABASE_URL is set.
///
/// Exit code 0 if every promise was kept; 1 if something was lost, doubled or unexplained, or if a run could not be carried out.
#[derive(Args)]
#[command(after_help = "Examples:
  device-manager chaos                               one seed: four faults, about a minute
  device-manager chaos --seeds 50 --results r.jsonl  continues after the seeds that the file has
  device-manager chaos --fault kill-sink --fault cut-network-postgres --processes 3
  device-manager chaos --list                        the kinds of faults")]
pub struct ChaosCommand {
    /// The number of seeds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    first_seed: u64,
    /// Inject this fault instead of those that follow from the seed. May be given more than once.
    #[arg(long = "fault", value_parser = fault)]
    faults: Vec<FaultKind>,
    /// The number of processes for each stage, with --fault.
    #[arg(long, default_value_t = 1, requires = "faults", value_parser = clap::value_parser!(u8).range(1..=5))]
    processes: u8,
    /// List the kinds of faults, and do nothing else.
    #[arg(long)]
    list: bool,
    /// Append the result of each seed to this file, as a line of JSON. Seeds that the file has already are not run again.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// The commit of the build, for the results.
    #[arg(long, env = "GIT_COMMIT", default_value = "", hide_env_values = true)]
    commit: String,
    /// Requests per second.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(8..=10_000))]
    rate: u32,
    /// In which time a fresh payload must pass after a fault has ended, and everything must be stored after the traffic has ended.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    recovery_seconds: u64,
    /// The folder for the data of the servers and for logs. By default a temporary one, which is kept if something was found.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The folder with Kafka's jars, or a Kafka distribution. By default .kafka is searched for in the working directory and its
    /// parents.
    #[arg(long, env = "KAFKA_HOME")]
    kafka_home: Option<PathBuf>,
    #[command(flatten)]
    catalogue: CatalogueArgs,
}

fn fault(name: &str) -> Result<FaultKind, String> {
    let kind = FaultKind::from_name(name)
        .ok_or_else(|| "`device-manager chaos --list` lists the kinds of faults".to_owned())?;
    if matches!(kind, FaultKind::FailPoint(_)) && !HAS_FAIL_POINTS {
        return Err("this fault requires a build with `--features fail-points`, such as `make chaos`".to_owned());
    }
    if requires_clock(kind) && !clock::is_available() {
        return Err(format!("the faults step-clock-… cannot be injected: {}", clock::HOW_TO_GET));
    }
    Ok(kind)
}

const fn requires_clock(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::StepClock(_))
}

/// Whether a kind cannot be injected on this machine. Says so, once for all seeds.
fn left_out() -> impl Fn(FaultKind) -> bool {
    let is_available = clock::is_available();
    if !is_available {
        remark(&format!("the faults step-clock-… are left out: {}", clock::HOW_TO_GET));
    }
    move |kind| !is_available && requires_clock(kind)
}

/// Runs the command.
///
/// # Errors
/// [`CommandError`]: something is not installed, or a run could not be carried out.
pub async fn run(args: ChaosCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    if args.list {
        return list(output);
    }
    let set: Vec<&str> = OTHERS.into_iter().filter(|variable| std::env::var_os(variable).is_some()).collect();
    if !set.is_empty() {
        return Err(CommandError::usage(format!(
            "`chaos` uses only servers of its own, because invented readings would stay in those of an installation. Run it with \
             `env -u {}`",
            set.join(" -u ")
        )));
    }
    args.catalogue.install()?;
    let temporary = tempfile::tempdir().map_err(|error| CommandError::failed("the temporary folder", error))?;
    let data_dir = args.data_dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let outcome = tokio::select! {
        outcome = run_seeds(&args, &data_dir, output) => outcome.map(Some),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    };
    let is_kept = args.data_dir.is_some() || matches!(outcome, Ok(Some(false)) | Err(_));
    if !is_kept {
        remove_postgres(&data_dir);
    } else if args.data_dir.is_none() {
        remark(&format!("data and logs: {}", temporary.keep().display()));
    }
    Ok(match outcome? {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::from(1),
        None => ExitCode::from(130),
    })
}

/// The variable that makes the stages use the same catalogue. They run in another folder, so the path is absolute.
fn catalogue_variable(args: &ChaosCommand) -> Result<Vec<(String, String)>, CommandError> {
    let Some(file) = args.catalogue.file() else { return Ok(Vec::new()) };
    let path = std::path::absolute(file).map_err(|error| CommandError::failed("finding the catalogue file", error))?;
    let path = path.into_os_string().into_string();
    let path = path.map_err(|_| CommandError::usage("the path of the catalogue file is not UTF-8"))?;
    Ok(vec![("CATALOGUE_FILE".to_owned(), path)])
}

fn list(output: &mut Output) -> Result<ExitCode, CommandError> {
    let fail_points = if HAS_FAIL_POINTS { &FaultKind::FAIL_POINTS[..] } else { &[] };
    let is_left_out = left_out();
    for kind in FaultKind::PLAIN.iter().chain(fail_points).filter(|kind| !is_left_out(**kind)) {
        output.line(&kind.name())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the seeds that have no result yet, and shows the summary. Returns whether every promise was kept.
async fn run_seeds(args: &ChaosCommand, data_dir: &Path, output: &mut Output) -> Result<bool, CommandError> {
    let mut reports = args.results.as_deref().map_or(Ok(Vec::new()), report::read).map_err(failed)?;
    let seeds = args.first_seed..args.first_seed.saturating_add(args.seeds);
    reports.retain(|report| seeds.contains(&report.seed) && report.commit == args.commit);
    let missing: Vec<u64> = seeds.filter(|seed| !reports.iter().any(|report| report.seed == *seed)).collect();
    if !missing.is_empty() {
        let servers = Servers::start(data_dir, args.kafka_home.clone()).await.map_err(failed)?;
        let runner = Runner { args, data_dir, servers, is_left_out: left_out() };
        for seed in missing {
            reports.push(runner.run_seed(seed, output).await?);
        }
        runner.servers.embedded.stop().await;
    }
    for line in report::table(&reports) {
        output.line(&line)?;
    }
    let (seeds, accepted) = (reports.len(), reports.iter().map(|report| report.accepted).sum::<usize>());
    let [lost, duplicated, unexplained] = [Breach::Lost, Breach::Duplicated, Breach::Unexplained]
        .map(|breach| reports.iter().map(|report| report.count(breach)).sum::<usize>());
    output.line(&format!(
        "{seeds} seeds, {accepted} accepted requests: {lost} lost, {duplicated} duplicated, {unexplained} unexplained"
    ))?;
    Ok(reports.iter().all(Report::is_clean))
}

fn failed(error: ChaosError) -> CommandError {
    CommandError::failed("injecting faults", error)
}

/// Runs seeds on the same servers.
struct Runner<'a, L> {
    args: &'a ChaosCommand,
    data_dir: &'a Path,
    servers: Servers,
    is_left_out: L,
}

impl<L: Fn(FaultKind) -> bool> Runner<'_, L> {
    async fn run_seed(&self, seed: u64, output: &mut Output) -> Result<Report, CommandError> {
        let Self { args, data_dir, servers, is_left_out } = self;
        let settings = Settings {
            build: Build { binary: std::env::current_exe()?, variables: catalogue_variable(args)? },
            commit: args.commit.clone(),
            rate: args.rate,
            recovery_max: Duration::from_secs(args.recovery_seconds),
        };
        let plan = if args.faults.is_empty() {
            Plan::of_seed(seed, HAS_FAIL_POINTS).without(is_left_out)
        } else {
            Plan::with_faults(seed, usize::from(args.processes), &args.faults)
        };
        let logs = data_dir.join(format!("logs/seed-{seed}"));
        let report = ::chaos::run(servers, &settings, &plan, &logs).await.map_err(failed)?;
        show(&report, &logs, output)?;
        if report.is_clean()
            && let Err(error) = fs::remove_dir_all(&logs)
        {
            remark(&format!("the logs of seed {seed} cannot be removed: {}", chain(&error)));
        }
        if let Some(path) = &args.results {
            report::append(path, &report).map_err(failed)?;
        }
        Ok(report)
    }
}

fn show(report: &Report, logs: &Path, output: &mut Output) -> Result<(), CommandError> {
    let faults: Vec<String> = report
        .faults
        .iter()
        .map(|injected| {
            let hit = if injected.hit.is_hit { "" } else { " (no hit)" };
            let recovery = injected
                .recovery_ms
                .map_or("none".to_owned(), |ms| format!("{:.1} s", Duration::from_millis(ms).as_secs_f64()));
            format!("{}{hit} {recovery}", injected.fault)
        })
        .collect();
    let Report { seed, per_stage, seconds, accepted, items, .. } = report;
    let protocol = if report.is_classic { "classic" } else { "consumer" };
    output.line(&format!(
        "seed {seed}, {per_stage} processes for each stage, protocol {protocol}, {seconds} s: {accepted} accepted requests, {items} items; recovery after {}; {} findings",
        faults.join(", "),
        report.findings.len()
    ))?;
    for finding in report.findings.iter().take(SHOWN) {
        output.line(&format!("  {:?}: {}", finding.breach, finding.what))?;
    }
    if !report.is_clean() {
        output.line(&format!("  logs: {}", logs.display()))?;
    }
    Ok(())
}

/// If this process runs as root, Postgres's data is elsewhere, and the temporary folder has a link to it.
fn remove_postgres(data_dir: &Path) {
    if let Ok(elsewhere) = fs::read_link(data_dir.join("postgres"))
        && let Err(error) = fs::remove_dir_all(&elsewhere)
    {
        remark(&format!("{} cannot be removed: {}", elsewhere.display(), chain(&error)));
    }
}
