//! Finds the rows of a batch that Postgres refuses, and replaces them by dead letters.

use std::collections::BTreeSet;

use super::Writer;
use crate::{
    batch::Batch,
    encoded_readings::EncodedReadings,
    item::{Body, Item, Partition},
    write::WriteError,
};
use store::error_class::{ErrorClass, error_class, name};

impl Writer {
    /// Replaces the items that Postgres refuses by dead letters. Returns false if none was found.
    pub(super) async fn refuse_bad_rows(&mut self, batch: &mut Batch) -> bool {
        let found = self.refuse_readings(batch).await || self.refuse_by_bisection(&mut batch.items).await;
        if found {
            batch.encoded = EncodedReadings::of(&batch.items);
        }
        found
    }

    /// Replaces commands by dead letters if other commands are stored at their positions. Nothing is lost: under a higher topic
    /// epoch the normalizer maps these commands again.
    pub(super) fn refuse_reused(&self, batch: &mut Batch, reused: &[(Partition, i64)]) {
        tracing::error!(
            commands = reused.len(),
            "device commands are refused because other commands are stored at their positions: raw.devices was recreated; raise \
             TOPIC_EPOCH of the ingress and the normalizer, and restart both"
        );
        let reused: BTreeSet<&(Partition, i64)> = reused.iter().collect();
        for item in &mut batch.items {
            if reused.contains(&(item.origin.partition, item.origin.offset)) {
                self.refuse(
                    item,
                    "another command is stored at its position: raw.devices was recreated under the same epoch",
                );
            }
        }
    }

    /// Lets Postgres try all readings one by one, in one statement: nearly all bad rows are readings, and there may be thousands.
    async fn refuse_readings(&mut self, batch: &mut Batch) -> bool {
        let Ok(mut session) = self.session().await else { return false };
        let Ok(refused) = session.refused_rows(&mut batch.encoded).await else { return false };
        self.session = Some(session);
        let mut found = false;
        for item in &mut batch.items {
            if let Body::Reading(row) = &item.body
                && let Some(code) = refused.get(&(row.reading.reading_id, row.content()))
            {
                found |= self.refuse(item, &format!("SQLSTATE {code}"));
            }
        }
        found
    }

    /// Finds other items by bisection, and readings that are refused only together with rows that are stored.
    async fn refuse_by_bisection(&mut self, items: &mut [Item]) -> bool {
        let mut found = false;
        let mut suspects = Vec::from([(0, items.len())]);
        while let Some((start, end)) = suspects.pop() {
            let Some(part) = items.get_mut(start..end) else { continue };
            match (self.rehearse(part).await, part) {
                (Rehearsal::Accepted, _) | (_, []) => {}
                (Rehearsal::Unavailable, _) => return found,
                (Rehearsal::Refused(detail), [item]) => found |= self.refuse(item, &detail),
                (Rehearsal::Refused(_), part) => {
                    let middle = start + part.len() / 2;
                    suspects.extend([(start, middle), (middle, end)]);
                }
            }
        }
        found
    }

    async fn rehearse(&mut self, items: &[Item]) -> Rehearsal {
        let Ok(mut session) = self.session().await else { return Rehearsal::Unavailable };
        let error = match session.rehearse(&self.config.topics, items).await {
            Ok(()) => {
                self.session = Some(session);
                return Rehearsal::Accepted;
            }
            Err(WriteError::Fenced | WriteError::Schema(_) | WriteError::PositionsReused(_)) => {
                return Rehearsal::Unavailable;
            }
            Err(WriteError::Database(error)) => error,
        };
        match error_class(&error) {
            ErrorClass::BadRow | ErrorClass::Conflict => {
                // The transaction is rolled back, and the connection can be used again.
                self.session = Some(session);
                Rehearsal::Refused(name(&error))
            }
            ErrorClass::Outage | ErrorClass::Setup | ErrorClass::Defect => Rehearsal::Unavailable,
        }
    }

    fn refuse(&self, item: &mut Item, detail: &str) -> bool {
        let Ok(decoder) = self.decoder.read() else { return false };
        *item = decoder.refuse_item(item, detail);
        true
    }
}

enum Rehearsal {
    Accepted,
    /// Refused, with the SQLSTATE.
    Refused(String),
    Unavailable,
}
