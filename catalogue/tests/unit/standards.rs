//! Checks units and codes by the rules of their publishers: UCUM with a separate library, MDC by the numbers of its terms. The
//! check digits of LOINC and SNOMED CT are tested in `catalogue`.

use std::collections::BTreeSet;

use catalogue::decimal::Conversion;
use catalogue::{self, Accepted, CodeUnit, MDC, Unit};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::ToPrimitive;
use octofhir_ucum::{convert, is_comparable, validate};
use schemas::format::Defaults;

#[test]
fn every_unit_is_a_ucum_unit() {
    for unit in catalogue::units() {
        assert!(validate(unit.ucum()).is_ok(), "{}", unit.ucum());
    }
    // The library must also reject what is not UCUM.
    for wrong in ["mmHg", "bpm", "lb_av", "mg/dl2x", "inHg", "[foot]"] {
        assert!(validate(wrong).is_err(), "{wrong}");
    }
    let known: BTreeSet<_> = catalogue::units().iter().map(Unit::ucum).collect();
    for metric in catalogue::metrics() {
        let own = metric.codes().filter_map(CodeUnit::unit);
        for unit in own.chain(Defaults::ALL.into_iter().filter_map(|defaults| metric.default_unit(defaults))) {
            assert!(known.contains(unit), "{}: {unit}", metric.key());
        }
    }
}

#[test]
fn every_conversion_agrees_with_ucum() {
    let mut proven = 0;
    for (metric, code) in catalogue::metrics().iter().flat_map(|metric| metric.codes().map(move |code| (metric, code)))
    {
        for accepted in code.accepted() {
            let (from, to) = (accepted.ucum(), code.unit().unwrap());
            if is_comparable(from, to).unwrap() {
                same(accepted, to);
                proven += 1;
            } else {
                // Apple sends a BMI as a count. The number is used unchanged; this is not a conversion.
                assert_eq!(
                    (metric.key(), from, accepted.conversion()),
                    ("body_mass_index", "1", &Conversion::IDENTITY)
                );
            }
        }
    }
    assert!(proven > 700, "{proven}");
}

/// Compares a conversion at two points, which determine a line. The library uses floats and ours is exact, so 14 digits must agree,
/// relative to the value or, for a temperature with a shift, to 300 if that is greater.
fn same(accepted: &Accepted, to: &str) {
    let (factor, shift, divisor) = accepted.conversion().parts();
    let scale = if shift == 0 { 0.0 } else { 300.0 };
    for value in [1, 1000] {
        let ours = BigRational::new(BigInt::from(factor) * value + BigInt::from(shift), BigInt::from(divisor));
        let ours = ours.to_f64().unwrap();
        let theirs = convert(f64::from(value), accepted.ucum(), to).unwrap();
        assert!((ours - theirs).abs() <= 1e-14 * ours.abs().max(scale), "{} {to}: {ours}, {theirs}", accepted.ucum());
    }
}

#[test]
fn units_convert_as_in_ucum_except_the_kinds_that_are_kept_separate() {
    // To UCUM the first group are numbers and the second are pressures. But a count is not a share of a whole, and a level is
    // logarithmic and has its own zero.
    let apart = [
        BTreeSet::from(["number", "percentage", "hearing level"]),
        BTreeSet::from(["pressure", "sound pressure level"]),
    ];
    for one in catalogue::units() {
        for other in catalogue::units() {
            let comparable = is_comparable(one.ucum(), other.ucum()).unwrap();
            let (one, other) = (one.property(), other.property());
            let kept_apart = apart.iter().any(|properties| properties.contains(one) && properties.contains(other));
            assert_eq!(comparable, one == other || kept_apart, "{one}, {other}");
        }
    }
}

