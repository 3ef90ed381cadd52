//! Plans how the versions of a reading in Postgres and in a batch are merged, as steps that can be executed for many readings
//! at once.

use std::collections::{BTreeMap, BTreeSet};

use schemas::version::{Appended, Version};
use uuid::Uuid;

/// Where the row of a content is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// The row in `readings`.
    Current,
    /// A row in `reading_versions`.
    Archived,
}

/// A content that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The hash of the content.
    pub content: Uuid,
    /// What is known of the content.
    pub version: Version,
    /// Where its row is.
    pub location: Location,
}

/// The steps for one reading, to be executed in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Copy the current row to the archive.
    pub archive: bool,
    /// Delete the current row.
    pub clear: bool,
    /// Delete these archived rows, because better ones of the same content are staged.
    pub drop_archived: Vec<Uuid>,
    /// Move this content from the archive to the current place.
    pub restore: Option<Uuid>,
    /// Insert the staged row of this content as the current row.
    pub put_current: Option<Uuid>,
    /// Insert the staged rows of these contents into the archive.
    pub put_archived: Vec<Uuid>,
    /// Update what is known of these contents.
    pub touch: Vec<(Uuid, Version)>,
    /// Items that are represented by the row of another item.
    pub duplicates: BTreeSet<Appended>,
    /// Items that have rows, and so are not duplicates, or no longer.
    pub rows: BTreeSet<Appended>,
}

/// Plans the steps for one reading. `stored` is what Postgres contains, `staged` the version of each content in the batch,
/// and `delivered` the position of each delivery in the batch.
#[must_use]
pub fn plan(stored: &[Stored], staged: &BTreeMap<Uuid, Version>, delivered: &BTreeSet<Appended>) -> Plan {
    let mut contents: BTreeMap<Uuid, (Option<Stored>, Version, bool)> =
        stored.iter().map(|known| (known.content, (Some(*known), known.version, false))).collect();
    for (content, version) in staged {
        let entry = contents.entry(*content).or_insert((None, *version, true));
        if let Some(known) = entry.0 {
            let takes_row = !known.version.keeps_row_over(version);
            *entry = (Some(known), known.version.join(*version), takes_row);
        }
    }
    let current = contents.iter().max_by_key(|(content, (_, version, _))| (*version, **content)).map(|(c, _)| *c);
    let mut plan = Plan::default();
    for (content, (known, version, from_stage)) in &contents {
        let is_current = Some(*content) == current;
        match (known.map(|known| known.location), from_stage, is_current) {
            (Some(Location::Current), false, true) | (Some(Location::Archived), false, false) => {}
            (Some(Location::Current), false, false) => (plan.archive, plan.clear) = (true, true),
            (Some(Location::Current), true, true) => (plan.clear, plan.put_current) = (true, Some(*content)),
            (Some(Location::Current), true, false) => {
                plan.clear = true;
                plan.put_archived.push(*content);
            }
            (Some(Location::Archived), false, true) => plan.restore = Some(*content),
            (Some(Location::Archived), true, true) => {
                plan.drop_archived.push(*content);
                plan.put_current = Some(*content);
            }
            (Some(Location::Archived), true, false) => {
                plan.drop_archived.push(*content);
                plan.put_archived.push(*content);
            }
            (None, _, true) => plan.put_current = Some(*content),
            (None, _, false) => plan.put_archived.push(*content),
        }
        let written = if *from_stage { staged.get(content).copied() } else { known.map(|known| known.version) };
        if written != Some(*version) {
            plan.touch.push((*content, *version));
        }
        plan.rows.insert(version.row);
    }
    let all = stored.iter().map(|known| known.version.row).chain(delivered.iter().copied());
    plan.duplicates = all.filter(|position| !plan.rows.contains(position)).collect();
    plan
}
