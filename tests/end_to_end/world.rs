//! The environment of a test: one Kafka and one Postgres for all tests; topics, groups, a database and processes for each test.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use embedded::Embedded;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use service::kafka::KafkaSettings;
use sqlx::PgPool;
use store::migrate::SCHEMA_VERSION;
use tempfile::TempDir;
use tests::{create_database, servers};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

/// How long a test waits for a condition. Longer than a consumer group takes to remove a killed member.
pub(crate) const WITHIN: Duration = Duration::from_secs(120);
pub(crate) const SERVERS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/end-to-end");
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_device-manager");
const POLL: Duration = Duration::from_millis(20);
const MEDISANTE: &str = "/health-data/medisante/standard-json";

/// `KAFKA_` variables that Kubernetes and images of Kafka put into a container, and two that would break the promises if they were
/// passed on.
pub(crate) const IGNORED_KAFKA_VARIABLES: [(&str, &str); 6] = [
    ("KAFKA_PORT", "tcp://203.0.113.7:9092"),
    ("KAFKA_SERVICE_HOST", "203.0.113.7"),
    ("KAFKA_OPTS", "-Dstray=203.0.113.7"),
    ("KAFKA_HEAP_OPTS", "-Xmx203m"),
    ("KAFKA_ACKS", "0"),
    ("KAFKA_ENABLE_IDEMPOTENCE", "false"),
];

/// Held by the running test. Tests run one at a time: some stop Kafka, and one test occupies two cores.
static TURN: Mutex<()> = Mutex::const_new(());
pub(crate) type Turn = MutexGuard<'static, ()>;

pub(crate) async fn turn() -> Turn {
    TURN.lock().await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Ingress,
    Normalizer,
    Sink,
}

/// A process of a stage, by the stage and a number.
pub(crate) type Member = (Stage, usize);

/// How the stages are started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// The value of RUST_LOG.
    pub(crate) log: &'static str,
    /// `consumer` or `classic`; by default the stages choose the protocol.
    pub(crate) group_protocol: Option<&'static str>,
    pub(crate) partitions: u16,
}

impl Default for Setup {
    fn default() -> Self {
        Self { log: "info", group_protocol: None, partitions: 3 }
    }
}

pub(crate) struct World {
    pub(crate) embedded: &'static Embedded,
    pub(crate) pool: PgPool,
    pub(crate) client: IngressClient,
    pub(crate) database_url: String,
    /// The catalogue file of the stages and commands that are started from now on.
    pub(crate) catalogue_file: Option<PathBuf>,
    /// The variables that say how to reach Kafka.
    kafka: Vec<(String, String)>,
    stages: BTreeMap<Member, Running>,
    name: String,
    setup: Setup,
    port: u16,
    directory: TempDir,
    _turn: Turn,
}

/// A process of a stage, which is killed at the end of its test.
struct Running {
    process: Child,
    management_port: u16,
}

impl Running {
    fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Keeps the logs of the stages and of the broker if the test failed.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.directory.disable_cleanup(true);
            eprintln!("logs of the stages: {}, of the servers: {SERVERS}", self.directory.path().display());
        }
    }
}

#[derive(Clone)]
pub(crate) struct IngressClient {
    http: Client,
    url: String,
    pub(crate) key: String,
}

impl World {
    /// Creates topics, tables and keys, and starts all stages.
    pub(crate) async fn start() -> Self {
        Self::start_as(Setup::default()).await
    }

    pub(crate) async fn start_as(setup: Setup) -> Self {
        let turn = turn().await;
        let bootstrap = servers(Path::new(SERVERS)).await.kafka_bootstrap().unwrap();
        Self::start_on(turn, setup, vec![("KAFKA_BOOTSTRAP_SERVERS".to_owned(), bootstrap.to_owned())]).await
    }

