//! What stands below `HealthData`, as it is read.

use std::borrow::Cow;

/// What stands below `HealthData`.
pub(super) enum Element<'e> {
    /// `ExportDate`: when the export was made.
    ExportDate(Option<Cow<'e, str>>),
    /// `Record`, with its start tag as it was written.
    Record(Record<'e>, &'e str),
    /// `Workout`, with its start tag.
    Workout(Workout, String),
    /// `ActivitySummary`, with its start tag.
    ActivitySummary(ActivitySummary<'e>, &'e str),
    /// `WorkoutRoute`: the places of a workout.
    WorkoutRoute,
    /// `Correlation`: records that also stand by themselves.
    Correlation,
    /// `Me`: the characteristics of the owner.
    Me,
    /// An element of which the DTD knows and that is no reading.
    Document,
    /// Any other element, by its name.
    Other(&'e str),
    /// An attribute or an element of these that nobody knows. It is no item.
    Unknown {
        /// Where it stands, with a dot at the end.
        path: &'static str,
        /// Its name.
        name: &'e str,
    },
}

/// `Record`: one sample.
#[derive(Default)]
pub(super) struct Record<'e> {
    pub(super) kind: Option<Cow<'e, str>>,
    pub(super) unit: Option<Cow<'e, str>>,
    pub(super) value: Option<Cow<'e, str>>,
    pub(super) source_name: Option<Cow<'e, str>>,
    pub(super) device: Option<&'e str>,
    pub(super) start: Option<Cow<'e, str>>,
    pub(super) end: Option<Cow<'e, str>>,
}

/// `Workout`, with its totals: as attributes until iOS 15, as `WorkoutStatistics` since.
#[derive(Default)]
pub(super) struct Workout {
    pub(super) activity: Option<String>,
    pub(super) source_name: Option<String>,
    pub(super) device: Option<String>,
    pub(super) start: Option<String>,
    pub(super) end: Option<String>,
    pub(super) duration: Total,
    pub(super) distance: Total,
    pub(super) energy: Total,
    pub(super) statistics: Vec<Statistics>,
}

/// A number with its unit.
#[derive(Default)]
pub(super) struct Total {
    pub(super) number: Option<String>,
    pub(super) unit: Option<String>,
}

/// `WorkoutStatistics`: what a type came to over a workout.
#[derive(Default)]
pub(super) struct Statistics {
    pub(super) kind: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) average: Option<String>,
    pub(super) minimum: Option<String>,
    pub(super) maximum: Option<String>,
    pub(super) sum: Option<String>,
}

/// `ActivitySummary`: the rings of a day.
#[derive(Default)]
pub(super) struct ActivitySummary<'e> {
    pub(super) date: Option<Cow<'e, str>>,
    pub(super) energy: Option<Cow<'e, str>>,
    pub(super) energy_unit: Option<Cow<'e, str>>,
    pub(super) move_time: Option<Cow<'e, str>>,
    pub(super) exercise_time: Option<Cow<'e, str>>,
    pub(super) stand_hours: Option<Cow<'e, str>>,
}

/// What is called with each element; it says whether to go on.
pub(super) type Each<'f> = &'f mut dyn FnMut(Element<'_>) -> bool;

/// Why reading ends before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The XML is not well-formed.
    Syntax,
    /// The root is not `HealthData`.
    Root,
    /// The XML declares another encoding than UTF-8.
    Encoding,
    /// One token is longer than [`TOKEN_BYTES_MAX`](schemas::limit::TOKEN_BYTES_MAX).
    TooLarge,
    /// More than 64 levels.
    TooDeep,
    /// More than 128 attributes.
    TooWide,
}
