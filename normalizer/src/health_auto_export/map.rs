//! Maps one entry to one reading.

use std::borrow::Cow;

use schemas::{
    event::{Missing, Reading, UnknownKind, Value},
    identity::{ContentDigest, Identity},
    rejection::Reason,
};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    names::is_known,
    subject::{Subject, subject},
    time::{self, EntryTime},
    value,
    wire::{Entry, Group, Section},
};
use crate::{
    drift::Shapes,
    json::{Literal, Word},
    observed::{Observed, Payload, Times, device},
    refusal::{Refused, refused},
};

/// An entry of the export, which is one item.
pub(super) struct Item<'i> {
    /// The index among all entries of the export.
    pub(super) number: u32,
    /// The entry as written in the payload.
    pub(super) text: &'i str,
    /// The group that contains the entry.
    pub(super) group: &'i Group<'i>,
}

/// Maps one entry.
pub(super) fn reading(payload: Payload<'_>, item: &Item<'_>, shapes: &mut Shapes) -> Result<Reading, Refused> {
    let section = item.group.section.clone()?;
    let entry = Entry::read(item.text)?;
    for (name, value) in entry.0.iter().filter(|(name, _)| !is_known(&name.0)) {
        shapes.member(UnknownKind::Field, section.path(), &name.0, value);
    }
    let subject = subject(section, item.group, &entry)?;
    let EntryTime { times, fields } = time::read(&entry)?;
    let found = value::value(&subject, &entry, fields);
    if found.is_err() && subject.metric.is_none() {
        shapes.metric(&subject.name);
    }
    let (coded, components) = found?;
    if matches!(coded.value, Value::Absent(Missing::NotApplicable)) && components.is_empty() && times.from.is_none() {
        return Err(refused(Reason::ValueMissing, "the entry has neither a value nor a time"));
    }
    let id = payload.record.headers.device_id.as_deref();
    let device = id.map(|id| device(payload.provider, id)).transpose()?;
    let device_id = device.as_ref().map_or(Cow::Borrowed(""), |device| Cow::Owned(device.id.as_str().to_owned()));
    let mut content = ContentDigest::default();
    content.literal(&subject.name);
    content.optional(subject.units.as_deref());
    for (name, value) in &entry.0 {
        content.literal(&name.0);
        feed(&mut content, value);
    }
    let observed = Observed { times, ..Observed::new(item.number, device, coded, components) };
    if let Some(id) = stable(&subject, &entry)? {
        // Apple's UUID names the same workout whichever app wrote it. Any other id is unique within its section only.
        let (own, shared) = ([subject.section.name(), &id], [id.as_str()]);
        let identity = if Uuid::try_parse(&id).is_ok() { Identity::Stable(&shared) } else { Identity::Stable(&own) };
        return Ok(observed.reading(payload, identity, content));
    }
    let literals = literals(&subject, &entry, device_id, &EntryTime { times: &observed.times, fields });
    let literals: Vec<&str> = literals.iter().map(AsRef::as_ref).collect();
    Ok(observed.reading(payload, Identity::Literals(&literals), content))
}

/// Returns the stable id of an entry. The app documents an id for workouts and states of mind only. Apple writes UUIDs in upper
/// case; some apps convert them to lower case.
fn stable(subject: &Subject<'_>, entry: &Entry<'_>) -> Result<Option<String>, Refused> {
    match subject.section {
        Section::Workouts | Section::StateOfMind => Ok(entry.literal("id")?.map(|id| id.trim().to_ascii_lowercase())),
        _ => Ok(None),
    }
}

/// The literals that identify an entry without an id: section, name, device and times, and then all fields that are a number or
/// a text, by name, because the app writes fields in any order. Arrays and objects are left out, because a later export of the
/// same entry may contain more of them.
fn literals<'a>(
    subject: &Subject<'a>,
    entry: &Entry<'a>,
    device: Cow<'a, str>,
    time: &EntryTime<&Times>,
) -> Vec<Cow<'a, str>> {
    let mut literals = vec![Cow::Borrowed(subject.section.name()), subject.name.clone(), device];
    literals.extend(time.times.instants().map(|instant| instant.map_or(Cow::Borrowed(""), Cow::Owned)));
    for (name, value) in
        entry.0.iter().filter(|(name, _)| !time.fields.iter().any(|field| name.0.eq_ignore_ascii_case(field)))
    {
        if let Ok(literal) = serde_json::from_str::<Literal<'a>>(value.get()) {
            literals.push(name.0.clone());
            literals.push(literal.0);
        }
    }
    literals
}

/// Adds a value to the content, in a form that does not depend on white space, escapes or the order of members.
fn feed(content: &mut ContentDigest, value: &RawValue) {
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
