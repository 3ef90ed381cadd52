//! FHIR's data types, and the resources of which only the identifying elements are read.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::super::{super::model, DATA_ABSENT, timing};
use crate::json::{Literal, Noted, Object, Wire, Word, has_comparator};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Extension<'a> {
    #[serde(borrow)]
    pub(super) url: Option<Word<'a>>,
    pub(super) value_reference: Option<Object<Reference<'a>>>,
    pub(super) value_code: Option<Word<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta<'a> {
    #[serde(borrow)]
    pub(super) version_id: Option<Word<'a>>,
    pub(super) last_updated: Option<Word<'a>>,
    pub(super) source: Option<Word<'a>>,
}

impl<'a> Meta<'a> {
    pub(super) fn model(self) -> model::Meta<'a> {
        model::Meta {
            version_id: words(self.version_id),
            last_updated: words(self.last_updated),
            source: words(self.source),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Identifier<'a> {
    #[serde(borrow)]
    pub(super) system: Option<Word<'a>>,
    pub(super) value: Option<Word<'a>>,
}

impl<'a> Identifier<'a> {
    pub(super) fn model(self) -> model::Identifier<'a> {
        model::Identifier { system: words(self.system), value: words(self.value) }
    }
}

pub(super) fn identifiers(found: Option<Vec<Object<Identifier<'_>>>>) -> Vec<model::Identifier<'_>> {
    found.unwrap_or_default().into_iter().map(|identifier| identifier.0.model()).collect()
}

#[derive(Deserialize)]
pub(super) struct Reference<'a> {
    #[serde(borrow)]
    pub(super) reference: Option<Word<'a>>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Word<'a>>,
    pub(super) identifier: Option<Object<Identifier<'a>>>,
}

impl<'a> Reference<'a> {
    pub(super) fn model(self) -> model::Reference<'a> {
        model::Reference {
            reference: words(self.reference),
            kind: words(self.kind),
            identifier: self.identifier.map(|identifier| identifier.0.model()),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Concept<'a> {
    #[serde(borrow)]
    pub(super) extension: Option<Vec<Object<Extension<'a>>>>,
    pub(super) coding: Option<Vec<Object<Coding<'a>>>>,
    pub(super) text: Option<Word<'a>>,
}

impl<'a> Concept<'a> {
    pub(super) fn model(self) -> model::Concept<'a> {
        let codings = self.coding.unwrap_or_default().into_iter().map(|coding| coding.0.model()).collect();
        model::Concept { codings, text: words(self.text) }
    }
}

#[derive(Deserialize)]
pub(super) struct Coding<'a> {
    #[serde(borrow)]
    pub(super) system: Option<Word<'a>>,
    pub(super) code: Option<Word<'a>>,
    pub(super) display: Option<Word<'a>>,
}

impl<'a> Coding<'a> {
    pub(super) fn model(self) -> model::Coding<'a> {
        model::Coding { system: words(self.system), code: words(self.code), display: words(self.display) }
    }
}

#[derive(Deserialize)]
pub(super) struct Period<'a> {
    #[serde(borrow)]
    pub(super) extension: Option<Vec<Object<Extension<'a>>>>,
    pub(super) start: Option<Word<'a>>,
    pub(super) end: Option<Word<'a>>,
}

impl<'a> Period<'a> {
    pub(super) fn model(self) -> super::super::Period<'a> {
        (words(self.start), words(self.end))
    }
}

#[derive(Deserialize)]
pub(super) struct Timing<'a> {
    #[serde(borrow)]
    /// An array of primitives has `null` for an element that has only an id or extensions (json.html#primitive).
    pub(super) event: Option<Vec<Option<Word<'a>>>>,
    pub(super) repeat: Option<Object<Repeat<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Repeat<'a> {
    #[serde(borrow)]
    pub(super) bounds_period: Option<Object<Period<'a>>>,
}

impl<'a> Timing<'a> {
    pub(super) fn model(self) -> model::Effective<'a> {
        let bounds = self.repeat.and_then(|repeat| repeat.0.bounds_period).map(|bounds| bounds.0.model());
        timing(self.event.unwrap_or_default().into_iter().filter_map(words).collect(), bounds)
    }
}

#[derive(Deserialize)]
pub(super) struct Quantity<'a> {
    #[serde(borrow)]
    pub(super) value: Option<Literal<'a>>,
    #[serde(rename = "_value")]
    pub(super) value_element: Option<Object<Element<'a>>>,
    pub(super) extension: Option<Vec<Object<Extension<'a>>>>,
    pub(super) comparator: Option<Word<'a>>,
    #[serde(rename = "_comparator")]
    pub(super) comparator_element: Option<IgnoredAny>,
    pub(super) unit: Option<Word<'a>>,
    pub(super) system: Option<Word<'a>>,
    pub(super) code: Option<Word<'a>>,
}

/// The `_` member beside a primitive, such as `_value`.
#[derive(Deserialize)]
pub(super) struct Element<'a> {
    #[serde(borrow)]
    pub(super) extension: Option<Vec<Object<Extension<'a>>>>,
}

impl Wire for Quantity<'_> {
    const UNREAD: &'static [&'static str] = &["id", "_unit", "_system", "_code"];
}

