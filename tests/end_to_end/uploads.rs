//! An export of many chunks, during which each stage is killed.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use reqwest::StatusCode;

use crate::world::{Stage, WITHIN, World, until};

const PATH: &str = "/health-data/healthkit/export-xml?deviceId=watch-1";
const READINGS: &str = "SELECT count(*) FROM readings";
const RECORDS: i64 = 40_000;

/// An export of heart rates one second apart, each with the metadata entry that an iPhone writes.
fn export() -> String {
    let mut text =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE HealthData [\n<!ELEMENT HealthData ANY>\n]>\n\
                    <HealthData locale=\"en_GB\">\n <ExportDate value=\"2026-03-01 08:00:00 +0100\"/>\n"
            .to_owned();
    for number in 0..RECORDS {
        let (hour, minute, second) = (number / 3_600, number / 60 % 60, number % 60);
        let at = format!("2026-02-01 {hour:02}:{minute:02}:{second:02} +0100");
        let value = 50 + number % 90;
        writeln!(
            text,
            " <Record type=\"HKQuantityTypeIdentifierHeartRate\" sourceName=\"Watch\" unit=\"count/min\" \
             creationDate=\"{at}\" startDate=\"{at}\" endDate=\"{at}\" value=\"{value}\">\n  \
             <MetadataEntry key=\"HKMetadataKeyHeartRateMotionContext\" value=\"1\"/>\n </Record>"
        )
        .unwrap();
    }
    text + "</HealthData>\n"
}

/// The number of records on the raw topic of uploads.
fn raw_upload_records(world: &World) -> i64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", world.embedded.kafka_bootstrap().unwrap());
    let consumer: BaseConsumer = config.create().unwrap();
    let topic = world.topic("raw.uploads");
    let end =
        |partition| consumer.fetch_watermarks(&topic, partition, Duration::from_secs(10)).map_or(0, |(_, end)| end);
    (0..3).map(end).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_completed_although_all_stages_are_killed() {
    let mut world = World::start().await;
    let body = export();

    // The ingress is killed in the middle of an upload: the sender gets no answer, and the stored chunks stay without a manifest.
    let mut sender = TcpStream::connect(world.client.address()).unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {}\r\nContent-Length: {}\r\n\r\n",
        world.client.key,
        body.len()
    );
    sender.write_all(head.as_bytes()).unwrap();
    sender.write_all(&body.as_bytes()[..body.len() / 2]).unwrap();
    let deadline = Instant::now() + WITHIN;
    while raw_upload_records(&world) < 3 {
        assert!(Instant::now() < deadline, "no chunks were stored while the upload arrived");
    }
    world.kill(Stage::Ingress);
    drop(sender);
    world.run(Stage::Ingress);

    let answer = until_answered(&world, &body).await;
    assert_eq!(answer, StatusCode::OK);

    // The normalizer is killed while it maps, and the sink while it writes.
    until("the first readings are stored", || async { world.count(READINGS).await > 0 }).await;
    world.kill(Stage::Normalizer);
    world.run(Stage::Normalizer);
    until("more readings are stored", || async { world.count(READINGS).await > RECORDS / 10 }).await;
    world.kill(Stage::Sink);
    world.run(Stage::Sink);

    world.until_count(READINGS, RECORDS).await;
    world.until_count("SELECT count(DISTINCT measured_from) FROM readings", RECORDS).await;
    world.until_count("SELECT count(*) FROM dead_letters WHERE reason = 'upload-incomplete'", 1).await;
    world.assert_promises(RECORDS).await;
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 1);
    assert_eq!(world.count("SELECT count(*) FROM attributed_readings WHERE device_id = 'watch-1'").await, RECORDS);

    // A replay compares so large an upload in pieces.
    world.until_ready((Stage::Normalizer, 0)).await;
    let (found, report) = world.replay(&["--provider", "healthkit"]);
    assert!(!found.is_different && report["unchanged"] == RECORDS, "{report}");
    // The chunks without a manifest, too, have outcomes.
    let reconciled = world.reconcile(&["--topic", "raw.uploads"]);
    assert_eq!(reconciled["balanced"], true, "{reconciled}");
    assert_eq!(reconciled["topics"]["raw.uploads"]["records"], raw_upload_records(&world));
}

/// Sends the export as a sender does, repeated while there is no answer or the answer is 503. Returns the status.
async fn until_answered(world: &World, body: &str) -> StatusCode {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Ok(answer) = world.client.try_upload(PATH, body.to_owned()).await
            && answer.status() != StatusCode::SERVICE_UNAVAILABLE
        {
            return answer.status();
        }
        assert!(Instant::now() < deadline, "the ingress did not answer within {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
