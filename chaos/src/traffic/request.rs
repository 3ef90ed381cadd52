//! One request of the traffic, and the bodies that are made from the documented examples.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use rand::{Rng as _, rngs::StdRng};
use schemas::{
    example::{Example, PAYLOADS},
    format::{Format, Provider, RawTopic},
    raw::RecordKind,
};
use serde_json::json;

/// A request, and what the raw record of it must be.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) topic: RawTopic,
    pub(crate) kind: RecordKind,
    pub(crate) correlation_id: String,
    pub(crate) is_compressed: bool,
    /// The body with the values of the example, from which a correction is made.
    template: Option<String>,
}

/// The digits of a date and an hour that every example contains.
const DATE: &str = "2025-06-14";
/// Numbers in the examples that are measured values.
const VALUES: [&str; 6] = ["128", "82", "81.4", "81400", "61", "97"];

/// What distinguishes one request from the example.
enum Variation {
    /// New ids and times.
    Plain,
    /// A unit that does not exist.
    WrongUnit,
    /// The body ends too early.
    Truncated,
    /// A text that Postgres cannot store.
    Nul,
}

impl Request {
    /// A request with new readings, of any provider and format.
    pub(crate) fn new(dice: &mut StdRng) -> Self {
        match dice.random_range(0..100) {
            0..2 => return Self::array(dice, 150),
            2..4 => return Self::document(dice),
            4..6 => return Self::of(dice, (Provider::Medisante, Format::StandardJson), &Variation::Nul),
            _ => {}
        }
        let Some(example) = PAYLOADS.get(dice.random_range(0..PAYLOADS.len())) else { return Self::document(dice) };
        let variation = match dice.random_range(0..100) {
            0..6 => Variation::WrongUnit,
            6..9 => Variation::Truncated,
            _ => Variation::Plain,
        };
        Self::from_example(dice, example, &variation)
    }

    /// A small request for each raw topic of payloads in turn, whose reading nothing else has.
    pub(crate) fn probe(dice: &mut StdRng, number: usize) -> Self {
        let of = match number % 3 {
            0 => (Provider::HealthKit, Format::FhirXml),
            1 => (Provider::Medisante, Format::StandardXml),
            _ => (Provider::HealthKit, Format::ExportXml),
        };
        Self { is_compressed: false, ..Self::of(dice, of, &Variation::Plain) }
    }

    /// A request of one provider and format.
    fn of(dice: &mut StdRng, of: (Provider, Format), variation: &Variation) -> Self {
        match PAYLOADS.iter().find(|example| (example.provider, example.format) == of) {
            Some(example) => Self::from_example(dice, example, variation),
            None => Self::document(dice),
        }
    }

