//! Checks that everything that the sources are known to send is in the catalogue.

use std::collections::BTreeSet;

use catalogue::{self, HEALTHKIT, LOINC, MDC, Metric, ValueKind, Vocabulary, metric_by_code, metric_by_spelling};
use serde_json::Value;

use super::samples::folder;

/// The vital signs of FHIR R4 (vital-signs profiles, tables "required codes" and "other recommended codes"), each with a unit that
/// a profile prescribes. Their metrics are the members of LOINC 85353-1.
const VITAL_SIGNS: [(&str, &str, &str); 17] = [
    ("9279-1", "respiratory_rate", "/min"),
    ("8867-4", "heart_rate", "/min"),
    ("2708-6", "oxygen_saturation", "%"),
    ("59408-5", "oxygen_saturation", "%"),
    ("8310-5", "body_temperature", "Cel"),
    ("8310-5", "body_temperature", "[degF]"),
    ("8302-2", "body_height", "cm"),
    ("8306-3", "body_height", "[in_i]"),
    ("9843-4", "head_circumference", "cm"),
    ("8287-5", "head_circumference", "[in_i]"),
    ("29463-7", "body_weight", "kg"),
    ("3141-9", "body_weight", "[lb_av]"),
    ("3141-9", "body_weight", "g"),
    ("39156-5", "body_mass_index", "kg/m2"),
    ("8480-6", "systolic_blood_pressure", "mm[Hg]"),
    ("8462-4", "diastolic_blood_pressure", "mm[Hg]"),
    ("8478-0", "mean_blood_pressure", "mm[Hg]"),
];

