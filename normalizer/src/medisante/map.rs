//! Measurements into readings.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use catalogue::{MEDISANTE, Metric, Vocabulary, metric_by_key, metric_by_spelling};
use schemas::{
    event::{
        Coding, Component, Device, Document, DocumentReference, Flag, Missing, Precision, Reading, Status, UnknownKind,
        Value,
    },
    format::Provider,
    identity::{Content, Identity},
    raw::RawRecord,
    rejection::Reason,
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{wire, xml::Groups};
use crate::{
    drift::{Shapes, named},
    json::{Literal, Members, Noted, Word},
    observed::{
        self, Coded, Items, NO_UNIT, Observed, Origin, Refused, RefusedItem, Source, Times, coding, device, refused,
    },
    shape::{Misshapen, misshapen},
};

/// The code system of annotations: Medisanté publishes none.
const ANNOTATION: &str = "urn:medisante:annotation";
/// The parts of a blood pressure, which are one reading with components (LOINC 85354-9).
const PRESSURES: [&str; 3] = ["systolicBloodPressure", "diastolicBloodPressure", "meanBloodPressure"];
const NO_VALUE: Refused = refused(Reason::ValueMissing, "a measurement has no value");
/// Members of `measurements` that are no measurement.
const ABOUT: [&str; 4] = ["timestamp", "annotations", "device", "documents"];

/// The message as it was sent, for the bytes of a refused item.
pub(super) enum Sent<'a> {
    /// As the JSON that is mapped.
    Json,
    /// As XML, of which these are the measurements and the documents.
    Xml { measurements: Groups<'a, 'a>, documents: Groups<'a, 'a> },
}

impl Sent<'_> {
    /// What was sent of a measurement, or of all parts of one: `json` is what is mapped of it.
    fn measured<'j>(&self, names: &[&str], json: impl Into<Cow<'j, str>>) -> Cow<'j, str> {
        match self {
            Self::Json => json.into(),
            Self::Xml { measurements, .. } => measurements.outer(names).map_or_else(|| json.into(), Cow::Owned),
        }
    }

    /// What was sent of a document.
    fn document<'j>(&self, name: &str, json: &'j str) -> Cow<'j, str> {
        match self {
            Self::Json => Cow::Borrowed(json),
            Self::Xml { documents, .. } => documents.outer(&[name]).map_or(Cow::Borrowed(json), Cow::Owned),
        }
    }
}

/// What all readings of a message share.
pub(super) struct Head<'a> {
    record: &'a RawRecord<'a>,
    origin: Origin,
    sent: Sent<'a>,
    correlation_id: Option<&'a str>,
    measurement_type: Option<&'a str>,
    device: Option<Device>,
    gateway: Option<Device>,
    timestamp: Option<String>,
    updated_at: Option<i64>,
}

impl<'a> Head<'a> {
    pub(super) fn of(
        (record, origin): (&'a RawRecord<'a>, Origin),
        sent: Sent<'a>,
        Noted { known: message, unknown }: &'a Noted<'a, wire::Message<'a>>,
        shapes: &mut Shapes,
    ) -> Result<Self, Refused> {
        shapes.members("", unknown);
        let outer = message.device.as_ref().map(|device| described("device.", device, shapes)).transpose()?.flatten();
        let inner = match message.measurements.get("device") {
            Some(raw) => shaped::<Option<Noted<'_, wire::Device<'_>>>>("device", raw)?
                .map(|device| described("measurements.device.", &device, shapes))
                .transpose()?
                .flatten(),
            None => None,
        };
        let (device, gateway) = if inner.is_some() { (inner, outer) } else { (outer, None) };
        let timestamp = match message.measurements.get("timestamp") {
            Some(raw) => read::<Option<Literal<'_>>>(raw)
                .ok_or(refused(Reason::TimeInvalid, "measurements.timestamp is neither text nor number"))?
                .map(|literal| literal.0.into_owned())
                .filter(|text| !text.trim().is_empty()),
            None => None,
        };
        if let Some(metadata) = &message.metadata {
            shapes.members("metadata.", &metadata.unknown);
        }
        let metadata = message.metadata.as_ref().map(|metadata| &metadata.known);
        Ok(Self {
            record,
            origin,
            sent,
            correlation_id: metadata.and_then(|metadata| said(metadata.correlation_id.as_ref())),
            measurement_type: metadata.and_then(|metadata| said(metadata.measurement_type.as_ref())),
            device,
            gateway,
            timestamp,
            updated_at: metadata
                .and_then(|metadata| metadata.received_time.as_ref())
                .and_then(|literal| super::timestamp::read(&literal.0).ok())
                .map(|moment| moment.from_us()),
        })
    }

