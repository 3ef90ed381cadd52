//! Ids and contents of readings: the results of a retry, a correction, and the same sample from another sender.

use schemas::{
    event::{PatientId, Reading},
    format::{Format, RawTopic},
    raw::RecordKind,
};

use crate::record::{headers, normalized};

fn readings(source: &str, subject: Option<&str>, format: Format, body: &str) -> Vec<Reading> {
    let mut headers = headers(RecordKind::Payload(format), source);
    headers.subject = subject.map(|subject| PatientId::parse(subject).unwrap());
    headers.sample_type = Some("HeartRate".to_owned());
    let normalized = normalized(RawTopic::HealthKit, headers, body.as_bytes(), 0);
    assert!(normalized.rejections.is_empty(), "{}", normalized.rejections[0].detail);
    normalized.readings
}

fn samples(body: &str) -> Vec<Reading> {
    readings("app", None, Format::StandardJson, body)
}

fn observation(body: &str) -> Reading {
    readings("app", None, Format::FhirJson, body).remove(0)
}

fn same_name(one: &Reading, other: &Reading) -> bool {
    one.reading_id == other.reading_id
}

#[test]
fn a_sample_keeps_its_reading_id_in_another_array_and_with_another_value() {
    let first = samples(r#"[{"id":"A-1","value":70,"startDate":"2025-01-01T00:00:00Z"}]"#);
    let later = samples(r#"[{"value":1},{"id":"a-1","value":71,"startDate":"2025-01-01T00:00:00Z"}]"#);
    assert!(same_name(&first[0], &later[1]));
    assert_ne!(first[0].content, later[1].content);
}

#[test]
fn the_reading_id_of_a_sample_without_an_id_comes_from_its_literals() {
    let of = |value: &str, time: &str| samples(&format!(r#"[{{"value":{value},"startDate":"{time}"}}]"#)).remove(0);
    let first = of("70", "2025-01-01T00:00:00Z");
    assert!(same_name(&first, &of("70", "2025-01-01T00:00:00Z")));
    assert_eq!(first.content, of("70", "2025-01-01T00:00:00Z").content);
    assert!(!same_name(&first, &of("70.0", "2025-01-01T00:00:00Z")));
    assert!(!same_name(&first, &of("70", "2025-01-01T00:00:01Z")));
}

/// The README says so: nothing in the payload shows that the two are the same sample.
#[test]
fn a_sample_with_an_id_and_the_same_one_without_it_or_in_another_format_are_two_readings() {
    let with_id = samples(r#"[{"id":"A-1","value":70,"startDate":"2025-01-01T00:00:00Z"}]"#);
    let without = samples(r#"[{"value":70,"startDate":"2025-01-01T00:00:00Z"}]"#);
    let exported = exported(
        r#"{"data":{"metrics":[{"name":"heart_rate","units":"count/min","data":[{"date":"2025-01-01 00:00:00 +0000","qty":70}]}]}}"#,
    );
    assert!(!same_name(&with_id[0], &without[0]));
    assert!(!same_name(&with_id[0], &exported[0]));
}

#[test]
fn readings_in_different_trust_scopes_have_different_ids() {
    let body = r#"[{"id":"A-1","value":70}]"#;
    let of = |source, subject| readings(source, subject, Format::StandardJson, body).remove(0);
    assert!(!same_name(&of("app", None), &of("portal", None)));
    assert!(!same_name(&of("app", Some("p1")), &of("app", Some("p2"))));
    assert!(!same_name(&of("app", Some("app")), &of("app", None)));
    assert!(same_name(&of("app", Some("p1")), &of("portal", Some("p1"))));
}

#[test]
fn a_corrected_observation_is_a_version_of_the_same_reading() {
    let of = |status: &str, version: &str| {
        observation(&format!(
            r#"{{"resourceType":"Observation","id":"o","meta":{{"versionId":"{version}"}},"status":"{status}",
                "code":{{"coding":[{{"system":"http://loinc.org","code":"8867-4"}}]}},
                "valueQuantity":{{"value":70,"unit":"/min"}}}}"#
        ))
    };
    let (first, again, wrong) = (of("final", "1"), of("final", "2"), of("entered-in-error", "3"));
    assert!(same_name(&first, &again) && same_name(&first, &wrong));
    assert_eq!(first.content, again.content);
    assert_ne!(first.content, wrong.content);
    assert_eq!((first.source_version, wrong.source_version), (Some(1), Some(3)));
}

#[test]
fn a_resource_id_is_unique_within_its_server_and_an_identifier_everywhere() {
    let of = |url: &str, identifier: &str| {
        observation(&format!(
            r#"{{"resourceType":"Bundle","entry":[{{"fullUrl":"{url}","resource":{{"resourceType":"Observation",
                "id":"o"{identifier},"status":"final","code":{{"text":"x"}},"valueInteger":1}}}}]}}"#
        ))
    };
    let known = r#","identifier":[{"system":"urn:s","value":"v"}]"#;
    assert!(!same_name(&of("https://a.example/Observation/o", ""), &of("https://b.example/Observation/o", "")));
    assert!(same_name(
        &of("https://a.example/Observation/o", ""),
        &of("https://a.example/Observation/o/_history/2", "")
    ));
    assert!(same_name(&of("https://a.example/Observation/o", known), &of("urn:uuid:1", known)));
}

