//! The names of an entry's fields, as the app documents them and its users publish them.

use super::value::{ABOUT, AMOUNTS};

/// Those of all members together, the most frequent first, beside [`ABOUT`] and [`AMOUNTS`]. What is not read under its name is
/// kept as a component, known or not; the list only tells what is new.
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

/// Whether a field has a documented name.
pub(super) fn is_known(name: &str) -> bool {
    FIELDS.iter().chain(&ABOUT).chain(&AMOUNTS).any(|known| known.eq_ignore_ascii_case(name))
}
