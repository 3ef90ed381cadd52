//! A real Apache Kafka: one process that is broker and controller, reachable over loopback only.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rustix::process::Signal;

use crate::child::{ChildProcess, Program};
use crate::error::{EmbeddedError, io};
use crate::port;
use crate::state::State;
use crate::{EmbeddedConfig, ProxiedListener};

const FORMAT_WITHIN: Duration = Duration::from_secs(60);
const READY_WITHIN: Duration = Duration::from_secs(60);
const REQUEST_WITHIN: Duration = Duration::from_secs(2);

/// A small heap and a quick start, for a broker that serves one developer.
const JVM: [&str; 6] =
    ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:-UsePerfData"];

/// The settings that a single node requires, and those that make it start quickly. The short broker heartbeat and session let
/// it recover 4 s after a SIGKILL instead of 14 s. The broker also sets the session timeout of consumer groups: with its
/// default of 45 s, the partitions of a killed stage would wait that long for another process.
const SETTINGS: &str = "\
node.id=1
process.roles=broker,controller
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
broker.heartbeat.interval.ms=250
broker.session.timeout.ms=1500
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
group.consumer.min.session.timeout.ms=4000
group.consumer.session.timeout.ms=4000
";

/// Logs warnings and errors to standard output, which goes to the log file.
const LOGGING: &str = "\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
";

pub(super) struct Kafka {
    pub(super) child: ChildProcess,
    /// Runs Kafka's storage tool, which formats the log directory.
    tool: Program,
    java: Vec<String>,
    directory: PathBuf,
    cluster_id: String,
    port: u16,
    controller_port: u16,
    proxied: Option<ProxiedListener>,
    bootstrap: String,
}

/// Returns the file that identifies the process of a data directory.
pub(super) fn pid_file(data_dir: &Path) -> PathBuf {
    data_dir.join("kafka.pid")
}

impl Kafka {
    pub(super) fn prepare(data_dir: &Path, config: &EmbeddedConfig, state: &mut State) -> Result<Self, EmbeddedError> {
        let jars = find_jars(config.kafka_home.as_deref())?;
        let directory = data_dir.join("kafka");
        std::fs::create_dir_all(&directory).map_err(io("create", &directory))?;
        port::keep_or_pick(&mut state.kafka_port);
        port::keep_or_pick(&mut state.kafka_controller_port);

        let mut java = vec![find_java().ok_or(EmbeddedError::NoJava)?.to_string_lossy().into_owned()];
        java.extend(JVM.map(str::to_owned));
        java.push(format!("-Dlog4j2.configurationFile={}", directory.join("log4j2.properties").display()));
        java.extend(["-cp".to_owned(), format!("{}/*", jars.display())]);

        let run = ["kafka.Kafka".to_owned(), directory.join("server.properties").to_string_lossy().into_owned()];
        let program = |name, command| Program {
            name,
            command,
            environment: Vec::new(),
            user: None,
            end_signal: Signal::TERM,
            end_grace: Duration::from_secs(20),
            log: data_dir.join("kafka.log"),
            pid_file: pid_file(data_dir),
        };
        Ok(Self {
            child: ChildProcess::new(program("Kafka", java.iter().cloned().chain(run).collect())),
            tool: program("Kafka's storage tool", Vec::new()),
            java,
            directory,
            cluster_id: state.kafka_cluster_id.clone(),
            port: state.kafka_port,
            controller_port: state.kafka_controller_port,
            proxied: config.kafka_proxied,
            bootstrap: format!("127.0.0.1:{}", state.kafka_port),
        })
    }

    pub(super) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub(super) async fn start(&self) -> Result<(), EmbeddedError> {
        let log = self.directory.join("log");
        self.write("log4j2.properties", LOGGING)?;
        self.write("server.properties", &self.settings(&log))?;
        if !log.exists() {
            self.format(&log).await?;
        }
        self.child.start()?;
        self.child.wait_until_ready(READY_WITHIN, async || Ok::<_, EmbeddedError>(self.is_answering().await)).await
    }

