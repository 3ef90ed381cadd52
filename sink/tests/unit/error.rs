use std::fs;

use sqlx::Error;
use store::error_class::{ErrorClass, SQLSTATE_CLASSES, SQLSTATE_CODES, error_class, error_class_of_sqlstate, name};

/// The error codes of the list from which PostgreSQL's documentation is generated; none if the server is not installed.
fn documented() -> Vec<String> {
    let mut codes = Vec::new();
    for version in fs::read_dir("/usr/share/postgresql").into_iter().flatten().flatten() {
        let text = fs::read_to_string(version.path().join("errcodes.txt")).unwrap_or_default();
        let first_words = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(' ').next());
        codes.extend(first_words.filter(|word| word.len() == 5).map(str::to_owned));
    }
    codes
}

#[test]
fn every_documented_class_of_errors_is_in_the_table_once() {
    let codes = documented();
    for code in codes.iter().filter(|code| code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
    {
        let class = &code[..2];
        assert_eq!(SQLSTATE_CLASSES.iter().filter(|(known, _)| *known == class).count(), 1, "class {class}");
    }
    assert_eq!(SQLSTATE_CLASSES.len(), 43);
    for (code, differs) in SQLSTATE_CODES {
        let class = SQLSTATE_CLASSES.iter().find(|(class, _)| *class == &code[..2]).unwrap();
        assert_ne!(class.1, *differs, "{code} has the error class of its SQLSTATE class");
    }
}

#[test]
fn each_sqlstate_has_its_error_class() {
    for (code, expected) in [
        ("53100", ErrorClass::Outage),   // disk full
        ("53300", ErrorClass::Outage),   // too many connections
        ("57P03", ErrorClass::Outage),   // starting up
        ("57014", ErrorClass::Outage),   // a statement that took too long
        ("55P03", ErrorClass::Outage),   // lock not available
        ("25P03", ErrorClass::Outage),   // idle in transaction for too long
        ("25006", ErrorClass::Outage),   // read-only
        ("40P01", ErrorClass::Outage),   // deadlock
        ("23505", ErrorClass::Conflict), // unique
        ("23P01", ErrorClass::Conflict), // exclusion
        ("23514", ErrorClass::BadRow),   // check
        ("22003", ErrorClass::BadRow),   // out of range
        ("54000", ErrorClass::BadRow),   // too large for an index
        ("22P02", ErrorClass::Setup),    // a value that an enum lacks
        ("22P05", ErrorClass::Setup),    // a database that is not UTF-8
        ("42P01", ErrorClass::Setup),    // no such table
        ("28P01", ErrorClass::Setup),    // password
        ("21000", ErrorClass::Defect),   // one statement changes a row twice
        ("ZZ999", ErrorClass::Setup),    // not documented
    ] {
        assert_eq!(error_class_of_sqlstate(code), expected, "{code}");
    }
}

#[test]
fn a_defect_of_the_sink_is_not_an_outage() {
    let decode = Error::ColumnDecode { index: "3".to_owned(), source: "a secret value".into() };
    assert_eq!(error_class(&decode), ErrorClass::Defect);
    assert_eq!(name(&decode), "column decode");
    assert_eq!(error_class(&Error::RowNotFound), ErrorClass::Defect);
    assert_eq!(error_class(&Error::TypeNotFound { type_name: "x".to_owned() }), ErrorClass::Defect);
    assert_eq!(error_class(&Error::Io(std::io::ErrorKind::ConnectionRefused.into())), ErrorClass::Outage);
    assert_eq!(error_class(&Error::PoolTimedOut), ErrorClass::Outage);
}
