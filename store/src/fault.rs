//! What an error of the database asks for: to wait, to try again, to refuse a row, or to end.

use sqlx::error::DatabaseError;

/// What a database error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Postgres is away or overloaded: wait and try again.
    Outage,
    /// Two writers met: try again, and take it for a bad row only when it stays.
    Conflict,
    /// Postgres refuses a value: find the row.
    BadRow,
    /// The schema is not that of this release, or a right is missing: wait for the operator.
    Setup,
    /// This program is wrong: end, and say so.
    Defect,
}

use Fault::{BadRow, Conflict, Defect, Outage, Setup};

/// Every class of PostgreSQL's documentation, appendix A.
pub const CLASSES: &[(&str, Fault)] = &[
    ("00", Defect), // Successful completion: no error has it.
    ("01", Defect), // Warning.
    ("02", Defect), // No data.
    ("03", Defect), // SQL statement not yet complete.
    ("08", Outage), // Connection exception.
    ("09", Setup),  // Triggered action exception.
    ("0A", Setup),  // Feature not supported; also a plan made before a migration.
    ("0B", Defect), // Invalid transaction initiation.
    ("0F", Defect), // Locator exception.
    ("0L", Setup),  // Invalid grantor.
    ("0P", Setup),  // Invalid role specification.
    ("0Z", Defect), // Diagnostics exception.
    ("20", Defect), // Case not found.
    ("21", Defect), // Cardinality violation: one statement would change a row twice.
    ("22", BadRow), // Data exception.
    ("23", BadRow), // Integrity constraint violation.
    ("24", Defect), // Invalid cursor state.
    ("25", Defect), // Invalid transaction state.
    ("26", Setup),  // Invalid SQL statement name: something between us and Postgres swaps connections.
    ("27", Setup),  // Triggered data change violation.
    ("28", Setup),  // Invalid authorization specification.
    ("2B", Setup),  // Dependent privilege descriptors still exist.
    ("2D", Defect), // Invalid transaction termination.
    ("2F", Setup),  // SQL routine exception.
    ("34", Defect), // Invalid cursor name.
    ("38", Setup),  // External routine exception.
    ("39", Setup),  // External routine invocation exception.
    ("3B", Defect), // Savepoint exception.
    ("3D", Setup),  // Invalid catalog name.
    ("3F", Setup),  // Invalid schema name.
    ("40", Outage), // Transaction rollback.
    ("42", Setup),  // Syntax error or access rule violation.
    ("44", BadRow), // WITH CHECK OPTION violation.
    ("53", Outage), // Insufficient resources.
    ("54", BadRow), // Program limit exceeded: an index entry that is too large.
    ("55", Outage), // Object not in prerequisite state; also a lock that was not given in time.
    ("57", Outage), // Operator intervention.
    ("58", Outage), // System error.
    ("72", Outage), // Snapshot failure.
    ("F0", Setup),  // Configuration file error.
    ("HV", Setup),  // Foreign data wrapper error.
    ("P0", Setup),  // PL/pgSQL error: a trigger of the operator's.
    ("XX", Setup),  // Internal error: a corrupted index or table.
];

/// Codes that ask for something else than their class.
pub const CODES: &[(&str, Fault)] = &[
    ("22P02", Setup),    // Invalid text representation: a word that an enum of an older schema lacks.
    ("22P05", Setup),    // Untranslatable character: the database has another encoding than UTF-8.
    ("23505", Conflict), // Unique violation.
    ("23P01", Conflict), // Exclusion violation.
    ("25006", Outage),   // Read-only transaction: a standby, or a database that is being moved.
    ("25P03", Outage),   // Idle in transaction for too long: this process was frozen.
];

/// Judges a database error: by its SQLSTATE where Postgres gave one.
#[must_use]
#[expect(clippy::match_same_arms, reason = "what is judged is named; the last arm is for what sqlx may add")]
pub fn fault(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(database) => database.code().map_or(Outage, |code| fault_of(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::BeginFailed => Outage,
        sqlx::Error::Tls(_) => Setup,
        sqlx::Error::Configuration(_)
        | sqlx::Error::InvalidArgument(_)
        | sqlx::Error::RowNotFound
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::AnyDriverError(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Migrate(_)
        | sqlx::Error::InvalidSavePointStatement => Defect,
        _ => Defect,
    }
}

/// Judges an SQLSTATE. A class that the documentation does not have is waited out, for the operator to see.
#[must_use]
pub fn fault_of(code: &str) -> Fault {
    let of = |table: &[(&str, Fault)], word: &str| table.iter().find(|(known, _)| *known == word).map(|one| one.1);
    of(CODES, code).or_else(|| of(CLASSES, code.get(..2).unwrap_or_default())).unwrap_or(Setup)
}

/// A word for an error that holds no value: Postgres quotes values in its messages, and so do decoding errors.
#[must_use]
pub fn name(error: &sqlx::Error) -> String {
    let name = match error {
        sqlx::Error::Database(database) => {
            return format!("SQLSTATE {}", database.code().as_deref().unwrap_or("unknown"));
        }
        sqlx::Error::Io(error) => return format!("{:?}", error.kind()),
        sqlx::Error::Configuration(_) => "configuration",
        sqlx::Error::InvalidArgument(_) => "invalid argument",
        sqlx::Error::Tls(_) => "TLS",
        sqlx::Error::Protocol(_) => "protocol",
        sqlx::Error::RowNotFound => "row not found",
        sqlx::Error::TypeNotFound { .. } => "type not found",
        sqlx::Error::ColumnIndexOutOfBounds { .. } => "column index out of bounds",
        sqlx::Error::ColumnNotFound(_) => "column not found",
        sqlx::Error::ColumnDecode { .. } => "column decode",
        sqlx::Error::Encode(_) => "encode",
        sqlx::Error::Decode(_) => "decode",
        sqlx::Error::PoolTimedOut => "no answer in time",
        _ => "other",
    };
    name.to_owned()
}

/// What the operator should know of an error that is waited out.
#[must_use]
pub fn cause(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(DatabaseError::code);
    match (code.as_deref(), error) {
        (Some("28P01" | "28000"), _) => "Postgres refuses the user or the password of DATABASE_URL".to_owned(),
        (Some("3D000"), _) => "Postgres has no database of the name in DATABASE_URL".to_owned(),
        (Some("25006"), _) => "the database is read-only: a standby, or one that is being moved".to_owned(),
        (Some("53300"), _) => "Postgres has no connection left to give".to_owned(),
        (Some("55P03"), _) => "another transaction has locked the tables for long".to_owned(),
        (Some("42P01"), _) => "the tables of this release are not there: start one sink with --migrate".to_owned(),
        (Some(_), _) if fault(error) == Outage => format!("Postgres cannot work now ({})", name(error)),
        (Some(_), _) => {
            format!("Postgres refuses a statement ({}): are the migrations applied and the rights given?", name(error))
        }
        (None, sqlx::Error::Configuration(_)) => {
            "DATABASE_URL is malformed: it must be postgres://user:password@host:port/database".to_owned()
        }
        (None, sqlx::Error::Tls(_)) => {
            "there is no TLS with Postgres: see sslmode and sslrootcert in DATABASE_URL".to_owned()
        }
        // The text of the system, such as that a host has no address or refuses the connection.
        (None, sqlx::Error::Io(error)) => format!("Postgres cannot be reached: {error}"),
        (None, _) => format!("Postgres is away or cannot answer now ({})", name(error)),
    }
}
