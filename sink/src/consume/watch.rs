//! Decides whether a lane works, and summarizes the states of Kafka, Postgres and the group in one sentence.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::consumer::{BaseConsumer, Consumer};
use schemas::topic::Topics;
use service::group;

use super::{
    assigned::{AssignedPartitions, PartitionState},
    group::GroupContext,
    pending::InFlight,
};
use crate::{
    decode::Unreadable,
    item::{EventTopic, Partition},
    lane_state::{LaneHealth, LaneState},
};

/// How long it may take to begin a partition.
const BEGIN_LONG: Duration = Duration::from_secs(5);
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
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// The state of this member in its group.
enum Membership {
    /// It has not joined, or was removed.
    Outside(Instant),
    /// It has joined, and has received no assignment yet. If there are more sinks than partitions, this state lasts.
    Joined(Instant),
    /// It has received an assignment.
    Assigned,
}

/// What is known of the lane.
pub(super) struct Watch {
    membership: Membership,
    /// Whether the lane worked at the last check. A lane that worked is still reported as working during a short disturbance,
    /// and one that waits is reported as waiting until there is no reason left. Otherwise the end of an outage would be
    /// reported as several outages.
    is_well: bool,
    /// Since when partitions have waited to begin, and the reason.
    begin_pending: Option<(Instant, Option<String>)>,
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
    reported_at: Instant,
}

/// What a report is based on.
#[derive(Clone, Copy)]
pub(super) struct Facts<'r> {
    pub(super) consumer: &'r BaseConsumer<GroupContext>,
    pub(super) topics: &'r Topics,
    pub(super) assigned: &'r AssignedPartitions,
    pub(super) in_flight: &'r InFlight,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            membership: Membership::Outside(Instant::now()),
            is_well: false,
            begin_pending: None,
            writer: None,
            kafka: None,
            unanswered: 0,
            lag: None,
            blocked: BTreeMap::new(),
            reported_at: Instant::now(),
        }
    }

    pub(super) fn assignment_received(&mut self) {
        self.membership = Membership::Assigned;
    }

    /// All partitions have begun, except those that Kafka and Postgres disagree about.
    pub(super) fn all_begun(&mut self) {
        self.begin_pending = None;
    }

    /// Partitions could not begin.
    pub(super) fn begin_failed(&mut self, reason: String) {
        self.begin_pending =
            Some((self.begin_pending.take().map_or_else(Instant::now, |(since, _)| since), Some(reason)));
    }

    pub(super) fn writer_waiting(&mut self, reason: String) {
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
    pub(super) fn kafka_answered(&mut self, has_lag: bool) {
        self.kafka = None;
        self.unanswered = 0;
        self.lag = has_lag.then(|| self.lag.unwrap_or_else(Instant::now));
    }

    /// Reports the state of the lane, at most once per `REPORT_EVERY`.
    pub(super) fn report(&mut self, facts: Facts<'_>, health: &LaneHealth) {
        let Facts { consumer, topics, assigned, in_flight } = facts;
        if self.reported_at.elapsed() < REPORT_EVERY {
            return;
        }
        self.reported_at = Instant::now();
        self.observe(group::is_member(consumer.client()), assigned);
        let blocked: Vec<(EventTopic, String)> = assigned
            .iter()
            .filter_map(|(partition, state)| Some((partition.topic, operator_reason(topics, partition, state)?)))
            .collect();
        let all = assigned.iter().count();
        health.set_detail(["partitions", "bulk-partitions"], &all.to_string());
        let reason = self.wait_reason(in_flight);
        self.is_well = reason.is_none();
        health.report(match reason {
            Some(reason) => LaneState::Waiting(reason),
            None if blocked.is_empty() => LaneState::Working,
            None if blocked.len() == all => LaneState::Blocked(summary(&blocked)),
            None => LaneState::Degraded(summary(&blocked)),
        });
        self.count(assigned, &blocked, topics);
    }

    /// Counts the partitions of each topic that wait for an operator. A topic that had some before is reported with 0.
    fn count(&mut self, assigned: &AssignedPartitions, blocked: &[(EventTopic, String)], topics: &Topics) {
        self.blocked.values_mut().for_each(|count| *count = 0);
        for (partition, _) in assigned.iter() {
            self.blocked.entry(partition.topic).or_default();
        }
        for (topic, _) in blocked {
            *self.blocked.entry(*topic).or_default() += 1;
        }
        for (topic, count) in &self.blocked {
            metrics::gauge!("device_manager_sink_partitions_blocked", "topic" => topic.full_name(topics)).set(*count);
        }
    }

    fn observe(&mut self, is_member: bool, assigned: &AssignedPartitions) {
        match self.membership {
            Membership::Outside(_) if is_member => self.membership = Membership::Joined(Instant::now()),
            Membership::Joined(_) | Membership::Assigned if !is_member => {
                self.membership = Membership::Outside(Instant::now());
            }
            Membership::Outside(_) | Membership::Joined(_) | Membership::Assigned => {}
        }
        let are_pending = assigned
            .iter()
            .any(|(_, state)| matches!(state, PartitionState::OffsetUnknown | PartitionState::OffsetRequested));
        self.begin_pending = are_pending.then(|| self.begin_pending.take().unwrap_or_else(|| (Instant::now(), None)));
    }

    fn wait_reason(&self, in_flight: &InFlight) -> Option<String> {
        if let Some(reason) = self.writer.as_ref().or(self.kafka.as_ref()) {
            return Some(reason.clone());
        }
        if in_flight.busy() > WRITE_LONG {
            return Some("Postgres has not answered for some seconds".to_owned());
        }
        let is_reported = |since: &Instant, long| !self.is_well || since.elapsed() > long;
        match &self.begin_pending {
            Some((since, reason)) if is_reported(since, BEGIN_LONG) => {
                return Some(reason.clone().unwrap_or_else(|| "an assignment is pending".to_owned()));
            }
            Some(_) | None => {}
        }
        match &self.membership {
            Membership::Outside(since) if is_reported(since, OUTSIDE_LONG) => {
                return Some("the sink is not a member of its consumer group".to_owned());
            }
            Membership::Joined(since) if !self.is_well && since.elapsed() < GROUP_LONG => {
                return Some("no partition is assigned yet".to_owned());
            }
            Membership::Outside(_) | Membership::Joined(_) | Membership::Assigned => {}
        }
        let lags = self.lag.is_some_and(|since| since.elapsed() > LAG_LONG);
        lags.then(|| "events wait, but no partition makes progress".to_owned())
    }
}

