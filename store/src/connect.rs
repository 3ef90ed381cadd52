//! Connections that Postgres itself ends where this process cannot: while it is frozen, cut off, or waits for a lock.

use std::{str::FromStr as _, time::Duration};

use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

/// How long Postgres may take to let us in.
const CONNECT_LONGEST: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const CLOSE_LONGEST: Duration = Duration::from_secs(1);

/// All times end on Postgres's side, so that no backend is left behind by a client that gave up, and no lock by one that is gone.
/// A silence between two statements of a transaction is the shortest: it is how long a frozen sink holds up its successor. A wait
/// for a lock outlasts it. The last four are for a host that vanished, or reads no answer; a local socket has no need of them.
const SETTINGS: &str = "SET timezone = 'UTC'; SET application_name = 'device-manager sink'; \
    SET client_min_messages = warning; SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '12s'; \
    SET statement_timeout = '30s'; SET tcp_user_timeout = '10s'; SET tcp_keepalives_idle = '5s'; \
    SET tcp_keepalives_interval = '2s'; SET tcp_keepalives_count = 3";

/// Opens a connection whose statements, waits and silences Postgres ends.
///
/// # Errors
/// Postgres is away, or its answer takes too long.
pub async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?;
    let connecting = async {
        let mut connection = options.connect().await?;
        sqlx::raw_sql(SETTINGS).execute(&mut connection).await?;
        Ok(connection)
    };
    tokio::time::timeout(CONNECT_LONGEST, connecting).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Says goodbye, so that the backend ends now and not when it next looks.
pub async fn close(connection: PgConnection) {
    let _ = tokio::time::timeout(CLOSE_LONGEST, connection.close()).await;
}