    /// What an item came to; a refused one is of the message's device.
    fn own(&self, found: Result<Reading, Refused>) -> Result<Reading, RefusedItem> {
        found.map_err(|refused| refused.of(self.device.as_ref().map(|device| device.key)))
    }

    fn times(&self) -> Result<Times, Refused> {
        let Some(text) = &self.timestamp else { return Ok(Times::default()) };
        let moment = super::timestamp::read(text).map_err(|_| {
            refused(Reason::TimeInvalid, "measurements.timestamp is neither RFC 3339 nor seconds since 1970")
        })?;
        Ok(Times {
            from: Some(moment.from_us()),
            imprecise_until: moment.until_us(),
            precision: Precision::from_word(moment.precision().as_str()).unwrap_or(Precision::None),
            offset_minutes: moment.offset_minutes().map(i32::from),
            from_text: Some(text.clone()),
            local: moment.zone_assumed(),
            ..Times::default()
        })
    }

    /// The reading of one measurement. `literals` are what the source wrote of it.
    fn reading(&self, item: u32, key: &str, part: Part, literals: &[Option<&str>]) -> Result<Reading, Refused> {
        let key = key.to_ascii_lowercase();
        let device_id = self.device.as_ref().map(|device| device.id.as_str());
        let timestamp = self.timestamp.as_deref();
        let mut content = Content::default();
        content.literal(&key);
        content.optional(device_id);
        content.optional(self.gateway.as_ref().map(|gateway| gateway.id.as_str()));
        content.optional(timestamp);
        for literal in literals {
            content.optional(*literal);
        }
        let times = self.times()?;
        let observed = Observed {
            item,
            device: self.device.clone(),
            gateway: self.gateway.clone(),
            patient_claim: None,
            coded: part.coded,
            components: part.components,
            status: Status::Final,
            times,
            source_version: None,
            source_updated_at: self.updated_at,
        };
        if let Some(correlation_id) = self.correlation_id {
            let stable = [correlation_id, key.as_str()];
            return Ok(observed.reading(self.record, self.origin, Identity::Stable(&stable), content));
        }
        let mut named = vec![key.as_str(), device_id.unwrap_or_default(), timestamp.unwrap_or_default()];
        named.extend(literals.iter().map(|literal| literal.unwrap_or_default()));
        Ok(observed.reading(self.record, self.origin, Identity::Literals(&named), content))
    }
}

/// Code, value and components of a reading.
struct Part {
    coded: Coded,
    components: Vec<Component>,
}

impl From<Coded> for Part {
    fn from(coded: Coded) -> Self {
        Self { coded, components: Vec::new() }
    }
}

/// All measurements of a message, in their order. The parts of a blood pressure are one item, at the place of the first.
pub(super) fn items(head: &Head<'_>, message: &wire::Message<'_>, items: &mut Items, documents: &mut Vec<Document>) {
    let measurements = &message.measurements;
    let is_pressure = |name: &str| PRESSURES.iter().any(|pressure| name.eq_ignore_ascii_case(pressure));
    let (mut item, mut pressure_done) = (0, false);
    for (name, raw) in &measurements.0 {
        let name = name.0.as_ref();
        if ABOUT.iter().any(|about| name.eq_ignore_ascii_case(about)) || (is_pressure(name) && pressure_done) {
            continue;
        }
        let found = if is_pressure(name) {
            pressure_done = true;
            pressure(head, item, message, &mut items.unknown)
        } else {
            measurement(head, item, (name, raw), &mut items.unknown)
        };
        if is_unknown(name, &found) {
            items.unknown.member(UnknownKind::Metric, "measurements.", name, raw);
        }
        if found.is_err() && is_pressure(name) {
            items.add(item, head.own(found), &head.sent.measured(&PRESSURES, pressure_text(measurements)));
        } else {
            items.add(item, head.own(found), &head.sent.measured(&[name], raw.get()));
        }
        item += 1;
    }
    if let Some(raw) = measurements.get("documents") {
        attached(head, item, raw, items, documents);
    }
    if let Some(raw) = measurements.get("annotations") {
        annotate(&mut items.readings, head.measurement_type, raw);
    }
}

