//! Authentication and permissions.

use std::{fs, os::unix::fs::PermissionsExt};

use ingress::keys::{self, InvalidKey, KeyRing, KeysError, NewKey, Scope};
use service::health::Health;
use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;

use crate::test_app::{MESSAGE, TestApp, new_key};

const PATH: &str = "/health-data/medisante/json";

#[tokio::test]
async fn without_a_valid_key_nothing_is_read_or_stored() {
    let test_app = TestApp::new();
    let missing = test_app.bare(PATH).send(MESSAGE).await;
    assert_eq!(missing.problem(401), "key-missing");
    assert!(missing.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    for (header, value) in [("x-api-key", "dm_wrong"), ("authorization", "Bearer dm_wrong")] {
        let answer = test_app.bare(PATH).header(header, value).send(MESSAGE).await;
        assert_eq!(answer.problem(401), "key-invalid");
        assert!(answer.headers.contains_key("www-authenticate"));
    }
    for (header, value) in [("authorization", "Basic dm_x"), ("x-api-key", ""), ("authorization", "Bearer ")] {
        assert_eq!(test_app.bare(PATH).header(header, value).send(MESSAGE).await.problem(401), "key-missing");
    }
    let twice = test_app.post(PATH).header("authorization", "Bearer dm_x").send(MESSAGE).await;
    assert_eq!(twice.problem(401), "key-missing");
    assert_eq!(test_app.bare("/health-data/medisante/csv").send(MESSAGE).await.problem(401), "key-missing");
    assert_eq!(test_app.stored(), 0);
}

#[tokio::test]
async fn a_key_is_accepted_as_a_bearer_token_or_in_the_header() {
    let test_app = TestApp::new();
    for scheme in ["Bearer", "bearer"] {
        let value = format!("{scheme} {}", test_app.key);
        assert_eq!(test_app.bare(PATH).header("authorization", &value).send(MESSAGE).await.status, 200);
    }
}

#[tokio::test]
async fn a_key_is_valid_only_within_its_time() {
    let test_app = TestApp::new();
    let now = OffsetDateTime::now_utc();
    let mut early = new_key("early");
    early.not_before = Some(now + Duration::hours(1));
    let mut late = new_key("late");
    late.expires_at = Some(now - Duration::hours(1));
    let mut current = new_key("current");
    (current.not_before, current.expires_at) = (Some(now - Duration::hours(1)), Some(now + Duration::hours(1)));
    for (new, status) in [(early, 401), (late, 401), (current, 200)] {
        let key = test_app.key(new);
        assert_eq!(test_app.bare(PATH).header("x-api-key", &key).send(MESSAGE).await.status, status);
    }
    let mut expiring = new_key("expiring");
    expiring.expires_at = Some(now);
    let key = test_app.key(expiring);
    assert!(test_app.keys.authenticate(key.as_bytes(), now - Duration::nanoseconds(1)).is_ok());
    assert_eq!(test_app.keys.authenticate(key.as_bytes(), now).err(), Some(InvalidKey::Expired));
}

#[tokio::test]
async fn a_key_is_valid_only_for_its_scopes_and_providers() {
    let test_app = TestApp::new();
    let mut devices = new_key("devices");
    devices.scopes = vec![Scope::DevicesWrite];
    let mut healthkit = new_key("app");
    healthkit.providers = Some(vec!["apple-healthkit".to_owned()]);
    let (devices, healthkit) = (test_app.key(devices), test_app.key(healthkit));
    assert_eq!(test_app.bare(PATH).header("x-api-key", &devices).send(MESSAGE).await.problem(403), "forbidden");
    assert_eq!(test_app.bare(PATH).header("x-api-key", &healthkit).send(MESSAGE).await.problem(403), "forbidden");
    let own = test_app.bare("/health-data/healthkit/json").header("x-api-key", &healthkit).send("[]").await;
    assert_eq!(own.status, 200);
    assert_eq!(test_app.post(PATH).send(MESSAGE).await.status, 200, "the first key stays valid beside the new ones");
}

#[tokio::test]
async fn a_patient_named_in_a_header_is_refused() {
    let test_app = TestApp::new();
    for header in ["subject", "X-Subject", "x-patient-id", "x-on-behalf-of"] {
        assert_eq!(test_app.post(PATH).header(header, "patient-1").send(MESSAGE).await.problem(400), "subject-header");
    }
    assert_eq!(test_app.stored(), 0);
}

#[tokio::test]
async fn a_changed_keys_file_takes_effect_and_an_invalid_one_changes_nothing() {
    let test_app = TestApp::new();
    let valid = test_app.key(new_key("second"));
    let ids: Vec<_> = keys::list(&test_app.keys_file).unwrap().into_iter().map(|key| (key.id, key.source)).collect();
    assert_eq!(ids.iter().map(|(_, source)| source.as_str()).collect::<Vec<_>>(), ["portal", "second"]);

    keys::revoke(&test_app.keys_file, &ids[0].0).unwrap();
    test_app.keys.refresh().unwrap();
    assert_eq!(test_app.post(PATH).send(MESSAGE).await.problem(401), "key-invalid");
    assert!(matches!(keys::revoke(&test_app.keys_file, &ids[0].0), Err(KeysError::Unknown { .. })));

    for broken in ["{", "{\"keys\":[{}]}", "{\"keys\":[],\"kyes\":[]}"] {
        fs::write(&test_app.keys_file, broken).unwrap();
        assert!(matches!(test_app.keys.refresh(), Err(KeysError::Form { .. })));
        assert_eq!(test_app.bare(PATH).header("x-api-key", &valid).send(MESSAGE).await.status, 200);
    }
    fs::remove_file(&test_app.keys_file).unwrap();
    assert!(matches!(test_app.keys.refresh(), Err(KeysError::Io { .. })));
    assert_eq!(test_app.bare(PATH).header("x-api-key", &valid).send(MESSAGE).await.status, 200);

    // An empty list of keys is a valid file: the operator removed the last key.
    fs::write(&test_app.keys_file, "{\"keys\":[]}").unwrap();
    test_app.keys.refresh().unwrap();
    assert_eq!(test_app.bare(PATH).header("x-api-key", &valid).send(MESSAGE).await.problem(401), "key-invalid");
}

#[tokio::test]
async fn a_changed_keys_file_is_loaded_without_a_restart_and_an_invalid_one_is_reported() {
    let test_app = TestApp::new();
    let (health, shutdown) = (Health::new(), CancellationToken::new());
    let watch = tokio::spawn(test_app.keys.clone().watch(health.stage("ingress"), shutdown.clone()));
    let shows = async |word: &str| {
        let seen = async {
            while !health.stages()["ingress"].details.get("keys").is_some_and(|detail| detail.contains(word)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), seen).await.expect("the change is reported in time");
    };
    shows("1 ").await;
    let (_, secret) = keys::create(&test_app.keys_file, new_key("second")).unwrap();
    shows("2 ").await;
    assert_eq!(test_app.bare(PATH).header("x-api-key", secret.reveal()).send(MESSAGE).await.status, 200);
    fs::write(&test_app.keys_file, "{").unwrap();
    shows("cannot be used").await;
    assert_eq!(test_app.bare(PATH).header("x-api-key", secret.reveal()).send(MESSAGE).await.status, 200);
    shutdown.cancel();
    watch.await.unwrap();
}

#[test]
fn the_keys_file_has_no_secret_and_only_its_owner_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let (id, secret) = keys::create(&path, new_key("portal")).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(&id) && !text.contains(secret.reveal()) && secret.reveal().len() > 40);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn a_keys_file_that_breaks_a_rule_is_refused_with_the_rule() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let hash = "0".repeat(64);
    let key = |change: &str| {
        format!(
            "{{\"keys\":[{{\"id\":\"a\",\"source\":\"s\",\"sha256\":\"{hash}\",\"scopes\":[\"devices:write\"]{change}}}]}}"
        )
    };
    for (text, rule) in [
        (key("").replace(&hash, "abc"), "64 hexadecimal"),
        (key("").replace("[\"devices:write\"]", "[]"), "scopes"),
        (key("").replace("\"s\"", "\" \""), "source"),
        (key("").replace("\"a\"", "\"a b\""), "id must"),
        (key(",\"providers\":[\"fitbit\"]"), "providers"),
        (key(",\"defaults\":\"fitbit\""), "defaults must be react-native-health"),
        (key(",\"not_before\":\"2025-01-01T00:00:00Z\",\"expires_at\":\"2024-01-01T00:00:00Z\""), "after"),
        (
            key("")
                .replace("}]}", "},{\"id\":\"a\",\"source\":\"s\",\"sha256\":\"11\",\"scopes\":[\"devices:write\"]}]}"),
            "64",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let error = KeyRing::open(&path).err().unwrap().to_string();
        assert!(error.contains(rule), "{error}");
    }
    fs::write(&path, key("")).unwrap();
    assert_eq!(KeyRing::open(&path).unwrap().count(), 1);
}

#[test]
fn a_new_key_that_breaks_a_rule_is_refused_with_its_argument() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let (id, _) = keys::create(&path, new_key("portal")).unwrap();
    let before = fs::read_to_string(&path).unwrap();
    let late = Some(OffsetDateTime::UNIX_EPOCH);
    for (new, argument) in [
        (NewKey { id: Some("a b".to_owned()), ..new_key("s") }, "--id must"),
        (NewKey { id: Some(id), ..new_key("s") }, "--id is"),
        (new_key(" "), "--source must"),
        (NewKey { scopes: Vec::new(), ..new_key("s") }, "--scope must"),
        (NewKey { providers: Some(vec!["fitbit".to_owned()]), ..new_key("s") }, "--provider must"),
        (NewKey { defaults: Some("fitbit".to_owned()), ..new_key("s") }, "--defaults must"),
        (NewKey { not_before: late, expires_at: late, ..new_key("s") }, "--expires-at must"),
    ] {
        let error = keys::create(&path, new).err().unwrap();
        assert!(matches!(error, KeysError::Argument { .. }));
        assert!(error.to_string().starts_with(argument), "{argument}: {error}");
        assert!(!error.to_string().contains("file"), "{error}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
}
