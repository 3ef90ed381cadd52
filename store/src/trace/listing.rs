//! Lists the readings and dead letters of a payload, all of them or a limited number of each kind.

use schemas::receipt::ItemPosition;
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::{FOUND, keys};
use crate::topic_code;

/// One row of a reading (the reading itself or a part of a panel) without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedReading {
    /// The item within the payload.
    pub item: i32,
    /// `current`, `superseded` by another version, `duplicate` of another item, or `withdrawn` by a replay.
    pub state: String,
    /// The row in the view. Of a superseded version, which is not in the view, what the row would have been.
    #[serde(flatten)]
    pub row: ReadingRow,
}

/// A row of the view `all_readings`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadingRow {
    /// The id of the reading.
    pub reading_id: Uuid,
    /// The number of the part of a panel; 0 for the reading itself.
    pub component: i32,
    /// The code system.
    pub code_system: Option<String>,
    /// The code.
    pub code: Option<String>,
    /// The display text of the code.
    pub display: Option<String>,
    /// The state of the observation.
    pub status: String,
    /// How the patient is known, or why no patient is known; for a superseded version that of the current one.
    pub attribution: String,
}

/// A dead letter of the payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedDeadLetter {
    /// The first item; -1 for the whole payload.
    pub item: i32,
    /// The number of consecutive items.
    pub item_count: i32,
    /// The stage that refused the items: `normalizer` or `sink`.
    pub stage: String,
    /// Why the items were refused.
    pub reason: String,
    /// What exactly is wrong.
    pub detail: String,
    /// `open`, `redriven`, `resolved` or `discarded`.
    pub state: String,
}

impl TracedDeadLetter {
    /// Returns whether the dead letter covers this item. A dead letter for the whole payload covers every item.
    #[must_use]
    pub fn covers(&self, item: i32) -> bool {
        self.item < 0 || (self.item..self.item.saturating_add(self.item_count)).contains(&item)
    }
}

/// The state of an item whose version is not the current one.
const SUPERSEDED: &str = "superseded";

#[derive(FromRow)]
struct FoundItem {
    reading_id: Uuid,
    content: Uuid,
    item: i32,
    state: String,
}

/// A row of a version that is not the current one.
struct VersionRow {
    reading_id: Uuid,
    content: Uuid,
    component: i32,
    code_system: Option<String>,
    code: Option<String>,
    display: Option<String>,
    status: String,
}

impl VersionRow {
    fn row(&self, current: &ReadingRow) -> ReadingRow {
        ReadingRow {
            reading_id: self.reading_id,
            component: self.component,
            code_system: self.code_system.clone(),
            code: self.code.clone(),
            display: self.display.clone(),
            status: self.status.clone(),
            attribution: current.attribution.clone(),
        }
    }
}

/// Which readings and dead letters of a payload are listed.
#[derive(Debug, Clone, Copy)]
pub struct ListingLimits {
    /// The largest number of readings with the same state, status and code, and of dead letters with the same stage, reason and state.
    /// `None` lists all.
    pub per_kind_max: Option<i64>,
    /// An item that is always listed.
    pub item: i32,
}

impl ListingLimits {
    /// The number of reading ids in one query, so that the size of an answer does not depend on the payload.
    const PAGE: usize = 1_000;

    /// Passes the readings of a payload to `visit` in the order of their items, including readings whose row came from
    /// another item.
    ///
    /// # Errors
    /// Postgres is unavailable, or the error of `visit`.
    pub async fn readings<E: From<sqlx::Error>>(
        self,
        connection: &mut PgConnection,
        position: &ItemPosition,
        mut visit: impl FnMut(TracedReading) -> Result<(), E>,
    ) -> Result<(), E> {
        for page in self.items(connection, position).await?.chunks(Self::PAGE) {
            let ids: Vec<Uuid> = page.iter().map(|found| found.reading_id).collect();
            let rows = sqlx::query_as!(
                ReadingRow,
                "SELECT reading_id AS \"reading_id!\", component AS \"component!\", code_system, code, display, \
                     status AS \"status!\", attribution AS \"attribution!\" FROM all_readings \
                 WHERE reading_id = ANY($1) ORDER BY reading_id, component",
                &ids
            )
            .fetch_all(&mut *connection)
            .await?;
            let versions = versions(connection, page).await?;
            for FoundItem { reading_id, content, item, state } in page {
                let start = rows.partition_point(|row| row.reading_id < *reading_id);
                let current = rows.iter().skip(start).take_while(|row| row.reading_id == *reading_id);
                let key = (*reading_id, *content);
                let start = versions.partition_point(|row| (row.reading_id, row.content) < key);
                let own = versions.iter().skip(start).take_while(|row| (row.reading_id, row.content) == key);
                let rows: Vec<ReadingRow> = if state == SUPERSEDED {
                    let first = current.clone().next();
                    own.filter_map(|version| Some(version.row(first?))).collect()
                } else {
                    current.cloned().collect()
                };
                for row in rows {
                    visit(TracedReading { item: *item, state: state.clone(), row })?;
                }
            }
        }
        Ok(())
    }