/// The codes that devices of the specializations ISO/IEEE 11073-104xx send, each with its metric.
const DEVICES: [(&str, &str); 194] = [
    // 10404 pulse oximeter
    ("149514", "heart_rate"),
    ("149530", "heart_rate"),
    ("149568", "pulse_interval"),
    ("150320", "pulsatile_quality"),
    ("150324", "oxygen_saturation"),
    ("150448", "peripheral_perfusion_index"),
    ("150452", "plethysmogram"),
    ("150456", "oxygen_saturation"),
    ("150604", "pulse_oximeter_status"),
    ("150605", "pulsatile_characteristic"),
    ("184322", "pulsatile_occurrence"),
    // 10406 basic electrocardiograph
    ("131328", "electrocardiogram"),
    ("131329", "electrocardiogram_lead_i"),
    ("131330", "electrocardiogram_lead_ii"),
    ("131331", "electrocardiogram_lead_v1"),
    ("131332", "electrocardiogram_lead_v2"),
    ("131333", "electrocardiogram_lead_v3"),
    ("131334", "electrocardiogram_lead_v4"),
    ("131335", "electrocardiogram_lead_v5"),
    ("131336", "electrocardiogram_lead_v6"),
    ("131389", "electrocardiogram_lead_iii"),
    ("131390", "electrocardiogram_lead_avr"),
    ("131391", "electrocardiogram_lead_avl"),
    ("131392", "electrocardiogram_lead_avf"),
    ("147240", "rr_interval"),
    ("147842", "heart_rate"),
    ("184327", "heart_rhythm"),
    ("8410584", "electrocardiograph_status"),
    ("8410590", "instantaneous_heart_rate"),
    // 10407 blood pressure monitor
    ("149546", "heart_rate"),
    ("150020", "blood_pressure"),
    ("150021", "systolic_blood_pressure"),
    ("150022", "diastolic_blood_pressure"),
    ("150023", "mean_blood_pressure"),
    ("8410608", "blood_pressure_status"),
    // 10408 thermometer
    ("150364", "body_temperature"),
    ("150392", "tympanic_temperature"),
    ("188420", "rectal_temperature"),
    ("188424", "oral_temperature"),
    ("188428", "tympanic_temperature"),
    ("188432", "finger_temperature"),
    ("188448", "toe_temperature"),
    ("188452", "axillary_temperature"),
    ("188456", "gastrointestinal_temperature"),
    ("188508", "ambient_temperature"),
    // 10415 weighing scale
    ("188736", "body_weight"),
    ("188740", "body_height"),
    ("188752", "body_mass_index"),
    // 10417 glucose meter
    ("160020", "blood_glucose"),
    ("160184", "blood_glucose"),
    ("160188", "blood_glucose"),
    ("160192", "blood_glucose"),
    ("160196", "blood_glucose"),
    ("160200", "blood_glucose"),
    ("160204", "blood_glucose"),
    ("160208", "glucose_control_solution"),
    ("160220", "hemoglobin_a1c"),
    ("160364", "blood_glucose"),
    ("160368", "blood_glucose"),
    ("8417752", "glucose_meter_status"),
    ("8417760", "glucose_exercise_intensity"),
    ("8417764", "dietary_carbohydrates"),
    ("8417768", "carbohydrates_breakfast"),
    ("8417772", "carbohydrates_lunch"),
    ("8417776", "carbohydrates_dinner"),
    ("8417780", "carbohydrates_snack"),
    ("8417784", "carbohydrates_drink"),
    ("8417788", "carbohydrates_supper"),
    ("8417792", "carbohydrates_brunch"),
    ("8417796", "medication_context"),
    ("8417800", "medication_rapid_acting"),
    ("8417804", "medication_short_acting"),
    ("8417808", "medication_intermediate_acting"),
    ("8417812", "medication_long_acting"),
    ("8417816", "medication_premixed"),
    ("8417820", "glucose_health_context"),
    ("8417844", "glucose_sample_location"),
    ("8417864", "glucose_meal_context"),
    ("8417884", "glucose_tester"),
    // 10418 coagulation meter
    ("160260", "inr"),
    ("160264", "prothrombin_time"),
    ("160268", "quick_value"),
    ("160272", "international_sensitivity_index"),
    ("160276", "coagulation_control"),
    ("8417909", "inr_meter_status"),
    ("8417924", "inr_tester"),
    // 10419 insulin pump
    ("8418288", "insulin_basal"),
    ("8418300", "insulin_basal_rate"),
    ("8418344", "insulin_bolus"),
    ("8418345", "insulin_bolus_fast"),
    ("8418346", "insulin_bolus_extended"),
    ("8418388", "insulin_reservoir"),
    ("8418400", "insulin_concentration"),
    ("8418412", "insulin_pump_operation"),
    ("8418444", "insulin_pump_status"),
    // 10420 body composition analyser
    ("188748", "body_fat_percentage"),
    ("188756", "lean_body_mass"),
    ("188760", "soft_lean_mass"),
    ("188764", "body_water_mass"),
    ("188780", "body_impedance"),
    // 10421 peak flow monitor, and spirometers
    ("151680", "vital_capacity"),
    ("152584", "peak_expiratory_flow_rate"),
    ("152585", "peak_flow_personal_best"),
    ("152586", "forced_expiratory_volume1"),
    ("152587", "forced_expiratory_volume6"),
    ("188928", "forced_vital_capacity"),
    ("188932", "slow_vital_capacity"),
    ("188936", "fev1_fev6_ratio"),
    ("188940", "forced_expiratory_volume_half"),
    ("188948", "fev1_fvc_ratio"),
    ("188960", "forced_expiratory_flow_25_75"),
    ("188964", "forced_expiratory_flow_25"),
    ("188968", "forced_expiratory_flow_50"),
    ("188972", "forced_expiratory_flow_75"),
    ("188976", "peak_inspiratory_flow"),
    ("188980", "forced_inspiratory_vital_capacity"),
    ("188984", "forced_inspiratory_volume1"),
    ("189000", "inspiratory_capacity"),
    ("189004", "expiratory_reserve_volume"),
    ("189008", "inspiratory_reserve_volume"),
    ("189016", "forced_expiratory_time"),
    ("8419328", "peak_flow_status"),
    // 10424 sleep apnoea breathing therapy equipment
    ("8410708", "therapy_flow_time"),
    ("8410712", "therapy_time"),
    ("8410716", "therapy_time_humidified"),
    ("8410720", "therapy_time_dry"),
    ("8410724", "snoring_time"),
    ("8410728", "cheyne_stokes_time"),
    ("8410788", "apnoea_hypopnoea_index"),
    ("8410792", "apnoea_hypopnoea_index_total"),
    ("8410796", "apnoea_hypopnoea_index_unclassified"),
    ("8410800", "apnoea_hypopnoea_index_obstructive"),
    ("8410804", "apnoea_hypopnoea_index_central"),
    ("8410888", "therapy_mode"),
    ("8410948", "therapy_pressure"),
    ("8410951", "therapy_pressure_mean"),
    ("8410955", "therapy_pressure_p50"),
    ("8410957", "therapy_pressure_p90"),
    ("8410958", "therapy_pressure_p95"),
    ("8410992", "respiratory_rate"),
    ("8411088", "therapy_leak"),
    ("8411091", "therapy_leak_mean"),
    ("8411095", "therapy_leak_p50"),
    ("8411097", "therapy_leak_p90"),
    ("8411098", "therapy_leak_p95"),
    // 10425 continuous glucose monitor
    ("160212", "interstitial_glucose"),
    ("8418008", "glucose_trend"),
    ("8418036", "glucose_sensor_calibration"),
    ("8418040", "glucose_sensor_run_time"),
    ("8418044", "glucose_sensor_interval"),
    ("8418060", "glucose_monitor_status"),
    // 10441 cardiovascular fitness and activity monitor
    ("8454244", "exercise_altitude_gain"),
    ("8454245", "exercise_altitude_loss"),
    ("8454246", "altitude"),
    ("8454247", "exercise_distance"),
    ("8454254", "exercise_speed"),
    ("8454255", "exercise_cadence"),
    ("8454256", "exercise_incline"),
    ("8454257", "maximum_heart_rate"),
    ("8454258", "heart_rate"),
    ("8454259", "exercise_power"),
    ("8454261", "exercise_stride"),
    ("8454263", "exercise_energy"),
    ("8454264", "dietary_energy_consumed"),
    ("8454265", "dietary_energy_carbohydrates"),
    ("8454267", "exercise_session"),
    ("8454268", "exercise_subsession"),
    ("8454269", "activity_time"),
    ("8456164", "respiratory_rate"),
    // 10442 strength equipment
    ("8454344", "exercise_set"),
    ("8454346", "exercise_repetitions"),
    ("8454347", "exercise_resistance"),
    ("8454348", "exercise_position"),
    ("8454349", "exercise_laterality"),
    ("8454350", "exercise_grip"),
    ("8454351", "exercise_movement"),
    // 10472 medication monitor
    ("8532992", "medication_dispensed"),
    ("8532993", "medication_amount_dispensed"),
    ("8532994", "medication_monitor_status"),
    ("8532995", "medication_feedback"),
    // any device
    ("67996", "battery_charge"),
    ("149522", "heart_rate"),
    ("149554", "heart_rate"),
    ("149562", "heart_rate"),
    ("151562", "respiratory_rate"),
    ("151570", "respiratory_rate"),
    ("151578", "respiratory_rate"),
    ("151594", "respiratory_rate"),
    ("151602", "respiratory_rate"),
    ("151650", "respiratory_rate"),
    ("151658", "respiratory_rate"),
    ("153856", "head_circumference"),
    ("188744", "body_surface_area"),
    ("8408608", "device_status"),
];

