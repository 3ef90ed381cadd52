//! Values in their columns, and values that no column accepts.

use schemas::{
    codec::{SchemaCache, encode},
    dead_letter::DeadLetter,
    event::{
        Assignment, Coded, Coding, Document, Flag, Outcome, PatientId, Precision, Provenance, Quantity, Reading,
        SourceName, Status, Unknown, UnknownKind, Value, Waveform,
    },
    format::Format,
    rejection::Reason,
};
use sink::{
    decode::Decoder,
    item::{Body, EventTopic, Origin, Partition},
};
use store::{copy::RowFault, reading::Row};

use super::{
    database::Database,
    sample::{DAY, MAY, SECOND, assignment, coding, device, key, outcome, pressure, quantity, read, reading, topics},
    store::{document, letter, write},
};

#[tokio::test]
async fn every_value_is_in_the_column_with_its_name() {
    let database = Database::make().await;
    let named = |name: &str| Some(name.to_owned());
    let mut full = Reading {
        source: SourceName::parse("the-source").unwrap(),
        gateway: Some(device("hub-1")),
        subject: Some(PatientId::parse("the-subject").unwrap()),
        patient_claim: named("the-claim"),
        value: Value::Quantity(Quantity {
            value: "1.5".to_owned(),
            unit: "the-unit".into(),
            source_value: "the-source-value".to_owned(),
            source_unit: named("the-source-unit"),
            comparator: named("<"),
        }),
        status: Status::Amended,
        measured_until: Some(MAY + 2 * SECOND),
        imprecise_until: Some(MAY + DAY),
        time_precision: Precision::Day,
        measured_text: named("the-measured-text"),
        measured_until_text: named("the-until-text"),
        received_at: MAY + 3 * SECOND,
        source_version: Some(4),
        source_updated_at: Some(MAY + 5 * SECOND),
        flags: vec![Flag::Rounded, Flag::OutOfRange],
        key_id: named("the-key"),
        ..reading(1, 42)
    };
    full.provenance = Provenance {
        topic: None,
        topic_epoch: 6,
        partition: 7,
        offset: 42,
        item: 8,
        mapping_version: 9,
        catalogue_revision: 11,
        format: Format::FhirXml,
    };
    full.replay = Some(12);
    write(&database, vec![read(full)]).await;
    let row = "SELECT k || '=' || v FROM readings r, jsonb_each_text(to_jsonb(r)) e(k, v) WHERE v IS NOT NULL AND k NOT IN \
        ('reading_id', 'content', 'receipt_mac', 'coding_id', 'description_id', 'gateway_id', 'stored_at') ORDER BY k";
    let expected = "catalogue_revision=11;comparator=<;flags=[\"rounded\", \"out-of-range\"];format=fhir-xml;imprecise_until=2024-05-02T00:00:00+00:00;\
        item=8;key_id=the-key;mapping_version=9;measured_from=2024-05-01T00:00:00+00:00;measured_text=the-measured-text;\
        measured_until=2024-05-01T00:00:02+00:00;measured_until_text=the-until-text;offset_minutes=120;\
        patient_claim=the-claim;raw_offset=42;raw_partition=7;received_at=2024-05-01T00:00:03+00:00;\
        replay=12;source=the-source;source_unit=the-source-unit;source_updated_at=2024-05-01T00:00:05+00:00;\
        source_value=the-source-value;source_version=4;status=amended;subject=the-subject;time_precision=day;topic_code=0;\
        topic_epoch=6;unit=the-unit;value_num=1.5";
    assert_eq!(database.text(row).await, expected);
    let entries = "SELECT concat_ws(' ', c.system, c.code, d.device_id, g.device_id, d.manufacturer, d.model) FROM readings r \
        JOIN codings c USING (coding_id) JOIN device_descriptions d USING (description_id) \
        JOIN device_descriptions g ON g.description_id = r.gateway_id";
    assert_eq!(database.text(entries).await, "http://loinc.org 15074-8 meter-1 hub-1 Maker M1");
    let keys = "SELECT concat_ws(' ', reading_id, content, device_key) FROM readings JOIN device_descriptions USING (description_id)";
    let key_of_device = device("meter-1").key;
    assert_eq!(
        database.text(keys).await,
        format!("50000000-0000-0000-0000-000000000001 01010101-0101-0101-0101-010101010101 {key_of_device}")
    );
}

