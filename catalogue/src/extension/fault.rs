//! Faults of a catalogue file.

use std::fmt;

use schemas::spelling::nearest;

use crate::load::CatalogueError;

/// The way out of a fault that says itself what must be.
pub(super) const FORM: &str = "docs/mapping-without-a-release.md shows each kind of entry";

/// Why a catalogue file cannot be used: the line, the entry, what is wrong with it, and what to do. It may quote the file, because
/// a catalogue contains no health data.
#[derive(Debug)]
pub struct ExtensionError {
    line: Option<usize>,
    entry: String,
    fault: String,
    way_out: String,
}

impl ExtensionError {
    pub(super) fn new(
        line: Option<usize>,
        entry: impl Into<String>,
        fault: impl Into<String>,
        way_out: impl Into<String>,
    ) -> Self {
        Self { line, entry: entry.into(), fault: fault.into(), way_out: way_out.into() }
    }

    /// A fault of the file as a whole.
    pub(super) fn of_file(fault: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self::new(None, "", fault, way_out)
    }

    /// A fault of the built-in catalogue, which the tests exclude.
    pub(super) fn built_in(error: &CatalogueError) -> Self {
        Self::of_file(format!("the built-in catalogue is broken: {error}"), "report it, and use another release")
    }
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, entry, fault, way_out } = self;
        let place = match (line, entry.as_str()) {
            (Some(line), "") => format!("line {line}: "),
            (Some(line), entry) => format!("line {line}, {entry}: "),
            (None, "") => String::new(),
            (None, entry) => format!("{entry}: "),
        };
        write!(f, "{place}{fault}; {way_out}")
    }
}

impl std::error::Error for ExtensionError {}

/// Why a catalogue file cannot be used: the faults of its entries, in their order, at least one. Its text has a line for each.
#[derive(Debug)]
pub struct ExtensionErrors(pub(super) Vec<ExtensionError>);

impl From<ExtensionError> for ExtensionErrors {
    fn from(fault: ExtensionError) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for ExtensionErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ExtensionErrors {}

/// An entry of the file.
#[derive(Clone)]
pub(super) struct Place {
    /// The line where it begins.
    pub(super) line: usize,
    /// Its kind and its name.
    pub(super) entry: String,
}

impl Place {
    pub(super) fn fault(&self, fault: impl Into<String>, way_out: impl Into<String>) -> ExtensionError {
        ExtensionError::new(Some(self.line), self.entry.clone(), fault, way_out)
    }
}

/// Returns the number of the line at a byte of the file.
pub(super) fn line_at(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count()
}

/// A file that is not TOML, or has members that a catalogue does not have.
pub(super) fn unreadable(text: &str, error: &toml::de::Error) -> ExtensionError {
    let line = error.span().map(|span| line_at(text, span.start));
    let message =
        error.message().replace('\n', ", ").replace("expected i64", "expected a whole number of at most 18 digits");
    // Serde names the unknown member and then the known ones, each in back ticks.
    let mut names = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field")
        && let Some(unknown) = names.next()
    {
        let known: Vec<&str> = names.collect();
        let way_out = match nearest(unknown, &known) {
            _ if unknown == "revision" => "it belongs above the first `[[…]]`".to_owned(),
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        return ExtensionError::new(line, "", format!("unknown member `{unknown}`"), way_out);
    }
    let written = line.and_then(|line| text.lines().nth(line - 1)).unwrap_or_default();
    let way_out = if written.starts_with("to_base") {
        "to_base is [factor, shift, divisor], three whole numbers: (value × factor + shift) ÷ divisor"
    } else {
        FORM
    };
    ExtensionError::new(line, "", message, way_out)
}

/// Proposes the known name that is most like a word.
pub(super) fn meant(word: &str, known: &[&str]) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean {near}?"))
}
