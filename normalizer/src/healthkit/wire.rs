//! The samples of react-native-health as they stand on the wire: one structure for all shapes, as none says which it is.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::json::{Literal, Object, Word};

/// One element of the array.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sample<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Literal<'a>>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Word<'a>>,
    pub(super) unit: Option<Word<'a>>,
    pub(super) device_id: Option<Literal<'a>>,
    pub(super) source_id: Option<Word<'a>>,
    pub(super) source_name: Option<Word<'a>>,
    pub(super) start_date: Option<Word<'a>>,
    pub(super) end_date: Option<Word<'a>>,
    /// Workouts have `start` for `startDate`.
    pub(super) start: Option<Word<'a>>,
    /// Workouts have `end` for `endDate`.
    pub(super) end: Option<Word<'a>>,
    pub(super) value: Option<Literal<'a>>,
    pub(super) blood_pressure_systolic_value: Option<Literal<'a>>,
    pub(super) blood_pressure_diastolic_value: Option<Literal<'a>>,
    /// The samples of a correlation (HKCorrelation.objects), each with its own type and unit.
    pub(super) objects: Option<Vec<&'a RawValue>>,
    /// Of this only the name of a food is read.
    pub(super) metadata: Option<&'a RawValue>,
    /// What a workout was.
    pub(super) activity_name: Option<Literal<'a>>,
    /// The number of `activityName` in HKWorkoutActivityType.
    pub(super) activity_id: Option<Literal<'a>>,
    /// The energy of a workout, in kilocalories.
    pub(super) calories: Option<Literal<'a>>,
    /// The distance of a workout, in miles.
    pub(super) distance: Option<Literal<'a>>,
    /// The duration of a workout, in seconds.
    pub(super) duration: Option<Literal<'a>>,
    /// Apple's word for the rhythm of an ECG.
    pub(super) classification: Option<Literal<'a>>,
    /// Beats in a minute of an ECG.
    pub(super) average_heart_rate: Option<Literal<'a>>,
    /// How many voltages of an ECG there are in a second.
    pub(super) sampling_frequency: Option<Literal<'a>>,
    /// Pairs of the seconds since the beginning of an ECG and the volts.
    pub(super) voltage_measurements: Option<&'a RawValue>,
    /// Beats, see [`Beat`].
    pub(super) heartbeat_series: Option<&'a RawValue>,
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

/// Reads one element; none where it is no object or a field has another type.
pub(super) fn sample(text: &str) -> Option<Sample<'_>> {
    serde_json::from_str::<Object<Sample<'_>>>(text).ok().map(|object| object.0)
}
