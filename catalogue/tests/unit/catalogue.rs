use std::collections::HashSet;

use catalogue::decimal::{Conversion, Decimal};
use catalogue::{
    self, Accepted, Catalogue, CodeUnit, CodedValue, HEALTHKIT, LOINC, MDC, MEDISANTE, Measured, Metric, SNOMED, UCUM,
    UnitError, ValueKind, Vocabulary,
};
use num_bigint::BigInt;
use proptest::prelude::*;
use schemas::format::Defaults;

use super::facts::{METRICS, UNITS};

fn measure(key: &str, value: &str, unit: &str) -> Result<Measured, UnitError> {
    let metric = catalogue::metric_by_key(key).unwrap_or_else(|| panic!("no metric {key}"));
    metric.measure(&Decimal::parse(value).ok().unwrap(), unit)
}

/// Code, unit, value and whether it was rounded.
fn canonical(key: &str, value: &str, unit: &str) -> (String, String, String, bool) {
    let Measured { code, value, rounded, .. } =
        measure(key, value, unit).unwrap_or_else(|error| panic!("{key}: {error}"));
    (code.code().into(), code.unit().unwrap().into(), value, rounded)
}

fn expected(code: &str, unit: &str, value: &str, rounded: bool) -> (String, String, String, bool) {
    (code.into(), unit.into(), value.into(), rounded)
}

#[test]
fn the_catalogue_passes_its_own_check() {
    if let Err(error) = catalogue::check() {
        panic!("{error}");
    }
    assert!(catalogue::metrics().len() > 200);
    assert_eq!(UCUM, "http://unitsofmeasure.org");
}

#[test]
fn values_are_converted_to_the_unit_of_their_code() {
    assert_eq!(
        canonical("body_height", "66.89999999999999", "[in_i]"),
        expected("8302-2", "cm", "169.9259999999999746", false)
    );
    assert_eq!(
        canonical("systolic_blood_pressure", "16400", "Pa"),
        expected("8480-6", "mm[Hg]", "123.010455888751", true)
    );
    assert_eq!(canonical("body_temperature", "97", "degF"), expected("8310-5", "Cel", "36.1111111111111", true));
    assert_eq!(canonical("body_temperature", "98.6", "°F"), expected("8310-5", "Cel", "37", false));
    assert_eq!(canonical("body_weight", "1.50", "kg"), expected("29463-7", "kg", "1.50", false));
    assert_eq!(canonical("body_weight", "73500", "g"), expected("29463-7", "kg", "73.5", false));
    assert_eq!(canonical("body_weight", "185", "lbs"), expected("29463-7", "kg", "83.91458845", false));
    assert_eq!(canonical("oxygen_saturation", "0.98", "1"), expected("2708-6", "%", "98", false));
    assert_eq!(canonical("oxygen_saturation", "98", "%"), expected("2708-6", "%", "98", false));
    assert_eq!(canonical("heart_rate", "72", "{beat}/min"), expected("8867-4", "/min", "72", false));
    assert_eq!(canonical("heart_rate", "72", "BPM"), expected("8867-4", "/min", "72", false));
    assert_eq!(canonical("body_mass_index", "23.1", "count"), expected("39156-5", "kg/m2", "23.1", false));
    assert_eq!(canonical("step_count", "66", "count"), expected("55423-8", "{steps}", "66", false));
    assert_eq!(
        canonical("active_energy_burned", "0.7685677437484512", "kJ"),
        expected("41981-2", "kcal", "0.183692099366265", true)
    );
    assert_eq!(canonical("vo2_max", "41.2", "mL/min·kg").2, "41.2");
    assert_eq!(canonical("heart_rate_variability_sdnn", "0.4223", "s"), expected("80404-7", "ms", "422.3", false));
}

