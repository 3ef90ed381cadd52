//! Unknown parts of payloads are reported by their shape, never by a value.

use std::{fs, path::Path};

use normalizer::Normalized;
use schemas::{
    format::{Format, RawTopic},
    raw::RecordKind,
};

use crate::record::{self, headers};

const MEDISANTE_JSON: (RawTopic, Format) = (RawTopic::Medisante, Format::StandardJson);
const MEDISANTE_XML: (RawTopic, Format) = (RawTopic::Medisante, Format::StandardXml);
const HEALTHKIT: (RawTopic, Format) = (RawTopic::HealthKit, Format::StandardJson);
const HEALTH_AUTO_EXPORT: (RawTopic, Format) = (RawTopic::HealthKit, Format::HealthAutoExport);
const EXPORT_XML: (RawTopic, Format) = (RawTopic::Uploads, Format::ExportXml);
const FHIR: (RawTopic, Format) = (RawTopic::Medisante, Format::FhirJson);
const FHIR_XML: (RawTopic, Format) = (RawTopic::Medisante, Format::FhirXml);

fn normalized((topic, format): (RawTopic, Format), body: &str) -> Normalized {
    record::normalized(topic, headers(RecordKind::Payload(format), "drift"), body.as_bytes(), 0)
}

/// Returns each shape as `kind shape`, sorted.
fn shapes(found: &Normalized) -> Vec<String> {
    let mut shapes: Vec<String> =
        found.unknown.iter().map(|unknown| format!("{} {}", unknown.kind.as_str(), unknown.shape)).collect();
    shapes.sort();
    shapes
}

const MESSAGE: &str = r#"{
    "metadata": { "correlationId": "c-1", "deviceGroups": [], "measurementType": "Glucose", "portal": { "b": [], "a": 1 } },
    "device": { "id": "d-1", "IMSI": "2", "timezone": "Europe/Zurich", "battery": 3 },
    "firmware": null,
    "measurements": {
        "timestamp": "2026-03-01T08:00:00Z",
        "device": { "id": "d-2", "paired": true },
        "glucose": { "value": 5.6, "unit": "mmol/L", "isInRange": true, "confidence": "high" },
        "bodyWeight": { "value": 70, "unit": "bushel" },
        "newThing": { "value": 5, "unit": "furlongs" },
        "list": [ { "a": 1 } ],
        "annotations": { "anything": "goes", "even": { "this": 1 } }
    }
}"#;

#[test]
fn unknown_members_of_a_message_are_reported_at_each_level_and_known_ones_are_read() {
    let found = normalized(MEDISANTE_JSON, MESSAGE);
    assert_eq!(
        shapes(&found),
        [
            "field device.battery:number",
            "field firmware:null",
            "field measurements.device.paired:boolean",
            "field measurements.glucose.confidence:string",
            "field metadata.portal{a:number,b:array}",
            "metric measurements.list[object]",
            "metric measurements.newThing{unit:string,value:number}",
            "unit bushel",
            "unit furlongs",
        ]
    );
    assert_eq!((found.readings.len(), found.rejections.len()), (2, 2));
    assert!(found.unknown.iter().all(|unknown| unknown.format == Format::StandardJson));
}

#[test]
fn xml_reports_the_same_unknown_names_as_json() {
    // Namespace declarations and attributes of another namespace are not members.
    let body = r#"<message xmlns="urn:m" xmlns:x="urn:x">
        <device battery="3" x:colour="red"><id>d-1</id></device>
        <measurements>
            <timestamp>2026-03-01T08:00:00Z</timestamp>
            <glucose confidence="high"><value>5.6</value><unit>mmol/L</unit></glucose>
            <newThing><value>5</value><unit>kg</unit></newThing>
            <annotations><anything>goes</anything></annotations>
        </measurements>
    </message>"#;
    let found = normalized(MEDISANTE_XML, body);
    assert_eq!(
        shapes(&found),
        [
            "field device.battery:string",
            "field measurements.glucose.confidence:string",
            "metric measurements.newThing{unit:string,value:string}",
        ]
    );
    assert_eq!(found.readings.len(), 2);
}

