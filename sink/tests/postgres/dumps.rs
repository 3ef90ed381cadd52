//! The migrations of this release, applied to dumps of databases of earlier releases, with rows in every table.
//!
//! `dumps/<version>.sql` is a dump of the tables of that version, with invented data. The dump of the version before the current one
//! must exist. Whoever adds a migration first runs `UPDATE_DUMP=1 cargo test --workspace --test postgres -- dumps` without it, which
//! writes the dump of the version that is then current. Dumps are only added, never changed. With a version instead of `1`, the
//! tables are those of that version, and the columns that it does not have are left out.

use std::{borrow::Cow, fs, path::PathBuf, process::Command};

use schemas::{
    event::{
        Coded, DocumentReference, Missing, Outcome, PatientId, Reading, Status, Unknown, UnknownKind, Value, Waveform,
    },
    format::{Format, Provider, RawTopic},
};
use sink::item::Item;
use sqlx::{Connection as _, PgConnection, migrate::Migrator};
use store::migrate::{MIGRATIONS, SCHEMA_VERSION, migrate};
use tests::postgres_program;

use super::{
    database::Database,
    sample::{
        DAY, MAY, SECOND, assignment, coding, commanded, device, ended, filed, listed, outcome, pressure, quantity,
        read, reading,
    },
    store::{document, letter, of_sink, write},
};

/// The base tables of a database, without that of the migrations.
const TABLES: &str = "SELECT table_name::text FROM information_schema.tables \
    WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> '_sqlx_migrations' ORDER BY 1";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dumps")
}

fn file(version: i32) -> PathBuf {
    folder().join(format!("{version:04}.sql"))
}

/// One reading of each kind of value, and of each way to a patient.
fn readings() -> Vec<Reading> {
    let coded = Coded { coding: coding("coded"), text: Some("said".to_owned()) };
    let waveform = Waveform {
        origin: "0".to_owned(),
        unit: "mV".into(),
        period_ms: "4".to_owned(),
        factor: "0.5".to_owned(),
        dimensions: 1,
        samples: "1 2 E".to_owned(),
    };
    let of_document = DocumentReference {
        sha256: document("abc").sha256,
        content_type: "application/pdf".to_owned(),
        bytes: 3,
        title: Some("ECG".to_owned()),
    };
    let values = [
        quantity("5.50"),
        Value::Coded(coded),
        Value::Text("some text".to_owned()),
        Value::Boolean(true),
        Value::Waveform(waveform),
        Value::Document(of_document),
        Value::Absent(Missing::Unknown),
    ];
    let mut all: Vec<Reading> = (0..)
        .zip(values)
        .map(|(number, value): (u8, Value)| Reading { value, ..reading(10 + u128::from(number), number.into()) })
        .collect();
    all.push(pressure(20, 7));
    all.push(Reading { device: None, subject: PatientId::parse("patient-2").ok(), ..reading(21, 8) });
    all.push(Reading { measured_from: None, patient_claim: Some("patient-3".to_owned()), ..reading(22, 9) });
    all.push(Reading { status: Status::EnteredInError, gateway: Some(device("hub-1")), ..reading(23, 10) });
    all.push(Reading { measured_from: Some(MAY + DAY), ..reading(24, 11) });
    all
}

/// A reading of a large upload, and its outcome.
fn of_upload(id: u128, offset: i64) -> Vec<Item> {
    let mut found = Reading { provider: Provider::HealthKit, ..reading(id, offset) };
    found.provenance.topic = Some(RawTopic::Uploads);
    vec![read(found), ended(Outcome { topic: RawTopic::Uploads, ..outcome(offset, 1) })]
}