/// The fullUrls that a sender gives to the resources of a Bundle change with each attempt.
#[test]
fn observations_that_differ_only_in_patient_or_body_site_have_different_ids() {
    let of = |patient: &str, more: &str| {
        observation(&format!(
            r#"{{"resourceType":"Bundle","entry":[{{"fullUrl":"urn:uuid:{patient}","resource":{{"resourceType":"Patient",
                "identifier":[{{"value":"MRN-{}"}}]}}}},{{"resource":{{"resourceType":"Observation","status":"final",
                "code":{{"text":"x"}},"valueInteger":1{more}}}}}]}}"#,
            &patient[..1]
        ))
    };
    let whole = |patient: &str| of(patient, &format!(r#","subject":{{"reference":"urn:uuid:{patient}"}}"#));
    assert!(same_name(&whole("1-first"), &whole("1-again")));
    assert!(!same_name(&whole("1-first"), &whole("2-first")));
    assert!(!same_name(&whole("1-first"), &of("1-first", "")));
    let site = |text: &str| of("1", &format!(r#","bodySite":{{"text":"{text}"}}"#));
    assert!(same_name(&site("left"), &site("left")));
    assert_eq!(site("left").content, site("left").content);
    assert!(!same_name(&site("left"), &site("right")));
    assert_ne!(site("left").content, site("right").content);
    assert!(!same_name(&site("MRN-1"), &whole("1-first")));
}

fn exported(body: &str) -> Vec<Reading> {
    readings("app", None, Format::HealthAutoExport, body)
}

fn steps(entry: &str) -> Reading {
    exported(&format!(r#"{{"data":{{"metrics":[{{"name":"step_count","units":"count","data":[{entry}]}}]}}}}"#))
        .remove(0)
}

#[test]
fn the_reading_id_of_an_entry_does_not_depend_on_order_and_notation() {
    let first = steps(r#"{"date":"2025-01-01 08:00:00 +0100","qty":70,"source":"Phone","metadata":{"a":"1","b":[2]}}"#);
    let again = steps(
        r#"{ "metadata": { "b": [ 2 ], "a": "1" }, "source": "\u0050hone", "qty": 70, "date": "2025-01-01 08:00:00 +0100" }"#,
    );
    assert!(same_name(&first, &again));
    assert_eq!(first.content, again.content);
    for other in [
        r#"{"date":"2025-01-01 08:00:00 +0100","qty":71,"source":"Phone"}"#,
        r#"{"date":"2025-01-01 08:00:01 +0100","qty":70,"source":"Phone"}"#,
        r#"{"date":"2025-01-01 08:00:00 +0100","qty":70,"source":"Watch"}"#,
    ] {
        assert!(!same_name(&first, &steps(other)), "{other}");
    }
    let later = steps(r#"{"date":"2025-01-01 08:00:00 +0100","qty":70,"source":"Phone","metadata":{"a":"2"}}"#);
    assert!(same_name(&first, &later));
    assert_ne!(first.content, later.content);
}

#[test]
fn a_workout_keeps_its_reading_id_in_another_export_and_from_another_app() {
    let exported = |id: &str, rest: &str| {
        let workout = format!(r#"{{"id":"{id}","name":"Run"{rest}}}"#);
        let state = format!(r#"{{"id":"{id}","valence":1}}"#);
        exported(&format!(r#"{{"data":{{"workouts":[{workout}],"stateOfMind":[{state}]}}}}"#))
    };
    let id = "0AB1C2D3-0000-4000-8000-00000000000A";
    let workout = |rest| exported(id, rest).remove(0);
    let of_another_app = samples(&format!(
        r#"[{{"type":"Workout","id":"{}","activityName":"Running","start":"2025-01-01T00:00:00Z"}}]"#,
        id.to_lowercase()
    ));
    assert!(same_name(&workout(""), &workout(r#","duration":60"#)));
    assert_ne!(workout("").content, workout(r#","duration":60"#).content);
    assert!(same_name(&workout(""), &of_another_app[0]));
    // An id that is not a UUID is unique within its section only.
    let counted = exported("1", "");
    assert!(!same_name(&counted[0], &counted[1]));
    assert!(!same_name(&counted[0], &samples(r#"[{"type":"HeartRate","id":"1","value":70}]"#)[0]));
}

/// A phone writes its whole history with the offset of the day of the export.
#[test]
fn an_export_with_another_offset_gives_the_same_reading_ids() {
    let (here, there) = (["10:00:00 +0100", "10:05:00 +0100"], ["04:00:00 -0500", "04:05:00 -0500"]);
    let export = |[start, end]: [&str; 2]| {
        let span = format!("startDate=\"2024-03-01 {start}\" endDate=\"2024-03-01 {end}\"");
        let body = format!(
            "<HealthData><Record type=\"HKQuantityTypeIdentifierHeartRate\" unit=\"count/min\" value=\"61\" {span}/>\
             <Workout workoutActivityType=\"A\" {span}/></HealthData>"
        );
        readings("app", None, Format::ExportXml, &body)
    };
    let app = |[start, end]: [&str; 2]| {
        exported(&format!(
            r#"{{"data":{{"metrics":[{{"name":"step_count","units":"count","data":[
                {{"date":"2024-03-01 {start}","qty":7}},{{"start":"2024-03-01 {start}","end":"2024-03-01 {end}","qty":8}}]}}]}}}}"#
        ))
    };
    let sample = |[start, end]: [&str; 2]| {
        let times = [start, end]
            .map(|time| format!("2024-03-01T{}", time.replace(" +0100", "+01:00").replace(" -0500", "-05:00")));
        samples(&format!(
            r#"[{{"value":1,"startDate":"{0}","endDate":"{1}"}},{{"type":"Food","startDate":"{0}","endDate":"{1}",
                "objects":[{{"type":"Protein","value":1,"unit":"g"}}]}}]"#,
            times[0], times[1]
        ))
    };
    for (one, other) in [(export(here), export(there)), (app(here), app(there)), (sample(here), sample(there))] {
        assert_eq!((one.len(), other.len()), (2, 2));
        for (one, other) in one.iter().zip(&other) {
            assert!(same_name(one, other));
            assert_ne!(one.measured_text, other.measured_text);
        }
        assert!(!same_name(&one[0], &one[1]));
    }
}

fn of_patient(subject: &str, beside: &str) -> Reading {
    observation(&format!(
        r#"{{"resourceType":"Bundle","type":"collection","entry":[{beside}{{"resource":{{"resourceType":"Observation",
            "status":"final","code":{{"text":"x"}},"valueInteger":1,"subject":{subject}}}}}]}}"#
    ))
}

#[test]
fn the_patient_in_a_reading_id_is_what_the_source_wrote() {
    let patient = |url: &str, id: &str, system: &str| {
        format!(
            r#"{{"fullUrl":"{url}","resource":{{"resourceType":"Patient","id":"{id}",
                "identifier":[{{"use":"old"}},{{"system":"{system}","value":"1001"}}]}}}},"#
        )
    };
    let reference = r#"{"reference":"Patient/A"}"#;
    let alone = of_patient(reference, "");
    // A Patient resource in the Bundle changes the patient claim and not the id; nor does the version of the patient change the
    // id.
    let beside = of_patient(reference, &patient("https://a.example/Patient/A", "A", "urn:one"));
    assert!(same_name(&alone, &beside));
    assert!(same_name(&alone, &of_patient(r#"{"reference":"Patient/A/_history/3"}"#, "")));
    for other in [r#"{"reference":"Patient/B"}"#, r#"{"reference":"Group/A"}"#] {
        assert!(!same_name(&alone, &of_patient(other, "")), "{other}");
    }
    // A reference that is valid only within the payload is identified by the resource that it resolves to.
    let within =
        |url: &str, system: &str| of_patient(&format!(r#"{{"reference":"{url}"}}"#), &patient(url, "p", system));
    let (one, other) =
        ("urn:uuid:0a000000-0000-4000-8000-000000000001", "urn:uuid:0a000000-0000-4000-8000-000000000002");
    assert!(same_name(&within(one, "urn:one"), &within(other, "urn:one")));
    assert!(!same_name(&within(one, "urn:one"), &within(one, "urn:two")));
    let lost = |url: &str| of_patient(&format!(r#"{{"reference":"{url}"}}"#), "");
    assert!(!same_name(&lost(one), &lost(other)));
    let logical = |system: &str| of_patient(&format!(r#"{{"identifier":{{"system":"{system}","value":"1001"}}}}"#), "");
    assert!(!same_name(&logical("urn:one"), &logical("urn:two")));
    assert!(same_name(&logical("urn:one"), &within(one, "urn:one")));
}

#[test]
fn equal_contained_observations_are_separate_readings() {
    let contained = ["m1", "m2"].map(|id| {
        format!(
            r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"text":"x"}},"valueInteger":120}}"#
        )
    });
    let body = format!(
        r##"{{"resourceType":"Observation","id":"o","status":"final","code":{{"text":"y"}},"contained":[{}],
            "hasMember":[{{"reference":"#m1"}},{{"reference":"#m2"}}]}}"##,
        contained.join(",")
    );
    let found = readings("app", None, Format::FhirJson, &body);
    assert_eq!(found.len(), 3);
    assert!(!same_name(&found[1], &found[2]));
}