#[test]
fn mass_and_substance_concentration_are_not_converted_into_each_other() {
    assert_eq!(canonical("blood_glucose", "180", "mg/dL"), expected("2339-0", "mg/dL", "180", false));
    assert_eq!(canonical("blood_glucose", "5.5", "mmol/L"), expected("15074-8", "mmol/L", "5.5", false));
    for mass in ["180.1558800000541", "180.15588000005408", "180.1558"] {
        assert_eq!(canonical("blood_glucose", "5.5", &format!("mmol<{mass}>/L")).0, "15074-8");
        assert_eq!(canonical("blood_glucose", "5.5", &format!("mmol<{mass}>/l")).0, "15074-8");
    }
    assert_eq!(catalogue::ucum_of("mmol<180.1558"), None);
    assert_eq!(catalogue::ucum_of("mmol<180<1558>>/L"), None);
    assert_eq!(canonical("blood_glucose", "1.8", "g/L"), expected("2339-0", "mg/dL", "180", false));
    assert_eq!(canonical("uric_acid", "6.8", "mg/dL").0, "3084-1");
    assert_eq!(canonical("uric_acid", "400", "umol/L"), expected("14933-6", "mmol/L", "0.4", false));
    assert_eq!(canonical("cholesterol", "200", "mg/dL").0, "2093-3");
    assert_eq!(canonical("cholesterol", "5.2", "mmol/L").0, "14647-2");
    for metric in catalogue::metrics() {
        let properties: HashSet<_> = metric.codes().map(CodeUnit::property).collect();
        assert_eq!(properties.len(), metric.codes().count(), "{}: a property must select one pair", metric.key());
    }
}

#[test]
fn a_code_without_a_fixed_unit_accepts_each_of_its_units() {
    assert_eq!(canonical("body_water_mass", "41500", "g"), expected("188764", "kg", "41.5", false));
    assert_eq!(canonical("body_water_mass", "55.2", "%"), expected("188764", "%", "55.2", false));
    assert_eq!(measure("body_water_mass", "55", "L").err(), Some(UnitError::Inconvertible));
    assert_eq!(canonical("exercise_distance", "1.2", "km"), expected("8454247", "m", "1200", false));
    assert_eq!(canonical("exercise_distance", "900", "268800"), expected("8454247", "{steps}", "900", false));
}

#[test]
fn control_solutions_have_codes_of_their_own() {
    assert_eq!(canonical("glucose_control_solution", "100", "mg/dL"), expected("160208", "mg/dL", "100", false));
    assert_eq!(canonical("glucose_control_solution", "5.5", "mmol/L"), expected("160208", "mmol/L", "5.5", false));
    let key = |code| catalogue::metric_by_code(MDC, code).map(Metric::key);
    assert_eq!(key("160208"), Some("glucose_control_solution"));
    assert_eq!(key("160212"), Some("interstitial_glucose"));
    assert_eq!(key("160276"), Some("coagulation_control"));
    for code in catalogue::metric_by_key("glucose_control_solution").unwrap().codes() {
        assert_eq!(code.system(), MDC, "the LOINC codes of glucose are for samples of a patient");
    }
}

#[test]
fn a_code_belongs_to_one_metric() {
    let twice = METRICS.replacen("\"188760\"", "\"188764\"", 1);
    let refused = Catalogue::parse(&twice, UNITS).err().map(|error| error.to_string());
    assert_eq!(refused.as_deref(), Some("188764: two metrics have this code"));
}