/// What a partition waits for, and what to do.
fn operator_reason(topics: &Topics, partition: Partition, state: &PartitionState) -> Option<String> {
    let (topic, number) = (partition.topic.full_name(topics), partition.number);
    match state {
        PartitionState::OffsetUnknown | PartitionState::OffsetRequested | PartitionState::Reading(_) => None,
        PartitionState::OffsetNotInLog(why) => Some(why.clone()),
        PartitionState::Blocked(span, why) => {
            let offset = span.next;
            let why = match why {
                Unreadable::Schema(fingerprint) => format!("its schema {fingerprint} is not published yet"),
                Unreadable::Other(why) => why.clone(),
            };
            Some(format!(
                "{topic} partition {number} waits at offset {offset}: {why}; publish the schema, upgrade the sink, or skip \
                 the record with `device-manager skip --topic {topic} --partition {number} --offset {offset} --reason …`"
            ))
        }
    }
}

/// The first reason, and the number of further ones.
fn summary(blocked: &[(EventTopic, String)]) -> String {
    let first = blocked.first().map(|(_, why)| why.as_str()).unwrap_or_default();
    match blocked.len() {
        0 | 1 => first.to_owned(),
        count => format!("{first} (and {} more)", count - 1),
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::{AssignedPartitions, Duration, InFlight, Instant, Membership, Topics, Watch};
    use crate::{
        batch::Batch,
        item::{EventTopic, Partition},
    };

    fn ago(seconds: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap()
    }

    fn well() -> Watch {
        Watch { membership: Membership::Assigned, is_well: true, ..Watch::new() }
    }

    fn reason(watch: &Watch) -> String {
        watch.wait_reason(&InFlight::new()).unwrap_or_default()
    }

    #[test]
    fn a_healthy_sink_reports_no_wait() {
        assert_eq!(reason(&well()), "");
        let joined = Watch { membership: Membership::Joined(ago(6)), is_well: false, ..well() };
        assert_eq!(reason(&joined), "", "more sinks than partitions");
        assert_eq!(reason(&Watch { lag: Some(ago(2)), ..well() }), "");
    }

    #[test]
    fn each_cause_of_waiting_is_reported_within_15_seconds() {
        assert!(reason(&Watch { membership: Membership::Outside(ago(10)), ..well() }).contains("not a member"));
        assert_eq!(reason(&Watch { begin_pending: Some((ago(10), None)), ..well() }), "an assignment is pending");
        assert_eq!(reason(&Watch { begin_pending: Some((ago(10), Some("away".to_owned()))), ..well() }), "away");
        assert_eq!(reason(&Watch { lag: Some(ago(10)), ..well() }), "events wait, but no partition makes progress");
        assert_eq!(reason(&Watch { kafka: Some("silent".to_owned()), ..well() }), "silent");
        let mut in_flight = InFlight::new();
        in_flight.push(&Batch::new(0, Vec::new(), Vec::new()));
        assert_eq!(well().wait_reason(&in_flight), None);
        in_flight.age(Duration::from_secs(10));
        assert!(well().wait_reason(&in_flight).unwrap_or_default().contains("Postgres has not answered"));
    }

    #[test]
    fn a_short_problem_neither_begins_nor_ends_an_outage() {
        for (expected, trouble) in [
            ("not a member", Watch { membership: Membership::Outside(ago(1)), ..well() }),
            ("no partition is assigned yet", Watch { membership: Membership::Joined(ago(1)), ..well() }),
            ("an assignment is pending", Watch { begin_pending: Some((ago(1), None)), ..well() }),
            ("away", Watch { begin_pending: Some((ago(1), Some("away".to_owned()))), ..well() }),
        ] {
            assert_eq!(reason(&trouble), "", "{expected}");
            let reason = reason(&Watch { is_well: false, ..trouble });
            assert!(reason.contains(expected), "{expected}: {reason}");
        }
    }

    #[test]
    fn one_probe_without_a_response_is_not_an_outage() {
        let mut watch = well();
        let fails = |watch: &mut Watch| watch.probe_failed(|| "silent".to_owned());
        fails(&mut watch);
        assert_eq!(reason(&watch), "");
        watch.kafka_answered(false);
        fails(&mut watch);
        assert_eq!(reason(&watch), "");
        fails(&mut watch);
        assert_eq!(reason(&watch), "silent");
    }

    #[test]
    fn waiting_events_are_a_fault_only_while_none_is_written() {
        let mut watch = Watch { lag: Some(ago(10)), ..well() };
        watch.kafka_answered(true);
        assert_ne!(reason(&watch), "", "the time counts from the first probe");
        watch.written(false);
        assert_ne!(reason(&watch), "", "an empty batch is no progress");
        watch.written(true);
        watch.kafka_answered(true);
        assert_eq!(reason(&watch), "");
    }

    #[test]
    fn a_lost_membership_and_a_pending_assignment_are_noticed() {
        let (mut watch, mut assigned) = (well(), AssignedPartitions::default());
        assigned.assign(Partition { topic: EventTopic::Readings, number: 0 });
        watch.observe(true, &assigned);
        assert!(watch.begin_pending.is_some());
        assigned.mark_requested();
        assigned.set_begin(Partition { topic: EventTopic::Readings, number: 0 }, Ok(0));
        watch.observe(true, &assigned);
        assert!(watch.begin_pending.is_none());
        watch.is_well = false;
        watch.observe(false, &assigned);
        assert!(reason(&watch).contains("not a member"));
        watch.observe(true, &assigned);
        assert_eq!(reason(&watch), "no partition is assigned yet");
        watch.assignment_received();
        assert_eq!(reason(&watch), "");
    }

    #[test]
    fn the_partitions_that_wait_for_an_operator_are_counted() {
        let topics = Topics::new("t.");
        let (mut watch, mut assigned) = (well(), AssignedPartitions::default());
        assigned.assign(Partition { topic: EventTopic::Readings, number: 0 });
        let recorder = PrometheusBuilder::new().build_recorder();
        let gauge = |watch: &mut Watch, assigned: &AssignedPartitions, blocked: &[(EventTopic, String)]| {
            metrics::with_local_recorder(&recorder, || watch.count(assigned, blocked, &topics));
            let text = recorder.handle().render();
            let lines = text.lines().filter(|line| line.starts_with("device_manager_sink_partitions_blocked{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let line = |count: u32| {
            vec![format!(
                "device_manager_sink_partitions_blocked{{topic=\"{}\"}} {count}",
                EventTopic::Readings.full_name(&topics)
            )]
        };
        let blocked = [0, 1].map(|number| (EventTopic::Readings, format!("partition {number} waits")));
        assert_eq!(gauge(&mut watch, &assigned, &blocked), line(2));
        assert_eq!(gauge(&mut watch, &assigned, &blocked[..1]), line(1));
        assert_eq!(gauge(&mut watch, &AssignedPartitions::default(), &[]), line(0), "a topic that had some");
    }
}
