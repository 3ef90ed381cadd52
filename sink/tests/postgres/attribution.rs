//! Attribution: which patient a reading belongs to, or why none.

use std::time::{Duration, Instant};

use schemas::{
    event::{Assignment, PatientId, Reading, SourceName},
    format::{Provider, RawTopic},
    receipt::ItemPosition,
};
use sink::{batch::Batch, fold::COMMANDS_PER_DAY_MAX, item::Item, write::Session};
use sqlx::Connection as _;
use store::{Verdict, trace::Progress};

use super::{
    database::Database,
    sample::{DAY, MAY, assignment, commanded, device, read, reading, topics},
    store::write,
};

const SEEN: &str =
    "SELECT attribution || coalesce(' ' || patient_id, '') FROM attributed_readings ORDER BY reading_id, component";

#[tokio::test]
async fn every_kind_of_attribution_has_its_word() {
    let database = Database::make().await;
    let readings = [
        Reading { subject: Some(PatientId::parse("sam").unwrap()), ..reading(1, 0) },
        reading(2, 1),
        Reading { device: None, ..reading(3, 2) },
        Reading { device: Some(device("unknown")), ..reading(4, 3) },
        Reading { measured_from: Some(MAY - 10 * DAY), ..reading(5, 4) },
        Reading { measured_from: None, ..reading(6, 5) },
        // On the day on which the device changed hands.
        Reading { measured_from: Some(MAY + 4 * DAY), imprecise_until: Some(MAY + 5 * DAY), ..reading(7, 6) },
        // On a day within the interval of one holder.
        Reading { measured_from: Some(MAY + 2 * DAY), imprecise_until: Some(MAY + 3 * DAY), ..reading(8, 7) },
    ];
    write(&database, readings.map(read).into()).await;
    let commands = [assignment(0, Some("anna"), MAY - DAY), assignment(1, Some("ben"), MAY + 4 * DAY + DAY / 2)];
    write(&database, commands.map(commanded).into()).await;
    assert_eq!(
        database.text(SEEN).await,
        "subject sam;assignment anna;no device;never assigned;unassigned at that time;no time;time spans holders;\
         assignment anna"
    );
}

#[tokio::test]
async fn late_and_unordered_commands_re_attribute_past_readings() {
    let database = Database::make().await;
    write(&database, vec![read(reading(1, 0)), read(Reading { measured_from: Some(MAY + 6 * DAY), ..reading(2, 1) })])
        .await;
    // The later command arrives first.
    write(&database, vec![commanded(assignment(1, Some("ben"), MAY + 5 * DAY))]).await;
    assert_eq!(database.text(SEEN).await, "unassigned at that time;assignment ben");
    write(&database, vec![commanded(assignment(0, Some("anna"), MAY - DAY))]).await;
    assert_eq!(database.text(SEEN).await, "assignment anna;assignment ben");
    // A correction: the device was given back before the first reading.
    write(&database, vec![commanded(assignment(2, None, MAY - DAY / 2))]).await;
    assert_eq!(database.text(SEEN).await, "unassigned at that time;assignment ben");
    // Redelivery changes nothing.
    write(&database, vec![commanded(assignment(1, Some("ben"), MAY + 5 * DAY))]).await;
    assert_eq!(database.count("SELECT count(*) FROM device_commands").await, 3);
    assert_eq!(
        database.text("SELECT verdict FROM device_commands ORDER BY raw_offset").await,
        "applied;applied;applied"
    );
}

#[tokio::test]
async fn a_patient_who_takes_the_device_of_another_gets_a_verdict() {
    let database = Database::make().await;
    let mut taken = assignment(1, Some("ben"), MAY);
    taken.subject = Some(PatientId::parse("ben").unwrap());
    write(&database, vec![commanded(taken), commanded(assignment(0, Some("anna"), MAY - DAY)), read(reading(1, 0))])
        .await;
    assert_eq!(database.text(SEEN).await, "assignment anna");
    assert_eq!(
        database.text("SELECT verdict FROM device_commands ORDER BY raw_offset").await,
        "applied;held-by-another"
    );
}