/// ISO/IEEE 11073-10101: reference id, partition, term. A code is partition × 65536 + term.
///
/// The sources are HL7's guide for personal health devices, value sets of HL7 Denmark, a care path of HL7 Belgium, answers of a
/// terminology server to Germany's lung function module, and tables of programs for ISO/IEEE 11073-20601: gateways, agents, and an
/// encoder for FHIR. Each term is in two of these sources. The exceptions are terms that only the table of the encoder has
/// (`MDC_CONC_GLU_TREND`, `MDC_CGM_SENSOR_*`, `MDC_INS_*`, `MDC_BODY_ELECTRICAL_IMPEDANCE`, `MDC_HF_RESP_RATE`, a few units), that
/// only the value set of Denmark has (rates by method, `MDC_SAT_O2_ART`, `MDC_CIRCUM_HEAD`), or that only one other program has
/// (`MDC_AREA_BODY_SURF_ACTUAL`, `MDC_PPG_TIME_PD_PP`).
const TERMS: [(&str, u32, u32); 243] = [
    ("MDC_ATTR_VAL_BATT_CHARGE", 1, 2460),
    ("MDC_ECG_ELEC_POTL", 2, 256),
    ("MDC_ECG_ELEC_POTL_I", 2, 257),
    ("MDC_ECG_ELEC_POTL_II", 2, 258),
    ("MDC_ECG_ELEC_POTL_V1", 2, 259),
    ("MDC_ECG_ELEC_POTL_V2", 2, 260),
    ("MDC_ECG_ELEC_POTL_V3", 2, 261),
    ("MDC_ECG_ELEC_POTL_V4", 2, 262),
    ("MDC_ECG_ELEC_POTL_V5", 2, 263),
    ("MDC_ECG_ELEC_POTL_V6", 2, 264),
    ("MDC_ECG_ELEC_POTL_III", 2, 317),
    ("MDC_ECG_ELEC_POTL_AVR", 2, 318),
    ("MDC_ECG_ELEC_POTL_AVL", 2, 319),
    ("MDC_ECG_ELEC_POTL_AVF", 2, 320),
    ("MDC_ECG_TIME_PD_RR_GL", 2, 16168),
    ("MDC_ECG_HEART_RATE", 2, 16770),
    ("MDC_PULS_RATE", 2, 18442),
    ("MDC_BLD_PULS_RATE_INV", 2, 18450),
    ("MDC_PULS_OXIM_PULS_RATE", 2, 18458),
    ("MDC_PULS_RATE_NON_INV", 2, 18474),
    ("MDC_TTHOR_HEART_RATE", 2, 18482),
    ("MDC_PALPATION_HEART_RATE", 2, 18490),
    ("MDC_PPG_TIME_PD_PP", 2, 18496),
    ("MDC_PRESS_BLD_NONINV", 2, 18948),
    ("MDC_PRESS_BLD_NONINV_SYS", 2, 18949),
    ("MDC_PRESS_BLD_NONINV_DIA", 2, 18950),
    ("MDC_PRESS_BLD_NONINV_MEAN", 2, 18951),
    ("MDC_SAT_O2_QUAL", 2, 19248),
    ("MDC_SAT_O2_ART", 2, 19252),
    ("MDC_TEMP_BODY", 2, 19292),
    ("MDC_TEMP_TYMP", 2, 19320),
    ("MDC_PULS_OXIM_PERF_REL", 2, 19376),
    ("MDC_PULS_OXIM_PLETH", 2, 19380),
    ("MDC_PULS_OXIM_SAT_O2", 2, 19384),
    ("MDC_PULS_OXIM_DEV_STATUS", 2, 19532),
    ("MDC_PULS_OXIM_PULS_CHAR", 2, 19533),
    ("MDC_RESP_RATE", 2, 20490),
    ("MDC_AWAY_RESP_RATE", 2, 20498),
    ("MDC_TTHOR_RESP_RATE", 2, 20506),
    ("MDC_CO2_RESP_RATE", 2, 20522),
    ("MDC_PRESS_RESP_RATE", 2, 20530),
    ("MDC_ACOUSTIC_RESP_RATE", 2, 20578),
    ("MDC_PULS_OXIM_PLETH_RESP_RATE", 2, 20586),
    ("MDC_CAPAC_VITAL", 2, 20608),
    ("MDC_FLOW_AWAY_EXP_FORCED_PEAK", 2, 21512),
    ("MDC_FLOW_AWAY_EXP_FORCED_PEAK_PB", 2, 21513),
    ("MDC_VOL_AWAY_EXP_FORCED_1S", 2, 21514),
    ("MDC_VOL_AWAY_EXP_FORCED_6S", 2, 21515),
    ("MDC_CIRCUM_HEAD", 2, 22784),
    ("MDC_CONC_GLU_GEN", 2, 28948),
    ("MDC_CONC_GLU_CAPILLARY_WHOLEBLOOD", 2, 29112),
    ("MDC_CONC_GLU_CAPILLARY_PLASMA", 2, 29116),
    ("MDC_CONC_GLU_VENOUS_WHOLEBLOOD", 2, 29120),
    ("MDC_CONC_GLU_VENOUS_PLASMA", 2, 29124),
    ("MDC_CONC_GLU_ARTERIAL_WHOLEBLOOD", 2, 29128),
    ("MDC_CONC_GLU_ARTERIAL_PLASMA", 2, 29132),
    ("MDC_CONC_GLU_CONTROL", 2, 29136),
    ("MDC_CONC_GLU_ISF", 2, 29140),
    ("MDC_CONC_HBA1C", 2, 29148),
    ("MDC_RATIO_INR_COAG", 2, 29188),
    ("MDC_TIME_PD_COAG", 2, 29192),
    ("MDC_QUICK_VALUE_COAG", 2, 29196),
    ("MDC_ISI_COAG", 2, 29200),
    ("MDC_COAG_CONTROL", 2, 29204),
    ("MDC_CONC_GLU_UNDETERMINED_WHOLEBLOOD", 2, 29292),
    ("MDC_CONC_GLU_UNDETERMINED_PLASMA", 2, 29296),
    ("MDC_TRIG", 2, 53250),
    ("MDC_ECG_STAT_RHY", 2, 53255),
    ("MDC_TEMP_RECT", 2, 57348),
    ("MDC_TEMP_ORAL", 2, 57352),
    ("MDC_TEMP_EAR", 2, 57356),
    ("MDC_TEMP_FINGER", 2, 57360),
    ("MDC_TEMP_TOE", 2, 57376),
    ("MDC_TEMP_AXILLA", 2, 57380),
    ("MDC_TEMP_GIT", 2, 57384),
    ("MDC_TEMP_ROOM", 2, 57436),
    ("MDC_MASS_BODY_ACTUAL", 2, 57664),
    ("MDC_LEN_BODY_ACTUAL", 2, 57668),
    ("MDC_AREA_BODY_SURF_ACTUAL", 2, 57672),
    ("MDC_BODY_FAT", 2, 57676),
    ("MDC_RATIO_MASS_BODY_LEN_SQ", 2, 57680),
    ("MDC_MASS_BODY_FAT_FREE", 2, 57684),
    ("MDC_MASS_BODY_SOFT_LEAN", 2, 57688),
    ("MDC_BODY_WATER", 2, 57692),
    ("MDC_BODY_ELECTRICAL_IMPEDANCE", 2, 57708),
    ("MDC_VOL_AWAY_EXP_FORCED_CAPACITY", 2, 57856),
    ("MDC_VOL_AWAY_SLOW_CAPACITY", 2, 57860),
    ("MDC_RATIO_AWAY_EXP_FORCED_FEV1_FEV6", 2, 57864),
    ("MDC_VOL_AWAY_EXP_FORCED_0_5S", 2, 57868),
    ("MDC_RATIO_AWAY_EXP_FORCED_1S_FVC", 2, 57876),
    ("MDC_FLOW_AWAY_EXP_FORCED_25_75_FVC", 2, 57888),
    ("MDC_FLOW_AWAY_EXP_FORCED_25_FVC", 2, 57892),
    ("MDC_FLOW_AWAY_EXP_FORCED_50_FVC", 2, 57896),
    ("MDC_FLOW_AWAY_EXP_FORCED_75_FVC", 2, 57900),
    ("MDC_FLOW_AWAY_INSP_FORCED_PEAK", 2, 57904),
    ("MDC_VOL_AWAY_INSP_FORCED_CAPACITY", 2, 57908),
    ("MDC_VOL_AWAY_INSP_FORCED_1S", 2, 57912),
    ("MDC_VOL_AWAY_INSP_CAPACITY", 2, 57928),
    ("MDC_VOL_AWAY_EXP_RESERVE", 2, 57932),
    ("MDC_VOL_AWAY_INSP_RESERVE", 2, 57936),
    ("MDC_VOL_AWAY_EXP_FORCED_TIME", 2, 57944),
    ("MDC_DIM_DIMLESS", 4, 512),
    ("MDC_DIM_PERCENT", 4, 544),
    ("MDC_DIM_M", 4, 1280),
    ("MDC_DIM_CENTI_M", 4, 1297),
    ("MDC_DIM_FOOT", 4, 1344),
    ("MDC_DIM_INCH", 4, 1376),
    ("MDC_DIM_L", 4, 1600),
    ("MDC_DIM_MILLI_L", 4, 1618),
    ("MDC_DIM_G", 4, 1728),
    ("MDC_DIM_KILO_G", 4, 1731),
    ("MDC_DIM_MILLI_G", 4, 1746),
    ("MDC_DIM_LB", 4, 1760),
    ("MDC_DIM_KG_PER_M_SQ", 4, 1952),
    ("MDC_DIM_MILLI_G_PER_DL", 4, 2130),
    ("MDC_DIM_SEC", 4, 2176),
    ("MDC_DIM_MILLI_SEC", 4, 2194),
    ("MDC_DIM_MIN", 4, 2208),
    ("MDC_DIM_HR", 4, 2240),
    ("MDC_DIM_DAY", 4, 2272),
    ("MDC_DIM_BEAT_PER_MIN", 4, 2720),
    ("MDC_DIM_RESP_PER_MIN", 4, 2784),
    ("MDC_DIM_M_PER_SEC", 4, 2816),
    ("MDC_DIM_CENTI_L_PER_SEC", 4, 3057),
    ("MDC_DIM_L_PER_MIN", 4, 3072),
    ("MDC_DIM_HECTO_PASCAL", 4, 3842),
    ("MDC_DIM_KILO_PASCAL", 4, 3843),
    ("MDC_DIM_MMHG", 4, 3872),
    ("MDC_DIM_JOULES", 4, 3968),
    ("MDC_DIM_WATT", 4, 4032),
    ("MDC_DIM_MILLI_VOLT", 4, 4274),
    ("MDC_DIM_OHM", 4, 4288),
    ("MDC_DIM_KELVIN", 4, 4384),
    ("MDC_DIM_FAHR", 4, 4416),
    ("MDC_DIM_MILLI_MOLE_PER_L", 4, 4722),
    ("MDC_DIM_MICRO_MOLE_PER_L", 4, 4723),
    ("MDC_DIM_MILLI_G_PER_DL_PER_MIN", 4, 4724),
    ("MDC_DIM_MILLI_MOLE_PER_L_PER_MIN", 4, 4728),
    ("MDC_DIM_EVT_PER_HR", 4, 4732),
    ("MDC_DIM_INTL_UNIT", 4, 5472),
    ("MDC_DIM_INTL_UNIT_PER_ML", 4, 5600),
    ("MDC_DIM_INTL_UNIT_PER_HR", 4, 5696),
    ("MDC_DIM_DEGC", 4, 6048),
    ("MDC_DIM_M_PER_MIN", 4, 6560),
    ("MDC_DIM_INR", 4, 6608),
    ("MDC_DIM_STEP", 4, 6656),
    ("MDC_DIM_FOOT_PER_MIN", 4, 6688),
    ("MDC_DIM_INCH_PER_MIN", 4, 6720),
    ("MDC_DIM_STEP_PER_MIN", 4, 6752),
    ("MDC_DIM_RPM", 4, 6816),
    ("MDC_PHD_DM_DEV_STAT", 128, 20000),
    ("MDC_ECG_DEV_STAT", 128, 21976),
    ("MDC_ECG_HEART_RATE_INSTANT", 128, 21982),
    ("MDC_BLOOD_PRESSURE_MEASUREMENT_STATUS", 128, 22000),
    ("MDC_SABTE_TIME_PD_FLOW_GEN_TOTAL", 128, 22100),
    ("MDC_SABTE_TIME_PD_USAGE_TOTAL", 128, 22104),
    ("MDC_SABTE_TIME_PD_USAGE_W_HUM", 128, 22108),
    ("MDC_SABTE_TIME_PD_USAGE_WO_HUM", 128, 22112),
    ("MDC_SABTE_TIME_PD_SNORING_TOTAL", 128, 22116),
    ("MDC_SABTE_TIME_PD_CSR_TOTAL", 128, 22120),
    ("MDC_SABTE_AHI", 128, 22180),
    ("MDC_SABTE_AHI_TOTAL", 128, 22184),
    ("MDC_SABTE_AHI_UNCLASS", 128, 22188),
    ("MDC_SABTE_AHI_OBSTRUC", 128, 22192),
    ("MDC_SABTE_AHI_CENT", 128, 22196),
    ("MDC_SABTE_MODE_THERAPY_SET", 128, 22280),
    ("MDC_SABTE_PRESS", 128, 22340),
    ("MDC_SABTE_PRESS_MEAN", 128, 22343),
    ("MDC_SABTE_PRESS_P50", 128, 22347),
    ("MDC_SABTE_PRESS_P90", 128, 22349),
    ("MDC_SABTE_PRESS_P95", 128, 22350),
    ("MDC_SABTE_RESP_RATE", 128, 22384),
    ("MDC_SABTE_VOL_LEAK", 128, 22480),
    ("MDC_SABTE_VOL_LEAK_MEAN", 128, 22483),
    ("MDC_SABTE_VOL_LEAK_P50", 128, 22487),
    ("MDC_SABTE_VOL_LEAK_P90", 128, 22489),
    ("MDC_SABTE_VOL_LEAK_P95", 128, 22490),
    ("MDC_GLU_METER_DEV_STATUS", 128, 29144),
    ("MDC_CTXT_GLU_EXERCISE", 128, 29152),
    ("MDC_CTXT_GLU_CARB", 128, 29156),
    ("MDC_CTXT_GLU_CARB_BREAKFAST", 128, 29160),
    ("MDC_CTXT_GLU_CARB_LUNCH", 128, 29164),
    ("MDC_CTXT_GLU_CARB_DINNER", 128, 29168),
    ("MDC_CTXT_GLU_CARB_SNACK", 128, 29172),
    ("MDC_CTXT_GLU_CARB_DRINK", 128, 29176),
    ("MDC_CTXT_GLU_CARB_SUPPER", 128, 29180),
    ("MDC_CTXT_GLU_CARB_BRUNCH", 128, 29184),
    ("MDC_CTXT_MEDICATION", 128, 29188),
    ("MDC_CTXT_MEDICATION_RAPIDACTING", 128, 29192),
    ("MDC_CTXT_MEDICATION_SHORTACTING", 128, 29196),
    ("MDC_CTXT_MEDICATION_INTERMEDIATEACTING", 128, 29200),
    ("MDC_CTXT_MEDICATION_LONGACTING", 128, 29204),
    ("MDC_CTXT_MEDICATION_PREMIX", 128, 29208),
    ("MDC_CTXT_GLU_HEALTH", 128, 29212),
    ("MDC_CTXT_GLU_SAMPLELOCATION", 128, 29236),
    ("MDC_CTXT_GLU_MEAL", 128, 29256),
    ("MDC_CTXT_GLU_TESTER", 128, 29276),
    ("MDC_INR_METER_DEV_STATUS", 128, 29301),
    ("MDC_CTXT_INR_TESTER", 128, 29316),
    ("MDC_CONC_GLU_TREND", 128, 29400),
    ("MDC_CGM_SENSOR_CALIBRATION", 128, 29428),
    ("MDC_CGM_SENSOR_RUN_TIME", 128, 29432),
    ("MDC_CGM_SENSOR_SAMPLE_INTERVAL", 128, 29436),
    ("MDC_CGM_DEV_STAT", 128, 29452),
    ("MDC_INS_BASAL", 128, 29680),
    ("MDC_INS_BASAL_RATE_SETTING", 128, 29692),
    ("MDC_INS_BOLUS", 128, 29736),
    ("MDC_INS_BOLUS_FAST", 128, 29737),
    ("MDC_INS_BOLUS_EXT", 128, 29738),
    ("MDC_INS_RESERVOIR", 128, 29780),
    ("MDC_INS_CONC", 128, 29792),
    ("MDC_INS_PUMP_OP_STAT", 128, 29804),
    ("MDC_INS_PUMP_DEV_STAT", 128, 29836),
    ("MDC_PEFM_READING_STATUS", 128, 30720),
    ("MDC_HF_ALT_GAIN", 129, 100),
    ("MDC_HF_ALT_LOSS", 129, 101),
    ("MDC_HF_ALT", 129, 102),
    ("MDC_HF_DISTANCE", 129, 103),
    ("MDC_HF_SPEED", 129, 110),
    ("MDC_HF_CAD", 129, 111),
    ("MDC_HF_INCLINE", 129, 112),
    ("MDC_HF_HR_MAX_USER", 129, 113),
    ("MDC_HF_HR", 129, 114),
    ("MDC_HF_POWER", 129, 115),
    ("MDC_HF_STRIDE", 129, 117),
    ("MDC_HF_ENERGY", 129, 119),
    ("MDC_HF_CAL_INGEST", 129, 120),
    ("MDC_HF_CAL_INGEST_CARB", 129, 121),
    ("MDC_HF_SESSION", 129, 123),
    ("MDC_HF_SUBSESSION", 129, 124),
    ("MDC_HF_ACTIVITY_TIME", 129, 125),
    ("MDC_HF_SET", 129, 200),
    ("MDC_HF_REPETITION_COUNT", 129, 202),
    ("MDC_HF_RESISTANCE", 129, 203),
    ("MDC_HF_EXERCISE_POSITION", 129, 204),
    ("MDC_HF_EXERCISE_LATERALITY", 129, 205),
    ("MDC_HF_EXERCISE_GRIP", 129, 206),
    ("MDC_HF_EXERCISE_MOVEMENT", 129, 207),
    ("MDC_HF_RESP_RATE", 129, 2020),
    ("MDC_AI_MED_DISPENSED_FIXED", 130, 13312),
    ("MDC_AI_MED_DISPENSED_VARIABLE", 130, 13313),
    ("MDC_AI_MED_STATUS", 130, 13314),
    ("MDC_AI_MED_FEEDBACK", 130, 13315),
];

#[test]
fn every_mdc_code_matches_its_term() {
    let terms: BTreeSet<u32> = TERMS.iter().map(|(_, partition, term)| partition * 65_536 + term).collect();
    let mut codes = BTreeSet::new();
    for metric in catalogue::metrics() {
        for code in metric.codes().filter(|code| code.system() == MDC) {
            let (_, partition, term) = TERMS.iter().find(|(name, ..)| *name == code.display()).unwrap();
            assert_eq!(code.code(), (partition * 65_536 + term).to_string());
            codes.insert(partition * 65_536 + term);
        }
        codes.extend(
            metric.alternate_codes().filter(|(system, _)| *system == MDC).map(|(_, code)| code.parse::<u32>().unwrap()),
        );
    }
    codes.extend(catalogue::units().iter().flat_map(Unit::exact).filter_map(|spelling| spelling.parse::<u32>().ok()));
    assert_eq!(codes, terms);
}
