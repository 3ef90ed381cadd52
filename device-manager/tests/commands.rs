//! What commands say, and the code that they exit with, where nothing but the binary is needed.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_device-manager");

/// Nobody listens there.
const NOBODY: &str = "127.0.0.1:1";
const DATABASE: &str = "postgres://u:canary@127.0.0.1:1/x";

#[test]
fn topics_say_at_once_what_they_wait_for_and_give_up_soon() {
    for (arguments, servers, cause) in [
        (["topics", "check"], NOBODY, "nothing listens at the broker's address 127.0.0.1:1"),
        (["topics", "apply"], "nohost.invalid:9092", "the host of the broker nohost.invalid:9092 is unknown"),
    ] {
        let asked = Instant::now();
        let mut command = device_manager(&arguments, Path::new("."));
        command.env("KAFKA_BOOTSTRAP_SERVERS", servers).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap());
        let mut first = String::new();
        said.read_line(&mut first).unwrap();
        let at_once = asked.elapsed();
        assert!(first.contains(cause) && first.contains("waiting for up to 10 s"), "{first}");
        assert!(at_once < Duration::from_secs(5), "said after {at_once:?}");
        let mut last = String::new();
        said.read_to_string(&mut last).unwrap();
        let code = process.wait().unwrap().code();
        let took = asked.elapsed();
        assert!(last.contains(cause) && code == Some(1), "{code:?} {last}");
        assert!(took < Duration::from_secs(15), "gave up after {took:?}");
    }
}

#[test]
fn a_file_or_a_setting_that_cannot_be_used_is_code_2_and_nobody_listens_before() {
    let directory = with_secrets();
    write_secret(&directory.path().join("short"), "5a");
    fs::write(directory.path().join("no-key"), "{\"keys\":[]}").unwrap();
    for (stage, variable, value, cause) in [
        ("ingress", "RECEIPT_KEY_FILE", "none", "No such file"),
        ("normalizer", "RECEIPT_KEY_FILE", "none", "No such file"),
        ("sink", "RECEIPT_KEY_FILE", "none", "No such file"),
        ("normalizer", "RECEIPT_KEY_FILE", "short", "64 hexadecimal digits"),
        ("ingress", "KEYS_FILE", "none", "No such file"),
        ("ingress", "KEYS_FILE", "no-key", "has no key"),
        ("ingress", "HTTP_ADDRESS", "0.0.0.0", "TLS_TERMINATOR"),
        ("ingress", "BODY_BYTES_MAX", "0", "BODY_BYTES_MAX"),
        ("sink", "DATABASE_URL", "mysql://u:canary@127.0.0.1/x", "DATABASE_URL is malformed"),
        ("normalizer", "KAFKA_BOOTSTRAP_SERVERS", "", "KAFKA_BOOTSTRAP_SERVERS is not set"),
        ("sink", "KAFKA_SSL_CA_LOCATION", "none", "the KAFKA_ variables cannot be used"),
        ("drift", "RECEIPT_KEY_FILE", "none", "No such file"),
        ("topics check", "KAFKA_BOOTSTRAP_SERVERS", "http://u:canary@kafka", "KAFKA_BOOTSTRAP_SERVERS is malformed"),
        ("keys list", "KEYS_FILE", "none", "No such file"),
        ("up", "DATABASE_URL", "mysql://u:canary@127.0.0.1/x", "DATABASE_URL is malformed"),
        ("up", "KAFKA_BOOTSTRAP_SERVERS", "http://u:canary@kafka", "KAFKA_BOOTSTRAP_SERVERS is malformed"),
    ] {
        let arguments: Vec<&str> = stage.split(' ').collect();
        let mut command = device_manager(&arguments, directory.path());
        // Were the port looked at first, that it is taken would be said.
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        command.env("MANAGEMENT_ADDRESS", taken.local_addr().unwrap().to_string());
        command.env("KAFKA_SECURITY_PROTOCOL", "ssl").env(variable, value);
        assert_failed(command.output().unwrap(), 2, cause);
    }
}

