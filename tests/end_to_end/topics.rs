//! `device-manager topics` reports and corrects what is missing or differs, and leaves the operator's own settings unchanged.

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
};

use schemas::{codec::Event as _, event::Outcome, topic::Topics};
use service::{
    kafka::KafkaSettings,
    topics::{Durability, durability},
};

use crate::{
    payload::glucose,
    world::{WITHIN, World, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_differs_is_corrected_and_no_other_is_changed() {
    let world = World::start().await;
    let topics = |action: &str| {
        let output = world.kafka_command("topics").arg(action).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    let all = Topics::new("").specs().len();
    let (said, code) = topics("check");
    assert_eq!((said.lines().filter(|line| line.ends_with(": right")).count(), code), (all, Some(0)), "{said}");

    let output = world.kafka_command("topics").env("TOPIC_PREFIX", "nowhere.").arg("check").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let missing = "missing; `device-manager topics apply` creates it";
    assert_eq!(
        (said.lines().filter(|line| line.ends_with(missing)).count(), output.status.code()),
        (all, Some(1)),
        "{said}"
    );

    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", world.embedded.kafka_bootstrap().unwrap());
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let raw = world.topic("raw.medisante");
    // The first setting would delete payloads after a day. The second one is the operator's choice.
    let changed =
        AlterConfig::new(ResourceSpecifier::Topic(&raw)).set("retention.ms", "86400000").set("segment.ms", "7200000");
    admin.alter_configs([&changed], &AdminOptions::new()).await.unwrap();
    // A broker applies a change a moment after the controller made it.
    let differs = format!("{raw}: retention.ms is 86400000, must be -1");
    until("check reports the difference", || async { topics("check").0.contains(&differs) }).await;
    assert_eq!(topics("check").1, Some(1));

    let (said, code) = topics("apply");
    assert!(said.contains(&format!("{raw}: retention.ms was 86400000, is -1 now")), "{said}");
    assert_eq!(code, Some(0));
    until("check reports no difference", || async { topics("check").1 == Some(0) }).await;
    let described = admin.describe_configs([&ResourceSpecifier::Topic(&raw)], &AdminOptions::new()).await.unwrap();
    let settings = described.into_iter().next().unwrap().unwrap();
    assert_eq!(settings.get("segment.ms").and_then(|entry| entry.value.as_deref()), Some("7200000"));
}

/// Changes one setting at a time. If several were changed at once, a setting that is not checked would go unnoticed.
#[tokio::test(flavor = "multi_thread")]
async fn every_setting_that_a_guarantee_needs_is_checked() {
    let world = World::start().await;
    let raw = world.topic("raw.medisante");
    let check = || {
        let output = world.kafka_command("topics").arg("check").output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    for (setting, value, must_be) in [
        ("retention.bytes", "1000000", "-1"),
        ("retention.ms", "1000", "-1"),
        ("cleanup.policy", "compact", "delete"),
        ("message.timestamp.type", "CreateTime", "LogAppendTime"),
        ("max.message.bytes", "1000", "16777216"),
        // More than the number of copies: nothing could be written.
        ("min.insync.replicas", "2", "1"),
        ("unclean.leader.election.enable", "true", "false"),
    ] {
        set(&world, &raw, setting, value).await;
        let differs =
            format!("{raw}: {setting} is {value}, must be {must_be}; `device-manager topics apply` corrects it");
        until("check reports the difference", || async { check().0.contains(&differs) }).await;
        let (said, code) = check();
        assert_eq!(code, Some(1), "{said}");
    }
    assert!(world.kafka_command("topics").arg("apply").status().unwrap().success());
    until("check reports no difference", || async { check().1 == Some(0) }).await;
    let (said, _) = check();
    for line in [
        "protocol consumer: after kill -9 another process takes over within 5 s",
        "protocol classic: after kill -9 another process takes over within 10 s",
    ] {
        assert!(said.contains(line), "{line} is missing in: {said}");
    }

    let too_many = world.kafka_command("topics").args(["check", "--replication", "3"]).output().unwrap();
    let said = String::from_utf8(too_many.stdout).unwrap();
    assert!(said.contains(&format!("{raw}: 1 copies, must be 3")), "{said}");
    assert_eq!(too_many.status.code(), Some(1));
    let client = KafkaSettings::new(world.embedded.kafka_bootstrap().unwrap()).client();
    let found = durability(&client, &[raw.clone(), world.topic("raw.devices")]).await.unwrap();
    assert_eq!(found, Some(Durability { replicas: 1, min_in_sync: 1, unclean_election: false }));
    assert!(durability(&client, &[world.topic("nothing")]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_is_lowered_only_on_request() {
    let world = World::start().await;
    let readings = world.topic("readings");
    let run = |arguments: &[&str]| {
        let output = world.kafka_command("topics").args(arguments).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    set(&world, &readings, "retention.ms", "-1").await;
    let keeps = format!("{readings}: retention.ms is -1, must be 2592000000: it keeps records longer than it must");
    until("check reports the difference", || async { run(&["check"]).0.contains(&keeps) }).await;
    assert_eq!(run(&["check"]).1, Some(1));
    for _ in 0..2 {
        let (said, code) = run(&["apply"]);
        assert!(said.contains(&keeps) && said.contains("topics apply --yes"), "{said}");
        assert_eq!(code, Some(1));
    }
    let (said, code) = run(&["apply", "--yes"]);
    assert!(said.contains(&format!("{readings}: retention.ms was -1, is 2592000000 now")), "{said}");
    assert_eq!(code, Some(0));
    until("check reports no difference", || async { run(&["check"]).1 == Some(0) }).await;
}

/// Raw records of every partition become rows, also of partitions that are added while all stages run.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_added_on_request_and_never_removed() {
    let world = World::start().await;
    world.client.post_medisante(&glucose(0)).await;
    world.until_count("SELECT count(*) FROM readings", 1).await;
    let run = |arguments: &[&str]| {
        let output = world.kafka_command("topics").args(arguments).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    let right = |said: &str| said.lines().filter(|line| line.ends_with(": right")).count();
    let specs = Topics::new("").specs();
    let (all, single) = (specs.len(), specs.iter().filter(|spec| spec.single_partition).count());
    let (said, code) = run(&["apply"]);
    assert_eq!((right(&said), code), (all, Some(0)), "{said}");

    let raw = world.topic("raw.medisante");
    let (said, code) = run(&["apply", "--partitions", "2"]);
    assert!(said.contains(&format!("{raw}: 3 partitions, 2 asked for; Kafka removes none")), "{said}");
    assert_eq!((right(&said), code), (single, Some(1)), "only the topics with one partition are right: {said}");
    let (said, code) = run(&["apply", "--partitions", "4"]);
    assert!(said.contains(&format!("{raw}: the number of partitions was 3, is 4 now")), "{said}");
    assert_eq!((right(&said), code), (single, Some(0)), "{said}");
    // Also if a broker does not know the added partitions yet.
    let (said, code) = run(&["apply", "--partitions", "4"]);
    assert_eq!((right(&said), code), (all, Some(0)), "{said}");

    let mut sent = 1;
    while world.log_end(&raw, 3) == 0 {
        world.client.post_medisante(&glucose(sent)).await;
        sent += 1;
        assert!(sent < 1_000, "the ingress did not write to the new partition");
    }
    world.until_count("SELECT count(*) FROM readings", sent).await;
    world.assert_promises(sent).await;
}

/// Gives a topic one setting, and the specified value for all others.
async fn set(world: &World, topic: &str, setting: &str, value: &str) {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", world.embedded.kafka_bootstrap().unwrap());
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let spec = Topics::new(&world.topic("")).specs().into_iter().find(|spec| spec.name == topic).unwrap();
    let kept = spec.settings.iter().filter(|(name, _)| *name != setting);
    let changed =
        kept.fold(AlterConfig::new(ResourceSpecifier::Topic(topic)), |all, (name, value)| all.set(name, value));
    let results = admin.alter_configs([&changed.set(setting, value)], &AdminOptions::new()).await.unwrap();
    assert!(results.into_iter().all(|result| result.is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_verify_reports_events_whose_schema_nobody_can_look_up() {
    let world = World::start().await;
    world.client.post_medisante(&glucose(0)).await;
    world.until_count("SELECT count(*) FROM readings", 1).await;
    let (said, is_right) = world.command("schemas", &["verify"]);
    assert!(is_right, "{said}");
    for name in ["Reading", "Assignment", "Document", "Outcome"] {
        assert!(said.contains(&format!("devicemanager.{name}: of this release, published")), "{said}");
    }
    assert!(said.contains(&format!("{} 1", world.topic("readings"))), "{said}");

    // An event of a producer that did not publish its schema.
    let producer: FutureProducer = world.kafka_settings().producer().create().unwrap();
    let event = [&[0xc3, 0x01], [0xab; 8].as_slice(), &[0]].concat();
    let topic = world.topic("outcomes");
    producer.send(FutureRecord::<str, [u8]>::to(&topic).partition(0).payload(&event), WITHIN).await.unwrap();
    let (said, is_right) = world.command("schemas", &["verify"]);
    let expected = format!(
        "abababababababab a schema of another release: NOT published, and not of this release; consumers wait at \
                            its events; {topic} 1"
    );
    assert!(!is_right && said.contains(&expected), "{said}");

    // A broken event, and a record that is none.
    let broken = [&[0xc3, 0x01], Outcome::FINGERPRINT.0.as_slice(), &[0]].concat();
    let documents = world.topic("documents");
    for (topic, record) in [(&topic, broken), (&documents, b"text".to_vec())] {
        producer.send(FutureRecord::<str, [u8]>::to(topic).partition(1).payload(&record), WITHIN).await.unwrap();
    }
    let (said, _) = world.command("schemas", &["verify"]);
    assert!(
        said.contains("devicemanager.Outcome: of this release, published") && said.contains("can NOT read 1 of them"),
        "{said}"
    );
    assert!(
        said.contains(&format!("no schema: records that are NOT events; consumers wait at them; {documents} 1")),
        "{said}"
    );
}
