//! The pure normalizer on one core: JSON or XML in, Avro bytes out, no I/O.

use std::{cell::RefCell, collections::HashSet, hint::black_box, time::Instant};

use quick_xml::{Reader, XmlVersion, events::Event};
use rustix::time::{ClockId, clock_gettime};
use schemas::{
    codec::encode,
    event::SourceName,
    format::{Format, Provider, RawTopic},
    raw::{Headers, RawRecord, RecordKind},
};

use super::peer::{self, AvroBuffer};
use crate::{
    Result, machine,
    payload::{self, TestPayload},
    plan::Plan,
    stats::Spread,
    table::{Limit, Row},
};

const SAMPLES: u64 = 50;

/// A function that reads the same text and counts what it has read.
struct Peer {
    pass: fn(&str, &mut AvroBuffer) -> Result<u64>,
    /// The count that `pass` must return.
    expected: fn(&TestPayload) -> u64,
    /// The description of the peer for the note.
    what: &'static str,
}

const ATTRIBUTES: fn(&TestPayload) -> u64 = |payload| payload.body.matches("=\"").count() as u64;
const TYPED: &str = "a typed parse of the same payload and a hand-written encoding of its fields";

pub(super) struct Case {
    figure: &'static str,
    unit: &'static str,
    pub(super) provider: Provider,
    pub(super) format: Format,
    limit: Option<Limit>,
    /// Whether the rate counts readings instead of payloads.
    by_reading: bool,
    pub(super) payload: fn(u64) -> TestPayload,
    peer: Option<Peer>,
}

pub(super) const CASES: [Case; 8] = [
    Case {
        figure: "normalizer, pure: Medisanté JSON",
        unit: "payloads/s",
        provider: Provider::Medisante,
        format: Format::StandardJson,
        limit: Some(Limit::Ratio(0.15)),
        by_reading: false,
        payload: |number| {
            if number.is_multiple_of(2) { payload::glucose(3, number) } else { payload::blood_pressure(3, number) }
        },
        peer: Some(Peer {
            pass: peer::medisante,
            expected: |payload| payload.body.matches("\"value\":").count() as u64,
            what: TYPED,
        }),
    },
    Case {
        figure: "normalizer, pure: FHIR JSON",
        unit: "payloads/s",
        provider: Provider::Medisante,
        format: Format::FhirJson,
        limit: Some(Limit::Ratio(0.15)),
        by_reading: false,
        payload: |number| payload::fhir(3, number),
        peer: Some(Peer { pass: peer::fhir_json, expected: |_| 1, what: TYPED }),
    },
    Case {
        figure: "normalizer, pure: FHIR XML",
        unit: "payloads/s",
        provider: Provider::Medisante,
        format: Format::FhirXml,
        limit: Some(Limit::Ratio(0.22)),
        by_reading: false,
        payload: |number| payload::fhir_xml(3, number),
        peer: Some(Peer {
            pass: peer::fhir_xml,
            expected: ATTRIBUTES,
            what: "a quick-xml pass that writes the values of all attributes one after the other",
        }),
    },
    Case {
        figure: "normalizer, pure: Medisanté XML",
        unit: "payloads/s",
        provider: Provider::Medisante,
        format: Format::StandardXml,
        limit: None,
        by_reading: false,
        payload: |number| payload::glucose_xml(3, number),
        peer: None,
    },
    Case {
        figure: "normalizer, pure: HealthKit array",
        unit: "samples/s",
        provider: Provider::HealthKit,
        format: Format::StandardJson,
        limit: None,
        by_reading: true,
        payload: |number| payload::healthkit(3, number, SAMPLES),
        peer: None,
    },
    Case {
        figure: "normalizer, pure: Health Auto Export",
        unit: "samples/s",
        provider: Provider::HealthKit,
        format: Format::HealthAutoExport,
        limit: None,
        by_reading: true,
        payload: |number| payload::health_auto_export(number, SAMPLES),
        peer: None,
    },
    Case {
        figure: "normalizer, pure: export.xml",
        unit: "records/s",
        provider: Provider::HealthKit,
        format: Format::ExportXml,
        limit: Some(Limit::Ratio(0.3)),
        by_reading: true,
        payload: |number| payload::export(number, SAMPLES),
        peer: Some(Peer {
            pass: values,
            expected: of_export,
            what: "a bare quick-xml pass over all attributes of the same text as a stream, with the normalized value of each",
        }),
    },
    Case {
        figure: "normalizer, pure: export.xml, against raw attributes",
        unit: "records/s",
        provider: Provider::HealthKit,
        format: Format::ExportXml,
        limit: None,
        by_reading: true,
        payload: |number| payload::export(number, SAMPLES),
        peer: Some(Peer {
            pass: attributes,
            expected: of_export,
            what: "a bare quick-xml pass over all attributes of a text that is completely in memory, which leaves each value as \
                   it is written",
        }),
    },
];

