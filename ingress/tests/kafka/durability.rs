//! Promise 1.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers as _,
};
use schemas::{
    format::{Format, RawTopic},
    raw::{Headers, Kind},
    receipt::Position,
};
use tokio::sync::watch;

use crate::edge::{Edge, PATIENCE, post};

/// What lies at each position of a topic: the key, the contract's headers, the body.
type Kept = HashMap<(i32, i64), (Vec<u8>, Headers, Vec<u8>)>;

async fn everything(edge: &Edge) -> Kept {
    let (client, name) = (edge.kafka.client(), edge.topics.raw(RawTopic::Medisante));
    tokio::task::spawn_blocking(move || read(client, &name)).await.unwrap()
}

fn read(mut client: ClientConfig, name: &str) -> Kept {
    client.set("group.id", "reader").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = client.create().unwrap();
    let mut left = HashMap::new();
    let mut wanted = TopicPartitionList::new();
    for partition in 0..3 {
        let (low, high) = consumer.fetch_watermarks(name, partition, PATIENCE).unwrap();
        left.insert(partition, high - low);
        wanted.add_partition_offset(name, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&wanted).unwrap();
    let mut kept = Kept::new();
    let started = Instant::now();
    while i64::try_from(kept.len()).unwrap() < left.values().sum::<i64>() {
        assert!(started.elapsed() < PATIENCE, "the topic is read in time");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let pairs = message.headers().unwrap();
        let pairs = pairs.iter().map(|header| (header.key, header.value.unwrap()));
        let headers = Headers::read(RawTopic::Medisante, pairs).unwrap();
        let body = message.payload().unwrap_or_default().to_vec();
        kept.insert((message.partition(), message.offset()), (message.key().unwrap().to_vec(), headers, body));
    }
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_lies_at_its_receipt() {
    let edge = Edge::start("accepted", |_| {}).await;
    let limit = format!("\"{}\"", "x".repeat(1024 * 1024 - 2)).into_bytes();
    let mut positions = Vec::new();
    for body in [b"{\"a\":1}".to_vec(), limit, b"{\"a\":1}".to_vec()] {
        let (status, answer) = edge.post("/health-data/medisante/json", &body).await.unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        positions.push((edge.position(&answer), body));
    }
    assert_eq!(positions[0].0.partition, positions[2].0.partition, "a retry lands beside the first");
    let (status, answer) = edge.post("/health-data/medisante/json", b"").await.unwrap();
    assert_eq!(status, 400);
    let problem: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let malformed = edge.receipts.read(problem["receipt"].as_str().unwrap()).unwrap();
    positions.push((malformed, Vec::new()));

    let kept = everything(&edge).await;
    assert_eq!(kept.len(), 4);
    for (Position { topic, partition, offset, .. }, body) in positions {
        assert_eq!(topic, RawTopic::Medisante);
        let (key, headers, found) = &kept[&(partition, offset)];
        assert!(*found == body);
        assert_eq!(key, headers.content_hmac.as_bytes());
        assert_eq!(headers.kind, Kind::Payload(Format::StandardJson));
        assert_eq!((headers.credential.as_str(), headers.source.as_str()), ("the-key", "portal"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_means_503_in_time_and_readiness_says_so() {
    let edge = Edge::start("frozen", |config| config.produce_timeout = Duration::from_secs(2)).await;
    assert_eq!(edge.post("/health-data/medisante/json", b"{}").await.unwrap().0, 200);
    edge.embedded.pause_kafka();
    let started = Instant::now();
    let (status, answer) = edge.post("/health-data/medisante/json", b"{\"a\":2}").await.unwrap();
    assert_eq!(status, 503, "{}", String::from_utf8_lossy(&answer));
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    edge.until_ready(false).await;
    edge.embedded.resume_kafka();
    edge.until_ready(true).await;
    let again = async { while edge.post("/health-data/medisante/json", b"{\"a\":2}").await.unwrap().0 != 200 {} };
    tokio::time::timeout(PATIENCE, again).await.expect("it accepts again");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_under_load_keeps_what_was_answered() {
    let edge = Edge::start("stopped", |_| {}).await;
    let mut senders = Vec::new();
    let (total, mut more) = watch::channel(0_u32);
    for sender in 0..16 {
        let (address, key, total) = (edge.address, edge.key.clone(), total.clone());
        senders.push(tokio::spawn(async move {
            let mut accepted = Vec::new();
            for number in 0.. {
                let body = format!("{{\"sender\":{sender},\"number\":{number}}}");
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
    tokio::time::timeout(PATIENCE, more.wait_for(|total| *total > 200)).await.expect("it accepts").unwrap();
    edge.shutdown.cancel();
    let mut accepted = Vec::new();
    for sender in senders {
        accepted.extend(sender.await.unwrap());
    }
    assert!(!accepted.is_empty());
    let kept = everything(&edge).await;
    for (answer, body) in &accepted {
        let Position { partition, offset, .. } = edge.position(answer);
        assert!(kept[&(partition, offset)].2 == body.as_bytes());
    }
    tokio::time::timeout(PATIENCE, edge.ended).await.expect("it ends in time").unwrap().unwrap();
}
