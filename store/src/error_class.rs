//! The reaction that a database error requires: wait, retry, refuse a row, or exit.

use sqlx::error::DatabaseError;

/// The class of a database error, which determines the reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Postgres is unavailable or overloaded: wait and retry.
    Outage,
    /// Two writers conflict: retry, and treat the error as a bad row only when it persists.
    Conflict,
    /// Postgres refuses a value: find the row that contains it.
    BadRow,
    /// The schema is not the one of this release, or a privilege is missing: wait for the operator.
    Setup,
    /// A defect of this program: exit with an error.
    Defect,
}

use ErrorClass::{BadRow, Conflict, Defect, Outage, Setup};

/// All SQLSTATE classes (PostgreSQL documentation, appendix A).
pub const SQLSTATE_CLASSES: &[(&str, ErrorClass)] = &[
    ("00", Defect), // Successful completion: no error has this class.
    ("01", Defect), // Warning.
    ("02", Defect), // No data.
    ("03", Defect), // SQL statement not yet complete.
    ("08", Outage), // Connection exception.
    ("09", Setup),  // Triggered action exception.
    ("0A", Setup),  // Feature not supported; also a cached plan from before a migration.
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
    ("26", Setup),  // Invalid SQL statement name: a proxy in front of Postgres swaps connections.
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
    ("55", Outage), // Object not in prerequisite state; also a lock that was not available in time.
    ("57", Outage), // Operator intervention.
    ("58", Outage), // System error.
    ("72", Outage), // Snapshot failure.
    ("F0", Setup),  // Configuration file error.
    ("HV", Setup),  // Foreign data wrapper error.
    ("P0", Setup),  // PL/pgSQL error: a trigger that the operator added.
    ("XX", Setup),  // Internal error: a corrupted index or table.
];

/// SQLSTATE codes that require another reaction than their class.
pub const SQLSTATE_CODES: &[(&str, ErrorClass)] = &[
    ("22P02", Setup),    // Invalid text representation: an enum of an older schema lacks the value.
    ("22P05", Setup),    // Untranslatable character: the database has another encoding than UTF-8.
    ("23505", Conflict), // Unique violation.
    ("23P01", Conflict), // Exclusion violation.
    ("25006", Outage),   // Read-only transaction: a standby, or a database that is being moved.
    ("25P03", Outage),   // Idle-in-transaction timeout: this process was frozen.
];

/// Returns the class of a database error, by its SQLSTATE when Postgres returned one.
#[must_use]
#[expect(clippy::match_same_arms, reason = "known variants are named; the last arm is for variants that sqlx may add")]
pub fn error_class(error: &sqlx::Error) -> ErrorClass {
    match error {
        sqlx::Error::Database(database) => database.code().map_or(Outage, |code| error_class_of_sqlstate(&code)),
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

/// Returns the error class of an SQLSTATE. A class that is not documented counts as [`ErrorClass::Setup`], so that the operator sees it.
#[must_use]
pub fn error_class_of_sqlstate(code: &str) -> ErrorClass {
    let find = |table: &[(&str, ErrorClass)], prefix: &str| {
        table.iter().find(|(known, _)| *known == prefix).map(|(_, class)| *class)
    };
    find(SQLSTATE_CODES, code).or_else(|| find(SQLSTATE_CLASSES, code.get(..2).unwrap_or_default())).unwrap_or(Setup)
}

/// Returns a short name of an error without values. The messages of Postgres and of decoding errors quote values.
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

/// Returns the text for the operator about an error while the process waits.
#[must_use]
pub fn cause(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(DatabaseError::code);
    match (code.as_deref(), error) {
        (Some("28P01" | "28000"), _) => "Postgres refuses the user or the password of DATABASE_URL".to_owned(),
        (Some("3D000"), _) => "Postgres has no database with the name in DATABASE_URL".to_owned(),
        (Some("25006"), _) => "the database is read-only: it is a standby, or it is being moved".to_owned(),
        (Some("53300"), _) => "Postgres has no free connection".to_owned(),
        (Some("55P03"), _) => "another transaction has locked the tables for a long time".to_owned(),
        (Some("42P01"), _) => "the tables of this release do not exist: start one sink with --migrate".to_owned(),
        (Some(_), _) if error_class(error) == Outage => format!("Postgres is not available now ({})", name(error)),
        (Some(_), _) => {
            format!("Postgres refuses a statement ({}): are migrations applied and privileges granted?", name(error))
        }
        (None, sqlx::Error::Configuration(_)) => {
            "DATABASE_URL is malformed: it must be postgres://user:password@host:port/database".to_owned()
        }
        (None, sqlx::Error::Tls(_)) => {
            "TLS with Postgres cannot be established: check sslmode and sslrootcert in DATABASE_URL".to_owned()
        }
        // The text of the operating system, for example that a host has no address or refuses the connection.
        (None, sqlx::Error::Io(error)) => format!("Postgres cannot be reached: {error}"),
        (None, _) => format!("Postgres is unavailable or cannot answer now ({})", name(error)),
    }
}
