//! Which `KAFKA_…` environment variables are passed to librdkafka.
//!
//! Only variables that say how to reach the cluster are passed. `KAFKA_ACKS=0`, for example, would break the promise of a 2xx
//! response. And Kubernetes sets `KAFKA_PORT` and `KAFKA_SERVICE_HOST` in every container of a namespace that has a service
//! named `kafka`.

use std::collections::BTreeMap;

use rdkafka::{ClientConfig, error::KafkaError, types::RDKafkaConfRes};

use super::{GroupProtocol, SettingsError};

/// Properties with one of these prefixes are passed if librdkafka knows them.
const PASSED_ON: [&str; 5] = ["ssl.", "sasl.", "socket.", "metadata.", "topic.metadata."];
/// librdkafka's alias for `bootstrap.servers`.
const SERVERS_TOO: &str = "metadata.broker.list";

/// The settings that the variables contain.
pub(super) struct Variables {
    pub(super) bootstrap: Option<String>,
    pub(super) properties: BTreeMap<String, String>,
    /// The names of the variables that are not used.
    pub(super) ignored: Vec<String>,
}

pub(super) fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Variables, SettingsError> {
    let mut read = Variables { bootstrap: None, properties: BTreeMap::new(), ignored: Vec::new() };
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix("KAFKA_") else { continue };
        let property = rest.to_ascii_lowercase().replace('_', ".");
        match property.as_str() {
            "bootstrap.servers" => read.bootstrap = Some(value).filter(|servers| !servers.is_empty()),
            // The installation directory of the embedded broker.
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
        // These may be set to their secure value only: the checks cannot be switched off.
        "ssl.endpoint.identification.algorithm" => value.eq_ignore_ascii_case("https"),
        "enable.ssl.certificate.verification" => value.eq_ignore_ascii_case("true"),
        SERVERS_TOO => false,
        other => PASSED_ON.iter().any(|beginning| other.starts_with(beginning)),
    }
}

/// Returns whether librdkafka has a property of this name; a service named `kafka-ssl` injects `KAFKA_SSL_PORT`, for example.
/// The error names the variable only, because librdkafka's own error message would show the value.
fn is_known(property: &str, value: &str, variable: &str) -> Result<bool, SettingsError> {
    match ClientConfig::new().set(property, value).create_native_config() {
        Ok(_) => Ok(true),
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => Ok(false),
        Err(_) => Err(SettingsError::Value(variable.to_owned())),
    }
}
