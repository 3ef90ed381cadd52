//! The documents of a message, such as PDF reports.

use base64::{Engine, engine::general_purpose::STANDARD};
use catalogue::{Vocabulary, metric_by_spelling};
use schemas::{
    event::{Document, DocumentReference, Reading, UnknownKind, Value},
    rejection::Reason,
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    message::Head,
    value::local,
    wire::{Member, read, shaped},
};
use crate::{
    json::{Members, Word},
    observed::{Coded, ItemResults, coding},
    refusal::{Refused, refused},
};

/// Maps the documents of a message. `first` is the item index of the first document.
pub(super) fn attached(head: &Head<'_>, first: u32, raw: &RawValue, items: &mut ItemResults) {
    let members = match shaped::<Option<Members<'_>>>("documents", raw) {
        Ok(members) => members,
        Err(refusal) => {
            return items.add(first, head.own(Err(refusal)), &head.sent.measured(&["documents"], raw.get()));
        }
    };
    for (item, (name, raw)) in (first..).zip(members.map_or(Vec::new(), |members| members.0)) {
        if metric_by_spelling(Vocabulary::Medisante, &name.0).is_none() {
            items.unknown.member(UnknownKind::Metric, "measurements.documents.", &name.0, raw);
        }
        let found = document(head, &Member { item, name: &name.0, raw }).map(|(reading, document)| {
            items.documents.push(document);
            reading
        });
        items.add(item, head.own(found), &head.sent.document(&name.0, raw.get()));
    }
}

fn document(head: &Head<'_>, member: &Member<'_>) -> Result<(Reading, Document), Refused> {
    const INVALID: Refused = refused(Reason::DocumentInvalid, "a document is not standard base64");
    let Member { item, name, raw } = *member;
    let word = read::<Word<'_>>(raw).ok_or(INVALID)?;
    let content = STANDARD.decode(word.0.trim()).map_err(|_| INVALID)?;
    if content.is_empty() {
        return Err(refused(Reason::DocumentInvalid, "a document is empty"));
    }
    let sha256: [u8; 32] = Sha256::digest(&content).into();
    let is_pdf = name.to_ascii_lowercase().ends_with("pdf");
    let content_type = if is_pdf { "application/pdf" } else { "application/octet-stream" };
    let metric = metric_by_spelling(Vocabulary::Medisante, name);
    let coded = Coded {
        code: metric.map_or_else(|| local(name), |metric| coding(metric.code())),
        source_codes: vec![local(name)],
        value: Value::Document(DocumentReference {
            sha256,
            content_type: content_type.to_owned(),
            bytes: i64::try_from(content.len()).unwrap_or(i64::MAX),
            title: None,
        }),
        flags: Vec::new(),
    };
    let reading = head.reading(item, name, coded.into(), &[Some(word.0.as_ref())])?;
    let document = Document {
        sha256,
        content_type: content_type.to_owned(),
        content,
        provider: head.payload.provider,
        source: head.payload.record.headers.source.clone(),
        received_at: head.payload.record.received_at,
        key_id: head.payload.record.headers.key_id.clone(),
    };
    Ok((reading, document))
}
