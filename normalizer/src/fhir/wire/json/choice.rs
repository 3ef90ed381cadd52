//! `value[x]`: one of many elements, which are the same for an Observation and a component.

use super::{
    super::{super::model, only},
    datatype::{Concept, Element, Period, Quantity, Range, Ratio, Sampled, data_absent},
};
use crate::json::{Literal, Noted, Object, Word};

/// `value[x]` and `dataAbsentReason` of an Observation or a component.
pub(super) struct Choice<'a> {
    pub(super) value_quantity: Option<Noted<'a, Quantity<'a>>>,
    pub(super) value_codeable_concept: Option<Object<Concept<'a>>>,
    pub(super) value_string: Option<Word<'a>>,
    pub(super) value_boolean: Option<bool>,
    pub(super) value_integer: Option<Literal<'a>>,
    pub(super) value_range: Option<Object<Range<'a>>>,
    pub(super) value_ratio: Option<Object<Ratio<'a>>>,
    pub(super) value_sampled_data: Option<Object<Sampled<'a>>>,
    pub(super) value_time: Option<Word<'a>>,
    pub(super) value_date_time: Option<Word<'a>>,
    pub(super) value_period: Option<Object<Period<'a>>>,
    /// The `_` members of the primitives among them, such as `_valueString`.
    pub(super) elements: [Option<Object<Element<'a>>>; 5],
    pub(super) data_absent_reason: Option<Object<Concept<'a>>>,
}

impl<'a> Choice<'a> {
    pub(super) fn model(mut self) -> model::Given<'a> {
        let stated = self.data_absent_reason.and_then(|reason| reason.0.model().reason());
        let (quantity, extended) = self.value_quantity.map(Quantity::model_with_absent).unzip();
        let complex = [
            self.value_codeable_concept.as_mut().and_then(|value| value.0.extension.take()),
            self.value_range.as_mut().and_then(|value| value.0.extension.take()),
            self.value_ratio.as_mut().and_then(|value| value.0.extension.take()),
            self.value_sampled_data.as_mut().and_then(|value| value.0.extension.take()),
            self.value_period.as_mut().and_then(|value| value.0.extension.take()),
        ];
        let primitive = self.elements.into_iter().flatten().map(|element| element.0.extension);
        let reason = complex.into_iter().chain(primitive).find_map(data_absent);
        let value = only([
            quantity.map(model::Value::Quantity),
            self.value_codeable_concept.map(|concept| model::Value::Concept(concept.0.model())),
            self.value_string.map(|text| model::Value::Text(text.0)),
            self.value_boolean.map(model::Value::Boolean),
            self.value_integer.map(|number| model::Value::Integer(number.0)),
            self.value_range.map(|range| range.0.model()),
            self.value_ratio.map(|ratio| ratio.0.model()),
            self.value_sampled_data.map(|sampled| model::Value::Sampled(sampled.0.model())),
            self.value_time.map(|text| model::Value::Text(text.0)),
            self.value_date_time.map(|text| model::Value::Text(text.0)),
            self.value_period.map(|period| period.0.model()).map(|(start, end)| model::Value::Period { start, end }),
        ]);
        model::Given { value, absent: stated.or(extended.flatten()).or(reason) }
    }
}