#[test]
fn the_catalogue_has_the_vital_signs_of_fhir() {
    for (code, key, unit) in VITAL_SIGNS {
        let metric = metric_by_code(LOINC, code).unwrap_or_else(|| panic!("{code}"));
        assert_eq!(metric.key(), key);
        assert!(takes(metric, unit), "{code} in {unit}");
    }
    let panel = metric_by_code(LOINC, "85353-1").unwrap();
    let members: BTreeSet<&str> = panel
        .components()
        .flat_map(|member| std::iter::once(member).chain(member.components()))
        .filter(|member| member.kind() != ValueKind::Panel)
        .map(Metric::key)
        .collect();
    assert_eq!(members, VITAL_SIGNS.iter().map(|(_, key, _)| *key).collect());
}

/// What Medisanté's devices send: each key with the units seen, none for values without a unit.
#[test]
fn the_catalogue_has_the_keys_of_medisante() {
    for (key, units) in [
        ("systolicBloodPressure", ["mmHg", "Pa"].as_slice()),
        ("diastolicBloodPressure", &["mmHg", "Pa"]),
        ("meanBloodPressure", &["mmHg", "Pa"]),
        ("pulse", &["bpm"]),
        ("bodyWeight", &["g", "kg"]),
        ("bodyComposition", &["Ω"]),
        ("glucose", &["mg/dL", "mmol/L"]),
        ("ambientTemperature", &["°C"]),
        ("hematocrit", &["%"]),
        ("SpO2", &["%"]),
        ("temperature", &["°C"]),
        ("ketone", &["mmol/L"]),
        ("uricacid", &["mg/dL"]),
        ("cholesterol", &["mg/dL"]),
        ("ecgSamples", &[]),
        ("ecgReportBase64PDF", &[]),
    ] {
        let metric = metric_by_spelling(Vocabulary::Medisante, key).unwrap_or_else(|| panic!("{key}"));
        assert!(units.iter().all(|unit| takes(metric, unit)), "{key}");
    }
}

