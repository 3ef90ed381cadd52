//! The contract with analysts: the views, the comments on them in the database, and who may read them.

use std::{str::FromStr as _, time::Duration};

use schemas::{
    event::{
        Coded, Component, DocumentReference, Missing, Outcome, PatientId, Precision, Quantity, Reading, Status, Value,
        Waveform,
    },
    format::{Format, Provider, RawTopic},
};
use sqlx::{Connection as _, PgConnection, Row as _, postgres::PgConnectOptions};
use store::{
    comment::{RELATIONS, RelationKind},
    migrate::migrate,
    reading::{self, StoredReading},
    role::{self, Applied},
};

use super::{
    database::Database,
    sample::{
        DAY, MAY, SECOND, assignment, coding, commanded, device, ended, filed, outcome, pressure, quantity, read,
        reading as sample,
    },
    store::{document, write},
};

fn bound(comparator: &str) -> Value {
    Value::Quantity(Quantity {
        value: "600".to_owned(),
        unit: "mg/dL".into(),
        source_value: "600".to_owned(),
        source_unit: Some("mg/dl".to_owned()),
        comparator: Some(comparator.to_owned()),
    })
}

fn waveform() -> Value {
    Value::Waveform(Waveform {
        origin: "-1.5".to_owned(),
        unit: "mV".into(),
        period_ms: "4".to_owned(),
        factor: "0.5".to_owned(),
        dimensions: 1,
        samples: "1 2 E".to_owned(),
    })
}

#[tokio::test]
async fn a_bound_is_not_shown_as_a_number() {
    let database = Database::make().await;
    let mut panel = pressure(2, 1);
    panel.components[0].value = bound(">=");
    write(&database, vec![read(Reading { value: bound(">"), ..sample(1, 0) }), read(panel)]).await;
    let seen = "SELECT concat_ws(' ', coalesce(value_num::text, '-'), comparator, bound_num, unit, source_value, source_unit) \
        FROM attributed_readings ORDER BY reading_id, component";
    assert_eq!(database.text(seen).await, "- > 600 mg/dL 600 mg/dl;- >= 600 mg/dL 600 mg/dl;80.0 mmol/L 80.0 mmol/L");
}

#[tokio::test]
async fn void_readings_are_only_in_the_view_of_all_readings() {
    let database = Database::make().await;
    let readings = (0..).zip(Status::ALL).map(|(id, status)| read(Reading { status: *status, ..sample(id, 0) }));
    write(&database, readings.collect()).await;
    let all = database.text("SELECT status FROM all_readings ORDER BY reading_id").await;
    assert_eq!(all, Status::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(";"));
    let void = [Status::EnteredInError, Status::Cancelled, Status::Deleted];
    let valid: Vec<&str> =
        Status::ALL.iter().filter(|status| !void.contains(status)).map(|status| status.as_str()).collect();
    assert_eq!(database.text("SELECT status FROM attributed_readings ORDER BY reading_id").await, valid.join(";"));
}

#[tokio::test]
async fn the_views_map_each_raw_topic_as_the_code_does() {
    let database = Database::make().await;
    let topics: Vec<_> = RawTopic::ALL.iter().filter_map(|topic| Some((*topic, topic.provider()?))).collect();
    let (mut items, mut providers, mut ledger) = (Vec::new(), Vec::new(), Vec::new());
    for (readings, (topic, provider)) in (1..).zip(topics) {
        // Each topic has a different number of readings, so that two that are swapped are noticed.
        for item in 0..readings {
            let mut reading = Reading { provider, ..sample(u128::from(topic.code()) << 8 | item, 0) };
            reading.provenance.topic = Some(topic);
            items.push(read(reading));
            providers.push(format!("{} {}", topic.code(), provider.as_str()));
        }
        items.push(ended(Outcome { topic, ..outcome(0, 1) }));
        ledger.push(format!("{} {readings}", topic.as_str()));
    }
    write(&database, items).await;
    let seen = "SELECT r.topic_code || ' ' || a.provider FROM all_readings a JOIN readings r USING (reading_id) \
        ORDER BY r.topic_code";
    providers.sort();
    assert_eq!(database.text(seen).await, providers.join(";"));
    ledger.sort();
    assert_eq!(
        database.text("SELECT topic || ' ' || rows FROM ledger ORDER BY topic COLLATE \"C\"").await,
        ledger.join(";")
    );
}

