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
    /// `current`, `superseded` by another version, or `duplicate` of another item.
    pub state: String,
    /// The row in the view.
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
    /// How the patient is known, or why no patient is known.
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
}

impl TracedDeadLetter {
    /// Returns whether the dead letter covers this item. A dead letter for the whole payload covers every item.
    #[must_use]
    pub fn covers(&self, item: i32) -> bool {
        self.item < 0 || (self.item..self.item.saturating_add(self.item_count)).contains(&item)
    }
}

#[derive(FromRow)]
struct FoundItem {
    reading_id: Uuid,
    item: i32,
    state: String,
}

/// Which readings and dead letters of a payload are listed.
#[derive(Debug, Clone, Copy)]
pub struct ListingLimits {
    /// The largest number of readings with the same state, status and code, and of dead letters with the same stage and reason.
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
            for FoundItem { reading_id, item, state } in page {
                let start = rows.partition_point(|row| row.reading_id < *reading_id);
                for row in rows.iter().skip(start).take_while(|row| row.reading_id == *reading_id) {
                    visit(TracedReading { item: *item, state: state.clone(), row: row.clone() })?;
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
             SELECT reading_id, item, state FROM (
                 SELECT f.reading_id, f.item, f.state,
                        row_number() OVER (PARTITION BY f.state, r.status, r.coding_id ORDER BY f.item) AS nth
                 FROM found f JOIN readings r USING (reading_id)) numbered
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
            "SELECT item, item_count, stage, reason, detail FROM (
                 SELECT item, item_count, stage, reason, detail,
                        row_number() OVER (PARTITION BY stage, reason ORDER BY item) AS nth
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
