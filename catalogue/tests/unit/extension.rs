//! Tests of catalogue files.

use catalogue::{Addition, CATALOGUE_FILE_BYTES_MAX, Extension};

/// A new metric in six lines.
const LACTATE: &str = r#"revision = 1
[[metric]]
key = "blood_lactate"
display = "Blood lactate"
spellings.medisante = ["lactate"]
pair = [{ system = "loinc", code = "32693-4", display = "Lactate [Moles/volume] in Blood", unit = "mmol/L", range = ["0", "50"], why = "twice the highest after a sprint" }]
"#;

fn refusal(file: &str) -> String {
    match Extension::parse(file) {
        Ok(_) => panic!("accepted: {file}"),
        Err(error) => error.to_string(),
    }
}

fn additions(file: &str) -> Vec<String> {
    let extension = Extension::parse(file).unwrap_or_else(|error| panic!("{error}: {file}"));
    extension.additions().iter().map(Addition::to_string).collect()
}

/// Puts an entry after the revision.
fn with(entry: &str) -> String {
    format!("revision = 1\n{entry}\n")
}

/// A metric with this line in place of that.
fn altered(line: &str, instead: &str) -> String {
    assert!(LACTATE.contains(line), "{line}");
    LACTATE.replacen(line, instead, 1)
}

#[test]
fn a_file_adds_metrics_codes_units_values_and_spellings() {
    assert_eq!(
        additions(LACTATE),
        [
            "metric blood_lactate: a new metric, Blood lactate",
            "metric blood_lactate: the spelling lactate of medisante",
            "metric blood_lactate: the code loinc 32693-4 (Lactate [Moles/volume] in Blood), in mmol/L",
        ]
    );
    let file = r#"
revision = 7
[[unit]]
ucum = "[oz_tr]"
property = "mass"
to_base = [311034768, 0, 10000000000]
names = ["troy ounce"]
[[unit]]
ucum = "kg"
exact = ["кг"]
[[unit]]
ucum = "[diop]"
property = "vergence"
[[unit]]
ucum = "/cm"
property = "vergence"
to_base = [100, 0, 1]
[[metric]]
key = "heart_rate"
also = [["mdc", "149999"]]
spellings.health_auto_export = ["pulse_rate"]
[[metric]]
key = "sphere"
display = "Spherical refraction"
spellings.medisante = ["sphere"]
[[metric.pair]]
system = "medisante"
code = "sphere"
display = "Spherical refraction"
unit = "[diop]"
range = ["-40", "40"]
why = "beyond the strongest lenses"
[[values.presence]]
system = "healthkit"
code = "HKCategoryValuePresencePresent"
spellings = ["Da"]
[[values.presence]]
system = "healthkit"
code = "HKCategoryValuePresenceDoubtful"
display = "Doubtful"
spellings = ["Doubtful"]
"#;
    let extension = Extension::parse(file).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((extension.file().revision(), extension.file().text()), (7, file));
    assert_eq!(
        additions(file),
        [
            "unit [oz_tr]: a unit of mass",
            "unit [oz_tr]: the spelling troy ounce",
            "unit kg: the spelling кг",
            "unit [diop]: a unit of vergence",
            "unit /cm: a unit of vergence",
            "metric heart_rate: the spelling pulse_rate of health_auto_export",
            "metric heart_rate: also the code mdc 149999",
            "metric sphere: a new metric, Spherical refraction",
            "metric sphere: the spelling sphere of medisante",
            "metric sphere: the code medisante sphere (Spherical refraction), in [diop]",
            "values presence: the spelling Da of HKCategoryValuePresencePresent",
            "values presence: the value HKCategoryValuePresenceDoubtful (Doubtful)",
            "values presence: the spelling Doubtful of HKCategoryValuePresenceDoubtful",
        ]
    );
}

/// The way back to the built-in catalogue.
#[test]
fn a_file_may_add_nothing() {
    assert!(additions("revision = 2147483646").is_empty());
    // sha256sum says so.
    let sha256 = "e770556915447344a07d3ad641aea6b07f19511ce076b606bfa6e2fcd6c2365c";
    assert_eq!(Extension::parse("revision = 4").unwrap().file().sha256(), sha256);
}

