//! What `device-manager reconcile` and the continuous comparison report, of a healthy installation and of one in which rows were
//! deleted or copied.

use std::{fmt::Write as _, process::Stdio};

use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::OwnedMessage,
    producer::{FutureProducer, FutureRecord},
};
use serde_json::{Value, json};

use crate::{
    payload::{glucose, heart_rate, weight},
    world::{Setup, Stage, WITHIN, World, until},
};

const SAMPLES: &str = "/health-data/healthkit/standard-json";
const FHIR: &str = "/health-data/medisante/fhir-json";

/// What was found: the kind, the raw topic, the offsets, the item, and the number.
type Found = (String, String, [i64; 2], Option<i64>, u64);

impl World {
    /// Returns the result of the command. Checks that the exit code is 0 if and only if everything balances.
    pub(crate) fn reconcile(&self, arguments: &[&str]) -> Value {
        let (key, group) = (self.path("receipt.key"), self.group());
        let own = ["--receipt-key-file", key.to_str().unwrap(), "--group", &group, "--json"];
        let (printed, succeeded) = self.command("reconcile", &[&own, arguments].concat());
        let line = printed.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{printed}"));
        let result: Value = serde_json::from_str(line).unwrap();
        assert_eq!(result["balanced"], succeeded, "{printed}");
        result
    }

    /// The group of the normalizers.
    fn group(&self) -> String {
        self.topic("normalizer").replace('.', "-")
    }

    fn found(&self, arguments: &[&str]) -> Vec<Found> {
        let result = self.reconcile(arguments);
        let word = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
        let of = |finding: &Value| -> Found {
            let offsets = [&finding["first_offset"], &finding["last_offset"]].map(|offset| offset.as_i64().unwrap());
            let count = finding["count"].as_u64().unwrap();
            (word(finding, "kind"), word(finding, "topic"), offsets, finding["item"].as_i64(), count)
        };
        result["findings"].as_array().unwrap().iter().map(of).collect()
    }

    async fn change(&self, statements: &str) {
        sqlx::raw_sql(statements).execute(&self.pool).await.unwrap();
    }

    async fn offset(&self, query: &str) -> i64 {
        self.count(query).await
    }

    /// Returns the first record of a raw topic.
    fn first_record(&self, topic: &str) -> OwnedMessage {
        let mut config = self.kafka_settings().client();
        let consumer: BaseConsumer = config.set("group.id", "reads").create().unwrap();
        let mut from = TopicPartitionList::new();
        for partition in 0..3 {
            from.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&from).unwrap();
        consumer.poll(WITHIN).unwrap().unwrap().detach()
    }
}

/// An export of thirty heart rates, which is stored as three chunks and a manifest.
fn export() -> String {
    let (mut records, space) = (String::new(), " ".repeat(40_000));
    for second in 10..40 {
        let at = format!("2026-02-01 08:00:{second} +0100");
        writeln!(
            records,
            "<Record type=\"HKQuantityTypeIdentifierHeartRate\" sourceName=\"Watch\" unit=\"count/min\" \
             startDate=\"{at}\" endDate=\"{at}\" value=\"61\"/>{space}"
        )
        .unwrap();
    }
    format!("<HealthData>\n<ExportDate value=\"2026-03-01 08:00:00 +0100\"/>\n{records}</HealthData>\n")
}

