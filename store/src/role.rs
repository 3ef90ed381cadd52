//! The role for analysts, which may read the contract views and nothing else.
//!
//! The views run with the privileges of their owner, so the role needs no privilege on any table.

use sqlx::PgConnection;

use crate::comment::{RELATIONS, RelationKind};

/// The longest name of a role (PostgreSQL documentation, "Identifiers and Key Words": NAMEDATALEN - 1).
const NAME_BYTES_MAX: usize = 63;

/// Why the role cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The name of the database is too long for the suffix `_reader`.
    #[error("the name of the role would be {0}, which is longer than the 63 bytes that Postgres allows")]
    NameTooLong(String),
    /// The views do not exist.
    #[error("the database has no view {0}: start one sink with --migrate first")]
    NotMigrated(&'static str),
    /// Postgres is unavailable, or the user may not create roles.
    #[error("Postgres refuses the statement or is unavailable")]
    Database(#[from] sqlx::Error),
}

/// The result of [`apply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The role, `<database>_reader`. The name of the database is a part of it because all databases of a server share roles.
    pub role: String,
    /// Whether the role was created by this call.
    pub is_new: bool,
}

/// Creates the role for the connected database and grants it the right to read the contract views. The call can be repeated.
///
/// # Errors
/// [`RoleError`]; nothing is changed in that case.
pub async fn apply(connection: &mut PgConnection) -> Result<Applied, RoleError> {
    let mut transaction = sqlx::Connection::begin(connection).await?;
    let current = sqlx::query!("SELECT current_database() AS \"database!\", current_schema() AS \"schema!\"")
        .fetch_one(&mut *transaction)
        .await?;
    let (database, schema) = (current.database, current.schema);
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
    // Without the lock, two concurrent commands would both find no role. It waits neither for sinks, which only read the table, nor for
    // readers, who have no right to lock it.
    sqlx::query!("LOCK TABLE schema_version IN SHARE ROW EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let exists =
        sqlx::query_scalar!("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS \"exists!\"", role as _)
            .fetch_one(&mut *transaction)
            .await?;
    let name = identifier(&role);
    let schema = identifier(&schema);
    let create = (!exists).then(|| format!("CREATE ROLE {name} NOLOGIN"));
    let rights = [
        format!("GRANT CONNECT ON DATABASE {} TO {name}", identifier(&database)),
        format!("GRANT USAGE ON SCHEMA {schema} TO {name}"),
        // Removes privileges on tables that an earlier release or a person has granted.
        format!("REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {name}"),
        format!("GRANT SELECT ON {} TO {name}", views().collect::<Vec<_>>().join(", ")),
        // The function runs with the rights of its owner, like the views.
        format!("GRANT EXECUTE ON FUNCTION readings_as_of TO {name}"),
    ];
    let statements = create.into_iter().chain(rights).collect::<Vec<_>>().join(";");
    sqlx::raw_sql(&statements).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Applied { role, is_new: !exists })
}

/// Quotes a name as an SQL identifier.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
