//! Decides whether a lane works, and summarizes the states of Kafka, Postgres and the group in one sentence.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::consumer::{BaseConsumer, Consumer};
use schemas::topic::Topics;
use service::group;

use super::{
    group::Context,
    owned::{Owned, State},
    pending::InFlight,
};
use crate::{
    decode::Unreadable,
    item::{EventTopic, Partition},
    verdict::{LaneHealth, Verdict},
};

/// How long it may take to begin a partition.
const PLACE_LONG: Duration = Duration::from_secs(5);
/// How long a member may be outside its group. After a pause of Kafka the group removes the member, and admits it again at
/// once.
const OUTSIDE_LONG: Duration = Duration::from_secs(5);
/// How long Postgres may take for a batch before it is reported.
const WRITE_LONG: Duration = Duration::from_secs(5);
/// How long records may wait while no partition makes progress.
const LAG_LONG: Duration = Duration::from_secs(8);
/// How long to wait for the first assignment of a new member. A group with more members than partitions never sends one to
/// some of them.
const GROUP_LONG: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The state of this member in its group.
enum Membership {
    /// It has not joined, or was removed.
    Outside(Instant),
    /// It has joined, and has received no assignment yet. If there are more sinks than partitions, this state lasts.
    Joined(Instant),
    /// It has received an assignment.
    Given,
}

/// What is known of the lane.
pub(super) struct Watch {
    membership: Membership,
    /// Whether the lane was well at the last check. A lane that was well remains so through a short disturbance, and one that
    /// waits continues to wait until there is no reason left. Otherwise the end of an outage would be reported as several
    /// outages.
    is_well: bool,
    /// Since when partitions have waited to begin, and the reason.
    placing: Option<(Instant, Option<String>)>,
    /// What the writer waits for.
    writer: Option<String>,
    /// The last failure of Kafka.
    kafka: Option<String>,
    /// The number of consecutive probes that Kafka has not answered.
    unanswered: u32,
    /// Since when records have waited while none was written.
    lag: Option<Instant>,
    /// The number of partitions of each topic that wait for an operator.
    blocked: BTreeMap<EventTopic, u32>,
    looked: Instant,
}

