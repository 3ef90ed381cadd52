//! The wire format of react-native-health's samples: one structure for all shapes, because no field says which shape a sample
//! has.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    json::{Literal, Noted, Wire, Word},
    shape::{ShapeError, shape_error},
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
    /// Workouts write `start` instead of `startDate`.
    pub(crate) start: Option<Word<'a>>,
    /// Workouts write `end` instead of `endDate`.
    pub(crate) end: Option<Word<'a>>,
    pub(crate) value: Option<Literal<'a>>,
    pub(crate) blood_pressure_systolic_value: Option<Literal<'a>>,
    pub(crate) blood_pressure_diastolic_value: Option<Literal<'a>>,
    /// The samples of a correlation (HKCorrelation.objects), each with its own type and unit.
    pub(crate) objects: Option<Vec<&'a RawValue>>,
    /// If it is an object, only the name of a food is read. If it is an array, it lists the sources of a sum, see
    /// [`SourceContribution`].
    pub(crate) metadata: Option<&'a RawValue>,
    /// The activity of a workout.
    pub(crate) activity_name: Option<Literal<'a>>,
    /// The number of `activityName` in HKWorkoutActivityType.
    pub(crate) activity_id: Option<Literal<'a>>,
    /// The energy of a workout, in kilocalories.
    pub(crate) calories: Option<Literal<'a>>,
    /// The distance of a workout, in miles.
    pub(crate) distance: Option<Literal<'a>>,
    /// The duration of a workout, in seconds.
    pub(crate) duration: Option<Literal<'a>>,
    /// Apple's classification of the rhythm of an ECG.
    pub(crate) classification: Option<Literal<'a>>,
    /// The average heart rate of an ECG, in beats per minute.
    pub(crate) average_heart_rate: Option<Literal<'a>>,
    /// The voltages of an ECG per second, in hertz.
    pub(crate) sampling_frequency: Option<Literal<'a>>,
    /// Pairs of the seconds since the start of an ECG and the volts.
    pub(crate) voltage_measurements: Option<&'a RawValue>,
    /// The beats of a series, see [`Beat`].
    pub(crate) heartbeat_series: Option<&'a RawValue>,
}

/// What one source contributed to the sum of a day.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SourceContribution<'a> {
    #[serde(borrow)]
    pub(super) source_id: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) source_name: Option<Word<'a>>,
    #[serde(borrow)]
    pub(super) quantity: Option<Literal<'a>>,
}

/// One voltage: the seconds since the start, which are not read because the frequency determines them, and the volts.
pub(super) type Voltage<'a> = (IgnoredAny, Literal<'a>);

/// One beat of a series.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Beat<'a> {
    /// Seconds since the start of the series.
    #[serde(borrow)]
    pub(super) time_since_series_start: Literal<'a>,
    /// Whether beats before this one may be missing.
    #[serde(default)]
    pub(super) preceded_by_gap: bool,
}

/// Parses one element of the array.
pub(super) fn sample(text: &str) -> Result<Noted<'_, Sample<'_>>, ShapeError> {
    serde_json::from_str(text).map_err(|_| shape_error::<Noted<'_, Sample<'_>>>(text))
}

impl Wire for Sample<'_> {
    /// Members that react-native-health also writes: the name of the device, whether a workout was tracked, its events, the
    /// version of the algorithm that classified an ECG, a number under HealthKit's name for it, and the age beside a date of
    /// birth.
    const UNREAD: &'static [&'static str] =
        &["device", "tracked", "workoutEvents", "algorithmVersion", "quantity", "age"];
}

/// The word, unless it is blank.
pub(super) fn word<'s>(word: Option<&'s Word<'_>>) -> Option<&'s str> {
    word.map(|word| word.0.trim()).filter(|word| !word.is_empty())
}

/// The literal, unless it is blank.
pub(super) fn literal<'s>(literal: Option<&'s Literal<'_>>) -> Option<&'s str> {
    literal.map(|literal| literal.0.trim()).filter(|literal| !literal.is_empty())
}