#[test]
fn unknown_keys_types_and_units_of_samples_are_reported() {
    let body = r#"[
        { "type": "HeartRate", "value": 61, "unit": "count/min", "startDate": "2026-03-01T08:00:00Z", "mood": "good" },
        { "type": "HeartRate", "value": 62, "unit": "count/min", "startDate": "2026-03-01T08:01:00Z", "mood": "bad" },
        { "type": "HKQuantityTypeIdentifierNew", "value": 1, "unit": "furlongs", "startDate": "2026-03-01T08:00:00Z" },
        { "type": "HKQuantityTypeIdentifierRefused", "value": 1, "startDate": "2026-03-01T08:00:00Z" }
    ]"#;
    let found = normalized(HEALTHKIT, body);
    assert_eq!(
        shapes(&found),
        [
            "field mood:string",
            "metric HKQuantityTypeIdentifierNew",
            "metric HKQuantityTypeIdentifierRefused",
            "unit furlongs",
        ]
    );
    assert_eq!((found.readings.len(), found.rejections.len()), (3, 1));
}

#[test]
fn unknown_members_metrics_and_units_of_an_apps_export_are_reported() {
    let body = r#"{ "version": 3, "data": { "heartRateNotifications": [ { "start": "2026-03-01 08:00:00 +0100",
        "threshold": 120 } ], "dreams": [ { "start": "2026-03-01 08:00:00 +0100" } ], "metrics": [
        { "name": "step_count", "units": "count", "colour": "red", "data": [
            { "date": "2026-03-01 08:00:00 +0100", "qty": 3, "source": "Watch", "series": [1, 2] } ] },
        { "name": "new_thing", "units": "furlongs", "data": [
            { "date": "2026-03-01 08:00:00 +0100", "Min": 1, "Avg": 2, "Max": 3 } ] } ] } }"#;
    assert_eq!(
        shapes(&normalized(HEALTH_AUTO_EXPORT, body)),
        [
            "field data.dreams[object]",
            "field metrics.colour:string",
            "field metrics.data.series[number]",
            "field version:number",
            "metric new_thing",
            "unit furlongs",
        ]
    );
}

#[test]
fn unknown_elements_and_types_of_apples_export_are_reported() {
    let record = |kind: &str, unit: &str| {
        format!(r#"<Record type="{kind}" unit="{unit}" value="1" startDate="2026-03-01 08:00:00 +0100"/>"#)
    };
    let body = format!(
        "<HealthData><Me/><ClinicalRecord/><NewElement a=\"1\"/>{}{}{}</HealthData>",
        record("HKQuantityTypeIdentifierHeartRate", "count/min"),
        record("HKQuantityTypeIdentifierNew", "furlongs"),
        record("HKQuantityTypeIdentifierRefused", ""),
    );
    let found = normalized(EXPORT_XML, &body);
    assert_eq!(
        shapes(&found),
        [
            "field HealthData.NewElement",
            "metric HKQuantityTypeIdentifierNew",
            "metric HKQuantityTypeIdentifierRefused",
            "unit furlongs",
        ]
    );
    assert_eq!(found.readings.len(), 2);
}

fn observation(coding: &str, unit: &str, more: &str) -> String {
    format!(
        r#"{{ "resourceType": "Observation", "status": "final", "code": {{ {coding} }}, "extension": [ {{ "url": "x" }} ],
            "valueQuantity": {{ "value": 1, "unit": "{unit}" }} {more} }}"#
    )
}

