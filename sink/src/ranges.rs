//! Outcomes as runs: raw records side by side that ended alike share a row.

use std::collections::BTreeMap;

/// How a raw record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Items in it.
    pub items: i32,
    /// Readings made of them.
    pub readings: i32,
    /// Device commands made of them.
    pub commands: i32,
    /// Items refused.
    pub rejections: i32,
    /// The mapping that judged.
    pub mapping_version: i32,
}

/// Records from `first` to `last`, both included, that ended alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
    /// How each of them ended.
    pub ending: Ending,
}

/// The runs that `stored` (disjoint, in order) and `new` come to; where an offset is in both, the higher mapping version decides.
#[must_use]
pub fn merge(stored: &[Run], new: &BTreeMap<i64, Ending>) -> Vec<Run> {
    let mut merged: Vec<Run> = Vec::new();
    let mut push = |run: Run| {
        if run.first > run.last {
            return;
        }
        match merged.last_mut() {
            Some(last) if last.last + 1 == run.first && last.ending == run.ending => last.last = run.last,
            Some(_) | None => merged.push(run),
        }
    };
    let mut incoming = new.iter().peekable();
    for run in stored {
        let mut from = run.first;
        while let Some((&offset, &ending)) = incoming.peek().copied() {
            if offset > run.last {
                break;
            }
            incoming.next();
            if offset < run.first {
                push(Run { first: offset, last: offset, ending });
            } else if ending.mapping_version > run.ending.mapping_version {
                push(Run { first: from, last: offset - 1, ending: run.ending });
                push(Run { first: offset, last: offset, ending });
                from = offset + 1;
            }
        }
        push(Run { first: from, last: run.last, ending: run.ending });
    }
    for (&offset, &ending) in incoming {
        push(Run { first: offset, last: offset, ending });
    }
    merged
}
