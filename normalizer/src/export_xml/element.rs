//! The elements below `HealthData`, as they are read.

use std::borrow::Cow;

/// An element below `HealthData`.
pub(super) enum Element<'e> {
    /// `ExportDate`: the time of the export.
    ExportDate(Option<Cow<'e, str>>),
    /// `Record`, with its start tag as written.
    Record(Record<'e>, &'e str),
    /// `Workout`, with its start tag.
    Workout(Workout, String),
    /// `ActivitySummary`, with its start tag.
    ActivitySummary(ActivitySummary<'e>, &'e str),
    /// `WorkoutRoute`: the locations of a workout.
    WorkoutRoute,
    /// `Correlation`: its records also occur at the top level.
    Correlation,
    /// `Me`: the characteristics of the owner.
    Me,
    /// An element that the DTD defines and that is not a reading.
    Document,
    /// Any other element, by its name.
    Other(&'e str),
    /// An unknown attribute or child element of one of the above. It is not an item.
    Unknown {
        /// The path of the parent, ending with a dot.
        path: &'static str,
        /// The name of the attribute or element.
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

/// `Workout`, with its totals. They are attributes until iOS 15, and `WorkoutStatistics` since.
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

/// `WorkoutStatistics`: the aggregates of one type over a workout.
#[derive(Default)]
pub(super) struct Statistics {
    pub(super) kind: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) average: Option<String>,
    pub(super) minimum: Option<String>,
    pub(super) maximum: Option<String>,
    pub(super) sum: Option<String>,
}

/// `ActivitySummary`: the activity rings of a day.
#[derive(Default)]
pub(super) struct ActivitySummary<'e> {
    pub(super) date: Option<Cow<'e, str>>,
    pub(super) energy: Option<Cow<'e, str>>,
    pub(super) energy_unit: Option<Cow<'e, str>>,
    pub(super) move_time: Option<Cow<'e, str>>,
    pub(super) exercise_time: Option<Cow<'e, str>>,
    pub(super) stand_hours: Option<Cow<'e, str>>,
}

/// The callback for each element. It returns whether to continue.
pub(super) type Each<'f> = &'f mut dyn FnMut(Element<'_>) -> bool;

/// Why reading stopped before the end of the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The XML is not well-formed.
    Syntax,
    /// The root element is not `HealthData`.
    Root,
    /// The XML declares an encoding other than UTF-8.
    Encoding,
    /// A token is longer than [`TOKEN_BYTES_MAX`](schemas::limit::TOKEN_BYTES_MAX).
    TooLarge,
    /// Elements are nested deeper than 64 levels.
    TooDeep,
    /// An element has more than 128 attributes.
    TooWide,
}
