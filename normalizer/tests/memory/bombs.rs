//! Bodies that are designed to take much memory, grouped by what they consist of. Each is tried in every format that it can be
//! written in.

use std::collections::BTreeSet;

use catalogue::metric_by_key;
use schemas::{
    format::{Format, Provider},
    raw::RecordKind,
    rejection::Reason,
};

use crate::{
    counting::{bound, peak},
    record::{headers, normalized, reasons},
};

const MESSAGE: (Provider, Format) = (Provider::Medisante, Format::StandardXml);
const FHIR_XML: (Provider, Format) = (Provider::Medisante, Format::FhirXml);
const EXPORT: (Provider, Format) = (Provider::HealthKit, Format::ExportXml);
/// The formats that are parsed into a tree.
const TREES: [(Provider, Format); 2] = [MESSAGE, FHIR_XML];
const FHIR_JSON: (Provider, Format) = (Provider::Medisante, Format::FhirJson);
const HEALTHKIT: (Provider, Format) = (Provider::HealthKit, Format::StandardJson);
const AUTO_EXPORT: (Provider, Format) = (Provider::HealthKit, Format::HealthAutoExport);
const JSON: [(Provider, Format); 4] = [(Provider::Medisante, Format::StandardJson), FHIR_JSON, HEALTHKIT, AUTO_EXPORT];
const MEGABYTE: usize = 1_000_000;

/// The number of readings, and the reasons of the rejections.
type Outcome = (usize, BTreeSet<Reason>);

fn outcome((provider, format): (Provider, Format), body: &[u8]) -> Outcome {
    // The catalogue is loaded once in a process, which must not be counted for the body.
    assert!(metric_by_key("heart_rate").is_some());
    let headers = headers(RecordKind::Payload(format), "bombs");
    let (found, bytes) = peak(|| normalized(provider.raw_topic(format), headers, body, 0));
    assert!(bytes <= bound(body.len()), "{provider:?} {format:?}: {bytes} bytes for a body of {}", body.len());
    assert!(found.items() > 0, "the payload has no outcome");
    (found.readings.len(), reasons(&found).into_iter().collect())
}

/// Asserts that every format refuses the whole body, for the same reason.
fn refused(formats: &[(Provider, Format)], body: &str, reason: Reason) {
    bytes_refused(formats, body.as_bytes(), reason);
}

fn bytes_refused(formats: &[(Provider, Format)], body: &[u8], reason: Reason) {
    for format in formats {
        assert_eq!(outcome(*format, body), (0, BTreeSet::from([reason])), "{format:?}");
    }
}

#[test]
fn nesting() {
    for levels in [100_000, 5 * MEGABYTE] {
        refused(&JSON, &"[".repeat(levels), Reason::TooLarge);
        refused(&JSON, &format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels)), Reason::TooLarge);
        refused(&TREES, &"<a>".repeat(levels), Reason::TooLarge);
        // The element before the limit is reached is an item.
        let export = outcome(EXPORT, "<HealthData>".repeat(levels).as_bytes());
        assert_eq!(export, (0, BTreeSet::from([Reason::NotAReading, Reason::TooLarge])));
    }
}

#[test]
fn a_large_attribute() {
    let large = "x".repeat(10 * MEGABYTE);
    refused(&[MESSAGE], &format!("<m><measurements><pulse value='{large}'/></measurements></m>"), Reason::ValueInvalid);
    refused(&[MESSAGE], &format!("<m><measurements a='{large}'/></m>"), Reason::ValueInvalid);
    let observation = format!("<Observation xmlns='http://hl7.org/fhir'><status value='{large}'/></Observation>");
    refused(&[FHIR_XML], &observation, Reason::ValueInvalid);
    refused(&[EXPORT], &format!("<HealthData a='{large}'/>"), Reason::TooLarge);
}