    /// Starts everything on the Kafka that these environment variables describe.
    pub(crate) async fn start_on(turn: Turn, setup: Setup, kafka: Vec<(String, String)>) -> Self {
        let embedded = servers(Path::new(SERVERS)).await;
        let name = format!("e2e_{}", Uuid::new_v4().simple());
        let database_url = create_database(embedded, &name).await;
        let port = free_port();
        let client = IngressClient { http: Client::new(), url: format!("http://127.0.0.1:{port}"), key: String::new() };
        let mut world = Self {
            embedded,
            catalogue_file: None,
            kafka,
            pool: PgPool::connect_lazy(&database_url).unwrap(),
            client,
            database_url,
            stages: BTreeMap::new(),
            name,
            setup,
            port,
            directory: tempfile::tempdir().unwrap(),
            _turn: turn,
        };
        world.make_secrets();
        world.run_to_success(world.kafka_command("topics").args([
            "apply",
            "--partitions",
            &setup.partitions.to_string(),
        ]));
        for stage in [Stage::Sink, Stage::Normalizer, Stage::Ingress] {
            world.run(stage);
        }
        // Before the ingress has reached Kafka, a request is answered 503, and not every test retries.
        world.until_ready((Stage::Ingress, 0)).await;
        let version = format!("SELECT count(*) FROM schema_version WHERE version = {SCHEMA_VERSION}");
        until("the tables exist", || async { world.try_count(&version).await == Some(1) }).await;
        world
    }

    fn make_secrets(&mut self) {
        let receipt_key = self.path("receipt.key");
        fs::write(&receipt_key, "5a".repeat(32)).unwrap();
        fs::set_permissions(&receipt_key, Permissions::from_mode(0o440)).unwrap();
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
        let output = self.run_to_success(create.arg("--file").arg(self.path("keys.json")));
        output.lines().last().unwrap().clone_into(&mut self.client.key);
    }

    /// Sets a variable for all processes that are started from now on.
    pub(crate) fn set_variable(&mut self, name: &str, value: &str) {
        self.kafka.push((name.to_owned(), value.to_owned()));
    }

    /// Starts process 0 of a stage, also again after it has ended.
    pub(crate) fn run(&mut self, stage: Stage) {
        self.run_member((stage, 0));
    }

    /// Starts one of a stage's processes.
    pub(crate) fn run_member(&mut self, member: Member) {
        self.run_build(member, Path::new(BINARY), &["--migrate"]);
    }

    /// Starts a normalizer that reads everything on the raw topics again, with the consumer group `group`.
    pub(crate) fn run_normalizer(&mut self, member: Member, group: &str) {
        let command = self.normalizer_command(Path::new(BINARY), group);
        self.spawn(member, command);
    }

    /// Starts the normalizer, which skips these raw records.
    pub(crate) fn run_skipping(&mut self, records: &[&str]) {
        let mut command = self.normalizer_command(Path::new(BINARY), "normalizer");
        for record in records {
            command.args(["--skip", record]);
        }
        self.spawn((Stage::Normalizer, 0), command);
    }

    /// Starts one of a stage's processes from the build `binary`; a sink gets the arguments `of_sink`.
    pub(crate) fn run_build(&mut self, member: Member, binary: &Path, of_sink: &[&str]) {
        let stage = member.0;
        let receipt_key = self.path("receipt.key");
        let command = match stage {
            Stage::Ingress => {
                let mut command = self.kafka_command_of(binary, "ingress");
                command.args(["--http-port", &self.port.to_string()]);
                command.arg("--keys-file").arg(self.path("keys.json")).arg("--receipt-key-file").arg(receipt_key);
                command
            }
            Stage::Normalizer => self.normalizer_command(binary, "normalizer"),
            Stage::Sink => {
                let mut command = self.kafka_command_of(binary, "sink");
                command.args(["--group", &format!("{}-sink", self.name)]).args(of_sink);
                command.arg("--receipt-key-file").arg(receipt_key).env("DATABASE_URL", &self.database_url);
                // Not as arguments, which a sink of the release before does not know.
                command.env("NORMALIZER_GROUP", format!("{}-normalizer", self.name)).env("ACCOUNT_SECONDS", "1");
                command
            }
        };
        self.spawn(member, command);
    }

