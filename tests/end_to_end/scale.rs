//! Several processes per stage that join, leave, are killed and are frozen under load.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::{
    payload::{START, glucose_of, text},
    world::{IngressClient, Member, Setup, Stage, World, until},
};

const READINGS: &str = "SELECT count(*) FROM readings";
/// How long a partition may be without a write after a member was killed, joined or left.
const AFTER_KILL: Duration = Duration::from_secs(15);
/// How long a partition may be without a write after a member was frozen.
const AFTER_FREEZE: Duration = Duration::from_secs(30);

/// Starts one sink, lets it write, and starts a second: no partition may stall, also not after the second was killed.
async fn a_second_sink_joins(group_protocol: &'static str) {
    let mut world = World::start_as(Setup { group_protocol: Some(group_protocol), ..Setup::default() }).await;
    let mut sent = 0;
    let mut send = async |world: &World, count: i64| {
        for number in sent..sent + count {
            send(&world.client, number).await;
        }
        sent += count;
        world.until_count(READINGS, sent).await;
    };
    send(&world, 10).await;
    world.run_member((Stage::Sink, 1));
    world.until_ready((Stage::Sink, 1)).await;
    send(&world, 50).await;
    world.kill_member((Stage::Sink, 1));
    send(&world, 50).await;
    world.assert_ledger(110).await;

    // The log shows the rebalances: the second sink got some partitions, and the first one got them back. The readings do not show
    // it, as none of them need be in those partitions.
    until("the first sink gets back the partitions of the second one", || async {
        let of_first = rebalances_revoked(&world, (Stage::Sink, 0));
        let first_revoked = of_first.iter().position(|is_revoked| *is_revoked);
        first_revoked.is_some_and(|at| at > 0 && of_first[at..].contains(&false))
    })
    .await;
    let of_first = rebalances_revoked(&world, (Stage::Sink, 0));
    assert!(of_first.len() < 12, "more than one line for each rebalance: {of_first:?}");
    assert!(rebalances_revoked(&world, (Stage::Normalizer, 0)).contains(&false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sink_joins_with_the_consumer_protocol() {
    a_second_sink_joins("consumer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sink_joins_with_the_classic_protocol() {
    a_second_sink_joins("classic").await;
}

/// A sink that waits for a locked table reads nothing. Partitions that it loses meanwhile and gets back later are read again.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_revoked_while_a_table_is_locked_are_read_when_assigned_again() {
    let (mut world, first) = (World::start().await, (Stage::Sink, 0));
    world.until_ready(first).await;
    let mut held = world.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE readings IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let (sent, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let sending = tokio::spawn(send_on(world.client.clone(), sent.clone(), stop.clone()));
    until("the first sink waits for the table", || async {
        world.ready(first).await.is_some_and(|(is_ready, _)| !is_ready)
    })
    .await;
    world.run_member((Stage::Sink, 1));
    // One rebalance for each of the sink's two groups.
    until("the second sink has its share", || async {
        rebalances_revoked(&world, first).into_iter().filter(|is_revoked| *is_revoked).count() >= 2
    })
    .await;
    stop.store(true, Relaxed);
    sending.await.unwrap();
    held.rollback().await.unwrap();
    let mut sent = sent.load(Relaxed);
    world.until_count(READINGS, sent).await;
    world.until_ready((Stage::Sink, 1)).await;

    world.kill_member((Stage::Sink, 1));
    for number in sent..sent + 50 {
        send(&world.client, number).await;
    }
    sent += 50;
    world.until_count(READINGS, sent).await;
    world.assert_ledger(sent).await;
}

/// Returns for each rebalance in a member's log whether partitions were revoked from it (true) or assigned to it (false).
fn rebalances_revoked(world: &World, member: Member) -> Vec<bool> {
    let log = world.log(member);
    let lines = log.lines().filter(|line| line.contains("the group has rebalanced"));
    lines.map(|line| line.contains("\"given\":0")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_join_and_leave_with_the_consumer_protocol() {
    members_come_and_go("consumer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_join_and_leave_with_the_classic_protocol() {
    members_come_and_go("classic").await;
}

/// Scales each stage from one member to three and back. `E2E_SCALE_ROUNDS` is the number of rounds: one in CI, five by hand.
async fn members_come_and_go(group_protocol: &'static str) {
    let rounds = std::env::var("E2E_SCALE_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let mut world = World::start_as(Setup { group_protocol: Some(group_protocol), ..Setup::default() }).await;
    let load = Load::start(&world);
    for round in 0..rounds {
        for stage in [Stage::Sink, Stage::Normalizer] {
            // The numbers of each round are new, except that of the first member.
            let member = |number: usize| (stage, if number == 0 { 0 } else { 10 * round + number });
            for number in [1, 2] {
                world.run_member(member(number));
                world.until_ready(member(number)).await;
            }
            load.settles("joined", AFTER_KILL).await;

            // With one round, as in CI, one member is killed; otherwise two. A frozen member returns to a group that has moved on.
            for number in 0..rounds.min(2) {
                world.kill_member(member(number));
                load.settles("killed", AFTER_KILL).await;
                world.run_member(member(number));
                world.until_ready(member(number)).await;
            }
            world.freeze(member(2));
            load.settles("frozen", AFTER_FREEZE).await;
            world.thaw(member(2));
            load.settles("thawed", AFTER_KILL).await;
            world.until_ready(member(2)).await;

            rolling_restart(&mut world, stage, [member(0), member(1)]).await;
            load.settles("restarted", AFTER_KILL).await;
            for number in [1, 2] {
                assert!(world.terminate(member(number), AFTER_KILL).await, "the member did not end after SIGTERM");
            }
            load.settles("left", AFTER_KILL).await;
        }
    }
    let sent = load.stop(group_protocol).await;
    world.until_count(READINGS, sent).await;
    assert_eq!(world.count("SELECT count(DISTINCT measured_from) FROM readings").await, sent);
    world.assert_ledger(sent).await;
    assert_eq!(world.count(READINGS).await, sent);
    assert_eq!(world.count("SELECT count(*) FROM dead_letters").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM reading_duplicates").await, 0);
}

/// Restarts the members one by one. A substitute is ready before the member that it replaces ends.
async fn rolling_restart(world: &mut World, stage: Stage, members: [Member; 2]) {
    for (number, member) in members.into_iter().enumerate() {
        let substitute = (stage, 100 + number);
        world.run_member(substitute);
        world.until_ready(substitute).await;
        assert!(world.terminate(member, AFTER_KILL).await, "the member did not end after SIGTERM");
        world.run_member(member);
        world.until_ready(member).await;
        assert!(world.terminate(substitute, AFTER_KILL).await, "the substitute did not end after SIGTERM");
    }
}

/// Sends the `number`th reading, of one of 48 devices, so that all partitions have some.
async fn send(client: &IngressClient, number: i64) {
    let device = format!("3500000000{:05}", number % 48);
    client.post_medisante(&glucose_of(&device, &text(START + time::Duration::seconds(number)))).await;
}

/// Sends readings until it is stopped, and watches how each of their partitions is written.
struct Load {
    sent: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    sending: JoinHandle<()>,
    watching: JoinHandle<()>,
    progress: Arc<Mutex<WriteProgress>>,
    reached: Mutex<BTreeMap<String, Duration>>,
}

impl Load {
    fn start(world: &World) -> Self {
        let (sent, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let progress = Arc::new(Mutex::new(WriteProgress::default()));
        let sending = tokio::spawn(send_on(world.client.clone(), sent.clone(), stop.clone()));
        let watching = tokio::spawn(watch(world.pool.clone(), world.topic("readings"), progress.clone()));
        Self { sent, stop, sending, watching, progress, reached: Mutex::default() }
    }

    /// Waits until every partition has been written three times, and checks that none was without a write for longer than
    /// `within`.
    /// `what` names the change of the group.
    async fn settles(&self, what: &str, within: Duration) {
        self.progress.lock().unwrap().reset();
        let advanced = async || self.progress.lock().unwrap().all_advanced();
        until(&format!("all partitions are written ({what})"), advanced).await;
        let longest = self.progress.lock().unwrap().longest();
        let mut reached = self.reached.lock().unwrap();
        let known = reached.entry(what.to_owned()).or_default();
        *known = longest.max(*known);
        assert!(longest <= within, "{what}: a partition was not written for {longest:?}");
    }

    /// Stops the load and prints the longest intervals. Returns how many readings were acknowledged.
    async fn stop(self, group_protocol: &str) -> i64 {
        self.stop.store(true, Relaxed);
        self.sending.await.unwrap();
        self.watching.abort();
        for (what, longest) in &*self.reached.lock().unwrap() {
            eprintln!("{group_protocol}: longest interval without a write in a partition, {what}: {longest:.1?}");
        }
        self.sent.load(Relaxed)
    }
}

/// Sends distinct readings until `stop`, each repeated until it is acknowledged. `sent` counts them.
async fn send_on(client: IngressClient, sent: Arc<AtomicI64>, stop: Arc<AtomicBool>) {
    while !stop.load(Relaxed) {
        send(&client, sent.load(Relaxed)).await;
        sent.fetch_add(1, Relaxed);
    }
}

/// The writes of each partition, as seen by [`watch`].
#[derive(Default)]
struct WriteProgress(BTreeMap<i32, PartitionProgress>);

struct PartitionProgress {
    next: i64,
    advanced_at: Instant,
    advances: u32,
    longest: Duration,
}

impl WriteProgress {
    fn reset(&mut self) {
        for partition in self.0.values_mut() {
            *partition = PartitionProgress {
                next: partition.next,
                advanced_at: Instant::now(),
                advances: 0,
                longest: Duration::ZERO,
            };
        }
    }

    fn all_advanced(&self) -> bool {
        self.0.len() == usize::from(Setup::default().partitions)
            && self.0.values().all(|partition| partition.advances >= 3)
    }

    fn record_offset(&mut self, partition: i32, next: i64) {
        let now = Instant::now();
        let partition = self.0.entry(partition).or_insert(PartitionProgress {
            next,
            advanced_at: now,
            advances: 0,
            longest: Duration::ZERO,
        });
        partition.longest = partition.longest.max(now - partition.advanced_at);
        if partition.next != next {
            *partition = PartitionProgress { next, advanced_at: now, advances: partition.advances + 1, ..*partition };
        }
    }

    fn longest(&self) -> Duration {
        self.0.values().map(|partition| partition.longest).max().unwrap_or_default()
    }
}

/// Reads the next offsets of a topic from Postgres every 50 ms.
async fn watch(pool: PgPool, topic: String, progress: Arc<Mutex<WriteProgress>>) {
    loop {
        let rows: Vec<(i32, i64)> =
            sqlx::query_as("SELECT partition, next_offset FROM sink_offsets WHERE topic = $1 ORDER BY partition")
                .bind(&topic)
                .fetch_all(&pool)
                .await
                .unwrap();
        for (partition, next) in rows {
            progress.lock().unwrap().record_offset(partition, next);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
