use proptest::prelude::*;
use schemas::{
    event::{Command, PatientId, SourceName},
    format::{Provider, RawTopic},
    version::Appended,
};
use sink::fold::{COMMANDS_PER_DAY_MAX, DeviceCommand, fold, limit_per_day};
use store::Verdict;

fn patient(number: u8) -> PatientId {
    PatientId::parse(&format!("patient-{number}")).unwrap()
}

fn command(offset: i64, effective_from: i64, assign: Option<u8>, subject: Option<u8>) -> DeviceCommand {
    DeviceCommand {
        source: SourceName::parse("operator").unwrap(),
        appended: Appended { at: offset, topic: RawTopic::Devices, topic_epoch: 1, partition: 0, offset, item: 0 },
        effective_from: Some(effective_from),
        command: if assign.is_some() { Command::Assign } else { Command::Unassign },
        patient: assign.map(patient),
        subject: subject.map(patient),
        provider: assign.map(|_| Provider::Medisante),
        bound_to: Vec::new(),
    }
}

fn spans(commands: &[DeviceCommand]) -> Vec<(String, i64, Option<i64>)> {
    let spans = fold(commands).intervals.into_iter();
    spans.map(|one| (one.patient.as_str().to_owned(), one.from, one.until)).collect()
}

/// The verdicts in the order of the commands, which are given in the order of their times.
fn verdicts(commands: &[DeviceCommand]) -> Vec<Verdict> {
    fold(commands).verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

fn verdict_of(commands: &[DeviceCommand], offset: i64) -> Verdict {
    fold(commands).verdicts.iter().find(|(at, _)| at.offset == offset).unwrap().1
}

#[test]
fn an_operators_assignment_ends_the_previous_one_at_its_start() {
    let commands = [command(0, 10, Some(1), None), command(1, 20, Some(2), None), command(2, 30, None, None)];
    assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, Some(20)), ("patient-2".to_owned(), 20, Some(30))]);
}

#[test]
fn a_patient_cannot_take_or_end_the_assignment_of_another() {
    let commands = [command(0, 10, Some(1), None), command(1, 20, Some(2), Some(2)), command(2, 25, None, Some(2))];
    assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, None)]);
    assert_eq!(verdict_of(&commands, 1), Verdict::HeldByAnother);
    assert_eq!(verdict_of(&commands, 2), Verdict::HeldByAnother);
}

#[test]
fn a_patient_may_end_their_own_assignment() {
    let commands = [command(0, 10, Some(1), None), command(1, 20, None, Some(1))];
    assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, Some(20))]);
    assert_eq!(verdicts(&commands), [Verdict::Applied; 2]);
}

#[test]
fn a_credential_may_command_only_devices_of_its_providers() {
    let mut bound = command(0, 10, Some(1), None);
    for (bound_to, verdict) in
        [(vec![Provider::HealthKit], Verdict::Forbidden), (vec![Provider::Medisante], Verdict::Applied)]
    {
        bound.bound_to = bound_to;
        assert_eq!(verdicts(std::slice::from_ref(&bound)), [verdict]);
    }
}

#[test]
fn a_patient_may_take_a_free_device_but_only_for_themself() {
    assert_eq!(spans(&[command(0, 10, Some(2), Some(2))]), vec![("patient-2".to_owned(), 10, None)]);
    assert_eq!(spans(&[command(0, 10, Some(1), Some(2))]), vec![]);
}

#[test]
fn the_later_append_wins_if_two_commands_have_the_same_time() {
    let commands = [command(0, 10, Some(1), None), command(1, 10, Some(2), None)];
    assert_eq!(spans(&commands), vec![("patient-2".to_owned(), 10, None)]);
    assert_eq!(verdict_of(&commands, 0), Verdict::Superseded);
}

