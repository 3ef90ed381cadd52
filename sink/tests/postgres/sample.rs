//! Sample events with invented values.

use schemas::{
    dead_letter::DeadLetter,
    event::{
        Assignment, Coding, Command, Component, Device, DeviceId, Document, Flag, Missing, Outcome, PatientId,
        Precision, Provenance, Quantity, Reading, SourceName, Status, Value,
    },
    format::{Format, Provider, RawTopic},
    identity::device_key,
    receipt::ReceiptKey,
    topic::Topics,
};
use sink::item::{Body, EventTopic, Item, Origin, Partition, ReceivedLetter};
use store::reading::Row;
use uuid::Uuid;

pub(crate) const SECOND: i64 = 1_000_000;
/// 2024-05-01T00:00:00Z.
pub(crate) const MAY: i64 = 1_714_521_600 * SECOND;
pub(crate) const DAY: i64 = 86_400 * SECOND;

pub(crate) fn key() -> ReceiptKey {
    ReceiptKey::new(&[7; 32]).unwrap()
}

pub(crate) fn topics() -> Topics {
    Topics::new("")
}

pub(crate) fn device(id: &str) -> Device {
    let id = DeviceId::parse(id).unwrap();
    Device {
        key: device_key(Provider::Medisante, &id),
        id,
        manufacturer: Some("Maker".into()),
        model: Some("M1".into()),
        serial: None,
    }
}

pub(crate) fn quantity(value: &str) -> Value {
    Value::Quantity(Quantity {
        value: value.to_owned(),
        unit: "mmol/L".into(),
        source_value: value.to_owned(),
        source_unit: Some("mmol/L".to_owned()),
        comparator: None,
    })
}

pub(crate) fn coding(code: &str) -> Coding {
    Coding {
        system: "http://loinc.org".into(),
        code: code.to_owned().into(),
        display: Some(format!("what {code} is").into()),
    }
}

/// Reading number `id`, made of the raw record at `offset` and measured on 1 May 2024.
pub(crate) fn reading(id: u128, offset: i64) -> Reading {
    Reading {
        reading_id: Uuid::from_u128(0x5000_0000_0000_0000_0000_0000_0000_0000 + id),
        provider: Provider::Medisante,
        device: Some(device("meter-1")),
        code: coding("15074-8"),
        value: quantity("5.50"),
        status: Status::Final,
        measured_from: Some(MAY),
        time_precision: Precision::Second,
        offset_minutes: Some(120),
        measured_text: Some("2024-05-01T02:00:00+02:00".to_owned()),
        received_at: MAY + offset * SECOND,
        content: [1; 16],
        flags: vec![Flag::DefaultUnit],
        provenance: Provenance {
            topic: None,
            topic_epoch: 1,
            partition: 0,
            offset,
            item: 0,
            format: Format::StandardJson,
            mapping_version: 1,
            catalogue_revision: 0,
        },
        ..Reading::blank(SourceName::parse("portal").unwrap())
    }
}

pub(crate) fn pressure(id: u128, offset: i64) -> Reading {
    let part = |code: &str, value: &str| Component {
        code: coding(code),
        source_codes: vec![],
        value: quantity(value),
        flags: vec![Flag::OutOfRange],
    };
    Reading {
        code: coding("85354-9"),
        value: Value::Absent(Missing::Panel),
        components: vec![part("8480-6", "120"), part("8462-4", "80.0")],
        ..reading(id, offset)
    }
}

pub(crate) fn assignment(offset: i64, patient: Option<&str>, effective_from: i64) -> Assignment {
    let device = device("meter-1");
    Assignment {
        device_key: device.key,
        command: if patient.is_some() { Command::Assign } else { Command::Unassign },
        provider: patient.map(|_| Provider::Medisante),
        device_id: patient.map(|_| device.id),
        device_type: None,
        name: patient.map(|_| "Meter".to_owned()),
        serial_number: None,
        features: None,
        patient: patient.map(|patient| PatientId::parse(patient).unwrap()),
        effective_from: Some(effective_from),
        source: SourceName::parse("operator").unwrap(),
        subject: None,
        bound_to: Vec::new(),
        received_at: MAY + 100 * DAY + offset * SECOND,
        topic_epoch: 1,
        partition: 0,
        offset,
        mapping_version: 1,
        key_id: None,
    }
}

pub(crate) fn outcome(offset: i64, readings: i32) -> Outcome {
    Outcome {
        topic: RawTopic::Medisante,
        topic_epoch: 1,
        partition: 0,
        offset,
        items: readings,
        readings,
        commands: 0,
        rejections: 0,
        mapping_version: 1,
        received_at: MAY,
        unknown: vec![],
        catalogue_revision: 0,
        replay: None,
    }
}

fn item(topic: EventTopic, offset: i64, body: Body) -> Item {
    Item { origin: Origin { partition: Partition { topic, number: 0 }, offset, timestamp: MAY }, body }
}

pub(crate) fn read(reading: Reading) -> Item {
    let row = Row::new(reading, &key()).map_err(|(_, fault)| fault).unwrap();
    item(EventTopic::Readings, row.reading.provenance.offset, Body::Reading(Box::new(row)))
}

pub(crate) fn commanded(assignment: Assignment) -> Item {
    item(EventTopic::Assignments, assignment.offset, Body::Assignment(Box::new(assignment)))
}

pub(crate) fn filed(document: Document) -> Item {
    item(EventTopic::Documents, 0, Body::Document(Box::new(document)))
}

pub(crate) fn ended(outcome: Outcome) -> Item {
    item(EventTopic::Outcomes, outcome.offset, Body::Outcome(outcome))
}

pub(crate) fn listed(letter: DeadLetter, offset: i64) -> Item {
    item(EventTopic::DeadLetters, offset, Body::DeadLetter(Box::new(ReceivedLetter::new(letter, &key()))))
}
