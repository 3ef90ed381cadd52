//! One entry becomes one reading.

use std::borrow::Cow;

use catalogue::{self, Metric, Vocabulary};
use schemas::{
    event::{Coding, Missing, Reading, UnknownKind, Value},
    identity::{Content, Identity},
    raw::RawRecord,
    rejection::Reason,
};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    drift::Shapes,
    json::{Literal, Word},
    observed::{Observed, Origin, Refused, Times, device, refused},
};

use super::{
    names::is_known,
    time, value,
    wire::{Entry, Group, Kind, NAME_BYTES_MAX},
};

/// Where the entry stands and what it is about.
pub(super) struct Subject<'a> {
    pub(super) kind: Kind,
    /// What the app calls it.
    pub(super) name: Cow<'a, str>,
    pub(super) metric: Option<&'static Metric>,
    /// The unit of its numbers as it is written.
    pub(super) units: Option<Cow<'a, str>>,
}

impl Subject<'_> {
    /// What the app calls the subject, as a code: it publishes no code system, so that each member has one here.
    pub(super) fn coding(&self) -> Coding {
        self.code(&self.name)
    }

    /// What the app calls a part of it.
    pub(super) fn part(&self, name: &str) -> Coding {
        self.code(&format!("{}.{name}", self.name))
    }

    fn code(&self, code: &str) -> Coding {
        let system = format!("urn:health-auto-export:{}", self.kind.name()).into();
        Coding { system, code: code.to_owned().into(), display: None }
    }
}

/// Maps one entry.
pub(super) fn reading(
    (record, origin): (&RawRecord<'_>, Origin),
    (item, text): (u32, &str),
    group: &Group<'_>,
    shapes: &mut Shapes,
) -> Result<Reading, Refused> {
    let kind = group.kind.clone()?;
    let entry = Entry::read(text)?;
    for (name, value) in entry.0.iter().filter(|(name, _)| !is_known(&name.0)) {
        shapes.member(UnknownKind::Field, kind.path(), &name.0, value);
    }
    let subject = subject(kind, group, &entry)?;
    let (times, spent) = time::times(&entry)?;
    let found = value::value(&subject, &entry, spent);
    if found.is_err() && subject.metric.is_none() {
        shapes.metric(&subject.name);
    }
    let (coded, components) = found?;
    if matches!(coded.value, Value::Absent(Missing::NotApplicable)) && components.is_empty() && times.from.is_none() {
        return Err(refused(Reason::ValueMissing, "the entry has neither a value nor a time"));
    }
    let device = record.headers.device_id.as_deref().map(|id| device(origin.provider, id)).transpose()?;
    let device_id = device.as_ref().map_or(Cow::Borrowed(""), |device| Cow::Owned(device.id.as_str().to_owned()));
    let mut content = Content::default();
    content.literal(&subject.name);
    content.optional(subject.units.as_deref());
    for (name, value) in &entry.0 {
        content.literal(&name.0);
        feed(&mut content, value);
    }
    let observed = Observed { times, ..Observed::of(item, device, coded, components) };
    if let Some(id) = stable(&subject, &entry)? {
        // Apple's UUID names the same workout whichever app wrote it; another id is one of this member only.
        let (own, shared) = ([subject.kind.name(), &id], [id.as_str()]);
        let identity = if Uuid::try_parse(&id).is_ok() { Identity::Stable(&shared) } else { Identity::Stable(&own) };
        return Ok(observed.reading(record, origin, identity, content));
    }
    let literals = literals(&subject, &entry, device_id, (&observed.times, spent));
    let literals: Vec<&str> = literals.iter().map(AsRef::as_ref).collect();
    Ok(observed.reading(record, origin, Identity::Literals(&literals), content))
}

fn subject<'a>(kind: Kind, group: &'a Group<'a>, entry: &Entry<'a>) -> Result<Subject<'a>, Refused> {
    let borrowed = |literal: &'a Option<Literal<'a>>| {
        literal.as_ref().map(|literal| literal.0.trim()).filter(|text| !text.is_empty()).map(Cow::Borrowed)
    };
    let units = entry.literal("units")?.or_else(|| borrowed(&group.units));
    let name = match kind {
        Kind::Metrics => borrowed(&group.name),
        Kind::Symptoms | Kind::CycleTracking => entry.literal("name")?,
        other => Some(Cow::Borrowed(other.name())),
    };
    let name = name.ok_or(refused(Reason::TypeMissing, "neither the metric nor the entry has a name"))?;
    if name.len() > NAME_BYTES_MAX || units.as_ref().is_some_and(|units| units.len() > NAME_BYTES_MAX) {
        return Err(refused(Reason::IdentifierInvalid, "the entry's name or unit is longer than 128 bytes"));
    }
    let metric = catalogue::metric_by_spelling(Vocabulary::HealthAutoExport, &name)
        .or_else(|| catalogue::metric_by_spelling(Vocabulary::HealthAutoExport, &snake_case(&name)));
    Ok(Subject { kind, name, metric, units })
}

/// `Abdominal Cramps` and `weight_&_body_mass` as the catalogue has them.
fn snake_case(name: &str) -> String {
    let words: Vec<&str> =
        name.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join("_")
}

/// The app documents an id for workouts and states of mind only. Apple writes UUIDs in upper case, some apps turn them
/// into lower case.
fn stable(subject: &Subject<'_>, entry: &Entry<'_>) -> Result<Option<String>, Refused> {
    match subject.kind {
        Kind::Workouts | Kind::StateOfMind => Ok(entry.literal("id")?.map(|id| id.trim().to_ascii_lowercase())),
        _ => Ok(None),
    }
}

/// Member, name, device, time, and all that is one number or one text in the entry, by name: the app writes its fields in any
/// order. Lists and objects are left out, as a later export of the same entry may hold more of them. `spent` said the time.
fn literals<'a>(
    subject: &Subject<'a>,
    entry: &Entry<'a>,
    device: Cow<'a, str>,
    (times, spent): (&Times, [&str; 3]),
) -> Vec<Cow<'a, str>> {
    let mut literals = vec![Cow::Borrowed(subject.kind.name()), subject.name.clone(), device];
    literals.extend(times.instants().map(|instant| instant.map_or(Cow::Borrowed(""), Cow::Owned)));
    for (name, value) in entry.0.iter().filter(|(name, _)| !spent.iter().any(|time| name.0.eq_ignore_ascii_case(time)))
    {
        if let Ok(literal) = serde_json::from_str::<Literal<'a>>(value.get()) {
            literals.push(name.0.clone());
            literals.push(literal.0);
        }
    }
    literals
}

/// Adds a value so that neither white space, nor escapes, nor the order of fields make another content of it.
fn feed(content: &mut Content, value: &RawValue) {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            if let Ok(Entry(members)) = Entry::read(text) {
                content.literal("{");
                for (name, value) in members {
                    content.literal(&name.0);
                    feed(content, value);
                }
                content.literal("}");
                return;
            }
            content.literal(text);
        }
        Some(b'[') => {
            content.literal("[");
            for value in serde_json::from_str::<Vec<&RawValue>>(text).unwrap_or_default() {
                feed(content, value);
            }
            content.literal("]");
        }
        Some(b'"') => {
            content.literal(&serde_json::from_str::<Word<'_>>(text).map_or(Cow::Borrowed(text), |word| word.0));
        }
        Some(_) | None => content.literal(text),
    }
}
