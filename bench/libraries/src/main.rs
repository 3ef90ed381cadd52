//! Compares hand-written infrastructure with libraries that do the same, in one run on one core: nanoseconds for one operation, the
//! minimum of several rounds, and the ratio. docs/adr/0007 has the conclusions.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use catalogue::decimal::Decimal;
use normalizer::normalize;
use schemas::{
    codec::{Event, encode},
    event::{Reading, SourceName, Value},
    example::{Example, PAYLOADS},
    format::{Format, Provider},
    moment::Moment,
    raw::{Headers, RawRecord, RecordKind},
    receipt::ReceiptKey,
};
use store::reading::Row;

/// An allocator that counts the allocated bytes and their peak.
struct Counting;
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is forwarded to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}
#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: u32 = 9;
const ROUND: Duration = Duration::from_millis(50);

/// Returns the nanoseconds of one call: the minimum of several rounds.
fn time<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut least = f64::MAX;
    for _ in 0..ROUNDS {
        let (begun, mut count) = (Instant::now(), 0_u32);
        while begun.elapsed() < ROUND {
            for _ in 0..64 {
                black_box(work());
            }
            count += 64;
        }
        least = least.min(begun.elapsed().as_secs_f64() * 1e9 / f64::from(count));
    }
    least
}

fn line(what: &str, ours: f64, library: &str, theirs: f64) {
    println!("{what}: ours {ours:.0} ns, {library} {theirs:.0} ns, {:.2} of ours", theirs / ours);
}

/// Returns the peak of the bytes that a call allocates, beyond those that were allocated before.
fn most<T>(work: impl FnOnce() -> T) -> usize {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    black_box(work());
    MOST.load(Relaxed) - before
}

fn record<'a>(provider: Provider, format: Format, body: &'a [u8]) -> RawRecord<'a> {
    let headers = Headers {
        kind: RecordKind::Payload(format),
        content_type: None,
        credential: "key".to_owned(),
        source: SourceName::parse("bench").unwrap_or_else(|_| panic!("no name")),
        subject: None,
        correlation_id: String::new(),
        traceparent: None,
        content_hmac: String::new(),
        sample_type: None,
        unit: None,
        device_id: Some("device-1".to_owned()),
        defaults: None,
        providers: Vec::new(),
        upload: None,
        key_id: None,
    };
    let (topic, received_at) = (provider.raw_topic(format), 1_753_000_000_000_000);
    RawRecord { topic, topic_epoch: 1, partition: 0, offset: 0, received_at, headers, body }
}

fn example(provider: Provider, format: Format) -> &'static Example {
    PAYLOADS.iter().find(|one| one.provider == provider && one.format == format).unwrap_or_else(|| panic!("no example"))
}

fn main() {
    hexadecimal();
    avro();
    decimals();
    times();
    xml();
    copy();
}

/// The hand-written encoder that `hex` has replaced.
fn digits(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(digit).collect()
}

fn hexadecimal() {
    let bytes = [0xa5_u8; 32];
    let ours = time(|| digits(black_box(&bytes)));
    line("hex, encode 32 bytes", ours, "hex", time(|| hex::encode(black_box(bytes))));
    line("hex, encode 32 bytes", ours, "const-hex", time(|| const_hex::encode(black_box(bytes))));
}

fn readings() -> Vec<Reading> {
    let example = example(Provider::Medisante, Format::StandardJson);
    normalize(&record(example.provider, example.format, example.text.as_bytes())).readings
}

fn avro() {
    let reading = readings().remove(0);
    let ours = encode(&reading);
    let schema: serde_avro_fast::Schema = Reading::SCHEMA.parse().unwrap_or_else(|error| panic!("{error}"));
    let cache = schemas::codec::SchemaCache::new().unwrap_or_else(|error| panic!("{error}"));
    line("avro, decode one reading", time(|| cache.decode::<Reading>(black_box(&ours)).is_ok()), "serde_avro_fast, into its generic value", {
        time(|| serde_avro_fast::from_datum_slice::<serde_json::Value>(black_box(&ours[10..]), &schema).is_ok())
    });
    let mut config = serde_avro_fast::ser::SerializerConfig::new(&schema);
    // The types' own serde writes a fixed as a sequence.
    config.allow_slow_sequence_to_bytes();
    match serde_avro_fast::to_datum_vec(&reading, &mut config) {
        Ok(theirs) => {
            println!("avro, the same bytes: {}", theirs[..] == ours[10..]);
            line("avro, encode one reading", time(|| encode(black_box(&reading))), "serde_avro_fast", {
                time(|| serde_avro_fast::to_datum_vec(black_box(&reading), &mut config).is_ok())
            });
        }
        Err(error) => println!("avro, encode one reading: serde_avro_fast cannot use the types' own serde: {error}"),
    }
}