/// What a sink of this release writes.
fn items() -> Vec<Vec<Item>> {
    let all = readings();
    let outcomes = (0..12).map(|offset| ended(outcome(offset, 1)));
    let first = all.into_iter().map(read).chain(outcomes).chain(of_upload(30, 0)).collect();
    let corrected = Reading { content: [2; 16], value: quantity("5.70"), source_version: Some(2), ..reading(10, 12) };
    let unknown = Unknown { format: Format::StandardJson, kind: UnknownKind::Field, shape: "a.b".to_owned() };
    let refused = Outcome { rejections: 2, items: 2, unknown: vec![unknown], ..outcome(5 + 10, 0) };
    let of_record = |letter| schemas::dead_letter::DeadLetter {
        raw_position: Some("raw.medisante:1:0:15".to_owned()),
        origin_offset: 15,
        ..letter
    };
    let by_sink =
        schemas::dead_letter::DeadLetter { raw_position: Some("raw.medisante:1:0:14".to_owned()), ..of_sink(&(0..1)) };
    let again = vec![
        read(corrected),
        read(reading(11, 13)),
        ended(outcome(12, 1)),
        ended(outcome(13, 1)),
        ended(outcome(14, 1)),
        ended(refused),
        listed(of_record(letter(Some(0), 2)), 0),
        listed(by_sink, 1),
        filed(document("abc")),
        commanded(assignment(0, Some("patient-1"), MAY - DAY)),
        commanded(assignment(1, Some("patient-2"), MAY + 20 * SECOND)),
    ];
    // It ends an interval that is stored.
    vec![first, again, vec![commanded(assignment(2, None, MAY + 2 * DAY))]]
}

/// What no sink writes for these events.
const OTHERS: &str = "
    INSERT INTO sink_offsets VALUES ('readings', 0, 14);
    INSERT INTO excess_commands VALUES (1, 0, 10, 12);
    INSERT INTO skips (topic, partition, log_offset, reason, done_at) VALUES ('readings', 0, 3, 'broken', now());
    INSERT INTO accepted_gaps (topic, partition, from_offset, to_offset) VALUES ('readings', 0, 4, 6);
    INSERT INTO replays (kind, scope, mapping_version, catalogue_revision, state, operator) VALUES ('compare', '{}', 1, 0, 'compared', 'operator');
    INSERT INTO replay_ranges (replay_id, pass, topic, topic_epoch, raw_partition, first_offset, end_offset, next_offset)
        VALUES (1, 'compare', 'raw.medisante', 1, 0, 0, 10, 10);
    INSERT INTO replay_changes (replay_id, topic, topic_epoch, raw_partition, raw_offset, item, kind, subject_id, fields)
        VALUES (1, 'raw.medisante', 1, 0, 0, 0, 'changed', gen_random_uuid(), '{value}');
    INSERT INTO audit (operator, command, detail) VALUES ('operator', 'payload', 'a receipt');
    INSERT INTO accounted VALUES ('raw.medisante', 1, 0, 12)";

/// Creates the tables of a version.
async fn tables_of(version: i32) -> Database {
    let database = Database::empty().await;
    let first: Vec<_> =
        MIGRATIONS.iter().filter(|migration| migration.version <= i64::from(version)).cloned().collect();
    Migrator { migrations: Cow::Owned(first), ..Migrator::DEFAULT }.run(&database.pool).await.unwrap();
    database
}

async fn names(database: &Database, query: &str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(&database.pool).await.unwrap()
}

/// The columns of a table or view, in their order.
async fn columns(database: &Database, table: &str) -> Vec<String> {
    let query = "SELECT attname::text FROM pg_attribute \
        WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    sqlx::query_scalar(query).bind(table).fetch_all(&database.pool).await.unwrap()
}

/// Writes the dump of a version.
async fn update(version: i32) {
    let full = Database::make().await;
    for batch in items() {
        write(&full, batch).await;
    }
    sqlx::raw_sql(OTHERS).execute(&full.pool).await.unwrap();
    let database = tables_of(version).await;
    for table in names(&database, TABLES).await.into_iter().filter(|table| table != "schema_version") {
        let known = columns(&full, &table).await;
        let own: Vec<String> =
            columns(&database, &table).await.into_iter().filter(|name| known.contains(name)).collect();
        let own = own.join(", ");
        let rows = format!("SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM {table} t");
        let rows: serde_json::Value = sqlx::query_scalar(&rows).fetch_one(&full.pool).await.unwrap();
        let insert = format!(
            "INSERT INTO {table} ({own}) OVERRIDING SYSTEM VALUE SELECT {own} FROM jsonb_populate_recordset(NULL::{table}, $1)"
        );
        sqlx::query(&insert).bind(rows).execute(&database.pool).await.unwrap();
    }
    let sequences = "SELECT setval(pg_get_serial_sequence('codings', 'coding_id'), (SELECT max(coding_id) FROM codings)), \
        setval(pg_get_serial_sequence('device_descriptions', 'description_id'), (SELECT max(description_id) FROM device_descriptions))";
    sqlx::query(sequences).execute(&database.pool).await.unwrap();
    let mut pg_dump = Command::new(postgres_program("pg_dump"));
    let dumped = pg_dump
        .args(["--inserts", "--no-owner", "--no-privileges", "--no-comments", "-d", &database.url])
        .output()
        .unwrap();
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    let text = String::from_utf8(dumped.stdout).unwrap();
    // Without remarks, and without commands of psql.
    let kept: Vec<&str> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with("--") && !line.starts_with('\\')).collect();
    fs::write(file(version), kept.join("\n") + "\n").unwrap();
}