#[test]
fn a_file_that_contradicts_itself_is_refused() {
    let fault = |line: &str, instead: &str| {
        assert!(METRICS.contains(line), "{line}");
        Catalogue::parse(&METRICS.replacen(line, instead, 1), UNITS).err().map(|error| error.to_string())
    };
    let (range, why) =
        ("range = [\"0.2\", \"700\"]\n", "why = \"smallest surviving newborn 212 g, heaviest human 635 kg\"\n");
    let no_quantity = Some("body_weight: a quantity needs a unit and a range, and no other metric has them");
    assert_eq!(fault(&[range, why].concat(), "").as_deref(), no_quantity);
    assert_eq!(fault(&["unit = \"kg\"\n", range].concat(), range).as_deref(), no_quantity);
    assert_eq!(fault(&[range, why].concat(), range).as_deref(), Some("body_weight: a range needs its reason"));
    assert_eq!(
        fault("react_native_health = \"[lb_av]\"", "react_native_health = \"lb\"").as_deref(),
        Some("body_weight: the default unit is not in units.toml")
    );
    let heart_rate = "\nunit = \"/min\"\nonly_unit = true";
    assert_eq!(
        fault(
            "[[metric.pair]]\nsystem = \"loinc\"\ncode = \"8867-4\"",
            "default_unit.react_native_health = \"/min\"\n[[metric.pair]]\nsystem = \"loinc\"\ncode = \"8867-4\""
        )
        .as_deref(),
        Some("heart_rate: a metric with one unit needs no default unit")
    );
    assert_eq!(fault(heart_rate, "\nunit = \"/min\"\nonly_unit = false"), None);
    assert_eq!(
        fault("unit = \"{steps}\"\n", "unit = \"{steps}\"\nonly_unit = true\n").as_deref(),
        Some("step_count: only_unit is redundant, because the accepted units imply it")
    );
    assert_eq!(
        fault("unit = \"mmol/L\"\n", "unit = \"mmol/L\"\nonly_unit = true\n").as_deref(),
        Some("blood_glucose: only_unit needs exactly one pair with a unit")
    );
}

/// Heart rates have `only_unit`. In the other metrics with one unit, all accepted units mean the same number.
#[test]
fn metrics_with_one_unit_need_no_unit_in_the_payload() {
    let only = |key: &str| catalogue::metric_by_key(key).unwrap().only_unit();
    for (key, unit) in
        [("heart_rate", "/min"), ("respiratory_rate", "/min"), ("step_count", "{steps}"), ("body_mass_index", "kg/m2")]
    {
        assert_eq!(only(key), Some(unit), "{key}");
    }
    for key in ["body_weight", "body_temperature", "blood_glucose", "systolic_blood_pressure", "oxygen_saturation"] {
        assert_eq!(only(key), None, "{key}");
    }
    for metric in catalogue::metrics().iter().filter(|metric| metric.only_unit().is_some()) {
        assert_eq!(metric.codes().count(), 1, "{}", metric.key());
        let is_same = metric.code().accepted().iter().all(|unit| unit.conversion().is_identity());
        assert!(is_same || metric.only_unit() == Some("/min"), "{}", metric.key());
    }
}

#[test]
fn unknown_and_inconvertible_units_are_distinguished() {
    assert_eq!(measure("body_weight", "70", "furlong").err(), Some(UnitError::Unknown));
    assert_eq!(measure("body_weight", "70", "").err(), Some(UnitError::Unknown));
    assert_eq!(measure("body_weight", "70", "{kg").err(), Some(UnitError::Unknown));
    assert_eq!(measure("body_weight", "70", &"k".repeat(500)).err(), Some(UnitError::Unknown));
    assert_eq!(measure("body_weight", "70", "cm").err(), Some(UnitError::Inconvertible));
    assert_eq!(measure("heart_rate", "70", "%").err(), Some(UnitError::Inconvertible));
    assert_eq!(measure("sleep_analysis", "70", "h").err(), Some(UnitError::Inconvertible));
    assert_eq!(measure("step_count", "70", "%").err(), Some(UnitError::Inconvertible));
}

#[test]
fn only_values_outside_the_possible_range_are_flagged() {
    for (key, value, unit, out) in [
        ("heart_rate", "0", "bpm", false),
        ("heart_rate", "400", "bpm", false),
        ("heart_rate", "400.0000000001", "bpm", true),
        ("heart_rate", "-1", "bpm", true),
        ("oxygen_saturation", "98", "1", true),
        ("oxygen_saturation", "1", "1", false),
        ("body_weight", "73500", "kg", true),
        ("body_weight", "73500", "g", false),
        ("body_fat_percentage", "0.165", "%", true),
        ("body_weight", "1e-400", "[lb_av]", true),
        ("distance_walking_running", "1e399", "km", true),
        ("environmental_sound_reduction", "16.97", "dBASPL", false),
        ("environmental_sound_reduction", "195", "dB(HL)", true),
        ("workout_effort_score", "5", "appleEffortScore", false),
    ] {
        assert_eq!(measure(key, value, unit).map(|measured| measured.out_of_range), Ok(out), "{key} {value} {unit}");
    }
}

