//! The catalogue of a process that has installed a catalogue file. The test has a process of its own, because a process uses one
//! catalogue.

use catalogue::{
    CodedValue, Extension, LOINC, MDC, Metric, UnitError, Vocabulary, decimal::Decimal, file, install, metric_by_code,
    metric_by_key, metric_by_spelling, metrics, revision, ucum_of,
};

const FILE: &str = r#"revision = 3
[[unit]]
ucum = "[oz_tr]"
property = "mass"
to_base = [19439673, 0, 625000000]
exact = ["ozt"]
names = ["troy ounce"]
[[unit]]
ucum = "mm[Hg]"
exact = ["mmQS"]
names = ["mm of mercury"]
[[unit]]
ucum = "mmol/mol"
property = "amount fraction"
[[metric]]
key = "heart_rate"
also = [["mdc", "149999"]]
spellings.medisante = ["herzfrequenz"]
spellings.healthkit = ["Puls"]
spellings.health_auto_export = ["pulse_rate"]
[[metric]]
key = "hemoglobin_a1c"
pair = [{ system = "loinc", code = "59261-8", display = "IFCC", unit = "mmol/mol", range = ["0", "300"], why = "29.6 %" }]
[[metric]]
key = "blood_lactate"
display = "Blood lactate"
spellings.medisante = ["lactate"]
pair = [{ system = "loinc", code = "32693-4", display = "Lactate", unit = "mmol/L", range = ["0", "50"], why = "twice the highest" }]
[[values.presence]]
system = "healthkit"
code = "HKCategoryValuePresencePresent"
spellings = ["Da"]
[[values.presence]]
system = "healthkit"
code = "HKCategoryValuePresenceDoubtful"
display = "Doubtful"
spellings = ["Doubtful", "7"]
"#;

#[test]
fn everything_that_a_file_adds_is_found_and_everything_built_in_is_as_before() {
    let built_in = include_str!("../src/metrics.toml").matches("\n[[metric]]\n").count();
    let extension = Extension::parse(FILE).unwrap();
    install(extension).unwrap();
    assert_eq!((revision(), file().map(catalogue::CatalogueFile::text)), (3, Some(FILE)));
    assert_eq!(metrics().len(), built_in + 1);

    for (vocabulary, spelling, key) in [
        (Vocabulary::Medisante, "HERZFREQUENZ", "heart_rate"),
        (Vocabulary::HealthKit, "puls", "heart_rate"),
        (Vocabulary::HealthAutoExport, "pulse_rate", "heart_rate"),
        (Vocabulary::Medisante, "lactate", "blood_lactate"),
        (Vocabulary::Medisante, "pulse", "heart_rate"),
    ] {
        assert_eq!(metric_by_spelling(vocabulary, spelling).map(Metric::key), Some(key), "{spelling}");
    }
    for (system, code, key) in [
        (MDC, "149999", "heart_rate"),
        (LOINC, "32693-4", "blood_lactate"),
        (LOINC, "59261-8", "hemoglobin_a1c"),
        (LOINC, "4548-4", "hemoglobin_a1c"),
        (LOINC, "8867-4", "heart_rate"),
    ] {
        assert_eq!(metric_by_code(system, code).map(Metric::key), Some(key), "{code}");
    }
    for (spelling, ucum) in [
        ("ozt", "[oz_tr]"),
        ("Troy Ounce", "[oz_tr]"),
        ("mmQS", "mm[Hg]"),
        ("MM of mercury", "mm[Hg]"),
        ("mmHg", "mm[Hg]"),
        ("mmol/mol", "mmol/mol"),
    ] {
        assert_eq!(ucum_of(spelling), Some(ucum), "{spelling}");
    }
    assert_eq!(ucum_of("MMQS"), None, "an exact spelling");

    let measured = |key: &str, number: &str, unit: &str| {
        let measured = metric_by_key(key).unwrap().measure(&Decimal::parse(number).unwrap(), unit)?;
        Ok((measured.code.code(), measured.value, measured.out_of_range))
    };
    assert_eq!(measured("body_weight", "2500", "ozt"), Ok(("29463-7", "77.758692".to_owned(), false)));
    assert_eq!(measured("body_weight", "81", "kg"), Ok(("29463-7", "81".to_owned(), false)));
    assert_eq!(measured("hemoglobin_a1c", "48", "mmol/mol"), Ok(("59261-8", "48".to_owned(), false)));
    assert_eq!(measured("hemoglobin_a1c", "6.5", "%"), Ok(("4548-4", "6.5".to_owned(), false)));
    assert_eq!(measured("blood_lactate", "51", "mmol/L"), Ok(("32693-4", "51".to_owned(), true)));
    assert_eq!(measured("blood_lactate", "51", "mg/dL"), Err(UnitError::Inconvertible));

    let moods = metric_by_key("mood_changes").unwrap();
    for (word, code) in [
        ("da", "HKCategoryValuePresencePresent"),
        ("Present", "HKCategoryValuePresencePresent"),
        ("doubtful", "HKCategoryValuePresenceDoubtful"),
        ("7", "HKCategoryValuePresenceDoubtful"),
    ] {
        assert_eq!(moods.coded_value(word).map(CodedValue::code), Some(code), "{word}");
    }

    let again = install(Extension::parse("revision = 4").unwrap());
    assert_eq!(again.unwrap_err().to_string(), "a catalogue is in use already");
    assert_eq!(revision(), 3);
}