/// So that a file remains valid when a release takes over its spellings.
#[test]
fn what_is_built_in_already_in_the_same_meaning_is_no_fault() {
    let file = with(
        "[[metric]]\nkey = \"heart_rate\"\nspellings.medisante = [\"PULSE\"]\nalso = [[\"loinc\", \"8889-8\"]]\n\
         [[unit]]\nucum = \"mm[Hg]\"\nproperty = \"pressure\"\nto_base = [133322, 0, 1000]\nnames = [\"MMHG\"]\nexact = [\"266016\"]\n\
         [[values.presence]]\nsystem = \"healthkit\"\ncode = \"HKCategoryValuePresencePresent\"\ndisplay = \"Present\"\nspellings = [\"present\"]",
    );
    assert!(additions(&file).is_empty());
}

#[test]
fn no_text_has_a_control_character_or_changes_its_direction() {
    for (written, number) in [
        ("\\u0000", "0000"),
        ("\\n", "000A"),
        ("\\u009b", "009B"),
        ("\u{202e}", "202E"),
        ("\u{2066}", "2066"),
        ("\\u2028", "2028"),
    ] {
        for (text, line) in
            [("Blood lactate", 4), ("lactate\"]", 5), ("Moles/volume", 6), ("twice the", 6), ("0\", \"50", 6)]
        {
            let says = format!("line {line}: a text has the control character U+{number}; leave it out");
            let refused = refusal(&altered(text, &format!("{written}{text}")));
            assert!(refused.starts_with(&says), "{text}: {refused}");
        }
    }
    let key = refusal(&with("[values]\n\"a\\u0000b\" = []"));
    assert!(key.starts_with("line 3: a text has the control character U+0000"), "{key}");
    assert_eq!(additions(&altered("Blood lactate", "血中乳酸 \u{200f}كتات")).len(), 3);
}

#[test]
fn a_file_has_a_revision_and_a_limited_size() {
    for (file, says) in [
        ("", "the file has no revision; begin it with `revision = 1`, and raise the number with every change"),
        ("revision = 0", "the revision is 0, and must be a number from 1 to 2147483646"),
        ("revision = -1", "the revision is -1"),
        ("revision = 2147483647", "the revision is 2147483647, and must be a number from 1 to 2147483646"),
        ("revision = 2147483648", "the revision is 2147483648"),
        ("revision = \"1\"", "line 1: invalid type: string \"1\", expected a whole number of at most 18 digits"),
        ("revision = 1.5", "line 1: invalid type: floating point `1.5`, expected a whole number of at most 18 digits"),
        ("revision = 1\nrevision = 2", "line 2: duplicate key"),
        ("revision = ", "line 1: "),
        ("[[metric]]\nkey = \"heart_rate\"\nrevision = 1", "line 3: unknown member `revision`; it belongs above"),
    ] {
        assert!(refusal(file).starts_with(says), "{file}: {}", refusal(file));
    }
    let comment = |bytes: usize| format!("revision = 1\n#{}", "x".repeat(bytes - 14));
    assert!(additions(&comment(CATALOGUE_FILE_BYTES_MAX)).is_empty());
    assert!(refusal(&comment(CATALOGUE_FILE_BYTES_MAX + 1)).contains("is larger than 1 MiB"));
}

#[test]
fn the_first_fault_of_each_entry_is_named() {
    let file = r#"
revision = 0
[[unit]]
ucum = "kilo"
[[unit]]
ucum = "g"
names = ["gramm"]
[[metric]]
key = "heart_rate"
spellings.medisante = ["glucose"]
[[metric]]
key = "heart_rat"
[[values.nothing]]
system = "snomed"
code = "1"
spellings = []
"#;
    let said = refusal(file);
    let begin = |line: &str| line.split([',', ';']).next().unwrap().to_owned();
    let places: Vec<String> = said.lines().map(begin).collect();
    assert_eq!(places, ["the revision is 0", "line 3", "line 8", "line 11", "line 13"], "{said}");
}

