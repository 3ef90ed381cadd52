//! Finds payloads of a patient or of a device in the database.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use schemas::{
    event::PatientId,
    receipt::{ItemPosition, RawPosition},
};
use store::{
    Verdict,
    dead_letters::{self, Letter, LetterFilter, LetterState},
    find::{self, Attributed, Delivery, FoundCommand, Sought},
    replay::RawRange,
    trace::next_offsets,
};
use uuid::Uuid;

use super::{
    Finder,
    report::{
        AssignmentReport, CommandResult, DeviceReport, InFlight, InFlightRecords, PayloadReport, ReadingGroup, Refused,
        Report,
    },
};
use crate::{
    command::raw_log::{FoundRecord, described, unread_events, window},
    error::CommandError,
    output::remark,
};

/// The number of reading ids in one query.
const PAGE: usize = 1_000;
/// The number of dead letters that are looked at.
const LETTERS_MAX: i64 = 10_000;

impl Finder<'_> {
    /// Finds the payloads of a patient, or of these devices.
    pub(super) async fn by_holder(
        &mut self,
        patient: Option<&PatientId>,
        mut devices: Vec<Uuid>,
    ) -> Result<Report, CommandError> {
        if let Some(patient) = patient {
            devices = find::devices_of(&mut self.connection, patient.as_str(), self.since).await?;
        }
        let patient = patient.map(|patient| patient.as_str().to_owned());
        let sought = Sought { patient, devices, since: self.since, until: self.until };
        let window = self.window().await?;
        let ranges: Vec<RawRange> = window.iter().map(|(range, _)| *range).collect();
        let deliveries = find::deliveries(&mut self.connection, &sought, &ranges).await?;
        let mut payloads = self.readings(&sought, deliveries).await?;
        self.add_letters(&sought, &mut payloads).await?;
        for command in find::commands(&mut self.connection, &sought).await? {
            payloads.insert(command.raw, self.command(command));
        }
        self.describe(&mut payloads).await?;
        let devices = self.devices(&sought).await?;
        let in_flight = Some(self.in_flight(&window).await?);
        let refused_without_device = dead_letters::without_device(&mut self.connection, self.since, self.until).await?;
        let payloads = self.chosen(payloads);
        let answer = payloads.is_empty().then(|| self.nothing(&sought, devices.is_empty()));
        Ok(Report {
            devices,
            payloads,
            in_flight,
            refused_without_device,
            answer,
            ..Report::of(self.since, self.until)
        })
    }

    async fn window(&self) -> Result<Vec<(RawRange, Range<i64>)>, CommandError> {
        let (cluster, epoch, provider) = (self.cluster.clone(), self.args.installation.topic_epoch, self.args.provider);
        let span = (self.since, self.until);
        let found = tokio::task::spawn_blocking(move || window(&cluster, epoch, provider, span)).await;
        let found = found.map_err(|error| CommandError::failed("asking Kafka", error))?;
        found.map_err(|error| CommandError::failed("asking Kafka", error))
    }

    /// Groups the readings by payload, state, code and attribution.
    async fn readings(
        &mut self,
        sought: &Sought,
        deliveries: Vec<Delivery>,
    ) -> Result<BTreeMap<RawPosition, PayloadReport>, CommandError> {
        let ids: BTreeSet<Uuid> = deliveries.iter().map(|delivery| delivery.reading_id).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let mut known = BTreeMap::new();
        for page in ids.chunks(PAGE) {
            known.append(&mut find::attributed(&mut self.connection, page).await?);
        }
        let mut payloads: BTreeMap<RawPosition, PayloadReport> = BTreeMap::new();
        let mut groups: BTreeMap<RawPosition, BTreeMap<Group, i64>> = BTreeMap::new();
        for delivery in deliveries {
            let Delivery { raw, reading_id, state, received_at, format, source, .. } = delivery;
            let payload = payloads.entry(raw).or_insert_with(|| self.blank(raw));
            payload.received_at = payload.received_at.or(received_at);
            payload.format = payload.format.take().or(format);
            payload.source = payload.source.take().or(source);
            let group = known.get(&reading_id).map(|about| self.group(sought, state.clone(), about));
            let group = group.unwrap_or_else(|| Group { state, ..Group::default() });
            *groups.entry(raw).or_default().entry(group).or_default() += 1;
        }
        for (raw, groups) in groups {
            if let Some(payload) = payloads.get_mut(&raw) {
                payload.readings = groups.into_iter().map(|(group, readings)| group.counted(readings)).collect();
            }
        }
        Ok(payloads)
    }

    /// Completes the payloads that have no row of their own, such as those of duplicates, from the headers of their raw records.
    async fn describe(&self, payloads: &mut BTreeMap<RawPosition, PayloadReport>) -> Result<(), CommandError> {
        let unknown = payloads.iter().filter(|(_, payload)| payload.received_at.is_none());
        let unknown: BTreeSet<RawPosition> = unknown.map(|(raw, _)| *raw).collect();
        let (cluster, epoch) = (self.cluster.clone(), self.args.installation.topic_epoch);
        let found = tokio::task::spawn_blocking(move || described(&cluster, epoch, &unknown)).await;
        let found = found.map_err(|error| CommandError::failed("reading the raw records", error))?;
        for record in found.map_err(|error| CommandError::failed("reading the raw records", error))? {
            let FoundRecord { position, received_at, format, source, correlation_id } = record;
            let ItemPosition { topic, topic_epoch, partition, offset, .. } = position;
            let raw = RawPosition { topic, topic_epoch: topic_epoch.into(), partition, offset };
            if let Some(payload) = payloads.get_mut(&raw) {
                payload.received_at = received_at;
                payload.format = format;
                payload.source = source;
                payload.correlation_id = correlation_id;
            }
        }
        Ok(())
    }

    fn group(&self, sought: &Sought, state: String, about: &Attributed) -> Group {
        let Attributed { patient_id, attribution, claim_conflict, code, display, status } = about;
        let by = if attribution == "subject" { "as the authenticated subject" } else { "by device assignment" };
        let whose = match patient_id {
            Some(patient) => format!("of {} {by}", self.holder(sought, patient)),
            None => format!("of no patient: {attribution}"),
        };
        let claim = if *claim_conflict { ", although the payload names another one" } else { "" };
        Group {
            state,
            code: code.clone(),
            display: display.clone(),
            status: Some(status.clone()),
            attribution: Some(format!("{whose}{claim}")),
        }
    }

    /// A patient in words. Another patient's id is shown only with --reveal.
    fn holder(&self, sought: &Sought, patient: &str) -> String {
        match (&sought.patient, self.args.reveal) {
            (Some(this), _) if this == patient => "this patient".to_owned(),
            (_, true) => format!("patient {patient}"),
            (Some(_), false) => "another patient".to_owned(),
            (None, false) => "a patient".to_owned(),
        }
    }

    /// Adds the refused items that name one of the devices.
    async fn add_letters(
        &mut self,
        sought: &Sought,
        payloads: &mut BTreeMap<RawPosition, PayloadReport>,
    ) -> Result<(), CommandError> {
        let filter = LetterFilter {
            states: vec![LetterState::Open, LetterState::Redriven, LetterState::Discarded],
            device_keys: Some(sought.devices.clone()),
            since: Some(self.since),
            ..LetterFilter::default()
        };
        for letter in dead_letters::list(&mut self.connection, &filter, LETTERS_MAX).await? {
            let is_within = letter.received_at.is_none_or(|at| self.since <= at && at < self.until);
            let Some(raw) = letter.raw_record.filter(|_| is_within) else { continue };
            let payload = payloads.entry(raw).or_insert_with(|| self.blank(raw));
            let Letter { id, item_count, reason, detail, state, received_at, format, source, correlation_id, .. } =
                letter;
            payload.received_at = payload.received_at.or(received_at);
            payload.format = payload.format.take().or(format);
            payload.source = payload.source.take().or(source);
            payload.correlation_id = payload.correlation_id.take().or(correlation_id);
            payload.refused.push(Refused {
                stage: id.stage.clone(),
                id: Some(id.to_string()),
                reason,
                detail: Some(detail),
                state: state.as_str().to_owned(),
                items: item_count.into(),
            });
        }
        Ok(())
    }

    fn command(&self, command: FoundCommand) -> PayloadReport {
        let FoundCommand { raw, device_key, command, verdict, received_at, source } = command;
        let known = verdict.as_deref().and_then(Verdict::from_word);
        PayloadReport {
            received_at: Some(received_at),
            format: Some(command.clone()),
            source: Some(source),
            device_command: Some(CommandResult {
                command: Some(command),
                device: Some(device_key.to_string()),
                verdict: verdict.unwrap_or_else(|| "not evaluated yet".to_owned()),
                meaning: known.map(|verdict| verdict.meaning().to_owned()),
            }),
            ..self.blank(raw)
        }
    }

    fn blank(&self, raw: RawPosition) -> PayloadReport {
        PayloadReport {
            receipt: self.receipt(raw),
            raw_record: raw,
            received_at: None,
            format: None,
            source: None,
            correlation_id: None,
            is_in_flight: false,
            readings: Vec::new(),
            refused: Vec::new(),
            device_command: None,
        }
    }

    /// The devices and who held them. Devices that neither a payload nor a command knows are left out: an operator's text may mean the
    /// device of one provider or of another.
    async fn devices(&mut self, sought: &Sought) -> Result<Vec<DeviceReport>, CommandError> {
        let ids = find::device_ids(&mut self.connection, &sought.devices).await?;
        let intervals = find::intervals_of(&mut self.connection, &sought.devices).await?;
        let mut devices = Vec::new();
        for device in &sought.devices {
            let own = intervals.iter().filter(|interval| interval.device_key == *device);
            let assignments: Vec<AssignmentReport> = own
                .map(|interval| AssignmentReport {
                    holder: self.holder(sought, &interval.patient_id),
                    from: interval.from,
                    until: interval.until,
                    replaced_at: interval.replaced_at,
                })
                .collect();
            let device_id = ids.get(device).cloned();
            if device_id.is_none() && assignments.is_empty() {
                continue;
            }
            let newest = find::newest_of(&mut self.connection, *device).await?;
            devices.push(DeviceReport {
                device_key: device.to_string(),
                device_id,
                assignments,
                newest_measured_at: newest.map(|(measured, _)| measured),
                newest_received_at: newest.map(|(_, received)| received),
            });
        }
        Ok(devices)
    }

    /// Compares the ends of the raw topics with the outcomes, and those of the event topics with what the sinks have read.
    async fn in_flight(&mut self, window: &[(RawRange, Range<i64>)]) -> Result<InFlight, CommandError> {
        let mut raw_records = Vec::new();
        for (range, log) in window {
            let ended = find::ended_until(&mut self.connection, range).await?;
            let records = log.end - ended.unwrap_or(0).max(log.start);
            if records > 0 {
                let topic = range.topic.as_str().to_owned();
                raw_records.push(InFlightRecords { topic, partition: range.partition, records });
            }
        }
        let (cluster, next) = (self.cluster.clone(), next_offsets(&mut self.connection).await?);
        let events = tokio::task::spawn_blocking(move || unread_events(&cluster, &next)).await;
        let events = events.map_err(|error| CommandError::failed("asking Kafka", error))?;
        let events = events.map_err(|error| CommandError::failed("asking Kafka", error))?;
        Ok(InFlight { raw_records, events })
    }

    /// The payloads that the other conditions include, the newest of them, in the order in which Kafka received them.
    fn chosen(&self, payloads: BTreeMap<RawPosition, PayloadReport>) -> Vec<PayloadReport> {
        let is_wanted = |raw: &RawPosition, payload: &PayloadReport| {
            // A payload of which nobody knows the source any more may be of this one.
            let is_of = |source| payload.source.as_ref().is_none_or(|of| of == source);
            self.args.source.as_ref().is_none_or(is_of)
                && self.args.provider.is_none_or(|provider| raw.topic.provider() == Some(provider))
        };
        let wanted = payloads.into_iter().filter(|(raw, payload)| is_wanted(raw, payload));
        let mut chosen: Vec<PayloadReport> = wanted.map(|(_, payload)| payload).collect();
        chosen.sort_by_key(|payload| (payload.received_at.is_none(), payload.received_at));
        let limit = usize::try_from(self.args.limit).unwrap_or(usize::MAX);
        if chosen.len() > limit {
            remark(&format!("there are more: the newest {limit} are shown (--limit)"));
            chosen.drain(..chosen.len() - limit);
        }
        chosen
    }

    /// The answer in a sentence if no payload was found.
    fn nothing(&self, sought: &Sought, is_without_device: bool) -> String {
        let since = &self.args.since;
        match (&sought.patient, is_without_device) {
            (Some(_), true) => {
                format!("no device was ever assigned to this patient, and no payload since {since} names the patient")
            }
            (Some(_), false) => {
                format!("no payload of this patient's devices, or that names the patient, was received since {since}")
            }
            (None, true) => "no payload and no command names this device".to_owned(),
            (None, false) => format!("no payload of this device was received since {since}"),
        }
    }
}

/// What readings have in common that are shown together.
#[derive(Default, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    state: String,
    code: Option<String>,
    display: Option<String>,
    status: Option<String>,
    attribution: Option<String>,
}

impl Group {
    fn counted(self, readings: i64) -> ReadingGroup {
        let Self { state, code, display, status, attribution } = self;
        ReadingGroup { state, code, display, status, attribution, readings }
    }
}
