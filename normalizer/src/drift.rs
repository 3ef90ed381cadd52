//! Drift: fields, metrics, codes and units of a payload that this release does not know. They are reported by shape, as names
//! and types without values. Names are shown as far as [`redact`] allows.

use std::collections::BTreeMap;

use catalogue::{HEALTHKIT, MEDISANTE, metric_by_code, ucum_of};
use schemas::{
    event::{Coded, Coding, Flag, Reading, Unknown, UnknownKind, Value},
    format::Format,
};
use serde_json::value::RawValue;

use crate::{json::Word, redact};

/// At most this many shapes are reported for one payload.
const SHAPES_MAX: usize = 32;
/// At most this many members of an object appear in its shape; `...` stands for the rest.
const MEMBERS_MAX: usize = 8;
/// The members of a larger object are not listed.
const OBJECT_BYTES_MAX: usize = 64 * 1024;

/// The shapes of one payload, without repetitions, in the order of their first occurrence.
#[derive(Default)]
pub(crate) struct Shapes(Vec<(UnknownKind, String)>);

impl Shapes {
    /// Converts the shapes to the form that an outcome contains.
    pub(crate) fn into_unknown(self, format: Format) -> Vec<Unknown> {
        self.0.into_iter().map(|(kind, shape)| Unknown { format, kind, shape }).collect()
    }

    /// Records the unknown members of the object at `path`. `path` is empty or ends with a dot; its names are known ones or
    /// were passed through [`redact::name`].
    pub(crate) fn members(&mut self, path: &str, members: &[(Word<'_>, &RawValue)]) {
        for (name, value) in members {
            self.member(UnknownKind::Field, path, &name.0, value);
        }
    }

    /// Records one unknown member of the object at `path`.
    pub(crate) fn member(&mut self, kind: UnknownKind, path: &str, name: &str, value: &RawValue) {
        self.add(kind, || format!("{path}{}{}", redact::name(name), typed(value.get())));
    }

    /// Records an unknown element below `path`.
    pub(crate) fn element(&mut self, path: &str, name: &str) {
        self.add(UnknownKind::Field, || format!("{path}{}", redact::name(name)));
    }

    /// Records an unknown type of measurement.
    pub(crate) fn metric(&mut self, name: &str) {
        self.add(UnknownKind::Metric, || redact::name(name).into_owned());
    }

    /// Records an unknown code. A code without a system is treated as free text and shown by its length only.
    pub(crate) fn code(&mut self, system: &str, code: &str) {
        let code = if system.is_empty() { redact::length(code) } else { redact::code(code) };
        self.add(UnknownKind::Code, || format!("{}|{code}", redact::code(system)));
    }

    /// Records a unit, unless the catalogue contains it.
    pub(crate) fn unit(&mut self, unit: &str) {
        if ucum_of(unit).is_none() {
            self.add(UnknownKind::Unit, || redact::unit(unit).into_owned());
        }
    }

    /// Records what the mapping flagged as unknown in a reading.
    pub(crate) fn reading(&mut self, reading: &Reading) {
        let format = reading.provenance.format;
        if reading.flags.contains(&Flag::UnknownMetric) {
            self.named_by(format, reading.source_codes.first().unwrap_or(&reading.code));
        }
        self.value_of(reading);
        self.unit_of(&reading.flags, &reading.value);
        for part in &reading.components {
            // In a Health Auto Export entry, the components bear the name of the entry itself.
            if part.flags.contains(&Flag::UnknownMetric) && format != Format::HealthAutoExport {
                self.named_by(format, part.source_codes.first().unwrap_or(&part.code));
            }
            self.unit_of(&part.flags, &part.value);
        }
    }

    fn named_by(&mut self, format: Format, source: &Coding) {
        match format {
            Format::FhirJson | Format::FhirXml => self.code(&source.system, &source.code),
            // Medisanté's measurements are members of an object and are recorded as such, with their types.
            Format::StandardJson | Format::StandardXml | Format::HealthAutoExport | Format::ExportXml => {
                if source.system != MEDISANTE && !is_own(&source.code) {
                    self.metric(&source.code);
                }
            }
        }
    }

    /// Records the value of a category if the catalogue lists values for the category, but not this one.
    fn value_of(&mut self, reading: &Reading) {
        if let Value::Coded(Coded { coding, .. }) = &reading.value
            && coding.system == HEALTHKIT
            && let Some(metric) = metric_by_code(&reading.code.system, &reading.code.code)
            && let known = metric.coded_values()
            && !known.is_empty()
            && known.iter().all(|value| value.code() != coding.code)
        {
            let code =
                if is_apples_value(&coding.code) { redact::code(&coding.code) } else { redact::length(&coding.code) };
            self.add(UnknownKind::Code, || format!("{HEALTHKIT}|{code}"));
        }
    }

    fn unit_of(&mut self, flags: &[Flag], value: &Value) {
        if flags.iter().any(|flag| matches!(flag, Flag::UnknownMetric | Flag::UnknownUnit))
            && let Value::Quantity(quantity) = value
            && let Some(unit) = &quantity.source_unit
        {
            self.unit(unit);
        }
    }

    fn add(&mut self, kind: UnknownKind, shape: impl FnOnce() -> String) {
        if self.0.len() < SHAPES_MAX {
            let unknown = (kind, shape());
            if !self.0.contains(&unknown) {
                self.0.push(unknown);
            }
        }
    }
}

/// Whether a code is one of Apple's category values, by its name or its number. A word of another app may be anything.
fn is_apples_value(code: &str) -> bool {
    code.starts_with("HKCategoryValue") || code.bytes().all(|byte| byte.is_ascii_digit())
}

/// Names that this project itself gives to things without a metric of their own; they are not drift.
fn is_own(code: &str) -> bool {
    code.starts_with("HKActivitySummary.") || code == "heartRateNotifications"
}

/// The type of a JSON value as a suffix: `:number`, `[object]`, or the members by name as `{unit:string,value:number}`.
fn typed(json: &str) -> String {
    match json.as_bytes() {
        [b'{', ..] if json.len() <= OBJECT_BYTES_MAX => members(json),
        [b'[', rest @ ..] => format!("[{}]", rest.trim_ascii_start().first().map_or("", |first| type_of(*first))),
        [first, ..] => format!(":{}", type_of(*first)),
        [] => String::new(),
    }
}

fn members(json: &str) -> String {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    let told = members.iter().take(MEMBERS_MAX).map(|(name, value)| {
        let kind = value.get().bytes().next().map_or("", type_of);
        format!("{}:{kind}", redact::name(name))
    });
    let rest = (members.len() > MEMBERS_MAX).then(|| "...".to_owned());
    format!("{{{}}}", told.chain(rest).collect::<Vec<_>>().join(","))
}

const fn type_of(first: u8) -> &'static str {
    match first {
        b'{' => "object",
        b'[' => "array",
        b'"' => "string",
        b't' | b'f' => "boolean",
        b'n' => "null",
        b']' => "",
        _ => "number",
    }
}