#[test]
fn an_unknown_member_is_refused_with_the_nearest_name() {
    for (file, says) in [
        (altered("spellings.", "spelings."), "line 5: unknown member `spelings`; did you mean `spellings`?"),
        (
            altered("medisante =", "medisanté =").replace("medisanté", "\"medisanté\""),
            "line 5: unknown member `medisanté`; did you mean `medisante`?",
        ),
        (altered("range =", "ranges ="), "line 6: unknown member `ranges`; did you mean `range`?"),
        (
            with("[[unit]]\nucum = \"g\"\nzzz = 1"),
            "line 4: unknown member `zzz`; known are ucum, property, to_base, exact, names",
        ),
        (with("[[metrics]]"), "line 2: unknown member `metrics`; did you mean `metric`?"),
    ] {
        assert_eq!(refusal(&file), says, "{file}");
    }
}

#[test]
fn a_unit_must_be_one_of_ucum_with_its_exact_conversion() {
    let ounce = |more: &str| with(&format!("[[unit]]\nucum = \"[oz_tr]\"\n{more}"));
    for (file, says) in [
        (
            with("[[unit]]\nucum = \"furlong\"\nproperty = \"length\""),
            "line 2, unit furlong: this is not a unit of UCUM; write its UCUM code, as mm[Hg], [lb_av] or mg/dL",
        ),
        (
            with("[[unit]]\nucum = \"mmHg\"\nproperty = \"pressure\""),
            "line 2, unit mmHg: 'mmHg' is read as the built-in unit mm[Hg] already; leave it out, or use that unit",
        ),
        (
            with("[[unit]]\nucum = \"{puffs}\"\nproperty = \"number\""),
            "line 2, unit {puffs}: '{puffs}' is read as the built-in unit 1 already; leave it out, or use that unit",
        ),
        (ounce(""), "line 2, unit [oz_tr]: a new unit needs the property that it measures; kg has property = \"mass\""),
        (
            ounce("property = \"weight\""),
            "line 2, unit [oz_tr]: UCUM converts it into kg, whose property is mass; write property = \"mass\", with to_base",
        ),
        (
            ounce("property = \"length\""),
            "line 2, unit [oz_tr]: UCUM does not convert it into m, the base unit of length; kg has property = \"mass\"",
        ),
        (
            ounce("property = \"mass\""),
            "line 2, unit [oz_tr]: the conversion into kg is not exact: by UCUM, 1 [oz_tr] is 0.0311034768 kg; write to_base = [19439673, 0, 625000000]",
        ),
        (
            ounce("property = \"mass\"\nto_base = [311, 0, 10000]"),
            "line 2, unit [oz_tr]: the conversion into kg is not exact: by UCUM, 1 [oz_tr] is 0.0311034768 kg; write to_base = [19439673, 0, 625000000]",
        ),
        // Wrong by less than a float can hold.
        (
            ounce("property = \"mass\"\nto_base = [311034768000000001, 0, 10000000000000000000]"),
            "line 5: invalid value: integer `10000000000000000000`, expected a whole number of at most 18 digits; to_base is",
        ),
        (
            ounce("property = \"mass\"\nto_base = [31103476800000001, 0, 1000000000000000000]"),
            "line 2, unit [oz_tr]: the conversion into kg is not exact",
        ),
        (
            ounce("property = \"mass\"\nto_base = [1, 0, 0]"),
            "line 2, unit [oz_tr]: the conversion into kg is not exact",
        ),
        (
            ounce("property = \"mass\"\nto_base = [0.0311034768, 0, 1]"),
            "line 5: invalid type: floating point `0.0311034768`, expected a whole number of at most 18 digits; to_base is [factor, shift, divisor], three whole numbers",
        ),
        (
            with("[[unit]]\nucum = \"[degRe]\"\nproperty = \"temperature\"\nto_base = [5, 1, 4]"),
            "line 2, unit [degRe]: the conversion into Cel is not exact: by UCUM, 1 [degRe] is 1.25 Cel; write to_base = [5, 0, 4]",
        ),
        (
            with("[[unit]]\nucum = \"[pH]\"\nproperty = \"substance concentration\""),
            "line 2, unit [pH]: UCUM does not convert it into mmol/L, the base unit of substance concentration",
        ),
        (
            with("[[unit]]\nucum = \"/cm\"\nproperty = \"vergence\"\nto_base = [100, 0, 1]"),
            "line 2, unit /cm: the property vergence is new, so its first unit is its base unit; leave out to_base, or put the base unit first",
        ),
        (
            with("[[unit]]\nucum = \"g\"\nproperty = \"force\""),
            "line 2, unit g: the unit is built in, with property = \"mass\" and to_base = [1, 0, 1000], and a file cannot change that",
        ),
        (with("[[unit]]\nucum = \"g\"\nto_base = [1, 0, 1001]"), "line 2, unit g: the unit is built in"),
    ] {
        assert!(refusal(&file).starts_with(says), "{file}: {}", refusal(&file));
    }
    // The same fraction in other terms is no contradiction.
    assert!(additions(&with("[[unit]]\nucum = \"g\"\nto_base = [2, 0, 2000]")).is_empty());
}

