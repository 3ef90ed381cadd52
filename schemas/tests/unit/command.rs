use schemas::command::{Refused, assign, unassign};

const DOCUMENTED: &str = r#"{"deviceId":"apple-12345","deviceType":"Wearable","name":"Watch",
    "deviceProvider":"apple-healthkit","assignedPatientId":"patient-1""#;

fn faults<T>(read: Result<T, Refused>) -> Vec<String> {
    read.err().map(|refused| refused.faults.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

#[test]
fn the_documented_body_is_read() {
    let body = format!(
        r#"{DOCUMENTED},"serialNumber":null,"features":{{"pulse":1.50}},"effectiveFrom":"2026-01-01T01:00:00+01:00"}}"#
    );
    let command = assign(&body).ok().expect("a documented body is accepted");
    assert_eq!(command.device_id.as_str(), "apple-12345");
    assert_eq!(command.provider.as_str(), "healthkit");
    assert_eq!(command.patient.as_str(), "patient-1");
    assert_eq!((command.device_type.as_str(), command.name.as_str()), ("Wearable", "Watch"));
    assert_eq!(command.serial_number, None);
    assert_eq!(command.features.as_deref(), Some(r#"{"pulse":1.50}"#));
    assert_eq!(command.effective_from, Some(1_767_225_600_000_000));
    assert!(unassign(" \n").is_ok_and(|command| command.effective_from.is_none()));
    assert!(
        unassign(r#"{"effectiveFrom":"2026-01-01T00:00:00Z"}"#)
            .is_ok_and(|command| command.effective_from == Some(1_767_225_600_000_000))
    );
}

#[test]
fn all_faults_are_reported_together() {
    let body = r#"{"name":7,"deviceId":"a","deviceProvider":"medisante","effectiveTo":"SECRET","SECRET 1985":1,
        "effectiveFrom":"2026-01-01T00:00:00","name":"again","name":"and again"}"#;
    let Err(refused) = assign(body) else { panic!("a faulty body is accepted") };
    let text = "text of 1 to 256 bytes without control characters";
    assert_eq!(
        refused.faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "name is given more than once".to_owned(),
            format!("deviceType is required and must be {text}"),
            format!("name must be {text}"),
            format!("assignedPatientId is required and must be {text}"),
            "effectiveFrom must be an RFC 3339 time with an offset, in the years 1 to 9999".to_owned(),
            "member 4 is unknown, the nearest known member is effectiveFrom".to_owned(),
            "member 5 is unknown".to_owned(),
        ]
    );
    let for_sender: Vec<_> = refused.faults.iter().map(schemas::command::Fault::for_sender).collect();
    assert_eq!(
        for_sender.get(5..),
        Some(
            &[
                "effectiveTo is unknown, the nearest known member is effectiveFrom".to_owned(),
                "member 5 is unknown".to_owned()
            ][..]
        )
    );
    let device = refused.device.map(|(provider, id)| (provider.as_str(), id.as_str().to_owned()));
    assert_eq!(device, Some(("medisante", "a".to_owned())));
}

#[test]
fn unassign_accepts_one_member() {
    assert_eq!(
        faults(unassign(r#"{"effectiveTo":"2026-01-01T00:00:00Z"}"#)),
        ["member 1 is unknown, the nearest known member is effectiveFrom"]
    );
    let twice = r#"{"effectiveFrom":"2026-01-01T00:00:00Z","effectiveFrom":"2027-01-01T00:00:00Z"}"#;
    assert_eq!(faults(unassign(twice)), ["effectiveFrom is given more than once"]);
}

#[test]
fn a_body_that_is_not_an_object_is_refused() {
    for body in ["", "[]", "7", "{", r#""text""#, "{} {}"] {
        assert_eq!(faults(assign(body)), ["the body must be a JSON object"], "{body}");
    }
    assert_eq!(faults(unassign("[]")), ["the body must be a JSON object"]);
}

#[test]
fn the_number_of_reported_unknown_members_is_limited() {
    let flood = r#","x":0"#.repeat(1_000);
    assert_eq!(faults(assign(&format!("{DOCUMENTED}{flood}}}"))).len(), 16);
}