/// Adds the annotations of a message to the one reading that it is about: the blood pressure, else what
/// `metadata.measurementType` names, else any, by name, so that no order counts. They are part of its content, so that a
/// corrected one is a new version.
fn annotate(readings: &mut [Reading], measurement_type: Option<&str>, raw: &RawValue) {
    let annotations = annotations(raw);
    if annotations.is_empty() {
        return;
    }
    let named = measurement_type.and_then(|name| metric_by_spelling(Vocabulary::Medisante, name));
    // `ECG` for ecgSamples, `BodyWeightComposition` for bodyWeight.
    let is_like = |name: &str| {
        let (name, kind) = (name.to_ascii_lowercase(), measurement_type.unwrap_or_default().to_ascii_lowercase());
        !kind.is_empty() && (name.starts_with(&kind) || kind.starts_with(&name))
    };
    let is_about = |reading: &Reading| {
        let Some(name) = reading.source_codes.first() else { return (0, String::new()) };
        let is_named = named.is_some_and(|metric| metric.codes().any(|code| code.code() == reading.code.code));
        (if is_named || is_like(&name.code) { 1 } else { 2 }, name.code.to_string())
    };
    if let Some(reading) = readings.iter_mut().min_by_key(|reading| is_about(reading)) {
        let mut content = Content::from(reading.content);
        let mut sorted: Vec<&Component> = annotations.iter().collect();
        sorted.sort_by_key(|annotation| &annotation.code.code);
        for Component { code, value, .. } in sorted {
            content.literal(&code.code);
            content.optional(match value {
                Value::Text(text) => Some(text),
                Value::Boolean(true) => Some("true"),
                Value::Boolean(false)
                | Value::Quantity(_)
                | Value::Coded(_)
                | Value::Waveform(_)
                | Value::Document(_)
                | Value::Absent(_) => None,
            });
        }
        reading.content = content.finish();
        reading.components.extend(annotations);
    }
}

/// Whether the catalogue does not know a measurement. It is asked again only where there is no reading that says so.
fn is_unknown(name: &str, found: &Result<Reading, Refused>) -> bool {
    match found {
        Ok(reading) => reading.flags.contains(&Flag::UnknownMetric),
        Err(_) => metric_by_spelling(Vocabulary::Medisante, name).is_none(),
    }
}

/// The documents of a message; `first` is the item that the first of them is.
fn attached(head: &Head<'_>, first: u32, raw: &RawValue, items: &mut Items, documents: &mut Vec<Document>) {
    let members = match shaped::<Option<Members<'_>>>("documents", raw) {
        Ok(members) => members,
        Err(refusal) => {
            return items.add(first, head.own(Err(refusal)), &head.sent.measured(&["documents"], raw.get()));
        }
    };
    for (item, (name, raw)) in (first..).zip(members.map_or(Vec::new(), |members| members.0)) {
        if metric_by_spelling(Vocabulary::Medisante, &name.0).is_none() {
            items.unknown.member(UnknownKind::Metric, "measurements.documents.", &name.0, raw);
        }
        let found = document(head, item, (&name.0, raw)).map(|(reading, document)| {
            documents.push(document);
            reading
        });
        items.add(item, head.own(found), &head.sent.document(&name.0, raw.get()));
    }
}

/// All that the source wrote of a blood pressure.
fn pressure_text(measurements: &Members<'_>) -> String {
    let parts = PRESSURES.iter().filter_map(|name| Some(format!("\"{name}\":{}", measurements.get(name)?.get())));
    format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
}

fn pressure(head: &Head<'_>, item: u32, message: &wire::Message<'_>, shapes: &mut Shapes) -> Result<Reading, Refused> {
    let mut components = Vec::new();
    let mut literals = Vec::new();
    let mut measured = Vec::new();
    for name in PRESSURES {
        // Some models have no mean and say so with null.
        let Some(raw) = message.measurements.get(name).filter(|raw| raw.get() != "null") else { continue };
        let measurement = wire_measurement(name, raw)?;
        if measurement.known.value.is_some() {
            measured.push((name, measurement));
        }
    }
    if measured.is_empty() {
        return Err(NO_VALUE);
    }
    for (name, measurement) in &measured {
        let Noted { known, .. } = measurement;
        let metric = metric_by_spelling(Vocabulary::Medisante, name);
        components.push(quantity((name, metric), measurement, shapes)?.into());
        literals.push(Some(*name));
        literals.push(known.value.as_ref().map(|value| value.0.as_ref()));
        literals.push(text(known.unit.as_ref()));
        literals.push(known.is_in_range.map(RawValue::get));
    }
    let panel = metric_by_key("blood_pressure").or_else(|| metric_by_spelling(Vocabulary::Medisante, "bloodPressure"));
    let code = panel.map_or_else(|| local("bloodPressure"), |panel| coding(panel.code()));
    let coded = Coded { code, source_codes: Vec::new(), value: Value::Absent(Missing::Panel), flags: Vec::new() };
    head.reading(item, "bloodPressure", Part { coded, components }, &literals)
}