#[tokio::test]
async fn every_kind_of_value_has_its_columns() {
    let database = Database::make().await;
    let coded = Coded { coding: coding("awake"), text: Some("said".to_owned()) };
    let undisplayed = Coded { coding: schemas::event::Coding { display: None, ..coding("asleep") }, text: None };
    let report = document("ECG");
    let reference = DocumentReference {
        sha256: report.sha256,
        content_type: "application/pdf".to_owned(),
        bytes: 3,
        title: Some("Report".to_owned()),
    };
    let values = [
        Value::Coded(coded),
        Value::Coded(undisplayed),
        Value::Text("some".to_owned()),
        Value::Boolean(false),
        waveform(),
        Value::Document(reference),
        Value::Absent(Missing::AskedDeclined),
    ];
    let readings = (0..).zip(values).map(|(id, value)| Reading { value, ..sample(id, 0) });
    write(&database, readings.map(read).chain([filed(report)]).collect()).await;
    let seen = "SELECT concat_ws(' ', value_text, value_code, absent_reason, unit, sample_period_ms, sample_origin, sample_factor, \
        sample_dimensions, samples, document_type, document_title, (SELECT convert_from(content, 'UTF8') FROM document_contents d \
        WHERE d.document_sha256 = r.document_sha256)) FROM attributed_readings r ORDER BY reading_id";
    assert_eq!(
        database.text(seen).await,
        "what awake is awake;asleep asleep;some;false;mV 4 -1.5 0.5 1 1 2 E;application/pdf Report ECG;asked-declined"
    );
    let systems = "SELECT count(*) FROM attributed_readings WHERE value_code_system = 'http://loinc.org'";
    assert_eq!(database.count(systems).await, 2);
}

#[tokio::test]
async fn a_patient_claim_is_compared_with_the_attributed_patient() {
    let database = Database::make().await;
    let claims =
        [None, Some("anna"), Some("Patient/anna"), Some("https://fhir.example/r4/Patient/anna"), Some("Patient/bob")];
    let readings = (0..).zip(claims).map(|(id, claim)| {
        read(Reading { gateway: Some(device("hub-1")), patient_claim: claim.map(str::to_owned), ..sample(id, 0) })
    });
    let unassigned = Reading { device: None, patient_claim: Some("carl".to_owned()), ..sample(9, 0) };
    let command = commanded(assignment(0, Some("anna"), MAY - DAY));
    write(&database, readings.chain([read(unassigned), command]).collect()).await;
    let seen = "SELECT concat_ws(' ', coalesce(patient_claim, '-'), claim_conflict, gateway_id, source, mapping_version) \
        FROM attributed_readings ORDER BY reading_id";
    assert_eq!(
        database.text(seen).await,
        "- f hub-1 portal 1;anna f hub-1 portal 1;Patient/anna f hub-1 portal 1;https://fhir.example/r4/Patient/anna f hub-1 portal 1;\
         Patient/bob t hub-1 portal 1;carl f portal 1"
    );
}

#[tokio::test]
async fn the_comment_on_a_column_says_what_its_type_holds() {
    let database = Database::make().await;
    let comment = |column: &str| {
        format!(
            "SELECT col_description(attrelid, attnum) FROM pg_attribute \
             WHERE attrelid = split_part('{column}', '.', 1)::regclass AND attname = split_part('{column}', '.', 2)"
        )
    };
    for (column, text) in [
        ("all_readings.measured_until", "When the measurement ended; null when the source gives no end."),
        ("document_contents.received_at", "When the broker appended the raw record."),
        ("all_readings.sample_period_ms", "Milliseconds between two samples."),
        (
            "device_commands.provider",
            "The device's provider; null for an unassign, which identifies the device by its key alone.",
        ),
    ] {
        assert_eq!(database.text(&comment(column)).await, text, "{column}");
    }
    let of_events = "SELECT objoid::regclass || ': ' || description FROM pg_description \
        WHERE classoid = 'pg_class'::regclass AND objoid >= 16384 \
          AND description ~* 'microseconds|as decimal text\\M|absent (when|for|while|in)'";
    assert_eq!(database.text(of_events).await, "");
}

