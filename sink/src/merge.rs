//! Plans how the versions of a reading in Postgres and in a batch are merged, as steps that can be executed for many readings
//! at once.

use std::collections::{BTreeMap, BTreeSet};

use schemas::version::{Appended, MappedBy, Version};
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

/// An item from which a reading was delivered, in the form in which it identifies a delivery: without the time of its append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveredFrom(Appended);

impl DeliveredFrom {
    /// Returns the item of an append.
    #[must_use]
    pub const fn of(append: Appended) -> Self {
        Self(Appended { at: 0, ..append })
    }

    /// Returns the item. The time of its append is 0.
    #[must_use]
    pub const fn item(&self) -> &Appended {
        &self.0
    }
}

/// What withdrew each delivery that a replay withdrew.
pub type Withdrawals = BTreeMap<DeliveredFrom, MappedBy>;

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
    /// Insert the staged row of this content and version as the current row.
    pub put_current: Option<(Uuid, Version)>,
    /// Insert the staged rows of these contents and versions into the archive.
    pub put_archived: Vec<(Uuid, Version)>,
    /// Update what is known of these contents.
    pub touch: Vec<(Uuid, Version)>,
    /// Items that are represented by the row of another item.
    pub duplicates: BTreeSet<DeliveredFrom>,
    /// Items that have rows, and so are not duplicates, or no longer.
    pub rows: BTreeSet<DeliveredFrom>,
}

/// A delivery in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The hash of the content.
    pub content: Uuid,
    /// The version of the delivery alone.
    pub version: Version,
}

/// A content while its versions are joined.
struct Content {
    stored: Option<Stored>,
    version: Version,
    /// The delivery of the batch whose row is to be stored; `None` if that is the stored one.
    staged: Option<Version>,
}

/// Plans the steps for one reading. `stored` is what Postgres contains, `delivered` is in the batch, and `withdrawals` are those of
/// both. A delivery that a later mapping withdrew is ignored.
#[must_use]
pub fn plan(stored: &[Stored], delivered: &[Delivered], withdrawals: &Withdrawals) -> Plan {
    let is_withdrawn = |version: &Version| {
        withdrawals.get(&DeliveredFrom::of(version.row)).is_some_and(|by| *by > version.mapped_by) || version.withdrawn
    };
    let mut contents: BTreeMap<Uuid, Content> = BTreeMap::new();
    for known in stored {
        let version = Version { withdrawn: is_withdrawn(&known.version), ..known.version };
        contents.insert(known.content, Content { stored: Some(*known), version, staged: None });
    }
    for Delivered { content, version } in
        delivered.iter().filter(|one| one.version.withdrawn || !is_withdrawn(&one.version))
    {
        contents
            .entry(*content)
            .and_modify(|known| {
                if !known.version.keeps_row_over(version) {
                    known.staged = Some(*version);
                }
                known.version = known.version.join(*version);
            })
            .or_insert(Content { stored: None, version: *version, staged: Some(*version) });
    }
    let current =
        contents.iter().max_by_key(|(content, known)| (known.version, **content)).map(|(content, _)| *content);
    #[cfg(feature = "planted-bugs")]
    let oldest = contents.iter().min_by_key(|(content, known)| (known.version, **content)).map(|(content, _)| *content);
    #[cfg(feature = "planted-bugs")]
    let current = if service::planted_bug::PlantedBug::WrongVersionOrder.is_planted() { oldest } else { current };
    let mut plan = Plan::default();
    for (content, Content { stored: known, version, staged }) in &contents {
        let is_current = Some(*content) == current;
        match (known.map(|known| known.location), staged.is_some(), is_current) {
            (Some(Location::Current), false, true) | (Some(Location::Archived), false, false) => {}
            (Some(Location::Current), false, false) => (plan.archive, plan.clear) = (true, true),
            (Some(Location::Current), true, true) => {
                plan.clear = true;
                plan.put_current = staged.map(|version| (*content, version));
            }
            (Some(Location::Current), true, false) => {
                plan.clear = true;
                plan.put_archived.extend(staged.map(|version| (*content, version)));
            }
            (Some(Location::Archived), false, true) => plan.restore = Some(*content),
            (Some(Location::Archived), true, true) => {
                plan.drop_archived.push(*content);
                plan.put_current = staged.map(|version| (*content, version));
            }
            (Some(Location::Archived), true, false) => {
                plan.drop_archived.push(*content);
                plan.put_archived.extend(staged.map(|version| (*content, version)));
            }
            (None, _, true) => plan.put_current = staged.map(|version| (*content, version)),
            (None, _, false) => plan.put_archived.extend(staged.map(|version| (*content, version))),
        }
        if staged.or(known.map(|known| known.version)) != Some(*version) {
            plan.touch.push((*content, *version));
        }
        if !version.withdrawn {
            plan.rows.insert(DeliveredFrom::of(version.row));
        }
    }
    let all = stored.iter().map(|known| &known.version).chain(delivered.iter().map(|one| &one.version));
    plan.duplicates = all
        .filter(|version| !is_withdrawn(version))
        .map(|version| DeliveredFrom::of(version.row))
        .filter(|from| !plan.rows.contains(from))
        .collect();
    plan
}
