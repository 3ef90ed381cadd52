//! The pure normalizer on one core: JSON in, Avro bytes out, no I/O.

use std::{hint::black_box, time::Instant};

use rustix::time::{ClockId, clock_gettime};
use schemas::{
    codec::encode,
    event::SourceName,
    format::{Format, Provider},
    raw::{Headers, Kind, RawRecord},
};

use crate::{
    Result, machine,
    payload::{self, Payload},
    plan::Plan,
    stats::Spread,
    table::{Limit, Row},
};

const SAMPLES: u64 = 50;

struct Case {
    figure: &'static str,
    unit: &'static str,
    provider: Provider,
    format: Format,
    limit: Option<f64>,
    /// Whether readings are counted, not payloads.
    by_reading: bool,
    payload: fn(u64) -> Payload,
}

const CASES: [Case; 3] = [
    Case {
        figure: "normalizer, pure: Medisanté JSON",
        unit: "payloads/s",
        provider: Provider::Medisante,
        format: Format::StandardJson,
        limit: Some(150_000.0),
        by_reading: false,
        payload: |number| {
            if number.is_multiple_of(2) { payload::glucose(3, number) } else { payload::blood_pressure(3, number) }
        },
    },
    Case {
        figure: "normalizer, pure: FHIR JSON",
        unit: "payloads/s",
        provider: Provider::Medisante,
        format: Format::FhirJson,
        limit: Some(100_000.0),
        by_reading: false,
        payload: |number| payload::fhir(3, number),
    },
    Case {
        figure: "normalizer, pure: HealthKit array",
        unit: "samples/s",
        provider: Provider::HealthKit,
        format: Format::StandardJson,
        limit: None,
        by_reading: true,
        payload: |number| payload::healthkit(3, number, SAMPLES),
    },
];

/// Measures every format.
pub(crate) async fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in &CASES {
        let busiest = machine::until_idle(plan.idle_limit()).await;
        let rates: Vec<f64> = (0..plan.rounds).map(|_| round(plan, case)).collect::<Result<_>>()?;
        rows.push(Row {
            figure: case.figure.to_owned(),
            unit: case.unit,
            product: Spread::of(rates),
            limit: case.limit.map(Limit::AtLeast),
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
    format!(
        "One thread, from the raw record to the readings' Avro bytes, a second of processor time; {} bytes a payload.",
        bytes / 2
    )
}

/// One round: the gate over all payloads, then the time.
fn round(plan: &Plan, case: &Case) -> Result<f64> {
    let payloads: Vec<Payload> = (0..if case.by_reading { 200 } else { 10_000 }).map(case.payload).collect();
    let headers = headers(case.format)?;
    gate(case, &headers, &payloads)?;
    let span = plan.load_time() / 5;
    let (start, used, mut done) = (Instant::now(), processor_seconds(), 0);
    while start.elapsed() < span {
        for payload in &payloads {
            for reading in &normalizer::normalize(&record(case.provider, &headers, payload)).readings {
                black_box(encode(reading));
            }
            done += if case.by_reading { payload.readings } else { 1 };
        }
    }
    Ok(done as f64 / (processor_seconds() - used))
}

/// What this thread has had of its core: what others use meanwhile is not counted.
fn processor_seconds() -> f64 {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

fn gate(case: &Case, headers: &Headers, payloads: &[Payload]) -> Result<()> {
    let (mut ids, mut expected) = (std::collections::HashSet::new(), 0);
    for payload in payloads {
        let normalized = normalizer::normalize(&record(case.provider, headers, payload));
        if normalized.readings.len() as u64 != payload.readings || !normalized.rejections.is_empty() {
            let why: Vec<_> = normalized.rejections.iter().map(|refused| (refused.reason, refused.detail)).collect();
            return Err(format!("gate of {}: {} readings, {why:?}", case.figure, normalized.readings.len()).into());
        }
        ids.extend(normalized.readings.iter().map(|reading| reading.reading_id));
        expected += payload.readings;
    }
    if ids.len() as u64 == expected {
        Ok(())
    } else {
        Err(format!("gate of {}: ids are not distinct", case.figure).into())
    }
}

/// The headers that the ingress would write.
pub(crate) fn headers(format: Format) -> Result<Headers> {
    Ok(Headers {
        kind: Kind::Payload(format),
        content_type: Some("application/json; charset=utf-8".to_owned()),
        credential: "key-bench".to_owned(),
        source: SourceName::parse("bench")?,
        subject: None,
        correlation_id: payload::correlation_id(0, 0),
        traceparent: None,
        sha256: "5a".repeat(32),
        sample_type: None,
        unit: None,
        device_id: None,
        upload: None,
        key_id: None,
    })
}

/// A raw record as the loop would hand it over.
pub(crate) fn record<'a>(provider: Provider, headers: &Headers, payload: &'a Payload) -> RawRecord<'a> {
    RawRecord {
        topic: provider.raw_topic(),
        topic_epoch: 0,
        partition: 0,
        offset: 0,
        // A little after the last payload was measured.
        received_at: (payload::FIRST_MEASURED.unix_timestamp() + 60) * 1_000_000,
        headers: headers.clone(),
        body: payload.body.as_bytes(),
    }
}
