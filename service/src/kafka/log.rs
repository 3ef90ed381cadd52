//! Translates librdkafka's log lines and errors into readable text.
//!
//! Every librdkafka client logs through the crate `log`, whatever its context, so all lines pass through this module.
//! [`crate::telemetry`] shows them, and [`cause`] remembers why the brokers could not be reached. File paths, thread names and
//! misleading advice are removed from the lines. Advice is misleading if it names properties that the operator cannot set, or
//! if it suspects a wrong configuration whenever a broker restarts.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use log::Level;

/// A line to show in the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Its log level.
    pub level: Level,
    /// Its text.
    pub text: String,
}

/// How long a cause is remembered. librdkafka repeats a lasting fault at least every 30 s.
const REMEMBERED: Duration = Duration::from_secs(60);

static LAST: Mutex<Option<(Instant, String)>> = Mutex::new(None);

/// Returns why the brokers could not be reached recently, in words for an operator and without secrets.
#[must_use]
pub fn cause() -> Option<String> {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    last.as_ref().filter(|(when, _)| when.elapsed() < REMEMBERED).map(|(_, cause)| cause.clone())
}

/// Returns `what`, followed by the cause if one is known.
#[must_use]
pub fn because(what: &str) -> String {
    cause().map_or_else(|| what.to_owned(), |cause| format!("{what}: {cause}"))
}

/// Returns the readable form of a librdkafka line; `None` for lines of the crate `rdkafka` itself.
#[must_use]
pub fn readable(level: Level, line: &str) -> Option<Line> {
    let line = line.strip_prefix("librdkafka: ")?;
    if let Some(error) = line.strip_prefix("Global error: ") {
        remember(translated(error));
        // The same error was already logged under its facility.
        return Some(Line { level: Level::Debug, text: without_advice(error) });
    }
    let (facility, text) = line.split_once(' ').unwrap_or(("", line));
    let text = text.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(text, |(_, rest)| rest);
    if text.contains(": verify that security.protocol") {
        // librdkafka reports no error event for this: brokers close the connection of a client that does not authenticate.
        remember(Some(closes(broker_of(text))));
    }
    // A closed connection is not an error of this process: the stage reports it if it has to wait for the connection.
    let level = if facility == "FAIL" { level.max(Level::Warn) } else { level };
    Some(Line { level, text: format!("{facility}: {}", without_advice(text)) })
}

fn remember(cause: Option<String>) {
    if let Some(cause) = cause {
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), cause));
    }
}

/// The beginnings of advice, which extends to the end of the line.
const ADVICE: [&str; 5] =
    [": might be caused by", ": verify that security.protocol", ", try increasing", "; verify that", " (after "];

fn without_advice(text: &str) -> String {
    let end = ADVICE.iter().filter_map(|advice| text.find(advice)).min().unwrap_or(text.len());
    let text = text.get(..end).unwrap_or(text);
    let words = without_hints(text);
    words.split(' ').filter(|word| !is_source_location(word)).collect::<Vec<_>>().join(" ")
}

/// Removes `(see …)`, `(adjust …)` and `(install …)`.
fn without_hints(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (") {
        kept.push_str(before);
        let Some((within, behind)) = after.split_once(')') else {
            kept.push_str(" (");
            rest = after;
            break;
        };
        if !["see ", "adjust ", "install "].iter().any(|hint| within.starts_with(hint)) {
            kept.push_str(" (");
            kept.push_str(within);
            kept.push(')');
        }
        rest = behind;
    }
    kept.push_str(rest);
    kept
}

/// Returns whether `word` is a place in a C source file, such as `../ssl/statem/statem_clnt.c:1890:`.
fn is_source_location(word: &str) -> bool {
    let location = word.trim_end_matches(':').rsplit_once(".c:");
    location.is_some_and(|(_, line)| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Translates an error of the form `CODE (its text): BROKER: what happened`. Returns `None` for an unknown code.
fn translated(error: &str) -> Option<String> {
    let (code, rest) = error.split_once(' ')?;
    let (_, happened) = rest.split_once("): ")?;
    let broker = broker_of(happened);
    match code {
        "Resolve" => Some(format!("the host of the broker {broker} is unknown")),
        "Authentication" if happened.contains("mechanism handshake failed") => {
            Some(format!("the broker {broker} does not support this SASL mechanism (KAFKA_SASL_MECHANISM)"))
        }
        "Authentication" => Some(format!(
            "the broker {broker} refuses the user name or the password (KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD)"
        )),
        "Ssl" if happened.contains("certificate verify failed") => {
            Some(format!("the certificate of the broker {broker} is not trusted (KAFKA_SSL_CA_LOCATION)"))
        }
        "Ssl" => {
            Some(format!("the TLS handshake with the broker {broker} failed (KAFKA_SECURITY_PROTOCOL, KAFKA_SSL_…)"))
        }
        "BrokerTransportFailure" if happened.contains("Connection refused") => {
            Some(format!("nothing listens at the broker's address {broker}"))
        }
        "BrokerTransportFailure" if happened.contains("isconnected") || happened.contains("reset by peer") => {
            Some(closes(broker))
        }
        "BrokerTransportFailure" => Some(format!("the broker {broker} does not answer")),
        _ => None,
    }
}

/// Returns `host:9092` from `sasl_ssl://host:9092/bootstrap: what happened`.
fn broker_of(text: &str) -> &str {
    let named = text.split_once(": ").map_or(text, |(named, _)| named);
    named.rsplit("://").next().and_then(|address| address.split('/').next()).unwrap_or(named)
}

fn closes(broker: &str) -> String {
    format!(
        "the broker {broker} closes the connection: it is shutting down, or requires another KAFKA_SECURITY_PROTOCOL"
    )
}

#[cfg(test)]
mod tests {
    use super::is_source_location;

    #[test]
    fn a_source_location_is_a_file_of_c_and_a_line() {
        assert!(is_source_location("../ssl/statem/statem_clnt.c:1890:") && is_source_location("a.c:1"));
        assert!(!["a.c:", "a.c:b:", "a.c", "host:1890:"].into_iter().any(is_source_location));
    }
}
