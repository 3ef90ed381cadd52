//! The settings of all Kafka clients.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

pub mod log;
mod variables;

pub use log::{because, cause};

use crate::rebootstrap::Rebootstrap;

/// The timeout of the first request that [`reach`] sends. It doubles with each attempt, because a slow cluster may need longer
/// to answer.
const FIRST_TIMEOUT: Duration = Duration::from_millis(200);
/// How long [`reach`] and [`diagnose`] poll the client for error events after a failed request.
const EVENT_POLL: Duration = Duration::from_millis(50);
/// The time after which [`reach`] reports that it is waiting even if no cause is known.
const REPORT_AFTER: Duration = Duration::from_secs(2);

/// The addresses of the cluster, and the properties that the operator passes to librdkafka.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port` pairs, separated by commas.
    pub bootstrap: String,
    /// librdkafka properties by name. Properties that this project sets take precedence.
    pub properties: BTreeMap<String, String>,
    /// `KAFKA_…` variables that are set but not passed to librdkafka.
    pub ignored: Vec<String>,
}

/// Why the environment variables yield no settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No broker is named.
    #[error("KAFKA_BOOTSTRAP_SERVERS is not set: name the brokers as host:port,host:port")]
    NoBootstrap,
    /// The list of brokers is malformed. The value may contain a password, so it is not shown.
    #[error("KAFKA_BOOTSTRAP_SERVERS is malformed: name the brokers as host:port,host:port")]
    Servers,
    /// librdkafka rejects the value of this variable. The value may be a secret, so it is not shown.
    #[error("the value of {0} is not valid (see the librdkafka property of that name)")]
    Value(String),
}

/// The session timeout under the `classic` protocol: how long the group waits for a member that has failed. Under the
/// `consumer` protocol the brokers set it.
pub const SESSION_TIMEOUT_MS: u64 = 8_000;
/// The heartbeat interval under the `classic` protocol. After a member has failed, the other members learn of it from the
/// responses to their own heartbeats, twice: the first rebalance revokes the partitions, the second assigns them.
pub const HEARTBEAT_INTERVAL_MS: u64 = 1_000;

impl KafkaSettings {
    /// Reads `KAFKA_BOOTSTRAP_SERVERS`, `KAFKA_GROUP_PROTOCOL`, and those other `KAFKA_<PROPERTY>` variables that say how to
    /// reach the cluster: `KAFKA_SECURITY_PROTOCOL` becomes `security.protocol`. The names of all other variables are stored in
    /// [`KafkaSettings::ignored`].
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn from_env(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, SettingsError> {
        let variables::Variables { bootstrap, properties, ignored } = variables::read(variables)?;
        let bootstrap = bootstrap.ok_or(SettingsError::NoBootstrap)?;
        if !bootstrap.split(',').all(|server| is_address(server.trim())) {
            return Err(SettingsError::Servers);
        }
        Ok(Self { bootstrap, properties, ignored })
    }

    /// Creates settings without properties from the operator.
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned(), properties: BTreeMap::new(), ignored: Vec::new() }
    }

    /// Returns the log line that lists the ignored variables; `None` if there are none.
    #[must_use]
    pub fn ignored_line(&self) -> Option<String> {
        (!self.ignored.is_empty()).then(|| {
            format!(
                "ignored: {}. Only settings for reaching Kafka are used: KAFKA_SECURITY_PROTOCOL, KAFKA_SSL_…, KAFKA_SASL_…, \
                 KAFKA_SOCKET_…, KAFKA_METADATA_…, and none that switches certificate verification off",
                self.ignored.join(", ")
            )
        })
    }

    /// Returns the settings of any client.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        self.config_with(&[])
    }

    /// Returns the settings of a producer that neither loses nor duplicates records: `acks=all`, idempotent, with a bounded
    /// queue. A record that is not delivered within 30 s fails; ingress sets a shorter time.
    #[must_use]
    pub fn producer(&self) -> ClientConfig {
        self.config_with(&[
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("compression.codec", "lz4"),
            ("linger.ms", "5"),
            ("message.max.bytes", schemas::topic::MESSAGE_BYTES_MAX),
            ("message.timeout.ms", "30000"),
            ("queue.buffering.max.kbytes", "65536"),
            ("queue.buffering.max.messages", "100000"),
        ])
    }

    /// Returns the settings of a consumer of `group` that does not commit automatically and whose queue is bounded.
    #[must_use]
    pub fn consumer(&self, group: &str, protocol: GroupProtocol) -> ClientConfig {
        let mut config = self.config_with(&[
            ("group.id", group),
            ("group.protocol", protocol.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("max.poll.interval.ms", "300000"),
            ("fetch.queue.backoff.ms", "5"),
            ("queued.max.messages.kbytes", "8192"),
            ("fetch.message.max.bytes", "1048576"),
            ("fetch.max.bytes", "4194304"),
            ("enable.partition.eof", "false"),
        ]);
        match protocol {
            // The brokers set the session timeout. librdkafka rejects the property under this protocol.
            GroupProtocol::Consumer => {}
            GroupProtocol::Classic => {
                config.set("partition.assignment.strategy", "cooperative-sticky");
                config.set("session.timeout.ms", SESSION_TIMEOUT_MS.to_string());
                config.set("heartbeat.interval.ms", HEARTBEAT_INTERVAL_MS.to_string());
            }
        }
        config
    }

    /// Returns the group protocol to use: `group.protocol` if the operator set it, otherwise the one that a probe finds the
    /// brokers to support. Blocks for up to `timeout`.
    ///
    /// # Errors
    /// The cluster does not answer in time.
    pub fn group_protocol(&self, timeout: Duration) -> Result<GroupProtocol, KafkaError> {
        if let Some(protocol) = self.properties.get("group.protocol").and_then(|word| GroupProtocol::parse(word)) {
            return Ok(protocol);
        }
        let probe: BaseConsumer = self
            .consumer(&format!("device-manager-probe-{:016x}", rand::random::<u64>()), GroupProtocol::Consumer)
            .create()?;
        let metadata = probe.fetch_metadata(None, timeout)?;
        // Any existing topic will do: only whether the group forms matters. Without a topic the probe can tell nothing.
        let Some(topic) = metadata.topics().iter().find(|topic| !topic.name().starts_with("__")) else {
            return Ok(GroupProtocol::Classic);
        };
        probe.subscribe(&[topic.name()])?;
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if let Some(Err(KafkaError::MessageConsumption(code))) = probe.poll(Duration::from_millis(50))
                && is_unsupported(code)
            {
                return Ok(GroupProtocol::Classic);
            }
            if probe.assignment().is_ok_and(|assignment| assignment.count() > 0) {
                return Ok(GroupProtocol::Consumer);
            }
        }
        Ok(GroupProtocol::Classic)
    }

    fn config_with(&self, own: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in self.properties.iter().filter(|(name, _)| *name != "group.protocol") {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.bootstrap).set("client.id", "device-manager");
        for (name, value) in own {
            config.set(*name, *value);
        }
        config
    }
}