#[test]
fn a_second_assignment_to_the_holder_continues_the_first() {
    let commands = [command(0, 10, Some(1), None), command(1, 20, Some(1), None)];
    assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, None)]);
    assert_eq!(verdict_of(&commands, 1), Verdict::Unchanged);
}

#[test]
fn an_assignment_replaces_an_unassign_with_the_same_time() {
    // To another patient.
    let commands = [command(0, 10, Some(1), None), command(1, 20, None, None), command(2, 20, Some(2), None)];
    assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, Some(20)), ("patient-2".to_owned(), 20, None)]);
    assert_eq!(verdicts(&commands), [Verdict::Applied, Verdict::Superseded, Verdict::Applied]);
    // To the same patient, by an operator and by the patient.
    for subject in [None, Some(1)] {
        let commands = [command(0, 10, Some(1), None), command(1, 20, None, None), command(2, 20, Some(1), subject)];
        assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, None)]);
        assert_eq!(verdicts(&commands), [Verdict::Applied, Verdict::Superseded, Verdict::Unchanged]);
    }
    // A later one does not.
    let commands = [command(0, 10, Some(1), None), command(1, 20, None, None), command(2, 21, Some(1), None)];
    assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, Some(20)), ("patient-1".to_owned(), 21, None)]);
    assert_eq!(verdicts(&commands), [Verdict::Applied; 3]);
    // Without the unassign, the patient could not have taken the device.
    let commands = [command(0, 10, Some(1), None), command(1, 20, None, None), command(2, 20, Some(2), Some(2))];
    assert_eq!(verdicts(&commands), [Verdict::Applied; 3]);
}

#[test]
fn an_assignment_back_to_the_holder_at_the_same_time_continues_the_interval() {
    let mut commands =
        vec![command(0, 10, Some(1), None), command(1, 20, Some(2), None), command(2, 20, Some(1), None)];
    assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, None)]);
    assert_eq!(verdicts(&commands), [Verdict::Applied, Verdict::Superseded, Verdict::Unchanged]);
    commands.push(command(3, 20, None, None));
    assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, Some(20))]);
    assert_eq!(verdicts(&commands)[2..], [Verdict::Unchanged, Verdict::Applied]);
    commands.extend([command(4, 20, Some(3), None), command(5, 20, None, None), command(6, 20, Some(1), None)]);
    assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, None)]);
    assert_eq!(
        verdicts(&commands)[3..],
        [Verdict::Superseded, Verdict::Superseded, Verdict::Superseded, Verdict::Unchanged]
    );
}

/// A command without an effective time, appended at `at`.
fn appended(offset: i64, at: i64, assign: Option<u8>) -> DeviceCommand {
    let mut command = command(offset, 0, assign, None);
    command.appended.at = at;
    DeviceCommand { effective_from: None, ..command }
}

#[test]
fn a_command_without_a_time_is_effective_from_its_append_but_not_before_the_previous_command() {
    // The broker's clock went back between the second and the third.
    let commands =
        [appended(0, 10, Some(1)), appended(1, 50, Some(2)), appended(2, 20, Some(3)), appended(3, 60, None)];
    assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, Some(50)), ("patient-3".to_owned(), 50, Some(60))]);
    assert_eq!(verdict_of(&commands, 1), Verdict::Superseded);
    // Another partition has its own clock.
    let mut elsewhere = appended(0, 30, Some(4));
    elsewhere.appended.partition = 1;
    let commands = [appended(0, 10, Some(1)), appended(1, 50, Some(2)), elsewhere];
    assert_eq!(
        spans(&commands),
        vec![
            ("patient-1".to_owned(), 10, Some(30)),
            ("patient-4".to_owned(), 30, Some(50)),
            ("patient-2".to_owned(), 50, None)
        ]
    );
}

const DAY: i64 = 86_400_000_000;