    /// An export that is stored in several chunks.
    pub(crate) fn export(dice: &mut StdRng) -> Self {
        let mut body = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<HealthData locale=\"en_CH\">\n");
        let date = date(dice);
        for number in 0..2_400 {
            let at = format!("{date} {:02}:{:02}:{:02} +0000", number / 3_600, number / 60 % 60, number % 60);
            let record = format!(
                " <Record type=\"HKQuantityTypeIdentifierHeartRate\" sourceName=\"Watch\" unit=\"count/min\" creationDate=\"{at}\" \
                 startDate=\"{at}\" endDate=\"{at}\" value=\"{}\">\n  <MetadataEntry key=\"HKMetadataKeyHeartRateMotionContext\" \
                 value=\"1\"/>\n </Record>\n",
                dice.random_range(50..150)
            );
            body.push_str(&record);
        }
        body.push_str("</HealthData>\n");
        let path = format!("/health-data/healthkit/export-xml?deviceId=export-{}", dice.random_range(0..1_000_000));
        Self {
            path,
            content_type: "application/xml",
            body: body.into_bytes(),
            topic: RawTopic::Uploads,
            kind: RecordKind::Payload(Format::ExportXml),
            correlation_id: uuid(dice),
            is_compressed: false,
            template: None,
        }
    }

    /// A device command. `path` is below `/devices`.
    pub(crate) fn command(dice: &mut StdRng, path: &str, body: Vec<u8>) -> Self {
        let kind = if path == "assign" { RecordKind::Assign } else { RecordKind::Unassign };
        Self {
            path: format!("/devices/{path}"),
            content_type: "application/json",
            body,
            topic: RawTopic::Devices,
            kind,
            correlation_id: uuid(dice),
            is_compressed: false,
            template: None,
        }
    }

    /// The same readings with other values: later versions of them.
    pub(crate) fn corrected(&self, dice: &mut StdRng) -> Self {
        let body = self
            .template
            .as_ref()
            .map_or_else(|| self.body.clone(), |text| with_values(text.clone(), dice).into_bytes());
        Self { body, correlation_id: uuid(dice), ..self.clone() }
    }

    /// The same body in another request.
    pub(crate) fn repeated(&self, dice: &mut StdRng) -> Self {
        Self { correlation_id: uuid(dice), is_compressed: dice.random_bool(0.1), ..self.clone() }
    }

    /// The body as it is sent: compressed, or as it is.
    pub(crate) fn sent_body(&self) -> Vec<u8> {
        if !self.is_compressed {
            return self.body.clone();
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory does not fail.
        let _never = encoder.write_all(&self.body);
        encoder.finish().unwrap_or_default()
    }

    fn from_example(dice: &mut StdRng, example: &Example, variation: &Variation) -> Self {
        let template = with_new_ids(example.text, dice);
        let text = with_values(template.clone(), dice);
        let mut body = match variation {
            Variation::Plain | Variation::Truncated => text,
            Variation::WrongUnit => text.replace("kg", "parsec").replace("mmHg", "parsec"),
            Variation::Nul => text.replace("\"Acme\"", "\"Ac\\u0000me\""),
        }
        .into_bytes();
        if matches!(variation, Variation::Truncated) {
            body.truncate(body.len() / 2);
        }
        let query = match example.provider {
            Provider::Medisante => String::new(),
            Provider::HealthKit => format!("?deviceId=watch-{}", dice.random_range(0..40)),
        };
        Self {
            path: format!("/health-data/{}/{}{query}", example.provider.as_str(), example.format.as_str()),
            content_type: example.content_type,
            body,
            topic: example.provider.raw_topic(example.format),
            kind: RecordKind::Payload(example.format),
            correlation_id: uuid(dice),
            is_compressed: dice.random_bool(0.1),
            template: Some(template),
        }
    }

    /// An array of many HealthKit samples, of which some have no unit.
    fn array(dice: &mut StdRng, samples: usize) -> Self {
        let day = date(dice);
        let samples: Vec<_> = (0..samples)
            .map(|number| {
                let at = format!("{day}T{:02}:{:02}:00.000+0200", number / 60, number % 60);
                let unit = if dice.random_bool(0.05) { None } else { Some("kg") };
                json!({
                    "id": uuid(dice).to_uppercase(), "type": "BodyMass", "value": dice.random_range(40..120), "unit": unit,
                    "sourceName": "Scale", "sourceId": "com.example.scale", "startDate": at, "endDate": at,
                })
            })
            .collect();
        Self {
            path: format!("/health-data/healthkit/standard-json?deviceId=watch-{}", dice.random_range(0..40)),
            content_type: "application/json",
            body: json!(samples).to_string().into_bytes(),
            topic: RawTopic::HealthKit,
            kind: RecordKind::Payload(Format::StandardJson),
            correlation_id: uuid(dice),
            is_compressed: true,
            template: None,
        }
    }

    /// A message with a document. The same few documents occur again and again.
    fn document(dice: &mut StdRng) -> Self {
        let day = date(dice);
        let document = if dice.random_bool(0.5) { "JVBERi0xLjcgaW52ZW50ZWQ=" } else { "JVBERi0xLjcgb3RoZXI=" };
        let body = json!({
            "metadata": { "correlationId": uuid(dice), "receivedTime": format!("{day}T08:00:00Z"), "measurementType": "ECG" },
            "device": { "id": "Invented Devices:ECG-1:000003" },
            "measurements": { "timestamp": format!("{day}T07:59:00Z"), "documents": { "ecgReportBase64PDF": document } },
        });
        Self {
            path: "/health-data/medisante/standard-json".to_owned(),
            content_type: "application/json",
            body: body.to_string().into_bytes(),
            topic: RawTopic::Medisante,
            kind: RecordKind::Payload(Format::StandardJson),
            correlation_id: uuid(dice),
            is_compressed: false,
            template: None,
        }
    }
}

/// Replaces all UUIDs, dates and device numbers of an example.
fn with_new_ids(text: &str, dice: &mut StdRng) -> String {
    let mut text = text.replace(DATE, &date(dice));
    text = text.replace("PX-1001", &format!("PX-{}", dice.random_range(0..40)));
    text = text.replace("SC-2002", &format!("SC-{}", dice.random_range(0..40)));
    let mut from = 0;
    while let Some(at) = next_uuid(&text, from) {
        text.replace_range(at..at + UUID_CHARACTERS, &uuid(dice).to_uppercase());
        from = at + UUID_CHARACTERS;
    }
    // Formats without ids distinguish readings by their time.
    let minute = format!("07:{:02}:", dice.random_range(0..60));
    text.replace("07:30:", &minute).replace("07:32:", &minute).replace("07:35:", &minute)
}

/// Replaces the measured values.
fn with_values(mut text: String, dice: &mut StdRng) -> String {
    for value in VALUES {
        for (before, after) in [("\"", "\""), (": ", ","), (": ", "}")] {
            let found = format!("{before}{value}{after}");
            let other = format!("{before}{}.{}{after}", dice.random_range(50..130), dice.random_range(1..10));
            text = text.replace(&found, &other);
        }
    }
    text
}

const UUID_CHARACTERS: usize = 36;

fn next_uuid(text: &str, from: usize) -> Option<usize> {
    let last = text.len().checked_sub(UUID_CHARACTERS)?;
    let is_uuid = |at: &usize| {
        let found = text.get(*at..*at + UUID_CHARACTERS);
        found.is_some_and(|found| uuid::Uuid::try_parse(found).is_ok())
    };
    (from..=last).find(is_uuid)
}

fn date(dice: &mut StdRng) -> String {
    format!("20{:02}-{:02}-{:02}", dice.random_range(10..25), dice.random_range(1..13), dice.random_range(1..29))
}

pub(crate) fn uuid(dice: &mut StdRng) -> String {
    uuid::Builder::from_random_bytes(dice.random()).into_uuid().to_string()
}
