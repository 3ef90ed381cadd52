//! `KAFKA_` variables that other software puts into the environment, and addresses that nothing answers: both are reported once,
//! clearly, and without a secret.

use std::process::Command;

use crate::{
    payload::glucose,
    world::{IGNORED_KAFKA_VARIABLES, World},
};

/// Every command of every test runs with [`IGNORED_KAFKA_VARIABLES`]; this test checks what the log says of them.
#[tokio::test(flavor = "multi_thread")]
async fn stray_kafka_variables_are_named_once_and_change_nothing() {
    let world = World::start().await;
    let receipt = world.client.post_medisante(&glucose(0)).await;
    world.until_count("SELECT count(*) FROM readings", 1).await;
    world.trace(&receipt);
    for stage in ["ingress", "normalizer", "sink"] {
        let log = std::fs::read_to_string(world.path(&format!("{stage}.log"))).unwrap();
        let said: Vec<&str> = log.lines().filter(|line| line.contains("ignored: KAFKA_")).collect();
        assert_eq!(said.len(), 1, "{stage}: {said:?}");
        for (name, value) in IGNORED_KAFKA_VARIABLES {
            assert!(said[0].contains(name), "{stage}: {name} is missing in: {}", said[0]);
            assert!(value.len() < 6 || !log.contains(value), "{stage} shows {value}");
        }
        assert!(!log.contains("203.0.113.7"), "{stage} shows a value");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_reaches_no_server_reports_why() {
    let world = World::start().await;
    let drift = |database_url: &str| {
        let mut command = world.kafka_command("drift");
        command.arg("--receipt-key-file").arg(world.path("receipt.key")).env("DATABASE_URL", database_url);
        failed(&mut command)
    };
    let (_, server) = world.database_url.split_once('@').unwrap();
    let of_nobody = format!("postgres://device_manager:canary@{server}");
    for (database_url, expected, code) in [
        (of_nobody.as_str(), "Postgres refuses the user or the password of DATABASE_URL", 1),
        ("postgres://u:canary@127.0.0.1:1/x", "Connection refused", 1),
        ("postgres://u:canary@nohost.invalid/x", "Name or service not known", 1),
        ("mysql://u:canary@127.0.0.1/x", "DATABASE_URL is malformed", 2),
        ("postgres://u:canary@127.0.0.1:x/x", "DATABASE_URL is malformed", 2),
    ] {
        let (said, is) = drift(database_url);
        assert!(said.contains(expected) && !said.contains("canary"), "{expected} is missing in: {said}");
        assert_eq!(is, Some(code), "{said}");
    }
    let topics =
        |servers: &str| failed(world.kafka_command("topics").arg("check").env("KAFKA_BOOTSTRAP_SERVERS", servers));
    for (servers, expected, code) in [
        ("127.0.0.1:1", "nothing listens at the broker's address 127.0.0.1:1", 1),
        ("nohost.invalid:9092", "the host of the broker nohost.invalid:9092 is unknown", 1),
        ("http://u:canary@kafka:9092", "KAFKA_BOOTSTRAP_SERVERS is malformed", 2),
        ("", "KAFKA_BOOTSTRAP_SERVERS is not set", 2),
    ] {
        let (said, is) = topics(servers);
        assert!(said.contains(expected) && !said.contains("canary"), "{expected} is missing in: {said}");
        assert_eq!(is, Some(code), "{said}");
    }
    // TLS to a broker without TLS.
    let mut tls = world.kafka_command("topics");
    let (said, code) = failed(tls.arg("check").env("KAFKA_SECURITY_PROTOCOL", "ssl"));
    assert!(said.contains("KAFKA_SECURITY_PROTOCOL") && code == Some(1), "{said}");
}

/// Returns the standard error and the exit code.
fn failed(command: &mut Command) -> (String, Option<i32>) {
    let output = command.output().unwrap();
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}
