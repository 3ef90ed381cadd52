//! Payloads as the portal and an app send them, with invented values.
//!
//! Each payload is measured one microsecond after the one before it, so that the time of a row identifies its payload.

use time::{Duration, OffsetDateTime, macros::datetime};

/// When payload 0 was measured.
pub(crate) const FIRST_MEASURED: OffsetDateTime = datetime!(2026-03-01 08:00 UTC);

/// The number of devices that send.
pub(crate) const DEVICES: u64 = 1_000;

/// A body and the number of readings that the mapping must produce from it.
pub(crate) struct TestPayload {
    pub(crate) body: String,
    pub(crate) readings: u64,
}

/// The correlation id of payload `number` of `run`.
pub(crate) fn correlation_id(run: u32, number: u64) -> String {
    format!("{run:08x}-0000-4000-8000-{number:012x}")
}

/// A glucose measurement in Medisanté's JSON, about 640 bytes: one reading.
pub(crate) fn glucose(run: u32, number: u64) -> TestPayload {
    let [head, tail] = glucose_around_correlation_id(number);
    TestPayload { body: format!("{head}{}{tail}", correlation_id(run, number)), readings: 1 }
}

/// The body of [`glucose`] before and after its correlation id.
pub(crate) fn glucose_around_correlation_id(number: u64) -> [String; 2] {
    let value = format!("{}.{}", 4 + number % 9, number % 10);
    let measurements = format!(
        r#""glucose":{{"value":{value},"unit":"mmol/L","isInRange":true}},"annotations":{{"mealTag":"fasting","codeNumber":"7","measuredUnit":"mmol/L","feeling":"well","averageMeasurement":false}}"#
    );
    medisante("Glucose", "GL-40", number, &measurements)
}

/// A blood pressure in Medisanté's JSON: a panel and a pulse.
pub(crate) fn blood_pressure(run: u32, number: u64) -> TestPayload {
    let (systolic, diastolic, pulse) = (105 + number % 60, 60 + number % 35, 50 + number % 70);
    let measurements = format!(
        r#""systolicBloodPressure":{{"value":{systolic},"unit":"mmHg","isInRange":true}},"diastolicBloodPressure":{{"value":{diastolic},"unit":"mmHg","isInRange":true}},"pulse":{{"value":{pulse},"unit":"bpm","isInRange":true}}"#
    );
    let [head, tail] = medisante("BloodPressure", "BP-800", number, &measurements);
    TestPayload { body: format!("{head}{}{tail}", correlation_id(run, number)), readings: 2 }
}

fn medisante(measurement_type: &str, model: &str, number: u64, measurements: &str) -> [String; 2] {
    let (device, measured) = (350_000_000_000_000 + number % DEVICES, measured(number));
    let head = r#"{"metadata":{"correlationId":""#.to_owned();
    let tail = format!(
        r#"","receivedTime":"{measured}","deviceGroups":["ward-7"],"measurementType":"{measurement_type}"}},"device":{{"id":"InventedDevices:{model}:{device}","serialNumber":"SN-{device}","IMEI":"{device}","IMSI":"901{device}","manufacturer":"Invented Devices","model":"{model}","timezone":"Europe/Zurich"}},"measurements":{{"timestamp":"{measured}",{measurements}}}}}"#
    );
    [head, tail]
}

/// A FHIR R4 Observation of about 1 KB: one reading.
pub(crate) fn fhir(run: u32, number: u64) -> TestPayload {
    let (device, measured, id) =
        (350_000_000_000_000 + number % DEVICES, measured(number), correlation_id(run, number));
    let value = format!("{}.{}0", 60 + number % 50, number % 10);
    let body = format!(
        r#"{{"resourceType":"Observation","id":"{id}","meta":{{"versionId":"1","lastUpdated":"{measured}","profile":["http://hl7.org/fhir/StructureDefinition/bodyweight"]}},"identifier":[{{"system":"urn:example:bench","value":"{id}"}}],"status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}}],"text":"Vital Signs"}}],"code":{{"coding":[{{"system":"http://loinc.org","code":"29463-7","display":"Body weight"}}],"text":"Body weight"}},"subject":{{"reference":"Patient/bench-{}","display":"Invented Person"}},"effectiveDateTime":"{measured}","issued":"{measured}","device":{{"identifier":{{"system":"urn:example:devices","value":"{device}"}},"display":"Invented Devices SC-100"}},"valueQuantity":{{"value":{value},"unit":"kg","system":"http://unitsofmeasure.org","code":"kg"}},"note":[{{"text":"taken in the morning"}}]}}"#,
        number % DEVICES
    );
    TestPayload { body, readings: 1 }
}

