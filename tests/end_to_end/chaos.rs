//! Faults under traffic, and an oracle that looks for everything that was accepted; and bugs that the oracle must find.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use chaos::{
    Breach, Build, Settings, Stage,
    fault::{FaultKind, Server},
    plan::Plan,
    report::{self, Report},
    servers::Servers,
};
use service::planted_bug::PlantedBug;

use crate::world::{BINARY, turn};

/// The servers of these tests. They are not those of the other tests, because faults stop them.
const DATA: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/chaos");

/// The directory with Kafka's jars.
const JARS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.kafka");

async fn servers() -> Servers {
    Servers::start(Path::new(DATA), Some(PathBuf::from(JARS))).await.unwrap_or_else(|error| panic!("{error}"))
}

fn settings(bug: Option<PlantedBug>, recovery_seconds: u64) -> Settings {
    let variables = bug.map(|bug| ("PLANTED_BUG".to_owned(), bug.as_str().to_owned()));
    Settings {
        build: Build { binary: PathBuf::from(BINARY), variables: variables.into_iter().collect() },
        commit: String::new(),
        rate: 120,
        recovery_max: Duration::from_secs(recovery_seconds),
    }
}

async fn run(servers: &Servers, settings: &Settings, plan: &Plan) -> Report {
    let logs = Path::new(DATA).join("logs").join(settings.build.variables.first().map_or("no-bug", |(_, bug)| bug));
    chaos::run(servers, settings, plan, &logs).await.unwrap_or_else(|error| panic!("{error}: {}", logs.display()))
}

fn point(name: &str) -> FaultKind {
    FaultKind::from_name(&format!("at-{name}")).unwrap()
}

/// A short run of the command. `make chaos` is the long one.
#[tokio::test(flavor = "multi_thread")]
async fn faults_under_traffic_lose_and_duplicate_nothing() {
    let _turn = turn().await;
    let results = Path::new(DATA).join("results.jsonl");
    let _missing = std::fs::remove_file(&results);
    let faults = ["at-normalizer-acknowledged", "reset-network-postgres", "kill-ingress"];
    let mut command = Command::new(BINARY);
    command.args(["chaos", "--data-dir", DATA, "--processes", "1", "--results"]).arg(&results);
    command.args(faults.iter().flat_map(|fault| ["--fault", fault]));
    command.env("KAFKA_HOME", JARS).env_remove("KAFKA_BOOTSTRAP_SERVERS").env_remove("DATABASE_URL");
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.contains("0 lost, 0 duplicated, 0 unexplained"), "{said}");
    let [report] = report::read(&results).unwrap().try_into().unwrap();
    let hit: Vec<&str> =
        report.faults.iter().filter(|fault| fault.hit.is_hit).map(|fault| fault.fault.as_str()).collect();
    assert_eq!(hit, faults, "{said}");
    assert!(report.accepted > 200, "{said}");
    // What the file has already is not run again.
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert_eq!(report::read(&results).unwrap().len(), 1);
}

/// What the oracle must find, and with which faults.
fn planted() -> [(PlantedBug, usize, Vec<FaultKind>, Breach); 8] {
    let kill_while_cut = vec![FaultKind::Silent(Server::Kafka), FaultKind::Kill(Stage::Ingress)];
    [
        (PlantedBug::EarlyAck, 1, kill_while_cut, Breach::Lost),
        (PlantedBug::EarlyCommit, 1, vec![point("normalizer-mapped")], Breach::Lost),
        (PlantedBug::DroppedItem, 1, Vec::new(), Breach::Lost),
        (PlantedBug::DuplicatedRow, 1, Vec::new(), Breach::Duplicated),
        (PlantedBug::WrongVersionOrder, 1, Vec::new(), Breach::Unexplained),
        (PlantedBug::SwallowedBadRow, 1, Vec::new(), Breach::Lost),
        (PlantedBug::StalledPartition, 1, Vec::new(), Breach::Lost),
        (PlantedBug::LateAssignment, 3, vec![FaultKind::Kill(Stage::Normalizer)], Breach::Unexplained),
    ]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes three minutes; `make oracle` runs it"]
async fn the_oracle_finds_each_planted_bug() {
    let _turn = turn().await;
    let servers = servers().await;
    let mut missed = Vec::new();
    for (bug, per_stage, faults, breach) in planted() {
        // The faults of a bug are injected at the same time. A round without a fault lets the traffic run.
        let rounds = vec![Vec::new(), faults];
        let report =
            run(&servers, &settings(Some(bug), 12), &Plan { seed: 1, per_stage, is_classic: false, rounds }).await;
        let count = report.count(breach);
        eprintln!(
            "{}: {} findings, {count} {breach:?}: {:?}",
            bug.as_str(),
            report.findings.len(),
            report.findings.first()
        );
        if count == 0 {
            missed.push(bug);
        }
    }
    let clean = run(
        &servers,
        &settings(None, 60),
        &Plan { seed: 1, per_stage: 3, is_classic: false, rounds: vec![Vec::new()] },
    )
    .await;
    servers.embedded.stop().await;
    assert_eq!(missed, []);
    assert_eq!(clean.findings, [], "without a bug the oracle finds nothing");
}
