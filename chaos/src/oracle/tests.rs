//! Tests of the oracle without servers: what a correct installation stores, with one thing changed.

use std::{collections::BTreeSet, sync::Arc};

use rand::{SeedableRng as _, rngs::StdRng};
use schemas::{
    event::SourceName,
    example::{ASSIGN, PAYLOADS},
    format::{Format, Provider, RawTopic},
    raw::{Headers, RecordKind},
    receipt::{RawPosition, ReceiptKey},
};
use sink::fold::{DeviceCommand, fold};
use store::reading::StoredReading;
use uuid::Uuid;

use super::{
    compare::{Breach, compare, device_command, raw_position},
    expected::{Content, Expected, Item, Letter, expected, row_of},
    obligations,
    raw::{Record, Records},
    stored::{Stored, StoredRow, StoredRun},
};
use crate::traffic::{
    log::{Obligation, SendLog},
    request::Request,
};

fn record(kind: RecordKind, body: &[u8]) -> Record {
    let headers = Headers {
        kind,
        content_type: None,
        credential: "key-1".to_owned(),
        source: SourceName::parse("chaos").unwrap(),
        subject: None,
        correlation_id: String::new(),
        traceparent: None,
        content_hmac: String::new(),
        sample_type: None,
        unit: None,
        device_id: None,
        defaults: None,
        providers: Vec::new(),
        upload: None,
        key_id: None,
    };
    Record { received_at: 1_700_000_000_000_000, headers: Ok(headers), body: body.to_vec() }
}

/// A message, the same again, the same with another value, one that is cut off, one that Postgres cannot store, and a command.
fn records() -> Records {
    let json = PAYLOADS
        .iter()
        .find(|example| (example.provider, example.format) == (Provider::Medisante, Format::StandardJson));
    let text = json.unwrap().text;
    let kind = RecordKind::Payload(Format::StandardJson);
    let later = text.replace("128", "131").replace("05:31:12", "05:32:12");
    let nul = text.replace("6f1c7a52", "6f1c7a53").replace("\"Acme\"", "\"Ac\\u0000me\"");
    let bodies = [text, text, &later, &text[..40], &nul];
    let at = |topic, offset| RawPosition { topic, topic_epoch: 0, partition: 0, offset };
    let payloads =
        (0..).zip(bodies).map(|(offset, body)| (at(RawTopic::Medisante, offset), record(kind, body.as_bytes())));
    payloads.chain([(at(RawTopic::Devices, 0), record(RecordKind::Assign, ASSIGN.as_bytes()))]).collect()
}

fn owed() -> Expected {
    expected(&records(), &ReceiptKey::new(&[7; 32]).unwrap())
}

/// What a correct installation stores.
fn stored(owed: &Expected) -> Stored {
    let mut stored = Stored::default();
    for (reading_id, reading) in &owed.readings {
        let (current, _) = reading.current().unwrap();
        for (content, kept) in &reading.contents {
            let row = StoredRow { reading_id: *reading_id, content: *content, at: row_of(&kept.version) };
            if *content == current { stored.readings.push(row) } else { stored.versions.push(row) }
        }
        stored.duplicates.extend(reading.duplicates().into_iter().map(|item| (*reading_id, item)));
        let Content { version, reading } = &reading.contents[&current];
        let row = StoredReading { reading: reading.clone(), version: *version };
        stored.values.insert(*reading_id, row);
    }
    stored.letters = owed.letters.iter().cloned().collect();
    stored.outcomes = owed
        .outcomes
        .iter()
        .map(|(first, counts)| StoredRun { first: *first, last_offset: first.offset, counts: *counts })
        .collect();
    let commands: Vec<DeviceCommand> = owed.commands.values().map(device_command).collect();
    let folded = fold(&commands);
    stored.commands = folded
        .verdicts
        .iter()
        .map(|(appended, verdict)| (raw_position(appended), Some(verdict.as_str().to_owned())))
        .collect();
    let device = owed.commands.values().next().unwrap().device_key;
    let holdings = folded.intervals.into_iter();
    stored.holdings = holdings
        .map(|interval| (device, interval.patient.as_str().to_owned(), Some(interval.from), interval.until))
        .collect();
    stored
}

/// Changes what a correct installation stores, and returns the kinds of the findings.
fn found(change: impl FnOnce(&mut Stored)) -> BTreeSet<Breach> {
    let owed = owed();
    let mut stored = stored(&owed);
    change(&mut stored);
    compare(&owed, &stored).into_iter().map(|finding| finding.breach).collect()
}

#[test]
fn the_records_of_these_tests_have_all_kinds_of_outcomes() {
    let stored = stored(&owed());
    let counts = [stored.readings.len(), stored.versions.len(), stored.duplicates.len(), stored.commands.len()];
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    let reasons: BTreeSet<&str> = stored.letters.iter().map(|letter| letter.reason.as_str()).collect();
    assert_eq!(reasons, BTreeSet::from(["malformed", "row-refused"]));
    assert_eq!(found(|_| {}), BTreeSet::new(), "a correct installation");
}

#[test]
fn what_is_missing_is_lost() {
    let lost = BTreeSet::from([Breach::Lost]);
    assert_eq!(found(|stored| _ = stored.readings.pop()), lost);
    assert_eq!(found(|stored| _ = stored.versions.pop()), lost);
    assert_eq!(found(|stored| _ = stored.duplicates.pop()), lost);
    assert_eq!(found(|stored| _ = stored.letters.pop()), lost);
    assert_eq!(found(|stored| _ = stored.outcomes.pop()), lost);
    assert_eq!(found(|stored| stored.commands.clear()), lost);
    assert_eq!(found(|stored| stored.holdings.clear()), lost);
}

