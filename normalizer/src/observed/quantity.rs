//! Converts a number and its unit to the unit of its metric.

use catalogue::{CodeUnit, Metric, UnitError, ValueKind, decimal::Decimal, ucum_of};
use schemas::{
    event::{Coding, Flag, Quantity, Text},
    rejection::Reason,
};

use crate::refusal::{Refused, refused};

/// The refusal of a number without a unit.
pub(crate) const NO_UNIT: Refused = refused(Reason::UnitMissing, "the value needs a unit and none is given");

/// A number as the source gives it.
#[derive(Clone, Copy)]
pub(crate) struct SourceNumber<'a> {
    /// The number as it was written.
    pub(crate) number: &'a str,
    /// The spellings of the unit, the preferred one first: FHIR has one spelling as a code and one for people.
    pub(crate) units: [Option<&'a str>; 2],
    /// `<`, `<=`, `>=` or `>`.
    pub(crate) comparator: Option<&'a str>,
}

/// A quantity, with the code and the flags that come from its unit and value.
pub(crate) struct Measure {
    /// The quantity.
    pub(crate) quantity: Quantity,
    /// The code that the unit selects among those of the metric.
    pub(crate) code: Option<&'static CodeUnit>,
    /// How the value was derived.
    pub(crate) flags: Vec<Flag>,
}

impl<'a> SourceNumber<'a> {
    /// Converts the number to the unit of the metric. If the catalogue does not know the metric or the unit, the quantity keeps
    /// its own unit. A missing unit is inferred only if the metric allows exactly one unit ([`Metric::only_unit`]).
    pub(crate) fn measure(self, metric: Option<&'static Metric>) -> Result<Measure, Refused> {
        let number = Decimal::parse(self.number)
            .map_err(|_| refused(Reason::ValueInvalid, "the value is not a decimal number of up to 400 digits"))?;
        match metric {
            Some(metric) if metric.kind() == ValueKind::Quantity => self.known(metric, &number),
            Some(_) => self.unknown(&number, Flag::UnknownUnit),
            None => self.unknown(&number, Flag::UnknownMetric),
        }
    }

    /// Like [`Self::measure`], for a total or an extreme of many samples. `OutOfRange` is not flagged, because the range of the
    /// metric is that of a single value.
    pub(crate) fn total(self, metric: Option<&'static Metric>) -> Result<Measure, Refused> {
        let mut measure = self.measure(metric)?;
        measure.flags.retain(|flag| *flag != Flag::OutOfRange);
        Ok(measure)
    }

    fn known(self, metric: &'static Metric, number: &Decimal) -> Result<Measure, Refused> {
        for unit in self.units.into_iter().flatten() {
            match metric.measure(number, unit) {
                Ok(measured) => return Ok(self.measured(measured)),
                Err(UnitError::Inconvertible) => {
                    return Err(refused(
                        Reason::UnitInvalid,
                        "the unit is for another kind of quantity than the metric",
                    ));
                }
                Err(UnitError::Unknown) => {}
            }
        }
        if self.unit().is_some() {
            return self.unknown(number, Flag::UnknownUnit);
        }
        let inferred = metric.only_unit().and_then(|unit| metric.measure(number, unit).ok());
        inferred.map(|measured| self.measured(measured)).ok_or(NO_UNIT)
    }

    fn measured(self, measured: catalogue::Measured) -> Measure {
        let flags = [(measured.rounded, Flag::Rounded), (measured.out_of_range, Flag::OutOfRange)];
        Measure {
            quantity: self.quantity(measured.value, measured.code.unit().unwrap_or("1").into()),
            code: Some(measured.code),
            flags: flags.into_iter().filter_map(|(is, flag)| is.then_some(flag)).collect(),
        }
    }

    fn unknown(self, number: &Decimal, flag: Flag) -> Result<Measure, Refused> {
        // Without a metric that says what is measured, another spelling might be the unit of something else.
        let unit = self.unit().ok_or(NO_UNIT)?.to_owned().into();
        Ok(Measure { quantity: self.quantity(number.canonical(), unit), code: None, flags: vec![flag] })
    }

    fn quantity(self, value: String, unit: Text) -> Quantity {
        Quantity {
            value,
            unit,
            source_value: self.number.to_owned(),
            source_unit: self.unit().map(str::to_owned),
            comparator: self.comparator.map(str::to_owned),
        }
    }

    fn unit(self) -> Option<&'a str> {
        self.units.into_iter().flatten().next()
    }
}

/// The UCUM code of a unit, or the unit as it was written if the catalogue does not know it.
pub(crate) fn ucum(written: &str) -> Text {
    ucum_of(written).map_or_else(|| written.to_owned().into(), Text::Borrowed)
}

/// Converts a code of the catalogue to the coding of an event.
pub(crate) fn coding(code: &'static CodeUnit) -> Coding {
    Coding { system: code.system().into(), code: code.code().into(), display: Some(code.display().into()) }
}