#[test]
fn a_spelling_of_a_unit_has_one_meaning() {
    let gram = |how: &str, word: &str| with(&format!("[[unit]]\nucum = \"g\"\n{how} = [\"{word}\"]"));
    for (how, word, of) in [
        ("exact", "kg", "kg"),
        ("names", "POUND", "[lb_av]"),
        // Only `mS` is known, so in any case it would be ambiguous.
        ("names", "MS", "ms"),
        ("exact", "{g}", "1"),
        ("exact", "mmol<180.1558>/L", "mmol/L"),
    ] {
        let says = format!(
            "line 2, unit g: '{word}' is read as the built-in unit {of} already; leave it out, or use that unit"
        );
        assert_eq!(refusal(&gram(how, word)), says);
    }
    let millisecond = |word: &str| with(&format!("[[unit]]\nucum = \"ms\"\nnames = [\"{word}\"]"));
    assert!(refusal(&millisecond("MS")).contains("'MS' is read as the built-in unit mS already"));
    let pound = with("[[unit]]\nucum = \"[lb_av]\"\nnames = [\"[LB_AV]\"]");
    assert_eq!(additions(&pound), ["unit [lb_av]: the spelling [LB_AV]"]);
    for word in ["", " g", "gr "] {
        assert!(refusal(&gram("names", word)).contains("has a space at an end"), "{word}");
    }
    assert!(refusal(&gram("exact", &"g".repeat(97))).contains("is longer than 96 bytes"));
    let twice = "[[unit]]\nucum = \"g\"\nnames = [\"grm\"]\n[[unit]]\nucum = \"kg\"\nexact = [\"GRM\"]";
    assert_eq!(refusal(&with(twice)), "line 5, unit kg: 'GRM' is a spelling in line 2 too; leave one of them out");
    let twice = "[[unit]]\nucum = \"g\"\nexact = [\"grm\"]\n[[unit]]\nucum = \"kg\"\nexact = [\"GRM\"]";
    assert_eq!(additions(&with(twice)).len(), 2, "they differ by case, which matters for both");
    let diopter = |names: &str| with(&format!("[[unit]]\nucum = \"[diop]\"\nproperty = \"vergence\"\nnames = {names}"));
    assert_eq!(additions(&diopter("[\"[DIOP]\"]")).len(), 2, "another case of the unit itself");
    assert!(refusal(&diopter("[\"dpt\", \"dpt\"]")).contains("'dpt' is a spelling in line 2 too"));
    let twice = "[[unit]]\nucum = \"g\"\n[[unit]]\nucum = \"g\"";
    assert_eq!(
        refusal(&with(twice)),
        "line 4, unit g: the file has two entries for this unit; put both into one entry"
    );
}

