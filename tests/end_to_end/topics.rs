//! `device-manager topics`: what is missing or differs is said and mended, and what is the operator's stays.

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
};

use crate::world::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_differs_is_corrected_and_no_other_is_touched() {
    let world = World::start().await;
    let topics = |action: &str| {
        let output = world.kafka_command("topics").arg(action).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    let (said, code) = topics("check");
    assert_eq!((said.lines().filter(|line| line.ends_with(": right")).count(), code), (9, Some(0)), "{said}");

    let output = world.kafka_command("topics").env("TOPIC_PREFIX", "nowhere.").arg("check").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let missing = "missing; `device-manager topics apply` makes it";
    assert_eq!(
        (said.lines().filter(|line| line.ends_with(missing)).count(), output.status.code()),
        (9, Some(1)),
        "{said}"
    );

    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", world.embedded.kafka_bootstrap().unwrap());
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let raw = world.topic("raw.medisante");
    // Payloads would be lost after a day; and a setting that is the operator's to choose.
    let changed =
        AlterConfig::new(ResourceSpecifier::Topic(&raw)).set("retention.ms", "86400000").set("segment.ms", "7200000");
    admin.alter_configs([&changed], &AdminOptions::new()).await.unwrap();
    // A broker learns of changes a moment after the controller made them.
    let differs = format!("{raw}: retention.ms is 86400000, must be -1");
    until("check sees it", || async { topics("check").0.contains(&differs) }).await;
    assert_eq!(topics("check").1, Some(1));

    let (said, code) = topics("apply");
    assert!(said.contains(&format!("{raw}: retention.ms was 86400000, is -1 now")), "{said}");
    assert_eq!(code, Some(0));
    until("check finds all right", || async { topics("check").1 == Some(0) }).await;
    let described = admin.describe_configs([&ResourceSpecifier::Topic(&raw)], &AdminOptions::new()).await.unwrap();
    let settings = described.into_iter().next().unwrap().unwrap();
    assert_eq!(settings.get("segment.ms").and_then(|entry| entry.value.as_deref()), Some("7200000"));
}
