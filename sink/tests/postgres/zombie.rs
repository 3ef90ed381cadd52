//! Sinks that freeze in the middle of a write, and tables that another session has locked.

use std::{
    task::Poll,
    time::{Duration, Instant},
};

use sink::{
    batch::{Batch, Fence},
    item::{EventTopic, Partition},
    write::{Session, WriteError},
};
use sqlx::{Connection as _, PgConnection};

use super::{
    database::Database,
    pipeline::{ROWS, World},
    sample::{read, reading, topics},
};

/// The batch of a sink that reads partition 0 of `readings`: the next record, with reading `number`.
fn batch(number: i64) -> Batch {
    let fence =
        Fence { partition: Partition { topic: EventTopic::Readings, number: 0 }, expected: number, next: number + 1 };
    Batch::new(0, vec![read(reading(number.try_into().unwrap(), number))], vec![fence])
}

async fn database() -> Database {
    let database = Database::make().await;
    sqlx::query("INSERT INTO sink_offsets VALUES ('readings', 0, 0)").execute(&database.pool).await.unwrap();
    database
}

/// Waits until a backend whose query contains `part` is in this state.
async fn until_state(database: &Database, state: &str, part: &str) {
    let statement = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
         AND state = '{state}' AND query LIKE '%{part}%'"
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while database.count(&statement).await == 0 {
        assert!(Instant::now() < deadline, "no {state} backend runs {part}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_sink_frozen_during_its_copy_delays_no_other_and_is_fenced_when_it_continues() {
    let database = database().await;
    let mut frozen = Session::open(&database.url).await.unwrap();
    // A session that is no longer polled stops where it is: here in the middle of a COPY that does not fit into the socket
    // buffer.
    let many = (0..20_000).map(|number| read(reading(number, 0))).collect();
    let mut large = Batch::new(0, many, batch(0).fence);
    let (topics, mut polled) = (topics(), 0);
    let mut write = Box::pin(frozen.write(&topics, &mut large));
    let copies = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
        AND query LIKE 'COPY stage%'";
    while database.count(copies).await == 0 {
        polled += 1;
        assert!(polled < 10_000, "the write never reached its COPY");
        let step = std::future::poll_fn(|context| Poll::Ready(write.as_mut().poll(context)));
        assert!(step.await.is_pending(), "the write ended before its COPY was seen");
    }
    // It blocks no other session, not even a migration.
    let locked = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a USING (pid) \
        WHERE a.datname = current_database() AND a.query LIKE 'COPY stage%' AND c.relnamespace = 'public'::regnamespace";
    assert_eq!(database.count(locked).await, 0);
    let begun = Instant::now();
    Session::open(&database.url).await.unwrap().write(&topics, &mut batch(0)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "delayed for {:?}", begun.elapsed());
    assert!(matches!(write.await, Err(WriteError::Fenced)));
    assert_eq!(database.count(ROWS).await, 1);
    assert_eq!(database.count("SELECT next_offset FROM sink_offsets").await, 1);
}

#[tokio::test]
async fn postgres_ends_a_sink_that_is_silent_after_its_first_lock_and_rolls_back_its_batch() {
    let database = database().await;
    let mut silent = Session::open(&database.url).await.unwrap();
    let topics = topics();
    let mut abandoned = batch(0);
    let prepared = silent.prepare(&topics, &mut abandoned).await.unwrap();
    until_state(&database, "idle in transaction", "INSERT INTO readings").await;
    let begun = Instant::now();
    let mut successor = Session::open(&database.url).await.unwrap();
    successor.write(&topics, &mut batch(0)).await.unwrap();
    let held_up = begun.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(13)).contains(&held_up), "delayed for {held_up:?}");
    assert!(prepared.commit().await.is_err());
    assert_eq!(database.count(ROWS).await, 1);
}

#[tokio::test]
async fn postgres_ends_a_sink_that_reads_no_response_while_it_holds_a_lock() {
    let database = database().await;
    let mut frozen = store::connect::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; UPDATE sink_offsets SET next_offset = 1").execute(&mut frozen).await.unwrap();
    // More data than the sockets hold, and nothing is read: Postgres cannot even report the timeout.
    let mut answer = sqlx::raw_sql("SELECT repeat('x', 100000) FROM generate_series(1, 1000)").fetch(&mut frozen);
    let step = std::future::poll_fn(|context| Poll::Ready(futures_util::Stream::poll_next(answer.as_mut(), context)));
    let stepped = step.await;
    assert!(matches!(stepped, Poll::Pending | Poll::Ready(Some(Ok(_)))), "the query ended at once");
    until_state(&database, "active", "repeat").await;
    let begun = Instant::now();
    let successor = async {
        let mut session = Session::open(&database.url).await.unwrap();
        while session.write(&topics(), &mut batch(0)).await.is_err() {
            session = Session::open(&database.url).await.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(40), successor).await.is_ok(), "delayed forever");
    println!("delayed for {:?}", begun.elapsed());
    drop(answer);
}

#[tokio::test]
async fn postgres_closes_the_connection_of_a_vanished_host() {
    let database = database().await;
    let _session = Session::open(&database.url).await.unwrap();
    // Postgres shows no session the settings of another one. So this opens a connection in the same way and asks there.
    let mut connection = store::connect::connect(&database.url).await.unwrap();
    for (setting, wanted) in [
        ("idle_in_transaction_session_timeout", "10s"),
        ("lock_timeout", "12s"),
        ("statement_timeout", "30s"),
        ("tcp_user_timeout", "10000"),
        ("tcp_keepalives_idle", "5"),
        ("tcp_keepalives_interval", "2"),
        ("tcp_keepalives_count", "3"),
    ] {
        let shown: String = sqlx::query_scalar(&format!("SHOW {setting}")).fetch_one(&mut connection).await.unwrap();
        assert_eq!(shown, wanted, "{setting}");
    }
    connection.close().await.unwrap();
}

/// `SINK_LOCK_SECONDS` sets how long a table stays locked: longer than one wait for a lock in CI, 90 s by hand.
fn locked_for() -> Duration {
    Duration::from_secs(std::env::var("SINK_LOCK_SECONDS").map_or(35, |seconds| seconds.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_accumulates_no_connections() {
    let world = World::new().await;
    let running = world.start();
    world.readings(0, 5).await;
    world.until(ROWS, 5).await;
    let mut held = PgConnection::connect(&world.database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE readings IN ACCESS EXCLUSIVE MODE").execute(&mut held).await.unwrap();
    world.readings(5, 10).await;
    let connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND application_name LIKE 'device-manager sink%'";
    // Postgres ends the waiting statements, so that the sink does not have to leave a connection behind.
    let longest = "SELECT coalesce(max(extract(epoch FROM now() - query_start)), 0)::bigint FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let (begun, mut most, mut waited) = (Instant::now(), 0, 0);
    while begun.elapsed() < locked_for() {
        most = most.max(world.database.count(connections).await);
        waited = waited.max(world.database.count(longest).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!((1..=4).contains(&most), "{most} connections");
    assert!((5..=13).contains(&waited), "a statement waited for {waited} s");
    sqlx::raw_sql("ROLLBACK").execute(&mut held).await.unwrap();
    world.until(ROWS, 10).await;
    world.until_ready().await;
    assert_eq!(world.database.count("SELECT count(*) FROM dead_letters").await, 0);
    running.stop().await;
    // At the end no connection is left.
    world.until(connections, 0).await;
}
