//! Folds device commands into intervals. The result does not depend on the order of arrival, and the time grows with the
//! number of commands only.

use std::collections::BTreeMap;

use schemas::{
    event::{Command, PatientId, SourceName},
    format::Provider,
    version::Appended,
};
use store::Verdict;

/// The maximum number of commands about one device that a source may append on one day (UTC). Only the first ones count.
pub const COMMANDS_PER_DAY_MAX: usize = 1_000;

const DAY_MICROS: i64 = 86_400_000_000;

/// The fields of a device command that the fold requires.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceCommand {
    /// Where and when the command was appended; `item` is 0.
    pub appended: Appended,
    /// The source that sent the command.
    pub source: SourceName,
    /// The time from which the command is effective, in microseconds. `None`: from when it was appended.
    pub effective_from: Option<i64>,
    /// Assign or unassign.
    pub command: Command,
    /// The patient who gets the device.
    pub patient: Option<PatientId>,
    /// The patient who sends the command for themself; `None` for an operator.
    pub subject: Option<PatientId>,
    /// The provider of the device; `None` for an unassign, which names the device by its key only.
    pub provider: Option<Provider>,
    /// The providers whose devices the credential may command; empty if it may command those of any provider.
    pub bound_to: Vec<Provider>,
}

impl DeviceCommand {
    fn may_command(&self, provider: Provider) -> bool {
        self.bound_to.is_empty() || self.bound_to.contains(&provider)
    }
}

/// An interval in which a patient holds the device.
#[derive(Clone, PartialEq, Eq)]
pub struct Interval {
    /// The patient.
    pub patient: PatientId,
    /// The start, in microseconds.
    pub from: i64,
    /// The end, exclusive; `None` while the interval is open.
    pub until: Option<i64>,
}

/// The result of folding all commands of one device.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Folded {
    /// The intervals, ordered by time and without overlap.
    pub intervals: Vec<Interval>,
    /// The verdict on each command, with the position at which the command was appended.
    pub verdicts: Vec<(Appended, Verdict)>,
}

/// Removes the commands of each source beyond its limit for one day. Returns the commands that are left, and the positions of
/// those that were removed.
///
/// The commands that are left are the same in any order of arrival, even if the removed ones are not given again: an earlier
/// command displaces a later one, and a displaced command never comes back.
#[must_use]
pub fn limit_per_day(mut commands: Vec<DeviceCommand>) -> (Vec<DeviceCommand>, Vec<Appended>) {
    commands.sort_unstable_by_key(|command| command.appended);
    let mut counts: BTreeMap<(SourceName, i64), usize> = BTreeMap::new();
    let mut excess = Vec::new();
    commands.retain(|command| {
        let day = command.appended.at.div_euclid(DAY_MICROS);
        let count = counts.entry((command.source.clone(), day)).or_default();
        *count += 1;
        let is_within = *count <= COMMANDS_PER_DAY_MAX;
        if !is_within {
            excess.push(command.appended);
        }
        is_within
    });
    (commands, excess)
}

/// Folds all commands of one device. They are given in any order, each position once. Only a command that assigns the device
/// makes the device known and determines its provider.
#[must_use]
pub fn fold(commands: &[DeviceCommand]) -> Folded {
    let provider = commands.iter().find_map(|command| command.provider);
    let mut state = FoldState::default();
    for (from, command) in ordered(commands) {
        let verdict = match provider {
            None => Verdict::UnknownDevice,
            Some(provider) if !command.may_command(provider) => Verdict::Forbidden,
            Some(_) => state.apply(from, command),
        };
        state.folded.verdicts.push((command.appended, verdict));
    }
    state.folded.intervals.extend(state.open.map(|open| open.interval));
    state.folded
}

