//! Compares the answers that senders got with the raw topics.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use schemas::{event::SourceName, format::RawTopic, receipt::RawPosition, upload::UploadPart};
use uuid::Uuid;

use super::{
    compare::Findings,
    raw::{Record, Records},
};
use crate::{
    installation::SOURCE,
    traffic::log::{Obligation, SendLog},
};

/// The comparison of the answers with the raw topics.
pub(crate) struct Checked {
    /// Each broken promise: a 2xx whose record is missing or differs, a record that nobody sent, commands out of order.
    pub(crate) findings: Findings,
    /// The number of records beyond one for each request.
    pub(crate) repeated: u32,
}

/// Compares the answers with the raw topics. With `may_repeat`, a request may have become several records: librdkafka appends a
/// record again, with another epoch of its producer, if the broker answered neither in time. The second is a duplicate like that of a
/// sender's retry.
pub(crate) fn check(log: &SendLog, records: &Records, may_repeat: bool) -> Checked {
    let mut findings = Findings::default();
    log.complaints.iter().for_each(|complaint| findings.unexplained(complaint.clone()));
    let bodies = Bodies::of(records);
    let mut owed: BTreeSet<RawPosition> = BTreeSet::new();
    for obligation in &log.obligations {
        if !owed.insert(obligation.position) {
            findings.unexplained(format!("two answers name the record {}", obligation.position));
        }
        check_record(obligation, records, &bodies, &mut findings);
    }
    let repeated = check_unanswered(log, records, &bodies, &mut findings);
    if let Some((_, what)) = repeated.first().filter(|_| !may_repeat) {
        findings.duplicated(what.clone());
    }
    for (device, positions) in &log.commands {
        let in_order = positions.windows(2).all(|pair| match pair {
            [before, after] => before.partition == after.partition && before.offset < after.offset,
            _ => true,
        });
        if !in_order {
            findings.unexplained(format!(
                "the commands of the device {device} are not in the order in which they were sent"
            ));
        }
    }
    Checked { findings, repeated: repeated.iter().map(|(count, _)| count).sum() }
}

/// The whole bodies of large uploads, by upload.
struct Bodies(HashMap<Uuid, Vec<u8>>);

impl Bodies {
    fn of(records: &Records) -> Self {
        let mut bodies: HashMap<Uuid, Vec<u8>> = HashMap::new();
        for record in records.values() {
            if let Some((id, UploadPart::Chunk { .. })) = part(record) {
                bodies.entry(id).or_default().extend(&record.body);
            }
        }
        Self(bodies)
    }

    /// The body that a record stands for.
    fn get<'b>(&'b self, record: &'b Record) -> &'b [u8] {
        match part(record) {
            Some((id, UploadPart::Manifest { .. })) => self.0.get(&id).map_or(&[], Vec::as_slice),
            Some((_, UploadPart::Chunk { .. })) | None => &record.body,
        }
    }
}

fn part(record: &Record) -> Option<(Uuid, UploadPart)> {
    let upload = record.headers.as_ref().ok()?.upload.as_ref()?;
    Some((upload.id(), upload.part()))
}

fn check_record(obligation: &Obligation, records: &Records, bodies: &Bodies, findings: &mut Findings) {
    let (position, request) = (&obligation.position, &obligation.request);
    let Some(record) = records.get(position) else {
        return findings.lost(format!("the record {position} was promised and is not on its topic"));
    };
    if bodies.get(record) != request.body {
        findings.lost(format!("the record {position} does not have the bytes that were sent"));
    }
    let is_of_request = record.headers.as_ref().is_ok_and(|headers| {
        headers.kind == request.kind
            && headers.correlation_id == request.correlation_id
            && SourceName::parse(SOURCE).is_ok_and(|source| headers.source == source)
            && headers.content_type.as_deref() == Some(request.content_type)
    });
    if !is_of_request {
        findings.unexplained(format!("the record {position} does not have the headers of its request"));
    }
}

/// A record beyond those that were answered must be an attempt without an answer. Returns the bodies with more records than attempts:
/// how many more, and a description.
fn check_unanswered(log: &SendLog, records: &Records, bodies: &Bodies, findings: &mut Findings) -> Vec<(u32, String)> {
    let mut repeated = Vec::new();
    let mut counts: BTreeMap<(RawTopic, &[u8]), (u32, RawPosition)> = BTreeMap::new();
    for (position, record) in records {
        let is_chunk = matches!(part(record), Some((_, UploadPart::Chunk { .. })));
        // Without headers it is no record of the ingress: a fault wrote it.
        if !is_chunk && record.headers.is_ok() {
            counts.entry((position.topic, bodies.get(record))).or_insert((0, *position)).0 += 1;
        }
    }
    for ((topic, body), (count, position)) in counts {
        match log.attempts.get(&(topic, body.to_vec())) {
            None => findings.unexplained(format!("nobody sent the body of the record {position}")),
            Some(attempts) if count > *attempts => {
                let what = format!("{attempts} requests with the body of the record {position} became {count} records");
                repeated.push((count - attempts, what));
            }
            Some(_) => {}
        }
    }
    repeated
}
