//! Waveforms: samples at equal intervals.

use catalogue::decimal::{Conversion, Decimal};
use schemas::{
    event::{Flag, Waveform},
    rejection::Reason,
};

use super::quantity::ucum;
use crate::refusal::{Refused, refused};

/// Builds a waveform of one dimension. The sample period is the reciprocal of the frequency; if the decimal does not terminate,
/// it is rounded and flagged.
pub(crate) fn waveform(samples: Series, hertz: &str, unit: &str) -> Result<(Waveform, Vec<Flag>), Refused> {
    let (period_ms, flags) =
        period_ms(hertz).ok_or(refused(Reason::ValueInvalid, "the frequency is not a number above zero"))?;
    let wave = Waveform {
        origin: "0".to_owned(),
        unit: ucum(unit),
        period_ms,
        factor: "1".to_owned(),
        dimensions: 1,
        samples: samples.0,
    };
    Ok((wave, flags))
}

/// Numbers as decimal texts separated by single spaces. No number is more than twice as long as the sender wrote it.
#[derive(Default)]
pub(crate) struct Series(String);

impl Series {
    /// Builds a series from numbers.
    pub(crate) fn of<'s>(numbers: impl Iterator<Item = &'s str>) -> Result<Self, Refused> {
        let mut series = Self::default();
        for number in numbers {
            series.push(number)?;
        }
        Ok(series)
    }

    /// Appends a number.
    pub(crate) fn push(&mut self, number: &str) -> Result<(), Refused> {
        let written = number.trim();
        let number =
            Decimal::parse(written).map_err(|_| refused(Reason::ValueInvalid, "a sample is not a decimal number"))?;
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        // A number in exponent notation stays in it: a few bytes must not become hundreds of digits.
        let canonical = number.canonical();
        self.0.push_str(if canonical.len() <= 2 * written.len() { &canonical } else { written });
        Ok(())
    }

    /// The series as text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

fn period_ms(hertz: &str) -> Option<(String, Vec<Flag>)> {
    let frequency = Decimal::parse(hertz).ok()?.to_rational();
    let (numerator, denominator) = (frequency.numer().try_into().ok()?, frequency.denom().try_into().ok()?);
    let reciprocal = Conversion::new(denominator, 0, numerator).filter(|_| numerator > 0)?;
    let period = Decimal::parse("1000").ok()?.convert(&reciprocal);
    Some((period.text, if period.rounded { vec![Flag::Rounded] } else { Vec::new() }))
}
