//! Flags: what a reader should know about a value, and what to do about it.

use crate::codec::{Element, avro_enum};

avro_enum! {
    /// What a reader should know about how a value was derived.
    pub enum Flag {
        /// Reserved in the schema for the flags of newer releases. No release sets it.
        Unknown = "unknown",
        /// The canonical value has no finite decimal expansion and was rounded half-even to 15 significant digits.
        Rounded = "rounded",
        /// The value is outside what is physically possible.
        OutOfRange = "out-of-range",
        /// The sender itself marked the value as out of its range.
        SenderOutOfRange = "sender-out-of-range",
        /// The payload had no unit. A documented unit was used: that of the format, or of the defaults that the request or the key
        /// declares.
        DefaultUnit = "default-unit",
        /// The metric is not in the catalogue; value and unit are the source's.
        UnknownMetric = "unknown-metric",
        /// The catalogue has the metric but cannot convert the unit; value and unit are the source's.
        UnknownUnit = "unknown-unit",
        /// The time had no offset from UTC. It was read as UTC, or with the offset of the other end of its period.
        LocalTime = "local-time",
        /// The measurement time is more than a day after the broker received the payload.
        MeasuredInFuture = "measured-in-future",
    }
}

impl Element for Flag {}

impl Flag {
    /// Returns what sets the flag.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Unknown => {
                "Nothing. The schema has it in place of the flags of newer releases; a sink that reads such a flag waits for its upgrade."
            }
            Self::Rounded => {
                "The value was converted into the stored unit, and the exact result has no finite decimal expansion. It was rounded \
                 half-even to 15 significant digits. The same applies to the time between two samples of a waveform."
            }
            Self::OutOfRange => {
                "The value is outside the range that the catalogue gives as physically possible for the metric ([metrics](metrics.md)). \
                 Totals over many samples are not checked."
            }
            Self::SenderOutOfRange => "Medisanté sent `isInRange` as false.",
            Self::DefaultUnit => {
                "The payload had no unit, and a documented unit was used: that of the declared defaults (`react-native-health`), or of \
                 the format (the duration of a workout in Health Auto Export, the times and hours of an activity summary in \
                 Apple's export). It is not set where the metric allows only one unit."
            }
            Self::UnknownMetric => "The catalogue has no metric for the source's code or name.",
            Self::UnknownUnit => {
                "The catalogue cannot convert the unit for this metric, or does not have the unit of a component without a metric."
            }
            Self::LocalTime => {
                "A time had no offset from UTC. It was read as UTC, or with the offset of the other end of its period."
            }
            Self::MeasuredInFuture => "The time of measurement is more than a day after the payload was received.",
        }
    }

    /// Returns what a reader of the value should do.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Unknown => "Report it: no row should have this flag.",
            Self::Rounded => "Use the source value and unit where the exact number matters.",
            Self::OutOfRange => "Exclude the value from statistics, and check the device and the unit that was sent.",
            Self::SenderOutOfRange => {
                "Use the value. It is outside what the sender expects, which does not mean that the measurement is wrong."
            }
            Self::DefaultUnit => {
                "Trust the value if the sender returns the units that the library or the app documents. If it does not, the sender has \
                 to name its units."
            }
            Self::UnknownMetric => {
                "Treat code, value and unit as the source's own. Do not compare the value with values of a metric; `device-manager \
                 drift` lists what is unknown."
            }
            Self::UnknownUnit => {
                "Treat value and unit as the source's own, and compare only values with the same unit; `device-manager drift` lists \
                 what is unknown."
            }
            Self::LocalTime => "Allow for up to 14 hours of error, also in the attribution to a patient.",
            Self::MeasuredInFuture => {
                "Do not rely on the time or on the attribution to a patient; the clock of the device is wrong."
            }
        }
    }
}
