//! The names of an entry's fields, from the app's documentation and from output that its users have published.

use super::value::{ABOUT, AMOUNTS};

/// The fields of all sections, the most frequent first, without [`ABOUT`] and [`AMOUNTS`]. A field that no mapping reads by
/// name becomes a component, whether it is listed here or not; the list only determines what is reported as drift.
const FIELDS: &[&str] = &[
    // Any entry.
    "date",
    "startDate",
    "endDate",
    "value",
    "start",
    "end",
    "Min",
    "Avg",
    "Max",
    "metadata",
    // Metrics of several numbers or with a context.
    "systolic",
    "diastolic",
    "mealTime",
    "reason",
    "context",
    "motionContext",
    // Sleep.
    "sleepStart",
    "sleepEnd",
    "inBedStart",
    "inBedEnd",
    // Workouts.
    "duration",
    "location",
    "isIndoor",
    "activeEnergyBurned",
    "activeEnergy",
    "totalEnergy",
    "basalEnergy",
    "basalEnergyBurned",
    "intensity",
    "distance",
    "walkingAndRunningDistance",
    "cyclingDistance",
    "swimDistance",
    "speed",
    "avgSpeed",
    "maxSpeed",
    "elevation",
    "elevationUp",
    "elevationDown",
    "stepCount",
    "stepCadence",
    "cadence",
    "flightsClimbed",
    "swimStroke",
    "swimCadence",
    "totalSwimmingStrokeCount",
    "strokeStyle",
    "swolfScore",
    "lapLength",
    "salinity",
    "heartRate",
    "avgHeartRate",
    "maxHeartRate",
    "minHeartRate",
    "heartRateData",
    "heartRateRecovery",
    "temperature",
    "humidity",
    "route",
    // States of mind.
    "kind",
    "labels",
    "associations",
    "valence",
    "valenceClassification",
    // Medications, symptoms, cycle tracking.
    "displayText",
    "nickname",
    "scheduledDate",
    "scheduledDosage",
    "form",
    "status",
    "isArchived",
    "dosage",
    "codings",
    "severity",
    "userEntered",
    "isCycleStart",
    // Electrocardiograms and notifications.
    "classification",
    "voltageMeasurements",
    "samplingFrequency",
    "threshold",
    "heartRateVariation",
    "averageHeartRate",
    "numberOfVoltageMeasurements",
];

/// Whether a field has a known name.
pub(super) fn is_known(name: &str) -> bool {
    FIELDS.iter().chain(&ABOUT).chain(&AMOUNTS).any(|known| known.eq_ignore_ascii_case(name))
}