    fn normalizer_command(&self, binary: &Path, group: &str) -> Command {
        let mut command = self.kafka_command_of(binary, "normalizer");
        command.args(["--group", &format!("{}-{group}", self.name), "--upload-wait-seconds", "5"]);
        command.arg("--receipt-key-file").arg(self.path("receipt.key"));
        command
    }

    /// Starts a process of a stage with a management port, and writes its output to the member's log.
    fn spawn(&mut self, member: Member, mut command: Command) {
        let log = File::options().create(true).append(true).open(self.path(&log_file(member))).unwrap();
        let management_port = free_port();
        command.args(["--management-address", &format!("127.0.0.1:{management_port}")]);
        command.env("RUST_LOG", self.setup.log);
        if let Some(protocol) = self.setup.group_protocol {
            command.env("KAFKA_GROUP_PROTOCOL", protocol);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.stages.insert(member, Running { process: command.spawn().unwrap(), management_port });
    }

    /// Returns whether `/ready` answers 200, and the body. None if there is no answer.
    pub(crate) async fn ready(&self, member: Member) -> Option<(bool, String)> {
        let url = format!("http://127.0.0.1:{}/ready", self.stages[&member].management_port);
        let answer = self.client.http.get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
        Some((answer.status() == StatusCode::OK, answer.text().await.ok()?))
    }

    pub(crate) async fn until_ready(&self, member: Member) {
        until("the stage is ready", || async { self.ready(member).await.is_some_and(|(is_ready, _)| is_ready) }).await;
    }

    /// Sends SIGSTOP: the process does not run, but its connections stay open.
    pub(crate) fn freeze(&self, member: Member) {
        self.stages[&member].signal("STOP");
    }

    /// Sends SIGCONT.
    pub(crate) fn thaw(&self, member: Member) {
        self.stages[&member].signal("CONT");
    }

    /// The peak resident memory of a process, in KiB.
    pub(crate) fn resident_kib_max(&self, member: Member) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.stages[&member].process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Returns the output of `device-manager trace` for a receipt, and whether the whole payload has arrived.
    pub(crate) fn trace(&self, receipt: &str) -> (String, bool) {
        self.trace_with(&[receipt])
    }

    /// The same as [`World::trace`] with any arguments.
    pub(crate) fn trace_with(&self, arguments: &[&str]) -> (String, bool) {
        let mut command = self.kafka_command("trace");
        command.args(["--group", &format!("{}-normalizer", self.name), "--receipt-key-file"]);
        command.arg(self.path("receipt.key")).args(arguments).env("DATABASE_URL", &self.database_url);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let rest = String::from_utf8(output.stderr).unwrap();
        assert!(rest.lines().all(|line| line.starts_with("device-manager: ignored: KAFKA_")), "{said}{rest}");
        (said, output.status.success())
    }

    /// Runs an operator's command. Returns its output, and whether it succeeded.
    pub(crate) fn command(&self, name: &str, arguments: &[&str]) -> (String, bool) {
        let output = self.kafka_command(name).args(arguments).env("DATABASE_URL", &self.database_url).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (String::from_utf8(said).unwrap(), output.status.success())
    }

    /// Waits until a process ends by itself. Returns its exit code.
    pub(crate) async fn ended(&mut self, member: Member) -> Option<i32> {
        let mut running = self.stages.remove(&member).unwrap();
        let deadline = Instant::now() + WITHIN;
        loop {
            if let Some(status) = running.process.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "{member:?} does not end: {}", self.log(member));
            tokio::time::sleep(POLL).await;
        }
    }

    /// Runs a line of a page in a shell, as an operator does: in a directory of its own, with the settings of the installation in
    /// the environment and the binary on the path. Returns what it prints.
    pub(crate) fn shell(&self, line: &str) -> String {
        let command = self.kafka_command("");
        let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let bin = Path::new(BINARY).parent().unwrap().to_str().unwrap();
        let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(self.directory.path()).envs(variables).env("PATH", path);
        shell.env("DATABASE_URL", &self.database_url).env("RECEIPT_KEY_FILE", self.path("receipt.key"));
        String::from_utf8(shell.output().unwrap().stdout).unwrap()
    }

