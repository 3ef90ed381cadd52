//! Maps `code` and `value[x]` of an Observation or of one of its components.

use std::cmp::Ordering;

use catalogue::{self, CodeUnit, LOINC, MDC, Metric, UCUM, decimal::Decimal};
use schemas::{
    event::{self, Coding, Flag, Missing, Waveform},
    rejection::Reason,
};

use crate::observed::{Coded, SourceNumber, coding, ucum};
use crate::refusal::{Refused, refused};

use super::model::{Concept, Given, Quantity, Sampled, Text, Value, known_reason};

/// Maps code and value together: the metric determines which units are allowed, and the unit selects one of the metric's codes.
/// `without` is the reason for an absent value if neither a value nor a dataAbsentReason is given.
pub(super) fn coded(
    concept: Option<&Concept<'_>>,
    given: &Given<'_>,
    without: Option<Missing>,
) -> Result<Coded, Refused> {
    const BOTH: Refused = refused(
        Reason::ValueInvalid,
        "there is a value, and also a reason for its absence (dataAbsentReason, or the extension)",
    );
    let code = Code::read(concept)?;
    let (value, mut derivation) = match (&given.value, &given.absent) {
        (Some(Value::Quantity(quantity)), absent) if quantity.value.is_none() => {
            let reason = absent.as_ref().map(missing).or(without);
            let reason = reason.ok_or(refused(Reason::ValueMissing, "the quantity has no number"))?;
            (event::Value::Absent(reason), Derivation::default())
        }
        (Some(value), Some(reason)) if value.is_empty() => {
            (event::Value::Absent(missing(reason)), Derivation::default())
        }
        (Some(value), None) => map(value, code.metric)?,
        // FHIR R4, observation.html, obs-6. Which of the two is meant cannot be known.
        (Some(value), Some(_)) => return map(value, code.metric).and(Err(BOTH)),
        (None, Some(reason)) => (event::Value::Absent(missing(reason)), Derivation::default()),
        (None, None) => {
            let reason =
                without.ok_or(refused(Reason::ValueMissing, "there is neither a value nor a dataAbsentReason"))?;
            (event::Value::Absent(reason), Derivation::default())
        }
    };
    if code.metric.is_none() && derivation.flags.is_empty() {
        derivation.flags.push(Flag::UnknownMetric);
    }
    // The canonical code is a LOINC code if there is one, else the source's own: the catalogue's codes in other systems are
    // those of other senders.
    let canonical = match derivation.code.or(code.own).filter(|known| known.system() == LOINC) {
        Some(known) => coding(known),
        None => code.first,
    };
    Ok(Coded { code: canonical, source_codes: code.all, value, flags: derivation.flags })
}

/// How a value was derived.
#[derive(Default)]
struct Derivation {
    code: Option<&'static CodeUnit>,
    flags: Vec<Flag>,
}

struct Code {
    metric: Option<&'static Metric>,
    /// The code of the metric that the source wrote, else the first code of the metric. It is used if the unit does not select
    /// a code.
    own: Option<&'static CodeUnit>,
    first: Coding,
    all: Vec<Coding>,
}

impl Code {
    fn read(concept: Option<&Concept<'_>>) -> Result<Self, Refused> {
        const LACKS: Refused = refused(Reason::Incomplete, "code is missing or empty");
        let concept = concept.ok_or(LACKS)?;
        let all: Vec<Coding> = concept.codings.iter().filter_map(owned).collect();
        let by_code = |coding: &Coding| catalogue::metric_by_code(&coding.system, &coding.code);
        let metric = all.iter().find_map(by_code);
        let own = metric.map(|metric| {
            let is_own = |coding: &&Coding| by_code(coding).is_some_and(|found| found.key() == metric.key());
            let written = |coding: &Coding| metric.codes().find(|known| known.code() == coding.code.trim());
            all.iter().filter(is_own).find_map(written).unwrap_or(metric.code())
        });
        let first = match (all.first(), text_of(concept)) {
            (Some(first), _) => first.clone(),
            // A CodeableConcept without a coding is represented by its text. FHIR allows that, and the text has no code system.
            (None, Some(text)) => {
                Coding { system: "".into(), code: text.to_owned().into(), display: Some(text.to_owned().into()) }
            }
            (None, None) => return Err(LACKS),
        };
        Ok(Self { metric, own, first, all })
    }
}

/// The first code of a concept if the catalogue knows none of the concept's codes.
pub(super) fn unknown(concept: &Concept<'_>) -> Option<Coding> {
    Code::read(Some(concept)).ok().filter(|code| code.metric.is_none()).map(|code| code.first)
}

fn owned(coding: &super::model::Coding<'_>) -> Option<Coding> {
    Some(Coding {
        system: coding.system.as_deref().unwrap_or_default().trim().to_owned().into(),
        code: filled(coding.code.as_ref())?.to_owned().into(),
        display: coding.display.as_deref().map(|display| display.to_owned().into()),
    })
}