fn measurement(
    head: &Head<'_>,
    item: u32,
    (name, raw): (&str, &RawValue),
    shapes: &mut Shapes,
) -> Result<Reading, Refused> {
    if name.eq_ignore_ascii_case("ecgSamples") {
        return waveform(head, item, (name, raw), shapes);
    }
    let metric = metric_by_spelling(Vocabulary::Medisante, name);
    if metric.is_none()
        && let Some(value) = wire::other(raw)
    {
        let code = local(name);
        let coded = Coded { code: code.clone(), source_codes: vec![code], value, flags: vec![Flag::UnknownMetric] };
        return head.reading(item, name, coded.into(), &[Some(raw.get())]);
    }
    let measurement = wire_measurement(name, raw)?;
    let coded = quantity((name, metric), &measurement, shapes)?;
    let Noted { known, .. } = &measurement;
    let literals = [
        known.value.as_ref().map(|value| value.0.as_ref()),
        text(known.unit.as_ref()),
        known.is_in_range.map(RawValue::get),
    ];
    head.reading(item, name, coded.into(), &literals)
}

/// `{value, unit, isInRange}`, or a bare value.
fn wire_measurement<'a>(name: &str, raw: &'a RawValue) -> Result<Noted<'a, wire::Measurement<'a>>, Refused> {
    if raw.get() == "null" {
        return Err(NO_VALUE);
    }
    if raw.get().starts_with('{') {
        return shaped(name, raw);
    }
    let bare = |value| wire::Measurement { value: Some(value), unit: None, is_in_range: None };
    let value = read::<Literal<'_>>(raw).ok_or_else(|| {
        let fault = Misshapen::whole("must be an object of value and unit, a number or a text");
        fault.within(&format!("measurements.{}", named(name))).refused("the payload")
    })?;
    Ok(Noted { known: bare(value), unknown: Vec::new() })
}

fn quantity(
    (name, metric): (&str, Option<&'static Metric>),
    Noted { known: measurement, unknown }: &Noted<'_, wire::Measurement<'_>>,
    shapes: &mut Shapes,
) -> Result<Coded, Refused> {
    if metric.is_some() && !unknown.is_empty() {
        shapes.members(&format!("measurements.{name}."), unknown);
    }
    let number = measurement.value.as_ref().ok_or(NO_VALUE)?;
    let given = text(measurement.unit.as_ref());
    let source = Source { number: number.0.trim(), units: [given, None], comparator: None };
    let mut measure = source.measure(metric)?;
    if measure.flags.contains(&Flag::UnknownUnit) {
        shapes.unit(given.unwrap_or_default());
        return Err(refused(Reason::UnitInvalid, "the catalogue does not know the unit for this measurement"));
    }
    if measurement.is_in_range.is_some_and(|word| word.get().trim_matches('"').eq_ignore_ascii_case("false")) {
        measure.flags.push(Flag::SenderOutOfRange);
    }
    let code = measure.code.or_else(|| metric.map(Metric::code)).map_or_else(|| local(name), coding);
    Ok(Coded { code, source_codes: vec![local(name)], value: Value::Quantity(measure.quantity), flags: measure.flags })
}

/// What Medisanté calls it.
fn local(name: &str) -> Coding {
    Coding { system: MEDISANTE.into(), code: name.to_owned().into(), display: None }
}

fn annotations(raw: &RawValue) -> Vec<Component> {
    match read::<Members<'_>>(raw) {
        Some(members) => members.0.into_iter().filter_map(|(name, raw)| annotation(&name.0, raw)).collect(),
        // Whatever else it is, a list, a text, a name twice or more names than are read, is kept as it stands.
        None => annotation("annotations", raw).into_iter().collect(),
    }
}

