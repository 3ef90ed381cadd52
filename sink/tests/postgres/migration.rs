//! The migration of a database that an earlier release has filled.

use schemas::{format::RawTopic, receipt::ItemPosition};
use sink::write::{Session, WriteError};
use sqlx::{Connection as _, PgConnection, migrate::Migrator};
use store::{
    error_class::{self, ErrorClass},
    migrate::{MIGRATIONS, migrate},
    reading::load,
};

use super::{
    database::Database,
    sample::{key, read, reading},
    store::write,
};

/// The tables of the last release whose positions had no topic, with a reading of each provider. One of them has a duplicate.
async fn earlier() -> Database {
    let database = Database::empty().await;
    let first: Vec<_> = MIGRATIONS.iter().filter(|migration| migration.version <= 3).cloned().collect();
    Migrator { migrations: first.into(), ..Migrator::DEFAULT }.run(&database.pool).await.unwrap();
    let position = |topic| ItemPosition { topic, topic_epoch: 1, partition: 0, offset: 7, item: 2 };
    let mac = key().mac(&position(RawTopic::HealthKit));
    let (medisante, healthkit) = ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002");
    let reading = |id: &str, provider: &str, first: &str| {
        format!(
            "INSERT INTO readings (reading_id, content, received_at, raw_offset, receipt_mac, topic_epoch, raw_partition, \
                 item, mapping_version, coding_id, provider, format, status, time_precision, source, first_received_at, \
                 first_offset, first_epoch, first_partition, first_item, components, absent) \
             VALUES ('{id}', '{id}', now(), 7, {mac}, 1, 0, 2, 1, 1, '{provider}', 'standard-json', 'final', 'none', 's', {first}, \
                 '[{{\"c\": 1, \"n\": \"5\"}}]', 'panel')"
        )
    };
    for statement in [
        "INSERT INTO codings (hash, system, code) VALUES (gen_random_uuid(), 'loinc', 'x')".to_owned(),
        reading(medisante, "medisante", "NULL, NULL, NULL, NULL, NULL"),
        reading(healthkit, "healthkit", "now(), 6, 1, 0, 0"),
        format!("INSERT INTO reading_versions SELECT * FROM readings WHERE reading_id = '{healthkit}'"),
        format!("INSERT INTO reading_duplicates VALUES ('healthkit', 1, 0, 8, 0, '{healthkit}')"),
        "INSERT INTO drift VALUES ('f', 'healthkit', 'standard-json', 'field', 's', now(), now(), 1, 1, 0, 0)"
            .to_owned(),
        "INSERT INTO dead_letters VALUES ('t', 0, 0, -1, 'sink', 'r', 'd', 'abc', NULL, -1, NULL, NULL, now(), 0, 0)"
            .to_owned(),
    ] {
        sqlx::query(&statement).execute(&database.pool).await.unwrap();
    }
    database
}

#[tokio::test]
async fn rows_of_an_earlier_release_get_their_topic_and_lose_their_plain_hash() {
    let database = earlier().await;
    migrate(&database.pool).await.unwrap();
    let codes = "SELECT concat_ws(' ', topic_code, first_topic_code) FROM readings ORDER BY reading_id";
    assert_eq!(database.text(codes).await, "0;1 1");
    assert_eq!(database.text(&codes.replace("readings", "reading_versions")).await, "1 1");
    assert_eq!(database.count("SELECT topic_code::bigint FROM reading_duplicates").await, 1);
    assert_eq!(database.count("SELECT topic_code::bigint FROM drift").await, 1);
    assert_eq!(
        database.count("SELECT count(*) FROM dead_letters WHERE content_hmac IS NULL AND item_count = 1").await,
        1
    );
    // The view shows the same as before, including the receipt.
    let seen =
        "SELECT concat_ws(' ', component, code, value_num) FROM attributed_readings WHERE provider = 'healthkit'";
    assert_eq!(database.text(seen).await, "1 x 5");
    let receipt = database.text("SELECT receipt FROM attributed_readings WHERE provider = 'healthkit'").await;
    let position = key().read(&receipt).unwrap();
    assert_eq!((position.topic, position.offset, position.item), (RawTopic::HealthKit, 7, 2));
    // A sink can continue: the numbers of dictionary entries follow those that the sequence has given.
    write(&database, vec![read(reading(1, 0))]).await;
    assert_eq!(database.count("SELECT coding_id FROM codings WHERE code <> 'x'").await, 2);
    let wide = "SELECT count(*) FROM pg_sequences WHERE sequencename IN ('codings_coding_id_seq', \
        'device_descriptions_description_id_seq') AND data_type = 'bigint'::regtype";
    assert_eq!(database.count(wide).await, 2);
}