/// Measures every format.
pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in &CASES {
        let busiest = machine::until_idle(plan.idle_limit()).await;
        let rates: Vec<[Option<f64>; 2]> =
            (0..plan.rounds).map(|number| round(plan, case, number)).collect::<Result<_>>()?;
        rows.push(Row {
            figure: case.figure.to_owned(),
            unit: case.unit,
            product: Spread::of(rates.iter().filter_map(|[product, _]| *product)),
            peer: Spread::of(rates.iter().filter_map(|[_, peer]| *peer)),
            ratio: Spread::of(rates.iter().filter_map(|[product, peer]| Some((*product)? / (*peer)?))),
            limit: case.limit,
            gate: "readings as expected, none refused, all ids distinct".to_owned(),
            note: note(case),
            busiest,
            ..Row::default()
        });
    }
    Ok(rows)
}

fn note(case: &Case) -> String {
    let bytes: usize = (0..2).map(|number| (case.payload)(number).body.len()).sum();
    let peer = case.peer.as_ref().map_or(String::new(), |Peer { what, .. }| format!(" The peer is {what}."));
    format!(
        "One thread, from the raw record to the readings' Avro bytes, per second of processor time; {} bytes a payload.{peer}",
        bytes / 2
    )
}

/// Runs one round: the gate over all payloads, then the rates of the product and of the peer. Every second round starts with the
/// peer.
fn round(plan: &Plan, case: &Case, number: u32) -> Result<[Option<f64>; 2]> {
    let payloads: Vec<TestPayload> = (0..if case.by_reading { 200 } else { 10_000 }).map(case.payload).collect();
    let headers = headers(case.format)?;
    gate(case, &headers, &payloads)?;
    let product = || {
        rate(plan, case, &payloads, |payload| {
            for reading in &normalizer::normalize(&record(case.provider, &headers, payload)).readings {
                black_box(encode(reading));
            }
        })
    };
    let Some(Peer { pass, .. }) = &case.peer else { return Ok([Some(product()), None]) };
    let buffer = RefCell::new(AvroBuffer::default());
    let peer = || {
        rate(plan, case, &payloads, |payload| {
            // The gate has checked that the peer reads the whole text.
            let _counted = black_box(pass(&payload.body, &mut buffer.borrow_mut()));
        })
    };
    let (mine, theirs);
    if number.is_multiple_of(2) {
        mine = product();
        theirs = peer();
    } else {
        theirs = peer();
        mine = product();
    }
    Ok([Some(mine), Some(theirs)])
}

/// Returns the number of payloads, or of readings, per second of processor time.
fn rate(plan: &Plan, case: &Case, payloads: &[TestPayload], work: impl Fn(&TestPayload)) -> f64 {
    let span = plan.load_time() / 5;
    let (start, used, mut done) = (Instant::now(), processor_seconds(), 0);
    while start.elapsed() < span {
        for payload in payloads {
            work(payload);
            done += if case.by_reading { payload.readings } else { 1 };
        }
    }
    done as f64 / (processor_seconds() - used)
}

