//! The locks by which sinks exclude each other, and that nobody else can take them.

use std::{str::FromStr as _, time::Duration};

use sink::{batch::Batch, item::Item, write::Session};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use store::role;

use super::{
    database::Database,
    sample::{ended, listed, outcome, topics},
    store::{of_sink, write},
};

const WRITTEN: &str = "SELECT concat_ws('-', first_offset, last_offset) FROM outcomes \
    UNION ALL SELECT concat_ws('-', item, item + item_count) FROM dead_letters ORDER BY 1";

/// Outcomes and dead letters about one raw partition may be in partitions of several sinks.
#[tokio::test]
async fn a_sink_that_changes_a_raw_partition_waits_for_one_that_changes_it_too() {
    let outcomes = || [ended(outcome(0, 1)), ended(outcome(1, 1))];
    let letters = || [listed(of_sink(&(1..4)), 0), listed(of_sink(&(2..6)), 0)];
    for (batches, stored) in [(outcomes as fn() -> [Item; 2], "0-1"), (letters, "1-4;4-6")] {
        for are_locks_there in [false, true] {
            let database = Database::make().await;
            if are_locks_there {
                write(&database, vec![ended(outcome(0, 1)), listed(of_sink(&(1..2)), 0)]).await;
                sqlx::raw_sql("TRUNCATE outcomes, dead_letters").execute(&database.pool).await.unwrap();
            }
            write_at_once(&database, batches()).await;
            assert_eq!(database.text(WRITTEN).await, stored);
        }
    }
}

/// Commits the first batch once the second one waits for it.
pub(crate) async fn write_at_once(database: &Database, [first, second]: [Item; 2]) {
    let (mut one, mut other) =
        (Session::open(&database.url).await.unwrap(), Session::open(&database.url).await.unwrap());
    let topics = topics();
    let mut first = Batch::new(0, vec![first], Vec::new());
    let prepared = one.prepare(&topics, &mut first).await.unwrap();
    let mut second = Batch::new(0, vec![second], Vec::new());
    let (written, ()) = tokio::join!(other.write(&topics, &mut second), async {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waited = tokio::time::timeout(Duration::from_secs(30), async {
            while database.count(waits).await == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "the second sink does not wait");
        prepared.commit().await.unwrap();
    });
    written.unwrap();
}

#[tokio::test]
async fn a_reader_cannot_hold_up_a_sink() {
    let database = Database::make().await;
    write(&database, vec![ended(outcome(0, 1)), listed(of_sink(&(1..4)), 0)]).await;
    let mut owner = PgConnection::connect(&database.url).await.unwrap();
    let role = role::apply(&mut owner).await.unwrap().role;
    let bi = format!("{}_bi", database.name);
    sqlx::raw_sql(&format!("CREATE ROLE {bi} LOGIN PASSWORD 'secret' IN ROLE {role}"))
        .execute(&mut owner)
        .await
        .unwrap();
    let options = PgConnectOptions::from_str(&database.url).unwrap().username(&bi).password("secret");
    let mut reader = PgConnection::connect_with(&options).await.unwrap();
    // The locks of an earlier release.
    for name in ["outcomes raw.medisante 1 0", "letters raw.medisante 1 0", &role] {
        sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))").bind(name).execute(&mut reader).await.unwrap();
    }
    for forbidden in [
        "SELECT FROM write_locks FOR UPDATE",
        "INSERT INTO write_locks VALUES ('outcomes', 'raw.medisante', 1, 1)",
        "LOCK TABLE write_locks IN ACCESS SHARE MODE",
        "LOCK TABLE schema_version IN ACCESS SHARE MODE",
        "SELECT FROM all_readings FOR SHARE",
    ] {
        assert!(sqlx::query(forbidden).execute(&mut reader).await.is_err(), "{forbidden}");
    }
    let work = async {
        write(&database, vec![ended(outcome(1, 1)), listed(of_sink(&(2..6)), 0)]).await;
        assert!(!role::apply(&mut owner).await.unwrap().is_new);
    };
    tokio::time::timeout(Duration::from_secs(20), work).await.unwrap();
    assert_eq!(database.text(WRITTEN).await, "0-1;1-4;4-6");
    reader.close().await.unwrap();
    let drop = format!("DROP ROLE {bi}; GRANT {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}");
    sqlx::raw_sql(&drop).execute(&mut owner).await.unwrap();
}
