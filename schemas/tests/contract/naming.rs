//! Names that must never change, and receipts.

use proptest::prelude::*;
use schemas::{
    event::{DeviceId, PatientId, SourceName, Unknown, UnknownKind},
    format::{Format, Provider, RawTopic},
    identity::{Content, Identity, TrustScope, device_key, reading_id},
    receipt::{Position, ReceiptKey},
};

#[test]
fn names_are_the_ones_that_older_rows_have() {
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
fn both_names_of_a_provider_are_one_provider() {
    assert_eq!(Provider::parse("apple-healthkit"), Provider::parse("healthkit"));
}

#[test]
fn an_absent_literal_and_an_empty_one_are_different_content() {
    let (mut absent, mut empty) = (Content::default(), Content::default());
    absent.absent();
    empty.literal("");
    assert_ne!(absent.finish(), empty.finish());
}

proptest! {
    #[test]
    fn parts_never_run_into_each_other(left in ".{0,8}", right in ".{0,8}") {
        let source = SourceName::parse("portal").ok().unwrap();
        let name = |parts: &[&str]| reading_id(TrustScope::Source(&source), Provider::Medisante, Identity::Literals(parts));
        let joined = format!("{left}{right}");
        prop_assert_ne!(name(&[&left, &right]), name(&[&joined]));
    }

    #[test]
    fn a_receipt_comes_back_and_no_changed_one_does(
        topic in 0_usize..3, topic_epoch: u16, partition in 0_i32.., offset in 0_i64.., item: u32,
        at in 0_usize..36, other in 0_u8..64,
    ) {
        let key = ReceiptKey::new(&[5; 32]).unwrap();
        let position = Position { topic: RawTopic::ALL[topic], topic_epoch, partition, offset, item };
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
