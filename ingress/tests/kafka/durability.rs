//! A 2xx response means that the broker has the record; an outage is a 503.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers as _,
};
use schemas::{
    format::{Format, RawTopic},
    raw::{Headers, RecordKind},
    receipt::ItemPosition,
    upload::CHUNK_BYTES,
};
use tokio::sync::watch;

use crate::edge::{Edge, PARTITIONS, PATIENCE, post};

/// The smallest message that is accepted.
const SMALL: &[u8] = b"{\"measurements\":{}}";

/// The record at each position of a topic: key, headers and body.
type Kept = HashMap<(i32, i64), (Option<Vec<u8>>, Headers, Vec<u8>)>;

async fn everything(edge: &Edge, topic: RawTopic) -> Kept {
    let (client, name) = (edge.kafka.client(), edge.topics.raw(topic));
    tokio::task::spawn_blocking(move || read(client, topic, &name)).await.unwrap()
}

fn read(mut client: ClientConfig, topic: RawTopic, name: &str) -> Kept {
    client.set("group.id", "reader").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = client.create().unwrap();
    let (mut left, mut wanted) = (0, TopicPartitionList::new());
    for partition in consumer.fetch_metadata(Some(name), PATIENCE).unwrap().topics()[0].partitions() {
        // A partition that was just created may not have a leader yet.
        let ends = (0..600).find_map(|_| {
            let asked = consumer.fetch_watermarks(name, partition.id(), PATIENCE);
            asked.inspect_err(|_| std::thread::sleep(Duration::from_millis(100))).ok()
        });
        let (low, high) = ends.unwrap();
        left += high - low;
        wanted.add_partition_offset(name, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&wanted).unwrap();
    let mut kept = Kept::new();
    let started = Instant::now();
    while i64::try_from(kept.len()).unwrap() < left {
        assert!(started.elapsed() < PATIENCE, "the topic is read in time");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let pairs = message.headers().unwrap();
        let pairs = pairs.iter().map(|header| (header.key, header.value.unwrap()));
        let headers = Headers::read(topic, pairs).unwrap();
        let body = message.payload().unwrap_or_default().to_vec();
        kept.insert((message.partition(), message.offset()), (message.key().map(<[u8]>::to_vec), headers, body));
    }
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_body_is_stored_at_the_position_in_its_receipt() {
    let edge = Edge::start("accepted", |_| {}).await;
    let limit = format!("{{\"measurements\":{{}},\"a\":\"{}\"}}", "x".repeat(1024 * 1024 - 26)).into_bytes();
    assert_eq!(limit.len(), 1024 * 1024);
    let mut positions = Vec::new();
    for body in [SMALL.to_vec(), limit, SMALL.to_vec()] {
        let (status, answer) = edge.post("/health-data/medisante/json", &body).await.unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        positions.push((edge.position(&answer), body));
    }
    let (status, answer) = edge.post("/health-data/medisante/json", b"").await.unwrap();
    assert_eq!(status, 400);
    let problem: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let malformed = edge.receipts.read(problem["receipt"].as_str().unwrap()).unwrap();
    positions.push((malformed, Vec::new()));

    let kept = everything(&edge, RawTopic::Medisante).await;
    assert_eq!(kept.len(), 4);
    for (ItemPosition { topic, partition, offset, .. }, body) in positions {
        assert_eq!(topic, RawTopic::Medisante);
        let (key, headers, found) = &kept[&(partition, offset)];
        assert!(*found == body);
        let hash = edge.content_key.hash(&body);
        assert_eq!(
            (partition, key),
            (hash.partition(PARTITIONS), &None),
            "a retry goes to the partition of the first attempt"
        );
        assert_eq!(headers.content_hmac, hash.to_hex());
        assert_eq!(headers.kind, RecordKind::Payload(Format::StandardJson));
        assert_eq!((headers.credential.as_str(), headers.source.as_str()), ("the-key", "portal"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_for_a_device_share_a_partition_as_do_the_parts_of_an_upload() {
    let edge = Edge::start("together", |_| {}).await;
    let assign =
        br#"{"deviceId":"a","deviceType":"w","name":"n","deviceProvider":"medisante","assignedPatientId":"p"}"#;
    let (status, answer) = edge.post("/devices/assign", assign).await.unwrap();
    assert_eq!(status, 200);
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let device = answer["_id"].as_str().unwrap();
    assert_eq!(edge.post(&format!("/devices/{device}/unassign"), b"").await.unwrap().0, 204);
    let commands = everything(&edge, RawTopic::Devices).await;
    assert_eq!(commands.len(), 2);
    assert!(commands.values().all(|(key, ..)| key.as_deref() == Some(device.as_bytes())));
    assert_eq!(commands.keys().map(|(partition, _)| partition).collect::<HashSet<_>>().len(), 1);

    let export = format!("<HealthData>{}</HealthData>", "<a/>".repeat(CHUNK_BYTES / 2)).into_bytes();
    let (status, answer) = edge.post("/health-data/healthkit/export-xml", &export).await.unwrap();
    assert_eq!(status, 200);
    let manifest = edge.position(&answer);
    let parts = everything(&edge, RawTopic::Uploads).await;
    let first = edge.content_key.hash(&export[..CHUNK_BYTES]);
    assert!(parts.len() > 3 && parts.keys().all(|(partition, _)| *partition == first.partition(PARTITIONS)));
    let (key, headers, body) = &parts[&(manifest.partition, manifest.offset)];
    assert_eq!((key, body.len(), manifest.topic), (&None, 0, RawTopic::Uploads));
    assert_eq!(headers.content_hmac, edge.content_key.hash(&export).to_hex());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_durability_of_accepted_records_is_in_the_log_and_on_ready() {
    let edge = Edge::start("worth", |_| {}).await;
    let said = async {
        loop {
            if let Some(said) = edge.health.stages()["ingress"].details.get("durability") {
                break said.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let said = tokio::time::timeout(PATIENCE, said).await.expect("the durability is reported on /ready");
    assert_eq!(said, "1 copy of each record: the loss of a broker may lose acknowledged records");
    let lines = Edge::logged();
    let line = lines.iter().find(|line| line["fields"]["durability"] == *said).expect("the durability is in the log");
    assert_eq!(line["level"], "WARN");
}

#[tokio::test(flavor = "multi_thread")]
async fn added_partitions_are_used_without_a_restart() {
    let edge = Edge::start("added", |_| {}).await;
    edge.admin_adds_partitions(RawTopic::Medisante, 12).await;
    let used = async {
        for number in 0.. {
            let body = format!("{{\"measurements\":{{}},\"number\":{number}}}");
            let (status, answer) = edge.post("/health-data/medisante/json", body.as_bytes()).await.unwrap();
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
            if edge.position(&answer).partition >= 3 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, used).await.expect("the added partitions are used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_causes_503_in_time_and_readiness_reports_it() {
    const PATH: &str = "/health-data/medisante/json";
    const FROZEN: Duration = Duration::from_secs(30);
    const TOLD_WITHIN: Duration = Duration::from_secs(15);
    let edge = Edge::start("frozen", |config| config.produce_timeout = Duration::from_secs(2)).await;
    assert_eq!(edge.post(PATH, SMALL).await.unwrap().0, 200);
    Edge::logged();
    edge.embedded.pause_kafka();
    let frozen = Instant::now();
    let requests = async {
        while frozen.elapsed() < FROZEN {
            let started = Instant::now();
            let (status, answer) = edge.post(PATH, SMALL).await.unwrap();
            assert_eq!(status, 503, "{}", String::from_utf8_lossy(&answer));
            assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
        }
    };
    let told = async {
        edge.until_ready(false).await;
        frozen.elapsed()
    };
    let ((), told) = tokio::join!(requests, told);
    assert!(told < TOLD_WITHIN, "{told:?}");
    assert!(!edge.health.is_ready(), "ingress is still not ready");
    edge.embedded.resume_kafka();
    let resumed = Instant::now();
    edge.until_ready(true).await;
    while edge.post(PATH, SMALL).await.unwrap().0 != 200 {}
    assert!(resumed.elapsed() < TOLD_WITHIN, "{:?}", resumed.elapsed());

    let lines: Vec<_> = Edge::logged().into_iter().filter(|line| line["fields"]["stage"] == "ingress").collect();
    let words: Vec<_> = lines.iter().map(|line| (&line["level"], &line["fields"]["message"])).collect();
    assert_eq!(lines.len(), 2, "one line for the outage, one for its end: {lines:?}");
    assert_eq!(words, [(&"WARN".into(), &"the stage waits".into()), (&"INFO".into(), &"the stage works again".into())]);
    let reason = lines[0]["fields"]["reason"].as_str().unwrap();
    assert!(reason.contains("Kafka does not"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_loses_no_accepted_body() {
    let edge = Edge::start("stopped", |_| {}).await;
    let mut senders = Vec::new();
    let (total, mut more) = watch::channel(0_u32);
    for sender in 0..16 {
        let (address, key, total) = (edge.address, edge.key.clone(), total.clone());
        senders.push(tokio::spawn(async move {
            let mut accepted = Vec::new();
            for number in 0.. {
                let body = format!("{{\"measurements\":{{}},\"sender\":{sender},\"number\":{number}}}");
                match post(address, &key, "/health-data/medisante/json", body.as_bytes()).await {
                    Some((200, answer)) => {
                        accepted.push((answer, body));
                        total.send_modify(|total| *total += 1);
                    }
                    Some((status, _)) => assert_eq!(status, 503),
                    None => break,
                }
            }
            accepted
        }));
    }
    tokio::time::timeout(PATIENCE, more.wait_for(|total| *total > 200))
        .await
        .expect("ingress accepts payloads")
        .unwrap();
    edge.shutdown.cancel();
    let mut accepted = Vec::new();
    for sender in senders {
        accepted.extend(sender.await.unwrap());
    }
    assert!(!accepted.is_empty());
    let kept = everything(&edge, RawTopic::Medisante).await;
    for (answer, body) in &accepted {
        let ItemPosition { partition, offset, .. } = edge.position(answer);
        assert!(kept[&(partition, offset)].2 == body.as_bytes());
    }
    tokio::time::timeout(PATIENCE, edge.ended).await.expect("ingress ends in time").unwrap().unwrap();
}
