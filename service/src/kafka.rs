//! Settings of all Kafka clients in one place.

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

/// How long a cluster is first asked by [`reach`], then twice as long with each try: one that is slow answers only the longer ones.
const FIRST_ANSWER: Duration = Duration::from_millis(200);
/// How long [`reach`] listens between two tries.
const HEAR: Duration = Duration::from_millis(50);
/// After how long [`reach`] says that it waits where nobody knows why.
const SAY_AFTER: Duration = Duration::from_secs(2);

/// Where the cluster is, and what the operator passes on to librdkafka.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port` pairs, separated by commas.
    pub bootstrap: String,
    /// librdkafka properties by name. What this project sets itself wins.
    pub properties: BTreeMap<String, String>,
    /// `KAFKA_…` variables that were found and are not passed on.
    pub ignored: Vec<String>,
}

/// Why the environment gives no settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No broker is named.
    #[error("KAFKA_BOOTSTRAP_SERVERS is not set: name the brokers as host:port,host:port")]
    NoBootstrap,
    /// The brokers are named in a form that is none. It may hold a password, so it is not shown.
    #[error("KAFKA_BOOTSTRAP_SERVERS is malformed: name the brokers as host:port,host:port")]
    Servers,
    /// A variable has a value that the Kafka client does not take. It may be a secret, so it is not shown.
    #[error("the value of {0} is none that the Kafka client takes (see its librdkafka property)")]
    Value(String),
}

/// For how long the group waits for a member that is gone, under the classic protocol. Under the other one the brokers say.
pub const SESSION_TIMEOUT_MS: u64 = 8_000;
/// How often a member says that it is there, under the classic protocol. The others hear of its end by their own next word, twice: the
/// first rebalance takes, the second gives.
pub const HEARTBEAT_INTERVAL_MS: u64 = 1_000;

impl KafkaSettings {
    /// Reads `KAFKA_BOOTSTRAP_SERVERS`, `KAFKA_GROUP_PROTOCOL`, and of every other `KAFKA_<PROPERTY>` those that say how to reach
    /// the cluster: `KAFKA_SECURITY_PROTOCOL` becomes `security.protocol`. The rest is left in [`KafkaSettings::ignored`].
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

    /// Settings without any property of the operator's.
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned(), properties: BTreeMap::new(), ignored: Vec::new() }
    }

    /// The one line that is said of variables that are ignored.
    #[must_use]
    pub fn ignored_line(&self) -> Option<String> {
        (!self.ignored.is_empty()).then(|| {
            format!(
                "ignored: {}. Only what says how to reach Kafka is passed on: KAFKA_SECURITY_PROTOCOL, KAFKA_SSL_…, KAFKA_SASL_…, \
                 KAFKA_SOCKET_…, KAFKA_METADATA_…, and nothing that switches verification off",
                self.ignored.join(", ")
            )
        })
    }

    /// Any client.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        self.with(&[])
    }

    /// A producer that loses and doubles nothing: `acks=all`, idempotent, a bounded queue. A delivery that cannot be
    /// made within 30 s fails; the ingress sets a shorter time.
    #[must_use]
    pub fn producer(&self) -> ClientConfig {
        self.with(&[
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

    /// A consumer of `group` that commits only what it is told to, and whose queue is bounded.
    #[must_use]
    pub fn consumer(&self, group: &str, protocol: GroupProtocol) -> ClientConfig {
        let mut config = self.with(&[
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
            // The brokers say how long a session is; librdkafka refuses to be told.
            GroupProtocol::Consumer => {}
            GroupProtocol::Classic => {
                config.set("partition.assignment.strategy", "cooperative-sticky");
                config.set("session.timeout.ms", SESSION_TIMEOUT_MS.to_string());
                config.set("heartbeat.interval.ms", HEARTBEAT_INTERVAL_MS.to_string());
            }
        }
        config
    }

    /// Which group protocol the cluster speaks: `group.protocol` if the operator set it, else what the brokers' answer
    /// to a probe says. Blocks for up to `timeout`.
    ///
    /// # Errors
    /// The cluster does not answer in time.
    pub fn group_protocol(&self, timeout: Duration) -> Result<GroupProtocol, KafkaError> {
        if let Some(asked) = self.properties.get("group.protocol").and_then(|word| GroupProtocol::parse(word)) {
            return Ok(asked);
        }
        let probe: BaseConsumer = self
            .consumer(&format!("device-manager-probe-{:016x}", rand::random::<u64>()), GroupProtocol::Consumer)
            .create()?;
        let metadata = probe.fetch_metadata(None, timeout)?;
        // Any existing topic does: only whether the group forms matters. A cluster without topics says nothing.
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

    fn with(&self, own: &[(&str, &str)]) -> ClientConfig {
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

/// How a consumer group agrees on who reads what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The client-side protocol.
    Classic,
    /// KIP-848: the broker decides.
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

/// Whether it is a host, with a port or without, as librdkafka reads it: anything else it leaves out with a line in the log.
fn is_address(server: &str) -> bool {
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        Some(_) | None => (server, "9092"),
    };
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte));
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Waits until the cluster answers; for commands, so that they neither hang without a word nor give up a cluster that just starts.
/// What is waited for is said once, as soon as it is known. Blocks for up to `timeout`.
///
/// # Errors
/// The cluster did not answer in time: why, in words for an operator.
pub fn reach(settings: &KafkaSettings, timeout: Duration, mut waits: impl FnMut(&str)) -> Result<(), String> {
    let client: BaseConsumer = settings.client().create().map_err(|error: KafkaError| error.to_string())?;
    let mut rebootstrap = Rebootstrap::new(&settings.bootstrap);
    let begun = Instant::now();
    let (mut patience, mut is_said) = (FIRST_ANSWER, false);
    let unknown = || "no broker has said anything".to_owned();
    loop {
        let left = timeout.saturating_sub(begun.elapsed());
        if client.fetch_metadata(None, patience.min(left)).is_ok() {
            return Ok(());
        }
        rebootstrap.check(client.client());
        // Only a client that is polled hears why.
        let _no_message = client.poll(HEAR);
        let why = cause();
        if begun.elapsed() >= timeout {
            return Err(why.unwrap_or_else(unknown));
        }
        if !is_said && (why.is_some() || begun.elapsed() > SAY_AFTER) {
            is_said = true;
            waits(&why.unwrap_or_else(unknown));
        }
        patience = patience.saturating_mul(2);
    }
}

/// Asks the cluster until it answers or says why it does not. Blocks for up to `timeout`.
///
/// For the command that failed: a client that is not polled, as one for administration, does not hear why.
#[must_use]
pub fn diagnose(config: &ClientConfig, timeout: Duration) -> Option<String> {
    let client: BaseConsumer = config.create().ok()?;
    let deadline = Instant::now() + timeout;
    let mut known = None;
    while known.is_none() && Instant::now() < deadline {
        if client.fetch_metadata(None, Duration::from_millis(200)).is_ok() {
            return None;
        }
        let _no_message = client.poll(HEAR);
        known = cause();
    }
    known
}

fn is_unsupported(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(code, Code::UnsupportedVersion | Code::UnsupportedFeature | Code::NotImplemented | Code::Fatal)
}
