//! A way back for a Kafka client that was told of a cluster without brokers.
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

use crate::kafka::KafkaSettings;

const EVERY: Duration = Duration::from_secs(1);

/// What is remembered of one client between two looks.
pub struct Recall {
    servers: CString,
    looked: Instant,
    /// How many looks in a row found no broker.
    blind: u32,
}

impl Recall {
    /// For a client with these settings.
    #[must_use]
    pub fn new(settings: &KafkaSettings) -> Self {
        // No host name has a NUL: librdkafka, which was given the same text, would not have found it.
        let servers = CString::new(settings.bootstrap.as_str()).unwrap_or_default();
        Self { servers, looked: Instant::now(), blind: 0 }
    }

    /// Names the bootstrap servers again if the client knows no broker of the cluster. Whether it did. Looks once a second,
    /// however often it is called.
    ///
    /// A client that still asks its bootstrap servers knows none either, and is not disturbed by hearing their names; but
    /// librdkafka keeps each text it was told. So the pause doubles: a servers' outage of a day is some twenty texts.
    pub fn look<C: ClientContext>(&mut self, client: &Client<C>) -> bool {
        if self.looked.elapsed() < EVERY {
            return false;
        }
        self.looked = Instant::now();
        if learned(client) > 0 {
            self.blind = 0;
            return false;
        }
        self.blind = self.blind.saturating_add(1);
        let names = self.blind > 1 && self.blind.is_power_of_two();
        if names {
            tracing::info!("no broker is known: starting again from the bootstrap servers");
            add(client, &self.servers);
        }
        names
    }

    /// Looks again and again until the handle is dropped.
    pub fn keep(mut self, mut look: impl FnMut(&mut Self) + Send + 'static) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                look(&mut self);
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