/// An array of HealthKit heart rates.
pub(crate) fn healthkit(run: u32, number: u64, samples: u64) -> TestPayload {
    let sample = |index: u64| {
        let (measured, id) = (measured(number * samples + index), correlation_id(run, number * samples + index));
        let value = 50 + (number + index) % 90;
        format!(
            r#"{{"id":"{id}","type":"HKQuantityTypeIdentifierHeartRate","unit":"count/min","deviceId":"apple-watch-{:05}","value":{value},"sourceName":"Invented Watch","sourceId":"com.apple.health.bench","startDate":"{measured}","endDate":"{measured}","metadata":{{"HKMetadataKeyHeartRateMotionContext":1}}}}"#,
            number % DEVICES
        )
    };
    let samples_text: Vec<String> = (0..samples).map(sample).collect();
    TestPayload { body: format!("[{}]", samples_text.join(",")), readings: samples }
}

/// A glucose measurement in Medisanté's XML: one reading.
pub(crate) fn glucose_xml(run: u32, number: u64) -> TestPayload {
    let (device, measured, id) =
        (350_000_000_000_000 + number % DEVICES, measured(number), correlation_id(run, number));
    let value = format!("{}.{}", 4 + number % 9, number % 10);
    let body = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><message><metadata><correlationId>{id}</correlationId><receivedTime>{measured}</receivedTime><measurementType>Glucose</measurementType></metadata><device><id>InventedDevices:GL-40:{device}</id><serialNumber>SN-{device}</serialNumber><IMEI>{device}</IMEI><manufacturer>Invented Devices</manufacturer><model>GL-40</model></device><measurements><timestamp>{measured}</timestamp><glucose><value>{value}</value><unit>mmol/L</unit><isInRange>true</isInRange></glucose><annotations><mealTag>fasting</mealTag><feeling>well</feeling></annotations></measurements></message>"#
    );
    TestPayload { body, readings: 1 }
}

/// A FHIR R4 Observation of about 1 KB in XML: one reading.
pub(crate) fn fhir_xml(run: u32, number: u64) -> TestPayload {
    let (device, measured, id) =
        (350_000_000_000_000 + number % DEVICES, measured(number), correlation_id(run, number));
    let value = format!("{}.{}0", 60 + number % 50, number % 10);
    let body = format!(
        r#"<Observation xmlns="http://hl7.org/fhir"><id value="{id}"/><meta><versionId value="1"/><lastUpdated value="{measured}"/></meta><identifier><system value="urn:example:bench"/><value value="{id}"/></identifier><status value="final"/><category><text value="Vital Signs"/></category><code><coding><system value="http://loinc.org"/><code value="29463-7"/><display value="Body weight"/></coding><text value="Body weight"/></code><subject><reference value="Patient/bench-{}"/></subject><effectiveDateTime value="{measured}"/><issued value="{measured}"/><valueQuantity><value value="{value}"/><unit value="kg"/><system value="http://unitsofmeasure.org"/><code value="kg"/></valueQuantity><device><identifier><system value="urn:example:devices"/><value value="{device}"/></identifier></device><note><text value="taken in the morning"/></note></Observation>"#,
        number % DEVICES
    );
    TestPayload { body, readings: 1 }
}

