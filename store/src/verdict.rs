//! The verdict on a device command.

/// The verdict on a device command, computed from all commands of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The command takes effect.
    Applied,
    /// A later command with the same effective time replaces it.
    Superseded,
    /// The command changes nothing: the patient already holds the device, nobody holds it, or it only registers the device.
    Unchanged,
    /// A patient sent a command for a device that somebody else holds.
    HeldByAnother,
    /// No command has assigned the device so far. When a command does, the verdict on this command is computed again.
    UnknownDevice,
    /// The credential is bound to other providers than the device's.
    Forbidden,
    /// The source had sent too many commands about the device on that day, so the command was not evaluated.
    TooManyCommands,
}

impl Verdict {
    /// All verdicts.
    pub const ALL: [Self; 7] = [
        Self::Applied,
        Self::Superseded,
        Self::Unchanged,
        Self::HeldByAnother,
        Self::UnknownDevice,
        Self::Forbidden,
        Self::TooManyCommands,
    ];

    /// Returns the word used in the table, in metrics and in the output of `trace`.
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

    /// Parses the word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == word)
    }

    /// Returns the meaning of the verdict for the operator who sent the command.
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
                "the command has no effect: no command has assigned the device so far. If one does, this command is evaluated again"
            }
            Self::Forbidden => {
                "the command has no effect: the API key that sent it is bound to other providers than the device's"
            }
            Self::TooManyCommands => {
                "the command was not evaluated: its source had sent too many commands about the device on that day"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Verdict;

    #[test]
    fn each_verdict_says_what_became_of_the_command() {
        let meanings: BTreeSet<&str> = Verdict::ALL.map(Verdict::meaning).into();
        assert_eq!(meanings.len(), Verdict::ALL.len());
        assert!(meanings.iter().all(|meaning| meaning.starts_with("the command ")), "{meanings:?}");
    }
}