#[test]
fn each_range_has_a_minimum_below_its_maximum_and_a_reason() {
    for metric in catalogue::metrics() {
        for code in metric.codes() {
            assert_eq!(code.range().is_some(), metric.kind() == ValueKind::Quantity, "{}", metric.key());
            let Some(range) = code.range() else { continue };
            assert!(range.min().cmp_value(range.max()).is_lt(), "{}", metric.key());
            assert!(range.why().len() > 3, "{}", metric.key());
        }
    }
    let weight = catalogue::metric_by_key("body_weight").unwrap().code().range().unwrap();
    assert_eq!(weight.why(), "smallest surviving newborn 212 g, heaviest human 635 kg");
}

#[test]
fn every_metric_is_found_by_each_of_its_spellings_and_codes() {
    for metric in catalogue::metrics() {
        for vocabulary in Vocabulary::ALL {
            for spelling in metric.spellings(vocabulary) {
                for spelling in [spelling.clone(), spelling.to_uppercase(), format!(" {spelling} ")] {
                    let found = catalogue::metric_by_spelling(vocabulary, &spelling).map(Metric::key);
                    assert_eq!(found, Some(metric.key()), "{spelling}");
                }
            }
        }
        let unnamed = Defaults::ALL.into_iter().filter_map(|defaults| metric.default_unit(defaults));
        for unit in unnamed.chain(metric.only_unit()) {
            assert!(metric.measure(&Decimal::parse("1").ok().unwrap(), unit).is_ok(), "{}", metric.key());
        }
        let own = metric.codes().map(|code| (code.system(), code.code()));
        for (system, code) in own.chain(metric.alternate_codes()) {
            let found = catalogue::metric_by_code(system, code).map(Metric::key);
            assert_eq!(found, Some(metric.key()), "{system} {code}");
        }
    }
}

#[test]
fn metrics_are_found_by_the_names_that_sources_use() {
    use Vocabulary::{HealthAutoExport, HealthKit, Medisante};
    for (vocabulary, spelling, key) in [
        (Medisante, "systolicBloodPressure", "systolic_blood_pressure"),
        (Medisante, "diastolicBloodPressure", "diastolic_blood_pressure"),
        (Medisante, "meanBloodPressure", "mean_blood_pressure"),
        (Medisante, "pulse", "heart_rate"),
        (Medisante, "bodyWeight", "body_weight"),
        (Medisante, "bodyComposition", "body_impedance"),
        (Medisante, "glucose", "blood_glucose"),
        (Medisante, "ambientTemperature", "ambient_temperature"),
        (Medisante, "hematocrit", "hematocrit"),
        (Medisante, "SPO2", "oxygen_saturation"),
        (Medisante, "temperature", "body_temperature"),
        (Medisante, "ketone", "blood_ketone"),
        (Medisante, "URICAcid", "uric_acid"),
        (Medisante, "cholesterol", "cholesterol"),
        (Medisante, "ecgReportBase64PDF", "ecg_report"),
        (HealthKit, "HKQuantityTypeIdentifierHeartRate", "heart_rate"),
        (HealthKit, "HeartRate", "heart_rate"),
        (HealthKit, "Weight", "body_weight"),
        (HealthKit, "Steps", "step_count"),
        (HealthKit, "Vo2Max", "vo2_max"),
        (HealthKit, "Cholesterol", "dietary_cholesterol"),
        (HealthKit, "BloodPressure", "blood_pressure"),
        (HealthKit, "HKCategoryTypeIdentifierSleepAnalysis", "sleep_analysis"),
        (HealthAutoExport, "step_count", "step_count"),
        (HealthAutoExport, "heart_rate", "heart_rate"),
        (HealthAutoExport, "active_energy", "active_energy_burned"),
        (HealthAutoExport, "basal_body_temperature", "basal_body_temperature"),
        (HealthAutoExport, "weight_body_mass", "body_weight"),
        (HealthAutoExport, "blood_pressure", "blood_pressure"),
        (HealthAutoExport, "walking_heart_rate", "walking_heart_rate_average"),
        (HealthAutoExport, "monosaturated_fat", "dietary_fat_monounsaturated"),
        (HealthAutoExport, "ecg", "electrocardiogram"),
        (HealthAutoExport, "stateOfMind", "state_of_mind"),
    ] {
        let metric = catalogue::metric_by_spelling(vocabulary, spelling).unwrap_or_else(|| panic!("{spelling}"));
        assert_eq!(metric.key(), key);
    }
    assert!(catalogue::metric_by_spelling(Medisante, "HeartRateish").is_none());
    assert!(catalogue::metric_by_spelling(HealthKit, &"x".repeat(1000)).is_none());
}