fn decimals() {
    for text in ["5.5", "66.89999999999999", "1.0e-24"] {
        let ours = time(|| Decimal::parse(black_box(text)).map(|number| number.canonical()).is_ok());
        let same = |canonical: String| Decimal::parse(text).is_ok_and(|number| number.canonical() == canonical);
        let big: Option<bigdecimal::BigDecimal> = text.parse().ok();
        println!("decimal {text}: bigdecimal prints the same: {}", big.is_some_and(|number| same(number.to_string())));
        line(&format!("decimal {text}, read and print"), ours, "bigdecimal", {
            time(|| black_box(text).parse::<bigdecimal::BigDecimal>().map(|number| number.to_string()).is_ok())
        });
        let small = rust_decimal::Decimal::from_scientific(text).or_else(|_| text.parse());
        println!("decimal {text}: rust_decimal prints the same: {}", small.is_ok_and(|number| same(number.to_string())));
        line(&format!("decimal {text}, read and print"), ours, "rust_decimal", {
            time(|| black_box(text).parse::<rust_decimal::Decimal>().map(|number| number.to_string()).is_ok())
        });
        line(&format!("decimal {text}, read and print"), ours, "fastnum D256", {
            time(|| fastnum::D256::from_str(black_box(text), fastnum::decimal::Context::default()).map(|number| number.to_string()).is_ok())
        });
    }
}

/// Compares complete times only: the library has no type for a year, a month or a day alone.
fn times() {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    let text = "2026-02-01T07:30:00.250+01:00";
    let ours = time(|| Moment::rfc3339(black_box(text)).map(|moment| moment.from_us()).is_ok());
    line("time, RFC 3339", ours, "time", time(|| OffsetDateTime::parse(black_box(text), &Rfc3339).is_ok()));
}

fn xml() {
    let example = example(Provider::Medisante, Format::FhirXml);
    let whole = time(|| normalize(&record(example.provider, example.format, example.text.as_bytes())).readings.len());
    line("xml, FHIR: our reading, mapping and all", whole, "roxmltree, the tree alone", {
        time(|| roxmltree::Document::parse(black_box(example.text)).is_ok())
    });
    let bomb = format!("<a xmlns=\"http://hl7.org/fhir\">{}</a>", "<b/>".repeat(1_000_000));
    let ours = most(|| normalize(&record(example.provider, example.format, bomb.as_bytes())).rejections.len());
    let theirs = most(|| roxmltree::Document::parse(&bomb).is_ok());
    let times = |bytes: usize| bytes as f64 / bomb.len() as f64;
    println!("xml, 1,000,000 empty elements: ours holds {:.1} times the body, roxmltree {:.1}", times(ours), times(theirs));
}

fn copy() {
    use postgres_types::{ToSql, Type, private::BytesMut};
    let Ok(key) = ReceiptKey::new(&[7; 32]) else { return };
    let Some(reading) = readings().into_iter().find(|one| matches!(one.value, Value::Quantity(_))) else { return };
    let ours = time(|| Row::new(black_box(reading.clone()), &key).is_ok()) - time(|| black_box(reading.clone()));
    // The same fields through the types of postgres-types, which tokio-postgres's BinaryCopyInWriter writes with.
    let Value::Quantity(quantity) = &reading.value else { return };
    let mut out = BytesMut::with_capacity(1024);
    let theirs = time(|| {
        out.clear();
        let number: rust_decimal::Decimal = quantity.value.parse().unwrap_or_default();
        let (id, content) = (reading.reading_id, uuid::Uuid::from_bytes(reading.content));
        let nothing: Option<i64> = None;
        let fields: [(&dyn ToSql, Type); 12] = [
            (&id, Type::UUID),
            (&content, Type::UUID),
            (&reading.measured_from, Type::INT8),
            (&reading.received_at, Type::INT8),
            (&reading.provenance.offset, Type::INT8),
            (&reading.provenance.partition, Type::INT4),
            (&reading.provenance.item, Type::INT4),
            (&nothing, Type::INT8),
            (&reading.status.as_str(), Type::TEXT),
            (&reading.source.as_str(), Type::TEXT),
            (&number, Type::NUMERIC),
            (&quantity.unit.as_ref(), Type::TEXT),
        ];
        // Repeated until there are about as many columns as in the table.
        for _ in 0..44 / fields.len() + 1 {
            for (field, kind) in &fields {
                black_box(field.to_sql_checked(kind, &mut out).is_ok());
            }
        }
        out.len()
    });
    line("copy, one row with its checks, receipt and time texts", ours, "postgres-types, 48 fields without them", theirs);
}