impl<'a> Quantity<'a> {
    pub(super) fn model(Noted { known, unknown }: Noted<'a, Self>) -> model::Quantity<'a> {
        let unread = has_comparator(&unknown) || (known.comparator.is_none() && known.comparator_element.is_some());
        model::Quantity {
            value: known.value.map(|number| number.0),
            comparator: if unread { Some(Cow::Borrowed("")) } else { words(known.comparator) },
            unit: words(known.unit),
            system: words(known.system),
            code: words(known.code),
            unknown: names(unknown),
        }
    }

    /// Converts the quantity, and also returns the reason for an absent number that an extension gives.
    pub(super) fn model_with_absent(mut quantity: Noted<'a, Self>) -> (model::Quantity<'a>, Option<model::Text<'a>>) {
        let beside = quantity.known.value_element.take().and_then(|element| element.0.extension);
        let reason = data_absent(beside).or_else(|| data_absent(quantity.known.extension.take()));
        (Self::model(quantity), reason)
    }
}

pub(super) fn data_absent(extensions: Option<Vec<Object<Extension<'_>>>>) -> Option<model::Text<'_>> {
    extensions
        .unwrap_or_default()
        .into_iter()
        .find(|extension| extension.0.url.as_ref().is_some_and(|url| url.0 == DATA_ABSENT))
        .and_then(|extension| words(extension.0.value_code))
}

#[derive(Deserialize)]
pub(super) struct Range<'a> {
    #[serde(borrow)]
    pub(super) extension: Option<Vec<Object<Extension<'a>>>>,
    pub(super) low: Option<Noted<'a, Quantity<'a>>>,
    pub(super) high: Option<Noted<'a, Quantity<'a>>>,
}

impl<'a> Range<'a> {
    pub(super) fn model(self) -> model::Value<'a> {
        model::Value::Range { low: quantity(self.low), high: quantity(self.high) }
    }
}

#[derive(Deserialize)]
pub(super) struct Ratio<'a> {
    #[serde(borrow)]
    pub(super) extension: Option<Vec<Object<Extension<'a>>>>,
    pub(super) numerator: Option<Noted<'a, Quantity<'a>>>,
    pub(super) denominator: Option<Noted<'a, Quantity<'a>>>,
}

impl<'a> Ratio<'a> {
    pub(super) fn model(self) -> model::Value<'a> {
        model::Value::Ratio { numerator: quantity(self.numerator), denominator: quantity(self.denominator) }
    }
}

fn quantity<'a>(found: Option<Noted<'a, Quantity<'a>>>) -> model::Quantity<'a> {
    found.map(Quantity::model).unwrap_or_default()
}

#[derive(Deserialize)]
pub(super) struct Sampled<'a> {
    #[serde(borrow)]
    pub(super) extension: Option<Vec<Object<Extension<'a>>>>,
    pub(super) origin: Option<Noted<'a, Quantity<'a>>>,
    pub(super) period: Option<Literal<'a>>,
    pub(super) factor: Option<Literal<'a>>,
    pub(super) dimensions: Option<Literal<'a>>,
    pub(super) data: Option<Word<'a>>,
}

impl<'a> Sampled<'a> {
    pub(super) fn model(self) -> model::Sampled<'a> {
        model::Sampled {
            origin: quantity(self.origin),
            period: self.period.map(|number| number.0),
            factor: self.factor.map(|number| number.0),
            dimensions: self.dimensions.map(|number| number.0),
            data: words(self.data),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Word<'a>>,
    pub(super) identifier: Option<Vec<Object<Identifier<'a>>>>,
    pub(super) manufacturer: Option<Word<'a>>,
    pub(super) model_number: Option<Word<'a>>,
    pub(super) serial_number: Option<Word<'a>>,
}

impl<'a> Device<'a> {
    pub(super) fn model(self) -> model::Device<'a> {
        model::Device {
            id: words(self.id),
            identifiers: identifiers(self.identifier),
            manufacturer: words(self.manufacturer),
            model: words(self.model_number),
            serial: words(self.serial_number),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct DeviceMetric<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Word<'a>>,
    pub(super) source: Option<Object<Reference<'a>>>,
}

impl<'a> DeviceMetric<'a> {
    pub(super) fn model(self) -> model::DeviceMetric<'a> {
        model::DeviceMetric { id: words(self.id), source: self.source.map(|source| source.0.model()) }
    }
}

#[derive(Deserialize)]
pub(super) struct Patient<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Word<'a>>,
    pub(super) identifier: Option<Vec<Object<Identifier<'a>>>>,
}

impl<'a> Patient<'a> {
    pub(super) fn model(self) -> model::Patient<'a> {
        model::Patient { id: words(self.id), identifiers: identifiers(self.identifier) }
    }
}

/// The names of members that FHIR does not define.
pub(super) fn names<'a>(unknown: Vec<(Word<'a>, &'a RawValue)>) -> Vec<Cow<'a, str>> {
    unknown.into_iter().map(|(name, _)| name.0).collect()
}

pub(super) fn words(word: Option<Word<'_>>) -> Option<Cow<'_, str>> {
    word.map(|word| word.0)
}
