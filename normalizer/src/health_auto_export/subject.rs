//! Determines what an entry is about.

use std::borrow::Cow;

use catalogue::{Metric, Vocabulary, metric_by_spelling};
use schemas::{event::Coding, rejection::Reason};

use super::wire::{Entry, Group, NAME_BYTES_MAX, Section};
use crate::{
    json::Literal,
    refusal::{Refused, refused},
};

/// What an entry is about, and the section that contains it.
pub(super) struct Subject<'a> {
    pub(super) section: Section,
    /// The name that the app uses.
    pub(super) name: Cow<'a, str>,
    pub(super) metric: Option<&'static Metric>,
    /// The unit of the entry's numbers, as written.
    pub(super) units: Option<Cow<'a, str>>,
}

impl Subject<'_> {
    /// The app's name of the subject as a code. The app publishes no code system, so each section has one of this project.
    pub(super) fn coding(&self) -> Coding {
        self.code(&self.name)
    }

    /// The app's name of a part of the subject as a code.
    pub(super) fn part(&self, name: &str) -> Coding {
        self.code(&format!("{}.{name}", self.name))
    }

    fn code(&self, code: &str) -> Coding {
        let system = format!("urn:health-auto-export:{}", self.section.name()).into();
        Coding { system, code: code.to_owned().into(), display: None }
    }
}

/// Determines what an entry of a group is about.
pub(super) fn subject<'a>(section: Section, group: &'a Group<'a>, entry: &Entry<'a>) -> Result<Subject<'a>, Refused> {
    let borrowed = |literal: &'a Option<Literal<'a>>| {
        literal.as_ref().map(|literal| literal.0.trim()).filter(|text| !text.is_empty()).map(Cow::Borrowed)
    };
    let units = entry.literal("units")?.or_else(|| borrowed(&group.units));
    let name = match section {
        Section::Metrics => borrowed(&group.name),
        Section::Symptoms | Section::CycleTracking => entry.literal("name")?,
        other => Some(Cow::Borrowed(other.name())),
    };
    let name = name.ok_or(refused(Reason::TypeMissing, "neither the metric nor the entry has a name"))?;
    if name.len() > NAME_BYTES_MAX || units.as_ref().is_some_and(|units| units.len() > NAME_BYTES_MAX) {
        return Err(refused(Reason::IdentifierInvalid, "the entry's name or unit is longer than 128 bytes"));
    }
    let metric = metric_by_spelling(Vocabulary::HealthAutoExport, &name)
        .or_else(|| metric_by_spelling(Vocabulary::HealthAutoExport, &snake_case(&name)));
    Ok(Subject { section, name, metric, units })
}

/// Converts `Abdominal Cramps` and `weight_&_body_mass` to the spelling of the catalogue, except for case.
fn snake_case(name: &str) -> String {
    let words: Vec<&str> =
        name.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join("_")
}
