//! The encoded events are Avro: apache-avro reads them and writes the same bytes.

use apache_avro::{from_avro_datum, to_avro_datum};
use proptest::prelude::*;
use schemas::{
    codec::{
        DecodeError, Event, Fingerprint, Input, ReadError, SchemaCache, decode, encode, fingerprint_of, own_schemas,
    },
    event::{Assignment, Document, Outcome, Reading},
};
use serde_json::Value;

use super::{history, sample::Dice};

#[test]
fn fingerprints_in_code_match_the_schemas() {
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
    assert!(decode::<E>(&message).unwrap() == *event, "{} is not equal after decoding", E::NAME);
}

proptest! {
    #[test]
    fn readings_are_encoded_as_by_apache_avro(seed: u64) {
        same_bytes(&Dice(seed).reading());
    }

    #[test]
    fn a_truncated_reading_is_an_error_and_never_a_panic(seed: u64, cut in 0_usize..4096) {
        let message = encode(&Dice(seed).reading());
        let cut = cut % message.len();
        prop_assert!(decode::<Reading>(&message[..cut]).is_err());
    }

    #[test]
    fn random_bytes_are_an_error_or_a_reading_and_never_a_panic(soup: Vec<u8>) {
        let mut message = encode(&Dice(1).reading());
        message.truncate(10);
        message.extend(soup);
        let _either: Result<Reading, ReadError> = decode(&message);
    }
}

#[test]
fn the_other_events_are_encoded_as_by_apache_avro() {
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

/// A symbol of a newer release must not be stored as the default of this release.
#[test]
fn an_unknown_symbol_is_waited_for_even_if_its_enum_has_a_default() {
    let own = own_schemas().unwrap().into_iter().find(|own| own.name == Reading::NAME).unwrap();
    let mut later: Value = serde_json::from_str(own.text).unwrap();
    let status = named(&mut later, "Status");
    assert!(status.get("default").is_some(), "the enum must have a default, or this test proves nothing");
    status["symbols"].as_array_mut().unwrap().push("suspended".into());
    let later = later.to_string();
    let fingerprint = Fingerprint::of(&later).unwrap();
    let writer = apache_avro::Schema::parse_str(&later).unwrap();
    let message = |status: &str| {
        let encoded = encode(&Dice(5).reading());
        let mut value = from_avro_datum(&own.schema, &mut &encoded[10..], None).unwrap();
        let apache_avro::types::Value::Record(fields) = &mut value else { panic!("a reading is a record") };
        let place = fields.iter_mut().find(|(name, _)| name == "status").unwrap();
        let symbols = named(&mut serde_json::from_str(&later).unwrap(), "Status")["symbols"].clone();
        let index = symbols.as_array().unwrap().iter().position(|symbol| symbol == status).unwrap();
        place.1 = apache_avro::types::Value::Enum(u32::try_from(index).unwrap(), status.to_owned());
        let mut message = vec![0xc3, 0x01];
        message.extend(fingerprint.0);
        message.extend(to_avro_datum(&writer, value).unwrap());
        message
    };
    let mut cache = SchemaCache::new().unwrap();
    cache.add(fingerprint, &later).unwrap();
    assert!(cache.decode::<Reading>(&message("final")).is_ok(), "a symbol that this release knows is decoded");
    let error = cache.decode::<Reading>(&message("suspended")).err().unwrap();
    assert!(matches!(error, schemas::codec::WriterSchemaError::Unresolvable { .. }), "{error}");
}

/// A release that ignored the field would store the row without it, and nothing would report that.
#[test]
fn a_message_with_an_unknown_field_is_waited_for() {
    let own = own_schemas().unwrap().into_iter().find(|own| own.name == Document::NAME).unwrap();
    let mut later: Value = serde_json::from_str(own.text).unwrap();
    let field = serde_json::json!({"name": "pages", "doc": "How many.", "type": ["null", "int"], "default": null});
    later["fields"].as_array_mut().unwrap().push(field);
    let later = later.to_string();
    let fingerprint = Fingerprint::of(&later).unwrap();
    let mut message = encode(&history::document());
    message[2..10].copy_from_slice(&fingerprint.0);
    message.push(0);
    let mut cache = SchemaCache::new().unwrap();
    cache.add(fingerprint, &later).unwrap();
    let error = cache.decode::<Document>(&message).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("this release is too old for the schema {fingerprint}: it does not know its field Document.pages")
    );
}

/// Returns the enum of a schema with this name.
fn named<'v>(schema: &'v mut Value, name: &str) -> &'v mut Value {
    fn find<'v>(schema: &'v mut Value, name: &str) -> Option<&'v mut Value> {
        if schema.get("name").is_some_and(|found| found == name) && schema.get("symbols").is_some() {
            return Some(schema);
        }
        match schema {
            Value::Object(object) => object.values_mut().find_map(|member| find(member, name)),
            Value::Array(elements) => elements.iter_mut().find_map(|element| find(element, name)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }
    find(schema, name).unwrap()
}

/// Earlier builds published schemas and wrote events under this fingerprint, and those must stay readable.
#[test]
fn a_schema_is_accepted_under_the_fingerprint_that_apache_avro_computes() {
    let own = own_schemas().unwrap().into_iter().find(|own| own.name == Document::NAME).unwrap();
    let bytes = own.schema.fingerprint::<apache_avro::rabin::Rabin>().bytes;
    let theirs = Fingerprint(bytes.try_into().unwrap());
    assert_ne!(theirs, own.fingerprint, "the fingerprints differ by the logical types");
    let mut message = encode(&history::document());
    message[2..10].copy_from_slice(&theirs.0);
    let mut cache = SchemaCache::new().unwrap();
    cache.add(theirs, own.text).unwrap();
    assert!(cache.decode::<Document>(&message).unwrap() == history::document());
    assert!(cache.add(Fingerprint([1; 8]), own.text).is_err(), "no other fingerprint is accepted");
}

#[test]
fn a_message_of_an_older_schema_is_read_with_defaults_for_missing_fields() {
    // The outcome as a release without `unknown` and with another order of fields would have written it.
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

/// Another library computes the same fingerprint, by which a foreign reader looks up the schema.
#[test]
fn fingerprints_match_the_specification() {
    for own in own_schemas().unwrap() {
        let theirs: serde_avro_fast::Schema = own.text.parse().unwrap();
        assert_eq!(own.fingerprint.0, *theirs.rabin_fingerprint(), "{}", own.name);
    }
}