/// How the members of a consumer group agree on who consumes which partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The classic protocol: a client, the group leader, assigns the partitions.
    Classic,
    /// The consumer protocol (KIP-848): the broker assigns the partitions.
    Consumer,
}

impl GroupProtocol {
    /// The value of librdkafka's `group.protocol`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Classic, Self::Consumer].into_iter().find(|protocol| protocol.as_str() == word)
    }
}

/// Returns whether `server` is a host with or without a port, in the form that librdkafka parses. librdkafka skips any other
/// form and only logs a line.
fn is_address(server: &str) -> bool {
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        Some(_) | None => (server, "9092"),
    };
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte));
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Waits until the cluster answers. For commands: they should neither hang silently nor fail while a cluster is still starting.
/// `on_wait` is called once, with the cause, as soon as it is known. Blocks for up to `timeout`.
///
/// # Errors
/// The cluster did not answer in time. The error is the cause, in words for an operator.
pub fn reach(settings: &KafkaSettings, timeout: Duration, mut on_wait: impl FnMut(&str)) -> Result<(), String> {
    let client: BaseConsumer = settings.client().create().map_err(|error: KafkaError| error.to_string())?;
    let mut rebootstrap = Rebootstrap::new(&settings.bootstrap);
    let begun = Instant::now();
    let (mut request_timeout, mut is_reported) = (FIRST_TIMEOUT, false);
    let unknown = || "no broker has answered".to_owned();
    loop {
        let left = timeout.saturating_sub(begun.elapsed());
        if client.fetch_metadata(None, request_timeout.min(left)).is_ok() {
            return Ok(());
        }
        rebootstrap.check(client.client());
        // librdkafka delivers error events only to a client that is polled.
        let _no_message = client.poll(EVENT_POLL);
        let why = cause();
        if begun.elapsed() >= timeout {
            return Err(why.unwrap_or_else(unknown));
        }
        if !is_reported && (why.is_some() || begun.elapsed() > REPORT_AFTER) {
            is_reported = true;
            on_wait(&why.unwrap_or_else(unknown));
        }
        request_timeout = request_timeout.saturating_mul(2);
    }
}

/// Asks the cluster until it answers or the cause of the failure is known. Returns the cause, or `None` if the cluster answers.
/// Blocks for up to `timeout`.
///
/// For a command that has failed: its own client may not be polled, as an admin client is not, and then receives no error
/// events.
#[must_use]
pub fn diagnose(config: &ClientConfig, timeout: Duration) -> Option<String> {
    let client: BaseConsumer = config.create().ok()?;
    let deadline = Instant::now() + timeout;
    let mut known = None;
    while known.is_none() && Instant::now() < deadline {
        if client.fetch_metadata(None, Duration::from_millis(200)).is_ok() {
            return None;
        }
        let _no_message = client.poll(EVENT_POLL);
        known = cause();
    }
    known
}

fn is_unsupported(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(code, Code::UnsupportedVersion | Code::UnsupportedFeature | Code::NotImplemented | Code::Fatal)
}
