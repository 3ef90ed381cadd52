//! One process at a time works on a replay.

use sqlx::{Connection as _, PgConnection, PgPool};

/// The first key of the advisory locks of replays; the second one is the number of the replay.
const NAMESPACE: i32 = 0x7265_706c;
/// The connection is idle while the replay runs. Postgres ends it when the host of the process has disappeared.
const SETTINGS: &str = "SET idle_session_timeout = 0; SET tcp_keepalives_idle = '5s'; SET tcp_keepalives_interval = '2s'; \
    SET tcp_keepalives_count = 3";

/// The right to work on a replay. It ends with its connection, also when the process is killed.
pub struct ReplayLock {
    connection: PgConnection,
    replay_id: i32,
}

/// Returns the right to work on a replay; `None` if another process has it.
///
/// # Errors
/// Postgres is unavailable.
pub async fn lock(pool: &PgPool, replay_id: i32) -> Result<Option<ReplayLock>, sqlx::Error> {
    let mut connection = pool.acquire().await?.detach();
    sqlx::raw_sql(SETTINGS).execute(&mut connection).await?;
    let is_free = sqlx::query_scalar!("SELECT pg_try_advisory_lock($1, $2) AS \"is_free!\"", NAMESPACE, replay_id)
        .fetch_one(&mut connection)
        .await?;
    Ok(is_free.then_some(ReplayLock { connection, replay_id }))
}

impl ReplayLock {
    /// Gives the right back, so that the next call has it at once.
    ///
    /// # Errors
    /// Postgres is unavailable. The right has ended then, too.
    pub async fn release(mut self) -> Result<(), sqlx::Error> {
        sqlx::query!("SELECT pg_advisory_unlock($1, $2) AS \"is_released!\"", NAMESPACE, self.replay_id)
            .fetch_one(&mut self.connection)
            .await?;
        self.connection.close().await
    }
}