/// Sends one of everything: readings, a correction, duplicates, refused items of both stages, a refused payload, an upload, commands,
/// and a record without a value. Returns the receipts of the samples.
async fn traffic(world: &World) -> Vec<String> {
    for second in 0..5 {
        world.client.post_medisante(&glucose(second)).await;
    }
    world.client.post(FHIR, &weight("w-1", 70.0)).await;
    // A correction of it, and a second delivery of that: the first content is superseded, the last one a duplicate.
    for _ in 0..2 {
        world.client.post(FHIR, &weight("w-1", 71.0)).await;
    }
    // Postgres cannot store a NUL, so the sink refuses the reading.
    let refused = json!({ "resourceType": "Observation", "id": "w-2", "status": "final", "code": { "text": "note" }, "valueString": "a\u{0}b" });
    world.client.post(FHIR, &refused).await;
    // Items 1 and 3: entries without a reading have numbers, too.
    let bundle = json!({ "resourceType": "Bundle", "type": "collection", "entry": [
        { "resource": { "resourceType": "Patient", "id": "p" } }, { "resource": weight("w-3", 72.0) },
        { "resource": { "resourceType": "Device", "id": "d" } }, { "resource": weight("w-4", 73.0) },
    ]});
    world.client.post(FHIR, &bundle).await;
    assert_eq!(world.client.try_upload(FHIR, "no JSON".to_owned()).await.unwrap().status(), 400);
    let samples = json!([heart_rate("61"), heart_rate("many"), heart_rate("few"), heart_rate("62")]);
    let receipts = world.client.post(SAMPLES, &samples).await;
    world.client.post(SAMPLES, &samples).await;
    let path = "/health-data/healthkit/export-xml?deviceId=watch-1";
    assert_eq!(world.client.try_upload(path, export()).await.unwrap().status(), 200);
    for patient in ["patient-1", "patient-2"] {
        let assign = json!({
            "deviceId": "scale-1", "deviceType": "Scale", "name": "Scale", "deviceProvider": "medisante",
            "assignedPatientId": patient, "effectiveFrom": "2026-01-01T00:00:00Z",
        });
        world.client.post("/devices/assign", &assign).await;
    }
    let producer: FutureProducer = world.kafka_settings().producer().create().unwrap();
    let topic = world.topic("raw.medisante");
    producer.send(FutureRecord::<str, [u8]>::to(&topic).partition(0).key("none"), WITHIN).await.unwrap();
    world.until_count("SELECT count(*) FROM readings", 8 + 2 + 30).await;
    world.assert_promises(9 + 4).await;
    receipts.as_array().unwrap().iter().map(|receipt| receipt["_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_what_was_done_to_a_database_is_listed() {
    let world = World::start().await;
    let receipts = traffic(&world).await;
    let topics = |result: &Value, topic: &str| result["topics"][topic].clone();
    let is_idle = || async {
        let result = world.reconcile(&[]);
        RAW.iter().all(|topic| topics(&result, topic)["in_flight"] == 0)
    };
    until("nothing is in flight", is_idle).await;
    let result = world.reconcile(&[]);
    assert_eq!(result["balanced"], true, "{result}");
    let counts = |topic: &str, names: [&str; 4]| {
        let counts = topics(&result, topic);
        names.map(|name| counts[name].as_i64().unwrap())
    };
    assert_eq!(
        counts("raw.medisante", ["records", "without_value", "promised_readings", "promised_rejections"]),
        [11, 1, 11, 1]
    );
    assert_eq!(counts("raw.medisante", ["stored", "superseded", "duplicates", "refused_by_sink"]), [8, 1, 1, 1]);
    assert_eq!(counts("raw.healthkit", ["stored", "duplicates", "refused", "promised_rejections"]), [2, 2, 4, 4]);
    assert_eq!(counts("raw.uploads", ["promised_readings", "stored", "records", "without_value"]), [30, 30, 4, 0]);
    assert_eq!(counts("raw.devices", ["records", "promised_commands", "commands", "stored"]), [2, 2, 2, 0]);

    // A sender's record that is on the topic twice is a duplicate, which is no fault.
    let first = world.first_record(&world.topic("raw.healthkit"));
    let producer: FutureProducer = world.kafka_settings().producer().create().unwrap();
    let copy = FutureRecord::<[u8], [u8]>::to(first.topic()).partition(first.partition());
    let copy = copy.headers(first.headers().unwrap().clone()).payload(first.payload().unwrap());
    producer.send(copy, WITHIN).await.unwrap();
    until("the copy is stored", || async {
        let result = world.reconcile(&["--topic", "raw.healthkit"]);
        result["balanced"] == true && topics(&result, "raw.healthkit")["duplicates"] == 4
    })
    .await;

    refuses_what_does_not_exist(&world);
    delete_samples(&world, &receipts).await;
    delete_of_upload_and_command(&world).await;
    copy_rows_and_delete_letters(&world).await;
    delete_and_make_up_outcomes(&world).await;
}

/// A mistyped scope must not look like a proof.
fn refuses_what_does_not_exist(world: &World) {
    let key = world.path("receipt.key");
    let group = world.group();
    let own = ["--receipt-key-file", key.to_str().unwrap(), "--group", &group, "--topic", "raw.medisante"];
    let topic = world.topic("raw.medisante");
    let end = world.log_end(&topic, 0).to_string();
    let of = |partition, more: &[&'static str]| [&["--partition", partition], more].concat();
    for (arguments, says) in [
        (of("99", &[]), format!("{topic} has no partition 99; it has the partitions 0 to 2")),
        (
            of("0", &["--from", "1000000", "--to", "2000000"]),
            format!("there is no offset 1000000; {topic} partition 0"),
        ),
        (of("0", &["--from", "1000000"]), format!("has the offsets from 0 to before {end}")),
        (of("0", &["--from", "50", "--to", "10"]), "no offset is from 50 on and before 10".to_owned()),
        (of("0", &["--to", "0"]), "no offset is from 0 on and before 0".to_owned()),
        (vec!["--topic-prefix", "nobody."], "there is no topic nobody.raw.medisante; TOPIC_PREFIX".to_owned()),
    ] {
        let mut command = world.kafka_command("reconcile");
        let command = command.args(own).args(&arguments).env("DATABASE_URL", &world.database_url);
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(&says), "{arguments:?}: {said}");
    }
    let (said, is_balanced) = world.command("reconcile", &[&own[..2], &["--group", "mistyped"]].concat());
    assert!(
        !is_balanced && said.contains("the consumer group mistyped has committed nothing, although there are"),
        "{said}"
    );
    let (said, is_balanced) = world.command("reconcile", &[&own[..], &["--until", "2026-01-01T00:00:00Z"]].concat());
    assert!(is_balanced && said.contains("no raw record is in what was compared"), "{said}");
}

fn medisante(kind: &str, offsets: [i64; 2], item: Option<i64>, count: u64) -> Found {
    (kind.to_owned(), "raw.medisante".to_owned(), offsets, item, count)
}

/// Deletes the row of a sample, then its duplicates.
async fn delete_samples(world: &World, receipts: &[String]) {
    // The row of the last sample: the duplicates of its reading are then duplicates of nothing.
    let of_samples = "FROM readings WHERE topic_code = 1 AND item = 3";
    let offset = world.offset(&format!("SELECT raw_offset {of_samples}")).await;
    world.change(&format!("DELETE {of_samples}")).await;
    let missing = |offset| ("missing-reading".to_owned(), "raw.healthkit".to_owned(), [offset; 2], Some(3), 1);
    assert_eq!(world.found(&[]), [missing(offset), missing(offset + 1), missing(offset + 2)]);
    let result = world.reconcile(&[]);
    assert_eq!(
        (&result["findings"][0]["receipt"], &result["found"]),
        (&json!(receipts[3]), &json!({ "missing-reading": 3 }))
    );
    let (to, partition) = ((offset + 1).to_string(), result["findings"][0]["partition"].to_string());
    let part = ["--topic", "raw.healthkit", "--partition", &partition, "--from", "0", "--to", &to];
    assert_eq!(world.found(&part), [missing(offset)]);
    assert_eq!(world.found(&["--until", "2026-01-01T00:00:00Z"]), []);
    world.change("DELETE FROM reading_duplicates WHERE topic_code = 1").await;
    assert_eq!(world.found(&[]).len(), 3 + 2);
}

/// Deletes a row of an upload, and a device command.
async fn delete_of_upload_and_command(world: &World) {
    let of = |topic: &str| world.found(&["--topic", topic]);
    let offset = "SELECT raw_offset";
    let row = "FROM readings WHERE topic_code = 3 AND item = 7";
    let upload = world.offset(&format!("{offset} {row}")).await;
    world.change(&format!("DELETE {row}")).await;
    assert_eq!(of("raw.uploads"), [("missing-reading".to_owned(), "raw.uploads".to_owned(), [upload; 2], Some(7), 1)]);

    let command = world.offset("SELECT max(raw_offset) FROM device_commands").await;
    world.change("DELETE FROM device_commands WHERE raw_offset = (SELECT max(raw_offset) FROM device_commands)").await;
    assert_eq!(of("raw.devices"), [("missing-command".to_owned(), "raw.devices".to_owned(), [command; 2], None, 1)]);
}

/// Copies rows, and deletes dead letters; each is undone.
async fn copy_rows_and_delete_letters(world: &World) {
    let of = |topic: &str| world.found(&["--topic", topic]);
    let (item, offset) = ("SELECT item::bigint", "SELECT raw_offset");
    // The second weight of the bundle is delivered twice, and the first glucose is copied.
    let row = "FROM readings WHERE topic_code = 0 AND item = 3";
    let twice = world.offset(&format!("{offset} {row}")).await;
    let columns = "reading_id, topic_code, topic_epoch, raw_partition, raw_offset, item";
    world.change(&format!("INSERT INTO reading_duplicates ({columns}) SELECT {columns} {row}")).await;
    assert_eq!(of("raw.medisante"), [medisante("stored-twice", [twice; 2], Some(3), 1)]);
    world.change("DELETE FROM reading_duplicates WHERE item = 3").await;
    assert_eq!(of("raw.medisante"), []);
    let glucose =
        "WHERE coding_id = (SELECT coding_id FROM codings WHERE code = '15074-8') ORDER BY measured_from LIMIT 1";
    let copied = world.offset(&format!("{offset} FROM readings {glucose}")).await;
    world
        .change(&format!(
            "CREATE TABLE copy AS SELECT * FROM readings {glucose}; UPDATE copy SET reading_id = gen_random_uuid();
             INSERT INTO readings SELECT * FROM copy"
        ))
        .await;
    assert_eq!(of("raw.medisante"), [medisante("stored-twice", [copied; 2], Some(0), 1)]);
    world.change("DELETE FROM readings WHERE reading_id = (SELECT reading_id FROM copy)").await;

    for stage in ["normalizer", "sink"] {
        let letter = format!("FROM dead_letters WHERE raw_topic = 'raw.medisante' AND stage = '{stage}'");
        let at = world.offset(&format!("{offset} {letter}")).await;
        let number = world.offset(&format!("{item} {letter}")).await;
        world.change(&format!("CREATE TABLE of_{stage} AS SELECT * {letter}; DELETE {letter}")).await;
        let kind = if stage == "sink" { "missing-reading" } else { "missing-dead-letter" };
        assert_eq!(of("raw.medisante"), [medisante(kind, [at; 2], Some(number), 1)]);
        world.change(&format!("INSERT INTO dead_letters SELECT * FROM of_{stage}")).await;
    }
}

/// Deletes the outcomes of a range, and adds what names raw records that do not exist.
async fn delete_and_make_up_outcomes(world: &World) {
    let of = |topic: &str| world.found(&["--topic", topic]);
    let of_range = "FROM outcomes WHERE topic = 'raw.medisante' AND raw_partition = $p AND first_offset = $o";
    let busiest = world
        .count("SELECT raw_partition::bigint FROM outcomes WHERE topic = 'raw.medisante' GROUP BY 1 ORDER BY max(last_offset) DESC LIMIT 1")
        .await;
    let of_partition = of_range.replace("$p", &busiest.to_string());
    let first =
        world.count(&format!("SELECT min(first_offset) {}", of_partition.replace(" AND first_offset = $o", ""))).await;
    let range = of_partition.replace("$o", &first.to_string());
    let last = world.count(&format!("SELECT last_offset {range}")).await;
    world.change(&format!("CREATE TABLE range AS SELECT * {range}; DELETE {range}")).await;
    let number = u64::try_from(last - first + 1).unwrap();
    assert_eq!(of("raw.medisante"), [medisante("missing-outcome", [first, last], None, number)]);
    world.change("INSERT INTO outcomes SELECT * FROM range").await;

    world
        .change("UPDATE range SET first_offset = 1000, last_offset = 1009; INSERT INTO outcomes SELECT * FROM range")
        .await;
    world
        .change("UPDATE range SET raw_partition = 7; INSERT INTO outcomes SELECT * FROM range; UPDATE range SET topic_epoch = 9; INSERT INTO outcomes SELECT * FROM range")
        .await;
    world
        .change(
            "UPDATE of_sink SET raw_offset = 1005, origin_offset = 999; INSERT INTO dead_letters SELECT * FROM of_sink",
        )
        .await;
    let mut outside = of("raw.medisante");
    outside.sort();
    let none = |offsets, count| medisante("no-raw-record", offsets, None, count);
    assert_eq!(outside, [none([1000, 1009], 10), none([1000, 1009], 10), none([1005; 2], 1)]);
    let result = world.reconcile(&["--topic", "raw.medisante"]);
    assert_eq!(result["other_epochs"], json!([{ "topic": "raw.medisante", "topic_epoch": 9, "records": 10 }]));
    let (key, group) = (world.path("receipt.key"), world.group());
    let own = ["--receipt-key-file", key.to_str().unwrap(), "--group", &group, "--topic", "raw.devices"];
    let (printed, _) = world.command("reconcile", &own);
    assert!(printed.contains("missing-command: raw.devices partition ") && printed.contains("1 stored"), "{printed}");
    assert!(
        printed.lines().any(|line| line.starts_with("missing-command") && line.contains(", 1 command, receipt ")),
        "{printed}"
    );
}

/// Retention works while the records are compared.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_kafka_deletes_meanwhile_are_no_error_and_lost_only_without_an_outcome() {
    let mut world = World::start_as(Setup { partitions: 1, ..Setup::default() }).await;
    for second in 0..5 {
        world.client.post_medisante(&glucose(second)).await;
    }
    world.until_count("SELECT count(*) FROM readings", 5).await;
    world.assert_ledger(5).await;
    world.kill(Stage::Sink);
    world.client.post_medisante(&glucose(6)).await;
    let outcomes = world.topic("outcomes");
    until("the normalizer has finished it", || async { world.log_end(&outcomes, 0) >= 6 }).await;

    let mut command = world.kafka_command("reconcile");
    command.args(["--group", &world.group(), "--json", "--topic", "raw.medisante"]);
    command.env("RECEIPT_KEY_FILE", world.path("receipt.key")).env("DATABASE_URL", &world.database_url);
    let compared = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It knows the ends of the raw topics when it waits for the sinks.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT topic, partition, next_%'";
    until("it waits for the sink", || async { world.count(waits).await > 0 }).await;
    world.delete_records("raw.medisante", 4).await;
    world.change("DELETE FROM outcomes WHERE topic = 'raw.medisante'").await;
    world.run(Stage::Sink);
    let output = compared.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let result: Value =
        said.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_else(|| panic!("{said}"));
    let counts = &result["topics"]["raw.medisante"];
    assert_eq!((&counts["deleted"], &counts["records"]), (&json!(4), &json!(1)), "{said}");
    assert_eq!(result["found"], json!({ "deleted-unread": 4, "missing-outcome": 1 }), "{said}");
}

const RAW: [&str; 4] = ["raw.medisante", "raw.healthkit", "raw.devices", "raw.uploads"];

#[tokio::test(flavor = "multi_thread")]
async fn the_continuous_comparison_counts_what_is_missing_and_nothing_that_is_in_flight() {
    let mut world = World::start().await;
    traffic(&world).await;
    let sink = (Stage::Sink, 0);
    let counted = async |world: &World, name: &str, topic: &str| {
        let metrics = world.metrics(sink).await;
        let line =
            metrics.lines().find(|line| line.starts_with(&format!("{name}{{topic=\"{topic}\"}}"))).map(str::to_owned);
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    };
    // From the start of the topics on.
    let begun = "SELECT count(*) FROM accounted WHERE next_offset > 0";
    until("the positions are stored", || async { world.count(begun).await >= 4 }).await;
    world.change("UPDATE accounted SET next_offset = 0").await;
    let (records, unaccounted) = ("device_manager_accounted_records_total", "device_manager_unaccounted_total");
    for (topic, number) in [("raw.medisante", 11), ("raw.healthkit", 2), ("raw.devices", 2), ("raw.uploads", 4)] {
        until(&format!("all records of {topic} are compared"), || async {
            counted(&world, records, topic).await >= number
        })
        .await;
        assert_eq!(counted(&world, unaccounted, topic).await, 0, "{topic}");
    }

    world.change("DELETE FROM readings WHERE topic_code = 3 AND item IN (7, 8); DELETE FROM outcomes WHERE topic = 'raw.devices'").await;
    world.change("UPDATE accounted SET next_offset = 0").await;
    for (topic, number) in [("raw.uploads", 2), ("raw.devices", 2)] {
        until("what is missing is counted", || async { counted(&world, unaccounted, topic).await == number }).await;
    }
    assert_eq!(
        counted(&world, unaccounted, "raw.medisante").await + counted(&world, unaccounted, "raw.healthkit").await,
        0
    );
    assert!(world.log(sink).contains("items are missing or stored twice"));

    // Records that the normalizers have not finished are not missing.
    world.kill(Stage::Normalizer);
    world.client.post_medisante(&glucose(9)).await;
    let result = world.reconcile(&["--topic", "raw.medisante"]);
    assert_eq!((&result["balanced"], &result["topics"]["raw.medisante"]["in_flight"]), (&json!(true), &json!(1)));
}