#[test]
fn the_daily_limit_for_a_device_applies_to_each_source_separately() {
    let most = i64::try_from(COMMANDS_PER_DAY_MAX).unwrap();
    let mut commands: Vec<DeviceCommand> = (0..most + 3).map(|offset| appended(offset, DAY - 1, Some(1))).collect();
    let mut other = appended(most + 3, DAY - 1, Some(2));
    other.source = SourceName::parse("other").unwrap();
    commands.extend([other, appended(most + 4, DAY, Some(3))]);
    commands.reverse();
    let (within, excess) = limit_per_day(commands);
    assert_eq!(excess.iter().map(|at| at.offset).collect::<Vec<_>>(), vec![most, most + 1, most + 2]);
    assert_eq!(within.len(), COMMANDS_PER_DAY_MAX + 2);
}

#[test]
fn a_hundred_thousand_commands_are_folded_quickly() {
    // Each command supersedes the one before it, which took quadratic time once.
    let commands: Vec<DeviceCommand> =
        (0..100_000).map(|offset| command(offset, 5, Some(u8::from(offset % 2 == 0)), None)).collect();
    let begun = std::time::Instant::now();
    assert_eq!(fold(&commands).intervals.len(), 1);
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
}

fn shuffle<T>(all: &mut [T], seed: u64) {
    let length = all.len() as u64;
    for at in 0..all.len() {
        let other = seed.rotate_left(u32::try_from(at * 7 % 64).unwrap()) % length.max(1);
        all.swap(at, usize::try_from(other).unwrap());
    }
}

proptest! {
    #[test]
    fn the_same_commands_are_within_the_daily_limit_in_any_order_of_arrival(
        drawn in prop::collection::vec((0_i64..3, 0_u8..2), 1..40),
        (seed, cut) in (any::<u64>(), 1_usize..7),
    ) {
        // Enough commands of one source to nearly reach its limit, and then some random ones.
        let filler = i64::try_from(COMMANDS_PER_DAY_MAX).unwrap() - 4;
        let mut all: Vec<DeviceCommand> = (0..filler).map(|offset| appended(offset * 2, DAY, Some(1))).collect();
        for (number, (day, source)) in (0..).zip(&drawn) {
            let mut one = appended(number * 2 + 1, day * DAY + number, Some(2));
            one.source = SourceName::parse(if *source == 0 { "operator" } else { "other" }).unwrap();
            all.push(one);
        }
        let at_once = limit_per_day(all.clone()).0;
        shuffle(&mut all, seed);
        // Removed commands are not given again.
        let mut kept = Vec::new();
        for part in all.chunks(all.len().div_ceil(cut)) {
            kept = limit_per_day(kept.into_iter().chain(part.iter().cloned()).collect()).0;
        }
        prop_assert!(kept == at_once);
    }

    #[test]
    fn any_order_of_arrival_gives_the_same_intervals(
        drawn in prop::collection::vec(
            (prop::option::of(0_i64..12), 0_i64..12, prop::option::of(0_u8..3), prop::option::of(0_u8..3)), 0..14),
        seed in any::<u64>(),
    ) {
        let commands: Vec<DeviceCommand> = (0_i64..).zip(&drawn)
            .map(|(offset, (effective, at, assign, subject))| {
                let mut command = command(offset, 0, *assign, *subject);
                command.appended.at = *at;
                DeviceCommand { effective_from: *effective, ..command }
            }).collect();
        let mut shuffled = commands.clone();
        shuffle(&mut shuffled, seed);
        let (folded, other) = (fold(&commands), fold(&shuffled));
        prop_assert!(folded == other);
        for pair in folded.intervals.windows(2) {
            prop_assert!(pair[0].until.is_some_and(|until| until <= pair[1].from));
            prop_assert!(pair[0].patient != pair[1].patient || pair[0].until != Some(pair[1].from));
        }
        for interval in &folded.intervals {
            prop_assert!(interval.until.is_none_or(|until| interval.from < until));
        }
        prop_assert_eq!(folded.verdicts.len(), commands.len());
    }
}
