//! Faults that Postgres itself reports, and faults in the middle of a COMMIT.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, Executor as _, PgConnection, pool::PoolConnection};

use super::target::{Hit, Target};
use crate::{error::ChaosError, installation::ORACLE};

/// How long a fault lasts.
const LASTS: Duration = Duration::from_secs(5);
/// How often the sessions are looked at while their COMMIT is to be hit.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The pause after a COMMIT was hit, so that the sink gets on.
const AFTER_COMMIT: Duration = Duration::from_millis(500);

/// Makes each COMMIT of a batch take a moment, in Postgres and before the transaction is committed.
const SLOW_COMMIT: &str = "
    CREATE FUNCTION chaos_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.03); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER chaos_slow AFTER INSERT OR UPDATE ON sink_offsets DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION chaos_slow();";
const USUAL_COMMIT: &str = "DROP FUNCTION chaos_slow() CASCADE";

type Session = PoolConnection<sqlx::Postgres>;

async fn session(target: &Target<'_>) -> Result<Session, sqlx::Error> {
    target.installation.pool.acquire().await
}

/// Ends the sessions of the stages.
async fn end_sessions(session: &mut PgConnection, condition: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(&format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name <> '{ORACLE}' AND pid <> pg_backend_pid() AND {condition}"
    ))
    .fetch_one(session)
    .await
}

pub(super) async fn read_only(target: &Target<'_>) -> Result<Hit, ChaosError> {
    let (mut session, name) = (session(target).await?, &target.installation.database);
    let begin = async {
        session.execute(format!("ALTER DATABASE {name} SET default_transaction_read_only = on").as_str()).await?;
        end_sessions(&mut session, "true").await.map(drop)
    };
    let hit = target.strike(begin).await?;
    tokio::time::sleep(LASTS).await;
    session.execute("SET default_transaction_read_only = off").await?;
    session.execute(format!("ALTER DATABASE {name} RESET default_transaction_read_only").as_str()).await?;
    // A session of the oracle that was opened meanwhile is read-only.
    session.close_on_drop();
    Ok(hit)
}

pub(super) async fn no_connections(target: &Target<'_>) -> Result<Hit, ChaosError> {
    let (mut session, name) = (session(target).await?, &target.installation.database);
    let begin = async {
        session.execute(format!("ALTER DATABASE {name} CONNECTION LIMIT 0").as_str()).await?;
        end_sessions(&mut session, "true").await.map(drop)
    };
    let hit = target.strike(begin).await?;
    tokio::time::sleep(LASTS).await;
    session.execute(format!("ALTER DATABASE {name} CONNECTION LIMIT -1").as_str()).await?;
    Ok(hit)
}

const IN_COMMIT: &str = "state = 'active' AND query ILIKE 'commit%'";

/// Ends sessions in their COMMIT: the transaction is rolled back, and the sink does not know it.
pub(super) async fn commit_terminated(target: &Target<'_>) -> Result<Hit, ChaosError> {
    in_commits(target, async |session| end_sessions(session, IN_COMMIT).await).await
}

/// Cuts the connections while Postgres commits: the transaction is committed, and the sink does not know it.
pub(super) async fn commit_cut(target: &Target<'_>) -> Result<Hit, ChaosError> {
    in_commits(target, async |session| {
        let found: i64 = sqlx::query_scalar(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {IN_COMMIT} \
             AND application_name <> '{ORACLE}'"
        ))
        .fetch_one(session)
        .await?;
        if found > 0 {
            target.installation.servers.postgres_proxy.reset();
        }
        Ok(found)
    })
    .await
}

/// Looks for COMMITs of the sinks for a while, and hits them.
async fn in_commits(
    target: &Target<'_>,
    hit: impl AsyncFn(&mut PgConnection) -> Result<i64, sqlx::Error>,
) -> Result<Hit, ChaosError> {
    let mut session = session(target).await?;
    session.execute(sqlx::raw_sql(SLOW_COMMIT)).await?;
    let (begun, mut hits) = (Instant::now(), 0);
    while begun.elapsed() < LASTS {
        let found = hit(&mut session).await?;
        hits += found;
        tokio::time::sleep(if found > 0 { AFTER_COMMIT } else { LOOK_EVERY }).await;
    }
    session.execute(USUAL_COMMIT).await?;
    Ok(Hit::of(usize::try_from(hits).unwrap_or_default()))
}

pub(super) async fn table_locked(target: &Target<'_>) -> Result<Hit, ChaosError> {
    let mut session = session(target).await?;
    let mut transaction = session.begin().await?;
    let begin = async { transaction.execute("LOCK TABLE readings IN ACCESS EXCLUSIVE MODE").await.map(drop) };
    let hit = target.strike(begin).await?;
    tokio::time::sleep(LASTS).await;
    transaction.rollback().await?;
    Ok(hit)
}

/// Lets every second batch fail with this SQLSTATE.
pub(super) async fn errors(target: &Target<'_>, code: &str) -> Result<Hit, ChaosError> {
    let mut session = session(target).await?;
    // A sequence is not rolled back with the transaction, so it counts the failures too.
    let create = format!(
        "CREATE SEQUENCE chaos_errors;
         CREATE FUNCTION chaos_fail() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('chaos_errors') % 2 = 1 THEN RAISE 'chaos' USING ERRCODE = '{code}'; END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER chaos_fail BEFORE INSERT ON readings FOR EACH STATEMENT EXECUTE FUNCTION chaos_fail()"
    );
    session.execute(sqlx::raw_sql(&create)).await?;
    tokio::time::sleep(LASTS).await;
    let raised: i64 =
        sqlx::query_scalar("SELECT CASE WHEN is_called THEN (last_value + 1) / 2 ELSE 0 END FROM chaos_errors")
            .fetch_one(&mut *session)
            .await?;
    session.execute(sqlx::raw_sql("DROP FUNCTION chaos_fail() CASCADE; DROP SEQUENCE chaos_errors")).await?;
    Ok(Hit::of(usize::try_from(raised).unwrap_or_default()))
}