#[tokio::test]
async fn every_table_view_and_column_has_a_comment() {
    let database = Database::make().await;
    let silent = "SELECT c.relname || coalesce('.' || a.attname, '') FROM pg_class c \
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p') \
          AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL)";
    assert_eq!(database.text(silent).await, "");
    // There are no comments on relations that do not exist: setting one would have failed.
    let count =
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')";
    assert_eq!(usize::try_from(database.count(count).await).unwrap(), RELATIONS.len());
    // The comment is the documentation of the field, also after an upgrade that changes a text.
    sqlx::query("COMMENT ON COLUMN readings.subject IS 'old'").execute(&database.pool).await.unwrap();
    migrate(&database.pool).await.unwrap();
    let said = "SELECT col_description('readings'::regclass, attnum) FROM pg_attribute \
        WHERE attrelid = 'readings'::regclass AND attname = 'subject'";
    assert_eq!(database.text(said).await, "The patient whom the request authenticated.");
    // If all comments are up to date, no lock on a table is required.
    let mut held = database.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE readings IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), migrate(&database.pool)).await.unwrap().unwrap();
    held.rollback().await.unwrap();
    // A later release has other comments.
    sqlx::raw_sql("UPDATE schema_version SET version = version + 1; COMMENT ON COLUMN readings.subject IS 'newer'")
        .execute(&database.pool)
        .await
        .unwrap();
    migrate(&database.pool).await.unwrap();
    assert_eq!(database.text(said).await, "newer");
}

#[tokio::test]
async fn the_columns_of_readings_match_the_table() {
    let database = Database::make().await;
    let table = "SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute \
        WHERE attrelid = 'readings'::regclass AND attnum > 0 ORDER BY attnum";
    let time = |name: &str| format!("{name} timestamp with time zone");
    let of_reading = reading::columns().map(|(name, kind)| format!("{name} {kind}"));
    let mut listed: Vec<String> = of_reading.chain([time("stored_at")]).collect();
    for stored in ["readings", "reading_versions"] {
        assert_eq!(database.text(&table.replace("readings", stored)).await, listed.join(";"));
    }
    listed.push(time("replaced_at"));
    assert_eq!(database.text(&table.replace("readings", "reading_history")).await, listed.join(";"));
}

#[tokio::test]
async fn what_was_known_at_a_time_can_be_read_later() {
    let database = Database::make().await;
    let now = async || database.text("SELECT clock_timestamp()::text").await;
    let mapped = |value: &str, mapping_version| {
        let mut reading = Reading { value: quantity(value), ..sample(1, 0) };
        reading.provenance.mapping_version = mapping_version;
        reading
    };
    let nothing = now().await;
    write(&database, vec![read(mapped("80500", 1)), commanded(assignment(0, Some("anna"), MAY - DAY))]).await;
    let wrong = now().await;
    write(&database, vec![read(mapped("80.5", 2))]).await;
    let repaired = now().await;
    write(&database, vec![commanded(assignment(1, Some("bob"), MAY - DAY))]).await;
    let corrected = now().await;
    write(&database, vec![read(Reading { withdrawn: true, ..mapped("80.5", 3) })]).await;
    let known_at = async |at: &str, more: &str| {
        let columns = "concat_ws(' ', patient_id, value_num, mapping_version)";
        database.text(&format!("SELECT {columns} FROM readings_as_of('{at}'{more})")).await
    };
    let known = [&nothing, &wrong, &repaired, &corrected].map(|at| known_at(at, ""));
    let [nothing, at_first, after_repair, after_correction] = known;
    assert_eq!(nothing.await, "");
    assert_eq!(at_first.await, "anna 80500 1");
    assert_eq!(after_repair.await, "anna 80.5 2");
    assert_eq!(after_correction.await, "bob 80.5 2");
    assert_eq!(known_at(&now().await, "").await, "");
    assert_eq!(known_at(&repaired, ", 'anna'").await, "anna 80.5 2");
    assert_eq!(known_at(&repaired, ", 'bob'").await, "");
}