/// The commands in the order in which they become effective, each with that time. A broker's clock may be set back, but a command
/// with a higher offset never counts as older. The append time of a command is therefore the latest one in its partition up to
/// this command.
fn ordered(commands: &[DeviceCommand]) -> Vec<(i64, &DeviceCommand)> {
    let partition = |position: &Appended| (position.topic_epoch, position.partition);
    let mut by_position: Vec<&DeviceCommand> = commands.iter().collect();
    by_position.sort_unstable_by_key(|command| (partition(&command.appended), command.appended.offset));
    let mut ordered = Vec::with_capacity(commands.len());
    for commands in by_position.chunk_by(|command, next| partition(&command.appended) == partition(&next.appended)) {
        let mut latest = i64::MIN;
        for command in commands {
            latest = latest.max(command.appended.at);
            ordered.push((command.effective_from.unwrap_or(latest), latest, *command));
        }
    }
    ordered.sort_unstable_by_key(|(from, latest, command)| {
        (*from, *latest, partition(&command.appended), command.appended.offset)
    });
    ordered.into_iter().map(|(from, _, command)| (from, command)).collect()
}

#[derive(Default)]
struct FoldState {
    folded: Folded,
    open: Option<OpenInterval>,
    /// The last unassign that took effect, unless an assign has superseded it.
    last_unassign: Option<Unassign>,
}

struct Unassign {
    at: i64,
    holder: PatientId,
    verdict_index: usize,
}

struct OpenInterval {
    interval: Interval,
    /// The index of the verdict on the command that started the interval.
    verdict_index: usize,
}

impl FoldState {
    fn apply(&mut self, from: i64, command: &DeviceCommand) -> Verdict {
        let holder = self.open.as_ref().map(|open| &open.interval.patient);
        match (command.command, &command.patient) {
            (Command::Assign, None) => Verdict::Unchanged,
            (Command::Assign, Some(patient)) => {
                let for_another = command.subject.as_ref().is_some_and(|subject| subject != patient);
                let held_by_another = holder.is_some_and(|holder| holder != patient);
                if for_another || (command.subject.is_some() && held_by_another) {
                    return Verdict::HeldByAnother;
                }
                if holder == Some(patient) {
                    return Verdict::Unchanged;
                }
                self.supersede_unassign(from, command);
                let patient = patient.clone();
                self.end(from);
                self.begin(patient, from)
            }
            (Command::Unassign, _) => match (holder, &command.subject) {
                (None, _) => Verdict::Unchanged,
                (Some(holder), Some(subject)) if holder != subject => Verdict::HeldByAnother,
                (Some(holder), _) => {
                    let (holder, verdict_index) = (holder.clone(), self.folded.verdicts.len());
                    self.end(from);
                    self.last_unassign = Some(Unassign { at: from, holder, verdict_index });
                    Verdict::Applied
                }
            },
        }
    }

    /// Supersedes an unassign at this time. Not if it is why a patient could take the device: without it, they could not have taken
    /// it from another.
    fn supersede_unassign(&mut self, at: i64, assign: &DeviceCommand) {
        let is_superseded = |unassign: &mut Unassign| {
            unassign.at == at && (assign.subject.is_none() || assign.patient.as_ref() == Some(&unassign.holder))
        };
        let Some(unassign) = self.last_unassign.take_if(is_superseded) else { return };
        if let Some((_, verdict)) = self.folded.verdicts.get_mut(unassign.verdict_index) {
            *verdict = Verdict::Superseded;
        }
    }

    /// Begins an interval, or continues that of the same patient if it ended at this time.
    fn begin(&mut self, patient: PatientId, from: i64) -> Verdict {
        let verdict_index = self.folded.verdicts.len();
        let is_continued = |ended: &mut Interval| ended.until == Some(from) && ended.patient == patient;
        if let Some(ended) = self.folded.intervals.pop_if(is_continued) {
            // It began before this time, so no command supersedes the one that began it.
            self.open = Some(OpenInterval { interval: Interval { until: None, ..ended }, verdict_index });
            return Verdict::Unchanged;
        }
        self.open = Some(OpenInterval { interval: Interval { patient, from, until: None }, verdict_index });
        Verdict::Applied
    }

    fn end(&mut self, at: i64) {
        let Some(OpenInterval { mut interval, verdict_index }) = self.open.take() else { return };
        if interval.from < at {
            interval.until = Some(at);
            self.folded.intervals.push(interval);
        } else if let Some((_, verdict)) = self.folded.verdicts.get_mut(verdict_index) {
            *verdict = Verdict::Superseded;
        }
    }
}
