use std::{collections::BTreeSet, path::Path};

use schemas::{
    format::{Format, RawTopic},
    rejection::Reason,
};

use super::{
    files::{names, normalized, read},
    folder::folder,
};
use crate::{record::reasons, xml::assert_same};

const FOLDERS: [&str; 5] = [
    "fhir-test-cases/good",
    "fhir-test-cases/invalid-fhir",
    "fhir-test-cases/malformed",
    "hl7-fhir-r4-examples/json",
    "hl7-phd",
];

/// Path, number of readings, and the reason of each refused item.
const FILES: &[(&str, usize, &[Reason])] = &[
    ("fhir-test-cases/good/Observation-bp-1.json", 1, &[]),
    ("fhir-test-cases/good/PulseOxBundle_25Oct2022.json", 2, &[]),
    ("fhir-test-cases/good/bundle-good.json", 0, &[Reason::Empty]),
    ("fhir-test-cases/good/bundle-urn.json", 0, &[Reason::NotAReading; 4]),
    ("fhir-test-cases/good/json-good.json", 0, &[Reason::NotAReading]),
    ("fhir-test-cases/good/obs-decimal.json", 1, &[]),
    ("fhir-test-cases/good/obs-percent.json", 1, &[]),
    ("fhir-test-cases/good/obs-temp.json", 1, &[]),
    ("fhir-test-cases/good/obs-vital-signs-mdc.json", 1, &[]),
    ("fhir-test-cases/good/obs-vs-2.json", 1, &[]),
    ("fhir-test-cases/good/r4-observation-decimal.json", 1, &[]),
    ("fhir-test-cases/invalid-fhir/attachment-with-invalid-binary.json", 0, &[Reason::NotAReading]),
    ("fhir-test-cases/invalid-fhir/bundle-duplicate-id.json", 0, &[Reason::Empty]),
    ("fhir-test-cases/invalid-fhir/obs-hgvs-bad.json", 1, &[]),
    ("fhir-test-cases/invalid-fhir/obs-quantity.json", 0, &[Reason::Incomplete]),
    ("fhir-test-cases/invalid-fhir/obs-value-max-g.json", 1, &[]),
    ("fhir-test-cases/malformed/bad-json-close-2.json", 0, &[Reason::Malformed]),
    ("fhir-test-cases/malformed/json-comma-bad-1.json", 0, &[Reason::Malformed]),
    ("fhir-test-cases/malformed/json-comments-1.json", 0, &[Reason::Malformed]),
    ("fhir-test-cases/malformed/json-no-quotes-1.json", 0, &[Reason::Malformed]),
    ("fhir-test-cases/malformed/list-contained-bad.json", 0, &[Reason::NotAReading]),
    ("fhir-test-cases/malformed/list-xhtml-xxe.json", 0, &[Reason::NotAReading]),
    ("fhir-test-cases/malformed/xml-bad-entities.json", 0, &[Reason::Malformed]),
    ("hl7-fhir-r4-examples/json/bundle-example.json", 0, &[Reason::NotAReading; 2]),
    ("hl7-fhir-r4-examples/json/bundle-response.json", 0, &[Reason::NotAReading]),
    ("hl7-fhir-r4-examples/json/bundle-transaction.json", 0, &[Reason::NotAReading]),
    ("hl7-fhir-r4-examples/json/device-example-f001-feedingtube.json", 0, &[Reason::NotAReading]),
    ("hl7-fhir-r4-examples/json/devicemetric-example.json", 0, &[Reason::NotAReading]),
    ("hl7-fhir-r4-examples/json/diagnosticreport-example-f001-bloodexam.json", 0, &[Reason::NotAReading; 2]),
    ("hl7-fhir-r4-examples/json/message-response-link.json", 0, &[Reason::Empty]),
    ("hl7-fhir-r4-examples/json/observation-decimal.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example-10minute-apgar-score.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example-bloodpressure-dar.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example-bloodpressure.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example-bmi-using-related.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example-body-length.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example-date-lastmp.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example-f202-temperature.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example-heart-rate.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example-mbp.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example-sample-data.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example-spirometry.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example-vitals-panel.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/observation-example.json", 1, &[]),
    ("hl7-fhir-r4-examples/json/parameters-example.json", 0, &[Reason::NotAReading]),
    ("hl7-phd/bits-1.0.0.40.json", 1, &[]),
    ("hl7-phd/bundle-continuousnonin.json", 47, &[]),
    ("hl7-phd/coin-20181119174911.json", 1, &[]),
    ("hl7-phd/coin-fault20.json", 1, &[]),
    ("hl7-phd/nan-1.0.0.42.json", 1, &[]),
    ("hl7-phd/phd-00601900010E9234.F45EABA80832.json", 0, &[Reason::NotAReading]),
    ("hl7-phd/phd-74E8FFFEFF051C00.001C05FFE874.json", 0, &[Reason::NotAReading]),
    ("hl7-phd/rtsa-1234.json", 1, &[]),
    ("hl7-phd/spotnumeric-1.0.0.3.json", 1, &[]),
];

