use std::{borrow::Cow, fmt, fs};

use sqlx::{
    Error,
    error::{DatabaseError, ErrorKind},
};
use store::error_class::{
    ErrorClass, SQLSTATE_CLASSES, SQLSTATE_CODES, cause, error_class, error_class_of_sqlstate, name,
};

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

/// An error that Postgres returns, with a value in its message.
#[derive(Debug)]
struct Returned(Option<&'static str>);

impl fmt::Display for Returned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message())
    }
}

impl std::error::Error for Returned {}

impl DatabaseError for Returned {
    fn message(&self) -> &'static str {
        "a secret value"
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.0.map(Cow::Borrowed)
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

fn returned(code: Option<&'static str>) -> Error {
    Error::Database(Box::new(Returned(code)))
}

#[test]
fn each_error_of_the_client_has_its_class_and_a_name_without_values() {
    let text = || "a secret value".to_owned();
    let refused = std::io::ErrorKind::ConnectionRefused;
    for (error, class, expected) in [
        (returned(Some("23505")), ErrorClass::Conflict, "SQLSTATE 23505"),
        (returned(None), ErrorClass::Outage, "SQLSTATE unknown"),
        (Error::Io(refused.into()), ErrorClass::Outage, "ConnectionRefused"),
        (Error::Protocol(text()), ErrorClass::Outage, "protocol"),
        (Error::PoolTimedOut, ErrorClass::Outage, "no answer in time"),
        (Error::PoolClosed, ErrorClass::Outage, "other"),
        (Error::Tls(text().into()), ErrorClass::Setup, "TLS"),
        (Error::Configuration(text().into()), ErrorClass::Defect, "configuration"),
        (Error::InvalidArgument(text()), ErrorClass::Defect, "invalid argument"),
        (Error::RowNotFound, ErrorClass::Defect, "row not found"),
        (Error::TypeNotFound { type_name: text() }, ErrorClass::Defect, "type not found"),
        (Error::ColumnIndexOutOfBounds { index: 9, len: 1 }, ErrorClass::Defect, "column index out of bounds"),
        (Error::ColumnNotFound(text()), ErrorClass::Defect, "column not found"),
        (Error::ColumnDecode { index: text(), source: text().into() }, ErrorClass::Defect, "column decode"),
        (Error::Encode(text().into()), ErrorClass::Defect, "encode"),
        (Error::Decode(text().into()), ErrorClass::Defect, "decode"),
        (Error::WorkerCrashed, ErrorClass::Defect, "other"),
    ] {
        assert_eq!((error_class(&error), name(&error).as_str()), (class, expected));
    }
}

#[test]
fn the_operator_is_told_what_to_do_about_an_error() {
    for (error, expected) in [
        (returned(Some("28P01")), "refuses the user or the password"),
        (returned(Some("28000")), "refuses the user or the password"),
        (returned(Some("3D000")), "no database with the name"),
        (returned(Some("25006")), "read-only"),
        (returned(Some("53300")), "no free connection"),
        (returned(Some("55P03")), "has locked the tables"),
        (returned(Some("42P01")), "start one sink with --migrate"),
        (returned(Some("57P03")), "Postgres is not available now (SQLSTATE 57P03)"),
        (returned(Some("42501")), "Postgres refuses a statement (SQLSTATE 42501)"),
        (returned(None), "Postgres is unavailable or cannot answer now (SQLSTATE unknown)"),
        (Error::Configuration("a secret value".into()), "DATABASE_URL is malformed"),
        (Error::Tls("a secret value".into()), "check sslmode"),
        (Error::Io(std::io::Error::other("host unreachable")), "cannot be reached: host unreachable"),
        (Error::PoolTimedOut, "Postgres is unavailable or cannot answer now (no answer in time)"),
    ] {
        let text = cause(&error);
        assert!(text.contains(expected) && !text.contains("secret"), "{text}");
    }
}
