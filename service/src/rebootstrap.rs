//! Rebootstrap: a Kafka client that knows no broker any more starts again from its bootstrap servers.
//!
//! A broker that shuts down is fenced first, and may then answer a metadata request with its topics and no broker at all.
//! librdkafka 2.12 drops every broker it knows at that, stops the timer that would start anew, and never connects to
//! anything again (librdkafka issue 5301). So each client that lives long is looked at, and told its bootstrap servers
//! again when it has forgotten all others. It keeps its place in its group, its queue and its producer id.

use std::{
    ffi::{CString, c_int},
    ptr,
    time::{Duration, Instant},
};

use rdkafka::{bindings, client::Client, client::ClientContext};
use tokio_util::task::AbortOnDropHandle;

const EVERY: Duration = Duration::from_secs(1);

/// What is remembered of one client between two checks.
pub struct Rebootstrap {
    servers: CString,
    checked: Instant,
    /// How many checks in a row found no broker.
    without_broker: u32,
}

impl Rebootstrap {
    /// For a client with these bootstrap servers.
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        // No host name has a NUL: librdkafka, which was given the same text, would not have found it.
        let servers = CString::new(bootstrap).unwrap_or_default();
        Self { servers, checked: Instant::now(), without_broker: 0 }
    }

    /// Names the bootstrap servers again if the client knows no broker of the cluster. Whether it did. Checks once a second,
    /// however often it is called.
    ///
    /// A client that still asks its bootstrap servers knows none either, and is not disturbed by hearing their names; but
    /// librdkafka keeps each text it was told. So the pause doubles: a servers' outage of a day is some twenty texts.
    pub fn check<C: ClientContext>(&mut self, client: &Client<C>) -> bool {
        if self.checked.elapsed() < EVERY {
            return false;
        }
        self.checked = Instant::now();
        if learned(client) > 0 {
            self.without_broker = 0;
            return false;
        }
        self.without_broker = self.without_broker.saturating_add(1);
        let names = self.without_broker > 1 && self.without_broker.is_power_of_two();
        if names {
            tracing::info!("no broker is known: starting again from the bootstrap servers");
            add(client, &self.servers);
        }
        names
    }

    /// Checks again and again until the handle is dropped.
    pub fn watch(mut self, mut check: impl FnMut(&mut Self) + Send + 'static) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                check(&mut self);
            }
        }))
    }
}

/// How many brokers the client knows from the cluster's metadata.
#[expect(unsafe_code, reason = "rdkafka has no safe name for these two functions")]
fn learned<C: ClientContext>(client: &Client<C>) -> usize {
    let mut count = 0;
    // SAFETY: the client is alive while it is borrowed. The array is ours to free; it is not read.
    unsafe {
        let ids = bindings::rd_kafka_brokers_learned_ids(client.native_ptr(), ptr::from_mut(&mut count));
        bindings::rd_kafka_mem_free(ptr::null_mut(), ids.cast());
    }
    count
}

#[expect(unsafe_code, reason = "rdkafka has no safe name for this function")]
fn add<C: ClientContext>(client: &Client<C>, servers: &CString) {
    // SAFETY: the client is alive while it is borrowed; the text ends with NUL and is copied.
    let _known_already: c_int = unsafe { bindings::rd_kafka_brokers_add(client.native_ptr(), servers.as_ptr()) };
}
