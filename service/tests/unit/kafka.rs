//! Which environment variables are passed to Kafka clients, and which settings no operator can change.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig,
    consumer::BaseConsumer,
    producer::{BaseProducer, DefaultProducerContext, ThreadedProducer},
};
use service::kafka::{GroupProtocol, KafkaSettings, SettingsError};

fn read(variables: &[(&str, &str)]) -> Result<KafkaSettings, SettingsError> {
    let servers = [("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")];
    let all = servers.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    KafkaSettings::from_env(all)
}

#[test]
fn settings_for_reaching_the_cluster_are_passed_on() {
    let variables = [
        ("KAFKA_SECURITY_PROTOCOL", "sasl_ssl", "security.protocol"),
        ("KAFKA_SSL_CA_LOCATION", "/etc/ssl/ca.pem", "ssl.ca.location"),
        ("KAFKA_SSL_KEY_PASSWORD", "secret", "ssl.key.password"),
        ("KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM", "https", "ssl.endpoint.identification.algorithm"),
        ("KAFKA_ENABLE_SSL_CERTIFICATE_VERIFICATION", "true", "enable.ssl.certificate.verification"),
        ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512", "sasl.mechanism"),
        ("KAFKA_SASL_PASSWORD", "secret", "sasl.password"),
        ("KAFKA_SOCKET_KEEPALIVE_ENABLE", "true", "socket.keepalive.enable"),
        ("KAFKA_METADATA_MAX_AGE_MS", "60000", "metadata.max.age.ms"),
        ("KAFKA_TOPIC_METADATA_REFRESH_INTERVAL_MS", "60000", "topic.metadata.refresh.interval.ms"),
    ];
    let settings = read(&variables.map(|(name, value, _)| (name, value))).unwrap();
    let expected: BTreeMap<String, String> =
        variables.iter().map(|(_, value, property)| ((*property).to_owned(), (*value).to_owned())).collect();
    assert_eq!(settings.properties, expected);
    assert_eq!(settings.ignored_line(), None);
    for config in configs(&settings) {
        for (_, value, property) in variables {
            assert_eq!(config.get(property), Some(value), "{property}");
        }
        assert_eq!(config.get("bootstrap.servers"), Some("kafka:9092"));
    }
}

#[test]
fn other_settings_are_named_once_without_their_values() {
    let variables = [
        // Set by Kubernetes and by container images of Kafka.
        ("KAFKA_PORT", "tcp://10.0.0.7:9092"),
        ("KAFKA_PORT_9092_TCP_ADDR", "canary"),
        ("KAFKA_SERVICE_HOST", "canary"),
        ("KAFKA_SSL_SERVICE_HOST", "canary"),
        ("KAFKA_SSL_PORT", "tcp://canary"),
        ("KAFKA_OPTS", "-Dcanary"),
        ("KAFKA_HEAP_OPTS", "-Xmx1G"),
        // Settings that would break a guarantee.
        ("KAFKA_ACKS", "0"),
        ("KAFKA_REQUEST_REQUIRED_ACKS", "1"),
        ("KAFKA_ENABLE_IDEMPOTENCE", "false"),
        ("KAFKA_MESSAGE_TIMEOUT_MS", "1"),
        ("KAFKA_TRANSACTIONAL_ID", "canary"),
        ("KAFKA_GROUP_ID", "canary"),
        ("KAFKA_ENABLE_AUTO_COMMIT", "true"),
        ("KAFKA_AUTO_OFFSET_RESET", "latest"),
        ("KAFKA_MAX_POLL_INTERVAL_MS", "1"),
        ("KAFKA_ISOLATION_LEVEL", "read_uncommitted"),
        ("KAFKA_PLUGIN_LIBRARY_PATHS", "/tmp/canary.so"),
        ("KAFKA_METADATA_BROKER_LIST", "canary:1"),
        // Settings that would switch verification off.
        ("KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM", "none"),
        ("KAFKA_ENABLE_SSL_CERTIFICATE_VERIFICATION", "false"),
    ];
    let settings = read(&variables).unwrap();
    let line = settings.ignored_line().unwrap();
    for (name, value) in variables {
        assert!(line.contains(name), "{name} is missing in: {line}");
        assert!(value.len() < 5 || !line.contains(value), "{value} is shown in: {line}");
    }
    assert_eq!(line.lines().count(), 1);
    assert!(settings.properties.is_empty());
    assert!(read(&[("KAFKA_HOME", "/opt/kafka"), ("PATH", "/bin")]).unwrap().ignored.is_empty());
}