#[test]
fn what_is_there_twice_is_duplicated() {
    let duplicated = BTreeSet::from([Breach::Duplicated]);
    let another = Uuid::from_u128(1);
    assert_eq!(
        found(|stored| stored.readings.push(StoredRow { reading_id: another, ..stored.readings[0] })),
        duplicated
    );
    assert_eq!(found(|stored| stored.duplicates.push((another, stored.readings[0].at))), duplicated);
    assert_eq!(found(|stored| stored.letters.push(stored.letters[0].clone())), duplicated);
    assert_eq!(found(|stored| stored.outcomes.push(stored.outcomes[0])), duplicated);
}

#[test]
fn what_nothing_explains_is_unexplained() {
    let unexplained = BTreeSet::from([Breach::Unexplained]);
    let nowhere = |item: Item| Item { raw: RawPosition { offset: 77, ..item.raw }, ..item };
    assert_eq!(
        found(|stored| {
            let row = stored.readings[0];
            stored.readings.push(StoredRow { reading_id: Uuid::from_u128(1), at: nowhere(row.at), ..row });
        }),
        unexplained
    );
    // The content that is not current stands in the place of the one that is.
    let swapped = found(|stored| std::mem::swap(&mut stored.readings, &mut stored.versions));
    assert!(swapped.contains(&Breach::Unexplained), "{swapped:?}");
    assert_eq!(
        found(|stored| stored.values.values_mut().for_each(|reading| reading.reading.measured_from = Some(1))),
        unexplained
    );
    assert_eq!(
        found(|stored| stored.letters.push(Letter { at: nowhere(stored.letters[0].at), ..stored.letters[0].clone() })),
        unexplained
    );
    assert_eq!(found(|stored| stored.outcomes[0].counts.items += 1), unexplained);
    assert_eq!(found(|stored| stored.commands.values_mut().for_each(|verdict| *verdict = None)), unexplained);
}

/// A log of two requests that were answered, and their records.
fn answered() -> (SendLog, Records) {
    let mut dice = StdRng::seed_from_u64(1);
    let (mut log, mut records) = (SendLog::default(), Records::new());
    for offset in 0..2 {
        let request = Request::probe(&mut dice, 1);
        let position = RawPosition { topic: request.topic, topic_epoch: 0, partition: 0, offset };
        let mut stored = record(request.kind, &request.body);
        if let Ok(headers) = &mut stored.headers {
            headers.content_type = Some(request.content_type.to_owned());
            headers.correlation_id.clone_from(&request.correlation_id);
        }
        records.insert(position, stored);
        log.count_attempt(&request);
        log.commands.entry("device".to_owned()).or_default().push(position);
        log.obligations.push(Obligation { request: Arc::new(request), position });
    }
    (log, records)
}

/// Changes the log or the records, and returns the kinds of the findings.
fn broken(change: impl FnOnce(&mut SendLog, &mut Records)) -> BTreeSet<Breach> {
    let (mut log, mut records) = answered();
    change(&mut log, &mut records);
    obligations::check(&log, &records, false).findings.0.into_iter().map(|finding| finding.breach).collect()
}

#[test]
fn each_answer_is_an_obligation() {
    assert_eq!(broken(|_, _| {}), BTreeSet::new());
    let first = |records: &Records| *records.keys().next().unwrap();
    let remove = |_: &mut SendLog, records: &mut Records| _ = records.remove(&first(records));
    assert_eq!(broken(remove), BTreeSet::from([Breach::Lost]));
    let bytes = broken(|_, records| records.values_mut().for_each(|record| record.body.push(b' ')));
    assert_eq!(bytes, BTreeSet::from([Breach::Lost, Breach::Unexplained]), "and nobody sent the other bytes");
    let unexplained = BTreeSet::from([Breach::Unexplained]);
    let other_id = |record: &mut Record| record.headers.as_mut().unwrap().correlation_id.push('x');
    assert_eq!(broken(|_, records| records.values_mut().for_each(other_id)), unexplained);
    assert_eq!(broken(|log, _| log.complaints.push("a request is answered 404".to_owned())), unexplained);
    assert_eq!(broken(|log, _| log.commands.values_mut().for_each(|sent| sent.reverse())), unexplained);
    let same = broken(|log, _| log.obligations[1].position = log.obligations[0].position);
    assert!(same.contains(&Breach::Unexplained), "two answers name one record: {same:?}");
}

#[test]
fn a_request_without_an_answer_may_be_stored_once_for_each_attempt() {
    let again = |records: &mut Records| {
        let (position, first) = records.iter().next().unwrap();
        let copy = Record { received_at: 0, headers: first.headers.clone(), body: first.body.clone() };
        records.insert(RawPosition { offset: 2, ..*position }, copy);
    };
    let attempts = |log: &mut SendLog| log.attempts.values_mut().for_each(|attempts| *attempts += 1);
    assert_eq!(broken(|_, records| again(records)), BTreeSet::from([Breach::Duplicated]));
    let (log, mut records) = answered();
    again(&mut records);
    let checked = obligations::check(&log, &records, true);
    assert_eq!((checked.findings.0, checked.repeated), (Vec::new(), 1), "the broker was silent");
    let retried = broken(|log, records| {
        attempts(log);
        again(records);
    });
    assert_eq!(retried, BTreeSet::new());
    assert_eq!(broken(|log, _| log.attempts.clear()), BTreeSet::from([Breach::Unexplained]));
}