#[tokio::test]
async fn times_from_year_1_to_9999_and_long_numbers_are_stored() {
    let database = Database::make().await;
    let first =
        Reading { measured_from: Some(-62_135_596_800 * SECOND), value: quantity("-0.000010"), ..reading(1, 0) };
    let last = Reading {
        measured_from: Some(253_402_300_799_999_999),
        value: quantity("123456789012345678901234.5678"),
        ..reading(2, 1)
    };
    let zero = Reading { measured_from: None, value: quantity("0.00"), ..reading(3, 2) };
    let tens = Reading { value: quantity("100000000"), ..reading(4, 3) };
    let tiny = Reading { value: quantity("-1.50e-30"), ..reading(5, 4) };
    let huge = Reading { value: quantity("1.234e30"), ..reading(6, 5) };
    write(&database, [first, last, zero, tens, tiny, huge].map(read).into()).await;
    assert_eq!(
        database.text("SELECT concat_ws(' ', value_num, measured_from) FROM readings ORDER BY reading_id").await,
        "-0.000010 0001-01-01 00:00:00+00;123456789012345678901234.5678 9999-12-31 23:59:59.999999+00;0.00;\
         100000000 2024-05-01 00:00:00+00;-0.00000000000000000000000000000150 2024-05-01 00:00:00+00;\
         1234000000000000000000000000000 2024-05-01 00:00:00+00"
    );
    let longest = Reading { value: quantity(&format!("{}e-400", "9".repeat(400))), ..reading(7, 6) };
    let part = Reading { value: quantity("1e400"), ..reading(8, 7) };
    write(&database, [longest, part].map(read).into()).await;
    assert_eq!(database.count("SELECT count(*) FROM readings WHERE value_num > 0.999 AND value_num <= 1e400").await, 5);
}

#[tokio::test]
async fn numbers_are_encoded_as_postgres_parses_them() {
    let database = Database::make().await;
    let mut texts: Vec<String> = ["1e30", "-1.5e-26", "0e-30", "12.34e1", "0.00012e2"].map(str::to_owned).into();
    for sign in ["", "-"] {
        for whole in ["0", "1", "12", "1234", "12345", "99999999", "100000000", "12340000", "007"] {
            for fraction in
                ["", ".0", ".1", ".01", ".001", ".0001", ".00001", ".1234", ".12345", ".00000000", ".10000000"]
            {
                texts.push(format!("{sign}{whole}{fraction}"));
            }
        }
    }
    let readings = (0..).zip(&texts).map(|(id, text)| Reading { value: quantity(text), ..reading(id, 0) });
    write(&database, readings.map(read).collect()).await;
    let differing = "SELECT string_agg(source_value, ' ') FROM attributed_readings
        WHERE value_num::text <> source_value::numeric::text OR scale(value_num) <> scale(source_value::numeric)";
    assert_eq!(database.text(differing).await, "");
    // The text of the source is returned exactly, although it is stored only if it differs from the number as text.
    let sources = "SELECT source_value FROM attributed_readings ORDER BY reading_id";
    assert_eq!(database.text(sources).await, texts.join(";"));
    let stored = "SELECT count(*) FROM readings WHERE source_value IS NOT NULL AND source_value = value_num::text";
    assert_eq!(database.count(stored).await, 0);
}

#[tokio::test]
async fn data_without_a_column_is_stored_as_json() {
    let database = Database::make().await;
    let odd = coding("back\\slash, \\u0000 and \"quotes\"");
    let coded = Value::Coded(Coded { coding: odd.clone(), text: Some("said".to_owned()) });
    let waveform = Value::Waveform(Waveform {
        origin: "0".to_owned(),
        unit: "mV".into(),
        period_ms: "4".to_owned(),
        factor: "0.5".to_owned(),
        dimensions: 1,
        samples: "1 2 E".to_owned(),
    });
    let mut panel = pressure(3, 2);
    panel.components[1].value = coded.clone();
    panel.components[1].source_codes = vec![coding("own")];
    let readings = [
        Reading { value: coded, source_codes: vec![coding("own")], ..reading(1, 0) },
        Reading { value: waveform, ..reading(2, 1) },
        panel,
    ];
    write(&database, readings.map(read).into()).await;
    let kept = "SELECT concat_ws(' ', extra #>> '{coding,code}', extra ->> 'text', extra #>> '{source_codes,0,code}',
        extra #>> '{waveform,period_ms}', components #>> '{1,x,coding,code}', components #>> '{1,x,source_codes,0,code}')
        FROM readings ORDER BY reading_id";
    let odd = odd.code;
    assert_eq!(database.text(kept).await, format!("{odd} said own;4;{odd} own"));
    let seen =
        "SELECT concat_ws(' ', code, value_text, samples) FROM attributed_readings ORDER BY reading_id, component";
    let display = format!("what {odd} is");
    assert_eq!(database.text(seen).await, format!("15074-8 {display};15074-8 1 2 E;8480-6;8462-4 {display}"));
}

