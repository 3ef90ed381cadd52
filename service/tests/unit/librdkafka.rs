//! Lines that librdkafka really writes, and the text that they are translated to.

use std::time::Duration;

use ::log::Level;
use service::{
    kafka::{KafkaSettings, because, cause, diagnose, log::readable},
    telemetry,
};

use crate::log as listened;

/// The line as librdkafka logs it, its translated level, and its translated text.
const LINES: [(&str, Level, &str); 9] = [
    (
        "librdkafka: FAIL [thrd:127.0.0.1:1/bootstrap]: 127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection \
         refused (after 0ms in state CONNECT, 1 identical error(s) suppressed)",
        Level::Warn,
        "FAIL: 127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused",
    ),
    (
        "librdkafka: FAIL [thrd:localhost:9092/1]: localhost:9092/1: Disconnected while requesting ApiVersion: might be caused by \
         incorrect security.protocol configuration (connecting to a SSL listener?) or broker version is < 0.10 (see \
         api.version.request) (after 3ms in state APIVERSION_QUERY)",
        Level::Warn,
        "FAIL: localhost:9092/1: Disconnected while requesting ApiVersion",
    ),
    (
        "librdkafka: FAIL [thrd:sasl_plaintext://k:9092/bootstrap]: sasl_plaintext://k:9092/bootstrap: SASL SCRAM-SHA-256 \
         mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: PLAIN (after 8ms in \
         state AUTH_HANDSHAKE)",
        Level::Warn,
        "FAIL: sasl_plaintext://k:9092/bootstrap: SASL SCRAM-SHA-256 mechanism handshake failed: Broker: Unsupported SASL \
         mechanism: broker's supported mechanisms: PLAIN",
    ),
    (
        "librdkafka: FAIL [thrd:ssl://k:9092/bootstrap]: ssl://k:9092/bootstrap: SSL handshake failed: \
         ../ssl/statem/statem_clnt.c:1890: error:0A000086:SSL routines::certificate verify failed: broker certificate could not \
         be verified, verify that ssl.ca.location is correctly configured or root CA certificates are installed (install \
         ca-certificates package) (after 5ms in state SSL_HANDSHAKE)",
        Level::Warn,
        "FAIL: ssl://k:9092/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker \
         certificate could not be verified, verify that ssl.ca.location is correctly configured or root CA certificates are \
         installed",
    ),
    (
        "librdkafka: MAXPOLL [thrd:main]: Application maximum poll interval (300000ms) exceeded by 88ms (adjust \
         max.poll.interval.ms for long-running message processing): leaving group",
        Level::Error,
        "MAXPOLL: Application maximum poll interval (300000ms) exceeded by 88ms: leaving group",
    ),
    (
        "librdkafka: SESSTMOUT [thrd:main]: Consumer group session timed out (in join-state steady) after 10003 ms without a \
         successful response from the group coordinator (broker 1, last error was Success): revoking assignment and rejoining \
         group",
        Level::Error,
        "SESSTMOUT: Consumer group session timed out (in join-state steady) after 10003 ms without a successful response from \
         the group coordinator (broker 1, last error was Success): revoking assignment and rejoining group",
    ),
    (
        "librdkafka: CONFWARN [thrd:app]: Configuration property sasl.password only applies when security.protocol is set to \
         SASL_..",
        Level::Error,
        "CONFWARN: Configuration property sasl.password only applies when security.protocol is set to SASL_..",
    ),
    ("librdkafka: FATAL (unclosed", Level::Error, "FATAL: (unclosed"),
    (
        "librdkafka: Global error: AllBrokersDown (Local: All broker connections are down): 1/1 brokers are down",
        Level::Debug,
        "AllBrokersDown (Local: All broker connections are down): 1/1 brokers are down",
    ),
];

