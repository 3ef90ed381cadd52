//! Writes documents, each once.

use std::collections::BTreeMap;

use schemas::event::Document;
use sqlx::PgConnection;

use super::moment;
use crate::item::{Body, Item};

/// Writes the documents among the items. A document that is already stored is not changed.
pub(super) async fn write(connection: &mut PgConnection, items: &[Item]) -> Result<(), sqlx::Error> {
    let documents: BTreeMap<[u8; 32], &Document> = items
        .iter()
        .filter_map(|item| match &item.body {
            Body::Document(document) => Some((document.sha256, document.as_ref())),
            Body::Reading(_) | Body::Assignment(_) | Body::Outcome(_) | Body::DeadLetter(_) | Body::Refused(_) => None,
        })
        .collect();
    if documents.is_empty() {
        return Ok(());
    }
    let texts = |pick: for<'d> fn(&'d Document) -> Option<&'d str>| -> Vec<Option<&str>> {
        documents.values().map(|document| pick(document)).collect()
    };
    sqlx::query!(
        "INSERT INTO documents (sha256, content_type, content, provider, source, received_at, key_id) \
         SELECT sha256, content_type, content, provider::provider, source, received_at, key_id \
         FROM unnest($1::bytea[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::timestamptz[], $7::text[]) \
             n(sha256, content_type, content, provider, source, received_at, key_id) \
         ON CONFLICT (sha256) DO NOTHING",
        documents.keys().map(<[u8; 32]>::as_slice).collect::<Vec<_>>() as _,
        texts(|document| Some(&document.content_type)) as _,
        documents.values().map(|document| document.content.as_slice()).collect::<Vec<_>>() as _,
        texts(|document| Some(document.provider.as_str())) as _,
        texts(|document| Some(document.source.as_str())) as _,
        documents.values().map(|document| moment(document.received_at)).collect::<Vec<_>>() as _,
        texts(|document| document.key_id.as_deref()) as _
    )
    .execute(connection)
    .await?;
    Ok(())
}
