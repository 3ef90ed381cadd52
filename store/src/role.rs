//! The role that analysts use: it reads the contract views and nothing else.
//!
//! The views run with the rights of their owner, so that the role needs none on a table.

use sqlx::PgConnection;

use crate::comment::{RELATIONS, RelationKind};

/// The longest name of a role (PostgreSQL documentation, "Identifiers and Key Words": NAMEDATALEN - 1).
const NAME_BYTES_MAX: usize = 63;

/// Why the role cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The name of the database leaves no room for `_reader`.
    #[error("the name of the role would be {0}, which is longer than the 63 bytes that Postgres allows")]
    NameTooLong(String),
    /// The views are not there.
    #[error("the database has no view {0}: start one sink with --migrate first")]
    NotMigrated(&'static str),
    /// Postgres is away, or the user may not make roles.
    #[error("Postgres refuses or is away")]
    Database(#[from] sqlx::Error),
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The role, `<database>_reader`: roles belong to all databases of a server.
    pub role: String,
    /// Whether it was made just now.
    pub is_new: bool,
}

/// Makes the role of the database that is connected to, and gives it what it may read. Can be repeated.
///
/// # Errors
/// [`RoleError`]; nothing is changed then.
pub async fn apply(connection: &mut PgConnection) -> Result<Applied, RoleError> {
    let mut transaction = sqlx::Connection::begin(connection).await?;
    let place = sqlx::query!("SELECT current_database() AS \"database!\", current_schema() AS \"schema!\"")
        .fetch_one(&mut *transaction)
        .await?;
    let (database, schema) = (place.database, place.schema);
    let role = format!("{database}_reader");
    if role.len() > NAME_BYTES_MAX {
        return Err(RoleError::NameTooLong(role));
    }
    let views =
        || RELATIONS.iter().filter(|relation| relation.kind == RelationKind::Contract).map(|relation| relation.name);
    for view in views() {
        let is_there = sqlx::query_scalar!("SELECT to_regclass($1) IS NOT NULL AS \"is_there!\"", view)
            .fetch_one(&mut *transaction)
            .await?;
        if !is_there {
            return Err(RoleError::NotMigrated(view));
        }
    }
    // Two commands at once would both find no role.
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &role as _)
        .execute(&mut *transaction)
        .await?;
    let exists =
        sqlx::query_scalar!("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS \"exists!\"", role as _)
            .fetch_one(&mut *transaction)
            .await?;
    let name = identifier(&role);
    let schema = identifier(&schema);
    let make = (!exists).then(|| format!("CREATE ROLE {name} NOLOGIN"));
    let rights = [
        format!("GRANT CONNECT ON DATABASE {} TO {name}", identifier(&database)),
        format!("GRANT USAGE ON SCHEMA {schema} TO {name}"),
        // What an earlier release, or somebody by hand, gave it on tables.
        format!("REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {name}"),
        format!("GRANT SELECT ON {} TO {name}", views().collect::<Vec<_>>().join(", ")),
    ];
    let statements = make.into_iter().chain(rights).collect::<Vec<_>>().join(";");
    sqlx::raw_sql(&statements).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Applied { role, is_new: !exists })
}

/// A name as SQL writes it.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