    async fn items(
        self,
        connection: &mut PgConnection,
        position: &ItemPosition,
    ) -> Result<Vec<FoundItem>, sqlx::Error> {
        let (epoch, partition, offset) = keys(position);
        let query = format!(
            "{FOUND}
             SELECT reading_id, content, item, state FROM (
                 SELECT f.reading_id, f.content, f.item, f.state,
                        row_number() OVER (PARTITION BY f.state, f.status, f.coding_id ORDER BY f.item) AS nth
                 FROM found f) numbered
             WHERE $5::bigint IS NULL OR nth <= $5 OR item = $6
             ORDER BY item, state"
        );
        sqlx::query_as(&query)
            .bind(epoch)
            .bind(partition)
            .bind(offset)
            .bind(topic_code(position.topic))
            .bind(self.per_kind_max)
            .bind(self.item)
            .fetch_all(connection)
            .await
    }

    /// Returns the dead letters of a payload, in the order of their items.
    ///
    /// # Errors
    /// Postgres is unavailable.
    pub async fn dead_letters(
        self,
        connection: &mut PgConnection,
        position: &ItemPosition,
    ) -> Result<Vec<TracedDeadLetter>, sqlx::Error> {
        let (epoch, partition, offset) = keys(position);
        sqlx::query_as!(
            TracedDeadLetter,
            "SELECT item, item_count, stage, reason, detail, state FROM (
                 SELECT item, item_count, stage, reason, detail, state,
                        row_number() OVER (PARTITION BY stage, reason, state ORDER BY item) AS nth
                 FROM dead_letters
                 WHERE raw_offset = $3 AND raw_partition = $2 AND topic_epoch = $1 AND raw_topic = $4) numbered
             WHERE $5::bigint IS NULL OR nth <= $5 OR (item <= $6 AND $6 - item < item_count)
             ORDER BY item, stage",
            epoch,
            partition,
            offset,
            position.topic.as_str(),
            self.per_kind_max,
            self.item
        )
        .fetch_all(connection)
        .await
    }
}

/// The rows of the superseded versions among the items, ordered by reading, content and component.
async fn versions(connection: &mut PgConnection, items: &[FoundItem]) -> Result<Vec<VersionRow>, sqlx::Error> {
    let superseded = || items.iter().filter(|found| found.state == SUPERSEDED);
    let ids: Vec<Uuid> = superseded().map(|found| found.reading_id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as!(
        VersionRow,
        "SELECT v.reading_id, v.content, c.component AS \"component!\", k.system AS \"code_system?\", k.code AS \"code?\", \
             k.display, v.status::text AS \"status!\" \
         FROM reading_versions v \
         CROSS JOIN LATERAL ( \
             SELECT 0 AS component, v.coding_id WHERE v.components IS NULL OR v.absent IS DISTINCT FROM 'panel' \
             UNION ALL \
             SELECT e.ordinality::integer, (e.value ->> 'c')::bigint \
             FROM jsonb_array_elements(v.components) WITH ORDINALITY e) c \
         LEFT JOIN codings k ON k.coding_id = c.coding_id \
         WHERE (v.reading_id, v.content) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[])) \
         ORDER BY v.reading_id, v.content, c.component",
        &ids,
        &superseded().map(|found| found.content).collect::<Vec<_>>()
    )
    .fetch_all(connection)
    .await
}