/// The text of a concept without a code: `text`, else the display of a coding.
fn text_of<'t>(concept: &'t Concept<'_>) -> Option<&'t str> {
    let display = || concept.codings.iter().find_map(|coding| filled(coding.display.as_ref()));
    filled(concept.text.as_ref()).or_else(display)
}

/// The trimmed text, unless it is blank.
pub(super) fn filled<'t>(text: Option<&'t Text<'_>>) -> Option<&'t str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
}

fn missing(code: &Text<'_>) -> Missing {
    known_reason(code).unwrap_or(Missing::Unknown)
}

fn map(value: &Value<'_>, metric: Option<&'static Metric>) -> Result<(event::Value, Derivation), Refused> {
    let plain = |value| Ok((value, Derivation::default()));
    match value {
        Value::Quantity(quantity) => number(source(quantity)?, metric),
        Value::Integer(text) => integer(text.trim(), metric),
        Value::Concept(concept) => concept_value(concept).and_then(plain),
        Value::Text(text) => match filled(Some(text)) {
            Some(_) => plain(event::Value::Text(text.clone().into_owned())),
            None => Err(refused(Reason::ValueMissing, "the value is empty")),
        },
        Value::Boolean(value) => plain(event::Value::Boolean(*value)),
        Value::Range { low, high } => range(low, high, metric),
        Value::Ratio { numerator, denominator } => ratio(numerator, denominator, metric),
        Value::Sampled(sampled) => waveform(sampled).and_then(plain),
        Value::Period { start, end } => {
            if start.is_none() && end.is_none() {
                return Err(refused(Reason::ValueMissing, "the period has neither a start nor an end"));
            }
            // `..` stands for an open side (ISO 8601-1, section 5.5.2.4).
            let side = |text: &Option<Text<'_>>| text.as_deref().unwrap_or("..").to_owned();
            plain(event::Value::Text(format!("{}/{}", side(start), side(end))))
        }
        Value::Several => Err(refused(Reason::UnexpectedShape, "there is more than one value[x]")),
    }
}

fn source<'q>(quantity: &'q Quantity<'_>) -> Result<SourceNumber<'q>, Refused> {
    let number = quantity.value.as_ref().ok_or(refused(Reason::ValueMissing, "the quantity has no number"))?;
    let (code, unit) = (filled(quantity.code.as_ref()), filled(quantity.unit.as_ref()));
    let system = filled(quantity.system.as_ref());
    let units = match system {
        Some(other) if !says_units(other) => [unit, code],
        // The code determines the unit, even if the catalogue does not know it; the `unit` beside it is for people.
        Some(_) if code.is_some() => [code, None],
        None | Some(_) => [code, unit],
    };
    let comparator = quantity.comparator.as_deref().map(str::trim);
    if comparator.is_some_and(|sign| !matches!(sign, "<" | "<=" | ">=" | ">")) {
        let detail = match comparator {
            Some("") => "there is a comparator without a value, or under a name that FHIR does not define",
            Some(_) | None => "the comparator is not one of <, <=, >=, >",
        };
        return Err(refused(Reason::ValueInvalid, detail));
    }
    Ok(SourceNumber { number: number.trim(), units, comparator })
}

const UCUM_OID: &str = "urn:oid:2.16.840.1.113883.6.8";

/// The code of a quantity's unit if its system is UCUM. It is taken literally and not looked up among the catalogue's other
/// spellings: in UCUM, `C` is the coulomb.
fn ucum_code<'q>(quantity: &'q Quantity<'_>) -> Option<&'q str> {
    let is_ucum = matches!(filled(quantity.system.as_ref()), Some(UCUM | UCUM_OID));
    filled(quantity.code.as_ref()).filter(|_| is_ucum)
}

/// Whether the codes of a system are units that the catalogue may know: UCUM and MDC, each also by its OID.
fn says_units(system: &str) -> bool {
    const MDC_OID: &str = "urn:oid:2.16.840.1.113883.6.24";
    matches!(system, UCUM | UCUM_OID | MDC | MDC_OID | "urn:std:iso:11073:10101")
}

/// Refuses a comparator where FHIR allows none (FHIR R4, datatypes.html#SimpleQuantity, sqty-1): what it would mean is not
/// defined.
fn simple(quantity: &Quantity<'_>) -> Result<(), Refused> {
    match quantity.comparator {
        Some(_) => {
            Err(refused(Reason::ValueInvalid, "a comparator is not allowed in a Range or in the origin of SampledData"))
        }
        None => Ok(()),
    }
}

fn number(source: SourceNumber<'_>, metric: Option<&'static Metric>) -> Result<(event::Value, Derivation), Refused> {
    let measure = source.measure(metric)?;
    Ok((event::Value::Quantity(measure.quantity), Derivation { code: measure.code, flags: measure.flags }))
}

/// A valueInteger is a plain number by its type (FHIR R4, datatypes.html#integer). Without a metric, its unit is `1`.
fn integer(text: &str, metric: Option<&'static Metric>) -> Result<(event::Value, Derivation), Refused> {
    let unit = if metric.is_none() { Some("1") } else { None };
    let (mut value, derivation) = number(SourceNumber { number: text, units: [unit, None], comparator: None }, metric)?;
    if let event::Value::Quantity(quantity) = &mut value {
        quantity.source_unit = None;
    }
    Ok((value, derivation))
}

