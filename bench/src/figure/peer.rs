//! The peer of the pure mapping: a typed parse of the same payload, whose fields are written one after the other by hand. It uses
//! no catalogue, no units and no identity, and checks nothing: the minimum for a program that knows each payload in advance.

use std::borrow::Cow;

use quick_xml::{Reader, XmlVersion, events::Event};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Result;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    device: MessageDevice<'a>,
    #[serde(borrow)]
    measurements: Measurements<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    correlation_id: Cow<'a, str>,
    #[serde(borrow)]
    received_time: Cow<'a, str>,
    #[serde(borrow)]
    measurement_type: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageDevice<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    serial_number: Cow<'a, str>,
    #[serde(borrow)]
    manufacturer: Cow<'a, str>,
    #[serde(borrow)]
    model: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Measurements<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    glucose: Option<Measured<'a>>,
    #[serde(borrow)]
    systolic_blood_pressure: Option<Measured<'a>>,
    #[serde(borrow)]
    diastolic_blood_pressure: Option<Measured<'a>>,
    #[serde(borrow)]
    pulse: Option<Measured<'a>>,
}

#[derive(Deserialize)]
struct Measured<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(borrow)]
    unit: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Observation<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    code: Concept<'a>,
    #[serde(borrow)]
    subject: Reference<'a>,
    #[serde(borrow)]
    effective_date_time: Cow<'a, str>,
    #[serde(borrow)]
    device: Reference<'a>,
    #[serde(borrow)]
    value_quantity: Quantity<'a>,
}

#[derive(Deserialize)]
struct Concept<'a> {
    #[serde(borrow)]
    coding: Vec<Coding<'a>>,
}

#[derive(Deserialize)]
struct Coding<'a> {
    #[serde(borrow)]
    system: Cow<'a, str>,
    #[serde(borrow)]
    code: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Reference<'a> {
    #[serde(borrow)]
    reference: Option<Cow<'a, str>>,
    #[serde(borrow)]
    identifier: Option<Identifier<'a>>,
}

#[derive(Deserialize)]
struct Identifier<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Quantity<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(borrow)]
    unit: Cow<'a, str>,
    #[serde(borrow)]
    code: Cow<'a, str>,
}

/// An output buffer. Texts are written as Avro strings: the length as a zigzag varint, then the bytes.
#[derive(Default)]
pub(super) struct AvroBuffer(Vec<u8>);

impl AvroBuffer {
    fn texts<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) {
        for text in texts {
            let mut length = text.len() << 1;
            loop {
                let [low, ..] = length.to_le_bytes();
                length >>= 7;
                if length == 0 {
                    self.0.push(low & 0x7f);
                    break;
                }
                self.0.push(low | 0x80);
            }
            self.0.extend_from_slice(text.as_bytes());
        }
    }
}

/// Reads and writes a Medisanté message. Returns how many values were written.
pub(super) fn medisante(text: &str, out: &mut AvroBuffer) -> Result<u64> {
    let Message { metadata, device, measurements } = serde_json::from_str(text)?;
    out.0.clear();
    out.texts([&*metadata.correlation_id, &metadata.received_time, &metadata.measurement_type]);
    out.texts([&*device.id, &device.serial_number, &device.manufacturer, &device.model, &measurements.timestamp]);
    let values = [
        measurements.glucose,
        measurements.systolic_blood_pressure,
        measurements.diastolic_blood_pressure,
        measurements.pulse,
    ];
    let mut count = 0;
    for Measured { value, unit } in values.into_iter().flatten() {
        out.texts([value.get(), &unit]);
        count += 1;
    }
    Ok(count)
}

/// Reads and writes a FHIR Observation in JSON. Returns 1.
pub(super) fn fhir_json(text: &str, out: &mut AvroBuffer) -> Result<u64> {
    let one: Observation<'_> = serde_json::from_str(text)?;
    out.0.clear();
    out.texts([&*one.id, &one.status, &one.effective_date_time]);
    out.texts(one.code.coding.iter().flat_map(|coding| [&*coding.system, &*coding.code]));
    for reference in [&one.subject, &one.device] {
        out.texts(reference.reference.as_deref());
        out.texts(reference.identifier.as_ref().map(|identifier| &*identifier.value));
    }
    out.texts([one.value_quantity.value.get(), &one.value_quantity.unit, &one.value_quantity.code]);
    Ok(1)
}

/// Reads a FHIR Observation in XML. There are no types for it, so the values of all attributes are written in the order of the
/// text. Returns their number.
pub(super) fn fhir_xml(text: &str, out: &mut AvroBuffer) -> Result<u64> {
    let mut reader = Reader::from_str(text);
    out.0.clear();
    let mut count = 0;
    loop {
        match reader.read_event()? {
            Event::Start(tag) | Event::Empty(tag) => {
                for attribute in tag.attributes() {
                    out.texts([&*attribute?.normalized_value(XmlVersion::Implicit1_0)?]);
                    count += 1;
                }
            }
            Event::Eof => return Ok(count),
            _ => {}
        }
    }
}