#[test]
fn metrics_are_found_by_the_codes_in_fhir_resources() {
    for (system, code, key) in [
        (LOINC, "3141-9", "body_weight"),
        (LOINC, "59408-5", "oxygen_saturation"),
        (LOINC, "55284-4", "blood_pressure"),
        (LOINC, "15074-8", "blood_glucose"),
        (LOINC, "41653-7", "blood_glucose"),
        (MDC, "150456", "oxygen_saturation"),
        ("urn:oid:2.16.840.1.113883.6.24", "150020", "blood_pressure"),
        (SNOMED, "27113001", "body_weight"),
        (HEALTHKIT, "HKQuantityTypeIdentifierHeartRate", "heart_rate"),
        (MEDISANTE, "bodyComposition", "body_impedance"),
    ] {
        assert_eq!(catalogue::metric_by_code(system, code).map(Metric::key), Some(key), "{code}");
    }
    assert!(catalogue::metric_by_code(LOINC, "1-8").is_none());
    assert!(catalogue::metric_by_code("http://example.org", "8867-4").is_none());
}

#[test]
fn the_blood_pressure_panel_has_three_components() {
    let panel = catalogue::metric_by_code(LOINC, "85354-9").unwrap();
    assert_eq!(panel.kind(), ValueKind::Panel);
    let components: Vec<_> = panel.components().map(|metric| metric.code().code()).collect();
    assert_eq!(components, ["8480-6", "8462-4", "8478-0"]);
}

#[test]
fn sleep_values_are_found_by_each_spelling() {
    let sleep = catalogue::metric_by_key("sleep_analysis").unwrap();
    for word in ["INBED", "ASLEEP", "CORE", "DEEP", "REM", "AWAKE", "HKCategoryValueSleepAnalysisAsleepREM", "In Bed"] {
        assert!(sleep.coded_value(word).is_some(), "{word}");
    }
    assert!(sleep.coded_value("UNKNOWN").is_none());
    assert_eq!(sleep.coded_value("deep").map(CodedValue::code), Some("HKCategoryValueSleepAnalysisAsleepDeep"));
    for metric in catalogue::metrics() {
        let mut seen = HashSet::new();
        for value in metric.coded_values() {
            for spelling in value.spellings() {
                assert!(seen.insert(spelling.to_lowercase()), "{spelling}");
            }
        }
    }
}

#[test]
fn category_values_are_found_by_name_by_word_and_by_number() {
    for (metric, words, code) in [
        ("headache", ["HKCategoryValueSeverityMild", "mild", "2"], "HKCategoryValueSeverityMild"),
        ("mood_changes", ["HKCategoryValuePresencePresent", "Present", "0"], "HKCategoryValuePresencePresent"),
        ("apple_stand_hour", ["HKCategoryValueAppleStandHourIdle", "Idle", "1"], "HKCategoryValueAppleStandHourIdle"),
        (
            "menstrual_flow",
            ["HKCategoryValueMenstrualFlowHeavy", "HKCategoryValueVaginalBleedingHeavy", "4"],
            "HKCategoryValueVaginalBleedingHeavy",
        ),
    ] {
        let metric = catalogue::metric_by_key(metric).unwrap();
        for word in words {
            assert_eq!(metric.coded_value(word).map(CodedValue::code), Some(code), "{word}");
        }
        assert!(metric.coded_value("9").is_none());
    }
}

