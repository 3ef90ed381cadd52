//! What the rows of the views say of a claim and of a part of a panel.

use schemas::event::{Flag, PatientId, Reading};

use super::{
    database::Database,
    sample::{pressure, quantity, read, reading as sample},
    store::write,
};

#[tokio::test]
async fn a_claim_conflicts_only_where_it_names_another_patient() {
    let database = Database::make().await;
    let claims = [
        ("Patient/anna#frag", false),
        ("https://fhir.example/r4/Patient/anna#frag", false),
        ("Patient/bob#frag", true),
        ("https://fhir.example/r4/Patient/bob", true),
        ("bob", true),
        // The number sign is a part of an identifier that is no reference.
        ("anna#1", true),
        ("Patient/", false),
        ("Patient/#frag", false),
        ("#bob", false),
        ("", false),
        ("urn:uuid:6f9619ff-8b86-4d11-b42d-00c04fc964ff", false),
        ("urn:oid:1.2.3", false),
    ];
    let readings = (0..).zip(claims).map(|(id, (claim, _))| {
        read(Reading { subject: PatientId::parse("anna").ok(), patient_claim: Some(claim.to_owned()), ..sample(id, 0) })
    });
    write(&database, readings.collect()).await;
    let seen = "SELECT concat_ws(' ', claim_conflict, patient_claim) FROM all_readings ORDER BY reading_id";
    let expected = claims.map(|(claim, is_conflict)| format!("{} {claim}", if is_conflict { "t" } else { "f" }));
    assert_eq!(database.text(seen).await, expected.join(";"));
}

#[tokio::test]
async fn a_part_of_a_panel_shows_its_own_flags_and_those_of_the_whole_reading() {
    let database = Database::make().await;
    let mut panel = Reading { flags: Flag::ALL.to_vec(), ..pressure(1, 0) };
    panel.components[0].flags = vec![Flag::Rounded, Flag::LocalTime];
    panel.components[1].flags = vec![];
    // With a value of its own.
    let valued = Reading { reading_id: sample(2, 0).reading_id, value: quantity("5"), ..panel.clone() };
    write(&database, vec![read(panel), read(valued)]).await;
    let seen = "SELECT concat_ws(' ', right(reading_id::text, 1), component, flags) FROM all_readings \
        ORDER BY reading_id, component";
    let all = Flag::ALL.iter().map(|flag| flag.as_str()).collect::<Vec<_>>().join(",");
    let parts =
        |id| format!("{id} 1 {{local-time,measured-in-future,rounded}};{id} 2 {{local-time,measured-in-future}}");
    assert_eq!(database.text(seen).await, format!("{};2 0 {{{all}}};{}", parts(1), parts(2)));
}
