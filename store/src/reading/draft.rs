//! A reading that is being built from its row.

use schemas::{
    event::{Reading, SourceName},
    format::RawTopic,
};

use super::{
    unreadable::unknown_word,
    value::{Extra, StoredCells, StoredComponent},
};

/// The parts of a reading that the columns have filled in so far.
pub(super) struct Draft {
    pub(super) reading: Reading,
    pub(super) first: First,
    pub(super) coding_id: i64,
    pub(super) device_id: Option<i64>,
    pub(super) gateway_id: Option<i64>,
    pub(super) cells: StoredCells,
    pub(super) components: Vec<StoredComponent<'static>>,
    pub(super) extra: Extra<'static>,
    pub(super) measured_text: Option<String>,
    pub(super) measured_until_text: Option<String>,
}

/// The first append of the content; empty when it is the append of the row.
#[derive(Default)]
pub(super) struct First {
    pub(super) at: Option<i64>,
    pub(super) topic: Option<RawTopic>,
    pub(super) topic_epoch: Option<i32>,
    pub(super) partition: Option<i32>,
    pub(super) offset: Option<i64>,
    pub(super) item: Option<i32>,
}

impl Draft {
    /// Creates a draft in which nothing is filled in.
    pub(super) fn blank() -> Result<Self, sqlx::Error> {
        let source = SourceName::parse("-").map_err(|_| unknown_word())?;
        Ok(Self {
            reading: Reading::blank(source),
            first: First::default(),
            coding_id: 0,
            device_id: None,
            gateway_id: None,
            cells: StoredCells::default(),
            components: Vec::new(),
            extra: Extra::default(),
            measured_text: None,
            measured_until_text: None,
        })
    }
}