#[test]
fn the_catalogue_has_the_types_of_healthkit_on_fhir() {
    let Some(mapping) = sample("healthkitonfhir/HKSampleMapping.json") else { return };
    let section = |name: &str| mapping[name].as_object().unwrap();
    let (quantities, categories) = (section("HKQuantitySamples"), section("HKCategorySamples"));
    assert_eq!((quantities.len(), categories.len()), (119, 68));
    let correlations = section("HKCorrelations");
    for (name, mapped) in quantities.iter().chain(categories).chain(correlations) {
        let metric = metric_by_spelling(Vocabulary::HealthKit, name).unwrap_or_else(|| panic!("{name}"));
        let known =
            mapped["codings"].as_array().unwrap().iter().filter_map(|coding| {
                metric_by_code(coding["system"].as_str().unwrap(), coding["code"].as_str().unwrap())
            });
        let known: BTreeSet<&str> = known.map(Metric::key).collect();
        // These two have the code of another type. Its unit does not fit, so their values are refused and not misread.
        let mistaken = match name.as_str() {
            "HKQuantityTypeIdentifierAtrialFibrillationBurden" => Some("apple_sleeping_wrist_temperature"),
            "HKQuantityTypeIdentifierCyclingSpeed" => Some("cycling_functional_threshold_power"),
            _ => None,
        };
        assert_eq!(known, BTreeSet::from([mistaken.unwrap_or(metric.key())]), "{name}");
        let unit = &mapped["unit"];
        for unit in ["code", "unit", "hkunit"].iter().filter_map(|way| unit[way].as_str()) {
            assert!(takes(metric, unit), "{name} in {unit}");
            assert!(
                mistaken.is_none_or(|key| !takes(catalogue::metric_by_key(key).unwrap(), unit)),
                "{name} in {unit}"
            );
        }
    }
    let documented = text("healthkitonfhir/SupportedHKCategoryTypes.md").unwrap();
    let mut names = 0;
    for name in documented.split("healthkit/").skip(1).filter_map(|rest| rest.split(')').next()) {
        if name.starts_with("HKCategoryTypeIdentifier") {
            assert!(metric_by_code(HEALTHKIT, name).is_some(), "{name}");
            names += 1;
        }
    }
    assert!(names > 50, "{names}");
}

#[test]
fn the_catalogue_has_the_codes_of_the_personal_health_device_guide() {
    let Some(folder) = folder() else { return };
    let mut codes = BTreeSet::new();
    for file in std::fs::read_dir(folder.join("hl7-phd")).unwrap() {
        if let Ok(document) = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()) {
            observed(&document, &mut codes);
        }
    }
    codes.retain(|code| metric_by_code(MDC, code).is_none());
    // These are not readings of a patient: MDC_ATTR_TIME_ABS is the clock of the device, and MDC_ATTR_SUPPLEMENTAL_TYPES describes
    // how an oximeter measured.
    assert_eq!(codes, BTreeSet::from(["67975", "68193"].map(str::to_owned)));
}

#[test]
fn the_catalogue_has_the_codes_of_the_device_specializations() {
    for (code, key) in DEVICES {
        assert_eq!(metric_by_code(MDC, code).map(Metric::key), Some(key), "{code}");
    }
    let codes: BTreeSet<&str> = DEVICES.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes.len(), DEVICES.len());
    let known = catalogue::metrics().iter().flat_map(|metric| {
        let own = metric.codes().map(|code| (code.system(), code.code()));
        own.chain(metric.alternate_codes())
    });
    let known: BTreeSet<&str> = known.filter(|(system, _)| *system == MDC).map(|(_, code)| code).collect();
    assert_eq!(known, codes, "a code was removed, or added without a device");
}

/// Collects the MDC codes of all observations and components in a document.
fn observed(document: &Value, codes: &mut BTreeSet<String>) {
    match document {
        Value::Array(items) => items.iter().for_each(|item| observed(item, codes)),
        Value::Object(members) => {
            let is_observation = members.get("resourceType").is_some_and(|name| name == "Observation");
            let parts = members.get("component").and_then(Value::as_array).into_iter().flatten();
            for coded in parts.chain(is_observation.then_some(document)) {
                let codings = coded["code"]["coding"].as_array().into_iter().flatten();
                let mdc = codings.filter(|coding| coding["system"] == MDC).filter_map(|coding| coding["code"].as_str());
                codes.extend(mdc.map(str::to_owned));
            }
            members.values().for_each(|member| observed(member, codes));
        }
        _ => {}
    }
}

fn takes(metric: &Metric, unit: &str) -> bool {
    let unit = catalogue::ucum_of(unit);
    metric.codes().flat_map(catalogue::CodeUnit::accepted).any(|accepted| Some(accepted.ucum()) == unit)
}

fn sample(path: &str) -> Option<Value> {
    text(path).map(|text| serde_json::from_str(&text).unwrap())
}

fn text(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(folder()?.join(path)).unwrap())
}
