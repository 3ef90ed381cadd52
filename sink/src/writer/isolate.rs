//! Finds the rows of a batch that Postgres refuses, and replaces them by dead letters.

use std::collections::BTreeSet;

use super::Writer;
use crate::{
    batch::Batch,
    item::{Body, Item, Partition},
    staged::Staged,
    write::WriteError,
};
use store::error_class::{ErrorClass, error_class, name};

impl Writer {
    /// Replaces the items that Postgres refuses by dead letters. Returns false if none was found.
    pub(super) async fn isolate(&mut self, batch: &mut Batch) -> bool {
        let found = self.try_readings(batch).await || self.halve(&mut batch.items).await;
        if found {
            batch.staged = Staged::of(&batch.items);
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
            if reused.contains(&(item.origin.place, item.origin.offset)) {
                self.refuse(
                    item,
                    "another command is stored at its position: raw.devices was recreated under the same epoch",
                );
            }
        }
    }

    /// Lets Postgres try all readings one by one, in one statement: nearly all bad rows are readings, and there may be thousands.
    async fn try_readings(&mut self, batch: &mut Batch) -> bool {
        let Ok(mut session) = self.session().await else { return false };
        let Ok(refused) = session.refused(&mut batch.staged).await else { return false };
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
    async fn halve(&mut self, items: &mut [Item]) -> bool {
        let mut found = false;
        let mut suspects = Vec::from([(0, items.len())]);
        while let Some((start, end)) = suspects.pop() {
            let Some(part) = items.get_mut(start..end) else { continue };
            match (self.rehearse(part).await, part) {
                (Rehearsal::Good, _) | (_, []) => {}
                (Rehearsal::Away, _) => return found,
                (Rehearsal::Bad(detail), [item]) => found |= self.refuse(item, &detail),
                (Rehearsal::Bad(_), part) => {
                    let middle = start + part.len() / 2;
                    suspects.extend([(start, middle), (middle, end)]);
                }
            }
        }
        found
    }

    async fn rehearse(&mut self, items: &[Item]) -> Rehearsal {
        let Ok(mut session) = self.session().await else { return Rehearsal::Away };
        let error = match session.rehearse(&self.config.topics, items).await {
            Ok(()) => {
                self.session = Some(session);
                return Rehearsal::Good;
            }
            Err(WriteError::Fenced | WriteError::Schema(_) | WriteError::PositionsReused(_)) => return Rehearsal::Away,
            Err(WriteError::Database(error)) => error,
        };
        match error_class(&error) {
            ErrorClass::BadRow | ErrorClass::Conflict => {
                // The transaction is rolled back, and the connection can be used again.
                self.session = Some(session);
                Rehearsal::Bad(name(&error))
            }
            ErrorClass::Outage | ErrorClass::Setup | ErrorClass::Defect => Rehearsal::Away,
        }
    }

    fn refuse(&self, item: &mut Item, detail: &str) -> bool {
        let Ok(decoder) = self.decoder.read() else { return false };
        *item = decoder.refuse_item(item, detail);
        true
    }
}

enum Rehearsal {
    Good,
    /// Refused, with the SQLSTATE.
    Bad(String),
    Away,
}
