use proptest::prelude::*;
use schemas::{
    event::{Command, PatientId},
    format::RawTopic,
    version::Appended,
};
use sink::fold::{DeviceCommand, Verdict, fold};

fn patient(number: u8) -> PatientId {
    PatientId::parse(&format!("patient-{number}")).unwrap()
}

fn command(offset: i64, effective_from: i64, assign: Option<u8>, subject: Option<u8>) -> DeviceCommand {
    DeviceCommand {
        appended: Appended { at: offset, topic: RawTopic::Devices, topic_epoch: 1, partition: 0, offset, item: 0 },
        effective_from,
        command: if assign.is_some() { Command::Assign } else { Command::Unassign },
        patient: assign.map(patient),
        subject: subject.map(patient),
    }
}

fn spans(commands: &[DeviceCommand]) -> Vec<(String, i64, Option<i64>)> {
    let spans = fold(commands).intervals.into_iter();
    spans.map(|one| (one.patient.as_str().to_owned(), one.from, one.until)).collect()
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
fn a_patient_may_not_take_or_end_what_someone_else_holds() {
    let commands = [command(0, 10, Some(1), None), command(1, 20, Some(2), Some(2)), command(2, 25, None, Some(2))];
    assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, None)]);
    assert_eq!(verdict_of(&commands, 1), Verdict::Lost);
    assert_eq!(verdict_of(&commands, 2), Verdict::Lost);
}

#[test]
fn a_patient_may_take_a_free_device_but_only_for_themself() {
    assert_eq!(spans(&[command(0, 10, Some(2), Some(2))]), vec![("patient-2".to_owned(), 10, None)]);
    assert_eq!(spans(&[command(0, 10, Some(1), Some(2))]), vec![]);
}

#[test]
fn of_two_commands_at_one_time_the_later_append_holds() {
    let commands = [command(0, 10, Some(1), None), command(1, 10, Some(2), None)];
    assert_eq!(spans(&commands), vec![("patient-2".to_owned(), 10, None)]);
    assert_eq!(verdict_of(&commands, 0), Verdict::Superseded);
}

#[test]
fn a_second_assignment_of_the_holder_goes_on() {
    let commands = [command(0, 10, Some(1), None), command(1, 20, Some(1), None)];
    assert_eq!(spans(&commands), vec![("patient-1".to_owned(), 10, None)]);
    assert_eq!(verdict_of(&commands, 1), Verdict::Unchanged);
}

proptest! {
    #[test]
    fn any_order_of_arrival_gives_the_same_intervals(
        drawn in prop::collection::vec((0_i64..12, prop::option::of(0_u8..3), prop::option::of(0_u8..3)), 0..14),
        seed in any::<u64>(),
    ) {
        let commands: Vec<DeviceCommand> = (0_i64..).zip(&drawn)
            .map(|(offset, (effective, assign, subject))| command(offset, *effective, *assign, *subject)).collect();
        let mut shuffled = commands.clone();
        let length = shuffled.len() as u64;
        for at in 0..shuffled.len() {
            let other = seed.rotate_left(u32::try_from(at * 7 % 64).unwrap()) % length.max(1);
            shuffled.swap(at, usize::try_from(other).unwrap());
        }
        let (folded, other) = (fold(&commands), fold(&shuffled));
        prop_assert!(folded == other);
        for pair in folded.intervals.windows(2) {
            prop_assert!(pair[0].until.is_some_and(|until| until <= pair[1].from));
        }
        for interval in &folded.intervals {
            prop_assert!(interval.until.is_none_or(|until| interval.from < until));
        }
        prop_assert_eq!(folded.verdicts.len(), commands.len());
    }
}
