//! Names that must never change, and the format of receipts.

use proptest::prelude::*;
use schemas::{
    dead_letter::{AboutPayload, DeadLetter, DeadLetterError, Stage, header},
    event::{DeviceId, NameError, PatientId, SourceName, Unknown, UnknownKind},
    format::{Format, Provider, RawTopic},
    identity::{ContentDigest, Identity, TrustScope, device_key, reading_id},
    limit,
    receipt::{ItemPosition, NotARawPosition, RawPosition, ReceiptKey},
    rejection::Reason,
    topic,
};

#[test]
fn ids_are_the_same_as_in_older_rows() {
    let device = DeviceId::parse("apple-12345").ok().unwrap();
    let source = SourceName::parse("portal").ok().unwrap();
    let patient = PatientId::parse("p-1").ok().unwrap();
    let stable = Identity::Stable(&["30000000-0000-4000-8000-000000000001", "glucose"]);
    let names = [
        device_key(Provider::HealthKit, &device),
        reading_id(TrustScope::Source(&source), Provider::Medisante, stable),
        reading_id(TrustScope::Subject(&patient), Provider::Medisante, stable),
    ];
    assert_eq!(
        names.map(|name| name.to_string()),
        [
            "19732638-1adc-592d-9f3b-a8be6fe24609",
            "a075c326-505f-5234-b20e-ba2e2adb7abb",
            "5f4c8813-34be-55db-8af2-5188f0aefded",
        ]
    );
}

#[test]
fn an_unknown_shape_is_named_by_provider_format_kind_and_shape() {
    let shape = "measurements.newThing{unit:string,value:number}".to_owned();
    let unknown = Unknown { format: Format::StandardJson, kind: UnknownKind::Metric, shape };
    assert_eq!(unknown.fingerprint(Provider::Medisante), "0f2deee477aaef0d");
    let others = [
        unknown.fingerprint(Provider::HealthKit),
        Unknown { format: Format::StandardXml, ..unknown.clone() }.fingerprint(Provider::Medisante),
        Unknown { kind: UnknownKind::Field, ..unknown.clone() }.fingerprint(Provider::Medisante),
        Unknown { shape: "other".to_owned(), ..unknown.clone() }.fingerprint(Provider::Medisante),
    ];
    assert!(others.iter().all(|other| *other != unknown.fingerprint(Provider::Medisante)));
}

#[test]
fn both_names_of_healthkit_are_the_same_provider() {
    assert_eq!(Provider::parse("healthkit"), Some(Provider::HealthKit));
    assert_eq!(Provider::parse("apple-healthkit"), Some(Provider::HealthKit));
    assert_eq!(Provider::parse("medisante"), Some(Provider::Medisante));
    assert_eq!(Provider::parse("Medisante"), None);
}

#[test]
fn the_format_names_in_a_path_are_parsed() {
    let all = [
        ("json", Format::StandardJson, false),
        ("xml", Format::StandardXml, true),
        ("standard-json", Format::StandardJson, false),
        ("standard-xml", Format::StandardXml, true),
        ("fhir-json", Format::FhirJson, false),
        ("fhir-xml", Format::FhirXml, true),
        ("health-auto-export", Format::HealthAutoExport, false),
        ("export-xml", Format::ExportXml, true),
    ];
    for (word, format, is_xml) in all {
        assert_eq!(Format::parse(word), Some(format), "{word}");
        assert_eq!(format.is_xml(), is_xml, "{word}");
        assert_eq!(
            [Provider::HealthKit, Provider::Medisante].map(|provider| format.has_item_receipts(provider)),
            [format == Format::StandardJson, false],
            "{word}"
        );
    }
    assert_eq!(Format::parse("csv"), None);
}

#[test]
fn a_payload_topic_belongs_to_one_provider() {
    for provider in Provider::ALL {
        for format in provider.formats() {
            assert_eq!(provider.raw_topic(*format).provider(), Some(*provider), "{}", format.as_str());
        }
    }
    assert_eq!(Provider::HealthKit.raw_topic(Format::ExportXml), RawTopic::Uploads);
    assert_eq!(Provider::HealthKit.raw_topic(Format::FhirXml), RawTopic::HealthKit);
    assert_eq!(RawTopic::Devices.provider(), None);
}

