//! Connections that Postgres itself closes when this process cannot: while it is frozen, disconnected, or waiting for a lock.

use std::{str::FromStr as _, time::Duration};

use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

/// The longest time to connect.
const CONNECT_LONGEST: Duration = Duration::from_secs(10);
/// The longest time to close a connection.
const CLOSE_LONGEST: Duration = Duration::from_secs(1);

/// All timeouts are enforced by Postgres, so that no backend outlives a client that gave up, and no lock outlives a client that is
/// gone. The timeout for an idle transaction is the shortest, because a frozen sink delays its successor by this time. The lock
/// timeout is longer than that. The last four settings are for a host that disappeared or does not read the answers; they have no
/// effect on a local socket.
const SETTINGS: &str = "SET timezone = 'UTC'; SET application_name = 'device-manager sink'; \
    SET client_min_messages = warning; SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '12s'; \
    SET statement_timeout = '30s'; SET tcp_user_timeout = '10s'; SET tcp_keepalives_idle = '5s'; \
    SET tcp_keepalives_interval = '2s'; SET tcp_keepalives_count = 3";

/// Opens a connection on which Postgres limits the duration of statements, of waits for locks and of idle transactions.
///
/// # Errors
/// Postgres is unavailable, or does not answer in time.
pub async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?;
    let connecting = async {
        let mut connection = options.connect().await?;
        sqlx::raw_sql(SETTINGS).execute(&mut connection).await?;
        Ok(connection)
    };
    tokio::time::timeout(CONNECT_LONGEST, connecting).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Closes the connection with a Terminate message, so that the backend ends now and not when it next notices the disconnect.
pub async fn close(connection: PgConnection) {
    let _ = tokio::time::timeout(CLOSE_LONGEST, connection.close()).await;
}
