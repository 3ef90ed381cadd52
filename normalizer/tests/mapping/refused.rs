//! Consecutive refused items: which of them become one rejection, and with which device.

use normalizer::Normalized;
use schemas::{
    event::DeviceId,
    format::{Format, Provider, RawTopic},
    identity::device_key,
    raw::{Headers, RecordKind},
};
use uuid::Uuid;

use crate::record::{headers, normalized};

/// The first item, the number of items, and their device.
type Run = (Option<u32>, u32, Option<Uuid>);

fn key(provider: Provider, id: &str) -> Option<Uuid> {
    DeviceId::parse(id).ok().map(|id| device_key(provider, &id))
}

fn runs(found: &Normalized) -> Vec<Run> {
    assert!(found.readings.is_empty());
    found.rejections.iter().map(|one| (one.item, one.item_count, one.device)).collect()
}

/// Returns the rejections of a payload whose request names this device.
fn refused((topic, format): (RawTopic, Format), device_id: Option<&str>, body: &str) -> Vec<Run> {
    let headers =
        Headers { device_id: device_id.map(str::to_owned), ..headers(RecordKind::Payload(format), "refused") };
    runs(&normalized(topic, headers, body.as_bytes(), 0))
}

#[test]
fn samples_of_healthkit() {
    let format = (RawTopic::HealthKit, Format::StandardJson);
    let of = |id: &str| key(Provider::HealthKit, id);
    let body =
        r#"[0, 0, {"deviceId":"a","value":1}, {"deviceId":"a","value":2}, {"deviceId":"b","value":3}, {"value":4}]"#;
    assert_eq!(
        refused(format, None, body),
        [(Some(0), 2, None), (Some(2), 2, of("a")), (Some(4), 1, of("b")), (Some(5), 1, None)]
    );
    // The device of the request applies to items that name none.
    assert_eq!(
        refused(format, Some("a"), body),
        [(Some(0), 2, of("a")), (Some(2), 2, of("a")), (Some(4), 1, of("b")), (Some(5), 1, of("a"))]
    );
    // An invalid id is not a device.
    assert_eq!(refused(format, Some("a"), r#"[{"deviceId":"","value":1}]"#), [(Some(0), 1, None)]);
}

#[test]
fn entries_of_health_auto_export() {
    let format = (RawTopic::HealthKit, Format::HealthAutoExport);
    let body = r#"{"data":{"metrics":[{"name":"step_count","units":"count","data":[0, 0]}]}}"#;
    assert_eq!(refused(format, None, body), [(Some(0), 2, None)]);
    assert_eq!(refused(format, Some("a"), body), [(Some(0), 2, key(Provider::HealthKit, "a"))]);
}

#[test]
fn elements_of_an_export() {
    let format = (RawTopic::Uploads, Format::ExportXml);
    let of = |name: &str| key(Provider::HealthKit, name);
    let record = |name: &str| {
        format!(
            r#"<Record type="HKQuantityTypeIdentifierHeartRate" device="&lt;&lt;HKDevice: 0x1&gt;, name:{name}&gt;"/>"#
        )
    };
    let workout = r#"<Workout device="&lt;&lt;HKDevice: 0x2&gt;, name:w&gt;"></Workout>"#;
    let body = ["a", "a", "b"].map(record).concat();
    let body = format!(r#"<HealthData>{body}{workout}<Record type="HKQuantityTypeIdentifierHeartRate"/></HealthData>"#);
    assert_eq!(
        refused(format, None, &body),
        [(Some(0), 2, of("a")), (Some(2), 1, of("b")), (Some(3), 1, of("w")), (Some(4), 1, None)]
    );
    let all = refused(format, Some("phone"), &body);
    assert_eq!(all, [(Some(0), 3, of("phone")), (Some(3), 1, of("phone")), (Some(4), 1, of("phone"))]);
}

#[test]
fn observations_of_fhir() {
    let of = |id: &str| key(Provider::Medisante, id);
    let observation = |device: &str| {
        format!(r#"{{"resource":{{"resourceType":"Observation","device":{{"reference":"Device/{device}"}}}}}}"#)
    };
    let entries = ["a", "a", "b"].map(observation).join(",");
    let bare = r#"{"resource":{"resourceType":"Observation"}}"#;
    let other = r#"{"resource":{"resourceType":"Medication"}}"#;
    let body = format!(r#"{{"resourceType":"Bundle","entry":[{entries},{bare},{other}]}}"#);
    let format = (RawTopic::Medisante, Format::FhirJson);
    assert_eq!(
        refused(format, None, &body),
        [(Some(0), 2, of("a")), (Some(2), 1, of("b")), (Some(3), 1, None), (Some(4), 1, None)]
    );
    let by_request = [(Some(0), 2, of("a")), (Some(2), 1, of("b")), (Some(3), 1, of("hub")), (Some(4), 1, of("hub"))];
    assert_eq!(refused(format, Some("hub"), &body), by_request);
    // A contained Observation may refer to the devices of its container.
    let holder = r##"{"resourceType":"Observation","device":{"reference":"#d"},"contained":[
        {"resourceType":"Device","id":"d","serialNumber":"s"},
        {"resourceType":"Observation","id":"o","device":{"reference":"#d"}}]}"##;
    assert_eq!(refused(format, Some("hub"), holder), [(Some(0), 2, of("s"))]);
}

#[test]
fn measurements_of_a_message() {
    let body = |device: &str| {
        format!(
            r#"{{"device":{device},"measurements":{{"glucose":{{}},"ketone":{{}},"systolicBloodPressure":{{}},
                "documents":{{"ecgPdf":"-"}}}}}}"#
        )
    };
    let format = (RawTopic::Medisante, Format::StandardJson);
    let of = |key: Option<Uuid>| [(Some(0), 3, key), (Some(3), 1, key)];
    assert_eq!(refused(format, None, &body(r#"{"id":"a"}"#)), of(key(Provider::Medisante, "a")));
    assert_eq!(refused(format, None, &body("{}")), of(None));
}

#[test]
fn device_commands() {
    let refused = |kind, device_id: Option<&str>, body: &str| {
        let headers = Headers { device_id: device_id.map(str::to_owned), ..headers(kind, "refused") };
        runs(&normalized(RawTopic::Devices, headers, body.as_bytes(), 0))
    };
    let assign = r#"{"deviceId":"a","deviceProvider":"healthkit","assignedPatientId":""}"#;
    assert_eq!(refused(RecordKind::Assign, None, assign), [(None, 1, key(Provider::HealthKit, "a"))]);
    assert_eq!(refused(RecordKind::Assign, None, "{"), [(None, 1, None)]);
    let key = key(Provider::HealthKit, "a");
    let id = key.map(|key| key.to_string());
    assert_eq!(refused(RecordKind::Unassign, id.as_deref(), "{"), [(None, 1, key)]);
}
