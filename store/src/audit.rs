//! Who looked at identified data with an operator's command.

use sqlx::PgConnection;

/// Records that an operator looks at identified data. To be called before anything is shown.
///
/// # Errors
/// Postgres is unavailable; then nothing may be shown.
pub async fn record(
    connection: &mut PgConnection,
    operator: &str,
    command: &str,
    detail: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!("INSERT INTO audit (operator, command, detail) VALUES ($1, $2, $3)", operator, command, detail)
        .execute(connection)
        .await?;
    Ok(())
}
