//! An operator restores an older dump of the database.

use std::time::Duration;

use tokio::process::Command;

use super::target::{Hit, Target};
use crate::{
    error::ChaosError,
    installation::{create_database, drop_database},
    process::Stage,
};

/// How much older the dump is.
const OLDER: Duration = Duration::from_secs(4);

/// Takes a dump under traffic. Later kills the sinks, restores the dump, and starts the sinks.
pub(super) async fn older_dump(target: &Target<'_>) -> Result<Hit, ChaosError> {
    let (installation, processes) = (target.installation, &target.installation.processes);
    let dump = processes.logs().join("older.dump").display().to_string();
    run(target, "pg_dump", &["--format=custom", "--file", &dump]).await?;
    tokio::time::sleep(OLDER).await;
    let kill = || {
        installation.members(Stage::Sink).for_each(|member| processes.kill(member));
        Ok(())
    };
    let hit = target.strike_stage(Stage::Sink, kill).await?;
    let stored = stored(target).await?;
    drop_database(installation.servers, &installation.database).await?;
    create_database(installation.servers, &installation.database).await?;
    run(target, "pg_restore", &["--exit-on-error", &dump]).await?;
    let is_older = self::stored(target).await? < stored;
    installation.members(Stage::Sink).try_for_each(|member| processes.start(member))?;
    Ok(Hit { is_hit: hit.is_hit && is_older, ..hit })
}

/// The number of raw records that are stored.
async fn stored(target: &Target<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT coalesce(sum(last_offset - first_offset + 1), 0)::bigint FROM outcomes")
        .fetch_one(&target.installation.pool)
        .await
}

/// Runs a program of Postgres on the database.
async fn run(target: &Target<'_>, name: &'static str, arguments: &[&str]) -> Result<(), ChaosError> {
    let installation = target.installation;
    let programs = installation.servers.embedded.postgres_programs().unwrap_or_else(|| "".as_ref());
    let mut command = Command::new(programs.join(name));
    command.args(arguments).args(["--dbname", &installation.servers.database_direct(&installation.database)]);
    let output = command.output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(ChaosError::Command { name, said: String::from_utf8_lossy(&output.stderr).into_owned() })
}