/// What a report is based on.
#[derive(Clone, Copy)]
pub(super) struct Facts<'r> {
    pub(super) consumer: &'r BaseConsumer<Context>,
    pub(super) topics: &'r Topics,
    pub(super) owned: &'r Owned,
    pub(super) in_flight: &'r InFlight,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            membership: Membership::Outside(Instant::now()),
            is_well: false,
            placing: None,
            writer: None,
            kafka: None,
            unanswered: 0,
            lag: None,
            blocked: BTreeMap::new(),
            looked: Instant::now(),
        }
    }

    pub(super) fn group_gave(&mut self) {
        self.membership = Membership::Given;
    }

    /// All partitions have begun, except those that Kafka and Postgres disagree about.
    pub(super) fn placed(&mut self) {
        self.placing = None;
    }

    /// Partitions could not begin.
    pub(super) fn place_waits(&mut self, reason: String) {
        self.placing = Some((self.placing.take().map_or_else(Instant::now, |(since, _)| since), Some(reason)));
    }

    pub(super) fn writer_waits(&mut self, reason: String) {
        self.writer = Some(reason);
    }

    pub(super) fn is_writer_waiting(&self) -> bool {
        self.writer.is_some()
    }

    /// A batch was committed; `moved` says whether it advanced an offset.
    pub(super) fn written(&mut self, moved: bool) {
        self.writer = None;
        if moved {
            self.lag = None;
        }
    }

    pub(super) fn kafka_failed(&mut self, reason: String) {
        self.kafka = Some(reason);
    }

    /// Kafka did not answer a probe. A single failure may be due to a connection that a broker has just closed.
    pub(super) fn probe_failed(&mut self, reason: impl FnOnce() -> String) {
        self.unanswered += 1;
        if self.unanswered > 1 {
            self.kafka = Some(reason());
        }
    }

    /// Kafka has answered a probe; `has_lag` says whether records wait.
    pub(super) fn kafka_answers(&mut self, has_lag: bool) {
        self.kafka = None;
        self.unanswered = 0;
        self.lag = has_lag.then(|| self.lag.unwrap_or_else(Instant::now));
    }

    /// Reports the state of the lane, at most once per `LOOK_EVERY`.
    pub(super) fn report(&mut self, rests_on: Facts<'_>, health: &LaneHealth) {
        let Facts { consumer, topics, owned, in_flight } = rests_on;
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        self.look(group::is_member(consumer.client()), owned);
        let held: Vec<(EventTopic, String)> =
            owned.iter().filter_map(|(place, state)| Some((place.0, waits_at(topics, place, state)?))).collect();
        let all = owned.iter().count();
        health.detail(["partitions", "bulk-partitions"], &all.to_string());
        let waits = self.waits(in_flight);
        self.is_well = waits.is_none();
        health.say(match waits {
            Some(reason) => Verdict::Waits(reason),
            None if held.is_empty() => Verdict::Works,
            None if held.len() == all => Verdict::Held(sentence(&held)),
            None => Verdict::Degraded(sentence(&held)),
        });
        self.count(owned, &held, topics);
    }

    /// Counts the partitions of each topic that wait for an operator. A topic that had some before is reported with 0.
    fn count(&mut self, owned: &Owned, held: &[(EventTopic, String)], topics: &Topics) {
        self.blocked.values_mut().for_each(|count| *count = 0);
        for (place, _) in owned.iter() {
            self.blocked.entry(place.0).or_default();
        }
        for (source, _) in held {
            *self.blocked.entry(*source).or_default() += 1;
        }
        for (source, count) in &self.blocked {
            metrics::gauge!("device_manager_sink_partitions_blocked", "topic" => source.topic(topics)).set(*count);
        }
    }

    fn look(&mut self, is_member: bool, owned: &Owned) {
        match self.membership {
            Membership::Outside(_) if is_member => self.membership = Membership::Joined(Instant::now()),
            Membership::Joined(_) | Membership::Given if !is_member => {
                self.membership = Membership::Outside(Instant::now());
            }
            Membership::Outside(_) | Membership::Joined(_) | Membership::Given => {}
        }
        let places = owned.iter().any(|(_, state)| matches!(state, State::Unplaced | State::Asked));
        self.placing = places.then(|| self.placing.take().unwrap_or_else(|| (Instant::now(), None)));
    }

    fn waits(&self, in_flight: &InFlight) -> Option<String> {
        if let Some(reason) = self.writer.as_ref().or(self.kafka.as_ref()) {
            return Some(reason.clone());
        }
        if in_flight.busy() > WRITE_LONG {
            return Some("Postgres has not answered for some seconds".to_owned());
        }
        let tells = |since: &Instant, long| !self.is_well || since.elapsed() > long;
        match &self.placing {
            Some((since, reason)) if tells(since, PLACE_LONG) => {
                return Some(reason.clone().unwrap_or_else(|| "an assignment is pending".to_owned()));
            }
            Some(_) | None => {}
        }
        match &self.membership {
            Membership::Outside(since) if tells(since, OUTSIDE_LONG) => {
                return Some("the sink is not a member of its consumer group".to_owned());
            }
            Membership::Joined(since) if !self.is_well && since.elapsed() < GROUP_LONG => {
                return Some("no partition is assigned yet".to_owned());
            }
            Membership::Outside(_) | Membership::Joined(_) | Membership::Given => {}
        }
        let lags = self.lag.is_some_and(|since| since.elapsed() > LAG_LONG);
        lags.then(|| "events wait, but no partition makes progress".to_owned())
    }
}

/// What a partition waits for, and what to do.
fn waits_at(topics: &Topics, (source, partition): Partition, state: &State) -> Option<String> {
    let topic = source.topic(topics);
    match state {
        State::Unplaced | State::Asked | State::Reading(_) => None,
        State::Adrift(why) => Some(why.clone()),
        State::Blocked(span, why) => {
            let offset = span.next;
            let why = match why {
                Unreadable::Schema(fingerprint) => format!("its schema {fingerprint} is not published yet"),
                Unreadable::Other(why) => why.clone(),
            };
            Some(format!(
                "{topic} partition {partition} waits at offset {offset}: {why}; publish the schema, upgrade the sink, or skip \
                 the record with `device-manager skip --topic {topic} --partition {partition} --offset {offset} --reason …`"
            ))
        }
    }
}