/// Heart rates as Health Auto Export sends them.
pub(crate) fn health_auto_export(number: u64, samples: u64) -> TestPayload {
    let sample = |index: u64| {
        let (value, date) = (50 + (number + index) % 90, apple_date(number * samples + index));
        format!(r#"{{"Min":{value},"Avg":{value}.5,"Max":{},"date":"{date}","source":"Invented Watch"}}"#, value + 1)
    };
    let entries: Vec<String> = (0..samples).map(sample).collect();
    let body = format!(
        r#"{{"data":{{"metrics":[{{"name":"heart_rate","units":"count/min","data":[{}]}}]}}}}"#,
        entries.join(",")
    );
    TestPayload { body, readings: samples }
}

/// The number of attributes of [`export`] outside of its records, and the number of attributes of each record.
pub(crate) const EXPORT_ATTRIBUTES: (u64, u64) = (2, 9);

/// Heart rates in the form of Apple's `export.xml`.
pub(crate) fn export(number: u64, samples: u64) -> TestPayload {
    let record = |index| export_record(number, number * samples + index);
    let records = (0..samples).map(record).collect::<Vec<_>>().concat();
    let body = format!("{}{records}{EXPORT_END}", export_head(number));
    TestPayload { body, readings: samples }
}

/// One large export of heart rates, in parts.
pub(crate) fn export_parts(records: u64) -> impl Iterator<Item = String> {
    std::iter::once(export_head(0))
        .chain((0..records).map(|index| export_record(index / 1_000, index)))
        .chain(std::iter::once(EXPORT_END.to_owned()))
}

const EXPORT_END: &str = "</HealthData>\n";

fn export_head(number: u64) -> String {
    format!("<HealthData locale=\"de_CH\">\n <ExportDate value=\"{}\"/>\n", apple_date(number))
}

fn export_record(number: u64, second: u64) -> String {
    let (value, date) = (50 + second % 90, apple_date(second));
    format!(
        r#" <Record type="HKQuantityTypeIdentifierHeartRate" sourceName="Invented Watch" sourceVersion="10.3.1" device="&lt;&lt;HKDevice: 0x28{number:07x}&gt;, name:Apple Watch, manufacturer:Apple Inc., model:Watch, hardware:Watch6,2, software:10.3.1&gt;" unit="count/min" creationDate="{date}" startDate="{date}" endDate="{date}" value="{value}"/>
"#
    )
}

/// A time in the form of Apple's exports, to the second.
fn apple_date(number: u64) -> String {
    let moment = FIRST_MEASURED + Duration::seconds(i64::try_from(number).unwrap_or_default());
    let (date, time) = (moment.date(), moment.time());
    format!("{date} {:02}:{:02}:{:02} +0000", time.hour(), time.minute(), time.second())
}

fn measured(number: u64) -> String {
    let moment = FIRST_MEASURED + Duration::microseconds(i64::try_from(number).unwrap_or_default());
    let (date, time) = (moment.date(), moment.time());
    format!("{date}T{:02}:{:02}:{:02}.{:06}Z", time.hour(), time.minute(), time.second(), time.microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_payload_is_of_the_stated_size() {
        for number in [0, 7, 999_999] {
            for (payload, from, to) in [(glucose_xml(1, number), 650, 850), (fhir_xml(1, number), 950, 1_250)] {
                assert!((from..to).contains(&payload.body.len()), "{} bytes", payload.body.len());
            }
        }
    }

    #[test]
    fn every_payload_in_json_is_json_of_the_stated_size() {
        for number in [0, 7, 999_999] {
            for (payload, from, to) in [
                (glucose(1, number), 560, 700),
                (blood_pressure(1, number), 600, 800),
                (fhir(1, number), 950, 1_250),
                (healthkit(1, number, 3), 800, 1_200),
                (health_auto_export(number, 3), 300, 450),
            ] {
                assert!(serde_json::from_str::<serde_json::Value>(&payload.body).is_ok(), "{}", payload.body);
                assert!((from..to).contains(&payload.body.len()), "{} bytes", payload.body.len());
            }
        }
    }

    #[test]
    fn every_payload_has_its_own_microsecond() {
        assert_eq!(measured(0), "2026-03-01T08:00:00.000000Z");
        assert_eq!(measured(61_000_007), "2026-03-01T08:01:01.000007Z");
    }
}