/// Returns the number of attributes of an export.
fn of_export(payload: &TestPayload) -> u64 {
    let (above, each) = payload::EXPORT_ATTRIBUTES;
    above + each * payload.readings
}

/// Reads all attributes of XML as a stream, and normalizes their values. Returns the number of attributes.
fn values(text: &str, _: &mut AvroBuffer) -> Result<u64> {
    let mut reader = Reader::from_reader(text.as_bytes());
    let (mut buffer, mut count) = (Vec::new(), 0);
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer)? {
            Event::Start(tag) | Event::Empty(tag) => {
                for attribute in tag.attributes() {
                    black_box(attribute?.normalized_value(XmlVersion::Implicit1_0)?);
                    count += 1;
                }
            }
            Event::Eof => return Ok(count),
            _ => {}
        }
    }
}

/// Reads all attributes of an XML text in memory, without their values. Returns the number of attributes.
fn attributes(text: &str, _: &mut AvroBuffer) -> Result<u64> {
    let mut reader = Reader::from_str(text);
    let mut count = 0;
    loop {
        match reader.read_event()? {
            Event::Start(tag) | Event::Empty(tag) => {
                for attribute in tag.attributes() {
                    black_box(attribute?);
                    count += 1;
                }
            }
            Event::Eof => return Ok(count),
            _ => {}
        }
    }
}

/// Returns the processor time of this thread. The time of other threads and processes is not included.
fn processor_seconds() -> f64 {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

fn gate(case: &Case, headers: &Headers, payloads: &[TestPayload]) -> Result<()> {
    let (mut ids, mut expected) = (HashSet::new(), 0);
    for payload in payloads {
        if let Some(Peer { pass, expected, .. }) = &case.peer
            && pass(&payload.body, &mut AvroBuffer::default())? != expected(payload)
        {
            return Err(format!("gate of {}: the peer does not read the whole text", case.figure).into());
        }
        let normalized = normalizer::normalize(&record(case.provider, headers, payload));
        if normalized.readings.len() as u64 != payload.readings || !normalized.rejections.is_empty() {
            let why: Vec<_> = normalized.rejections.iter().map(|refused| (refused.reason, &refused.detail)).collect();
            return Err(format!("gate of {}: {} readings, {why:?}", case.figure, normalized.readings.len()).into());
        }
        ids.extend(normalized.readings.iter().map(|reading| reading.reading_id));
        expected += payload.readings;
    }
    if ids.len() as u64 == expected {
        Ok(())
    } else {
        Err(format!("gate of {}: the ids are not distinct", case.figure).into())
    }
}

/// Returns the headers that the ingress would write.
pub(crate) fn headers(format: Format) -> Result<Headers> {
    Ok(Headers {
        kind: RecordKind::Payload(format),
        content_type: Some("application/json; charset=utf-8".to_owned()),
        credential: "key-bench".to_owned(),
        source: SourceName::parse("bench")?,
        subject: None,
        correlation_id: payload::correlation_id(0, 0),
        traceparent: None,
        content_hmac: "5a".repeat(32),
        sample_type: None,
        unit: None,
        device_id: None,
        defaults: None,
        providers: Vec::new(),
        upload: None,
        key_id: None,
    })
}

/// Returns a raw record as the normalizer's loop would pass it to the mapping.
pub(crate) fn record<'a>(provider: Provider, headers: &Headers, payload: &'a TestPayload) -> RawRecord<'a> {
    RawRecord {
        topic: match headers.kind {
            RecordKind::Payload(format) => provider.raw_topic(format),
            RecordKind::Assign | RecordKind::Unassign => RawTopic::Devices,
        },
        topic_epoch: 0,
        partition: 0,
        offset: 0,
        // Shortly after the last payload was measured.
        received_at: (payload::FIRST_MEASURED.unix_timestamp() + 60) * 1_000_000,
        headers: headers.clone(),
        body: payload.body.as_bytes(),
    }
}
