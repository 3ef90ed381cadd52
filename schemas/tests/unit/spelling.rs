use schemas::{
    command::ASSIGN_MEMBERS,
    spelling::{is_name, nearest},
};

#[test]
fn the_nearest_known_name_is_found() {
    for (word, expected) in [
        ("effectiveTo", "effectiveFrom"),
        ("effective_from", "effectiveFrom"),
        ("deviceID", "deviceId"),
        ("devceId", "deviceId"),
        ("patientId", "assignedPatientId"),
        ("serial", "serialNumber"),
        ("Name", "name"),
    ] {
        assert_eq!(nearest(word, &ASSIGN_MEMBERS), Some(expected), "{word}");
    }
    let long = "deviceId".repeat(9);
    for word in ["", "id", "colour", "x", "1985-10-26", &long] {
        assert_eq!(nearest(word, &ASSIGN_MEMBERS), None, "{word}");
    }
}

#[test]
fn text_that_does_not_look_like_a_name_is_not_repeated() {
    assert!(is_name("effectiveTo"));
    for text in ["", "5.5", "Anna Muster", "born 1985", "p19851026", "Zoë", &"a".repeat(65)] {
        assert!(!is_name(text), "{text}");
    }
}