#[tokio::test]
async fn the_reader_role_can_read_the_views_and_no_table() {
    let database = Database::make().await;
    write(&database, vec![read(sample(1, 0)), commanded(assignment(0, Some("anna"), MAY - DAY))]).await;
    let mut owner = PgConnection::connect(&database.url).await.unwrap();
    let role = format!("{}_reader", database.name);
    let is_there = |is_new| Applied { role: role.clone(), is_new };
    assert_eq!(role::apply(&mut owner).await.unwrap(), is_there(true));
    // Privileges that somebody granted by hand are revoked.
    sqlx::raw_sql(&format!("GRANT SELECT ON readings TO {role}")).execute(&mut owner).await.unwrap();
    assert_eq!(role::apply(&mut owner).await.unwrap(), is_there(false));
    let bi = format!("{}_bi", database.name);
    sqlx::raw_sql(&format!("CREATE ROLE {bi} LOGIN PASSWORD 'secret' IN ROLE {role}"))
        .execute(&mut owner)
        .await
        .unwrap();
    let options = PgConnectOptions::from_str(&database.url).unwrap().username(&bi).password("secret");
    let mut reader = PgConnection::connect_with(&options).await.unwrap();
    for relation in RELATIONS {
        let asked = sqlx::query(&format!("SELECT count(*) FROM {}", relation.name)).fetch_one(&mut reader).await;
        assert_eq!(asked.is_ok(), relation.kind == RelationKind::Contract, "{}", relation.name);
    }
    let earlier: i64 =
        sqlx::query_scalar("SELECT count(*) FROM readings_as_of(now())").fetch_one(&mut reader).await.unwrap();
    assert_eq!(earlier, 1);
    let patient: String =
        sqlx::query_scalar("SELECT patient_id FROM attributed_readings").fetch_one(&mut reader).await.unwrap();
    assert_eq!(patient, "anna");
    for forbidden in ["DELETE FROM attributed_readings", "CREATE TABLE t (x int)", "DELETE FROM all_readings"] {
        assert!(sqlx::query(forbidden).execute(&mut reader).await.is_err(), "{forbidden}");
    }
    reader.close().await.unwrap();
    let drop = format!("DROP ROLE {bi}; GRANT {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}");
    sqlx::raw_sql(&drop).execute(&mut owner).await.unwrap();
}

#[tokio::test]
async fn a_role_is_not_created_without_the_tables() {
    let database = Database::empty().await;
    let mut owner = PgConnection::connect(&database.url).await.unwrap();
    let refused = role::apply(&mut owner).await.unwrap_err().to_string();
    assert!(refused.contains("start one sink with --migrate first"), "{refused}");
}