#[test]
fn unknown_codes_and_units_of_fhir_are_reported() {
    let loinc = |code: &str| format!(r#""coding": [ {{ "system": "http://loinc.org", "code": "{code}" }} ]"#);
    assert_eq!(shapes(&normalized(FHIR, &observation(&loinc("29463-7"), "kg", ""))), [""; 0]);
    assert_eq!(
        shapes(&normalized(FHIR, &observation(&loinc("00000-1"), "furlongs", ""))),
        ["code http://loinc.org|00000-1", "unit furlongs"]
    );
    let text = r#""text": "Mood""#;
    assert_eq!(shapes(&normalized(FHIR, &observation(text, "kg", ""))), ["code |<up to 16 bytes>"]);
    let refused = r#", "valueString": "two values""#;
    assert_eq!(
        shapes(&normalized(FHIR, &observation(&loinc("00000-1"), "kg", refused))),
        ["code http://loinc.org|00000-1"]
    );
}

/// The elements of every resource, of an Observation and of a component, as R4 lists them (resource.html, domainresource.html,
/// observation.html).
const OBSERVATION: &str = "id meta implicitRules language text contained extension modifierExtension identifier basedOn partOf \
    status category code subject focus encounter effectiveDateTime effectivePeriod effectiveTiming effectiveInstant issued \
    performer valueQuantity valueCodeableConcept valueString valueBoolean valueInteger valueRange valueRatio valueSampledData \
    valueTime valueDateTime valuePeriod dataAbsentReason interpretation note bodySite method specimen device referenceRange \
    hasMember derivedFrom component";
const COMPONENT: &str = "id extension modifierExtension code valueQuantity valueCodeableConcept valueString valueBoolean \
    valueInteger valueRange valueRatio valueSampledData valueTime valueDateTime valuePeriod dataAbsentReason interpretation \
    referenceRange";
/// The `_` members that these primitives may have.
const BESIDE: &str = "_id _implicitRules _language _status _effectiveDateTime _effectiveInstant _issued";
const BESIDE_VALUES: &str = "_valueString _valueBoolean _valueInteger _valueTime _valueDateTime";

#[test]
fn elements_that_fhir_does_not_define_are_reported() {
    let json = r#"{ "resourceType": "Observation", "status": "final", "code": { "text": "x" }, "valueString": "y",
        "performer": [], "other": 1, "confidence": 0.9,
        "component": [ { "code": { "text": "x" }, "other": 1, "grade": [ {} ], "status": "final" } ],
        "contained": [ { "resourceType": "Observation", "valueAttachment": {} }, { "resourceType": "Patient", "x": 1 } ] }"#;
    let xml = r#"<Observation xmlns="http://hl7.org/fhir" xmlns:o="urn:o"><contained><Observation><valueAttachment/></Observation>
        </contained><contained><Patient><x value="1"/></Patient></contained><status value="final"/><code><text value="x"/></code>
        <performer/><valueString value="y"/><!-- no field --><o:other><o:in/></o:other>
        <confidence value="0.9"/><component id="c"><o:other/>
        <code><text value="x"/></code><grade/><status value="final"/></component></Observation>"#;
    for (kind, body) in [(FHIR, json), (FHIR_XML, xml)] {
        let found = normalized(kind, body);
        assert_eq!(
            shapes(&found),
            [
                "code |<up to 16 bytes>",
                "field Observation.component.grade",
                "field Observation.component.other",
                "field Observation.component.status",
                "field Observation.confidence",
                "field Observation.other",
                "field Observation.valueAttachment",
            ]
        );
        assert_eq!((found.readings.len(), found.rejections.len()), (1, 1));
    }
}

#[test]
fn elements_of_a_quantity_that_fhir_does_not_define_are_reported() {
    let json = r#"{ "resourceType": "Observation", "status": "final", "code": { "text": "x" },
        "valueQuantity": { "id": "q", "extension": [], "value": 1, "_unit": {}, "unit": "kg", "_system": {}, "_code": {},
            "precision": 2, "value2": 3 },
        "component": [ { "code": { "text": "x" }, "valueRange": { "low": { "value": 1, "unit": "kg", "precision": 2 } } } ] }"#;
    let xml = r#"<Observation xmlns="http://hl7.org/fhir" xmlns:o="urn:o"><status value="final"/><code><text value="x"/></code>
        <valueQuantity id="q"><extension url="x"/><value value="1"/><unit value="kg"/><precision value="2"/><o:value2/>
        </valueQuantity><component><code><text value="x"/></code><valueRange><low><value value="1"/><unit value="kg"/>
        <o:precision/></low></valueRange></component></Observation>"#;
    for (kind, body) in [(FHIR, json), (FHIR_XML, xml)] {
        let found = normalized(kind, body);
        assert_eq!(
            shapes(&found),
            [
                "code |<up to 16 bytes>",
                "field Observation.component.valueRange.low.precision",
                "field Observation.valueQuantity.precision",
                "field Observation.valueQuantity.value2",
            ]
        );
        assert_eq!((found.readings.len(), found.rejections.len()), (1, 0));
    }
}