#[test]
fn each_raw_topic_except_that_of_uploads_contains_whole_bodies() {
    let expected: Vec<RawTopic> = RawTopic::ALL.iter().copied().filter(|topic| *topic != RawTopic::Uploads).collect();
    assert_eq!(RawTopic::BODIES, expected);
}

#[test]
fn the_code_of_a_topic_never_changes() {
    let codes = [(0, "raw.medisante"), (1, "raw.healthkit"), (2, "raw.devices"), (3, "raw.uploads")];
    for (code, name) in codes {
        let topic = RawTopic::from_word(name).unwrap();
        assert_eq!((topic.code(), RawTopic::from_code(code)), (code, Some(topic)));
    }
    assert_eq!(RawTopic::ALL.len(), codes.len());
    assert_eq!(RawTopic::from_code(4), None);
}

#[test]
fn an_identifier_has_256_bytes_at_most_and_no_control_character() {
    assert_eq!(DeviceId::parse(&"n".repeat(256)).map(|id| id.as_str().len()), Ok(256));
    assert_eq!(DeviceId::parse(&"n".repeat(257)).err(), Some(NameError::TooLong));
    assert_eq!(DeviceId::parse(&"n".repeat(258)).err(), Some(NameError::TooLong));
    assert_eq!(PatientId::parse(" p ").map(|id| id.as_str().to_owned()), Ok("p".to_owned()));
    assert_eq!(PatientId::parse(" \t").err(), Some(NameError::Empty));
    assert_eq!(SourceName::parse("a\u{85}b").err(), Some(NameError::Control));
}

#[test]
fn content_hashes_are_the_same_as_in_older_rows() {
    let content = |feed: fn(&mut ContentDigest)| {
        let mut content = ContentDigest::default();
        feed(&mut content);
        content.finish()
    };
    // The first 16 bytes of SHA-256 of 00 00 00 01 61, and of ff.
    let literal = [0x72, 0xff, 0x6b, 0x02, 0x94, 0x9d, 0xad, 0x95, 0x00, 0x6c, 0x34, 0x3e, 0x3d, 0xb3, 0x15, 0x00];
    let absent = [0xa8, 0x10, 0x0a, 0xe6, 0xaa, 0x19, 0x40, 0xd0, 0xb6, 0x63, 0xbb, 0x31, 0xcd, 0x46, 0x61, 0x42];
    assert_eq!(content(|content| content.literal("a")), literal);
    assert_eq!(content(|content| content.optional(Some("a"))), literal);
    assert_eq!(content(ContentDigest::absent), absent);
    assert_eq!(content(|content| content.optional(None)), absent);
    // A literal that is added later is appended to the bytes of the content.
    let both = [0x0a, 0x5a, 0x1a, 0xcd, 0x17, 0x35, 0x96, 0x6a, 0x1f, 0x5c, 0x24, 0xa1, 0xc2, 0x61, 0xa4, 0xfb];
    let mut later = ContentDigest::from(literal);
    later.literal("a");
    assert_eq!(later.finish(), both);
}

#[test]
fn an_absent_literal_and_an_empty_one_are_different_content() {
    let (mut absent, mut empty) = (ContentDigest::default(), ContentDigest::default());
    absent.absent();
    empty.literal("");
    assert_ne!(absent.finish(), empty.finish());
}

proptest! {
    #[test]
    fn parts_of_an_id_are_never_confused_with_their_concatenation(left in ".{0,8}", right in ".{0,8}") {
        let source = SourceName::parse("portal").ok().unwrap();
        let name = |parts: &[&str]| reading_id(TrustScope::Source(&source), Provider::Medisante, Identity::Literals(parts));
        let joined = format!("{left}{right}");
        prop_assert_ne!(name(&[&left, &right]), name(&[&joined]));
    }

    #[test]
    fn a_receipt_is_decoded_and_a_changed_one_is_refused(
        topic in 0_usize..4, topic_epoch: u16, partition in 0_i32.., offset in 0_i64.., item: u32,
        at in 0_usize..36, other in 0_u8..64,
    ) {
        let key = ReceiptKey::new(&[5; 32]).unwrap();
        let position = ItemPosition { topic: RawTopic::ALL[topic], topic_epoch, partition, offset, item };
        let receipt = key.issue(&position);
        prop_assert_eq!(receipt.len(), 36);
        prop_assert_eq!(key.read(&receipt), Ok(position));
        let letter = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[usize::from(other)];
        let mut changed = receipt.clone().into_bytes();
        changed[at] = letter;
        let changed = String::from_utf8(changed).unwrap();
        prop_assert_eq!(key.read(&changed).is_ok(), changed == receipt);
        prop_assert!(ReceiptKey::new(&[6; 32]).unwrap().read(&receipt).is_err());
    }
}

