//! The state of a stage, and the log line for each change of state.

use service::health::Health;

use crate::log;

#[test]
fn one_line_is_logged_when_a_stage_begins_to_wait_and_one_when_it_works_again() {
    log::listen();
    let stage = Health::new().stage("sink");
    assert_eq!(lines(), [""; 0], "the start is not an outage");
    stage.ready();
    stage.ready();
    assert_eq!(lines(), ["INFO the stage works sink"]);
    // A stage reports on each turn of its loop, and may learn of further reasons while it waits.
    for reason in ["Kafka does not answer", "Kafka does not answer", "Postgres does not answer"] {
        stage.waiting(reason);
    }
    assert_eq!(lines(), ["WARN the stage waits sink Kafka does not answer"]);
    stage.ready();
    stage.ready();
    assert_eq!(lines(), ["INFO the stage works again sink waited_s"]);
}

#[test]
fn a_stage_that_waits_while_it_starts_logs_one_outage() {
    log::listen();
    let stage = Health::new().stage("sink");
    stage.waiting("Kafka does not answer");
    assert_eq!(lines(), ["WARN the stage waits sink Kafka does not answer"]);
    stage.waiting("starting");
    assert_eq!(lines(), [""; 0], "the parts start one after the other within the same outage");
    stage.degraded("readings 0:7 cannot be read");
    assert_eq!(
        lines(),
        [
            "INFO the stage works again sink waited_s",
            "WARN a part of the stage waits for an operator sink readings 0:7 cannot be read"
        ]
    );
}

#[test]
fn what_waits_for_an_operator_is_logged_each_time_it_changes() {
    log::listen();
    let stage = Health::new().stage("sink");
    stage.ready();
    lines();
    for reason in ["readings 0:7", "readings 0:7", "readings 0:7, readings 1:3"] {
        stage.degraded(reason);
    }
    assert_eq!(
        lines(),
        [
            "WARN a part of the stage waits for an operator sink readings 0:7",
            "WARN a part of the stage waits for an operator sink readings 0:7, readings 1:3"
        ]
    );
    stage.ready();
    assert_eq!(lines(), ["INFO nothing waits for an operator any more sink"]);
}

#[test]
fn a_degraded_stage_is_ready_and_a_waiting_one_is_not() {
    let health = Health::new();
    assert!(!health.is_ready(), "a process without a stage is not ready");
    let (sink, ingress) = (health.stage("sink"), health.stage("ingress"));
    sink.ready();
    assert!(!health.is_ready(), "the other stage has not started");
    ingress.degraded("one partition waits");
    assert!(health.is_ready());
    let state = |name: &str| {
        let state = health.stages()[name].clone();
        (state.waiting, state.degraded)
    };
    assert_eq!(state("ingress"), (None, Some("one partition waits".to_owned())));
    ingress.waiting("Kafka does not answer");
    assert!(!health.is_ready());
    assert_eq!(state("ingress"), (Some("Kafka does not answer".to_owned()), None));
    ingress.ready();
    assert_eq!(state("ingress"), (None, None));
}

/// Returns the lines logged since the last call: level, message, stage, reason, and the name of a number.
fn lines() -> Vec<String> {
    log::take_lines().lines().map(short).collect()
}

fn short(line: &str) -> String {
    let (level, rest) = line.trim().split_once(" service::health: ").unwrap();
    let (message, fields) = rest.split_once(" stage=").unwrap();
    let fields = fields.replace("reason=", "").replace('"', "");
    let fields = fields.split_once('=').map_or(fields.as_str(), |(known, _)| known);
    format!("{level} {message} {fields}")
}