#[test]
fn a_setting_with_an_invalid_value_is_named_without_the_value() {
    for (name, value) in [("KAFKA_SECURITY_PROTOCOL", "canary"), ("KAFKA_GROUP_PROTOCOL", "canary")] {
        let error = read(&[(name, value)]).err().unwrap();
        assert_eq!(error, SettingsError::Value(name.to_owned()));
        assert!(!error.to_string().contains(value));
    }
    let none = KafkaSettings::from_env([("KAFKA_BOOTSTRAP_SERVERS".to_owned(), String::new())]);
    assert_eq!(none.err(), Some(SettingsError::NoBootstrap));
}

#[test]
fn each_bootstrap_server_is_a_host_with_or_without_a_port() {
    let servers = |text: &str| KafkaSettings::from_env([("KAFKA_BOOTSTRAP_SERVERS".to_owned(), text.to_owned())]).err();
    for known in
        ["kafka", "kafka:9092", "kafka-1.example:1, kafka_2:65535", "10.0.0.1:9092", "[::1]:9092", "[fe80::1%eth0]"]
    {
        assert_eq!(servers(known), None, "{known}");
    }
    for unknown in ["http://kafka:9092", "kafka:0", "kafka:65536", "kafka:port", ":9092", "kafka,,other", "kafka/9092"]
    {
        assert_eq!(servers(unknown), Some(SettingsError::Servers), "{unknown}");
    }
}

#[test]
fn the_protocol_of_the_group_that_an_operator_sets_is_used_without_a_probe() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let settings = read(&[("KAFKA_GROUP_PROTOCOL", protocol.as_str())]).unwrap();
        assert_eq!(settings.group_protocol(Duration::from_millis(1)).ok(), Some(protocol));
    }
}

/// Checks the properties of the created client, whatever the operator has set.
#[test]
fn every_producer_waits_for_all_replicas_and_is_idempotent() {
    let mut settings = KafkaSettings::new("kafka:9092");
    for (property, value) in [("acks", "1"), ("enable.idempotence", "false"), ("message.timeout.ms", "1")] {
        settings.properties.insert(property.to_owned(), value.to_owned());
    }
    let config = settings.producer();
    let native = config.create_native_config().unwrap();
    assert_eq!(native.get("acks").unwrap(), "-1", "all in-sync replicas");
    assert_eq!(native.get("enable.idempotence").unwrap(), "true");
    assert_eq!(native.get("message.timeout.ms").unwrap(), "30000");
    assert_eq!(native.get("queue.buffering.max.kbytes").unwrap(), "65536");
    let _made: BaseProducer = config.create().unwrap();
    let _made: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
}

#[test]
fn no_consumer_commits_or_resets_offsets_automatically() {
    let settings = KafkaSettings::new("kafka:9092");
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let config = settings.consumer("group", protocol);
        let native = config.create_native_config().unwrap();
        for (property, value) in [
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("max.poll.interval.ms", "300000"),
            ("group.protocol", protocol.as_str()),
        ] {
            assert_eq!(native.get(property).unwrap(), value, "{property}");
        }
        let _made: BaseConsumer = config.create().unwrap();
    }
    let classic = settings.consumer("group", GroupProtocol::Classic).create_native_config().unwrap();
    assert_eq!(classic.get("session.timeout.ms").unwrap(), "8000");
    assert_eq!(classic.get("heartbeat.interval.ms").unwrap(), "1000");
    assert_eq!(classic.get("partition.assignment.strategy").unwrap(), "cooperative-sticky");
}

fn configs(settings: &KafkaSettings) -> [ClientConfig; 4] {
    [
        settings.client(),
        settings.producer(),
        settings.consumer("group", GroupProtocol::Classic),
        settings.consumer("group", GroupProtocol::Consumer),
    ]
}
