//! Samples at even distance.

use schemas::{
    decimal::{Conversion, Decimal},
    event::{Flag, Waveform},
    rejection::Reason,
};

use super::{Refused, quantity::ucum, refused};

/// A waveform of one dimension. The distance of its samples is the reciprocal of their frequency, rounded and flagged
/// where that does not terminate.
pub(crate) fn waveform<'s>(
    samples: impl Iterator<Item = &'s str>,
    hertz: &str,
    unit: &str,
) -> Result<(Waveform, Vec<Flag>), Refused> {
    let (period_ms, flags) =
        period_ms(hertz).ok_or(refused(Reason::ValueInvalid, "the frequency is not above zero"))?;
    let wave = Waveform {
        origin: "0".to_owned(),
        unit: ucum(unit),
        period_ms,
        factor: "1".to_owned(),
        dimensions: 1,
        samples: joined(samples)?,
    };
    Ok((wave, flags))
}

/// Numbers as decimal texts separated by single spaces.
pub(crate) fn joined<'s>(numbers: impl Iterator<Item = &'s str>) -> Result<String, Refused> {
    let mut text = String::with_capacity(numbers.size_hint().0.saturating_mul(8));
    for number in numbers {
        let number =
            Decimal::parse(number).map_err(|_| refused(Reason::ValueInvalid, "a sample is no decimal number"))?;
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&number.canonical());
    }
    Ok(text)
}

fn period_ms(hertz: &str) -> Option<(String, Vec<Flag>)> {
    let frequency = Decimal::parse(hertz).ok()?.to_rational();
    let (numerator, denominator) = (frequency.numer().try_into().ok()?, frequency.denom().try_into().ok()?);
    let reciprocal = Conversion::new(denominator, 0, numerator).filter(|_| numerator > 0)?;
    let period = Decimal::parse("1000").ok()?.convert(&reciprocal);
    Some((period.text, if period.rounded { vec![Flag::Rounded] } else { Vec::new() }))
}