/// The first reason, and the number of further ones.
fn sentence(held: &[(EventTopic, String)]) -> String {
    let first = held.first().map(|(_, why)| why.as_str()).unwrap_or_default();
    match held.len() {
        0 | 1 => first.to_owned(),
        count => format!("{first} (and {} more)", count - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, InFlight, Instant, Membership, Owned, Watch};
    use crate::{batch::Batch, item::EventTopic};

    fn ago(seconds: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap()
    }

    fn well() -> Watch {
        Watch { membership: Membership::Given, is_well: true, ..Watch::new() }
    }

    fn said(watch: &Watch) -> String {
        watch.waits(&InFlight::new()).unwrap_or_default()
    }

    #[test]
    fn what_is_well_waits_for_nothing() {
        assert_eq!(said(&well()), "");
        let joined = Watch { membership: Membership::Joined(ago(6)), is_well: false, ..well() };
        assert_eq!(said(&joined), "", "more sinks than partitions");
        assert_eq!(said(&Watch { lag: Some(ago(2)), ..well() }), "");
    }

    #[test]
    fn each_thing_to_wait_for_is_said_within_15_seconds() {
        assert!(said(&Watch { membership: Membership::Outside(ago(10)), ..well() }).contains("not a member"));
        assert_eq!(said(&Watch { placing: Some((ago(10), None)), ..well() }), "an assignment is pending");
        assert_eq!(said(&Watch { placing: Some((ago(10), Some("away".to_owned()))), ..well() }), "away");
        assert_eq!(said(&Watch { lag: Some(ago(10)), ..well() }), "events wait, but no partition makes progress");
        assert_eq!(said(&Watch { kafka: Some("silent".to_owned()), ..well() }), "silent");
        let mut in_flight = InFlight::new();
        in_flight.push(&Batch::new(0, Vec::new(), Vec::new()));
        assert_eq!(well().waits(&in_flight), None);
        in_flight.age(Duration::from_secs(10));
        assert!(well().waits(&in_flight).unwrap_or_default().contains("Postgres has not answered"));
    }

    #[test]
    fn a_short_trouble_begins_no_outage_and_does_not_end_one() {
        for (reason, trouble) in [
            ("not a member", Watch { membership: Membership::Outside(ago(1)), ..well() }),
            ("no partition is assigned yet", Watch { membership: Membership::Joined(ago(1)), ..well() }),
            ("an assignment is pending", Watch { placing: Some((ago(1), None)), ..well() }),
            ("away", Watch { placing: Some((ago(1), Some("away".to_owned()))), ..well() }),
        ] {
            assert_eq!(said(&trouble), "", "{reason}");
            let waits = said(&Watch { is_well: false, ..trouble });
            assert!(waits.contains(reason), "{reason}: {waits}");
        }
    }

    #[test]
    fn one_probe_without_an_answer_is_no_outage() {
        let mut watch = well();
        let fails = |watch: &mut Watch| watch.probe_failed(|| "silent".to_owned());
        fails(&mut watch);
        assert_eq!(said(&watch), "");
        watch.kafka_answers(false);
        fails(&mut watch);
        assert_eq!(said(&watch), "");
        fails(&mut watch);
        assert_eq!(said(&watch), "silent");
    }

    #[test]
    fn events_that_wait_are_a_fault_only_while_none_is_written() {
        let mut watch = Watch { lag: Some(ago(10)), ..well() };
        watch.kafka_answers(true);
        assert_ne!(said(&watch), "", "the time counts from the first probe");
        watch.written(false);
        assert_ne!(said(&watch), "", "an empty batch is no progress");
        watch.written(true);
        watch.kafka_answers(true);
        assert_eq!(said(&watch), "");
    }

    #[test]
    fn a_member_that_is_put_out_and_an_assignment_that_pends_are_seen() {
        let (mut watch, mut owned) = (well(), Owned::default());
        owned.give((EventTopic::Readings, 0));
        watch.look(true, &owned);
        assert!(watch.placing.is_some());
        owned.ask();
        owned.place((EventTopic::Readings, 0), Ok(0));
        watch.look(true, &owned);
        assert!(watch.placing.is_none());
        watch.is_well = false;
        watch.look(false, &owned);
        assert!(said(&watch).contains("not a member"));
        watch.look(true, &owned);
        assert_eq!(said(&watch), "no partition is assigned yet");
        watch.group_gave();
        assert_eq!(said(&watch), "");
    }
}