    pub(super) async fn stop(&self) {
        self.child.stop().await;
    }

    /// Formats the log directory under a temporary name and renames it, so that an interrupted format is never mistaken for a
    /// complete one.
    async fn format(&self, log: &Path) -> Result<(), EmbeddedError> {
        let unfinished = self.directory.join("log.part");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(io("remove", &unfinished))?;
        }
        let settings = self.write("format.properties", &self.settings(&unfinished))?;
        let format = ["kafka.tools.StorageTool", "format", "-t", &self.cluster_id, "-c", &settings.to_string_lossy()]
            .map(str::to_owned);
        let command: Vec<String> = self.java.iter().cloned().chain(format).collect();
        self.tool.run(&command, FORMAT_WITHIN).await?;
        std::fs::rename(&unfinished, log).map_err(io("write", log))
    }

    fn settings(&self, log: &Path) -> String {
        let Self { port, controller_port, .. } = self;
        let (listener, advertised) =
            self.proxied.map_or_else(Default::default, |ProxiedListener { port, proxy_port }| {
                (format!(",PROXIED://127.0.0.1:{port}"), format!(",PROXIED://127.0.0.1:{proxy_port}"))
            });
        format!(
            "{SETTINGS}\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{listener}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
             controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
             log.dirs={}\n",
            log.display()
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, EmbeddedError> {
        let path = self.directory.join(name);
        std::fs::write(&path, text).map_err(io("write", &path))?;
        Ok(path)
    }

    /// Returns whether a metadata request is answered. The client is created only once the port is open, because it would
    /// otherwise back off and log errors.
    async fn is_answering(&self) -> bool {
        if tokio::net::TcpStream::connect(&self.bootstrap).await.is_err() {
            return false;
        }
        let bootstrap = self.bootstrap.clone();
        let request = move || {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", bootstrap).set_log_level(RDKafkaLogLevel::Emerg);
            let client: BaseConsumer = config.create()?;
            client.fetch_metadata(None, REQUEST_WITHIN).map(|metadata| !metadata.brokers().is_empty())
        };
        matches!(tokio::task::spawn_blocking(request).await, Ok(Ok(true)))
    }
}

fn find_java() -> Option<PathBuf> {
    let of_home =
        std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin/java")).filter(|java| java.is_file());
    of_home.or_else(|| {
        std::env::split_paths(&std::env::var_os("PATH")?)
            .map(|directory| directory.join("java"))
            .find(|java| java.is_file())
    })
}

/// Returns the directory with Kafka's jars: `kafka_home` if given; otherwise `.kafka` in or above the working directory or the
/// directory of the binary; otherwise where a package or an image installs Kafka.
fn find_jars(kafka_home: Option<&Path>) -> Result<PathBuf, EmbeddedError> {
    let candidates: Vec<PathBuf> = if let Some(home) = kafka_home {
        // Java runs in another working directory.
        vec![std::path::absolute(home).unwrap_or_else(|_| home.to_owned())]
    } else {
        let working = std::env::current_dir().unwrap_or_default();
        let binary = std::env::current_exe().unwrap_or_default();
        let above = working.ancestors().chain(binary.ancestors().skip(1)).map(|directory| directory.join(".kafka"));
        above.chain(["/usr/share/device-manager/kafka", "/usr/share/kafka", "/opt/kafka"].map(PathBuf::from)).collect()
    };
    let holds_jars =
        candidates.iter().flat_map(|home| [home.join("libs"), home.clone()]).find(|directory| has_kafka(directory));
    holds_jars.ok_or(EmbeddedError::NoKafka { looked_in: candidates })
}

fn has_kafka(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| {
        name.strip_prefix("kafka_2.13-")
            .and_then(|rest| rest.strip_suffix(".jar"))
            .is_some_and(|rest| !rest.contains("test"))
    })
}
