//! One Kafka and one Postgres for all tests; topics, groups, database and processes of its own for each.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use device_manager::embedded::Embedded;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use sqlx::PgPool;
use tempfile::TempDir;
use tests::{create_database, servers};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

/// Longer than a consumer group takes to give up a killed member.
pub(crate) const WITHIN: Duration = Duration::from_secs(120);
const SERVERS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/end-to-end");
const BINARY: &str = env!("CARGO_BIN_EXE_device-manager");
const POLL: Duration = Duration::from_millis(20);
const MEDISANTE: &str = "/health-data/medisante/standard-json";

/// One test at a time: some stop Kafka, and two cores are soon busy.
static TURN: Mutex<()> = Mutex::const_new(());

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Ingress,
    Normalizer,
    Sink,
}

pub(crate) struct World {
    pub(crate) embedded: &'static Embedded,
    pub(crate) pool: PgPool,
    pub(crate) sender: Sender,
    pub(crate) database_url: String,
    stages: BTreeMap<Stage, Running>,
    name: String,
    log: &'static str,
    port: u16,
    normalizer_port: u16,
    directory: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The logs of a test that failed stay, its stages' and the broker's.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.directory.disable_cleanup(true);
            eprintln!("logs of the stages: {}, of the servers: {SERVERS}", self.directory.path().display());
        }
    }
}

#[derive(Clone)]
pub(crate) struct Sender {
    client: Client,
    url: String,
    pub(crate) key: String,
}

impl World {
    /// Topics, tables and keys are made, and all stages run.
    pub(crate) async fn start() -> Self {
        Self::start_logging("info").await
    }

    /// The same, with this as RUST_LOG.
    pub(crate) async fn start_logging(log: &'static str) -> Self {
        let turn = TURN.lock().await;
        let embedded = servers(Path::new(SERVERS)).await;
        let name = format!("e2e_{}", Uuid::new_v4().simple());
        let database_url = create_database(embedded, &name).await;
        let [port, normalizer_port] = free_ports();
        let sender = Sender { client: Client::new(), url: format!("http://127.0.0.1:{port}"), key: String::new() };
        let mut world = Self {
            embedded,
            pool: PgPool::connect_lazy(&database_url).unwrap(),
            sender,
            database_url,
            stages: BTreeMap::new(),
            name,
            log,
            port,
            normalizer_port,
            directory: tempfile::tempdir().unwrap(),
            _turn: turn,
        };
        world.make_secrets();
        world.finish(world.kafka_command("topics").args(["apply", "--partitions", "3"]));
        for stage in [Stage::Sink, Stage::Normalizer, Stage::Ingress] {
            world.run(stage);
        }
        until("the ingress answers", || async { world.sender.client.get(&world.sender.url).send().await.is_ok() })
            .await;
        until("the tables are there", || async { world.try_count("SELECT count(*) FROM ledger").await.is_some() })
            .await;
        world
    }

    fn make_secrets(&mut self) {
        let receipt_key = self.path("receipt.key");
        fs::write(&receipt_key, "5a".repeat(32)).unwrap();
        fs::set_permissions(&receipt_key, Permissions::from_mode(0o600)).unwrap();
        let mut create = Command::new(BINARY);
        create.args([
            "keys",
            "create",
            "--source",
            "tests",
            "--scope",
            "health-data:write",
            "--scope",
            "devices:write",
        ]);
        let said = self.finish(create.arg("--file").arg(self.path("keys.json")));
        let secret = said.lines().find_map(|line| line.strip_prefix("secret: ")).unwrap();
        secret.split(' ').next().unwrap().clone_into(&mut self.sender.key);
    }

