//! What HealthKit says, whichever app wrote it down: Apple's codes, categories and electrocardiograms.

use std::borrow::Cow;

use catalogue::{self, HEALTHKIT, Metric};
use schemas::{
    event::{self, Coding, Component, Missing, Value},
    rejection::Reason,
};

use crate::observed::{Coded, Series, SourceNumber, coding, waveform};
use crate::refusal::{Refused, refused};

/// No name of Apple's is as long.
const NAME_BYTES_MAX: usize = 96;

/// A code of Apple's.
pub(crate) fn code(name: &str) -> Coding {
    Coding { system: HEALTHKIT.into(), code: name.to_owned().into(), display: None }
}

/// A value that Apple's documentation lists and the catalogue does not.
pub(crate) fn coded(word: &str) -> Value {
    Value::Coded(event::Coded { coding: code(word), text: None })
}

/// A category sample: one of the values of its type, or that and when it was so.
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
            // What react-native-health writes where Apple has added a value since.
            None if word.eq_ignore_ascii_case("UNKNOWN") => Value::Absent(Missing::Unknown),
            // A value that Apple has added since is kept as it is, and told as unknown.
            None if is_name(word) => coded(word),
            None => return Err(refused(Reason::ValueInvalid, "the value is no word that a category may have")),
        },
        // Some categories have nothing to say but that and when it was so.
        None if metric.coded_values().is_empty() => Value::Absent(Missing::NotApplicable),
        None => return Err(refused(Reason::ValueMissing, "the sample has no value")),
    };
    Ok(Coded { code: coding(metric.code()), source_codes: vec![source], value, flags: Vec::new() })
}

/// Whether a text may be the name or the number of a category's value: Apple's own, or an app's word for it. No list of Apple's
/// has a hundred values, so that a larger number is something else, such as minutes of sleep.
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
    /// How many voltages there are in a second: Apple records the frequency in hertz (HKElectrocardiogram.samplingFrequency).
    pub(crate) hertz: Option<Cow<'a, str>>,
    /// Apple's word for the rhythm.
    pub(crate) classification: Option<Cow<'a, str>>,
    /// Beats in a minute, and how that unit is written where it is.
    pub(crate) average_heart_rate: Option<(Cow<'a, str>, Option<Cow<'a, str>>)>,
}

impl Electrocardiogram<'_> {
    /// The waveform, where there is what one needs, and what was found in it.
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
                return Err(refused(Reason::ValueMissing, "neither a waveform nor anything that was found in it"));
            }
            // Voltages without their unit or their distance are no waveform.
            _ if !self.voltages.is_empty() => (Value::Absent(Missing::Unsupported), Vec::new()),
            _ => (Value::Absent(Missing::Panel), Vec::new()),
        };
        Ok((Coded { code: coding(metric.code()), source_codes: vec![source], value, flags }, components))
    }
}