    /// Runs an operator's command that signs receipts. Returns its standard output, and whether it succeeded.
    pub(crate) fn operate(&self, name: &str, arguments: &[&str]) -> (Vec<u8>, bool) {
        let mut command = self.kafka_command(name);
        command.args(arguments).env("RECEIPT_KEY_FILE", self.path("receipt.key"));
        let output = command.env("DATABASE_URL", &self.database_url).output().unwrap();
        (output.stdout, output.status.success())
    }

    /// Runs a command with `--json`. Returns the objects that it prints.
    pub(crate) fn operate_json(&self, name: &str, arguments: &[&str]) -> Vec<Value> {
        let (said, _) = self.operate(name, &[arguments, &["--json"]].concat());
        String::from_utf8(said).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Sends SIGTERM. Returns whether the process ended within `within`.
    pub(crate) async fn terminate(&mut self, member: Member, within: Duration) -> bool {
        let mut running = self.stages.remove(&member).unwrap();
        running.signal("TERM");
        let deadline = Instant::now() + within;
        while running.process.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }

    /// The metrics of the first normalizer.
    pub(crate) async fn normalizer_metrics(&self) -> String {
        self.metrics((Stage::Normalizer, 0)).await
    }

    /// The metrics of a process, in Prometheus's text format.
    pub(crate) async fn metrics(&self, member: Member) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.stages[&member].management_port);
        self.client.http.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// The output of `device-manager drift`.
    pub(crate) fn drift(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(BINARY);
        command.arg("drift").args(arguments).arg("--receipt-key-file").arg(self.path("receipt.key"));
        self.run_to_success(command.env("DATABASE_URL", &self.database_url))
    }

    /// Sends SIGKILL to a stage's first process: it flushes and closes nothing.
    pub(crate) fn kill(&mut self, stage: Stage) {
        self.kill_member((stage, 0));
    }

    /// Sends SIGKILL to one of a stage's processes.
    pub(crate) fn kill_member(&mut self, member: Member) {
        drop(self.stages.remove(&member).unwrap());
    }

    pub(crate) fn kafka_command(&self, subcommand: &str) -> Command {
        self.kafka_command_of(Path::new(BINARY), subcommand)
    }

    fn kafka_command_of(&self, binary: &Path, subcommand: &str) -> Command {
        let mut command = Command::new(binary);
        command.arg(subcommand);
        command.envs(self.kafka.iter().cloned());
        command.env("TOPIC_PREFIX", format!("{}.", self.name));
        command.envs(IGNORED_KAFKA_VARIABLES);
        command.envs(self.catalogue_file.iter().map(|file| ("CATALOGUE_FILE", file)));
        command
    }

