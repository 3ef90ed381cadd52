//! What a stage that reaches nothing reports on its management port and in its log, and that it ends when asked. Only the
//! binary is required.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

use std::{
    fs::{self, File, Permissions},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_device-manager");
const WITHIN: Duration = Duration::from_secs(60);
/// How long a stage may take to end. Kubernetes and systemd allow 30 s and more; an operator is less patient.
const END_WITHIN: Duration = Duration::from_secs(5);

struct Stage(Child);

impl Drop for Stage {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

#[test]
fn a_waiting_stage_reports_the_cause() {
    let directory = with_secrets();
    for stage in ["ingress", "sink"] {
        for (servers, cause) in [
            ("127.0.0.1:1", "nothing listens at the broker's address 127.0.0.1:1"),
            ("nohost.invalid:9092", "the host of the broker nohost.invalid:9092 is unknown"),
        ] {
            let log = directory.path().join(format!("{stage}.log"));
            let (_stage, port) = start(stage, servers, directory.path(), &log);
            let said = || ready(port).unwrap_or_default();
            until(|| said().1.contains(cause), || format!("{stage}: {cause} is missing in: {}", said().1));
            assert_eq!(said().0, "503");
            let log = fs::read_to_string(&log).unwrap();
            assert_eq!(log.matches("the stage waits").count(), 1, "{log}");
            assert!(!log.contains(".cargo") && !log.contains("canary"), "{log}");
        }
    }
}

#[test]
fn a_stage_that_never_reached_a_broker_shuts_down() {
    let directory = with_secrets();
    // It accepts connections, and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    for stage in ["ingress", "normalizer", "sink"] {
        for servers in ["127.0.0.1:1", "nohost.invalid:9092", &silent] {
            let log = directory.path().join(format!("{stage}.log"));
            let (mut process, port) = start(stage, servers, directory.path(), &log);
            until(|| ready(port).is_some(), || format!("{stage} listens"));
            let asked = Instant::now();
            assert!(Command::new("kill").arg(process.0.id().to_string()).status().unwrap().success());
            let mut status = None;
            until(
                || {
                    status = process.0.try_wait().unwrap();
                    status.is_some()
                },
                || format!("{stage} ends"),
            );
            let took = asked.elapsed();
            assert!(took < END_WITHIN, "{stage} at {servers} took {took:?}");
            assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", fs::read_to_string(&log).unwrap());
        }
    }
}

/// A directory with a receipt key and an API key.
fn with_secrets() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let receipt_key = directory.path().join("receipt.key");
    fs::write(&receipt_key, "5a".repeat(32)).unwrap();
    fs::set_permissions(&receipt_key, Permissions::from_mode(0o440)).unwrap();
    let mut keys = Command::new(BINARY);
    keys.args(["keys", "create", "--source", "tests", "--scope", "health-data:write", "--file"]);
    assert!(keys.arg(directory.path().join("keys.json")).output().unwrap().status.success());
    directory
}

fn start(stage: &str, servers: &str, directory: &Path, log: &Path) -> (Stage, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = File::create(log).unwrap();
    let child = Command::new(BINARY)
        .args([stage, "--management-address", &format!("127.0.0.1:{port}")])
        .env("HTTP_PORT", "0")
        .env("KAFKA_BOOTSTRAP_SERVERS", servers)
        .env("KAFKA_SASL_PASSWORD", "canary")
        .env("DATABASE_URL", "postgres://u:canary@127.0.0.1:1/x")
        .env("RECEIPT_KEY_FILE", directory.join("receipt.key"))
        .env("KEYS_FILE", directory.join("keys.json"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn();
    (Stage(child.unwrap()), port)
}

/// Status and body; `None` while the port is closed.
fn ready(port: u16) -> Option<(String, String)> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
    connection.write_all(b"GET /ready HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.to_owned();
    Some((status, answer))
}

fn until(mut condition: impl FnMut() -> bool, otherwise: impl Fn() -> String) {
    let deadline = Instant::now() + WITHIN;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {}", otherwise());
        std::thread::sleep(Duration::from_millis(50));
    }
}
