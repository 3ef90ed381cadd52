//! Device commands into intervals: the same result in any order of arrival.

use schemas::{
    event::{Command, PatientId},
    version::Appended,
};

/// What the fold needs of a device command.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceCommand {
    /// Where and when it was appended; `item` is 0.
    pub appended: Appended,
    /// From when it holds, microseconds.
    pub effective_from: i64,
    /// What it does.
    pub command: Command,
    /// Who gets the device.
    pub patient: Option<PatientId>,
    /// The patient who commands for themself; none for an operator.
    pub subject: Option<PatientId>,
}

/// A time during which a patient holds the device.
#[derive(Clone, PartialEq, Eq)]
pub struct Interval {
    /// Who.
    pub patient: PatientId,
    /// From when, microseconds.
    pub from: i64,
    /// Until when, exclusive; none while it goes on.
    pub until: Option<i64>,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Applied,
    /// A later command with the same effective time took its place.
    Superseded,
    /// It changes nothing: the patient already holds the device, nobody holds it, or it only enrols the device.
    Unchanged,
    /// A patient commanded over a device that someone else holds.
    Lost,
}

impl Verdict {
    /// The word in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Superseded => "superseded",
            Self::Unchanged => "unchanged",
            Self::Lost => "lost",
        }
    }
}

/// What all commands of one device come to.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Folded {
    /// The intervals in order of time, without overlap.
    pub intervals: Vec<Interval>,
    /// The verdict on each command, by its append position.
    pub verdicts: Vec<(Appended, Verdict)>,
}

/// Folds all commands of one device, given in any order, each position once.
#[must_use]
pub fn fold(commands: &[DeviceCommand]) -> Folded {
    let mut ordered: Vec<&DeviceCommand> = commands.iter().collect();
    ordered.sort_by_key(|command| (command.effective_from, command.appended));
    let mut state = State::default();
    for command in ordered {
        let verdict = state.take(command);
        state.folded.verdicts.push((command.appended, verdict));
    }
    state.folded.intervals.extend(state.open.map(|open| open.interval));
    state.folded
}

#[derive(Default)]
struct State {
    folded: Folded,
    open: Option<Open>,
}

struct Open {
    interval: Interval,
    by: Appended,
}

impl State {
    fn take(&mut self, command: &DeviceCommand) -> Verdict {
        let holder = self.open.as_ref().map(|open| &open.interval.patient);
        match (command.command, &command.patient) {
            (Command::Assign, None) => Verdict::Unchanged,
            (Command::Assign, Some(patient)) => {
                let for_another = command.subject.as_ref().is_some_and(|subject| subject != patient);
                let held_by_another = holder.is_some_and(|holder| holder != patient);
                if for_another || (command.subject.is_some() && held_by_another) {
                    return Verdict::Lost;
                }
                if holder == Some(patient) {
                    return Verdict::Unchanged;
                }
                let patient = patient.clone();
                self.end(command.effective_from);
                let interval = Interval { patient, from: command.effective_from, until: None };
                self.open = Some(Open { interval, by: command.appended });
                Verdict::Applied
            }
            (Command::Unassign, _) => match (holder, &command.subject) {
                (None, _) => Verdict::Unchanged,
                (Some(holder), Some(subject)) if holder != subject => Verdict::Lost,
                (Some(_), _) => {
                    self.end(command.effective_from);
                    Verdict::Applied
                }
            },
        }
    }

    fn end(&mut self, at: i64) {
        let Some(Open { mut interval, by }) = self.open.take() else { return };
        if interval.from < at {
            interval.until = Some(at);
            self.folded.intervals.push(interval);
        } else if let Some(verdict) = self.folded.verdicts.iter_mut().find(|(position, _)| *position == by) {
            verdict.1 = Verdict::Superseded;
        }
    }
}
