//! The output and the exit codes of commands, in cases where only the binary is required.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like the tests themselves")]

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use schemas::{
    format::{Provider, RawTopic},
    receipt::{ItemPosition, ReceiptKey},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpSocket;

mod commands {
    mod catalogue_file;
}

const BINARY: &str = env!("CARGO_BIN_EXE_device-manager");

/// An address that nothing listens at.
const NOBODY: &str = "127.0.0.1:1";
const DATABASE: &str = "postgres://u:canary@127.0.0.1:1/x";

#[test]
fn topics_commands_report_at_once_what_they_wait_for_and_give_up_in_time() {
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
        assert!(at_once < Duration::from_secs(5), "reported after {at_once:?}");
        let mut last = String::new();
        said.read_to_string(&mut last).unwrap();
        let code = process.wait().unwrap().code();
        let took = asked.elapsed();
        assert!(last.contains(cause) && code == Some(1), "{code:?} {last}");
        assert!(took < Duration::from_secs(15), "gave up after {took:?}");
    }
}

/// The cause is remembered by process, so each stage is one here.
#[test]
fn a_stage_reports_why_kafka_does_not_answer() {
    let directory = with_secrets();
    for stage in ["ingress", "normalizer"] {
        // Bound but not listening: connections are refused, and no other process can take the port.
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let broker = silent.local_addr().unwrap();
        let log = directory.path().join(format!("{stage}.log"));
        let mut command = device_manager(&[stage], directory.path());
        command.env("KAFKA_BOOTSTRAP_SERVERS", broker.to_string());
        let mut process = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        let expected = format!(
            "\"stage\":\"{stage}\",\"reason\":\"Kafka does not answer: nothing listens at the broker's address {broker}\""
        );
        let deadline = Instant::now() + Duration::from_secs(60);
        let found = loop {
            let found = fs::read_to_string(&log).unwrap();
            if found.contains(&expected) || Instant::now() > deadline {
                break found;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(found.contains(&expected), "{expected} is missing in: {found}");
    }
}

#[test]
fn a_scope_in_which_nothing_can_be_is_exit_code_2() {
    let directory = with_secrets();
    let of_kafka = ItemPosition { topic: RawTopic::Medisante, topic_epoch: 0, partition: 0, offset: 7, item: 0 };
    let receipt = ReceiptKey::new(&[0x5a; 32]).unwrap().issue(&of_kafka);
    let span = "--since 1h ago is not before --until 2h ago";
    for (arguments, cause) in [
        ("reconcile --since 1h --until 2h", span),
        ("reconcile --topic raw.medisante --partition=-1", "-1 is not in 0.."),
        ("reconcile --topic raw.medisante --partition 0 --from=-1", "-1 is not in 0.."),
        ("replay --provider medisante --since 1h --until 2h", span),
        (&format!("replay --provider healthkit --receipt {receipt}"), "the receipt is not one of healthkit"),
    ] {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        assert_failed(device_manager(&arguments, directory.path()).output().unwrap(), 2, cause);
    }
}

#[test]
fn an_unusable_file_or_setting_is_exit_code_2_before_a_port_is_opened() {
    let directory = with_secrets();
    write_secret(&directory.path().join("short"), "5a");
    fs::write(directory.path().join("no-key"), "{\"keys\":[]}").unwrap();
    fs::write(directory.path().join("no-revision"), "[[metric]]\nkey = \"heart_rate\"").unwrap();
    for (stage, variable, value, cause) in [
        ("ingress", "RECEIPT_KEY_FILE", "none", "No such file"),
        ("normalizer", "RECEIPT_KEY_FILE", "none", "No such file"),
        ("sink", "RECEIPT_KEY_FILE", "none", "No such file"),
        ("normalizer", "RECEIPT_KEY_FILE", "short", "64 hexadecimal digits"),
        ("ingress", "KEYS_FILE", "none", "No such file"),
        ("ingress", "KEYS_FILE", "no-key", "has no key"),
        ("ingress", "HTTP_ADDRESS", "0.0.0.0", "TLS_TERMINATOR"),
        ("ingress", "BODY_BYTES_MAX", "0", "BODY_BYTES_MAX"),
        ("normalizer", "CATALOGUE_FILE", "none", "No such file"),
        ("normalizer", "CATALOGUE_FILE", "no-revision", "no-revision: the file has no revision; begin it with"),
        ("up", "CATALOGUE_FILE", "no-revision", "the file has no revision"),
        ("replay --provider medisante", "CATALOGUE_FILE", "no-revision", "the file has no revision"),
        ("metrics", "CATALOGUE_FILE", "no-revision", "the file has no revision"),
        ("sink", "DATABASE_URL", "mysql://u:canary@127.0.0.1/x", "DATABASE_URL is malformed"),
        ("normalizer", "KAFKA_BOOTSTRAP_SERVERS", "", "KAFKA_BOOTSTRAP_SERVERS is not set"),
        ("sink", "KAFKA_SSL_CA_LOCATION", "none", "the KAFKA_ variables cannot be used"),
        ("drift", "RECEIPT_KEY_FILE", "none", "No such file"),
        ("topics check", "KAFKA_BOOTSTRAP_SERVERS", "http://u:canary@kafka", "KAFKA_BOOTSTRAP_SERVERS is malformed"),
        ("keys list", "KEYS_FILE", "none", "No such file"),
        ("up", "DATABASE_URL", "mysql://u:canary@127.0.0.1/x", "DATABASE_URL is malformed"),
        ("chaos", "DATABASE_URL", DATABASE, "`env -u KAFKA_BOOTSTRAP_SERVERS -u DATABASE_URL`"),
        ("up", "KAFKA_BOOTSTRAP_SERVERS", "http://u:canary@kafka", "KAFKA_BOOTSTRAP_SERVERS is malformed"),
    ] {
        let arguments: Vec<&str> = stage.split(' ').collect();
        let mut command = device_manager(&arguments, directory.path());
        // If the port were opened first, the error would be that it is in use.
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        command.env("MANAGEMENT_ADDRESS", taken.local_addr().unwrap().to_string());
        command.env("KAFKA_SECURITY_PROTOCOL", "ssl").env(variable, value);
        assert_failed(command.output().unwrap(), 2, cause);
    }
}

#[test]
fn a_port_in_use_is_exit_code_1() {
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
fn a_missing_argument_is_reported_with_its_variable_and_how_to_get_a_value() {
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
fn the_secret_of_a_new_key_is_alone_on_the_last_line() {
    let directory = tempfile::tempdir().unwrap();
    let output = create_key(directory.path());
    let said = String::from_utf8(output.stdout).unwrap();
    let [id, secret] = said.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(id.starts_with("id: key-"), "{said}");
    let is_of_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(secret.starts_with("dm_") && secret.bytes().all(is_of_key), "no other word on the line");
    let remark = String::from_utf8(output.stderr).unwrap();
    assert!(remark.contains("shown only once") && !remark.contains(secret), "{remark}");
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
        (["--provider", "fitbit"], "invalid value 'fitbit' for '--provider <PROVIDERS>'"),
        (["--id", "app-1"], "--id is the id of a key that exists already"),
    ] {
        let refused = assert_failed(create(&arguments), 2, said);
        assert!(!refused.contains("file"), "{refused}");
    }
}

#[test]
fn commands_share_the_names_of_providers_and_formats() {
    for (command, next_fault) in [(&["normalize", "missing.json"][..], "missing.json"), (&["replay"], "receipt.key")] {
        let said = |provider: &str, format: &str, cause: &str| {
            let arguments = [command, &["--provider", provider, "--format", format]].concat();
            assert_failed(device_manager(&arguments, Path::new(".")).output().unwrap(), 2, cause)
        };
        let unknown = said("fitbit", "json", "invalid value 'fitbit' for '--provider <PROVIDER>'");
        for (name, _) in Provider::names() {
            assert!(unknown.contains(name), "{name} is missing in: {unknown}");
        }
        said("medisante", "csv", "invalid value 'csv' for '--format <FORMAT>'");
        said("apple-healthkit", "json", next_fault);
    }
}

#[test]
fn a_usage_line_names_only_required_arguments() {
    let usage = |arguments: &[&str]| {
        let output = device_manager(&[arguments, &["--help"]].concat(), Path::new(".")).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        help.lines()
            .skip_while(|line| !line.starts_with("Usage:"))
            .take_while(|line| !line.is_empty())
            .collect::<String>()
    };
    assert_eq!(usage(&["trace"]), "Usage: device-manager trace [OPTIONS] <RECEIPT_OR_CORRELATION_ID>");
    assert_eq!(usage(&["drift"]), "Usage: device-manager drift [OPTIONS]");
    assert_eq!(usage(&["sink"]), "Usage: device-manager sink [OPTIONS]       device-manager sink <COMMAND>");
    assert_eq!(usage(&["topics"]), "Usage: device-manager topics [OPTIONS] <COMMAND>");
    let create = usage(&["keys", "create"]);
    assert!(create.contains("--source <SOURCE>") && create.contains("--scope <SCOPES>"), "{create}");
}

#[test]
fn a_closed_pipe_ends_a_command_quietly_with_its_usual_exit_code() {
    let directory = with_secrets();
    fs::write(directory.path().join("bad.json"), "[{\"value\": 1}]").unwrap();
    let refused = ["normalize", "--provider", "healthkit", "--format", "json", "bad.json"];
    for (arguments, code) in
        [(&["metrics"][..], 0), (&["metrics", "--json"], 0), (&["completions", "bash"], 0), (&refused, 1)]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = device_manager(arguments, directory.path()).stdout(writer).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_key_is_revoked_only_after_a_confirmation() {
    let directory = tempfile::tempdir().unwrap();
    let create = ["keys", "create", "--json", "--id", "app-1", "--source", "app", "--scope", "health-data:write"];
    let created = device_manager(&create, directory.path()).output().unwrap();
    let created: Value = serde_json::from_slice(&created.stdout).unwrap();
    assert!(created["id"] == "app-1" && created["secret"].as_str().unwrap().starts_with("dm_"));
    let list = || {
        let output = device_manager(&["keys", "list", "--json"], directory.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let key: Value = serde_json::from_str(&list()).unwrap();
    let expected = json!({
        "id": "app-1", "source": "app", "scopes": ["health-data:write"], "providers": null, "defaults": null,
        "not_before": null, "expires_at": null,
    });
    assert_eq!(key, expected);
    let revoke = |arguments: &[&str], answer: &str| {
        let mut command = device_manager(&[&["keys", "revoke", "app-1"], arguments].concat(), directory.path());
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        process.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        process.wait_with_output().unwrap()
    };
    for answer in ["", "no\n", "y\n"] {
        let said = assert_failed(revoke(&[], answer), 1, "nobody typed yes");
        assert!(said.contains("app-1\tapp\thealth-data:write"), "{said}");
        assert!(list().contains("app-1"));
    }
    let revoked = revoke(&[], "yes\n");
    assert!(revoked.status.success() && String::from_utf8(revoked.stdout).unwrap().starts_with("revoked: app-1\t"));
    assert_eq!(list(), "");
    assert_failed(revoke(&["--yes"], ""), 1, "app-1");
    assert!(device_manager(&create, directory.path()).output().unwrap().status.success());
    assert!(revoke(&["--yes"], "").status.success());
    assert_eq!(list(), "");
}

#[test]
fn a_keys_file_that_is_a_link_stays_one_and_a_secret_that_is_not_printed_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let (target, link) = (directory.path().join("real.json"), directory.path().join("keys.json"));
    fs::write(&target, "{\"keys\": []}").unwrap();
    fs::set_permissions(&target, Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let create = ["keys", "create", "--id", "app-1", "--source", "app", "--scope", "health-data:write"];
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = device_manager(&create, directory.path()).stdout(full).output().unwrap();
    assert_failed(output, 1, "the key app-1 exists, but its secret could not be printed: revoke the key");
    assert!(link.is_symlink() && fs::read_to_string(&target).unwrap().contains("app-1"));
}

#[test]
fn trace_reports_what_it_needs_for_a_correlation_id_and_gives_up_in_time() {
    let directory = with_secrets();
    let mut command = device_manager(&["trace", "order-7"], directory.path());
    command.env_remove("KAFKA_BOOTSTRAP_SERVERS");
    assert_failed(command.output().unwrap(), 2, "to search for it as a correlation id, name the brokers");
    let since = device_manager(&["trace", "order-7", "--since", "yesterday"], directory.path());
    assert_failed({ since }.output().unwrap(), 2, "a number with s, m, h or d");

    for word in ["", "two words", &"x".repeat(129)] {
        let said = device_manager(&["trace", word], directory.path()).output().unwrap();
        assert_failed(said, 2, "neither a receipt nor a correlation id");
    }

    // It accepts connections, and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let position = ItemPosition { topic: RawTopic::Medisante, topic_epoch: 0, partition: 0, offset: 0, item: 0 };
    let receipt = ReceiptKey::new(&[0x5a; 32]).unwrap().issue(&position);
    let asked = Instant::now();
    let mut command = device_manager(&["trace", &receipt, "--timeout-seconds", "1"], directory.path());
    command.env("DATABASE_URL", format!("postgres://u:canary@{}/x", silent.local_addr().unwrap()));
    assert_failed(command.output().unwrap(), 1, "no answer within 1 s (--timeout-seconds)");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[test]
fn a_payload_is_not_shown_without_reveal_and_arguments_about_dead_letters_are_checked() {
    let directory = with_secrets();
    let position = ItemPosition { topic: RawTopic::Medisante, topic_epoch: 0, partition: 0, offset: 0, item: 0 };
    let receipt = ReceiptKey::new(&[0x5a; 32]).unwrap().issue(&position);
    let id = "raw.healthkit:0:2:17:3:normalizer";
    for (arguments, cause) in [
        (vec!["payload", &receipt], "--reveal prints it, and the table audit records who looked"),
        (vec!["payload", "AAAB", "--reveal"], "this is not a receipt of this installation"),
        (vec!["payload", &receipt, "--reveal", "--operator", " "], "1 to 200 characters"),
        (vec!["dead-letters", "show", "17"], "this is not the id of a dead letter, such as"),
        (vec!["dead-letters", "list", "--reason", "wrong"], "the reasons are malformed, unexpected-shape"),
        (
            vec!["dead-letters", "list", "--state", "open,closed"],
            "the states are open, redriven, resolved and discarded",
        ),
        (vec!["dead-letters", "discard", id], "--reason"),
        (vec!["dead-letters", "discard", id, "--reason", "a\nb"], "none of them a control character"),
        (vec!["find", "--patient", "patient-77", "--device", "watch-1"], "cannot be used with"),
        (vec!["find", "--since", "yesterday"], "a number with s, m, h or d"),
        (vec!["find", "--provider", "wrong"], "the providers are medisante and healthkit"),
    ] {
        assert_failed(device_manager(&arguments, directory.path()).output().unwrap(), 2, cause);
    }
}

#[test]
fn completions_and_manual_pages_have_all_commands() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = device_manager(&["completions", shell], directory.path()).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("trace") && script.contains("accept-gap"), "{shell}");
    }
    assert!(device_manager(&["man", "man1"], directory.path()).output().unwrap().status.success());
    let page = |name: &str| fs::read_to_string(directory.path().join("man1").join(name)).unwrap();
    assert!(page("device-manager.1").contains("Exit codes"));
    assert!(page("device-manager-trace.1").contains("X\\-Correlation\\-ID"), "{}", page("device-manager-trace.1"));
    assert!(page("device-manager-keys-revoke.1").contains("\\-\\-yes"));
    assert!(page("device-manager-dead-letters-discard.1").contains("\\-\\-operator"));
}

#[test]
fn the_generated_pages_match_the_code() {
    let (committed, generated) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs"), tempfile::tempdir().unwrap());
    assert!(device_manager(&["docs", "."], generated.path()).output().unwrap().status.success());
    let mut names = Vec::new();
    for entry in fs::read_dir(generated.path()).unwrap() {
        let name = entry.unwrap().file_name();
        let [is, must_be] =
            [&committed, generated.path()].map(|folder| fs::read_to_string(folder.join(&name)).unwrap());
        assert!(is == must_be, "docs/{} is stale: run `make generated`", name.display());
        names.push(name);
    }
    assert_eq!(names.len(), 5);
    let settings = fs::read_to_string(committed.join("configuration.md")).unwrap();
    let is_required = |variable: &str| {
        let mut rows = settings.lines().filter(|line| line.contains(&format!("| `{variable}` |")));
        rows.any(|row| row.contains("| required |"))
    };
    assert!(is_required("KAFKA_BOOTSTRAP_SERVERS") && is_required("DATABASE_URL") && !is_required("KAFKA_HOME"));
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

/// A command with settings that are valid and reach nothing.
fn device_manager(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    command.env("KAFKA_BOOTSTRAP_SERVERS", NOBODY).env("DATABASE_URL", DATABASE);
    command.env("RECEIPT_KEY_FILE", "receipt.key").env("KEYS_FILE", "keys.json");
    command.env("MANAGEMENT_ADDRESS", "127.0.0.1:0").env("HTTP_PORT", "0");
    command
}

/// Returns what was written to standard error.
fn assert_failed(output: Output, code: i32, cause: &str) -> String {
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(cause) && !said.contains("canary"), "{cause} is missing in: {said}");
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}