#[test]
fn a_million_attributes_and_namespaces() {
    let many = |of: &str| (0..MEGABYTE).map(|n| format!(" {of}{n}='u'")).collect::<Vec<_>>().concat();
    for attributes in [many("a"), many("xmlns:n"), many("a:b")] {
        refused(&TREES, &format!("<a{attributes}/>"), Reason::TooLarge);
        refused(&[EXPORT], &format!("<HealthData{attributes}/>"), Reason::TooLarge);
    }
    let row = "<x:r xmlns:x='u' x:a='' b=''/>".repeat(MEGABYTE / 2);
    refused(&[MESSAGE], &format!("<m>{row}</m>"), Reason::UnexpectedShape);
    refused(&[FHIR_XML], &format!("<Basic xmlns='http://hl7.org/fhir'>{row}</Basic>"), Reason::NotAReading);
    refused(
        &[EXPORT],
        &format!("<HealthData>{}</HealthData>", "<Record a='' b=''/>".repeat(1_000)),
        Reason::TypeMissing,
    );
}

#[test]
fn entities() {
    let laughs = (1..10)
        .map(|n| format!("<!ENTITY l{n} '{}'>", format!("&l{};", n - 1).repeat(10)))
        .collect::<Vec<_>>()
        .concat();
    let laughs = format!("[<!ENTITY l0 'lol'>{laughs}]");
    let quadratic = format!("[<!ENTITY q '{}'>]", "q".repeat(100_000));
    for (types, reference) in [(laughs, "&l9;"), (quadratic, &"&q;".repeat(100_000))] {
        for (root, formats) in [("a", TREES.as_slice()), ("HealthData", &[EXPORT])] {
            refused(formats, &format!("<!DOCTYPE {root} {types}><{root}>{reference}</{root}>"), Reason::Malformed);
            refused(formats, &format!("<!DOCTYPE {root} {types}><{root} a='{reference}'/>"), Reason::Malformed);
        }
    }
    let known = "&amp;&#38;".repeat(MEGABYTE);
    refused(&[MESSAGE], &format!("<m><measurements><pulse>{known}</pulse></measurements></m>"), Reason::ValueInvalid);
    refused(&[MESSAGE], &format!("<m><measurements><pulse a='{known}'/></measurements></m>"), Reason::ValueMissing);
}

#[test]
fn encodings() {
    let texts = ["{\"a\":\"\u{1f600}\"}", "<a b='\u{1f600}'>é</a>", "[]"];
    for text in texts {
        let utf_16 = |bom: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            format!("{bom}{text}").encode_utf16().flat_map(bytes).collect()
        };
        for body in [
            utf_16("\u{feff}", u16::to_le_bytes),
            utf_16("\u{feff}", u16::to_be_bytes),
            utf_16("", u16::to_le_bytes),
            utf_16("", u16::to_be_bytes),
        ] {
            bytes_refused(&JSON, &body, Reason::Malformed);
            bytes_refused(&TREES, &body, Reason::Malformed);
            bytes_refused(&[EXPORT], &body, Reason::Malformed);
        }
    }
    // `/` in two, three and four bytes; a surrogate; and a code point above the last one.
    for overlong in [b"\xc0\xaf".as_slice(), b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"]
    {
        let within = |before: &str, after: &str| [before.as_bytes(), overlong, after.as_bytes()].concat();
        bytes_refused(&JSON, &within("{\"a\":\"", "\"}"), Reason::Malformed);
        bytes_refused(&JSON, &within("", "").repeat(MEGABYTE), Reason::Malformed);
        bytes_refused(&TREES, &within("<a>", "</a>"), Reason::Malformed);
        bytes_refused(&[EXPORT], &within("<HealthData>", "</HealthData>"), Reason::Malformed);
    }
    // JSON has no byte order mark; XML may begin with one.
    refused(&JSON, "\u{feff}{}", Reason::Malformed);
    // A form feed is not white space in JSON.
    refused(&JSON, "\u{c}{}", Reason::Malformed);
    refused(&JSON, "[]\u{c}", Reason::Malformed);
    refused(&JSON, &"\u{feff}".repeat(MEGABYTE), Reason::Malformed);
    refused(&TREES, &"\u{feff}".repeat(MEGABYTE), Reason::Malformed);
    // Longer than a text of an export may be.
    refused(&[EXPORT], &"\u{feff}".repeat(MEGABYTE), Reason::TooLarge);
    refused(&[MESSAGE], "\u{feff}<m/>", Reason::UnexpectedShape);
    refused(&[EXPORT], "\u{feff}<HealthData/>", Reason::Empty);
}