/// The tables of the last release that stored what can be derived from other columns.
async fn wider() -> Database {
    let database = Database::empty().await;
    let first: Vec<_> = MIGRATIONS.iter().filter(|migration| migration.version <= 4).cloned().collect();
    Migrator { migrations: first.into(), ..Migrator::DEFAULT }.run(&database.pool).await.unwrap();
    let reading = |id: i32, columns: &str, values: &str| {
        format!(
            "INSERT INTO readings (reading_id, content, received_at, raw_offset, receipt_mac, topic_epoch, raw_partition, \
                 item, mapping_version, coding_id, provider, format, status, time_precision, source, topic_code, {columns}) \
             VALUES (lpad('{id}', 32, '0')::uuid, gen_random_uuid(), now(), 7, 5, 1, 0, 0, 1, 1, 'medisante', 'standard-json', 'final', \
                 'second', 's', 0, {values})"
        )
    };
    let waveform = "{\"waveform\": {\"origin\": \"0\", \"period_ms\": \"4\", \"factor\": \"1\", \"dimensions\": 1}}";
    let coded = "{\"coding\": {\"system\": \"s\", \"code\": \"c\", \"display\": \"shown\"}, \"text\": \"said\"}";
    let document = "{\"document\": {\"content_type\": \"t\", \"bytes\": 1, \"title\": null}}";
    let part = |cells: &str| format!("{{\"c\": 1, {cells}}}");
    let parts = [
        part("\"n\": \"5\", \"u\": \"kg\", \"s\": \"5\", \"su\": \"kg\""),
        part("\"n\": \"5\", \"u\": \"kg\", \"s\": \"5.0\""),
        part(&format!("\"t\": \"shown\", \"s\": \"c\", \"x\": {coded}")),
        part(&format!("\"t\": \"1 2\", \"u\": \"mV\", \"x\": {waveform}")),
    ];
    let quantity = "value_num, unit, source_value, source_unit, measured_from, measured_text, offset_minutes";
    let timed = "'2024-05-01T00:00:00Z'";
    for statement in [
        "INSERT INTO codings (hash, system, code) VALUES (gen_random_uuid(), 'loinc', 'x')".to_owned(),
        reading(1, quantity, &format!("5.5, 'kg', '5.5', 'kg', {timed}, {timed}, 60")),
        reading(2, quantity, &format!("5.5, 'kg', '5.50', 'g', {timed}, NULL, NULL")),
        reading(3, quantity, "5.5, 'kg', '5.5', NULL, NULL, NULL, NULL"),
        reading(4, "value_text, source_value, extra", &format!("'shown', 'c', '{coded}'")),
        reading(5, "value_text, unit, extra", &format!("'1 2', 'mV', '{waveform}'")),
        reading(6, "value_text, extra", &format!("repeat('ab', 32), '{document}'")),
        reading(7, "absent, components", &format!("'panel', '[{}]'", parts.join(","))),
        "INSERT INTO reading_versions SELECT * FROM readings".to_owned(),
        "INSERT INTO devices (device_key) VALUES (lpad('1', 32, '0')::uuid), (lpad('2', 32, '0')::uuid)".to_owned(),
        "INSERT INTO device_commands (topic_epoch, raw_partition, raw_offset, device_key, command, received_at, source, \
             mapping_version, verdict) VALUES (1, 0, 0, lpad('1', 32, '0')::uuid, 'assign', now(), 's', 1, 'applied'), \
             (1, 0, 1, lpad('1', 32, '0')::uuid, 'unassign', now(), 's', 1, 'lost'), \
             (1, 0, 2, lpad('2', 32, '0')::uuid, 'unassign', now(), 's', 1, 'unchanged')"
            .to_owned(),
    ] {
        sqlx::query(&statement).execute(&database.pool).await.unwrap();
    }
    database
}

