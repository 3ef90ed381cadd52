//! Well-formed payloads of the wrong shape. The detail names the field and the expected type, and contains no value and no name
//! that the sender invented.

use normalizer::Rejection;
use schemas::{
    format::{Defaults, Format, RawTopic},
    raw::{Headers, RecordKind},
    rejection::Reason,
};

use crate::record::{headers, normalized};

/// The detail of a rejection. It is leaked, so that it is valid for the whole test.
pub(crate) fn detail(rejection: &Rejection) -> &'static str {
    rejection.detail.clone().into_owned().leak()
}

/// A text that no detail may contain, used as a value and as a name.
const SECRET: &str = "SECRET-1985, expected an object at line 7";

/// Returns the details of the rejections, all of which must have [`Reason::UnexpectedShape`].
fn details(topic: RawTopic, format: Format, body: &str) -> Vec<String> {
    let headers = Headers {
        sample_type: Some("HeartRate".to_owned()),
        defaults: Some(Defaults::ReactNativeHealth),
        ..headers(RecordKind::Payload(format), "shape")
    };
    let body = body.replace("SECRET", SECRET);
    let found = normalized(topic, headers, body.as_bytes(), 0);
    let refused = found.rejections.iter();
    refused
        .map(|refused| {
            assert_eq!(refused.reason, Reason::UnexpectedShape, "{body}");
            assert!(!refused.detail.contains("SECRET") && !refused.detail.contains("1985"), "{}", refused.detail);
            refused.detail.clone().into_owned()
        })
        .collect()
}

fn assert_details(topic: RawTopic, format: Format, cases: &[(&str, &str)]) {
    for (body, expected) in cases {
        assert_eq!(details(topic, format, body), [*expected], "{body}");
    }
}

