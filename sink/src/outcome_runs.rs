//! Outcomes as runs: adjacent raw records with the same outcome share a row.

use std::collections::BTreeMap;

use schemas::version::MappedBy;

/// The outcome of a raw record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordOutcome {
    /// The number of items in the record.
    pub items: i32,
    /// The number of readings made of them.
    pub readings: i32,
    /// The number of device commands made of them.
    pub commands: i32,
    /// The number of items that were refused.
    pub rejections: i32,
    /// What mapped the record.
    pub mapped_by: MappedBy,
}

/// Adjacent records with the same outcome, from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// The outcome of each record.
    pub outcome: RecordOutcome,
}

/// Merges new outcomes into the stored runs, which are disjoint and ordered. If an offset is in both, the outcome of the later
/// mapping wins.
#[must_use]
pub fn merge(stored: &[Run], new: &BTreeMap<i64, RecordOutcome>) -> Vec<Run> {
    let mut merged: Vec<Run> = Vec::new();
    let mut push = |run: Run| {
        if run.first > run.last {
            return;
        }
        match merged.last_mut() {
            Some(last) if last.last + 1 == run.first && last.outcome == run.outcome => last.last = run.last,
            Some(_) | None => merged.push(run),
        }
    };
    let mut incoming = new.iter().peekable();
    for run in stored {
        let mut from = run.first;
        while let Some((&offset, &outcome)) = incoming.peek().copied() {
            if offset > run.last {
                break;
            }
            incoming.next();
            if offset < run.first {
                push(Run { first: offset, last: offset, outcome });
            } else if outcome.mapped_by > run.outcome.mapped_by {
                push(Run { first: from, last: offset - 1, outcome: run.outcome });
                push(Run { first: offset, last: offset, outcome });
                from = offset + 1;
            }
        }
        push(Run { first: from, last: run.last, outcome: run.outcome });
    }
    for (&offset, &outcome) in incoming {
        push(Run { first: offset, last: offset, outcome });
    }
    merged
}
