//! The parts of FHIR R4 resources that a reading is made of, independent of the syntax. `wire` fills them from JSON and from
//! XML. Literals are borrowed and kept as the sender wrote them; they are not validated here.
//!
//! No type here implements `Debug`, because they hold health data.

use std::borrow::Cow;

use schemas::event::Missing;

/// A literal as the sender wrote it.
pub(super) type Text<'a> = Cow<'a, str>;

/// `Observation` (FHIR R4, section 10.1).
#[derive(Default)]
pub(super) struct Observation<'a> {
    /// The resource as it is written in the payload.
    pub(super) text: &'a str,
    pub(super) id: Option<Text<'a>>,
    pub(super) meta: Meta<'a>,
    pub(super) implicit_rules: Option<Text<'a>>,
    /// Whether there is a `modifierExtension`.
    pub(super) has_modifier: bool,
    pub(super) identifiers: Vec<Identifier<'a>>,
    pub(super) status: Option<Text<'a>>,
    pub(super) code: Option<Concept<'a>>,
    pub(super) subject: Option<Reference<'a>>,
    pub(super) device: Option<Reference<'a>>,
    /// The extension `observation-gatewayDevice`.
    pub(super) gateway: Option<Reference<'a>>,
    pub(super) effective: Effective<'a>,
    pub(super) issued: Option<Text<'a>>,
    pub(super) value: Given<'a>,
    pub(super) body_site: Option<Concept<'a>>,
    pub(super) components: Vec<Component<'a>>,
    /// Whether `hasMember` names other observations.
    pub(super) has_members: bool,
    pub(super) contained: Vec<Contained<'a>>,
    /// The contained Observations.
    pub(super) observations: Vec<Observation<'a>>,
    /// The names of elements that FHIR does not define.
    pub(super) unknown: Vec<Text<'a>>,
}

/// The version fields of `meta`.
#[derive(Default)]
pub(super) struct Meta<'a> {
    pub(super) version_id: Option<Text<'a>>,
    pub(super) last_updated: Option<Text<'a>>,
    pub(super) source: Option<Text<'a>>,
}

/// `Identifier`.
#[derive(Default)]
pub(super) struct Identifier<'a> {
    pub(super) system: Option<Text<'a>>,
    pub(super) value: Option<Text<'a>>,
}

/// `Reference`: a URL, an identifier, or both.
#[derive(Default)]
pub(super) struct Reference<'a> {
    pub(super) reference: Option<Text<'a>>,
    pub(super) kind: Option<Text<'a>>,
    pub(super) identifier: Option<Identifier<'a>>,
}

/// `CodeableConcept`.
#[derive(Default)]
pub(super) struct Concept<'a> {
    pub(super) codings: Vec<Coding<'a>>,
    pub(super) text: Option<Text<'a>>,
}

impl<'a> Concept<'a> {
    /// The code of a `dataAbsentReason`: the first one that FHIR defines, else the first one. An empty text if there is only
    /// text, which is a reason without a code.
    pub(super) fn reason(self) -> Option<Text<'a>> {
        let has_words = self.text.is_some() || self.codings.iter().any(|coding| coding.display.is_some());
        let mut codes: Vec<Text<'a>> = self.codings.into_iter().filter_map(|coding| coding.code).collect();
        let at = codes.iter().position(|code| known_reason(code).is_some()).unwrap_or_default();
        if at < codes.len() { Some(codes.swap_remove(at)) } else { has_words.then_some(Cow::Borrowed("")) }
    }
}

/// `Coding`.
#[derive(Default)]
pub(super) struct Coding<'a> {
    pub(super) system: Option<Text<'a>>,
    pub(super) code: Option<Text<'a>>,
    pub(super) display: Option<Text<'a>>,
}

/// `effective[x]`.
#[derive(Default)]
pub(super) enum Effective<'a> {
    /// No time is given, or only an extension that says why.
    #[default]
    Absent,
    /// `effectiveDateTime` or `effectiveInstant`.
    Point(Text<'a>),
    /// `effectivePeriod`, or the interval of an `effectiveTiming`.
    Period { start: Option<Text<'a>>, end: Option<Text<'a>> },
}

/// `component`.
pub(super) struct Component<'a> {
    /// Whether there is a `modifierExtension`.
    pub(super) has_modifier: bool,
    pub(super) code: Option<Concept<'a>>,
    pub(super) value: Given<'a>,
    /// The names of elements that FHIR does not define.
    pub(super) unknown: Vec<Text<'a>>,
}

/// `value[x]`, with `dataAbsentReason`.
#[derive(Default)]
pub(super) struct Given<'a> {
    pub(super) value: Option<Value<'a>>,
    /// The code of `dataAbsentReason`, or of the extension `data-absent-reason` on the value.
    pub(super) absent: Option<Text<'a>>,
}