#[tokio::test]
async fn readings_that_postgres_cannot_store_are_detected_before_the_write() {
    let fault = |reading: Reading| Row::new(reading, &key()).err().map(|(_, fault)| fault);
    let nul = |text: &str| Some(format!("{text}\0"));
    assert_eq!(fault(Reading { patient_claim: nul("x"), ..reading(1, 0) }), Some(RowFault::Nul));
    assert_eq!(fault(Reading { value: quantity("five"), ..reading(1, 0) }), Some(RowFault::Number));
    assert_eq!(fault(Reading { measured_from: Some(i64::MIN), ..reading(1, 0) }), Some(RowFault::Time));
    assert_eq!(fault(Reading { imprecise_until: Some(0), ..reading(1, 0) }), Some(RowFault::Time));
    let odd = Coding { code: "a\0b".into(), ..coding("own") };
    assert_eq!(fault(Reading { source_codes: vec![odd], ..reading(1, 0) }), Some(RowFault::Nul));
    let mut panel = pressure(1, 0);
    panel.components[0].value = quantity("five");
    assert_eq!(fault(panel), Some(RowFault::Number));
    assert_eq!(fault(reading(1, 0)), None);
}

#[test]
fn the_dead_letter_of_a_reading_names_its_source_format_and_provider() {
    let decoder = Decoder { schemas: SchemaCache::new().unwrap(), key: key(), topics: topics() };
    let Body::Refused(letter) = decoder.refuse_item(&read(reading(1, 0)), "refused").body else {
        panic!("no dead letter")
    };
    let from = reading(1, 0);
    let about = (letter.about.source.as_deref(), letter.about.format.as_deref(), letter.about.provider);
    assert_eq!(about, (Some(from.source.as_str()), Some(from.provenance.format.as_str()), Some(from.provider)));
}

#[test]
fn other_events_that_postgres_cannot_store_are_detected_before_the_write() {
    let decoder = Decoder { schemas: SchemaCache::new().unwrap(), key: key(), topics: topics() };
    let refused = |topic, value: &[u8], headers: &[(&str, &[u8])]| {
        let origin = Origin { partition: Partition { topic, number: 0 }, offset: 7, timestamp: MAY };
        let item = decoder.item(origin, value, &headers.to_vec()).unwrap();
        let Body::Refused(letter) = item.body else { return None };
        assert_eq!((letter.reason, letter.origin_offset), (Reason::RowRefused, 7));
        Some(letter.detail)
    };
    let nul = || Some("a\0b".to_owned());
    let (no_nul, no_time, no_number) = (RowFault::Nul, RowFault::Time, RowFault::Number);
    let command = assignment(0, Some("anna"), MAY);
    for (event, fault) in [
        (Assignment { name: nul(), ..command.clone() }, Some(no_nul)),
        (Assignment { device_type: nul(), ..command.clone() }, Some(no_nul)),
        (Assignment { serial_number: nul(), ..command.clone() }, Some(no_nul)),
        (Assignment { features: nul(), ..command.clone() }, Some(no_nul)),
        (Assignment { key_id: nul(), ..command.clone() }, Some(no_nul)),
        (Assignment { effective_from: Some(i64::MAX), ..command.clone() }, Some(no_time)),
        (Assignment { received_at: i64::MIN, ..command.clone() }, Some(no_time)),
        (Assignment { offset: i64::MAX, ..command.clone() }, Some(no_number)),
        (Assignment { effective_from: None, ..command }, None),
    ] {
        assert_eq!(refused(EventTopic::Assignments, &encode(&event), &[]), fault.map(|fault| fault.to_string()));
    }
    let unknown = Unknown { format: Format::FhirJson, kind: UnknownKind::Field, shape: "a\0b".to_owned() };
    for (event, fault) in [
        (Outcome { unknown: vec![unknown], ..outcome(0, 1) }, Some(no_nul)),
        (Outcome { received_at: i64::MAX, ..outcome(0, 1) }, Some(no_time)),
        (Outcome { offset: -1, ..outcome(0, 1) }, Some(no_number)),
        (outcome(0, 1), None),
    ] {
        assert_eq!(refused(EventTopic::Outcomes, &encode(&event), &[]), fault.map(|fault| fault.to_string()));
    }
    for (event, fault) in [
        (Document { content_type: "a\0".to_owned(), ..document("a") }, Some(no_nul)),
        (Document { received_at: i64::MAX, ..document("a") }, Some(no_time)),
        (document("a\0b"), None),
    ] {
        assert_eq!(refused(EventTopic::Documents, &encode(&event), &[]), fault.map(|fault| fault.to_string()));
    }
    for (letter, fault) in [
        (DeadLetter { detail: "a\0b".to_owned(), ..letter(None, 1) }, Some(no_nul)),
        (DeadLetter { origin_topic: "a\0b".to_owned(), ..letter(None, 1) }, Some(no_nul)),
        (DeadLetter { content_hmac: nul(), ..letter(None, 1) }, Some(no_nul)),
        (DeadLetter { origin_timestamp: i64::MAX, ..letter(None, 1) }, Some(no_time)),
        (letter(None, 1), None),
    ] {
        let headers = letter.headers();
        let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        assert_eq!(refused(EventTopic::DeadLetters, &[], &headers), fault.map(|fault| fault.to_string()));
    }
}
