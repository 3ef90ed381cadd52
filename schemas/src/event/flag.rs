//! What a reader should know about a value, and what to do about it.

use crate::codec::{Element, avro_enum};

avro_enum! {
    /// What a reader should know about how a value was derived.
    pub enum Flag {
        /// Set by a release that knows more flags than this one.
        Unknown = "unknown",
        /// The canonical value does not terminate and was rounded half-even to 15 significant digits.
        Rounded = "rounded",
        /// The value lies outside what is physically possible.
        OutOfRange = "out-of-range",
        /// The sender itself marked the value as out of its range.
        SenderOutOfRange = "sender-out-of-range",
        /// The payload had no unit; a documented one was taken: of the format, or of the defaults that the request or the key declares.
        DefaultUnit = "default-unit",
        /// The catalogue does not know the metric: value and unit are the source's.
        UnknownMetric = "unknown-metric",
        /// The catalogue knows the metric, but the unit is not one that it can convert; value and unit are the source's.
        UnknownUnit = "unknown-unit",
        /// The time had no offset and was read as UTC, or with that of the other end of its span.
        LocalTime = "local-time",
        /// The measurement time lies more than a day after the broker received it.
        MeasuredInFuture = "measured-in-future",
    }
}

impl Element for Flag {}

impl Flag {
    /// What sets it.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Unknown => {
                "Nothing. It stands in the schema for the flags of newer releases; a sink that meets one waits for its upgrade."
            }
            Self::Rounded => {
                "The value was converted into the stored unit, and the exact result has no end as a decimal. It was rounded half-even \
                 to 15 significant digits. Also the time between two samples of a waveform."
            }
            Self::OutOfRange => {
                "The value lies outside the range that the catalogue gives as physically possible for the metric ([metrics](metrics.md)). \
                 Totals over many samples are not compared."
            }
            Self::SenderOutOfRange => "Medisanté sent `isInRange` as false.",
            Self::DefaultUnit => {
                "The payload had no unit, and a documented one was taken: of the declared defaults (`react-native-health`), or of the \
                 format (the duration of a workout in Health Auto Export, the times and hours of an activity summary in Apple's \
                 export). Not set where the metric allows one unit only."
            }
            Self::UnknownMetric => "The catalogue has no metric for the source's code or name.",
            Self::UnknownUnit => {
                "The catalogue cannot convert the unit for this metric, or does not know the unit of a component without a metric."
            }
            Self::LocalTime => {
                "A time had no offset. It was read as UTC, or with the offset of the other end of its span."
            }
            Self::MeasuredInFuture => "The time of measurement lies more than a day after the payload was received.",
        }
    }

    /// What a reader should do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Unknown => "Report it: no row should have it.",
            Self::Rounded => "Use the source value and unit where the exact number matters.",
            Self::OutOfRange => {
                "Leave the value out of statistics, and look at the device and at the unit that was sent."
            }
            Self::SenderOutOfRange => {
                "Use the value. It differs from what the sender expects, which is no fault of the measurement."
            }
            Self::DefaultUnit => {
                "Trust the value as far as the sender returns what the library or the app documents. If it does not, the sender has to \
                 name its units."
            }
            Self::UnknownMetric => {
                "Read code, value and unit as the source's own. Do not compare the value with those of a metric; `device-manager \
                 drift` lists what is unknown."
            }
            Self::UnknownUnit => {
                "Read value and unit as the source's own, and compare only values of the same unit; `device-manager drift` lists what \
                 is unknown."
            }
            Self::LocalTime => "Allow for up to 14 hours of error, also in the attribution to a patient.",
            Self::MeasuredInFuture => {
                "Do not rely on the time, nor on the attribution to a patient; the clock of the device is wrong."
            }
        }
    }
}
