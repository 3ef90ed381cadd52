//! Whether the sink works: what is known of both sides and of the group comes to one sentence.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use schemas::topic::Topics;
use service::{group, health::StageHealth};

use super::{
    gathered::Handed,
    group::Context,
    owned::{Owned, State},
};
use crate::{batch::Place, decode::Unreadable};

/// How long it may take to begin a partition.
const PLACE_LONG: Duration = Duration::from_secs(5);
/// How long Postgres may take for a batch before it is spoken of.
const WRITE_LONG: Duration = Duration::from_secs(5);
/// How long records may wait while no partition gets on.
const LAG_LONG: Duration = Duration::from_secs(8);
/// How long a group may leave a new member without a word. One that has more members than partitions says nothing at all.
const GROUP_LONG: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How this member stands with its group.
enum Membership {
    /// It has not joined, or was put out.
    Outside,
    /// It has joined and was given nothing yet. Where there are more sinks than partitions, it stays so.
    Joined(Instant),
    /// The group has spoken.
    Given,
}

/// What is known.
pub(super) struct Watch {
    membership: Membership,
    /// Since when partitions are to be begun, and why they are not.
    placing: Option<(Instant, Option<String>)>,
    /// What the writer waits for.
    writer: Option<String>,
    /// What Kafka last said that is no answer.
    kafka: Option<String>,
    /// Since when records wait while none is written.
    lag: Option<Instant>,
    looked: Instant,
}

impl Watch {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { membership: Membership::Outside, placing: None, writer: None, kafka: None, lag: None, looked: now }
    }

    pub(super) fn group_gave(&mut self) {
        self.membership = Membership::Given;
    }

    /// All partitions are begun, as far as Kafka and Postgres agree about them.
    pub(super) fn placed(&mut self) {
        self.placing = None;
    }

    /// Partitions could not be begun.
    pub(super) fn place_waits(&mut self, reason: String) {
        self.placing = Some((self.placing.take().map_or_else(Instant::now, |(since, _)| since), Some(reason)));
    }

    pub(super) fn writer_waits(&mut self, reason: String) {
        self.writer = Some(reason);
    }

    pub(super) fn is_writer_waiting(&self) -> bool {
        self.writer.is_some()
    }

    /// A batch stands in Postgres.
    pub(super) fn written(&mut self, moved: bool) {
        self.writer = None;
        if moved {
            self.lag = None;
        }
    }

    pub(super) fn kafka_failed(&mut self, reason: String) {
        self.kafka = Some(reason);
    }

    /// Kafka answers, and records wait or not.
    pub(super) fn kafka_answers(&mut self, has_lag: bool) {
        self.kafka = None;
        self.lag = has_lag.then(|| self.lag.unwrap_or_else(Instant::now));
    }

    /// Says how it is, now and then.
    pub(super) fn report(
        &mut self,
        consumer: &BaseConsumer<Context>,
        (owned, handed): (&Owned, &Handed),
        (topics, health): (&Topics, &StageHealth),
    ) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        self.look(group::is_member(consumer.client()), owned);
        let held: Vec<String> = owned.iter().filter_map(|(place, state)| waits_at(topics, place, state)).collect();
        #[expect(clippy::cast_precision_loss, reason = "no sink has 2^52 partitions")]
        metrics::gauge!("device_manager_sink_partitions_blocked").set(held.len() as f64);
        health.detail("partitions", &owned.iter().count().to_string());
        let all_held = !held.is_empty() && held.len() == owned.iter().count();
        match self.waits(handed) {
            Some(reason) => health.waiting(&reason),
            None if all_held => health.waiting(&format!("all partitions wait: {}", sentence(&held))),
            None if !held.is_empty() => health.degraded(&sentence(&held)),
            None => health.ready(),
        }
    }

    fn look(&mut self, is_member: bool, owned: &Owned) {
        match self.membership {
            Membership::Outside if is_member => self.membership = Membership::Joined(Instant::now()),
            Membership::Joined(_) | Membership::Given if !is_member => self.membership = Membership::Outside,
            Membership::Outside | Membership::Joined(_) | Membership::Given => {}
        }
        let places = owned.iter().any(|(_, state)| matches!(state, State::Placing));
        self.placing = places.then(|| self.placing.take().unwrap_or_else(|| (Instant::now(), None)));
    }

    fn waits(&self, handed: &Handed) -> Option<String> {
        if let Some(reason) = self.writer.as_ref().or(self.kafka.as_ref()) {
            return Some(reason.clone());
        }
        if handed.busy() > WRITE_LONG {
            return Some("Postgres has not answered for some seconds".to_owned());
        }
        match &self.placing {
            Some((_, Some(reason))) => return Some(reason.clone()),
            Some((since, None)) if since.elapsed() > PLACE_LONG => return Some("an assignment is pending".to_owned()),
            Some((_, None)) | None => {}
        }
        match self.membership {
            Membership::Outside => return Some("the sink is no member of its consumer group".to_owned()),
            Membership::Joined(since) if since.elapsed() < GROUP_LONG => {
                return Some("waits for partitions".to_owned());
            }
            Membership::Joined(_) | Membership::Given => {}
        }
        let lags = self.lag.is_some_and(|since| since.elapsed() > LAG_LONG);
        lags.then(|| "events wait, but no partition gets on".to_owned())
    }
}

/// What a partition waits for, and what to do.
fn waits_at(topics: &Topics, (source, partition): Place, state: &State) -> Option<String> {
    let topic = source.topic(topics);
    match state {
        State::Placing | State::Reading(_) => None,
        State::Adrift(why) => Some(why.clone()),
        State::Blocked(span, why) => {
            let offset = span.next;
            let why = match why {
                Unreadable::Schema(fingerprint) => format!("its schema {fingerprint} is not published yet"),
                Unreadable::Other(why) => format!("this release cannot read it: {why}"),
            };
            Some(format!(
                "{topic} partition {partition} waits at offset {offset}: {why}; publish the schema, upgrade the sink, or give \
                 the record up with `device-manager skip --topic {topic} --partition {partition} --offset {offset} --reason …`"
            ))
        }
    }
}

/// The first, and how many more.
fn sentence(held: &[String]) -> String {
    let first = held.first().map(String::as_str).unwrap_or_default();
    match held.len() {
        0 | 1 => first.to_owned(),
        count => format!("{first} (and {} more)", count - 1),
    }
}
