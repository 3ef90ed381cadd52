//! What all HealthKit formats share, whichever app wrote them: Apple's codes, categories and electrocardiograms.

use std::borrow::Cow;

use catalogue::{self, HEALTHKIT, Metric};
use schemas::{
    event::{self, Coding, Component, Missing, Value},
    rejection::Reason,
};

use crate::observed::{Coded, Series, SourceNumber, coding, waveform};
use crate::refusal::{Refused, refused};

/// Longer than any of Apple's names.
const NAME_BYTES_MAX: usize = 96;

/// A code in Apple's code system.
pub(crate) fn code(name: &str) -> Coding {
    Coding { system: HEALTHKIT.into(), code: name.to_owned().into(), display: None }
}

/// A coded value that Apple documents and the catalogue does not contain.
pub(crate) fn coded(word: &str) -> Value {
    Value::Coded(event::Coded { coding: code(word), text: None })
}

/// Maps a category sample: one of the values of its type or, if the type has no values, only the fact that it occurred.
pub(crate) fn category(metric: &'static Metric, word: Option<&str>, source: Coding) -> Result<Coded, Refused> {
    let value = match word {
        Some(word) => match metric.coded_value(word) {
            Some(known) => Value::Coded(event::Coded {
                coding: Coding {
                    system: known.system().into(),
                    code: known.code().into(),
                    display: Some(known.display().into()),
                },
                text: Some(word.to_owned()),
            }),
            None if metric.coded_values().is_empty() => coded(word),
            // react-native-health writes `UNKNOWN` for a value that Apple has added since.
            None if word.eq_ignore_ascii_case("UNKNOWN") => Value::Absent(Missing::Unknown),
            // A value that Apple has added since is stored as it was written, and reported as unknown.
            None if is_name(word) => coded(word),
            None => {
                return Err(refused(
                    Reason::ValueInvalid,
                    "the value is neither the name nor the number of a category value",
                ));
            }
        },
        // Some categories have no value: a sample says only that something occurred, and when.
        None if metric.coded_values().is_empty() => Value::Absent(Missing::NotApplicable),
        None => return Err(refused(Reason::ValueMissing, "the sample has no value")),
    };
    Ok(Coded { code: coding(metric.code()), source_codes: vec![source], value, flags: Vec::new() })
}

/// Whether a text may be the name or the number of a category value, either Apple's own or an app's word for it. None of
/// Apple's enumerations has a hundred values, so a larger number is something else, such as minutes of sleep.
fn is_name(word: &str) -> bool {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    word.len() <= if is_number { 2 } else { NAME_BYTES_MAX }
        && word.starts_with(char::is_alphanumeric)
        && word.chars().all(|char| char.is_alphanumeric() || " _-".contains(char))
}

/// An `HKElectrocardiogram` as an app writes it.
pub(crate) struct Electrocardiogram<'a> {
    /// The voltages, in the order of time.
    pub(crate) voltages: Vec<Cow<'a, str>>,
    /// The unit of all voltages.
    pub(crate) unit: Option<Cow<'a, str>>,
    /// Voltages per second, in hertz (HKElectrocardiogram.samplingFrequency).
    pub(crate) hertz: Option<Cow<'a, str>>,
    /// Apple's classification of the rhythm.
    pub(crate) classification: Option<Cow<'a, str>>,
    /// Beats per minute, and the unit as it was written, if it was.
    pub(crate) average_heart_rate: Option<(Cow<'a, str>, Option<Cow<'a, str>>)>,
}

impl Electrocardiogram<'_> {
    /// Maps the recording to a waveform, if voltages, frequency and unit are present, and to components for the classification
    /// and the average heart rate.
    pub(crate) fn read(self, metric: &'static Metric, source: Coding) -> Result<(Coded, Vec<Component>), Refused> {
        let mut components = Vec::new();
        if let Some(word) = &self.classification {
            let code = code("HKElectrocardiogram.Classification");
            components.push(Component {
                source_codes: vec![code.clone()],
                code,
                value: coded(word),
                flags: Vec::new(),
            });
        }
        if let (Some((number, unit)), Some(metric)) = (&self.average_heart_rate, catalogue::metric_by_key("heart_rate"))
        {
            let source = code("HKElectrocardiogram.AverageHeartRate");
            let measure =
                SourceNumber { number, units: [unit.as_deref(), None], comparator: None }.measure(Some(metric))?;
            components.push(Component {
                code: coding(measure.code.unwrap_or_else(|| metric.code())),
                source_codes: vec![source],
                value: Value::Quantity(measure.quantity),
                flags: measure.flags,
            });
        }
        let (value, flags) = match (&self.hertz, &self.unit) {
            (Some(hertz), Some(unit)) if !self.voltages.is_empty() => {
                let (wave, flags) = waveform(Series::of(self.voltages.iter().map(AsRef::as_ref))?, hertz, unit)?;
                (Value::Waveform(wave), flags)
            }
            _ if components.is_empty() => {
                return Err(refused(
                    Reason::ValueMissing,
                    "the electrocardiogram has no complete waveform, no classification and no average heart rate",
                ));
            }
            // Without a unit or a sampling frequency, voltages do not make a waveform.
            _ if !self.voltages.is_empty() => (Value::Absent(Missing::Unsupported), Vec::new()),
            _ => (Value::Absent(Missing::Panel), Vec::new()),
        };
        Ok((Coded { code: coding(metric.code()), source_codes: vec![source], value, flags }, components))
    }
}
