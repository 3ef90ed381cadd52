//! The edges of Apple's export: what is well-formed, where it breaks off, and the largest that is read.

use normalizer::Normalized;
use schemas::{
    format::{Format, RawTopic},
    raw::Kind,
    rejection::Reason,
};

use crate::record::{self, headers};

const RECORD: &str = r#"<Record type="HKQuantityTypeIdentifierHeartRate" unit="count/min" value="61" startDate="2026-03-01 08:00:00 +0100"/>"#;

fn normalized(body: &str) -> Normalized {
    record::normalized(RawTopic::HealthKit, headers(Kind::Payload(Format::ExportXml), "export"), body.as_bytes(), 0)
}

/// How many readings there are, and why the rest of the export is refused.
fn outcome(body: &str) -> (usize, Option<(Reason, &'static str)>) {
    let found = normalized(body);
    let whole = found.rejections.iter().find(|rejection| rejection.item.is_none());
    (found.readings.len(), whole.map(|rejection| (rejection.reason, rejection.detail)))
}

/// What is refused after its one record was read.
fn broken(body: &str) {
    let syntax = (Reason::Malformed, "the export is not well-formed XML; what stands before is read");
    assert_eq!(outcome(body), (1, Some(syntax)), "{body}");
}

fn read(body: &str) {
    assert_eq!(outcome(body), (1, None), "{body}");
}

#[test]
fn what_is_well_formed_is_read() {
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
fn what_is_not_well_formed_is_read_as_far_as_it_is() {
    let inside = |text: &str| broken(&format!("<HealthData>{RECORD}{text}</HealthData>"));
    inside("&nbsp;");
    inside("&#0;");
    inside("<a b='<'/>");
    inside("<a b='&nbsp;'/>");
    inside("<a b='1' b='2'/>");
    // Names that are as long and end alike, and so are compared.
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
    let syntax = "the export is not well-formed XML; what stands before is read";
    none(&format!("text<HealthData>{RECORD}</HealthData>"), Reason::Malformed, syntax);
    none(&format!("<![CDATA[text]]><HealthData>{RECORD}</HealthData>"), Reason::Malformed, syntax);
    none("", Reason::Malformed, syntax);
    none(" <!-- nothing --> ", Reason::Malformed, syntax);
    none(&format!("<Other>{RECORD}</Other>"), Reason::UnexpectedShape, "the XML is no HealthData");
    none(
        &format!("<?xml version=\"1.0\" encoding=\"latin1\"?><HealthData>{RECORD}</HealthData>"),
        Reason::Malformed,
        "the export is in another encoding than UTF-8",
    );
}

#[test]
fn names_that_end_alike_are_told_apart() {
    let record = RECORD.replace("<Record", "<Record ab='1' cb='2' db='3'");
    read(&format!("<HealthData>{record}</HealthData>"));
}

#[test]
fn the_largest_is_read_and_one_more_is_not() {
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

#[test]
fn a_workout_ends_where_its_element_does() {
    // Statistics that stand in no workout, and a workout after another without any.
    let body = r#"<HealthData>
        <Workout workoutActivityType="A" startDate="2026-03-01 08:00:00 +0100" device="&lt;&lt;HKDevice: 0x1&gt;, name:Watch, UDIDeviceIdentifier:u-1&gt;">
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