/// Returns a body of each JSON format with the given value in a field that is read.
fn with_value(value: &str) -> [((Provider, Format), String); 4] {
    [
        (JSON[0], format!("{{\"measurements\":{{\"pulse\":{{\"value\":{value},\"unit\":\"bpm\"}}}}}}")),
        (
            FHIR_JSON,
            format!(
                "{{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{{\"coding\":[{{\"system\":\"http://loinc.org\",\
                 \"code\":\"29463-7\"}}]}},\"valueQuantity\":{{\"value\":{value},\"unit\":\"kg\"}}}}"
            ),
        ),
        (
            HEALTHKIT,
            format!("[{{\"type\":\"HKQuantityTypeIdentifierHeartRate\",\"value\":{value},\"unit\":\"count/min\"}}]"),
        ),
        (
            AUTO_EXPORT,
            format!(
                "{{\"data\":{{\"metrics\":[{{\"name\":\"heart_rate\",\"units\":\"count/min\",\"data\":[{{\"qty\":{value}}}]}}]}}}}"
            ),
        ),
    ]
}

#[test]
fn numbers() {
    for (format, body) in with_value("60") {
        assert_eq!(outcome(format, body.as_bytes()), (1, BTreeSet::new()), "{format:?}");
    }
    let digits = "9".repeat(10 * MEGABYTE);
    for number in
        ["1e999999999", "-1E+999999999", "1e-999999999", &digits, &format!("0.{digits}"), &format!("1e{digits}")]
    {
        for (format, body) in with_value(number) {
            refused(&[format], &body, Reason::ValueInvalid);
        }
        let measurement = format!("<m><measurements><pulse unit='bpm'>{number}</pulse></measurements></m>");
        refused(&[MESSAGE], &measurement, Reason::ValueInvalid);
    }
    for word in ["NaN", "Infinity", "-Infinity"] {
        for (format, body) in with_value(word) {
            refused(&[format], &body, Reason::Malformed);
        }
        for (format, body) in with_value(&format!("\"{word}\"")) {
            refused(&[format], &body, Reason::ValueInvalid);
        }
        let measurement = format!("<m><measurements><pulse unit='bpm' value='{word}'/></measurements></m>");
        refused(&[MESSAGE], &measurement, Reason::ValueInvalid);
        let record = format!(
            "<HealthData><Record type='HKQuantityTypeIdentifierHeartRate' unit='count/min' value='{word}'/></HealthData>"
        );
        refused(&[EXPORT], &record, Reason::ValueInvalid);
    }
}

#[test]
fn lone_surrogates() {
    for escape in ["\\ud800", "\\udc00", "\\ud800\\ud800", "\\ud800x"] {
        for (format, body) in with_value(&format!("\"{escape}\"")) {
            refused(&[format], &body, Reason::UnexpectedShape);
        }
        // A field that is not read does not cost the reading; Health Auto Export keeps all texts of an entry.
        for (format, body) in with_value(&format!("60,\"x\":\"{escape}\"")) {
            let unread = if format == AUTO_EXPORT {
                (0, BTreeSet::from([Reason::UnexpectedShape]))
            } else {
                (1, BTreeSet::new())
            };
            assert_eq!(outcome(format, body.as_bytes()), unread, "{format:?}");
        }
    }
    for reference in ["&#xd800;", "&#xdc00;", "&#55296;"] {
        refused(&TREES, &format!("<a>{reference}</a>"), Reason::Malformed);
        refused(&[EXPORT], &format!("<HealthData>{reference}</HealthData>"), Reason::Malformed);
    }
}

