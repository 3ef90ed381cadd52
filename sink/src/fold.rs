//! Device commands into intervals: the same result in any order of arrival, in time that grows with their number alone.

use std::collections::BTreeMap;

use schemas::{
    event::{Command, PatientId, SourceName},
    version::Appended,
};

/// How many commands about one device a source may have appended on one day (UTC). The first ones count.
pub const COMMANDS_PER_DAY_MAX: usize = 1_000;

const DAY_MICROS: i64 = 86_400_000_000;

/// What the fold needs of a device command.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceCommand {
    /// Where and when it was appended; `item` is 0.
    pub appended: Appended,
    /// Who said it.
    pub source: SourceName,
    /// From when it holds, microseconds; none: from when it was appended.
    pub effective_from: Option<i64>,
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
    /// Its source had said too much about the device on that day: it was not looked at.
    TooManyCommands,
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
            Self::TooManyCommands => "too-many-commands",
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

/// Takes out what a source said of the device beyond its share of a day. What is left is the same in any order of arrival, also where
/// what was taken out before is not given again: an earlier command pushes a later one out, and none comes back.
#[must_use]
pub fn bound(mut commands: Vec<DeviceCommand>) -> (Vec<DeviceCommand>, Vec<Appended>) {
    commands.sort_unstable_by_key(|command| command.appended);
    let mut taken: BTreeMap<(SourceName, i64), usize> = BTreeMap::new();
    let mut excess = Vec::new();
    commands.retain(|command| {
        let day = command.appended.at.div_euclid(DAY_MICROS);
        let taken = taken.entry((command.source.clone(), day)).or_default();
        *taken += 1;
        let is_within = *taken <= COMMANDS_PER_DAY_MAX;
        if !is_within {
            excess.push(command.appended);
        }
        is_within
    });
    (commands, excess)
}

/// Folds all commands of one device, given in any order, each position once.
#[must_use]
pub fn fold(commands: &[DeviceCommand]) -> Folded {
    let mut state = State::default();
    for (from, command) in ordered(commands) {
        let verdict = state.take(from, command);
        state.folded.verdicts.push((command.appended, verdict));
    }
    state.folded.intervals.extend(state.open.map(|open| open.interval));
    state.folded
}

/// The commands in the order in which they hold, each with the time from which it does. A broker's clock may go back; what it appends
/// later is later nevertheless, so the time of an append is that of the latest one before it in its partition.
fn ordered(commands: &[DeviceCommand]) -> Vec<(i64, &DeviceCommand)> {
    let place = |one: &Appended| (one.topic_epoch, one.partition);
    let mut by_position: Vec<&DeviceCommand> = commands.iter().collect();
    by_position.sort_unstable_by_key(|command| (place(&command.appended), command.appended.offset));
    let mut ordered = Vec::with_capacity(commands.len());
    for partition in by_position.chunk_by(|one, next| place(&one.appended) == place(&next.appended)) {
        let mut latest = i64::MIN;
        for command in partition {
            latest = latest.max(command.appended.at);
            ordered.push((command.effective_from.unwrap_or(latest), latest, *command));
        }
    }
    ordered.sort_unstable_by_key(|(from, latest, command)| {
        (*from, *latest, place(&command.appended), command.appended.offset)
    });
    ordered.into_iter().map(|(from, _, command)| (from, command)).collect()
}

#[derive(Default)]
struct State {
    folded: Folded,
    open: Option<Open>,
}

struct Open {
    interval: Interval,
    /// Which of the verdicts is on the command that began it.
    by: usize,
}

impl State {
    fn take(&mut self, from: i64, command: &DeviceCommand) -> Verdict {
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
                self.end(from);
                let interval = Interval { patient, from, until: None };
                self.open = Some(Open { interval, by: self.folded.verdicts.len() });
                Verdict::Applied
            }
            (Command::Unassign, _) => match (holder, &command.subject) {
                (None, _) => Verdict::Unchanged,
                (Some(holder), Some(subject)) if holder != subject => Verdict::Lost,
                (Some(_), _) => {
                    self.end(from);
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
        } else if let Some((_, verdict)) = self.folded.verdicts.get_mut(by) {
            *verdict = Verdict::Superseded;
        }
    }
}