#[tokio::test]
async fn an_unassign_of_an_unknown_device_waits_for_the_device() {
    let database = Database::make().await;
    let unassign = || vec![commanded(assignment(1, None, MAY + DAY))];
    let mut session = Session::open(&database.url).await.unwrap();
    let written = session.write(&topics(), &mut Batch::new(0, unassign(), Vec::new())).await.unwrap();
    assert!(written.verdicts.counts().all(|(verdict, count)| count == u64::from(verdict == Verdict::UnknownDevice)));
    assert_eq!(database.count("SELECT count(*) FROM devices").await, 0);
    assert_eq!(verdict(&database, 1).await.as_deref(), Some("unknown-device"));
    // The same command delivered again gives no verdict.
    let again = session.write(&topics(), &mut Batch::new(0, unassign(), Vec::new())).await.unwrap();
    assert!(again.verdicts.counts().all(|(_, count)| count == 0));
    write(&database, vec![commanded(assignment(0, Some("anna"), MAY - DAY)), read(reading(1, 0))]).await;
    assert_eq!(verdict(&database, 1).await.as_deref(), Some("applied"));
    assert_eq!(database.count("SELECT count(*) FROM devices WHERE name = 'Meter'").await, 1);
    assert_eq!(database.text(SEEN).await, "assignment anna");
    assert_eq!(database.count("SELECT count(*) FROM device_assignments WHERE NOT upper_inf(during)").await, 1);
}

#[tokio::test]
async fn a_key_of_another_provider_cannot_take_a_device_away() {
    let database = Database::make().await;
    let unassign = |offset, bound_to: &[Provider]| {
        commanded(Assignment { bound_to: bound_to.to_vec(), ..assignment(offset, None, MAY + DAY * offset) })
    };
    // The command is judged again when the device becomes known, and with it its provider.
    write(&database, vec![unassign(1, &[Provider::HealthKit])]).await;
    assert_eq!(verdict(&database, 1).await.as_deref(), Some("unknown-device"));
    write(&database, vec![commanded(assignment(0, Some("anna"), MAY - DAY))]).await;
    assert_eq!(verdict(&database, 1).await.as_deref(), Some("forbidden"));
    assert_eq!(database.count("SELECT count(*) FROM device_assignments WHERE upper_inf(during)").await, 1);
    // The providers that the credential is bound to are stored, so a later command does not change the verdict.
    write(&database, vec![unassign(2, &[Provider::HealthKit, Provider::Medisante])]).await;
    assert_eq!(verdict(&database, 1).await.as_deref(), Some("forbidden"));
    assert_eq!(verdict(&database, 2).await.as_deref(), Some("applied"));
}

#[tokio::test]
async fn a_command_without_a_time_is_effective_from_its_append() {
    let database = Database::make().await;
    let timeless = |offset, patient| Assignment { effective_from: None, ..assignment(offset, Some(patient), 0) };
    // Appended in the order of their offsets, one second apart; they arrive in the reverse order.
    write(&database, vec![commanded(timeless(1, "ben"))]).await;
    write(&database, vec![commanded(timeless(0, "anna"))]).await;
    let held = "SELECT concat_ws(' ', patient_id, extract(epoch FROM lower(during) - upper(during))::int) \
        FROM device_assignments ORDER BY during";
    assert_eq!(database.text(held).await, "anna -1;ben");
    assert_eq!(database.count("SELECT count(*) FROM device_commands WHERE effective_from IS NULL").await, 2);
}

async fn verdict(database: &Database, offset: i64) -> Option<String> {
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let position = ItemPosition { topic: RawTopic::Devices, topic_epoch: 1, partition: 0, offset, item: 0 };
    let verdict = Progress::load(&mut connection, &position).await.unwrap().verdict;
    verdict.map(|verdict| verdict.as_str().to_owned())
}

#[tokio::test]
async fn commands_above_a_sources_daily_limit_are_ignored_and_can_be_traced() {
    let database = Database::make().await;
    let most = i64::try_from(COMMANDS_PER_DAY_MAX).unwrap();
    // All on one day, each with its own effective time: as many intervals as commands. The first ones arrive last.
    let flood = |offset: i64| {
        let patient = if offset % 2 == 0 { "anna" } else { "ben" };
        Assignment { received_at: MAY + offset, ..assignment(offset, Some(patient), MAY - DAY + offset) }
    };
    let batches = [most..most * 3, 0..most, most..most * 3];
    for offsets in batches {
        write(&database, offsets.map(|offset| commanded(flood(offset))).collect()).await;
    }
    assert_eq!(database.count("SELECT count(*) FROM device_commands").await, most);
    assert_eq!(database.count("SELECT max(raw_offset) FROM device_commands").await, most - 1);
    assert_eq!(database.count("SELECT count(*) FROM device_assignments").await, most);
    assert_eq!(database.count("SELECT count(*) FROM excess_commands").await, 2);
    for (offset, wanted) in [
        (0, Some("applied")),
        (most - 1, Some("applied")),
        (most, Some("too-many-commands")),
        (most * 3 - 1, Some("too-many-commands")),
        (most * 3, None),
    ] {
        assert_eq!(verdict(&database, offset).await.as_deref(), wanted, "offset {offset}");
    }
    // A command of another source is accepted, on the same day and about the same device.
    let other = Assignment { source: SourceName::parse("ward").unwrap(), ..flood(most * 3) };
    write(&database, vec![commanded(other)]).await;
    assert_eq!(verdict(&database, most * 3).await.as_deref(), Some("applied"));
}