#[test]
fn elements_that_fhir_defines_are_not_reported() {
    let told = |body: &str| {
        let of = if body.starts_with('<') { FHIR_XML } else { FHIR };
        shapes(&normalized(of, body)).into_iter().filter(|shape| shape.starts_with("field")).collect::<Vec<_>>()
    };
    let names = |of: &'static [&str]| of.iter().flat_map(|names| names.split_whitespace());
    let nulls = |of| names(of).map(|name| format!(r#""{name}":null"#)).collect::<Vec<_>>().join(",");
    let observation = nulls(&[OBSERVATION, BESIDE, BESIDE_VALUES]).replace(r#""component":null"#, "");
    let component = nulls(&[COMPONENT, BESIDE_VALUES]);
    let body = |last: &str| {
        format!(r#"{{"resourceType":"Observation",{observation}{last},"component":[{{{component}{last}}}]}}"#)
            .replace(",,", ",")
    };
    assert_eq!(told(&body("")), [""; 0]);
    assert_eq!(told(&body(r#","_code":null"#)).len(), 2);
    let empty = |of| names(of).map(|name| format!("<{name}/>")).collect::<Vec<_>>().concat();
    let observation = empty(&[OBSERVATION]).replace("<component/>", "").replace("<contained/>", "");
    // In XML, the id of an element is an attribute (xml.html).
    let component = empty(&[COMPONENT]).replace("<id/>", "");
    let body = |last: &str| {
        format!(
            "<Observation xmlns='http://hl7.org/fhir'>{observation}{last}<component id='c'>{component}{last}</component></Observation>"
        )
    };
    assert_eq!(told(&body("")), [""; 0]);
    assert_eq!(told(&body("<x/>")), ["field Observation.component.x", "field Observation.x"]);
}

/// Checks values, and texts that do not look like names: with spaces, non-ASCII characters, many characters or many digits.
#[test]
fn no_value_and_no_name_that_may_be_content_is_reported() {
    for odd in ["canary name", "canary\u{e4}", "canary=5.4", &"canary".repeat(11), "canary-2026-03-01", "5.4321098765"]
    {
        for value in [r#""canary""#, r#"["canary"]"#, &format!(r#"{{ "{odd}": "canary" }}"#)] {
            let message = format!(
                r#"{{ "{odd}": {value}, "x": {value}, "metadata": {{ "{odd}": {value} }}, "device": {{ "id": "canary", "x": {value} }},
                    "measurements": {{ "{odd}": {value}, "glucose": {{ "value": 5.4321098765, "unit": "{odd}", "x": {value} }},
                    "y": {{ "value": 5.4321098765, "unit": "{odd}" }}, "documents": {{ "{odd}": {value} }} }} }}"#
            );
            let samples = format!(
                r#"[ {{ "{odd}": {value}, "type": "{odd}", "value": 5.4321098765, "unit": "{odd}" }},
                     {{ "type": "HeartRate", "value": 5.4321098765, "unit": "{odd}", "objects": [ {{ "{odd}": {value} }} ] }} ]"#
            );
            let export = format!(
                r#"{{ "{odd}": {value}, "data": {{ "{odd}": {value}, "metrics": [ {{ "name": "{odd}", "units": "{odd}",
                    "{odd}": {value}, "data": [ {{ "qty": 5.4321098765, "{odd}": {value} }} ] }} ] }} }}"#
            );
            let xml = format!(r#"<HealthData><Record type="{odd}" unit="{odd}" value="5.4321098765"/></HealthData>"#);
            let fhir = observation(&format!(r#""text": "{odd}""#), odd, &format!(r#", "{odd}": {value}"#));
            for (kind, body) in [
                (MEDISANTE_JSON, &message),
                (HEALTHKIT, &samples),
                (HEALTH_AUTO_EXPORT, &export),
                (EXPORT_XML, &xml),
                (FHIR, &fhir),
            ] {
                let told = shapes(&normalized(kind, body));
                assert!(!told.is_empty(), "{body}");
                let leaked = told.iter().find(|shape| shape.contains("canary") || shape.contains("5.43"));
                assert_eq!(leaked, None, "{body}");
            }
        }
    }
}