#[test]
fn a_file_cannot_change_what_a_word_or_a_code_of_a_metric_means() {
    let weight = |line: &str| with(&format!("[[metric]]\nkey = \"body_weight\"\n{line}"));
    for (line, says) in [
        (
            "spellings.medisante = [\"Pulse\"]",
            "'Pulse' of medisante means the built-in metric heart_rate already; leave it out: a file cannot change what a word means",
        ),
        (
            "also = [[\"loinc\", \"8867-4\"]]",
            "the code loinc 8867-4 is that of the built-in metric heart_rate already; leave it out, or give this metric a code of its own",
        ),
        (
            "also = [[\"loinc\", \"8867-5\"]]",
            "loinc 8867-5: the check digit of this LOINC code is wrong; compare it with the code system",
        ),
        (
            "also = [[\"icd\", \"8867-5\"]]",
            "unknown code system 'icd'; known are loinc, snomed, mdc, healthkit, medisante",
        ),
        (
            "display = \"Weight\"",
            "the metric is built in, and a file cannot change its display; an entry for a built-in metric has only spellings, also and pair; or choose another key",
        ),
        ("kind = \"quantity\"", "the metric is built in, and a file cannot change its kind"),
        ("components = [\"heart_rate\"]", "the metric is built in, and a file cannot change its components"),
        ("values = \"presence\"", "the metric is built in, and a file cannot change its values"),
        (
            "default_unit.react_native_health = \"kg\"",
            "the metric is built in, and a file cannot change its default_unit",
        ),
        (
            "spellings.medisante = [\"mass\"]\n[[metric]]\nkey = \"heart_rate\"\nspellings.medisante = [\"MASS\"]",
            "line 5, metric heart_rate: 'MASS' of medisante is a spelling in line 2 too; leave one of them out",
        ),
        (
            "also = [[\"mdc\", \"1\"]]\n[[metric]]\nkey = \"heart_rate\"\nalso = [[\"mdc\", \"1\"]]",
            "line 5, metric heart_rate: the code mdc 1 is that of body_weight in line 2 already",
        ),
        ("spellings.medisante = [\"mass\", \"mass\"]", "'mass' of medisante is a spelling in line 2 too"),
        (
            "spellings.medisante = [\" mass\"]",
            "the spelling ' mass' is empty, has a space at an end, or is longer than 96 bytes",
        ),
        (
            "[[metric]]\nkey = \"body_weight\"",
            "line 4, metric body_weight: the file has two entries for this metric; put both into one entry",
        ),
    ] {
        let says =
            if says.starts_with("line") { says.to_owned() } else { format!("line 2, metric body_weight: {says}") };
        assert!(refusal(&weight(line)).starts_with(&says), "{line}: {}", refusal(&weight(line)));
    }
    // The same word of another source is another word.
    assert_eq!(additions(&weight("spellings.healthkit = [\"pulse\"]")).len(), 1);
}

#[test]
fn a_new_metric_must_be_complete() {
    for (file, says) in [
        (
            altered("display = \"Blood lactate\"\n", ""),
            "line 2, metric blood_lactate: no built-in metric has this key, and a new metric needs a display and a pair",
        ),
        (
            with("[[metric]]\nkey = \"heart_rat\"\nspellings.medisante = [\"hr\"]"),
            "line 2, metric heart_rat: no built-in metric has this key, and a new metric needs a display and a pair; did you mean heart_rate?",
        ),
        (with("[[metric]]\ndisplay = \"x\""), "line 2: missing field `key`"),
        (
            altered("blood_lactate", "Blood lactate"),
            "line 2, metric Blood lactate: a key has only lower-case letters, digits and underscores",
        ),
        (altered("mmol/L", "mmol/l"), "line 2, metric blood_lactate: the catalogue has no unit mmol/l; write mmol/L"),
        (altered("mmol/L", "mmol/m3"), "line 2, metric blood_lactate: the catalogue has no unit mmol/m3; "),
        (altered("mmol/L", "U/L"), "line 2, metric blood_lactate: the catalogue has no unit U/L; "),
        (
            altered(", range = [\"0\", \"50\"], why = \"twice the highest after a sprint\"", ""),
            "line 2, blood_lactate: a quantity needs a unit and a range, and no other metric has them; docs/mapping-without-a-release.md",
        ),
        (
            altered("[\"0\", \"50\"]", "[\"50\", \"0\"]"),
            "line 2, blood_lactate: the minimum of the range is not below its maximum",
        ),
        (
            altered("[\"0\", \"50\"]", "[\"50\", \"50\"]"),
            "line 2, blood_lactate: the minimum of the range is not below its maximum",
        ),
        (
            altered("[\"0\", \"50\"]", "[\"0\", \"much\"]"),
            "line 2, blood_lactate: the maximum of the range is not a number",
        ),
        (
            altered("spellings.", "kind = \"panel\"\nspellings."),
            "line 2, blood_lactate: a quantity needs a unit and a range, and no other metric has them",
        ),
        (altered("spellings.", "values = \"none\"\nspellings."), "line 2, blood_lactate: unknown list of values"),
        (altered("spellings.", "components = [\"none\"]\nspellings."), "line 2, blood_lactate: unknown component"),
        (
            altered("spellings.", "default_unit.react_native_health = \"mmol\"\nspellings."),
            "line 2, metric blood_lactate: the catalogue has no unit mmol",
        ),
        (
            altered("why =", "same = [\"smoot\"], why ="),
            "line 2, metric blood_lactate: the catalogue has no unit smoot",
        ),
    ] {
        assert!(refusal(&file).starts_with(says), "{file}: {}", refusal(&file));
    }
}