fn concept_value(concept: &Concept<'_>) -> Result<event::Value, Refused> {
    match (concept.codings.iter().find_map(owned), text_of(concept)) {
        (Some(coding), _) => {
            let text = filled(concept.text.as_ref()).map(str::to_owned);
            Ok(event::Value::Coded(event::Coded { coding, text }))
        }
        (None, Some(text)) => Ok(event::Value::Text(text.to_owned())),
        (None, None) => Err(refused(Reason::ValueMissing, "the coded value has neither a code nor text")),
    }
}

/// Maps a range. A range with one side becomes a number with a comparator; one with both sides becomes a text, because no
/// single number represents it.
fn range(
    low: &Quantity<'_>,
    high: &Quantity<'_>,
    metric: Option<&'static Metric>,
) -> Result<(event::Value, Derivation), Refused> {
    simple(low).and(simple(high))?;
    match (&low.value, &high.value) {
        (Some(_), None) => number(SourceNumber { comparator: Some(">="), ..source(low)? }, metric),
        (None, Some(_)) => number(SourceNumber { comparator: Some("<="), ..source(high)? }, metric),
        (Some(_), Some(_)) => {
            Ok((event::Value::Text(format!("{} - {}", spelled(low)?, spelled(high)?)), Derivation::default()))
        }
        (None, None) => Err(refused(Reason::ValueMissing, "the range has neither a low nor a high number")),
    }
}

/// Maps a ratio. If the denominator is a plain 1, the value is the numerator; any other ratio becomes a text.
fn ratio(
    numerator: &Quantity<'_>,
    denominator: &Quantity<'_>,
    metric: Option<&'static Metric>,
) -> Result<(event::Value, Derivation), Refused> {
    let over = source(denominator)?;
    let is_one = Decimal::parse(over.number).is_ok_and(|number| number.canonical() == "1");
    if is_one && over.comparator.is_none() && over.units.into_iter().flatten().all(|unit| unit == "1") {
        return number(source(numerator)?, metric);
    }
    Ok((event::Value::Text(format!("{} / {}", spelled(numerator)?, spelled(denominator)?)), Derivation::default()))
}

fn spelled(quantity: &Quantity<'_>) -> Result<String, Refused> {
    let source = source(quantity)?;
    decimal(source.number)?;
    let sign = source.comparator.unwrap_or_default();
    let unit = source.units.into_iter().flatten().next().map_or(String::new(), |unit| format!(" {unit}"));
    Ok(format!("{sign}{}{unit}", source.number))
}

fn waveform(sampled: &Sampled<'_>) -> Result<event::Value, Refused> {
    const LACKS: Refused = refused(Reason::Incomplete, "the sampled data lacks its origin, period, dimensions or data");
    simple(&sampled.origin)?;
    let origin = source(&sampled.origin).map_err(|_| LACKS)?;
    let dimensions = filled(sampled.dimensions.as_ref()).ok_or(LACKS)?;
    let data = filled(sampled.data.as_ref()).ok_or(LACKS)?;
    let (mut samples, mut count) = (String::with_capacity(data.len()), 0_i64);
    for sample in data.split_ascii_whitespace() {
        count += 1;
        if !matches!(sample, "E" | "U" | "L") {
            decimal(sample)?;
        }
        if !samples.is_empty() {
            samples.push(' ');
        }
        samples.push_str(sample);
    }
    let dimensions: i32 = dimensions
        .parse()
        .ok()
        .filter(|dimensions| *dimensions > 0)
        .ok_or(refused(Reason::ValueInvalid, "the number of dimensions is not a positive integer"))?;
    if count % i64::from(dimensions) != 0 {
        return Err(refused(Reason::ValueInvalid, "the number of samples is not a multiple of the dimensions"));
    }
    let period = decimal(filled(sampled.period.as_ref()).ok_or(LACKS)?)?;
    let factor = decimal(filled(sampled.factor.as_ref()).unwrap_or("1"))?;
    let zero = decimal("0")?;
    if period.cmp_value(&zero) != Ordering::Greater || factor.cmp_value(&zero) == Ordering::Equal {
        return Err(refused(Reason::ValueInvalid, "the period is not a number above zero, or the factor is zero"));
    }
    Ok(event::Value::Waveform(Waveform {
        origin: decimal(origin.number)?.canonical(),
        unit: match ucum_code(&sampled.origin) {
            Some(code) => code.to_owned().into(),
            // No metric determines what is measured. A series without a unit is treated as plain numbers.
            None => origin.units.into_iter().flatten().next().map_or("1".into(), ucum),
        },
        period_ms: period.canonical(),
        factor: factor.canonical(),
        dimensions,
        samples,
    }))
}

fn decimal(text: &str) -> Result<Decimal, Refused> {
    Decimal::parse(text.trim())
        .map_err(|_| refused(Reason::ValueInvalid, "a number is not a decimal number of up to 400 digits"))
}