#[test]
fn a_port_that_is_taken_is_code_1() {
    let directory = with_secrets();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    for (stage, variable, value) in
        [("sink", "MANAGEMENT_ADDRESS", taken.to_string()), ("ingress", "HTTP_PORT", taken.port().to_string())]
    {
        let mut command = device_manager(&[stage], directory.path());
        assert_failed(command.env(variable, value).output().unwrap(), 1, &taken.to_string());
    }
}

#[test]
fn a_missing_argument_is_named_with_its_variable_and_how_to_come_by_it() {
    for stage in ["ingress", "normalizer", "sink"] {
        let mut command = device_manager(&[stage], Path::new("."));
        let output = command.env_remove("RECEIPT_KEY_FILE").output().unwrap();
        let said = assert_failed(output, 2, "--receipt-key-file");
        assert!(said.contains("RECEIPT_KEY_FILE in the environment"), "{said}");
        assert!(said.contains("openssl rand -hex 32"), "{said}");
    }
    let mut command = device_manager(&["skip", "--topic", "readings"], Path::new("."));
    let said = assert_failed(command.env_remove("DATABASE_URL").output().unwrap(), 2, "--database-url");
    assert!(said.contains("DATABASE_URL in the environment") && !said.contains("instead of starting one"), "{said}");
}

#[test]
fn a_new_keys_secret_stands_alone_on_the_last_line() {
    let directory = tempfile::tempdir().unwrap();
    let output = create_key(directory.path());
    let said = String::from_utf8(output.stdout).unwrap();
    let [id, secret] = said.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(id.starts_with("id: key-"), "{said}");
    let is_of_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(secret.starts_with("dm_") && secret.bytes().all(is_of_key), "no other word on the line");
    let remark = String::from_utf8(output.stderr).unwrap();
    assert!(remark.contains("shown this once only") && !remark.contains(secret), "{remark}");
}

#[test]
fn a_key_may_declare_defaults_and_an_argument_that_breaks_a_rule_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let create = |arguments: &[&str]| {
        let arguments = [&["keys", "create", "--source", "app", "--scope", "health-data:write"], arguments].concat();
        device_manager(&arguments, directory.path()).output().unwrap()
    };
    assert!(create(&["--id", "app-1", "--defaults", "react-native-health"]).status.success());
    let listed = device_manager(&["keys", "list"], directory.path()).output().unwrap();
    assert!(String::from_utf8(listed.stdout).unwrap().contains("\tdefaults react-native-health\t"));
    for (arguments, said) in [
        (["--defaults", "fitbit"], "--defaults must be react-native-health"),
        (["--provider", "fitbit"], "--provider must be medisante or healthkit"),
        (["--id", "app-1"], "--id is the id of a key that exists already"),
    ] {
        let refused = assert_failed(create(&arguments), 2, said);
        assert!(!refused.contains("file"), "{refused}");
    }
}

/// A directory with a receipt key and an API key.
fn with_secrets() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write_secret(&directory.path().join("receipt.key"), &"5a".repeat(32));
    assert!(create_key(directory.path()).status.success());
    directory
}

fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn create_key(directory: &Path) -> Output {
    let arguments = ["keys", "create", "--source", "tests", "--scope", "health-data:write"];
    device_manager(&arguments, directory).output().unwrap()
}

/// With settings that can be used and reach nothing.
fn device_manager(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    command.env("KAFKA_BOOTSTRAP_SERVERS", NOBODY).env("DATABASE_URL", DATABASE);
    command.env("RECEIPT_KEY_FILE", "receipt.key").env("KEYS_FILE", "keys.json");
    command.env("MANAGEMENT_ADDRESS", "127.0.0.1:0").env("HTTP_PORT", "0");
    command
}

/// Returns what was said.
fn assert_failed(output: Output, code: i32, cause: &str) -> String {
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(cause) && !said.contains("canary"), "{cause} is missing in: {said}");
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}
