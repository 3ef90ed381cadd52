//! Dead letters from the payload to the operator: one of each reason that a request can cause.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::{
    payload::{ecg, heart_rate, weight},
    replay::export,
    world::{Stage, WITHIN, World, until},
};

const SAMPLES: &str = "/health-data/healthkit/standard-json";
const FHIR: &str = "/health-data/healthkit/fhir-json";
const MESSAGE: &str = "/health-data/medisante/standard-json";

/// The reasons that a request cannot cause: a record that the ingress did not write, a defect of the mapping, and an operator's skip.
const NOT_BY_A_REQUEST: [&str; 3] = ["broken-record", "mapping-failed", "skipped"];

fn altered(mut body: Value, name: &str, value: Value) -> String {
    body[name] = value;
    body.to_string()
}

fn sample(name: &str, value: Value) -> String {
    format!("[{}]", altered(heart_rate(61), name, value))
}

fn without(name: &str) -> String {
    let mut body = heart_rate(61);
    body.as_object_mut().unwrap().remove(name);
    format!("[{body}]")
}

/// A request for each reason, except an upload that is broken off.
fn requests() -> Vec<(&'static str, &'static str, String)> {
    let mut weight_without_unit = heart_rate(80);
    weight_without_unit["type"] = json!("HKQuantityTypeIdentifierBodyMass");
    weight_without_unit.as_object_mut().unwrap().remove("unit");
    let nested = format!("[{}]", altered(heart_rate(61), "metadata", nested(70)));
    vec![
        ("malformed", MESSAGE, "{".to_owned()),
        ("unexpected-shape", MESSAGE, "{}".to_owned()),
        ("format-not-read", FHIR, altered(weight("w-1", 80.0), "modifierExtension", json!([{ "url": "urn:x" }]))),
        ("empty", FHIR, json!({ "resourceType": "Bundle", "type": "collection" }).to_string()),
        ("too-large", SAMPLES, nested),
        ("type-missing", SAMPLES, without("type")),
        ("not-a-reading", SAMPLES, sample("type", json!("HKCharacteristicTypeIdentifierDateOfBirth"))),
        ("value-missing", SAMPLES, without("value")),
        ("value-invalid", SAMPLES, sample("value", json!("many"))),
        ("unit-missing", SAMPLES, format!("[{weight_without_unit}]")),
        ("unit-invalid", SAMPLES, sample("unit", json!("kg"))),
        ("time-invalid", SAMPLES, sample("startDate", json!("yesterday"))),
        ("incomplete", FHIR, altered(weight("w-2", 80.0), "status", Value::Null)),
        ("identifier-invalid", SAMPLES, sample("deviceId", json!("x".repeat(300)))),
        ("document-invalid", MESSAGE, ecg("no base64!").to_string()),
        ("command-invalid", "/devices/assign", json!({ "deviceId": "watch-1" }).to_string()),
        ("row-refused", SAMPLES, sample("unit", json!("count/min\u{0}"))),
    ]
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

/// The receipt in the answer to a payload, to an array of samples, to a refused request, or to a command.
fn receipt_of(answer: &Value) -> String {
    let found = [&answer["_id"], &answer[0]["_id"], &answer["receipt"]].into_iter().find_map(Value::as_str);
    found.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Sends the head of an export and its first chunk, and disconnects.
pub(crate) fn break_off_upload(world: &World) {
    let mut sender = TcpStream::connect(world.client.address()).unwrap();
    let head = format!(
        "POST /health-data/healthkit/export-xml?deviceId=watch-1 HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {}\r\n\
         Content-Type: application/xml\r\nContent-Length: 10000000\r\n\r\n<HealthData>",
        world.client.key
    );
    sender.write_all(head.as_bytes()).unwrap();
    sender.write_all(" ".repeat(2 << 20).as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_is_listed_and_shown_and_the_senders_receipt_shows_the_same() {
    let world = World::start().await;
    break_off_upload(&world);
    let mut receipts = Vec::new();
    for (reason, path, body) in requests() {
        let answer: Value = world.client.try_upload(path, body).await.unwrap().json().await.unwrap();
        receipts.push((reason, receipt_of(&answer)));
    }
    let reasons = i64::try_from(receipts.len() + 1).unwrap();
    world.until_count("SELECT count(DISTINCT reason) FROM dead_letters", reasons).await;

    let all = world.operate_json("dead-letters", &["list"]);
    assert_eq!(all.len(), receipts.len() + 1, "{all:#?}");
    let letter = |reason: &str| all.iter().find(|letter| letter["reason"] == *reason).unwrap();
    for (reason, receipt) in &receipts {
        let listed = letter(reason);
        assert_eq!((&listed["receipt"], &listed["state"]), (&json!(receipt), &json!("open")), "{reason}");
        let known = (&listed["source"], &listed["attempts"], &listed["remedy"]);
        assert_eq!(known, (&json!("tests"), &json!(1), &json!(format!("docs/rejections.md#{reason}"))));
        let id = listed["id"].as_str().unwrap();
        let (shown, _) = world.operate("dead-letters", &["show", id]);
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains(&format!("receipt: {receipt}")) && shown.contains("what to do: "), "{shown}");
        let (traced, _) = world.trace(receipt);
        let stage = if *reason == "row-refused" { "sink" } else { "normalizer" };
        assert!(traced.contains(&format!("dead letter of the {stage} (open): {reason}")), "{traced}");
    }
    let mut found: Vec<&str> = all.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    found.extend(NOT_BY_A_REQUEST);
    found.sort_unstable();
    let page = include_str!("../../docs/rejections.md");
    let mut documented: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    documented.sort_unstable();
    assert_eq!(found, documented);

    // The filters.
    let device = letter("value-invalid")["device_key"].as_str().unwrap();
    let of_watch = world.operate_json("dead-letters", &["list", "--device", "watch-1", "--reason", "value-invalid"]);
    assert_eq!(
        of_watch,
        world.operate_json("dead-letters", &["list", "--device", device, "--reason", "value-invalid"])
    );
    assert_eq!(of_watch.len(), 1);
    for (filter, value, count) in [
        ("--provider", "medisante", 3),
        ("--source", "nobody", 0),
        ("--state", "discarded", 0),
        ("--since", "1h", all.len()),
        ("--until", "1h", 0),
    ] {
        assert_eq!(world.operate_json("dead-letters", &["list", filter, value]).len(), count, "{filter} {value}");
    }

    // A payload is shown only with --reveal, and the table says who looked.
    let (id, item) = (letter("value-invalid")["id"].as_str().unwrap(), "\"many\"");
    let show = |arguments: &[&str]| {
        let (said, is_done) = world.operate("dead-letters", &[&["show", id], arguments].concat());
        (String::from_utf8(said).unwrap(), is_done)
    };
    assert!(!show(&[]).0.contains(item));
    assert!(show(&["--reveal", "--operator", "nina"]).0.contains(item));
    assert!(
        world.operate_json("dead-letters", &["show", id, "--reveal", "--operator", "nina"])[0]["refused"]
            .as_str()
            .is_some_and(|refused| refused.contains(item))
    );
    let looked = format!(
        "SELECT count(*) FROM audit WHERE operator = 'nina' AND command = 'dead-letters show' AND detail = '{id}'"
    );
    assert_eq!(world.count(&looked).await, 2);

    // What an operator discards stays refused, and the sender's receipt shows it.
    let arguments = ["discard", id, "--reason", "test data", "--operator", "nina"];
    assert!(!world.operate("dead-letters", &arguments).1, "nobody typed yes");
    assert!(world.operate("dead-letters", &[&arguments[..], &["--yes"]].concat()).1);
    assert!(!world.operate("dead-letters", &[&arguments[..], &["--yes"]].concat()).1, "it is discarded already");
    let discarded = world.operate_json("dead-letters", &["list", "--state", "discarded"]);
    assert_eq!((&discarded[0]["state_by"], &discarded[0]["state_reason"]), (&json!("nina"), &json!("test data")));
    assert_eq!(world.operate_json("dead-letters", &["list"]).len(), all.len() - 1);
    let receipt = letter("value-invalid")["receipt"].as_str().unwrap();
    let (traced, is_complete) = world.trace(receipt);
    assert!(is_complete && traced.contains("(discarded): value-invalid"), "{traced}");
    world.assert_promises(reasons - 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_is_printed_byte_for_byte_and_only_with_a_record_of_who_looked() {
    let world = World::start().await;
    // Bytes that no text has, and control characters.
    let body = b"{\"a\": \"\xff\x1b[31m\r\n\x00".to_vec();
    let answer = world.client.try_bytes(MESSAGE, body.clone()).await.unwrap();
    let receipt = receipt_of(&answer.json().await.unwrap());
    let (said, is_done) = world.operate("payload", &[&receipt]);
    assert!(said.is_empty() && !is_done, "without --reveal");
    assert_eq!(world.operate("payload", &[&receipt, "--reveal", "--operator", "nina"]), (body, true));
    let looked = format!(
        "SELECT count(*) FROM audit WHERE operator = 'nina' AND command = 'payload' AND detail = 'receipt {receipt}'"
    );
    assert_eq!(world.count(&looked).await, 1);
    // Without a record of who looked, nothing is printed.
    sqlx::raw_sql("ALTER TABLE audit ADD CHECK (operator <> 'nina') NOT VALID").execute(&world.pool).await.unwrap();
    assert_eq!(world.operate("payload", &[&receipt, "--reveal", "--operator", "nina"]), (Vec::new(), false));

    // All chunks of a large upload.
    let upload = format!("<HealthData>{}</HealthData>", "<!-- 0123456789 -->".repeat(80_000)).into_bytes();
    let path = "/health-data/healthkit/export-xml?deviceId=watch-1";
    let answer: Value = world.client.try_bytes(path, upload.clone()).await.unwrap().json().await.unwrap();
    let receipt = receipt_of(&answer);
    until("the upload is mapped", || async { world.trace(&receipt).1 }).await;
    let (printed, is_done) = world.operate("payload", &[&receipt, "--reveal", "--operator", "otto"]);
    assert!(is_done && printed == upload, "{} of {} bytes", printed.len(), upload.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_end_came_after_it_was_given_up_is_settled_by_a_redrive() {
    let world = World::start().await;
    let padding = "<!-- 0123456789 -->".repeat(160_000);
    let body = export().replace("<HealthData>", &format!("<HealthData>{padding}"));
    let mut sender = TcpStream::connect(world.client.address()).unwrap();
    let head = format!(
        "POST /health-data/healthkit/export-xml?deviceId=watch-1 HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {}\r\n\
         Content-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        world.client.key,
        body.len()
    );
    let (first, rest) = body.as_bytes().split_at(2 << 20);
    sender.write_all(head.as_bytes()).unwrap();
    sender.write_all(first).unwrap();
    let letters = "SELECT count(*) FROM dead_letters WHERE reason = 'upload-incomplete' AND state = ";
    world.until_count(&format!("{letters} 'open'"), 1).await;
    sender.write_all(rest).unwrap();
    let mut answer = String::new();
    sender.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    world.until_count("SELECT count(*) FROM readings", 30).await;
    world.assert_promises(31).await;

    let listed = world.operate_json("dead-letters", &["list"]);
    let (said, is_resolved) = world.operate("dead-letters", &["redrive", listed[0]["id"].as_str().unwrap()]);
    assert!(is_resolved, "{}", String::from_utf8_lossy(&said));
    assert_eq!(world.count(&format!("{letters} 'resolved'")).await, 1);
    assert_eq!(world.count("SELECT count(*) FROM readings WHERE replay IS NULL OR replay = 0").await, 30);
    world.assert_promises(30).await;
    assert!(!world.replay(&["--provider", "healthkit"]).0.is_different);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_mapping_accepts_now_is_stored_by_a_redrive_and_the_rest_counts_an_attempt() {
    let mut world = World::start().await;
    world.until_ready((Stage::Normalizer, 0)).await;
    world.kill(Stage::Normalizer);
    // A normalizer that refuses what the mapping accepts: an operator skips the record, wherever it is.
    let samples = json!([heart_rate(61), heart_rate(62)]);
    let skipped = receipt_of(&world.client.post(SAMPLES, &samples).await);
    world.run_skipping(&["raw.healthkit:0:0", "raw.healthkit:1:0", "raw.healthkit:2:0"]);
    world.until_count("SELECT count(*) FROM dead_letters WHERE reason = 'skipped'", 1).await;
    world.until_ready((Stage::Normalizer, 0)).await;
    assert!(world.terminate((Stage::Normalizer, 0), WITHIN).await);
    world.run(Stage::Normalizer);
    // No mapping accepts these, and Postgres stores no NUL.
    let refused = json!([heart_rate(63), heart_rate("many"), heart_rate("some")]);
    let refused = receipt_of(&world.client.post(SAMPLES, &refused).await);
    world.client.try_upload(SAMPLES, sample("unit", json!("count/min\u{0}"))).await.unwrap();
    world.until_count("SELECT count(*) FROM dead_letters WHERE replay = 0", 3).await;
    world.until_count("SELECT count(*) FROM readings", 1).await;
    // An earlier redrive was killed before it did anything.
    sqlx::raw_sql("UPDATE dead_letters SET state = 'redriven', state_by = 'otto'").execute(&world.pool).await.unwrap();

    let id_of = |reason: &str| {
        let letters = world.operate_json("dead-letters", &["list", "--reason", reason, "--state", "redriven,open"]);
        letters[0]["id"].as_str().unwrap().to_owned()
    };
    let id = id_of("skipped");
    let (said, is_resolved) = world.operate("dead-letters", &["redrive", &id, "--operator", "nina"]);
    let said = String::from_utf8(said).unwrap();
    assert!(is_resolved && said.contains("skipped") && said.contains("resolved"), "{said}");
    assert_eq!(world.count("SELECT count(*) FROM readings").await, 3);
    let (traced, is_complete) = world.trace(&skipped);
    assert!(is_complete && traced.contains("(resolved): skipped"), "{traced}");
    assert_eq!(traced.matches("reading ").count(), 2, "{traced}");
    let redrives = "SELECT count(*) FROM replays WHERE kind = 'redrive' AND state = 'applied' AND operator = 'nina'";
    assert_eq!(world.count(redrives).await, 1);

    // Again: nothing is left to do.
    assert!(world.operate("dead-letters", &["redrive", &id, "--operator", "nina"]).1);
    assert_eq!(world.count(redrives).await, 1);

    // By a condition: all are refused again.
    for attempt in [2, 3] {
        let (_, is_resolved) = world.operate("dead-letters", &["redrive", "--source", "tests", "--operator", "nina"]);
        assert!(!is_resolved);
        let again = world.operate_json("dead-letters", &["list"]);
        let known =
            |letter: &Value| (letter["attempts"].clone(), letter["state"].clone(), letter["item_count"].clone());
        let mut known: Vec<_> = again.iter().map(known).collect();
        known.sort_by_key(|(.., items)| items.as_i64());
        let of = |items: i64| (json!(attempt), json!("open"), json!(items));
        assert_eq!(known, [of(1), of(2)], "{again:#?}");
    }
    assert_eq!(world.count("SELECT count(*) FROM readings").await, 3);
    let (traced, _) = world.trace(&refused);
    assert!(traced.contains("items 1 to 2: dead letter of the normalizer (open): value-invalid"), "{traced}");
    assert!(!world.operate("dead-letters", &["redrive", "--operator", "nina"]).1, "without any condition");
    world.assert_promises(5).await;
}