/// `value[x]`.
pub(super) enum Value<'a> {
    Quantity(Quantity<'a>),
    Concept(Concept<'a>),
    /// `valueString`, `valueTime`, `valueDateTime`.
    Text(Text<'a>),
    Boolean(bool),
    Integer(Text<'a>),
    Range {
        low: Quantity<'a>,
        high: Quantity<'a>,
    },
    Ratio {
        numerator: Quantity<'a>,
        denominator: Quantity<'a>,
    },
    Sampled(Sampled<'a>),
    Period {
        start: Option<Text<'a>>,
        end: Option<Text<'a>>,
    },
    /// More than one `value[x]`: which one is meant cannot be known.
    Several,
}

impl<'a> Value<'a> {
    /// The quantities, with their paths.
    pub(super) fn quantities(&self) -> impl Iterator<Item = (&'static str, &Quantity<'a>)> {
        let (one, other) = match self {
            Self::Quantity(quantity) => (Some(("valueQuantity.", quantity)), None),
            Self::Range { low, high } => (Some(("valueRange.low.", low)), Some(("valueRange.high.", high))),
            Self::Ratio { numerator, denominator } => {
                (Some(("valueRatio.numerator.", numerator)), Some(("valueRatio.denominator.", denominator)))
            }
            Self::Sampled(sampled) => (Some(("valueSampledData.origin.", &sampled.origin)), None),
            Self::Concept(_)
            | Self::Text(_)
            | Self::Boolean(_)
            | Self::Integer(_)
            | Self::Period { .. }
            | Self::Several => (None, None),
        };
        one.into_iter().chain(other)
    }

    /// Whether the value is empty, such as one that has only an extension.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Quantity(quantity) => quantity.value.is_none(),
            Self::Concept(concept) => concept.codings.is_empty() && concept.text.is_none(),
            Self::Range { low: one, high: other } | Self::Ratio { numerator: one, denominator: other } => {
                one.value.is_none() && other.value.is_none()
            }
            Self::Sampled(sampled) => sampled.data.is_none(),
            Self::Period { start, end } => start.is_none() && end.is_none(),
            Self::Text(_) | Self::Boolean(_) | Self::Integer(_) | Self::Several => false,
        }
    }
}

/// `Quantity`.
#[derive(Default)]
pub(super) struct Quantity<'a> {
    pub(super) value: Option<Text<'a>>,
    /// Empty if there is a comparator in any form that has no value, or under a misspelt name: it changes what the number means.
    pub(super) comparator: Option<Text<'a>>,
    pub(super) unit: Option<Text<'a>>,
    pub(super) system: Option<Text<'a>>,
    pub(super) code: Option<Text<'a>>,
    /// The names of elements that FHIR does not define.
    pub(super) unknown: Vec<Text<'a>>,
}

/// `SampledData`.
#[derive(Default)]
pub(super) struct Sampled<'a> {
    pub(super) origin: Quantity<'a>,
    pub(super) period: Option<Text<'a>>,
    pub(super) factor: Option<Text<'a>>,
    pub(super) dimensions: Option<Text<'a>>,
    pub(super) data: Option<Text<'a>>,
}

/// A contained resource, or one in a Bundle, that references lead to.
pub(super) enum Contained<'a> {
    Device(Device<'a>),
    Metric(DeviceMetric<'a>),
    Patient(Patient<'a>),
}

impl Contained<'_> {
    /// The id of the resource.
    pub(super) fn id(&self) -> Option<&str> {
        match self {
            Self::Device(device) => device.id.as_deref(),
            Self::Metric(metric) => metric.id.as_deref(),
            Self::Patient(patient) => patient.id.as_deref(),
        }
    }
}

/// `Device`.
#[derive(Default)]
pub(super) struct Device<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) identifiers: Vec<Identifier<'a>>,
    pub(super) manufacturer: Option<Text<'a>>,
    pub(super) model: Option<Text<'a>>,
    pub(super) serial: Option<Text<'a>>,
}

/// `DeviceMetric`: only the device that it belongs to is read.
#[derive(Default)]
pub(super) struct DeviceMetric<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) source: Option<Reference<'a>>,
}

/// `Patient`: only what a patient claim needs is read.
#[derive(Default)]
pub(super) struct Patient<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) identifiers: Vec<Identifier<'a>>,
}

/// The reason for a missing value, if the code is one of FHIR's.
pub(super) fn known_reason(code: &str) -> Option<Missing> {
    // `panel` is a reason of this system, not of FHIR.
    Missing::from_word(code.trim()).filter(|reason| *reason != Missing::Panel)
}
