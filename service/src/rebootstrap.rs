//! Rebootstrap: a Kafka client that has lost all its brokers starts again from its bootstrap servers.
//!
//! A broker that shuts down is fenced first. It may then answer a metadata request with its topics but without any broker. On
//! such an answer librdkafka 2.12 drops every broker it knows, stops the timer that would rebootstrap, and never connects again
//! (librdkafka issue 5301). Therefore each long-lived client is checked regularly. If it has lost all brokers, the bootstrap
//! servers are added again. The client keeps its group membership, its queue and its producer id.

use std::{
    ffi::{CString, c_int},
    ptr,
    time::{Duration, Instant},
};

use rdkafka::{bindings, client::Client, client::ClientContext};
use tokio_util::task::AbortOnDropHandle;

const EVERY: Duration = Duration::from_secs(1);

/// The state of the check of one client.
pub struct Rebootstrap {
    servers: CString,
    checked: Instant,
    /// How many consecutive checks found no broker.
    without_broker: u32,
}

impl Rebootstrap {
    /// Creates a check for a client with these bootstrap servers.
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        // A host name cannot contain NUL: librdkafka was created with the same text and could not have resolved it.
        let servers = CString::new(bootstrap).unwrap_or_default();
        Self { servers, checked: Instant::now(), without_broker: 0 }
    }

    /// Adds the bootstrap servers again if the client knows no broker of the cluster. Returns whether they were added. Checks
    /// at most once a second, however often it is called.
    ///
    /// A client that is still contacting its bootstrap servers knows no broker either; adding the servers again does not
    /// disturb it. But librdkafka stores each added text forever, so the pause doubles: an outage of one day adds about twenty
    /// texts.
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
            tracing::info!("the client knows no broker: adding the bootstrap servers again");
            add(client, &self.servers);
        }
        names
    }

    /// Calls `check` once a second until the returned handle is dropped.
    pub fn watch(mut self, mut check: impl FnMut(&mut Self) + Send + 'static) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                check(&mut self);
            }
        }))
    }
}

/// Returns how many brokers the client has learned from the cluster's metadata.
#[expect(unsafe_code, reason = "rdkafka has no safe wrapper for these two functions")]
fn learned<C: ClientContext>(client: &Client<C>) -> usize {
    let mut count = 0;
    // SAFETY: the client is alive while it is borrowed. The array belongs to this function and is freed without being read.
    unsafe {
        let ids = bindings::rd_kafka_brokers_learned_ids(client.native_ptr(), ptr::from_mut(&mut count));
        bindings::rd_kafka_mem_free(ptr::null_mut(), ids.cast());
    }
    count
}

#[expect(unsafe_code, reason = "rdkafka has no safe wrapper for this function")]
fn add<C: ClientContext>(client: &Client<C>, servers: &CString) {
    // SAFETY: the client is alive while it is borrowed. The text ends with NUL and librdkafka copies it.
    let _known_already: c_int = unsafe { bindings::rd_kafka_brokers_add(client.native_ptr(), servers.as_ptr()) };
}