/// The plan of a query as the reader role gets it. A table is read sequentially only if no index can be used.
async fn plan(database: &Database, query: &str) -> String {
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let role = role::apply(&mut connection).await.unwrap().role;
    // The role is granted to nobody, but its creator may grant it.
    sqlx::raw_sql(&format!("GRANT {role} TO CURRENT_USER; SET ROLE {role}; SET enable_seqscan = off"))
        .execute(&mut connection)
        .await
        .unwrap();
    let rows = sqlx::query(&format!("EXPLAIN {query}")).fetch_all(&mut connection).await.unwrap();
    let plan = rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n");
    sqlx::raw_sql(&format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"))
        .execute(&mut connection)
        .await
        .unwrap();
    plan
}

/// The queries on the contract that the README shows.
fn queries_of_the_readme() -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let statements = readme.split("psql \"$DATABASE_URL\" -c \"").skip(1).filter_map(|rest| rest.split('"').next());
    statements.filter(|statement| statement.starts_with("SELECT")).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_query_of_the_readme_uses_an_index() {
    let database = Database::make().await;
    let queries = queries_of_the_readme();
    assert!(!queries.is_empty());
    for query in &queries {
        let plan = plan(&database, query).await;
        assert!(is_served(&plan), "{query}\n{plan}");
    }
    // The check can fail: no index can be used for this query.
    assert!(!is_served(&plan(&database, "SELECT * FROM attributed_readings ORDER BY received_at").await));
}

/// Whether readings are looked up by device and by subject.
fn is_served(plan: &str) -> bool {
    let by = |column: &str| {
        plan.contains(&format!("Index Cond: ({column} =")) || plan.contains(&format!("Index Cond: (({column} ="))
    };
    by("description_id") && by("subject")
}

/// Readings of each kind, with columns that can be derived and columns that cannot.
fn kinds() -> Vec<Reading> {
    let text = |text: &str| Some(text.to_owned());
    let mut panel = pressure(1, 0);
    panel.components.push(Component {
        value: waveform(),
        source_codes: vec![coding("own")],
        ..panel.components[0].clone()
    });
    panel.components.push(Component { value: Value::Absent(Missing::Error), ..panel.components[1].clone() });
    let mut healthkit =
        Reading { provider: Provider::HealthKit, measured_text: text("2024-05-01T02:00:00.000+0200"), ..sample(2, 1) };
    healthkit.time_precision = Precision::Millisecond;
    healthkit.provenance.topic = Some(RawTopic::HealthKit);
    let mut export =
        Reading { provider: Provider::HealthKit, measured_text: text("2024-05-01 02:00:00 +0200"), ..sample(3, 2) };
    export.provenance.topic = Some(RawTopic::Uploads);
    export.provenance.format = Format::ExportXml;
    export.measured_until = Some(MAY + SECOND);
    export.measured_until_text = text("2024-05-01 02:00:01 +0200");
    let unit = |source_unit: Option<&str>| match quantity("5.5") {
        Value::Quantity(quantity) => {
            Value::Quantity(Quantity { source_unit: source_unit.map(str::to_owned), ..quantity })
        }
        other => other,
    };
    vec![
        panel,
        healthkit,
        export,
        Reading {
            value: unit(None),
            offset_minutes: Some(0),
            measured_text: text("2024-05-01T00:00:00Z"),
            ..sample(4, 3)
        },
        Reading { value: unit(Some("MMOL/L")), measured_text: None, ..sample(5, 4) },
        Reading {
            time_precision: Precision::Day,
            offset_minutes: None,
            measured_text: text("2024-05-01"),
            ..sample(6, 5)
        },
        Reading { measured_from: None, measured_text: None, device: None, value: Value::Boolean(true), ..sample(7, 6) },
        Reading { value: bound("<"), source_codes: vec![coding("own")], gateway: Some(device("hub")), ..sample(8, 7) },
        Reading {
            value: Value::Coded(Coded { coding: coding("awake"), text: text("said") }),
            subject: PatientId::parse("sam").ok(),
            ..sample(9, 8)
        },
        Reading {
            value: Value::Text("some".to_owned()),
            status: Status::Amended,
            source_version: Some(3),
            ..sample(10, 9)
        },
    ]
}

#[tokio::test]
async fn a_row_reads_back_as_the_reading_that_was_written() {
    let database = Database::make().await;
    let mut expected = kinds();
    write(&database, expected.iter().cloned().map(read).collect()).await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let ids: Vec<_> = expected.iter().map(|reading| reading.reading_id).collect();
    let stored = reading::load(&mut connection, &ids).await.unwrap();
    for reading in &mut expected {
        reading.provenance.topic = Some(reading.raw_topic());
    }
    assert_eq!(stored.len(), expected.len());
    for (place, (stored, reading)) in stored.iter().zip(&expected).enumerate() {
        let StoredReading { reading: back, version } = stored;
        assert!(
            back == reading,
            "the reading {place}: {} {}",
            serde_json::to_string(back).unwrap(),
            serde_json::to_string(reading).unwrap()
        );
        assert!(*version == schemas::version::Version::of(reading));
    }
    // What can be derived from other columns was not stored.
    let derived = "SELECT string_agg(concat_ws(' ', right(reading_id::text, 1), measured_text, measured_until_text, source_unit), ';' \
        ORDER BY reading_id) FROM readings";
    assert_eq!(database.text(derived).await, "1;2;3;4 ;5  MMOL/L;6;7;8 mg/dl;9;a");
}