#[tokio::test]
async fn thousands_of_commands_for_one_device_do_not_delay_others() {
    let database = Database::make().await;
    let flood = |offset: i64| {
        let patient = if offset % 2 == 0 { "anna" } else { "ben" };
        commanded(Assignment { received_at: MAY + offset, ..assignment(offset, Some(patient), MAY + offset) })
    };
    let mut session = Session::open(&database.url).await.unwrap();
    let mut slowest = Duration::ZERO;
    for from in (0..50_000).step_by(5_000) {
        let items: Vec<Item> = (from..from + 5_000).map(flood).collect();
        let mut batch = Batch::new(0, items, Vec::new());
        let begun = Instant::now();
        session.write(&topics(), &mut batch).await.unwrap();
        slowest = slowest.max(begun.elapsed());
    }
    println!("the slowest batch took {slowest:?}");
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
}

#[tokio::test]
async fn a_command_that_changes_nothing_writes_nothing() {
    let database = Database::make().await;
    let all = || vec![commanded(assignment(0, Some("anna"), MAY)), commanded(assignment(1, Some("ben"), MAY + DAY))];
    write(&database, all()).await;
    let rows = "SELECT string_agg(x, '|' ORDER BY x) FROM (SELECT xmin || ' ' || ctid x FROM device_commands \
        UNION ALL SELECT xmin || ' ' || ctid FROM device_assignments) a";
    let before = database.text(rows).await;
    write(&database, all()).await;
    assert_eq!(database.text(rows).await, before);
    // A third command changes the last interval, and no other row.
    write(&database, vec![commanded(assignment(2, None, MAY + 2 * DAY))]).await;
    let kept = database.text(rows).await.split('|').filter(|row| before.contains(*row)).count();
    assert_eq!(kept, 3);
}

#[tokio::test]
async fn the_verdict_on_a_command_changes_with_later_commands() {
    let database = Database::make().await;
    let verdicts = "SELECT verdict FROM device_commands ORDER BY raw_offset";
    write(&database, vec![commanded(assignment(0, Some("anna"), MAY))]).await;
    assert_eq!(database.text(verdicts).await, "applied");
    write(&database, vec![commanded(assignment(1, Some("ben"), MAY))]).await;
    assert_eq!(database.text(verdicts).await, "superseded;applied");
    // A better mapping reads the second command as one for the same patient.
    let better = Assignment { mapping_version: 2, ..assignment(1, Some("anna"), MAY) };
    write(&database, vec![commanded(better)]).await;
    assert_eq!(database.text(verdicts).await, "applied;unchanged");
    assert_eq!(database.text("SELECT patient_id FROM device_assignments").await, "anna");
    // If a batch contains one command from two mappings, the better mapping counts, whichever comes first.
    let mapped =
        |mapping_version, patient| commanded(Assignment { mapping_version, ..assignment(2, Some(patient), MAY + DAY) });
    write(&database, vec![mapped(1, "ben"), mapped(3, "cleo"), mapped(2, "dora")]).await;
    assert_eq!(database.text("SELECT patient_id FROM device_commands WHERE raw_offset = 2").await, "cleo");
    write(&database, vec![mapped(2, "dora")]).await;
    assert_eq!(database.text("SELECT patient_id FROM device_commands WHERE raw_offset = 2").await, "cleo");
}

#[tokio::test]
async fn commands_for_many_devices_in_one_batch_are_all_applied() {
    let database = Database::make().await;
    let about = |number: i64| {
        let device = device(&format!("meter-{number}"));
        let command = assignment(number, Some("anna"), MAY);
        commanded(Assignment { device_key: device.key, device_id: Some(device.id), ..command })
    };
    write(&database, (0..600).map(about).collect()).await;
    assert_eq!(database.count("SELECT count(*) FROM device_assignments").await, 600);
    assert_eq!(database.count("SELECT count(*) FROM device_commands WHERE verdict = 'applied'").await, 600);
    assert_eq!(database.count("SELECT count(*) FROM devices WHERE name = 'Meter'").await, 600);
}