#[tokio::test]
async fn values_that_other_columns_imply_are_removed_and_shown_as_before() {
    let database = wider().await;
    let old = "concat_ws(' ', component, value_num, value_text, unit, source_value, source_unit, measured_from)";
    let seen =
        |expression: &str| format!("SELECT {expression} FROM attributed_readings ORDER BY reading_id, component");
    let before = database.text(&seen(old)).await;
    migrate(&database.pool).await.unwrap();
    // Samples and hashes have columns of their own now.
    let new = old.replace("value_text", "coalesce(value_text, samples, document_sha256)");
    assert_eq!(database.text(&seen(&new)).await, before);
    let stored = "concat_ws(' ', source_value, source_unit || '.', value_text, measured_text || '.')";
    assert_eq!(
        database.text(&format!("SELECT {stored} FROM readings ORDER BY reading_id")).await,
        "2024-05-01T00:00:00Z.;5.50 g. .;.;;;;"
    );
    let parts = "SELECT concat_ws(' ', p ->> 's', p ->> 'su' || '.', p ->> 't') FROM readings, jsonb_array_elements(components) p";
    assert_eq!(database.text(parts).await, ";5.0 .;;");
    assert_eq!(database.count("SELECT count(*) FROM reading_versions").await, 7);
    assert_eq!(
        database.text("SELECT verdict FROM device_commands ORDER BY raw_offset").await,
        "applied;held-by-another;unknown-device"
    );
    assert_eq!(database.count("SELECT count(*) FROM devices").await, 1);
    // What is no longer stored reads back as it was written.
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let id = |number: u128| uuid::Uuid::from_u128(number);
    let stored = load(&mut connection, &[1, 2, 3, 4, 5, 6, 7].map(id)).await.unwrap();
    let texts: Vec<_> = stored.iter().map(|one| one.reading.measured_text.as_deref().unwrap_or("-")).collect();
    assert_eq!(texts, ["2024-05-01T00:00:00Z", "-", "-", "-", "-", "-", "-"]);
}

#[tokio::test]
async fn a_sink_that_finds_older_tables_reports_what_to_do() {
    let database = earlier().await;
    let Err(WriteError::Database(refused)) = Session::open(&database.url).await else { panic!("session opened") };
    assert_eq!(error_class::error_class(&refused), ErrorClass::Setup);
    assert!(error_class::cause(&refused).contains("--migrate"), "{}", error_class::cause(&refused));
}

#[tokio::test]
async fn migrations_of_a_later_release_are_left_alone() {
    let database = Database::make().await;
    let later =
        "INSERT INTO _sqlx_migrations SELECT 99, 'later', now(), true, checksum, 0 FROM _sqlx_migrations LIMIT 1";
    sqlx::query(later).execute(&database.pool).await.unwrap();
    migrate(&database.pool).await.unwrap();
}

#[tokio::test]
async fn an_older_sink_waits_and_refuses_no_row() {
    let database = earlier().await;
    migrate(&database.pool).await.unwrap();
    // What such a sink writes for the next reading: only the columns that it knows.
    let columns = "reading_id, content, device_key, measured_from, measured_until, imprecise_until, received_at, \
        raw_offset, receipt_mac, source_version, source_updated_at, first_received_at, first_offset, first_epoch, \
        first_partition, first_item, topic_epoch, raw_partition, item, mapping_version, coding_id";
    let statement = format!("INSERT INTO readings ({columns}) SELECT {columns} FROM readings ON CONFLICT DO NOTHING");
    let refused = sqlx::query(&statement).execute(&database.pool).await.unwrap_err();
    assert_eq!(error_class::error_class(&refused), ErrorClass::Setup);
}