#[test]
fn units_are_found_by_each_spelling() {
    for (spelling, ucum) in [
        ("mmHg", "mm[Hg]"),
        ("mm[Hg]", "mm[Hg]"),
        ("bpm", "/min"),
        ("count/min", "/min"),
        ("{Beats}/min", "/min"),
        ("{score}", "1"),
        ("°C", "Cel"),
        ("degC", "Cel"),
        ("lb", "[lb_av]"),
        ("KG", "kg"),
        ("mg/dl", "mg/dL"),
        ("Ω", "Ohm"),
        ("\u{2126}", "Ohm"),
        ("\u{b5}g", "ug"),
        ("mS", "mS"),
        ("ms", "ms"),
        ("S", "S"),
        ("s", "s"),
        ("Cal", "kcal"),
        ("cal", "cal"),
        ("spm", "/min"),
        ("kmph", "km/h"),
        ("MET", "[MET]"),
        ("fl_oz_imp", "[foz_br]"),
        (" % ", "%"),
        ("mg{a}{b}", "mg"),
        ("{a}mg{b}/dL", "mg/dL"),
        ("mmol<180.1558800000541>/L", "mmol/L"),
        ("262688", "%"),
    ] {
        assert_eq!(catalogue::ucum_of(spelling), Some(ucum), "{spelling}");
    }
    for unknown in [
        "Mg",
        "CAL",
        "MS",
        "}{",
        "{a{b}}",
        "{a{b}c}mg",
        "{a{b}mg",
        "{a}mg}",
        "mg{a",
        "mg{a}b}",
        "{a}smoots",
        "mmol<1/L",
        "smoots",
    ] {
        assert_eq!(catalogue::ucum_of(unknown), None, "{unknown}");
    }
    assert_eq!(catalogue::ucum_of_apple("%"), Some("1"));
    assert_eq!(catalogue::ucum_of_apple("mmHg"), Some("mm[Hg]"));
}

#[test]
fn every_accepted_unit_converts_there_and_back() {
    for metric in catalogue::metrics() {
        for code in metric.codes() {
            for accepted in code.accepted() {
                let back = accepted.conversion().inverse().unwrap();
                assert_eq!(accepted.conversion().then(&back), Some(Conversion::IDENTITY), "{}", metric.key());
            }
            assert_eq!(code.accepted().first().map(Accepted::ucum), code.unit());
        }
    }
}

proptest! {
    #[test]
    fn conversions_are_exact_or_reported_as_rounded(
        text in "-?[0-9]{1,12}(\\.[0-9]{1,16})?",
        metric in any::<proptest::sample::Index>(),
        unit in any::<proptest::sample::Index>(),
    ) {
        let quantities: Vec<_> =
            catalogue::metrics().iter().filter(|metric| metric.kind() == ValueKind::Quantity).collect();
        let metric = quantities[metric.index(quantities.len())];
        let accepted: Vec<_> = metric.codes().flat_map(CodeUnit::accepted).collect();
        let accepted = accepted[unit.index(accepted.len())];
        let value = Decimal::parse(&text).ok().unwrap();
        let (factor, shift, divisor) = accepted.conversion().parts();
        let exact = (value.to_rational() * BigInt::from(factor) + BigInt::from(shift)) / BigInt::from(divisor);
        let measured = metric.measure(&value, accepted.ucum()).ok().unwrap();
        let result = Decimal::parse(&measured.value).ok().unwrap().to_rational();
        prop_assert_eq!(measured.rounded, result != exact);
    }
}
