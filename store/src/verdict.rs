//! What became of a device command.

/// The verdict on a device command, as the fold over all commands of the device gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It holds.
    Applied,
    /// A later command with the same effective time took its place.
    Superseded,
    /// It changes nothing: the patient already holds the device, nobody holds it, or it only enrols the device.
    Unchanged,
    /// A patient commanded over a device that somebody else holds.
    HeldByAnother,
    /// No command has assigned the device so far. Once one does, this command is judged again.
    UnknownDevice,
    /// The credential is bound to other providers than the device's.
    Forbidden,
    /// Its source had said too much about the device on that day: it was not looked at.
    TooManyCommands,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Applied,
        Self::Superseded,
        Self::Unchanged,
        Self::HeldByAnother,
        Self::UnknownDevice,
        Self::Forbidden,
        Self::TooManyCommands,
    ];

    /// The word in the table, in metrics and in what `trace` says.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Superseded => "superseded",
            Self::Unchanged => "unchanged",
            Self::HeldByAnother => "held-by-another",
            Self::UnknownDevice => "unknown-device",
            Self::Forbidden => "forbidden",
            Self::TooManyCommands => "too-many-commands",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == word)
    }

    /// What the verdict means for the operator who gave the command.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Applied => "the command took effect",
            Self::Superseded => {
                "the command has no effect: a later command about the device has the same effective time"
            }
            Self::Unchanged => {
                "the command changes nothing: the patient already holds the device, or nobody holds it, or the command names no patient"
            }
            Self::HeldByAnother => {
                "the command has no effect: somebody else holds the device, and a patient cannot take it away"
            }
            Self::UnknownDevice => {
                "the command has no effect: no command has assigned the device so far. If one does, this command is judged again"
            }
            Self::Forbidden => {
                "the command has no effect: the API key that sent it is bound to other providers than the device's"
            }
            Self::TooManyCommands => {
                "the command was not judged: its source had sent too many commands about the device on that day"
            }
        }
    }
}