/// The error that the client reports, and the cause that an operator reads on `/ready`. The last cause is a global variable of the
/// process, so a single test checks all of them.
const CAUSES: [(&str, &str); 9] = [
    (
        "BrokerTransportFailure (Local: Broker transport failure): 127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: \
         Connection refused (after 0ms in state CONNECT)",
        "nothing listens at the broker's address 127.0.0.1:1",
    ),
    (
        "Resolve (Local: Host resolution failure): sasl_ssl://nohost.invalid:9092/bootstrap: Failed to resolve \
         'nohost.invalid:9092': Name or service not known (after 1ms in state CONNECT)",
        "the host of the broker nohost.invalid:9092 is unknown",
    ),
    (
        "Authentication (Local: Authentication failure): sasl_plaintext://k:9092/bootstrap: SASL authentication error: \
         Authentication failed: Invalid username or password (after 300ms in state AUTH_REQ)",
        "the broker k:9092 refuses the user name or the password (KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD)",
    ),
    (
        "Authentication (Local: Authentication failure): sasl_plaintext://k:9092/bootstrap: SASL authentication error: \
         Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256 (after 6ms in \
         state AUTH_REQ)",
        "the broker k:9092 refuses the user name or the password (KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD)",
    ),
    (
        "Authentication (Local: Authentication failure): sasl_plaintext://k:9092/bootstrap: SASL SCRAM-SHA-256 mechanism \
         handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: PLAIN (after 8ms in state \
         AUTH_HANDSHAKE)",
        "the broker k:9092 does not support this SASL mechanism (KAFKA_SASL_MECHANISM)",
    ),
    (
        "Ssl (Local: SSL error): ssl://k:9092/bootstrap: SSL handshake failed: ssl/statem/statem_clnt.c:1890: \
         error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified",
        "the certificate of the broker k:9092 is not trusted (KAFKA_SSL_CA_LOCATION)",
    ),
    (
        "Ssl (Local: SSL error): ssl://k:9092/bootstrap: SSL handshake failed: error:0A00010B:SSL routines::wrong version \
         number: connecting to a PLAINTEXT broker listener?",
        "the TLS handshake with the broker k:9092 failed (KAFKA_SECURITY_PROTOCOL, KAFKA_SSL_…)",
    ),
    (
        "BrokerTransportFailure (Local: Broker transport failure): k:9092/1: Disconnected (after 9ms in state UP)",
        "the broker k:9092 closes the connection: it is shutting down, or requires another KAFKA_SECURITY_PROTOCOL",
    ),
    (
        "BrokerTransportFailure (Local: Broker transport failure): k:9092/1: Connection setup timed out in state CONNECT",
        "the broker k:9092 does not answer",
    ),
];

#[test]
fn log_lines_have_no_paths_threads_or_misleading_advice() {
    for (said, level, shown) in LINES {
        let line = readable(Level::Error, said).unwrap();
        assert_eq!((line.level, line.text.as_str()), (level, shown));
    }
    assert_eq!(readable(Level::Error, "Ignored event of the crate"), None);
}

#[test]
fn the_cause_of_an_outage_is_named() {
    for (reported, expected) in CAUSES {
        let line = readable(Level::Error, &format!("librdkafka: Global error: {reported}")).unwrap();
        assert_eq!(line.level, Level::Debug, "the line was already logged under its facility");
        assert_eq!(cause().as_deref(), Some(expected));
        assert_eq!(because("Kafka does not answer"), format!("Kafka does not answer: {expected}"));
    }
    // For this line librdkafka reports no error event.
    let hung_up = "librdkafka: FAIL [thrd:127.0.0.1:9/bootstrap]: 127.0.0.1:9/bootstrap: Disconnected: verify that \
                   security.protocol is correctly configured, broker might require SASL authentication (after 1ms in state UP)";
    let line = readable(Level::Info, hung_up).unwrap();
    assert_eq!((line.level, line.text.as_str()), (Level::Info, "FAIL: 127.0.0.1:9/bootstrap: Disconnected"));
    assert!(cause().unwrap().contains("the broker 127.0.0.1:9 closes the connection"));
    // A real client gives the same result.
    listened::listen();
    telemetry::init_silence();
    let mut client = KafkaSettings::new("127.0.0.1:1").client();
    client.set("group.id", "diagnosed");
    assert_eq!(
        diagnose(&client, Duration::from_secs(10)).as_deref(),
        Some("nothing listens at the broker's address 127.0.0.1:1")
    );
}
