//! Who a reading belongs to, and why not.

use schemas::event::{PatientId, Reading};

use super::{
    database::Database,
    sample::{DAY, MAY, assignment, commanded, device, read, reading},
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
        // The day on which the device changed hands.
        Reading { measured_from: Some(MAY + 4 * DAY), imprecise_until: Some(MAY + 5 * DAY), ..reading(7, 6) },
        // A day within one holder's time.
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
async fn a_patient_who_takes_what_another_holds_sees_the_verdict() {
    let database = Database::make().await;
    let mut taken = assignment(1, Some("ben"), MAY);
    taken.subject = Some(PatientId::parse("ben").unwrap());
    write(&database, vec![commanded(taken), commanded(assignment(0, Some("anna"), MAY - DAY)), read(reading(1, 0))])
        .await;
    assert_eq!(database.text(SEEN).await, "assignment anna");
    assert_eq!(database.text("SELECT verdict FROM device_commands ORDER BY raw_offset").await, "applied;lost");
}