/// The rows of all views, by the columns that each of them had.
async fn shown(database: &Database, views: &[(String, Vec<String>)]) -> Vec<(String, String)> {
    let mut shown = Vec::new();
    for (view, columns) in views {
        let query = format!("SELECT to_jsonb(x)::text FROM (SELECT {} FROM {view}) x ORDER BY 1", columns.join(", "));
        shown.extend(names(database, &query).await.into_iter().map(|row| (view.clone(), row)));
    }
    shown
}

/// The columns, constraints and indexes of all tables, and the views.
async fn structure(database: &Database) -> Vec<String> {
    let query = "SELECT concat_ws(' ', table_name, column_name, data_type, udt_name, is_nullable, column_default) \
            FROM information_schema.columns WHERE table_schema = 'public' \
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' \
        UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint \
            WHERE connamespace = 'public'::regnamespace \
        UNION ALL SELECT viewname || ' ' || definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1";
    names(database, query).await
}

#[tokio::test]
async fn dumps_of_earlier_versions_are_migrated_and_show_the_same() {
    if let Ok(version) = std::env::var("UPDATE_DUMP") {
        let version = version.parse().ok().filter(|version| *version > 1).unwrap_or(SCHEMA_VERSION);
        assert!(!file(version).exists(), "a dump of version {version} exists, and dumps are not changed");
        return update(version).await;
    }
    let before = SCHEMA_VERSION - 1;
    assert!(
        file(before).exists(),
        "the dump of version {before} is missing: without the migrations after it, run once with UPDATE_DUMP=1"
    );
    let fresh = structure(&Database::make().await).await;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let dump = fs::read_to_string(&path).unwrap();
        let database = Database::empty().await;
        // The dump clears the search path of its session.
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        sqlx::raw_sql(&dump).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        for table in names(&database, TABLES).await {
            assert!(
                database.count(&format!("SELECT count(*) FROM {table}")).await > 0,
                "{table} in {}",
                path.display()
            );
        }
        let views =
            names(&database, "SELECT viewname::text FROM pg_views WHERE schemaname = 'public' ORDER BY 1").await;
        let mut known = Vec::new();
        for view in views {
            let columns = columns(&database, &view).await;
            known.push((view, columns));
        }
        let earlier = shown(&database, &known).await;
        assert!(earlier.len() > 10, "{earlier:?}");
        migrate(&database.pool).await.unwrap();
        assert_eq!(shown(&database, &known).await, earlier, "{}", path.display());
        assert_eq!(structure(&database).await, fresh, "{}", path.display());
        continues(&database).await;
    }
}

/// Checks that a sink of this release continues in a database: the same events again change nothing, and new ones are stored.
async fn continues(database: &Database) {
    let stored = "SELECT concat_ws(' ', reading_id, content, raw_offset, replay) FROM readings \
        UNION ALL SELECT concat_ws(' ', during, patient_id) FROM device_assignments ORDER BY 1";
    let ledger = "SELECT concat_ws(' ', promised_readings, rows + superseded + duplicates + refused, promised_rejections, dead_letters) \
        FROM ledger ORDER BY topic";
    let (rows, sums) = (database.text(stored).await, database.text(ledger).await);
    assert_eq!(sums, "15 15 2 2;1 1 0 0");
    for batch in items() {
        write(database, batch).await;
    }
    assert_eq!(database.text(stored).await, rows);
    assert_eq!(database.text(ledger).await, sums);
    write(database, of_upload(99, 1)).await;
    assert_eq!(database.count("SELECT count(*) FROM all_readings WHERE reading_id::text LIKE '5%63'").await, 1);
}