#[test]
fn duplicates() {
    for (format, body) in with_value("60,\"value\":61,\"qty\":61") {
        refused(&[format], &body, Reason::UnexpectedShape);
    }
    let many = vec!["\"a\":1"; MEGABYTE].join(",");
    for format in JSON {
        // No mapping reads this member of a sample.
        let reason = if format == HEALTHKIT { Reason::TypeMissing } else { Reason::UnexpectedShape };
        refused(&[format], &format!("{{{many}}}"), reason);
    }
    refused(&TREES, &format!("<a{}/>", " a=''".repeat(100)), Reason::Malformed);
    refused(&[EXPORT], &format!("<HealthData{}/>", " a=''".repeat(100)), Reason::Malformed);
}

#[test]
fn bare_elements() {
    // Also with half as many, because a vector that grows by doubling has the most unused capacity just above a power of two.
    for count in [1 << 22, (1 << 21) + 9] {
        let elements = "<a/>".repeat(count);
        let measurements = format!("<m><measurements>{elements}</measurements></m>");
        refused(&[MESSAGE], &measurements, Reason::UnexpectedShape);
        let observation = format!("<Observation xmlns='http://hl7.org/fhir'>{elements}</Observation>");
        refused(&[FHIR_XML], &observation, Reason::UnexpectedShape);
    }
    // The first elements are items.
    let export = outcome(EXPORT, format!("<HealthData>{}</HealthData>", "<a/>".repeat(1 << 22)).as_bytes());
    assert_eq!(export, (0, BTreeSet::from([Reason::NotAReading, Reason::TooLarge])));
}

#[test]
fn one_item_above_the_limit() {
    let list = |element: &str, count: usize| vec![element; count].join(",");
    for (element, count) in [("{}", 100_001), ("1", 100_001), ("1", 8 * MEGABYTE)] {
        let list = list(element, count);
        refused(&[HEALTHKIT], &format!("[{list}]"), Reason::TooLarge);
        refused(&[AUTO_EXPORT], &format!("{{\"data\":{{\"workouts\":[{list}]}}}}"), Reason::TooLarge);
        refused(&[AUTO_EXPORT], &format!("{{\"data\":{{\"metrics\":[{{\"data\":[{list}]}}]}}}}"), Reason::TooLarge);
        refused(&[FHIR_JSON], &format!("{{\"resourceType\":\"Bundle\",\"entry\":[{list}]}}"), Reason::TooLarge);
    }
    let entries = "<entry/>".repeat(100_001);
    refused(&[FHIR_XML], &format!("<Bundle xmlns='http://hl7.org/fhir'>{entries}</Bundle>"), Reason::TooLarge);
}

/// A waveform of the shortest numbers.
#[test]
fn short_samples() {
    const MESSAGE_JSON: (Provider, Format) = (Provider::Medisante, Format::StandardJson);
    let message = |samples: &str| {
        format!(
            "{{\"device\":{{\"id\":\"x\"}},\"measurements\":{{\"timestamp\":\"2026-03-01T08:00:00Z\",\
             \"ecgSamples\":{{\"frequency\":250,\"unit\":\"mV\",\"samples\":[{samples}]}}}}}}"
        )
    };
    for number in ["1", "1e5", "1e9", "1e399", "1e0000000000000000057", "-0"] {
        let list = vec![number; MEGABYTE].join(",");
        assert_eq!(outcome(MESSAGE_JSON, message(&list).as_bytes()), (1, BTreeSet::new()), "{number}");
        refused(&[MESSAGE_JSON], &message(&format!("{list},\"x\"")), Reason::ValueInvalid);
    }
}

