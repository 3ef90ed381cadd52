//! Settings of all Kafka clients in one place.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

/// Where the cluster is, and what the operator passes on to librdkafka.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port` pairs, separated by commas.
    pub bootstrap: String,
    /// librdkafka properties by name; they win over this project's own choices.
    pub properties: BTreeMap<String, String>,
}

/// `KAFKA_BOOTSTRAP_SERVERS` is not set.
#[derive(Debug, thiserror::Error)]
#[error("KAFKA_BOOTSTRAP_SERVERS is not set: name the brokers as host:port,host:port")]
pub struct NoBootstrap;

/// Settings that librdkafka refuses on the client under the `consumer` group protocol, with the broker's name of each.
const BROKER_SIDE: [(&str, &str); 3] = [
    ("session.timeout.ms", "group.consumer.session.timeout.ms"),
    ("heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms"),
    ("partition.assignment.strategy", "group.consumer.assignors"),
];

impl KafkaSettings {
    /// Reads `KAFKA_BOOTSTRAP_SERVERS` and every other `KAFKA_<PROPERTY>`: `KAFKA_SECURITY_PROTOCOL` becomes
    /// `security.protocol`.
    ///
    /// # Errors
    /// [`NoBootstrap`].
    pub fn from_env(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, NoBootstrap> {
        let mut properties: BTreeMap<String, String> = variables
            .into_iter()
            .filter_map(|(name, value)| {
                let property = name.strip_prefix("KAFKA_")?.to_ascii_lowercase().replace('_', ".");
                // KAFKA_HOME names the jars of the embedded broker, not a property of a client.
                (property != "home").then_some((property, value))
            })
            .collect();
        let bootstrap =
            properties.remove("bootstrap.servers").filter(|servers| !servers.is_empty()).ok_or(NoBootstrap)?;
        Ok(Self { bootstrap, properties })
    }

    /// Settings without any property of the operator's.
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned(), properties: BTreeMap::new() }
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
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("fetch.queue.backoff.ms", "5"),
            ("queued.max.messages.kbytes", "8192"),
            ("fetch.message.max.bytes", "1048576"),
            ("fetch.max.bytes", "4194304"),
            ("enable.partition.eof", "false"),
        ]);
        config.set("group.protocol", protocol.as_str());
        if protocol == GroupProtocol::Consumer {
            for (client_side, broker_side) in BROKER_SIDE {
                if self.properties.contains_key(client_side) {
                    tracing::warn!(
                        client_side,
                        broker_side,
                        "under the consumer group protocol the broker decides this"
                    );
                    config.remove(client_side);
                }
            }
        } else {
            config.set("partition.assignment.strategy", "cooperative-sticky");
        }
        config
    }

    /// Which group protocol the cluster speaks: `group.protocol` if the operator set it, else what the brokers' answer
    /// to a probe says. Blocks for up to `timeout`.
    ///
    /// # Errors
    /// The cluster does not answer in time.
    pub fn group_protocol(&self, timeout: Duration) -> Result<GroupProtocol, KafkaError> {
        match self.properties.get("group.protocol").map(String::as_str) {
            Some("classic") => return Ok(GroupProtocol::Classic),
            Some("consumer") => return Ok(GroupProtocol::Consumer),
            Some(_) | None => {}
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
        let deadline = std::time::Instant::now() + timeout;
        while std::time::Instant::now() < deadline {
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

    fn with(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("client.id", "device-manager");
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in self.properties.iter().filter(|(name, _)| *name != "group.protocol") {
            config.set(name, value);
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
}

fn is_unsupported(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(code, Code::UnsupportedVersion | Code::UnsupportedFeature | Code::NotImplemented | Code::Fatal)
}
