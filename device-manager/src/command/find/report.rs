//! What `find` reports, as text and as JSON.

use schemas::receipt::RawPosition;
use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    command::{dead_letters::time, trace::report::named},
    output::counted,
};

/// The answer.
#[derive(Default, Serialize)]
pub(super) struct Report {
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) since: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) until: Option<OffsetDateTime>,
    /// The devices of the patient, or the device.
    pub(super) devices: Vec<DeviceReport>,
    pub(super) payloads: Vec<PayloadReport>,
    /// What is on its way; `None` if that was not asked for.
    pub(super) in_flight: Option<InFlight>,
    /// The number of refused items and payloads that name no device, so that nobody knows whose they are.
    pub(super) refused_without_device: i64,
    /// The answer in a sentence, if no payload was found.
    pub(super) answer: Option<String>,
}

/// A device and who held it.
#[derive(Serialize)]
pub(super) struct DeviceReport {
    /// The `_id` of device commands.
    pub(super) device_key: String,
    /// The id that payloads give.
    pub(super) device_id: Option<String>,
    pub(super) assignments: Vec<AssignmentReport>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) newest_measured_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) newest_received_at: Option<OffsetDateTime>,
}

/// An interval in which somebody holds a device.
#[derive(Serialize)]
pub(super) struct AssignmentReport {
    /// Who: `this patient`, `another patient`, or an id.
    pub(super) holder: String,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) from: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) until: Option<OffsetDateTime>,
    /// When a later command replaced the interval.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) replaced_at: Option<OffsetDateTime>,
}

/// A payload or a device command, and what became of it.
#[derive(Serialize)]
pub(super) struct PayloadReport {
    pub(super) receipt: Option<String>,
    pub(super) raw_record: RawPosition,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) received_at: Option<OffsetDateTime>,
    pub(super) format: Option<String>,
    pub(super) source: Option<String>,
    pub(super) correlation_id: Option<String>,
    /// Whether something of it is not stored yet.
    pub(super) is_in_flight: bool,
    pub(super) readings: Vec<ReadingGroup>,
    pub(super) refused: Vec<Refused>,
    pub(super) device_command: Option<CommandResult>,
}

/// Readings of a payload with the same state, code and attribution.
#[derive(Serialize)]
pub(super) struct ReadingGroup {
    /// `current`, `superseded`, `duplicate` or `withdrawn`.
    pub(super) state: String,
    pub(super) code: Option<String>,
    pub(super) display: Option<String>,
    pub(super) status: Option<String>,
    /// Whose the readings are.
    pub(super) attribution: Option<String>,
    pub(super) readings: i64,
}

/// Refused items of a payload.
#[derive(Serialize)]
pub(super) struct Refused {
    /// The id of the dead letter.
    pub(super) id: Option<String>,
    pub(super) stage: String,
    pub(super) reason: String,
    pub(super) detail: Option<String>,
    pub(super) state: String,
    pub(super) items: i64,
}

/// What became of a device command.
#[derive(Serialize)]
pub(super) struct CommandResult {
    /// `assign` or `unassign`.
    pub(super) command: Option<String>,
    pub(super) device: Option<String>,
    pub(super) verdict: String,
    pub(super) meaning: Option<String>,
}

/// What is on its way.
#[derive(Serialize)]
pub(super) struct InFlight {
    /// The raw records whose outcome is not stored, by raw topic and partition.
    pub(super) raw_records: Vec<InFlightRecords>,
    /// The events that no sink has read.
    pub(super) events: i64,
}

/// Raw records of a partition whose outcome is not stored.
#[derive(Serialize)]
pub(super) struct InFlightRecords {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) records: i64,
}

impl Report {
    pub(super) fn of(since: OffsetDateTime, until: OffsetDateTime) -> Self {
        Self { since: Some(since), until: Some(until), ..Self::default() }
    }

    /// Lines for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.devices.iter().flat_map(DeviceReport::lines).collect();
        lines.extend(self.payloads.iter().flat_map(PayloadReport::lines));
        lines.extend(self.answer.clone());
        if self.refused_without_device > 0 {
            lines.push(format!(
                "{} since {} without a device, so that nobody knows whose: device-manager dead-letters list",
                counted(self.refused_without_device, "refused item"),
                time(self.since)
            ));
        }
        lines.extend(self.in_flight.as_ref().map(InFlight::line));
        lines
    }
}

