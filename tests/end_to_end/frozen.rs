//! Kafka or Postgres that neither answers nor closes its connections, like a host that vanished or a process that is stopped.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    payload::glucose,
    world::{SERVERS, Stage, World, signal},
};

const READINGS: &str = "SELECT count(*) FROM readings";
/// The time within which a stage must report that it waits, and that it works again.
const REPORTED_WITHIN: Duration = Duration::from_secs(15);
const STAGES: [Stage; 3] = [Stage::Ingress, Stage::Normalizer, Stage::Sink];

/// Processes that are stopped with SIGSTOP, and continued when this value is dropped.
struct Frozen(Vec<u32>);

impl Frozen {
    fn new(processes: Vec<u32>) -> Self {
        for pid in &processes {
            signal(*pid, "STOP");
        }
        Self(processes)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.iter().for_each(|pid| signal(*pid, "CONT"));
    }
}

fn pid(server: &str) -> u32 {
    let file = fs::read_to_string(Path::new(SERVERS).join(format!("{server}.pid"))).unwrap();
    file.split_whitespace().next().unwrap().parse().unwrap()
}

fn children(parent: u32) -> Vec<u32> {
    let listed = Command::new("pgrep").args(["-P", &parent.to_string()]).output().unwrap();
    String::from_utf8(listed.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}

/// Waits until each stage has the readiness `is_ready`. Returns the stages that had not in time, with their answers.
async fn stages_not_reaching(world: &World, stages: &[Stage], is_ready: bool) -> Vec<(Stage, Option<String>)> {
    let deadline = Instant::now() + REPORTED_WITHIN;
    let mut late = Vec::new();
    for stage in stages {
        loop {
            let answer = world.ready((*stage, 0)).await;
            if answer.as_ref().is_some_and(|(ready, _)| *ready == is_ready) {
                break;
            }
            if Instant::now() > deadline {
                late.push((*stage, answer.map(|(_, text)| text)));
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    late
}

/// The number of lines of the log that contain `text`.
fn count_lines(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_kafka_and_its_return_are_noticed() {
    let world = World::start().await;
    world.client.post_medisante(&glucose(0)).await;
    world.until_count(READINGS, 1).await;
    assert_eq!(stages_not_reaching(&world, &STAGES, true).await, []);
    let before = STAGES.map(|stage| world.log((stage, 0)).len());

    let frozen = Frozen::new(vec![pid("kafka")]);
    let since = Instant::now();
    let unnoticed = stages_not_reaching(&world, &STAGES, false).await;
    tokio::time::sleep(Duration::from_secs(30).saturating_sub(since.elapsed())).await;
    drop(frozen);
    assert_eq!(unnoticed, []);
    assert_eq!(stages_not_reaching(&world, &STAGES, true).await, []);
    world.client.post_medisante(&glucose(1)).await;
    world.until_count(READINGS, 2).await;
    for (stage, before) in STAGES.into_iter().zip(before) {
        let log = world.log((stage, 0))[before..].to_owned();
        let lines = (count_lines(&log, "\"the stage waits\""), count_lines(&log, "\"the stage works again\""));
        assert_eq!(lines, (1, 1), "{stage:?}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_postgres_and_its_return_are_noticed() {
    let world = World::start().await;
    world.client.post_medisante(&glucose(0)).await;
    world.until_count(READINGS, 1).await;
    assert_eq!(stages_not_reaching(&world, &[Stage::Sink], true).await, []);
    let before = world.log((Stage::Sink, 0)).len();

    let postmaster = pid("postgres");
    let frozen = Frozen::new([vec![postmaster], children(postmaster)].concat());
    let unnoticed = stages_not_reaching(&world, &[Stage::Sink], false).await;
    drop(frozen);
    assert_eq!(unnoticed, []);
    assert_eq!(stages_not_reaching(&world, &[Stage::Sink], true).await, []);
    world.client.post_medisante(&glucose(1)).await;
    world.until_count(READINGS, 2).await;
    let log = world.log((Stage::Sink, 0))[before..].to_owned();
    let lines = (count_lines(&log, "\"the stage waits\""), count_lines(&log, "\"the stage works again\""));
    assert_eq!(lines, (1, 1), "{log}");
}
