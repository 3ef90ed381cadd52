//! What a stage that reaches nothing says on its management port and in its log. Nothing but the binary is needed.

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

const BINARY: &str = env!("CARGO_BIN_EXE_device-manager");
const WITHIN: Duration = Duration::from_secs(60);

struct Stage(Child);

impl Drop for Stage {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _ended = self.0.wait();
    }
}

#[test]
fn a_stage_names_the_cause_of_its_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let receipt_key = directory.path().join("receipt.key");
    fs::write(&receipt_key, "5a".repeat(32)).unwrap();
    fs::set_permissions(&receipt_key, Permissions::from_mode(0o440)).unwrap();
    let mut keys = Command::new(BINARY);
    keys.args(["keys", "create", "--source", "tests", "--scope", "health-data:write", "--file"]);
    assert!(keys.arg(directory.path().join("keys.json")).output().unwrap().status.success());

    for stage in ["ingress", "sink"] {
        for (servers, cause) in [
            ("127.0.0.1:1", "nothing listens at the broker's address 127.0.0.1:1"),
            ("nohost.invalid:9092", "the host of the broker nohost.invalid:9092 is unknown"),
        ] {
            let log = directory.path().join(format!("{stage}.log"));
            let (_stage, port) = start(stage, servers, directory.path(), &log);
            let deadline = Instant::now() + WITHIN;
            loop {
                let (status, said) = ready(port).unwrap_or_default();
                if said.contains(cause) {
                    assert_eq!(status, "503", "{said}");
                    break;
                }
                assert!(Instant::now() < deadline, "{stage}: {cause} is missing in: {said}");
                std::thread::sleep(Duration::from_millis(50));
            }
            let log = fs::read_to_string(&log).unwrap();
            assert_eq!(log.matches("the stage waits").count(), 1, "{log}");
            assert!(!log.contains(".cargo") && !log.contains("canary"), "{log}");
        }
    }
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

/// Status and body; none while nobody listens.
fn ready(port: u16) -> Option<(String, String)> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
    connection.write_all(b"GET /ready HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.to_owned();
    Some((status, answer))
}