impl DeviceReport {
    fn lines(&self) -> Vec<String> {
        let id = self.device_id.as_deref().unwrap_or("unknown to all payloads and commands");
        let mut lines = vec![format!("device {id} (_id {})", self.device_key)];
        for AssignmentReport { holder, from, until, replaced_at } in &self.assignments {
            let from = from.map_or_else(|| "ever".to_owned(), |from| time(Some(from)));
            let until = until.map_or_else(|| "now".to_owned(), |until| time(Some(until)));
            let replaced =
                replaced_at.map(|at| format!(" (until a command of {})", time(Some(at)))).unwrap_or_default();
            lines.push(format!("  assigned to {holder} from {from} until {until}{replaced}"));
        }
        if self.assignments.is_empty() {
            lines.push("  assigned to nobody".to_owned());
        }
        if self.newest_measured_at.is_some() {
            let (measured, received) = (time(self.newest_measured_at), time(self.newest_received_at));
            lines.push(format!("  newest reading measured {measured}, received {received}"));
        }
        lines
    }
}

impl PayloadReport {
    fn lines(&self) -> Vec<String> {
        let format = self.format.as_deref().unwrap_or("format unknown");
        let source = self.source.as_deref().unwrap_or("unknown");
        let receipt = self.receipt.as_deref().unwrap_or("unknown");
        let request = self.correlation_id.as_ref().map(|id| format!(", request {id}")).unwrap_or_default();
        let mut lines = vec![format!(
            "{} {}, {format} of source {source}{request}, receipt {receipt}",
            time(self.received_at),
            self.raw_record
        )];
        lines.extend(self.readings.iter().map(|group| {
            let ReadingGroup { state, code, display, status, attribution, readings } = group;
            let what = named(display.as_deref(), code.as_deref());
            let status = status.as_ref().map(|status| format!(", {status}")).unwrap_or_default();
            let whose = attribution.as_ref().map(|whose| format!(", {whose}")).unwrap_or_default();
            format!("  {} ({state}): {what}{status}{whose}", counted(*readings, "reading"))
        }));
        lines.extend(self.refused.iter().map(|refused| {
            let Refused { id, stage, reason, detail, state, items } = refused;
            let detail = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            let more = id.as_ref().map(|id| format!(": device-manager dead-letters show {id}")).unwrap_or_default();
            format!("  {} by the {stage} ({state}): {reason}{detail}{more}", counted(*items, "refused item"))
        }));
        lines.extend(self.device_command.as_ref().map(|result| {
            let CommandResult { command, device, verdict, meaning } = result;
            let command = command.as_deref().unwrap_or("device command");
            let device = device.as_ref().map(|device| format!(" of device {device}")).unwrap_or_default();
            let meaning = meaning.as_ref().map(|meaning| format!(": {meaning}")).unwrap_or_default();
            format!("  {command}{device}: {verdict}{meaning}")
        }));
        if self.is_in_flight {
            lines.push(
                "  in flight: not all of it is stored yet; device-manager trace shows what it waits for".to_owned(),
            );
        }
        lines
    }
}

impl InFlight {
    fn line(&self) -> String {
        let records: i64 = self.raw_records.iter().map(|one| one.records).sum();
        if records == 0 && self.events == 0 {
            return "nothing is in flight: all raw records are mapped and stored".to_owned();
        }
        let partitions = self.raw_records.iter().map(|one| {
            let InFlightRecords { topic, partition, records } = one;
            format!("{topic} partition {partition}: {records}")
        });
        let partitions: Vec<String> = partitions.collect();
        let which = if partitions.is_empty() { String::new() } else { format!(" ({})", partitions.join(", ")) };
        format!(
            "in flight: {} without an outcome{which}, {} that no sink has read. A payload among them is listed here once it is stored; \
             /ready of the stages says what they wait for",
            counted(records, "raw record"),
            counted(self.events, "event")
        )
    }
}