#[test]
fn a_raw_position_is_read_back_and_nothing_else_is() {
    let position = RawPosition { topic: RawTopic::Uploads, topic_epoch: 7, partition: 3, offset: 42 };
    assert_eq!(position.to_string(), "raw.uploads:7:3:42", "stored dead letters contain this form");
    assert_eq!("raw.uploads:7:3:42".parse(), Ok(position));
    for text in [
        "",
        "raw.uploads",
        "raw.uploads:7:3",
        "raw.uploads:7:3:42:0",
        "readings:7:3:42",
        "raw.uploads:a:3:42",
        "raw.uploads:7::42",
    ] {
        assert_eq!(text.parse::<RawPosition>(), Err(NotARawPosition), "{text}");
    }
}

#[test]
fn the_message_limit_of_the_topics_is_the_limit_of_the_stages() {
    assert_eq!(topic::MESSAGE_BYTES_MAX, limit::MESSAGE_BYTES_MAX.to_string());
}

#[test]
fn a_dead_letter_is_read_back_with_and_without_a_device() {
    let named = DeadLetter {
        origin_topic: "raw.healthkit".to_owned(),
        origin_partition: 3,
        origin_offset: 42,
        origin_timestamp: 1_700_000_000_000_000,
        item: Some(7),
        item_count: 2,
        device: Some(device_key(Provider::HealthKit, &DeviceId::parse("apple-12345").unwrap())),
        stage: Stage::Normalizer,
        reason: Reason::UnitMissing,
        detail: "no unit".to_owned(),
        content_hmac: Some("5a".to_owned()),
        raw_position: Some("raw.healthkit:7:3:42".to_owned()),
        about: AboutPayload {
            source: Some("app".to_owned()),
            credential: Some("key-1".to_owned()),
            correlation_id: Some("order-7".to_owned()),
            format: Some("standard-json".to_owned()),
            provider: Some(Provider::HealthKit),
        },
        attempt: 3,
        replay: Some(12),
        value: Vec::new(),
    };
    let read = |pairs: &[(&str, String)]| {
        DeadLetter::read(pairs.iter().map(|(name, value)| (*name, value.as_bytes())), &[])
            .map(|letter| letter.headers())
    };
    let mut pairs = named.headers();
    assert_eq!(read(&pairs), Ok(pairs.clone()));
    let device = pairs.iter().position(|(name, _)| *name == header::DEVICE).unwrap();
    assert_eq!(pairs[device].1, "19732638-1adc-592d-9f3b-a8be6fe24609", "never the id that the source wrote");
    let mut broken = pairs.clone();
    broken[device].1 = "meter".to_owned();
    assert_eq!(read(&broken), Err(DeadLetterError(header::DEVICE)));
    pairs.remove(device);
    assert_eq!(read(&pairs), Ok(DeadLetter { device: None, ..named.clone() }.headers()));

    // A dead letter of an earlier release.
    let unnamed = DeadLetter { about: AboutPayload::default(), attempt: 1, replay: None, ..named.clone() };
    let newer = [header::ATTEMPT, header::REPLAY, header::SOURCE, header::CREDENTIAL, header::CORRELATION_ID];
    let newer = [&newer[..], &[header::FORMAT, header::PROVIDER]].concat();
    let mut earlier = named.headers();
    earlier.retain(|(name, _)| !newer.contains(name));
    assert_eq!(read(&earlier), Ok(unnamed.headers()));
    for (name, wrong) in [(header::ATTEMPT, "0"), (header::REPLAY, "x")] {
        let mut pairs = named.headers();
        pairs.iter_mut().find(|(found, _)| *found == name).unwrap().1 = wrong.to_owned();
        assert_eq!(read(&pairs), Err(DeadLetterError(name)));
    }

    // Each sample has a receipt; a FHIR payload has one.
    let item_of = |letter: &DeadLetter| letter.receipt_position().map(|position| position.item);
    assert_eq!([item_of(&named), item_of(&unnamed)], [Some(7), Some(0)]);
    assert_eq!(item_of(&DeadLetter { raw_position: None, ..named }), None);
}
