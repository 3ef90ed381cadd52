//! The samples of react-native-health as they stand on the wire: one structure for all shapes, as none says which it is.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    json::{Literal, Noted, Wire, Word},
    shape::{Misshapen, misshapen},
};

/// One element of the array.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample<'a> {
    #[serde(borrow)]
    pub(crate) id: Option<Literal<'a>>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<Word<'a>>,
    pub(crate) unit: Option<Word<'a>>,
    pub(crate) device_id: Option<Literal<'a>>,
    pub(crate) source_id: Option<Word<'a>>,
    pub(crate) source_name: Option<Word<'a>>,
    pub(crate) start_date: Option<Word<'a>>,
    pub(crate) end_date: Option<Word<'a>>,
    /// Workouts have `start` for `startDate`.
    pub(crate) start: Option<Word<'a>>,
    /// Workouts have `end` for `endDate`.
    pub(crate) end: Option<Word<'a>>,
    pub(crate) value: Option<Literal<'a>>,
    pub(crate) blood_pressure_systolic_value: Option<Literal<'a>>,
    pub(crate) blood_pressure_diastolic_value: Option<Literal<'a>>,
    /// The samples of a correlation (HKCorrelation.objects), each with its own type and unit.
    pub(crate) objects: Option<Vec<&'a RawValue>>,
    /// Of an object only the name of a food is read; an array has the sources of a sum, see [`Share`].
    pub(crate) metadata: Option<&'a RawValue>,
    /// What a workout was.
    pub(crate) activity_name: Option<Literal<'a>>,
    /// The number of `activityName` in HKWorkoutActivityType.
    pub(crate) activity_id: Option<Literal<'a>>,
    /// The energy of a workout, in kilocalories.
    pub(crate) calories: Option<Literal<'a>>,
    /// The distance of a workout, in miles.
    pub(crate) distance: Option<Literal<'a>>,
    /// The duration of a workout, in seconds.
    pub(crate) duration: Option<Literal<'a>>,
    /// Apple's word for the rhythm of an ECG.
    pub(crate) classification: Option<Literal<'a>>,
    /// Beats in a minute of an ECG.
    pub(crate) average_heart_rate: Option<Literal<'a>>,
    /// How many voltages of an ECG there are in a second.
    pub(crate) sampling_frequency: Option<Literal<'a>>,
    /// Pairs of the seconds since the beginning of an ECG and the volts.
    pub(crate) voltage_measurements: Option<&'a RawValue>,
    /// Beats, see [`Beat`].
    pub(crate) heartbeat_series: Option<&'a RawValue>,
}

/// What one source gave to the sum of a day.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Share<'a> {
    #[serde(borrow)]
    pub(super) source_id: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) source_name: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) quantity: Option<Literal<'a>>,
}

/// One voltage: seconds since the beginning, which the frequency says as well, and volts.
pub(super) type Voltage<'a> = (IgnoredAny, Literal<'a>);

/// One beat of a series.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Beat<'a> {
    /// Seconds since the beginning of the series.
    #[serde(borrow)]
    pub(super) time_since_series_start: Literal<'a>,
    /// Beats before this one may be missing.
    #[serde(default)]
    pub(super) preceded_by_gap: bool,
}

/// Reads one element.
pub(super) fn sample(text: &str) -> Result<Noted<'_, Sample<'_>>, Misshapen> {
    serde_json::from_str(text).map_err(|_| misshapen::<Noted<'_, Sample<'_>>>(text))
}

impl Wire for Sample<'_> {
    /// What the library writes beside: the device's name, whether a workout was tracked and its events, the release of an ECG's
    /// classification, a number under HealthKit's name for it, and the age beside a birth date.
    const UNREAD: &'static [&'static str] =
        &["device", "tracked", "workoutEvents", "algorithmVersion", "quantity", "age"];
}

/// The word, unless it is nothing but white space.
pub(super) fn word<'s>(word: Option<&'s Word<'_>>) -> Option<&'s str> {
    word.map(|word| word.0.trim()).filter(|word| !word.is_empty())
}

/// The literal, unless it is nothing but white space.
pub(super) fn literal<'s>(literal: Option<&'s Literal<'_>>) -> Option<&'s str> {
    literal.map(|literal| literal.0.trim()).filter(|literal| !literal.is_empty())
}