/// A resource of empty parts, and contained Observations, each of which is refused with its own text only.
#[test]
fn parts_of_a_resource() {
    let list = |element: &str, count: usize| vec![element; count].join(",");
    let json = |members: &str| format!("{{\"resourceType\":\"Observation\",{members}}}");
    let parts = list("{}", MEGABYTE);
    for members in [
        format!("\"component\":[{parts}]"),
        format!("\"identifier\":[{parts}]"),
        format!("\"code\":{{\"coding\":[{parts}]}}"),
        format!("\"contained\":[{}]", list(&json("\"a\":1"), 100_000)),
    ] {
        refused(&[FHIR_JSON], &json(&members), Reason::UnexpectedShape);
    }
    let few = format!("\"component\":[{}]", list("{}", 990));
    refused(&[FHIR_JSON], &json(&few), Reason::Incomplete);
    let note = format!("\"note\":\"{}\",\"contained\":[{}]", "x".repeat(MEGABYTE), list(&json("\"a\":1"), 900));
    refused(&[FHIR_JSON], &json(&note), Reason::Incomplete);
    let xml = |inner: String| format!("<Observation xmlns='http://hl7.org/fhir'>{inner}</Observation>");
    refused(&[FHIR_XML], &xml("<component/>".repeat(MEGABYTE)), Reason::UnexpectedShape);
    refused(&[FHIR_XML], &xml(format!("<code>{}</code>", "<coding/>".repeat(MEGABYTE))), Reason::UnexpectedShape);
    refused(&[FHIR_XML], &xml("<component/>".repeat(3_990)), Reason::Incomplete);
    let note = format!("<note>{}</note>", "x".repeat(MEGABYTE));
    let contained = "<contained><Observation/></contained>".repeat(1_900);
    refused(&[FHIR_XML], &xml(format!("{note}{contained}")), Reason::Incomplete);
}

/// An item with more components than allowed; each would take many times the bytes in which it is written.
#[test]
fn parts_of_an_item() {
    let food = r#"{"type":"DietaryWater","value":1,"unit":"L"}"#;
    let objects = vec![food; 100_000].join(",");
    let sample = format!(
        r#"[{{"type":"HKCorrelationTypeIdentifierFood","startDate":"2026-03-01T08:00:00Z","objects":[{objects}]}}]"#
    );
    refused(&[HEALTHKIT], &sample, Reason::TooLarge);
    let sources = vec!["{}"; 500_000].join(",");
    refused(&[HEALTHKIT], &format!(r#"[{{"type":"StepCount","value":1,"metadata":[{sources}]}}]"#), Reason::TooLarge);
    let statistics = r#"<WorkoutStatistics type="X" sum="1" unit="m"/>"#.repeat(200_000);
    refused(
        &[EXPORT],
        &format!(r#"<HealthData><Workout workoutActivityType="Y">{statistics}</Workout></HealthData>"#),
        Reason::TooLarge,
    );
    let members: Vec<String> = (0..50_000).map(|number| format!(r#""m{number}":{{"a":1,"b":2}}"#)).collect();
    let workout = format!(
        r#"{{"data":{{"workouts":[{{"name":"Z","start":"2026-03-01 08:00:00 +0100",{}}}]}}}}"#,
        members.join(",")
    );
    let (readings, reasons) = outcome(AUTO_EXPORT, workout.as_bytes());
    assert_eq!((readings, reasons.len()), (0, 1), "{reasons:?}");
}

/// Consecutive refused items are one rejection, and their bytes are not copied. The body is a few hundred bytes when
/// compressed.
#[test]
fn refused_items_in_a_row() {
    let body = format!("[{}]", vec!["0"; 100_000].join(","));
    let headers = headers(RecordKind::Payload(Format::StandardJson), "bombs");
    let (found, bytes) = peak(|| normalized(HEALTHKIT.0.raw_topic(HEALTHKIT.1), headers, body.as_bytes(), 0));
    let refused: Vec<_> = found.rejections.iter().map(|one| (one.item, one.item_count, one.bytes.len())).collect();
    assert_eq!((found.items(), refused), (100_000, vec![(Some(0), 100_000, 0)]));
    // Only the list of items takes memory.
    assert!(bytes < 20 * body.len(), "{bytes} bytes for a body of {}", body.len());
}
