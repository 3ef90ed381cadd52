//! `device-manager up`, and commands that connect to it from another terminal.
//!
//! Needs Java, Kafka's jars and Postgres, as `make setup` installs them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const BINARY: &str = env!("CARGO_BIN_EXE_device-manager");
const WITHIN: Duration = Duration::from_secs(90);

const CATALOGUE: &str = "revision = 1\n[[metric]]\nkey = \"heart_rate\"\nspellings.medisante = [\"pulse_rate\"]\n";

/// Stopped by SIGTERM when the test ends, whether it succeeds or fails, so that it stops its child processes.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        let _sent = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status();
        let _ended = self.0.wait();
    }
}

#[test]
fn the_env_file_works_from_any_folder_and_only_for_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // With the permissions that an operator may have given it.
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
    fs::write(directory.path().join("catalogue.toml"), CATALOGUE).unwrap();
    let _up = up(directory.path());
    let env = data.join("env");
    until("up is ready", || env.exists());

    assert_eq!(mode(&data), 0o700, "it contains payloads");
    let text = fs::read_to_string(&env).unwrap();
    for line in [
        "export TOPIC_PREFIX='up.'".to_owned(),
        format!("export RECEIPT_KEY_FILE='{}'", fs::canonicalize(data.join("receipt.key")).unwrap().display()),
        format!("export KEYS_FILE='{}'", fs::canonicalize(data.join("keys.json")).unwrap().display()),
        format!(
            "export CATALOGUE_FILE='{}'",
            directory.path().join("catalogue.toml").canonicalize().unwrap().display()
        ),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in `env`");
    }
    for name in ["env", "receipt.key", "api-key", "embedded.json"] {
        assert_eq!(mode(&data.join(name)) & 0o077, 0, "{name} can be read by others");
    }

    let device_manager = |arguments: &str| joined(&env, &format!("'{BINARY}' {arguments}"));
    assert_ok(&device_manager("simulate medisante --count 5"));
    let receipt = || {
        let sql = "SELECT receipt FROM attributed_readings LIMIT 1";
        String::from_utf8(joined(&env, &format!("psql -tA \"$DATABASE_URL\" -c '{sql}'")).stdout).unwrap()
    };
    until("a reading is stored", || receipt().len() > 20);
    let trace = device_manager(&format!("trace {}", receipt().trim()));
    assert_ok(&trace);
    assert!(String::from_utf8(trace.stdout).unwrap().contains("reading "));
    assert_ok(&device_manager("drift"));
    let check = device_manager("topics check");
    assert_ok(&check);
    assert!(String::from_utf8(check.stdout).unwrap().contains("up.raw.medisante: right"));
    // Commands that do not use Kafka work as well.
    assert_ok(&device_manager("metrics SpO2 pulse_rate"));
    let sample = r#"[{"value":61,"startDate":"2026-02-01T07:32:00.000+0100"}]"#;
    let normalize = "normalize --provider healthkit --format standard-json --type HeartRate --unit count/min -";
    assert_ok(&joined(&env, &format!("echo '{sample}' | '{BINARY}' {normalize}")));
    assert_ok(&device_manager("skip --topic readings --partition 0 --offset 99 --reason 'of nothing'"));
    let keys = device_manager("keys list");
    assert!(String::from_utf8(keys.stdout).unwrap().contains("development"));
}

#[test]
fn a_catalogue_file_that_is_refused_ends_the_start_at_once() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("catalogue.toml"), CATALOGUE).unwrap();
    let first = up(directory.path());
    until("up is ready", || directory.path().join("data/env").exists());
    drop(first);

    fs::write(directory.path().join("catalogue.toml"), CATALOGUE.replace("pulse_rate", "pulse_per_minute")).unwrap();
    let code = up(directory.path()).0.wait().unwrap().code();
    let log = fs::read_to_string(directory.path().join("log")).unwrap();
    let last = log.lines().last().unwrap();
    assert!(
        last.starts_with("device-manager: the normalizer: ") && last.contains("revision 1 belongs to another file"),
        "{log}"
    );
    assert_eq!(code, Some(1));
    assert!(!directory.path().join("data/env").exists());
}

fn up(directory: &Path) -> Up {
    let child = Command::new(BINARY)
        .args(["up", "--data-dir", "data", "--http-port", "0", "--management-address", "127.0.0.1:0"])
        .env_remove("KAFKA_BOOTSTRAP_SERVERS")
        .env_remove("DATABASE_URL")
        .env("KAFKA_HOME", Path::new(env!("CARGO_MANIFEST_DIR")).join("../.kafka"))
        .env("TOPIC_PREFIX", "up.")
        .env("CATALOGUE_FILE", "catalogue.toml")
        .envs(STRAY)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(directory.join("log")).unwrap())
        .spawn();
    Up(child.unwrap())
}

/// Variables that other software puts into the environment.
const STRAY: [(&str, &str); 5] = [
    ("KAFKA_PORT", "tcp://203.0.113.7:9092"),
    ("KAFKA_SERVICE_HOST", "203.0.113.7"),
    ("KAFKA_OPTS", "-Dstray"),
    ("KAFKA_HEAP_OPTS", "-Xmx203m"),
    ("KAFKA_ACKS", "0"),
];

/// Runs a command in a shell that was set up for another installation, in another folder.
fn joined(env: &Path, command: &str) -> Output {
    Command::new("sh")
        .args(["-c", &format!(". '{}'; {command}", env.display())])
        .env("TOPIC_PREFIX", "another.")
        .env("RECEIPT_KEY_FILE", "/another/receipt.key")
        .env("CATALOGUE_FILE", "/another/catalogue.toml")
        .envs(STRAY)
        .current_dir("/")
        .output()
        .unwrap()
}

fn assert_ok(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
