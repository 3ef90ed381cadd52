//! The defaults that earlier replays have applied to records that declare none. A later mapping of these records uses them, too.

use schemas::format::Defaults;
use sqlx::PgConnection;
use store::replay::{DefaultsRun, RawRange, applied_defaults};

/// The defaults of the records of a range.
pub(crate) struct EarlierDefaults(Vec<DefaultsRun>);

impl EarlierDefaults {
    pub(crate) async fn load(connection: &mut PgConnection, range: &RawRange) -> Result<Self, sqlx::Error> {
        applied_defaults(connection, range).await.map(Self)
    }

    /// Returns the defaults of the record at an offset.
    pub(crate) fn at(&self, offset: i64) -> Option<Defaults> {
        let at = self.0.partition_point(|run| run.last < offset);
        self.0.get(at).filter(|run| run.first <= offset).map(|run| run.defaults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_records_of_the_runs_have_defaults() {
        let run = |first, last| DefaultsRun { first, last, defaults: Defaults::ReactNativeHealth };
        let earlier = EarlierDefaults(vec![run(2, 3), run(5, 5)]);
        let found: Vec<i64> = (0..8).filter(|offset| earlier.at(*offset).is_some()).collect();
        assert_eq!(found, [2, 3, 5]);
    }
}
