//! `device-manager roles apply`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use store::role::{self, RoleError};

use super::connect;
use crate::{error::CommandError, output::Output};

/// Create the role for analysts and BI tools.
///
/// The role is named after the database, `<database>_reader`, because all databases of a server share their roles. It can
/// read the views attributed_readings, all_readings and document_contents, and no table. It cannot log in: grant it to a
/// user that can.
#[derive(Args)]
#[command(after_help = "Example, for a database named devices:
  device-manager roles apply
  psql \"$DATABASE_URL\" -c \"CREATE ROLE bi LOGIN PASSWORD 'choose-one' IN ROLE devices_reader\"")]
pub struct RolesCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Create the role if it is missing, and grant it the views of this release. Can be repeated; repeat it after an upgrade.
    Apply {
        /// The address of the database. Its user must own the views and be allowed to create roles (CREATEROLE).
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
}

/// Runs the command.
///
/// # Errors
/// The database is not reachable or not migrated, or its user may not create roles.
pub async fn run(args: RolesCommand, output: &mut Output) -> Result<ExitCode, CommandError> {
    let Action::Apply { database_url } = args.action;
    let mut connection = connect(&database_url).await?;
    let applied = role::apply(&mut connection).await.map_err(not_applied)?;
    let what = if applied.is_new { "was created" } else { "exists" };
    output.line(&format!("the role {} {what} and can read the contract views", applied.role))?;
    Ok(ExitCode::SUCCESS)
}

fn not_applied(error: RoleError) -> CommandError {
    match error {
        RoleError::Database(error) if is_denied(&error) => CommandError::failed(
            "creating the role",
            "the user of DATABASE_URL must own the views and have the attribute CREATEROLE",
        ),
        RoleError::Database(error) => error.into(),
        RoleError::NameTooLong(_) | RoleError::NotMigrated(_) => CommandError::failed("creating the role", error),
    }
}

/// Insufficient privilege (PostgreSQL documentation, appendix A).
fn is_denied(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "42501")
}
