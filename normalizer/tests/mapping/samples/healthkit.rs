use std::collections::BTreeSet;

use catalogue::{Vocabulary, metric_by_spelling};
use schemas::{
    event::{Flag, Reading, Value},
    format::{Format, RawTopic},
    rejection::Reason,
};

use crate::record::reasons;

use super::{
    files::{names, normalized, read},
    folder::folder,
};

const FOLDER: &str = "react-native-health/json";

/// Name, type, number of readings, and the first value with its unit, which is the one that the library documents.
const QUANTITIES: &[(&str, &str, usize, &str)] = &[
    ("getActiveEnergyBurned", "ActiveEnergyBurned", 1, "123 kcal"),
    ("getAppleStandTime", "AppleStandTime", 1, "2.05 min"),
    ("getBloodGlucoseSamples", "BloodGlucose", 1, "5.7 mmol/L"),
    ("getBodyFatPercentageSamples", "BodyFatPercentage", 3, "16.5 %"),
    ("getCarbohydratesSamples", "Carbohydrates", 1, "8 g"),
    ("getDailyDistanceSwimmingSamples", "DistanceSwimming", 1, "91.44 m"),
    ("getDailyFlightsClimbedSamples", "FlightsClimbed", 1, "5 1"),
    ("getDailyStepCountSamples", "HKQuantityTypeIdentifierStepCount", 1, "3978 {steps}"),
    ("getDistanceSwimming", "DistanceSwimming", 1, "20.03 m"),
    ("getEnergyConsumedSamples", "EnergyConsumed", 1, "204.5 kcal"),
    ("getFiberSamples", "Fiber", 1, "39 g"),
    ("getHeadphoneAudioExposure", "HeadphoneAudioExposure", 2, "61.412803649902344 dB[SPL]"),
    ("getHeartRateSamples", "HeartRate", 2, "74.02 /min"),
    ("getHeartRateVariabilitySamples", "HeartRateVariability", 1, "422.3 ms"),
    ("getHeightSamples", "Height", 2, "188.0108 cm"),
    ("getLatestBloodAlcoholContent", "BloodAlcoholContent", 1, "0.1 %"),
    ("getLatestBodyFatPercentage", "BodyFatPercentage", 1, "20 %"),
    ("getLatestLeanBodyMass", "LeanBodyMass", 1, "79.83225712 kg"),
    ("getLatestWaistCircumference", "WaistCircumference", 1, "99.06 cm"),
    ("getLeanBodyMassSamples", "LeanBodyMass", 3, "72.5747792 kg"),
    ("getOxygenSaturationSamples", "OxygenSaturation", 4, "98 %"),
    ("getProteinSamples", "Protein", 1, "39 g"),
    ("getRestingHeartRateSamples", "RestingHeartRate", 1, "74 /min"),
    ("getStepCount", "StepCount", 1, "213 {steps}"),
    ("getVo2MaxSamples", "Vo2Max", 1, "2 mL/kg/min"),
    ("getWalkingHeartRateAverage", "WalkingHeartRateAverage", 2, "77 /min"),
    ("getWaterSamples", "Water", 1, "0.6 L"),
    ("getWeightSamples", "Weight", 3, "72.5747792 kg"),
];

/// Samples whose value is not a single number.
const SHAPES: &[(&str, &str)] = &[("getBloodPressureSamples", "BloodPressure"), ("getSleepSamples", "SleepAnalysis")];

/// Files without readings.
const CHARACTERISTICS: &[(&str, &str)] =
    &[("getBiologicalSex", "BiologicalSex"), ("getBloodType", "BloodType"), ("getDateOfBirth", "DateOfBirth")];

fn readings(file: &str, kind: &str) -> Vec<Reading> {
    let Some(body) = read(&format!("{FOLDER}/{file}.json")) else { return Vec::new() };
    let normalized = normalized(RawTopic::HealthKit, Format::StandardJson, &body, Some(kind));
    assert!(normalized.rejections.is_empty(), "{file}: {}", normalized.rejections[0].detail);
    normalized.readings
}

fn quantity(value: &Value) -> String {
    let Value::Quantity(quantity) = value else { panic!("the value is not a quantity") };
    format!("{} {}", quantity.value, quantity.unit)
}

#[test]
fn quantities_have_the_documented_units() {
    if folder().is_none() {
        return;
    }
    for (file, kind, count, first) in QUANTITIES {
        let readings = readings(file, kind);
        assert_eq!(readings.len(), *count, "{file}");
        assert_eq!(quantity(&readings[0].value), *first, "{file}");
        let metric = metric_by_spelling(Vocabulary::HealthKit, kind).unwrap();
        let has_one_unit = metric.only_unit().is_some();
        assert!(readings.iter().all(|reading| reading.flags.contains(&Flag::DefaultUnit) != has_one_unit), "{file}");
    }
}

#[test]
fn a_blood_pressure_is_a_panel_and_sleep_is_coded() {
    if folder().is_none() {
        return;
    }
    let panels = readings("getBloodPressureSamples", "BloodPressure");
    let parts: Vec<String> = panels[0].components.iter().map(|part| quantity(&part.value)).collect();
    assert_eq!((panels.len(), parts), (2, vec!["120 mm[Hg]".to_owned(), "81 mm[Hg]".to_owned()]));
    let sleep = readings("getSleepSamples", "SleepAnalysis");
    let Value::Coded(coded) = &sleep[0].value else { panic!("the value is not coded") };
    assert_eq!((sleep.len(), coded.coding.code.as_ref()), (1, "HKCategoryValueSleepAnalysisInBed"));
}

#[test]
fn characteristics_are_refused_and_no_type_is_guessed() {
    if folder().is_none() {
        return;
    }
    for (file, kind) in CHARACTERISTICS {
        let body = read(&format!("{FOLDER}/{file}.json")).unwrap();
        let found = normalized(RawTopic::HealthKit, Format::StandardJson, &body, Some(kind));
        assert!(found.readings.is_empty(), "{file}");
        assert!(found.rejections.iter().all(|refused| refused.reason == Reason::NotAReading), "{file}");
    }
    for (file, _, count, _) in QUANTITIES {
        let body = read(&format!("{FOLDER}/{file}.json")).unwrap();
        let found = normalized(RawTopic::HealthKit, Format::StandardJson, &body, None);
        assert_eq!((found.readings.len(), reasons(&found)), (0, vec![Reason::TypeMissing; *count]), "{file}");
    }
}

#[test]
fn every_file_is_tested() {
    let Some(found) = names(FOLDER, ".json") else { return };
    let quantities = QUANTITIES.iter().map(|(file, ..)| *file);
    let others = SHAPES.iter().chain(CHARACTERISTICS).map(|(file, _)| *file);
    let known: BTreeSet<String> = quantities.chain(others).map(|file| format!("{file}.json")).collect();
    assert_eq!(found, known);
}