/// The same for the files in XML, except those of HL7 whose content is the same as that of their counterparts in JSON.
const XML_FILES: &[(&str, usize, &[Reason])] = &[
    ("fhir-test-cases/good/bundle-good.xml", 0, &[Reason::Empty]),
    ("fhir-test-cases/good/observation-bp-localcode.xml", 1, &[]),
    ("fhir-test-cases/good/observation-triglyceride-good.xml", 1, &[]),
    ("fhir-test-cases/good/observation-ucum.xml", 1, &[]),
    ("fhir-test-cases/good/observation301.xml", 1, &[]),
    ("fhir-test-cases/good/r4-observation-decimal.xml", 1, &[]),
    ("fhir-test-cases/good/r4-observation-example-20minute-apgar-score.xml", 1, &[]),
    ("fhir-test-cases/invalid-fhir/bundle-bad-by-param.xml", 0, &[Reason::Empty]),
    ("fhir-test-cases/invalid-fhir/duplicate-security-tags.xml", 0, &[Reason::NotAReading]),
    ("fhir-test-cases/invalid-fhir/logicalxml-nonamespace.xml", 0, &[Reason::UnexpectedShape]),
    ("fhir-test-cases/invalid-fhir/observation-bad-profile.xml", 0, &[Reason::NotAReading]),
    ("fhir-test-cases/invalid-fhir/observation-bp-profile-twocodesrequired.xml", 0, &[Reason::NotAReading]),
    ("fhir-test-cases/invalid-fhir/observation-cholesterol-bad-referencerangehighfixedquantitywrong.xml", 1, &[]),
    ("fhir-test-cases/invalid-fhir/observation-cholesterol-bad-wrongcode.xml", 1, &[]),
    ("fhir-test-cases/invalid-fhir/xhtml-ctrl-lang-two.xml", 0, &[Reason::NotAReading]),
    ("fhir-test-cases/malformed/japanese-utf8.xml", 0, &[Reason::Malformed]),
    ("fhir-test-cases/malformed/list-xhtml-xxe2.xml", 0, &[Reason::Malformed]),
    ("fhir-test-cases/malformed/xml-bad-entities.xml", 0, &[Reason::Malformed]),
];

/// HL7's own pair writes its decimals differently in JSON (`1.0`) and in XML (`1.0e0`).
const REWRITTEN: &str = "observation-decimal.xml";

fn is_xml(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "xml")
}

#[test]
fn each_file_gives_the_expected_readings() {
    if folder().is_none() {
        return;
    }
    for topic in [RawTopic::Medisante, RawTopic::HealthKit] {
        for (file, count, refused) in FILES.iter().chain(XML_FILES) {
            let body = read(file).unwrap();
            let format = if is_xml(file) { Format::FhirXml } else { Format::FhirJson };
            let found = normalized(topic, format, &body, None);
            let reasons = reasons(&found);
            assert_eq!((found.readings.len(), reasons.as_slice()), (*count, *refused), "{file}");
        }
    }
}

#[test]
fn an_example_gives_the_same_readings_in_json_and_xml() {
    let Some(files) = names("hl7-fhir-r4-examples/xml", ".xml") else { return };
    let counterparts: BTreeSet<String> = files.iter().map(|file| file.replace(".xml", ".json")).collect();
    assert_eq!(Some(counterparts), names("hl7-fhir-r4-examples/json", ".json"));
    for file in files.into_iter().filter(|file| file != REWRITTEN) {
        let of = |folder: &str, format: Format, name: &str| {
            let body = read(&format!("hl7-fhir-r4-examples/{folder}/{name}")).unwrap();
            normalized(RawTopic::Medisante, format, &body, None)
        };
        let json = of("json", Format::FhirJson, &file.replace(".xml", ".json"));
        assert_same(&file, &json, &of("xml", Format::FhirXml, &file));
    }
}

#[test]
fn a_gateway_upload_has_the_meter_the_hub_and_the_loinc_code() {
    let Some(body) = read("hl7-phd/spotnumeric-1.0.0.3.json") else { return };
    let found = normalized(RawTopic::Medisante, Format::FhirJson, &body, None);
    let reading = &found.readings[0];
    assert_eq!(reading.code.code, "8867-4");
    assert_eq!(reading.source_codes[0].code, "149530");
    assert_eq!(reading.device.as_ref().unwrap().id.as_str(), "phd-74E8FFFEFF051C00.001C05FFE874");
    assert_eq!(reading.gateway.as_ref().unwrap().id.as_str(), "phg-ecde3d4e58532d31.000000000000");
}

#[test]
fn readings_of_a_bundle_have_different_ids() {
    let Some(body) = read("hl7-phd/bundle-continuousnonin.json") else { return };
    let found = normalized(RawTopic::Medisante, Format::FhirJson, &body, None);
    let ids: BTreeSet<_> = found.readings.iter().map(|reading| reading.reading_id).collect();
    assert_eq!(ids.len(), found.readings.len());
}

#[test]
fn every_file_is_tested() {
    if folder().is_none() {
        return;
    }
    for (files, suffix) in [(FILES, ".json"), (XML_FILES, ".xml")] {
        let known: BTreeSet<String> = files.iter().map(|(file, ..)| (*file).to_owned()).collect();
        let found = FOLDERS
            .iter()
            .flat_map(|folder| names(folder, suffix).unwrap().into_iter().map(move |name| format!("{folder}/{name}")));
        assert_eq!(found.collect::<BTreeSet<String>>(), known);
    }
}