#[test]
fn the_number_and_the_length_of_reported_shapes_are_limited() {
    let letters = |number: usize| -> String { format!("{number:064b}").replace('0', "a").replace('1', "b") };
    let many = (0..900).map(|number| format!("\"{}\": 1", letters(number))).collect::<Vec<_>>().join(",");
    let measurements = (0..900).map(|number| format!("\"{}\": {{ {many} }}", letters(number)));
    let body = format!(r#"{{ {many}, "measurements": {{ {} }} }}"#, measurements.collect::<Vec<_>>().join(","));
    let found = normalized(MEDISANTE_JSON, &body);
    assert_eq!(found.unknown.len(), 32);
    let body = format!(r#"{{ "measurements": {{ "{}": {{ {many} }} }} }}"#, letters(0));
    let found = normalized(MEDISANTE_JSON, &body);
    let shape = &found.unknown[0].shape;
    assert!(shape.ends_with(",...}") && shape.len() < 700, "{} bytes: {shape}", shape.len());
}

#[test]
fn only_names_of_up_to_64_bytes_and_3_digits_are_reported() {
    let told = |name: &str, value: &str| {
        let body = format!("{{\"{name}\":{value},\"measurements\":{{}}}}");
        shapes(&normalized(MEDISANTE_JSON, &body)).concat()
    };
    let letters = "a".repeat(64);
    assert_eq!(told(&letters, "1"), format!("field {letters}:number"));
    assert_eq!(told(&format!("{letters}a"), "1"), "field <up to 256 bytes>:number");
    assert_eq!(told("a123", "1"), "field a123:number");
    assert_eq!(told("a1234", "1"), "field <up to 16 bytes>:number");
    for (bytes, length) in [(16, "up to 16"), (17, "up to 64"), (64, "up to 64"), (65, "up to 256"), (257, "over 256")]
    {
        assert_eq!(told(&" ".repeat(bytes), "1"), format!("field <{length} bytes>:number"));
    }
    for (value, kind) in [
        ("-1", ":number"),
        ("\"\"", ":string"),
        ("true", ":boolean"),
        ("false", ":boolean"),
        ("null", ":null"),
        ("[ ]", "[]"),
        ("[ [] ]", "[array]"),
        ("{}", "{}"),
    ] {
        assert_eq!(told("a", value), format!("field a{kind}"));
    }
    let object = |members: usize| {
        format!(
            "{{{}}}",
            "bcdefghij"[..members].chars().map(|name| format!("\"{name}\":1")).collect::<Vec<_>>().join(",")
        )
    };
    assert!(told("a", &object(8)).ends_with(",i:number}"));
    assert!(told("a", &object(9)).ends_with(",i:number,...}"));
    let long = |bytes: usize| format!("{{\"b\":\"{}\"}}", "x".repeat(bytes - 8));
    assert_eq!(told("a", &long(65_536)), "field a{b:string}");
    assert_eq!(told("a", &long(65_537)), "field a:object");
}

#[test]
fn documented_fields_are_not_reported() {
    for (kind, cases) in [
        (MEDISANTE_JSON, &["medisante-glucose-mmol", "medisante-body-weight-composition", "medisante-ecg-samples"][..]),
        (MEDISANTE_XML, &["medisante-hub-xml", "medisante-xml-annotations"][..]),
        (HEALTHKIT, &["healthkit-workout", "healthkit-electrocardiogram", "healthkit-daily-steps"][..]),
        (HEALTH_AUTO_EXPORT, &["health-auto-export-workouts", "health-auto-export-ecg"][..]),
        (EXPORT_XML, &["export-workouts"][..]),
        (FHIR, &["fhir-body-weight"][..]),
    ] {
        for case in cases {
            assert_eq!(shapes(&golden(kind, case)), [""; 0], "{case}");
        }
    }
}

fn golden(kind: (RawTopic, Format), case: &str) -> Normalized {
    let extension = if kind.1.is_xml() { "xml" } else { "json" };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{case}.input.{extension}"));
    normalized(kind, &fs::read_to_string(file).unwrap())
}

#[test]
fn unknown_category_values_are_stored_and_reported() {
    let body = r#"[
        { "type": "HKCategoryTypeIdentifierHeadache", "value": 2, "startDate": "2026-03-01T08:00:00Z" },
        { "type": "HKCategoryTypeIdentifierHeadache", "value": "HKCategoryValueSeverityUnbearable", "startDate": "2026-03-01T08:00:00Z" },
        { "type": "HKCategoryTypeIdentifierHeadache", "value": 77, "startDate": "2026-03-01T08:00:00Z" },
        { "type": "HKCategoryTypeIdentifierHeadache", "value": "so bad I fell", "startDate": "2026-03-01T08:00:00Z" }
    ]"#;
    let found = normalized(HEALTHKIT, body);
    assert_eq!((found.readings.len(), found.rejections.len()), (4, 0));
    assert_eq!(
        shapes(&found),
        [
            "code http://developer.apple.com/documentation/healthkit|77",
            "code http://developer.apple.com/documentation/healthkit|<up to 16 bytes>",
            "code http://developer.apple.com/documentation/healthkit|HKCategoryValueSeverityUnbearable",
        ]
    );
    let nights = golden(HEALTH_AUTO_EXPORT, "health-auto-export-sleep");
    assert_eq!(shapes(&nights), ["code http://developer.apple.com/documentation/healthkit|<up to 16 bytes>"]);
}
