//! The page `docs/mapping-without-a-release.md`, run from a line of `drift` to what a replay would change, and the rules for the
//! revisions of catalogue files.

use std::{fs, time::Duration};

use rdkafka::{
    Message as _,
    consumer::{BaseConsumer, Consumer as _},
};
use serde_json::{Value, json};

use crate::{
    payload::{START, glucose_of, text},
    world::{Stage, WITHIN, World, until},
};

const PAGE: &str = include_str!("../../docs/mapping-without-a-release.md");
const NORMALIZER: (Stage, usize) = (Stage::Normalizer, 0);
const REFUSED: (Stage, usize) = (Stage::Normalizer, 9);

/// A fenced block of the page: its language and its text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = PAGE.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

/// Whether a line is the one of the page, where `…` stands for anything.
fn is_like(line: &str, on_page: &str) -> bool {
    let mut rest = line;
    let parts: Vec<&str> = on_page.split('…').collect();
    parts.iter().enumerate().all(|(nth, part)| match rest.find(part) {
        Some(at) if nth > 0 || at == 0 => {
            rest = &rest[at + part.len()..];
            true
        }
        _ => false,
    }) && (rest.is_empty() || on_page.ends_with('…'))
}

/// A measurement that no mapping knows.
fn lactate(minute: i64) -> Value {
    let mut message = glucose_of("METER-1", &text(START + time::Duration::minutes(minute)));
    let measurements = message["measurements"].as_object_mut().unwrap();
    measurements.remove("glucose");
    measurements.insert("lactate".to_owned(), json!({ "value": 4.2, "unit": "mmol/L" }));
    message
}

const IS_MAPPED: &str = "SELECT count(*) FROM attributed_readings WHERE code = '32693-4' AND unit = 'mmol/L'";

