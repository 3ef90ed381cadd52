//! Our bytes are Avro: apache-avro reads them and writes the same ones.

use apache_avro::{from_avro_datum, to_avro_datum};
use proptest::prelude::*;
use schemas::{
    codec::{DecodeError, Event, Input, ReadError, SchemaCache, decode, encode, fingerprint_of, own_schemas},
    event::{Assignment, Document, Outcome, Reading},
};
use serde_json::Value;

use super::{history, sample::Dice};

#[test]
fn fingerprints_in_code_are_those_of_the_schemas() {
    let in_code = [Reading::FINGERPRINT, Assignment::FINGERPRINT, Document::FINGERPRINT, Outcome::FINGERPRINT];
    let computed: Vec<_> = own_schemas().unwrap().into_iter().map(|own| own.fingerprint).collect();
    assert_eq!(in_code.to_vec(), computed);
}

#[test]
fn every_record_field_and_named_type_has_a_doc() {
    fn walk(schema: &Value) {
        match schema {
            Value::Object(object) => {
                if object.contains_key("name") {
                    let documented = object.get("doc").and_then(Value::as_str).is_some_and(|doc| doc.len() > 4);
                    assert!(documented, "{} has no doc", object["name"]);
                }
                object.values().for_each(walk);
            }
            Value::Array(branches) => branches.iter().for_each(walk),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    for own in own_schemas().unwrap() {
        walk(&serde_json::from_str(own.text).unwrap());
    }
}

/// apache-avro must read our datum and write it back byte for byte, and we must read it back equal.
fn same_bytes<E: Event + PartialEq>(event: &E) {
    let own = own_schemas().unwrap().into_iter().find(|own| own.name == E::NAME).unwrap();
    let message = encode(event);
    let (fingerprint, datum) = fingerprint_of(&message).unwrap();
    assert_eq!(fingerprint, own.fingerprint);
    let value = from_avro_datum(&own.schema, &mut &*datum, None).unwrap();
    assert!(to_avro_datum(&own.schema, value).unwrap() == datum, "apache-avro writes other bytes for {}", E::NAME);
    assert!(decode::<E>(&message).unwrap() == *event, "{} does not come back equal", E::NAME);
}

proptest! {
    #[test]
    fn readings_are_the_bytes_that_apache_avro_writes(seed: u64) {
        same_bytes(&Dice(seed).reading());
    }

    #[test]
    fn a_cut_reading_is_an_error_and_never_a_panic(seed: u64, cut in 0_usize..4096) {
        let message = encode(&Dice(seed).reading());
        let cut = cut % message.len();
        prop_assert!(decode::<Reading>(&message[..cut]).is_err());
    }

    #[test]
    fn a_byte_soup_is_an_error_or_a_reading_and_never_a_panic(soup: Vec<u8>) {
        let mut message = encode(&Dice(1).reading());
        message.truncate(10);
        message.extend(soup);
        let _either: Result<Reading, ReadError> = decode(&message);
    }
}

#[test]
fn the_other_events_are_the_bytes_that_apache_avro_writes() {
    same_bytes(&history::assignment());
    same_bytes(&history::document());
    same_bytes(&history::outcome());
}

#[test]
fn an_overlong_number_is_refused() {
    let overlong = [0xff; 11];
    let read: Result<i64, DecodeError> = schemas::codec::Datum::read(&mut Input::new(&overlong));
    assert_eq!(read.err(), Some(DecodeError::Number));
}

#[test]
fn a_message_of_an_unknown_schema_is_waited_for_and_not_refused() {
    let mut message = encode(&history::outcome());
    message[2] ^= 0xff;
    let cache = SchemaCache::new().unwrap();
    let error = cache.decode::<Outcome>(&message).err().unwrap();
    assert!(matches!(error, schemas::codec::WriterSchemaError::Unknown(_)));
}

#[test]
fn a_message_of_an_older_schema_is_read_with_the_defaults_of_what_it_lacks() {
    // The outcome as a release without `commands` and with another order of fields would have written it.
    let older = r#"{"type":"record","name":"Outcome","namespace":"devicemanager","fields":[
        {"name":"offset","type":"long"},
        {"name":"topic","type":{"type":"enum","name":"RawTopic","symbols":["raw_medisante","raw_healthkit","raw_devices"]}},
        {"name":"topic_epoch","type":"int"},{"name":"partition","type":"int"},{"name":"items","type":"int"},
        {"name":"readings","type":"int"},{"name":"commands","type":"int"},{"name":"rejections","type":"int"},
        {"name":"mapping_version","type":"int"},
        {"name":"received_at","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;
    let schema = apache_avro::Schema::parse_str(older).unwrap();
    let bytes = schema.fingerprint::<apache_avro::rabin::Rabin>().bytes;
    let fingerprint = schemas::codec::Fingerprint(bytes.try_into().unwrap());
    let mut message = vec![0xc3, 0x01];
    message.extend(fingerprint.0);
    // offset 42, topic raw_healthkit, epoch 1, partition 2, items 3, readings 2, commands 0, rejections 1, mapping 1, time 5
    message.extend([84, 2, 2, 4, 6, 4, 0, 2, 2, 10]);
    let mut cache = SchemaCache::new().unwrap();
    cache.add(fingerprint, older).unwrap();
    let outcome = cache.decode::<Outcome>(&message).unwrap();
    assert_eq!((outcome.offset, outcome.partition, outcome.items, outcome.rejections), (42, 2, 3, 1));
}