    /// Starts a stage, again where it ran before.
    pub(crate) fn run(&mut self, stage: Stage) {
        let receipt_key = self.path("receipt.key");
        let (name, mut command) = match stage {
            Stage::Ingress => {
                let mut command = self.kafka_command("ingress");
                command.args(["--http-port", &self.port.to_string()]);
                command.arg("--keys-file").arg(self.path("keys.json")).arg("--receipt-key-file").arg(receipt_key);
                ("ingress", command)
            }
            Stage::Normalizer => {
                let mut command = self.kafka_command("normalizer");
                command.args(["--group", &format!("{}-normalizer", self.name), "--upload-wait-seconds", "5"]);
                command.arg("--receipt-key-file").arg(receipt_key);
                ("normalizer", command)
            }
            Stage::Sink => {
                let mut command = self.kafka_command("sink");
                command.args(["--migrate", "--group", &format!("{}-sink", self.name)]);
                command.arg("--receipt-key-file").arg(receipt_key).env("DATABASE_URL", &self.database_url);
                ("sink", command)
            }
        };
        let log = File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).unwrap();
        let management_port = if stage == Stage::Normalizer { self.normalizer_port } else { 0 };
        command.args(["--management-address", &format!("127.0.0.1:{management_port}")]).env("RUST_LOG", self.log);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.stages.insert(stage, Running(command.spawn().unwrap()));
    }

    /// What `device-manager trace` says of a receipt, and whether all of its payload has arrived.
    pub(crate) fn trace(&self, receipt: &str) -> (String, bool) {
        let mut command = self.kafka_command("trace");
        command.args(["--group", &format!("{}-normalizer", self.name), "--receipt-key-file"]);
        command.arg(self.path("receipt.key")).arg(receipt).env("DATABASE_URL", &self.database_url);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.stderr.is_empty(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        (said, output.status.success())
    }

    /// SIGTERM. Whether the stage ended in time.
    pub(crate) async fn terminate(&mut self, stage: Stage, within: Duration) -> bool {
        let mut running = self.stages.remove(&stage).unwrap();
        let pid = running.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let deadline = Instant::now() + within;
        while running.0.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }

    /// The normalizer's metrics.
    pub(crate) async fn normalizer_metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.normalizer_port);
        self.sender.client.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// What `device-manager drift` lists.
    pub(crate) fn drift(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(BINARY);
        command.arg("drift").args(arguments).arg("--receipt-key-file").arg(self.path("receipt.key"));
        self.finish(command.env("DATABASE_URL", &self.database_url))
    }

    /// SIGKILL: nothing is flushed, closed or said goodbye to.
    pub(crate) fn kill(&mut self, stage: Stage) {
        drop(self.stages.remove(&stage).unwrap());
    }

    pub(crate) fn kafka_command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.arg(subcommand);
        command.env("KAFKA_BOOTSTRAP_SERVERS", self.embedded.kafka_bootstrap().unwrap());
        command.env("TOPIC_PREFIX", format!("{}.", self.name));
        command
    }

    fn finish(&self, command: &mut Command) -> String {
        let output = command.current_dir(self.directory.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The full name of a topic.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) async fn count(&self, query: &str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    async fn try_count(&self, query: &str) -> Option<i64> {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.ok()
    }

    /// Waits until the query's count is `expected`; more than that is an error at once.
    pub(crate) async fn until_count(&self, query: &str, expected: i64) {
        let deadline = Instant::now() + WITHIN;
        loop {
            let is = self.try_count(query).await.unwrap_or(-1);
            if is == expected {
                return;
            }
            let in_time = is < expected && Instant::now() < deadline;
            assert!(in_time, "{query}: {is} instead of {expected}\n{}", self.last_logs());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Every record the ingress took has its outcome, and what the outcomes promise is there.
    pub(crate) async fn assert_ledger(&self) {
        let open = "SELECT count(*) FROM ledger WHERE promised_readings <> rows + superseded + duplicates + refused
                        OR promised_rejections <> dead_letters";
        until("the ledger balances", || async { self.try_count(open).await == Some(0) }).await;
    }

    fn last_logs(&self) -> String {
        let logs = self.logs();
        let lines: Vec<&str> = logs.lines().filter(|line| !line.contains("\"TRACE\"")).collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub(crate) fn logs(&self) -> String {
        let logs = ["ingress.log", "normalizer.log", "sink.log"].map(|name| fs::read_to_string(self.path(name)));
        logs.map(Result::unwrap_or_default).concat()
    }
}

fn free_ports() -> [u16; 2] {
    // Both are held at once, so that they are two.
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

impl Sender {
    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> reqwest::Result<Response> {
        self.client.post(format!("{}{path}", self.url)).header("X-API-Key", &self.key).json(body).send().await
    }

    /// Sends a body that is no JSON.
    pub(crate) async fn try_upload(&self, path: &str, body: String) -> reqwest::Result<Response> {
        self.client.post(format!("{}{path}", self.url)).header("X-API-Key", &self.key).body(body).send().await
    }

    /// Host and port of the ingress.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// As a sender does it: again and again until it is acknowledged. Returns the answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Ok(answer) = self.try_post(path, body).await
                && answer.status() == StatusCode::OK
                && let Ok(answer) = answer.json().await
            {
                return answer;
            }
            assert!(Instant::now() < deadline, "not accepted within {WITHIN:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Returns the receipt.
    pub(crate) async fn medisante(&self, body: &Value) -> String {
        let answer = self.post(MEDISANTE, body).await;
        answer["_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn try_medisante(&self, body: &Value) -> reqwest::Result<Response> {
        self.try_post(MEDISANTE, body).await
    }
}

pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + WITHIN;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}