#[tokio::test(flavor = "multi_thread")]
async fn the_page_leads_from_a_line_of_drift_to_what_a_replay_would_change() {
    let mut world = World::start().await;
    for minute in 0..3 {
        world.client.post_medisante(&lactate(minute)).await;
    }
    world.until_count("SELECT count(*) FROM readings", 3).await;
    world.assert_ledger(3).await;
    let blocks = blocks();
    let (_, file) = blocks.iter().find(|(language, _)| *language == "toml").unwrap();
    fs::write(world.path("catalogue.toml"), file).unwrap();

    let mut said = String::new();
    let mut compared = 0;
    for (language, block) in blocks {
        for line in block.lines() {
            match (language, line) {
                ("sh", "device-manager normalizer") => {
                    assert!(world.terminate(NORMALIZER, WITHIN).await);
                    world.run(Stage::Normalizer);
                    world.until_ready(NORMALIZER).await;
                }
                ("sh", line) if line.starts_with("export CATALOGUE_FILE=") => {
                    world.catalogue_file = Some(world.path("catalogue.toml"));
                }
                ("sh", line) if line.contains("--apply ID") => {
                    assert_eq!(world.count(IS_MAPPED).await, 0, "a comparison changes nothing");
                    let number = said.strip_prefix("replay ").and_then(|rest| rest.split(',').next()).unwrap();
                    said = world.shell(&line.replace("ID", number));
                }
                ("sh", line) => said = world.shell(line),
                ("text", line) => {
                    assert!(said.lines().any(|found| is_like(found, line)), "{line} is missing in: {said}");
                    compared += 1;
                }
                _ => {}
            }
        }
    }
    assert_eq!(compared, 1 + 5 + 3 + 1, "every printed line of the page is compared");
    assert_eq!(world.count(IS_MAPPED).await, 3, "the history is repaired");
    let ids = "SELECT count(DISTINCT reading_id) FROM readings";
    assert_eq!((world.count(ids).await, world.count("SELECT count(*) FROM readings").await), (3, 3));
    let (found, _) = world.replay(&["--provider", "medisante"]);
    assert!(!found.is_different);

    // New payloads are mapped with the file too.
    world.client.post_medisante(&lactate(3)).await;
    world.until_count(IS_MAPPED, 4).await;
    let mapped = "SELECT count(*) FROM readings WHERE catalogue_revision = 1";
    assert_eq!(world.count(mapped).await, 4);
    world.assert_ledger(4).await;
    let outcomes = "SELECT sum(last_offset - first_offset + 1)::bigint FROM outcomes WHERE catalogue_revision = 1";
    assert_eq!(world.count(outcomes).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_belongs_to_one_file_and_never_decreases() {
    let mut world = World::start().await;
    let [first, changed, second, none] = ["first", "changed", "second", "none"].map(|name| world.path(name));
    let six_lines = blocks().iter().find(|(language, _)| *language == "toml").unwrap().1;
    fs::write(&first, six_lines).unwrap();
    fs::write(&changed, six_lines.replace("50", "60")).unwrap();
    fs::write(&second, six_lines.replace("revision = 1", "revision = 2")).unwrap();
    fs::write(&none, "revision = 3").unwrap();

    // A replay is applied with the file with which it was compared, also while no normalizer has used the revision.
    let key = world.path("receipt.key").to_str().unwrap().to_owned();
    world.catalogue_file = Some(first.clone());
    let (_, report) = world.replay(&["--provider", "medisante"]);
    let apply = ["--receipt-key-file", &key, "--apply", &report["replay"].to_string()];
    world.catalogue_file = Some(changed.clone());
    let (said, is_applied) = world.command("replay", &apply);
    assert!(!is_applied && said.contains("another file of catalogue revision 1"), "{said}");
    world.catalogue_file = Some(first.clone());
    let (said, is_applied) = world.command("replay", &apply);
    assert!(is_applied, "{said}");

    world.restart_with(&first).await;
    // The same file is no conflict, for any number of processes and after a restart.
    world.run_member((Stage::Normalizer, 1));
    world.until_ready((Stage::Normalizer, 1)).await;
    world.restart_with(&first).await;

    world.catalogue_file = Some(changed);
    world.is_refused("catalogue revision 1 belongs to another file").await;
    let (said, is_same) = world.command(
        "replay",
        &["--provider", "medisante", "--receipt-key-file", world.path("receipt.key").to_str().unwrap()],
    );
    assert!(!is_same && said.contains("catalogue revision 1 belongs to another file"), "{said}");
    world.catalogue_file = None;
    world.is_refused("catalogue revision 1 was used before, and this process has revision 0").await;

    // An operator may look at what a new revision would change before any normalizer uses it.
    world.catalogue_file = Some(second.clone());
    let (found, _) = world.replay(&["--provider", "medisante"]);
    assert!(!found.is_different);
    world.restart_with(&second).await;
    world.catalogue_file = Some(first);
    world.is_refused("catalogue revision 2 was used before, and this process has revision 1").await;
    // The way back to the built-in catalogue.
    world.restart_with(&none).await;

    let published = world.published_catalogues();
    let revisions: Vec<&str> = published.iter().map(|(key, _)| key.split_once(':').unwrap().0).collect();
    assert_eq!(revisions, ["1", "2", "3"], "what was refused is not published, and nothing is published twice");
    assert_eq!(published[0].1, six_lines);
}

/// Two normalizers that start at the same time with different files of the same revision: one of them owns it.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_files_with_the_same_revision_one_is_used() {
    let mut world = World::start().await;
    assert!(world.terminate(NORMALIZER, WITHIN).await);
    let six_lines = blocks().iter().find(|(language, _)| *language == "toml").unwrap().1;
    let members = [(Stage::Normalizer, 1), (Stage::Normalizer, 2)];
    for (member, why) in members.iter().zip(["50", "60"]) {
        let file = world.path(why);
        fs::write(&file, six_lines.replace("50", why)).unwrap();
        world.catalogue_file = Some(file);
        world.run_member(*member);
    }
    let is_refused = |member| world.log(member).contains("catalogue revision 1 belongs to another file");
    until("one of them is refused", || async { members.into_iter().any(is_refused) }).await;
    let used: Vec<_> = members.into_iter().filter(|member| !is_refused(*member)).collect();
    let [used] = used[..] else { panic!("both are refused: {}", world.logs()) };
    world.until_ready(used).await;
    // A second start finds the same owner.
    assert!(world.terminate(used, WITHIN).await);
    world.catalogue_file = Some(world.path(if used == members[0] { "50" } else { "60" }));
    world.run_member(used);
    world.until_ready(used).await;
}

impl World {
    /// Starts a normalizer, which must end with this message.
    async fn is_refused(&mut self, cause: &str) {
        self.run_member(REFUSED);
        let code = self.ended(REFUSED).await;
        let said = self.log(REFUSED);
        assert!(said.contains(cause) && code == Some(1), "{cause} is missing in: {said}");
    }

    /// Restarts the normalizer with a catalogue file.
    pub(crate) async fn restart_with(&mut self, file: &std::path::Path) {
        assert!(self.terminate(NORMALIZER, WITHIN).await);
        self.catalogue_file = Some(file.to_owned());
        self.run(Stage::Normalizer);
        self.until_ready(NORMALIZER).await;
    }

    /// The keys and values on the topic `catalogues`.
    fn published_catalogues(&self) -> Vec<(String, String)> {
        let topic = self.topic("catalogues");
        let end = self.log_end(&topic, 0);
        let mut client = self.kafka_settings().client();
        let client: BaseConsumer =
            client.set("group.id", "tests").set("auto.offset.reset", "earliest").create().unwrap();
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, rdkafka::Offset::Beginning).unwrap();
        client.assign(&list).unwrap();
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_owned()).unwrap();
        (0..end)
            .map(|_| {
                let message = client.poll(Duration::from_secs(20)).unwrap().unwrap();
                (text(message.key()), text(message.payload()))
            })
            .collect()
    }
}
