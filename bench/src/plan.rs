//! The plan of a run: the figures, and how long each is measured.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

/// The figures, in the order in which they are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FigureName {
    /// The ingress against a bare handler.
    Ingress,
    /// The pure normalizer on one core.
    Pure,
    /// The mapping pool alone: two threads against one.
    Pool,
    /// The normalizer through Kafka against a copier.
    Normalizer,
    /// The sink against plain SQL.
    Sink,
    /// A replay without differences against the normalizer.
    Replay,
    /// The process with all stages, idle.
    Idle,
    /// All stages, from the request to the row.
    EndToEnd,
    /// A large export through all stages.
    Upload,
    /// The memory of the ingress after a million requests.
    Soak,
    /// The instructions of the pure normalizer, counted by callgrind. Measured only if named, or if builds are compared.
    Instructions,
}

/// The figures of one build.
const OF_ONE_BUILD: [FigureName; 10] = [
    FigureName::Ingress,
    FigureName::Pure,
    FigureName::Pool,
    FigureName::Normalizer,
    FigureName::Sink,
    FigureName::Replay,
    FigureName::Idle,
    FigureName::EndToEnd,
    FigureName::Upload,
    FigureName::Soak,
];
/// The figures by which two builds are compared.
const OF_TWO_BUILDS: [FigureName; 5] =
    [FigureName::Ingress, FigureName::Normalizer, FigureName::Sink, FigureName::EndToEnd, FigureName::Instructions];

/// The command line.
#[derive(Args)]
pub(crate) struct PlanArgs {
    /// The number of rounds of each figure; by default 7, or 1 with --quick.
    #[arg(long)]
    rounds: Option<u32>,
    /// Measure only this figure; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<FigureName>,
    /// One short round, to check that everything runs; the figures have no meaning.
    #[arg(long)]
    quick: bool,
    /// The binary under test; by default `device-manager` in the directory of this binary.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Another build of the binary. The bench compares the processor time and the instructions of the two, measured in turn.
    #[arg(long, value_name = "BINARY")]
    against: Option<PathBuf>,
    /// The folder for the data of Kafka and Postgres; by default a temporary folder.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The folder to which the table is written, in addition to standard output.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
}

/// The settings of a run, with defaults applied.
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) quick: bool,
    pub(crate) names: Vec<FigureName>,
    pub(crate) binary: PathBuf,
    pub(crate) against: Option<PathBuf>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) results: PathBuf,
}

impl From<PlanArgs> for Plan {
    fn from(args: PlanArgs) -> Self {
        let all = if args.against.is_some() { OF_TWO_BUILDS.as_slice() } else { &OF_ONE_BUILD };
        let names = if args.only.is_empty() { all.to_vec() } else { args.only };
        let beside = std::env::current_exe().unwrap_or_default().with_file_name("device-manager");
        Self {
            rounds: args.rounds.unwrap_or(if args.quick { 1 } else { 7 }).max(1),
            quick: args.quick,
            names,
            binary: args.binary.unwrap_or(beside),
            against: args.against,
            data_dir: args.data_dir,
            results: args.results,
        }
    }
}

impl Plan {
    /// How long a load is sent.
    pub(crate) fn load_time(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 10 })
    }

    /// The number of records that are on a topic before a stage starts.
    pub(crate) fn preloaded(&self) -> u64 {
        if self.quick { 50_000 } else { 600_000 }
    }

    /// How long the bench waits at most for the machine to become idle.
    pub(crate) fn idle_limit(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 60 })
    }
}
