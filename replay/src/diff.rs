//! The result of a comparison: what a replay would change.

use std::collections::{BTreeMap, BTreeSet};

use schemas::receipt::{RawPosition, ReceiptKey};
use serde::Serialize;
use sqlx::PgConnection;
use store::replay::{self, Change, ChangeGroup, ChangeKind, Job, PagePosition, Pass, changes, count_by_kind, groups};
use uuid::Uuid;

use crate::{counts::Counts, error::ReplayError, scope::Scope, state::receipt_at};

/// The number of changes that are read at once.
const PAGE: i64 = 10_000;

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedChange {
    /// The reading; for a device command, the device; `None` for a raw record with another outcome.
    pub id: Option<Uuid>,
    /// How it differs: added, changed, withdrawn, command or record.
    pub kind: &'static str,
    /// The fields that differ, if it is changed.
    pub fields: Vec<String>,
    /// The receipt of the payload; of a withdrawn reading, that of the payload that no longer yields it.
    pub receipt: String,
}

/// Readings or commands with the same difference, code and device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// How they differ: added, changed, withdrawn or command.
    pub kind: &'static str,
    /// The code system of the new code; of a withdrawn reading, of the stored one. Absent for a command.
    pub code_system: Option<String>,
    /// The code.
    pub code: Option<String>,
    /// The display text of the code.
    pub display: Option<String>,
    /// The id of the device.
    pub device: Option<String>,
    /// The number of them.
    pub readings: i64,
    /// The number of them in which each field differs.
    pub fields: BTreeMap<String, i64>,
    /// The receipt of the first of them.
    pub receipt: String,
}

/// What a replay would change, or has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The number of the replay.
    pub replay: i32,
    /// The state of the replay.
    pub state: &'static str,
    /// What was compared.
    pub scope: String,
    /// The version of the mapping.
    pub mapping_version: i32,
    /// The revision of the installation's own catalogue; 0 without one.
    pub catalogue_revision: i32,
    /// The number of readings that are not stored.
    pub added: i64,
    /// The number of readings that are stored with other fields.
    pub changed: i64,
    /// The number of readings that no raw record yields any more.
    pub withdrawn: i64,
    /// The number of device commands that are not stored, or are stored with other fields.
    pub commands: i64,
    /// The number of raw records whose outcome, refused items or documents differ.
    pub outcomes: i64,
    /// What was counted.
    #[serde(flatten)]
    pub counts: Counts,
    /// The differences, by kind, code and device.
    pub groups: Vec<Group>,
}

impl Diff {
    /// Returns whether the replay has nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added == 0 && self.changed == 0 && self.withdrawn == 0 && self.commands == 0 && self.outcomes == 0
    }

    pub(crate) async fn load(connection: &mut PgConnection, job: &Job, key: &ReceiptKey) -> Result<Self, ReplayError> {
        let mut counts = Counts::default();
        for range in replay::ranges(connection, job.replay_id, Pass::Compare).await? {
            counts.add(&Counts::from_stored(&range.counts));
        }
        let by_kind = count_by_kind(connection, job.replay_id).await?;
        let count = |kind| by_kind.get(&kind).copied().unwrap_or(0);
        let receipt = |ChangeGroup { first: (raw, item), .. }: &ChangeGroup| receipt_at(*raw, (*item).max(0), key);
        let groups = groups(connection, job.replay_id).await?;
        Ok(Self {
            replay: job.replay_id,
            state: job.state.as_str(),
            scope: Scope::from_stored(&job.scope).map(|scope| scope.describe()).unwrap_or_default(),
            mapping_version: job.mapping_version,
            catalogue_revision: job.catalogue_revision,
            added: count(ChangeKind::Added),
            changed: count(ChangeKind::Changed),
            withdrawn: count(ChangeKind::Withdrawn),
            commands: count(ChangeKind::Command),
            outcomes: count(ChangeKind::Record),
            counts,
            groups: groups
                .into_iter()
                .map(|group| Group {
                    receipt: receipt(&group),
                    kind: group.kind.as_str(),
                    code_system: group.code_system,
                    code: group.code,
                    display: group.display,
                    device: group.device_id,
                    readings: group.count,
                    fields: group.fields,
                })
                .collect(),
        })
    }
}

/// Returns every reading and device command that differs, and every raw record with another outcome.
///
/// # Errors
/// Postgres is unavailable.
pub async fn listed_changes(
    connection: &mut PgConnection,
    replay_id: i32,
    key: &ReceiptKey,
) -> Result<Vec<ListedChange>, ReplayError> {
    let (mut listed, mut after) = (Vec::new(), None);
    // A reading that several items deliver differs at each of them.
    let mut seen = BTreeSet::new();
    loop {
        let page = changes(connection, replay_id, after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(listed) };
        after = Some(PagePosition::after(last));
        listed.extend(page.into_iter().filter_map(|change| {
            let is_listed = match change.kind {
                ChangeKind::Added
                | ChangeKind::Changed
                | ChangeKind::Withdrawn
                | ChangeKind::Command
                | ChangeKind::Record => true,
                ChangeKind::Missing | ChangeKind::Moved => false,
            };
            (is_listed && seen.insert((change.kind, change.subject_id, record_of(&change)))).then(|| ListedChange {
                id: Some(change.subject_id).filter(|id| !id.is_nil()),
                kind: change.kind.as_str(),
                receipt: receipt_at(change.raw, change.item.max(0), key),
                fields: change.fields,
            })
        }));
    }
}

/// The raw record of a difference that is not one of a reading: a device may have several commands that differ.
fn record_of(change: &Change) -> Option<RawPosition> {
    matches!(change.kind, ChangeKind::Command | ChangeKind::Record).then_some(change.raw)
}