/// An annotation as it was written: Medisanté documents no meaning for most, so none is given to them.
fn annotation(name: &str, raw: &RawValue) -> Option<Component> {
    let raw_text = raw.get();
    let value = match raw_text {
        "null" => return None,
        "true" | "\"true\"" => Value::Boolean(true),
        "false" | "\"false\"" => Value::Boolean(false),
        // A number too: nobody says its unit.
        _ => Value::Text(read::<Word<'_>>(raw).map_or_else(|| raw_text.to_owned(), |word| word.0.into_owned())),
    };
    let code = Coding { system: ANNOTATION.into(), code: name.to_owned().into(), display: None };
    Some(Component { code, source_codes: Vec::new(), value, flags: Vec::new() })
}

fn waveform(
    head: &Head<'_>,
    item: u32,
    (name, raw): (&str, &RawValue),
    shapes: &mut Shapes,
) -> Result<Reading, Refused> {
    let Noted::<'_, wire::Waveform<'_>> { known: wave, unknown } = shaped("ecgSamples", raw)?;
    shapes.members("measurements.ecgSamples.", &unknown);
    let number = refused(Reason::ValueInvalid, "a sample of ecgSamples or its frequency is no number");
    let unit = text(wave.unit.as_ref()).ok_or(NO_UNIT)?;
    let waveform = wave.samples.0.and_then(|samples| observed::waveform(samples, wave.frequency.0.trim(), unit));
    let (found, flags) = waveform.map_err(|_| number)?;
    if found.samples.is_empty() {
        return Err(NO_VALUE);
    }
    let samples = found.samples.clone();
    let literals = [Some(samples.as_str()), Some(wave.frequency.0.as_ref()), Some(unit)];
    let value = Value::Waveform(found);
    let metric = metric_by_spelling(Vocabulary::Medisante, name);
    let code = metric.map_or_else(|| local(name), |metric| coding(metric.code()));
    let coded = Coded { code, source_codes: vec![local(name)], value, flags };
    head.reading(item, name, coded.into(), &literals)
}

fn document(head: &Head<'_>, item: u32, (name, raw): (&str, &RawValue)) -> Result<(Reading, Document), Refused> {
    const INVALID: Refused = refused(Reason::DocumentInvalid, "a document is not standard base64");
    let word = read::<Word<'_>>(raw).ok_or(INVALID)?;
    let content = STANDARD.decode(word.0.trim()).map_err(|_| INVALID)?;
    if content.is_empty() {
        return Err(refused(Reason::DocumentInvalid, "a document is empty"));
    }
    let sha256: [u8; 32] = Sha256::digest(&content).into();
    let is_pdf = name.to_ascii_lowercase().ends_with("pdf");
    let content_type = if is_pdf { "application/pdf" } else { "application/octet-stream" };
    let metric = metric_by_spelling(Vocabulary::Medisante, name);
    let coded = Coded {
        code: metric.map_or_else(|| local(name), |metric| coding(metric.code())),
        source_codes: vec![local(name)],
        value: Value::Document(DocumentReference {
            sha256,
            content_type: content_type.to_owned(),
            bytes: i64::try_from(content.len()).unwrap_or(i64::MAX),
            title: None,
        }),
        flags: Vec::new(),
    };
    let reading = head.reading(item, name, coded.into(), &[Some(word.0.as_ref())])?;
    let document = Document {
        sha256,
        content_type: content_type.to_owned(),
        content,
        provider: Provider::Medisante,
        source: head.record.headers.source.clone(),
        received_at: head.record.received_at,
        key_id: head.record.headers.key_id.clone(),
    };
    Ok((reading, document))
}

/// The device under the first id it has; none when it has none.
fn described(
    path: &str,
    Noted { known: wire, unknown }: &Noted<'_, wire::Device<'_>>,
    shapes: &mut Shapes,
) -> Result<Option<Device>, Refused> {
    shapes.members(path, unknown);
    let ids = [wire.id.as_ref(), wire.imei.as_ref(), wire.serial_number.as_ref()];
    let Some(id) = ids.into_iter().find_map(said) else { return Ok(None) };
    Ok(Some(Device {
        manufacturer: said(wire.manufacturer.as_ref()).map(Into::into),
        model: said(wire.model.as_ref()).map(Into::into),
        serial: said(wire.serial_number.as_ref()).map(Into::into),
        ..device(Provider::Medisante, id)?
    }))
}

/// An identifier that says something.
fn said<'a>(literal: Option<&'a Literal<'_>>) -> Option<&'a str> {
    literal.map(|literal| literal.0.trim()).filter(|text| !text.is_empty())
}

/// A text that says something.
fn text<'a>(word: Option<&'a Word<'_>>) -> Option<&'a str> {
    word.map(|word| word.0.trim()).filter(|text| !text.is_empty())
}

/// Reads a member of `measurements`.
fn shaped<'a, T: serde::Deserialize<'a>>(name: &str, raw: &'a RawValue) -> Result<T, Refused> {
    read(raw).ok_or_else(|| {
        let fault = misshapen::<T>(raw.get());
        fault.within(&format!("measurements.{}", named(name))).refused("the payload")
    })
}

fn read<'a, T: serde::Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}