#[test]
fn faults_of_samples_name_the_field() {
    assert_details(
        RawTopic::HealthKit,
        Format::StandardJson,
        &[
            (r#""SECRET""#, "the payload must be an array"),
            ("7", "the payload must be an array"),
            (r#"["SECRET"]"#, "the sample must be an object"),
            ("[[]]", "the sample must be an object"),
            (r#"[{"startDate":7}]"#, "startDate must be text"),
            (r#"[{"value":{"SECRET":1}}]"#, "value must be a number or text"),
            (r#"[{"value":true}]"#, "value must be a number or text"),
            (r#"[{"value":1,"value":2}]"#, "value is given more than once"),
            (r#"[{"objects":"SECRET"}]"#, "objects must be an array"),
            (
                r#"[{"type":"Food","objects":[{"type":"Protein","unit":"g","value":["SECRET"]}]}]"#,
                "objects[].value must be a number or text",
            ),
            (
                r#"[{"type":"HKElectrocardiogram","voltageMeasurements":[[0,1],[0]]}]"#,
                "voltageMeasurements[1] must be an array of two elements",
            ),
            (
                r#"[{"type":"HKElectrocardiogram","voltageMeasurements":[[0,1],[0,"SECRET",2]]}]"#,
                "voltageMeasurements[1] has too many elements",
            ),
            (
                r#"[{"type":"HeartbeatSeries","heartbeatSeries":[{"precededByGap":"SECRET"}]}]"#,
                "heartbeatSeries[0].precededByGap must be true or false",
            ),
            (
                r#"[{"type":"HeartbeatSeries","heartbeatSeries":[{"SECRET":1}]}]"#,
                "heartbeatSeries[0].timeSinceSeriesStart is required and must be a number or text",
            ),
        ],
    );
}

#[test]
fn faults_of_messages_name_the_field() {
    let of_json = [
        (r#"["SECRET"]"#, "the payload must be an object"),
        (r#"{"SECRET":1}"#, "measurements is required and must be an object"),
        (r#"{"measurements":["SECRET"]}"#, "measurements must be an object"),
        (r#"{"measurements":{"a":1,"A":2}}"#, "measurements must be an object without duplicate member names"),
        (
            r#"{"metadata":{"correlationId":["SECRET"]},"measurements":{}}"#,
            "metadata.correlationId must be a number or text",
        ),
        (r#"{"device":"SECRET","measurements":{}}"#, "device must be an object"),
        (r#"{"measurements":{"device":{"id":[1]}}}"#, "measurements.device.id must be a number or text"),
        (
            r#"{"measurements":{"glucose":{"value":["SECRET"],"unit":"mg/dL"}}}"#,
            "measurements.glucose.value must be a number or text",
        ),
        (r#"{"measurements":{"glucose":{"value":5,"unit":7}}}"#, "measurements.glucose.unit must be text"),
        (
            r#"{"measurements":{"glucose":["SECRET"]}}"#,
            "measurements.glucose must be a number, text, or an object with value and unit",
        ),
        (
            r#"{"measurements":{"SECRET":["SECRET"]}}"#,
            "measurements.<up to 64 bytes> must be a number, text, or an object with value and unit",
        ),
        (r#"{"measurements":{"documents":"SECRET"}}"#, "measurements.documents must be an object"),
        (
            r#"{"measurements":{"ecgSamples":{"samples":[1]}}}"#,
            "measurements.ecgSamples.frequency is required and must be a number or text",
        ),
        (
            r#"{"measurements":{"ecgSamples":{"samples":"SECRET","frequency":1}}}"#,
            "measurements.ecgSamples.samples must be an array of numbers",
        ),
    ];
    assert_details(RawTopic::Medisante, Format::StandardJson, &of_json);
    let of_xml = [
        ("<a>SECRET</a>", "the root element must be an object"),
        ("<a><b>SECRET</b></a>", "measurements is required and must be an object"),
        ("<a><device>SECRET</device><measurements><x>1</x></measurements></a>", "device must be an object"),
        (
            "<a><measurements><glucose><value><b>SECRET</b></value></glucose></measurements></a>",
            "measurements.glucose.value must be a number or text",
        ),
    ];
    assert_details(RawTopic::Medisante, Format::StandardXml, &of_xml);
}

#[test]
fn faults_of_app_exports_name_the_field() {
    let metrics = |text: &str| format!(r#"{{"data":{{"metrics":[{text}]}}}}"#);
    let cases = [
        ("7".to_owned(), "the payload must be an object"),
        (r#"{"SECRET":1}"#.to_owned(), "data is required and must be an object"),
        (r#"{"data":"SECRET"}"#.to_owned(), "data must be an object"),
        (r#"{"data":{"workouts":"SECRET"}}"#.to_owned(), "workouts must be an array"),
        (metrics(r#""SECRET""#), "metrics[] must be an object"),
        (metrics(r#"{"name":["SECRET"]}"#), "metrics[].name must be a number or text"),
        (metrics(r#"{"name":"heart_rate","data":"SECRET"}"#), "metrics[].data must be an array"),
        (metrics(r#"{"name":"heart_rate","data":["SECRET"]}"#), "the entry must be an object"),
        (metrics(r#"{"name":"heart_rate","data":[{"qty":["SECRET"]}]}"#), "qty must be a number or text"),
    ];
    for (body, expected) in cases {
        assert_eq!(details(RawTopic::HealthKit, Format::HealthAutoExport, &body), [expected], "{body}");
    }
}

#[test]
fn faults_of_resources_name_the_element() {
    let of_json = [
        (r#""SECRET""#, "the payload must be an object"),
        (r#"{"SECRET":1}"#, "resourceType is required and must be text"),
        (r#"{"resourceType":["SECRET"]}"#, "resourceType must be text"),
        (r#"{"resourceType":"Bundle","entry":{"SECRET":1}}"#, "entry must be an array"),
        (r#"{"resourceType":"Bundle","entry":["SECRET"]}"#, "the entry must be an object"),
        (r#"{"resourceType":"Observation","status":7}"#, "status must be text"),
        (
            r#"{"resourceType":"Observation","code":{"coding":[{"code":"a"},{"code":["SECRET"]}]}}"#,
            "code.coding[1].code must be text",
        ),
        (
            r#"{"resourceType":"Observation","valueQuantity":{"value":{"SECRET":1}}}"#,
            "valueQuantity.value must be a number or text",
        ),
        (
            r#"{"resourceType":"Observation","component":[{"valueBoolean":"SECRET"}]}"#,
            "component[0].valueBoolean must be true or false",
        ),
        (
            r#"{"resourceType":"Observation","contained":[{"resourceType":"Device","serialNumber":7}]}"#,
            "contained[].serialNumber must be text",
        ),
    ];
    assert_details(RawTopic::Medisante, Format::FhirJson, &of_json);
    let observation = |inner: &str| format!(r#"<Observation xmlns="http://hl7.org/fhir">{inner}</Observation>"#);
    for (body, expected) in [
        ("<a>SECRET</a>".to_owned(), "the root element must be in the namespace http://hl7.org/fhir"),
        (observation(r#"<status value="a"/><status value="SECRET"/>"#), "status must occur only once"),
        (
            observation(r#"<component><code><text value="a"/><text value="SECRET"/></code></component>"#),
            "component.code.text must occur only once",
        ),
        (observation(r#"<valueBoolean value="SECRET"/>"#), "valueBoolean must be true or false"),
    ] {
        assert_eq!(details(RawTopic::Medisante, Format::FhirXml, &body), [expected], "{body}");
    }
    assert_details(RawTopic::Uploads, Format::ExportXml, &[("<a/>", "the root element must be HealthData")]);
}

#[test]
fn faults_of_commands_name_the_member() {
    let headers = || headers(RecordKind::Assign, "shape");
    let body = r#"{"deviceId":"a","deviceProvider":"healthkit","effectiveTo":"SECRET"}"#.replace("SECRET", SECRET);
    let found = normalized(RawTopic::Devices, headers(), body.as_bytes(), 0);
    let text = "is required and must be text of 1 to 256 bytes without control characters";
    assert_eq!(found.rejections[0].reason, Reason::CommandInvalid);
    assert_eq!(
        found.rejections[0].detail,
        format!(
            "deviceType {text}; name {text}; assignedPatientId {text}; \
             member 3 is unknown, the nearest known member is effectiveFrom"
        )
    );
    let found = normalized(RawTopic::Devices, headers(), b"7", 0);
    assert_eq!(found.rejections[0].detail, "the body must be a JSON object");
}

/// Consecutive items with the same fault are one rejection, so that a small body cannot have a large cost.
#[test]
fn a_fault_of_many_items_is_one_rejection() {
    let body = format!("[{}]", vec![r#"{"startDate":7}"#; 1_000].join(","));
    let found = normalized(
        RawTopic::HealthKit,
        headers(RecordKind::Payload(Format::StandardJson), "shape"),
        body.as_bytes(),
        0,
    );
    assert_eq!(found.rejections.len(), 1);
    assert_eq!(found.rejections[0].item_count, 1_000);
}
