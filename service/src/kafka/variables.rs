//! Which `KAFKA_…` variables of the environment reach librdkafka.
//!
//! What says how to reach the cluster does. Nothing else: `KAFKA_ACKS=0` would break what a 2xx promises, and Kubernetes puts
//! `KAFKA_PORT` and `KAFKA_SERVICE_HOST` into every container of a namespace that has a service named `kafka`.

use std::collections::BTreeMap;

use rdkafka::{ClientConfig, error::KafkaError, types::RDKafkaConfRes};

use super::{GroupProtocol, SettingsError};

/// What begins with one of these is passed on, where librdkafka knows it.
const PASSED_ON: [&str; 5] = ["ssl.", "sasl.", "socket.", "metadata.", "topic.metadata."];
/// Another name of librdkafka's for `bootstrap.servers`.
const SERVERS_TOO: &str = "metadata.broker.list";

/// What the variables say.
pub(super) struct Variables {
    pub(super) bootstrap: Option<String>,
    pub(super) properties: BTreeMap<String, String>,
    /// The names of variables that nothing is made of.
    pub(super) ignored: Vec<String>,
}

pub(super) fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Variables, SettingsError> {
    let mut read = Variables { bootstrap: None, properties: BTreeMap::new(), ignored: Vec::new() };
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix("KAFKA_") else { continue };
        let property = rest.to_ascii_lowercase().replace('_', ".");
        match property.as_str() {
            "bootstrap.servers" => read.bootstrap = Some(value).filter(|servers| !servers.is_empty()),
            // The jars of the embedded broker.
            "home" => {}
            "group.protocol" if GroupProtocol::parse(&value).is_none() => return Err(SettingsError::Value(name)),
            "group.protocol" => drop(read.properties.insert(property, value)),
            _ if is_passed_on(&property, &value) && is_known(&property, &value, &name)? => {
                read.properties.insert(property, value);
            }
            _ => read.ignored.push(name),
        }
    }
    read.ignored.sort_unstable();
    Ok(read)
}

fn is_passed_on(property: &str, value: &str) -> bool {
    match property {
        "security.protocol" => true,
        // They may be named, but not switched off.
        "ssl.endpoint.identification.algorithm" => value.eq_ignore_ascii_case("https"),
        "enable.ssl.certificate.verification" => value.eq_ignore_ascii_case("true"),
        SERVERS_TOO => false,
        other => PASSED_ON.iter().any(|beginning| other.starts_with(beginning)),
    }
}

/// Whether librdkafka has a property of this name: a service named `kafka-ssl` injects `KAFKA_SSL_PORT`. Its own words about
/// a value that it does not take would show the value.
fn is_known(property: &str, value: &str, variable: &str) -> Result<bool, SettingsError> {
    match ClientConfig::new().set(property, value).create_native_config() {
        Ok(_) => Ok(true),
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => Ok(false),
        Err(_) => Err(SettingsError::Value(variable.to_owned())),
    }
}
