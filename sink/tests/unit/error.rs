use std::fs;

use sqlx::Error;
use store::fault::{CLASSES, CODES, Fault, fault, fault_of, name};

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
        assert_eq!(CLASSES.iter().filter(|(known, _)| *known == class).count(), 1, "class {class}");
    }
    assert_eq!(CLASSES.len(), 43);
    for (code, differs) in CODES {
        let class = CLASSES.iter().find(|(class, _)| *class == &code[..2]).unwrap();
        assert_ne!(class.1, *differs, "{code} has the fault of its class");
    }
}

#[test]
fn what_an_error_asks_for() {
    for (code, asks) in [
        ("53100", Fault::Outage),   // disk full
        ("53300", Fault::Outage),   // too many connections
        ("57P03", Fault::Outage),   // starting up
        ("57014", Fault::Outage),   // a statement that took too long
        ("55P03", Fault::Outage),   // lock not available
        ("25P03", Fault::Outage),   // idle in transaction for too long
        ("25006", Fault::Outage),   // read-only
        ("40P01", Fault::Outage),   // deadlock
        ("23505", Fault::Conflict), // unique
        ("23P01", Fault::Conflict), // exclusion
        ("23514", Fault::BadRow),   // check
        ("22003", Fault::BadRow),   // out of range
        ("54000", Fault::BadRow),   // too large for an index
        ("22P02", Fault::Setup),    // a value that an enum lacks
        ("22P05", Fault::Setup),    // a database that is not UTF-8
        ("42P01", Fault::Setup),    // no such table
        ("28P01", Fault::Setup),    // password
        ("21000", Fault::Defect),   // one statement changes a row twice
        ("ZZ999", Fault::Setup),    // not documented
    ] {
        assert_eq!(fault_of(code), asks, "{code}");
    }
}

#[test]
fn a_defect_of_ours_is_no_outage() {
    let decode = Error::ColumnDecode { index: "3".to_owned(), source: "a secret value".into() };
    assert_eq!(fault(&decode), Fault::Defect);
    assert_eq!(name(&decode), "column decode");
    assert_eq!(fault(&Error::RowNotFound), Fault::Defect);
    assert_eq!(fault(&Error::TypeNotFound { type_name: "x".to_owned() }), Fault::Defect);
    assert_eq!(fault(&Error::Io(std::io::ErrorKind::ConnectionRefused.into())), Fault::Outage);
    assert_eq!(fault(&Error::PoolTimedOut), Fault::Outage);
}
