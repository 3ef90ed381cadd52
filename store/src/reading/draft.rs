//! A row on its way back into a reading.

use schemas::{
    event::{Reading, SourceName},
    format::RawTopic,
};

use super::{
    unreadable::unknown_word,
    value::{Extra, Part, StoredCells},
};

/// What the columns of a row have filled in so far.
pub(super) struct Draft {
    pub(super) reading: Reading,
    pub(super) first: First,
    pub(super) coding: i64,
    pub(super) device: Option<i64>,
    pub(super) gateway: Option<i64>,
    pub(super) cells: StoredCells,
    pub(super) components: Vec<Part<'static>>,
    pub(super) extra: Extra<'static>,
    pub(super) measured_text: Option<String>,
    pub(super) measured_until_text: Option<String>,
}

/// The first append of the content, where it is not the row's own.
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
    /// Nothing filled in.
    pub(super) fn blank() -> Result<Self, sqlx::Error> {
        let source = SourceName::parse("-").map_err(|_| unknown_word())?;
        Ok(Self {
            reading: Reading::blank(source),
            first: First::default(),
            coding: 0,
            device: None,
            gateway: None,
            cells: StoredCells::default(),
            components: Vec::new(),
            extra: Extra::default(),
            measured_text: None,
            measured_until_text: None,
        })
    }
}