#[test]
fn values_are_added_to_lists_that_a_metric_has() {
    let value = |list: &str, more: &str| with(&format!("[[values.{list}]]\nsystem = \"healthkit\"\n{more}"));
    for (file, says) in [
        (
            value("presense", "code = \"x\"\nspellings = []"),
            "line 2, list of values presense: no metric has this list; did you mean presence?",
        ),
        (
            value("presence", "code = \"x\"\nspellings = []"),
            "line 2, list of values presence: the new value x needs a display; add its name",
        ),
        (
            value("presence", "code = \"x\"\ndisplay = \"X\"\nspellings = [\"Present\"]"),
            "line 2, list of values presence: 'Present' means the value HKCategoryValuePresencePresent already",
        ),
        (
            value("presence", "code = \"HKCategoryValuePresencePresent\"\ndisplay = \"There\"\nspellings = []"),
            "line 2, list of values presence: the value HKCategoryValuePresencePresent is in the list already",
        ),
    ] {
        assert!(refusal(&file).starts_with(says), "{file}: {}", refusal(&file));
    }
    let own = "[[metric]]\nkey = \"mood\"\ndisplay = \"Mood\"\nkind = \"coded\"\nvalues = \"mood\"\n\
               pair = [{ system = \"medisante\", code = \"mood\", display = \"Mood\" }]\n\
               [[values.mood]]\nsystem = \"medisante\"\ncode = \"good\"\ndisplay = \"Good\"\nspellings = [\"good\", \"1\"]";
    assert_eq!(additions(&with(own)).len(), 5);
}

/// A number without a unit is read in the one unit that its metric allows. No addition may take that away.
#[test]
fn numbers_without_a_unit_are_read_as_before() {
    let unit = with("[[unit]]\nucum = \"[ppm]\"\nproperty = \"number\"\nto_base = [1, 0, 1000000]");
    assert!(refusal(&unit).starts_with("line 2, unit [ppm]: "), "{}", refusal(&unit));
    assert!(refusal(&unit).ends_with(
        " allows one unit only, so that a number without a unit can be read; with this unit it would allow two; give the unit a property of its own"
    ));
    let own = with("[[unit]]\nucum = \"[ppm]\"\nproperty = \"parts\"");
    assert_eq!(additions(&own), ["unit [ppm]: a unit of parts"]);
    let pair = with(
        "[[metric]]\nkey = \"body_mass_index\"\n\
         pair = [{ system = \"mdc\", code = \"188999\", display = \"x\", unit = \"%\", range = [\"0\", \"1\"], why = \"x\" }]",
    );
    assert_eq!(
        refusal(&pair),
        "line 2, metric body_mass_index: body_mass_index allows one unit only, so that a number without a unit can be read; make a new metric of the pair"
    );
    // A metric that needs a unit anyway may get one more pair.
    let pair = pair.replace("body_mass_index", "body_weight");
    assert_eq!(additions(&pair).len(), 1);
    let same = pair.replace("\"%\"", "\"g\"");
    assert!(refusal(&same).contains("a property must select one pair"), "{}", refusal(&same));
}

#[test]
fn the_files_on_the_page_are_valid() {
    let page = include_str!("../../../docs/mapping-without-a-release.md");
    let files: Vec<&str> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(files.len(), 6);
    assert_eq!(files[0].lines().count(), 6);
    for file in files {
        assert!(!additions(file).is_empty(), "{file}");
    }
}