    fn run_to_success(&self, command: &mut Command) -> String {
        let output = command.current_dir(self.directory.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The name of a topic with the prefix of this test.
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

    /// Waits until the query's count is `expected`. Fails at once if it is larger.
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

    /// Checks that every record on the raw topics except `raw.uploads` has an outcome, that the outcomes promise at least
    /// `items_min` items, and that the promised rows and dead letters exist.
    pub(crate) async fn assert_ledger(&self, items_min: i64) {
        for word in ["raw.medisante", "raw.healthkit", "raw.devices"] {
            let topic = self.topic(word);
            let records: i64 =
                (0..i32::from(self.setup.partitions)).map(|partition| self.log_end(&topic, partition)).sum();
            let ended = "SELECT coalesce(sum(last_offset - first_offset + 1), 0)::bigint FROM outcomes WHERE topic";
            self.until_count(&format!("{ended} = '{word}'"), records).await;
        }
        self.assert_promises(items_min).await;
    }

    /// Checks that the outcomes promise at least `items_min` items, and that the promised rows and dead letters exist.
    pub(crate) async fn assert_promises(&self, items_min: i64) {
        let open = "SELECT count(*) FROM ledger WHERE promised_readings <> rows + superseded + duplicates + refused
                        OR promised_rejections <> dead_letters";
        until("the ledger balances", || async { self.try_count(open).await == Some(0) }).await;
        let promised = "SELECT coalesce(sum(promised_readings + promised_rejections), 0)::bigint FROM ledger";
        let promised = self.count(promised).await;
        assert!(promised >= items_min.max(1), "{promised} items are promised, at least {items_min} were sent");
    }

    /// The offset that the next record of a partition gets.
    pub(crate) fn log_end(&self, topic: &str, partition: i32) -> i64 {
        let client: BaseConsumer = self.kafka_settings().client().create().unwrap();
        client.fetch_watermarks(topic, partition, WITHIN).unwrap().1
    }

    pub(crate) fn kafka_settings(&self) -> KafkaSettings {
        KafkaSettings::from_env(self.kafka.iter().cloned()).unwrap()
    }

    fn last_logs(&self) -> String {
        let logs = self.logs();
        let lines: Vec<&str> = logs.lines().filter(|line| !line.contains("\"TRACE\"")).collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// The log of a process.
    pub(crate) fn log(&self, member: Member) -> String {
        fs::read_to_string(self.path(&log_file(member))).unwrap()
    }

    pub(crate) fn logs(&self) -> String {
        let files = fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut logs: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
        logs.sort();
        logs.into_iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
    }
}

fn log_file((stage, number): Member) -> String {
    let name = match stage {
        Stage::Ingress => "ingress",
        Stage::Normalizer => "normalizer",
        Stage::Sink => "sink",
    };
    if number == 0 { format!("{name}.log") } else { format!("{name}-{number}.log") }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends the signal `name`, such as `STOP`, to a process that the test started.
pub(crate) fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

impl IngressClient {
    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> reqwest::Result<Response> {
        self.http.post(format!("{}{path}", self.url)).header("X-API-Key", &self.key).json(body).send().await
    }

    /// Sends a JSON body with a correlation id.
    pub(crate) async fn post_as(&self, correlation_id: &str, path: &str, body: &Value) -> Response {
        let request = self.http.post(format!("{}{path}", self.url)).header("X-API-Key", &self.key);
        request.header("X-Correlation-ID", correlation_id).json(body).send().await.unwrap()
    }

    /// Sends a gzip-compressed JSON body, and repeats it until it is answered 200. Returns the answer.
    pub(crate) async fn post_gzip(&self, path: &str, body: &[u8]) -> Value {
        let deadline = Instant::now() + WITHIN;
        loop {
            let request = self.http.post(format!("{}{path}", self.url)).header("X-API-Key", &self.key);
            let request = request.header("Content-Type", "application/json").header("Content-Encoding", "gzip");
            if let Ok(answer) = request.body(body.to_owned()).send().await
                && answer.status() == StatusCode::OK
                && let Ok(answer) = answer.json().await
            {
                return answer;
            }
            assert!(Instant::now() < deadline, "not accepted within {WITHIN:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a body without a content type.
    pub(crate) async fn try_upload(&self, path: &str, body: String) -> reqwest::Result<Response> {
        self.try_bytes(path, body.into_bytes()).await
    }

    /// The same with any bytes.
    pub(crate) async fn try_bytes(&self, path: &str, body: Vec<u8>) -> reqwest::Result<Response> {
        self.http.post(format!("{}{path}", self.url)).header("X-API-Key", &self.key).body(body).send().await
    }

    /// Host and port of the ingress.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Sends a JSON body as a sender does, repeated until it is answered 200. Returns the answer.
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

    /// Sends a Medisanté message, repeated until it is answered 200. Returns the receipt.
    pub(crate) async fn post_medisante(&self, body: &Value) -> String {
        let answer = self.post(MEDISANTE, body).await;
        answer["_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn try_post_medisante(&self, body: &Value) -> reqwest::Result<Response> {
        self.try_post(MEDISANTE, body).await
    }
}

/// Waits until `condition` holds, at most [`WITHIN`]. `what` describes the condition for the panic message.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + WITHIN;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}
