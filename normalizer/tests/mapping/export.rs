//! Edge cases of Apple's export: well-formedness, errors in the middle, and the maximum sizes.

use normalizer::Normalized;
use schemas::{
    format::{Format, RawTopic},
    raw::RecordKind,
    rejection::Reason,
};

use crate::{
    record::{self, headers},
    shape::detail,
};

const RECORD: &str = r#"<Record type="HKQuantityTypeIdentifierHeartRate" unit="count/min" value="61" startDate="2026-03-01 08:00:00 +0100"/>"#;

fn normalized(body: &str) -> Normalized {
    record::normalized(RawTopic::Uploads, headers(RecordKind::Payload(Format::ExportXml), "export"), body.as_bytes(), 0)
}

/// The number of readings, and why the rest of the export is refused.
fn outcome(body: &str) -> (usize, Option<(Reason, &'static str)>) {
    let found = normalized(body);
    let whole = found.rejections.iter().find(|rejection| rejection.item.is_none());
    (found.readings.len(), whole.map(|rejection| (rejection.reason, detail(rejection))))
}

/// Asserts that an export is refused as malformed after its one record was read.
fn broken(body: &str) {
    let syntax = (Reason::Malformed, "the export is not well-formed XML; the elements before the error are read");
    assert_eq!(outcome(body), (1, Some(syntax)), "{body}");
}

fn read(body: &str) {
    assert_eq!(outcome(body), (1, None), "{body}");
}

#[test]
fn well_formed_exports_are_read() {
    read(&format!("<HealthData>{RECORD}</HealthData>"));
    read(&format!(" \n<HealthData>{RECORD}</HealthData>\n "));
    read(&format!("<!DOCTYPE HealthData [<!ENTITY a \"b\">]>\n<HealthData>{RECORD}</HealthData>"));
    read(&format!("<HealthData>&amp;&#65;&#x41;<![CDATA[<]]> text {RECORD}<!-- c --><?p i?></HealthData>"));
    for encoding in ["utf-8", "UTF-8", "utf8", "US-ASCII"] {
        read(&format!("<?xml version=\"1.0\" encoding=\"{encoding}\"?><HealthData>{RECORD}</HealthData>"));
    }
    read(&format!("<?xml version=\"1.0\"?><HealthData>{RECORD}</HealthData>"));
}

#[test]
fn the_elements_before_a_syntax_error_are_read() {
    let inside = |text: &str| broken(&format!("<HealthData>{RECORD}{text}</HealthData>"));
    inside("&nbsp;");
    inside("&#0;");
    inside("<a b='<'/>");
    inside("<a b='&nbsp;'/>");
    inside("<a b='&'/>");
    inside("<a b='1' b='2'/>");
    // Names of the same length and with the same last letter, which map to the same bit and are compared.
    inside("<a bc='1' dc='2' bc='3'/>");
    inside("<a></b>");
    let after = |text: &str| broken(&format!("<HealthData>{RECORD}</HealthData>{text}"));
    after("text");
    after("&amp;");
    after("<![CDATA[text]]>");
    after("<!DOCTYPE HealthData>");
    after("<HealthData/>");
    after("<Other/>");
    broken(&format!("<HealthData>{RECORD}"));
    let none = |body: &str, reason, detail| assert_eq!(outcome(body), (0, Some((reason, detail))), "{body}");
    let syntax = "the export is not well-formed XML; the elements before the error are read";
    none(&format!("text<HealthData>{RECORD}</HealthData>"), Reason::Malformed, syntax);
    none(&format!("<![CDATA[text]]><HealthData>{RECORD}</HealthData>"), Reason::Malformed, syntax);
    none("", Reason::Malformed, syntax);
    none(" <!-- nothing --> ", Reason::Malformed, syntax);
    none(&format!("<Other>{RECORD}</Other>"), Reason::UnexpectedShape, "the root element must be HealthData");
    none(
        &format!("<?xml version=\"1.0\" encoding=\"latin1\"?><HealthData>{RECORD}</HealthData>"),
        Reason::Malformed,
        "the export declares an encoding other than UTF-8",
    );
}

#[test]
fn attribute_names_with_the_same_ending_are_not_duplicates() {
    let record = RECORD.replace("<Record", "<Record ab='1' cb='2' db='3'");
    read(&format!("<HealthData>{record}</HealthData>"));
}

#[test]
fn an_export_at_each_limit_is_read_and_one_above_it_is_refused() {
    let too_large = |detail| (1, Some((Reason::TooLarge, detail)));
    let nested = |depth: usize| {
        format!("<HealthData>{RECORD}<Record>{}{}</Record></HealthData>", "<a>".repeat(depth), "</a>".repeat(depth))
    };
    assert_eq!(outcome(&nested(62)), (1, None));
    assert_eq!(outcome(&nested(63)), too_large("the export is nested deeper than 64 levels"));

    let wide = |count: usize| {
        let attributes = (0..count).map(|number| format!(" a{number}=''")).collect::<Vec<_>>().concat();
        format!("<HealthData>{RECORD}<Record><a{attributes}/></Record></HealthData>")
    };
    assert_eq!(outcome(&wide(128)), (1, None));
    assert_eq!(outcome(&wide(129)), too_large("an element has more than 128 attributes"));

    let long = |bytes: usize| {
        format!("<HealthData>{RECORD}<Record><a b='{}'/></Record></HealthData>", "x".repeat(bytes - "<a b=''/>".len()))
    };
    assert_eq!(outcome(&long(1024 * 1024)), (1, None));
    assert_eq!(outcome(&long(1024 * 1024 + 1)), too_large("a tag, a text or the DTD is longer than 1 MiB"));
}

/// The id and the model of the device in a description.
fn device(description: &str) -> Option<(String, Option<String>)> {
    let written = description.replace('<', "&lt;").replace('>', "&gt;");
    let record = RECORD.replace(" unit=", &format!(" device=\"{written}\" unit="));
    let found = normalized(&format!("<HealthData>{record}</HealthData>"));
    let device = found.readings.first().and_then(|reading| reading.device.as_ref());
    device.map(|device| (device.id.as_str().to_owned(), device.model.as_deref().map(str::to_owned)))
}

#[test]
fn a_device_id_ignores_the_parts_of_the_description_that_change() {
    let known = |id: &str, model: Option<&str>| Some((id.to_owned(), model.map(str::to_owned)));
    let watch = known("Apple Watch, Apple Inc., Watch, Watch6,2", Some("Watch6,2"));
    for description in [
        "<<HKDevice: 0x281>, name:Apple Watch, manufacturer:Apple Inc., model:Watch, hardware:Watch6,2, software:7.4>",
        "<<HKDevice: 0x282>, name:Apple Watch, manufacturer:Apple Inc., model:Watch, hardware:Watch6,2, software:8.0, \
         creation date:2021-06-01 06:06:25 +0000>",
        "<<HKDevice: 0x283>, name:Apple Watch, manufacturer:Apple Inc., model:Watch, hardware:Watch6,2, creation date:2021>",
        "<<HKDevice: 0x284>, name:Apple\nWatch, manufacturer:Apple Inc., , , model:Watch,   hardware:Watch6,2>",
    ] {
        assert_eq!(device(description), watch, "{description}");
    }
    assert_eq!(
        device("<<HKDevice: 0x1>, name:Buds, model:0x200e, localIdentifier:38:EC:0D-tacl, creation date:2020-06-01>"),
        known("38:EC:0D-tacl", Some("0x200e"))
    );
    // A UDI identifies a model, of which there may be two devices.
    assert_eq!(
        device("<<HKDevice: 0x1>, name:Sensor, UDIDeviceIdentifier:00386270000385, localIdentifier:A>"),
        known("A", None)
    );
    assert_eq!(device("<<HKDevice: 0x1>, name:Sensor, UDIDeviceIdentifier:u-1>"), known("Sensor, u-1", None));
    assert_eq!(device("<<HKDevice: 0x1>, name:a, :b, model:c>"), known("a, :b, c", Some("c")));
    assert_eq!(device("<<HKDevice: 0x1>, name:, manufacturer:>"), None);
}

/// Attribute values are normalized (XML 1.0, section 3.3.3).
#[test]
fn a_line_end_in_an_attribute_is_a_space() {
    let workout = |activity: &str, source: &str| {
        let found = normalized(&format!(
            "<HealthData><Workout workoutActivityType='{activity}' sourceName='{source}' startDate='2026-03-01 08:00:00 +0100'/></HealthData>"
        ));
        (found.readings[0].reading_id, found.readings[0].value.clone())
    };
    for (activity, source) in [("A\nB", "a"), ("A\tB", "a"), ("A B", "\n"), ("A B", " \t")] {
        let spaces = |text: &str| text.replace(['\n', '\t'], " ");
        assert!(workout(activity, source) == workout(&spaces(activity), &spaces(source)), "{activity:?} {source:?}");
    }
}

#[test]
fn a_record_within_a_workout_is_a_reading_of_its_own() {
    let body = format!(
        r#"<HealthData><Workout workoutActivityType="A" startDate="2026-03-01 08:00:00 +0100">{RECORD}</Workout>
        <Workout workoutActivityType=" " startDate="2026-03-01 08:00:00 +0100"/></HealthData>"#
    );
    let found = normalized(&body);
    let codes: Vec<&str> = found.readings.iter().map(|reading| reading.code.code.as_ref()).collect();
    assert_eq!(codes, ["8867-4", "73985-4"]);
    assert_eq!(found.rejections.iter().map(|rejection| rejection.reason).collect::<Vec<_>>(), [Reason::TypeMissing]);
}

#[test]
fn unknown_attributes_and_children_of_records_and_workouts_are_reported() {
    let shapes = |inner: &str| {
        let found = normalized(&format!("<HealthData>{inner}</HealthData>"));
        assert_eq!((found.readings.len(), found.rejections.len()), (1, 0), "{inner}");
        found.unknown.into_iter().map(|unknown| unknown.shape).collect::<Vec<_>>()
    };
    let record = RECORD.replace("<Record", r#"<Record sourceVersion="1" creationDate="" mood="good""#);
    let within = "<MetadataEntry key='k' value='v'/><HeartRateVariabilityMetadataList><InstantaneousBeatsPerMinute bpm='1'/>\
        </HeartRateVariabilityMetadataList><Note to='nobody'/>";
    assert_eq!(shapes(&record.replace("/>", &format!(">{within}</Record>"))), ["Record.mood", "Record.Note"]);
    let workout = "<Workout workoutActivityType='A' startDate='2026-03-01 08:00:00 +0100' endDate='2026-03-01 08:01:00 +0100' duration='1' durationUnit='min'
        totalDistance='1' totalDistanceUnit='km' totalEnergyBurned='1' totalEnergyBurnedUnit='kcal' device='' sourceName=''
        sourceVersion='' creationDate='' mood='good'><MetadataEntry/><WorkoutEvent/><WorkoutActivity><Note/></WorkoutActivity>
        <WorkoutStatistics type='HKQuantityTypeIdentifierHeartRate' startDate='' endDate='' average='1' minimum='1' maximum='1'
        sum='' unit='count/min' median='1'/><Note/></Workout>";
    assert_eq!(shapes(workout), ["Workout.mood", "WorkoutStatistics.median", "Workout.Note"]);
    let summary = "<ActivitySummary dateComponents='2026-03-01' activeEnergyBurned='1' activeEnergyBurnedGoal='1'
        activeEnergyBurnedUnit='kcal' appleMoveTime='1' appleMoveTimeGoal='1' appleExerciseTime='1' appleExerciseTimeGoal='1'
        appleStandHours='1' appleStandHoursGoal='1' mood='good'><Note/></ActivitySummary>";
    assert_eq!(shapes(summary), ["ActivitySummary.mood"]);
}

#[test]
fn a_workout_has_only_the_statistics_inside_its_element() {
    // Statistics outside of a workout, and a second workout without statistics.
    let body = r#"<HealthData>
        <Workout workoutActivityType="A" startDate="2026-03-01 08:00:00 +0100" device="&lt;&lt;HKDevice: 0x1&gt;, name:Watch, localIdentifier:u-1&gt;">
            <WorkoutStatistics type="HKQuantityTypeIdentifierHeartRate" average="120" unit="count/min"/>
            <MetadataEntry><WorkoutStatistics type="X" sum="1" unit="m"/></MetadataEntry>
        </Workout>
        <Other><WorkoutStatistics type="HKQuantityTypeIdentifierHeartRate" average="99" unit="count/min"/></Other>
        <Workout workoutActivityType="B" startDate="2026-03-01 09:00:00 +0100"/>
    </HealthData>"#;
    let found = normalized(body);
    let parts: Vec<usize> = found.readings.iter().map(|reading| reading.components.len()).collect();
    assert_eq!(parts, [1, 0]);
    let devices: Vec<Option<&str>> =
        found.readings.iter().map(|reading| reading.device.as_ref().map(|device| device.id.as_str())).collect();
    assert_eq!(devices, [Some("u-1"), None]);
}

#[test]
fn a_workout_of_1000_statistics_is_read_and_one_more_is_not() {
    let found = |count: usize| {
        let statistics = r#"<WorkoutStatistics type="X" sum="1" unit="m"/>"#.repeat(count);
        let found = normalized(&format!(
            "<HealthData><Workout workoutActivityType='A' startDate='2026-03-01 08:00:00 +0100'>{statistics}</Workout></HealthData>"
        ));
        (found.readings.first().map(|reading| reading.components.len()), found.rejections.first().map(|r| r.reason))
    };
    assert_eq!(found(1_000), (Some(1_000), None));
    for more in [1_001, 1_002] {
        assert_eq!(found(more), (None, Some(Reason::TooLarge)));
    }
}

#[test]
fn an_export_of_100_000_items_is_read_and_one_more_is_not() {
    let items = |count: usize, end: &str| {
        let found = normalized(&format!("<HealthData>{RECORD}{}{end}", "<a/>".repeat(count - 1)));
        let whole = found.rejections.iter().filter(|rejection| rejection.item.is_none()).map(|whole| whole.reason);
        (found.readings.len(), found.items(), whole.collect::<Vec<_>>())
    };
    assert_eq!(items(100_000, "</HealthData>"), (1, 100_000, Vec::new()));
    assert_eq!(items(100_001, "</HealthData>"), (1, 100_001, vec![Reason::TooLarge]));
    assert_eq!(items(100_000, "</Other>"), (1, 100_001, vec![Reason::Malformed]));
}
