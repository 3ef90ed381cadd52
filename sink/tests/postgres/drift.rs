//! The shapes of unknown content are counted together with their outcomes, each once.

use schemas::{
    event::{Outcome, Unknown, UnknownKind},
    format::{Format, Provider, RawTopic},
    receipt::ItemPosition,
};
use sink::item::Item;
use sqlx::{Connection as _, PgConnection};
use store::drift::{self, Drift, SHAPES_MAX};

use super::{
    database::Database,
    sample::{DAY, MAY, ended, key, outcome},
    store::write,
};

fn shape(shape: &str) -> Unknown {
    Unknown { format: Format::StandardJson, kind: UnknownKind::Field, shape: shape.to_owned() }
}

/// The outcome of the raw record at this offset, which contained these shapes.
fn met(offset: i64, shapes: &[&str]) -> Outcome {
    let unknown = shapes.iter().map(|text| shape(text)).collect();
    Outcome { received_at: MAY + offset * DAY, unknown, ..outcome(offset, 1) }
}

async fn list(database: &Database) -> Vec<Drift> {
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    drift::list(&mut connection, &key()).await.unwrap()
}

async fn counts(database: &Database) -> Vec<(String, i64)> {
    list(database).await.into_iter().map(|drift| (drift.shape, drift.count)).collect()
}

#[tokio::test]
async fn a_redelivered_outcome_counts_once() {
    let database = Database::make().await;
    let all = |from: i64, to: i64| -> Vec<Item> { (from..to).map(|offset| ended(met(offset, &["a", "b"]))).collect() };
    write(&database, all(3, 6)).await;
    // The normalizer was killed and produced everything again, twice into one batch; then a better mapping read one record again.
    write(&database, all(0, 6).into_iter().chain(all(0, 6)).collect()).await;
    write(&database, vec![ended(Outcome { mapping_version: 2, ..met(2, &["a", "c"]) })]).await;
    assert_eq!(counts(&database).await, [("a".to_owned(), 6), ("b".to_owned(), 6)]);
    write(&database, vec![ended(met(6, &["b"]))]).await;
    assert_eq!(counts(&database).await, [("b".to_owned(), 7), ("a".to_owned(), 6)]);
}

#[tokio::test]
async fn any_order_of_arrival_gives_the_same_first_example() {
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
        let database = Database::make().await;
        for offset in order {
            write(&database, vec![ended(met(offset, &["a"]))]).await;
        }
        let [drift] = <[Drift; 1]>::try_from(list(&database).await).ok().unwrap();
        assert_eq!(
            (drift.first_seen.as_str(), drift.last_seen.as_str()),
            ("2024-05-02T00:00:00Z", "2024-05-04T00:00:00Z")
        );
        let first = ItemPosition { topic: RawTopic::Medisante, topic_epoch: 1, partition: 0, offset: 1, item: 0 };
        assert_eq!(key().read(&drift.receipt), Ok(first));
        assert_eq!(
            (drift.provider.as_str(), drift.format.as_str(), drift.kind.as_str()),
            ("medisante", "standard-json", "field")
        );
        assert_eq!(drift.fingerprint, shape("a").fingerprint(Provider::Medisante));
    }
}

#[tokio::test]
async fn invented_shapes_do_not_fill_the_database() {
    let database = Database::make().await;
    write(&database, vec![ended(met(0, &["known"]))]).await;
    let fill = format!(
        "INSERT INTO drift SELECT n::text, 'medisante', 'standard-json', 'field', n::text, now(), now(), 1, 1, 0, 0, 0 \
         FROM generate_series(2, {SHAPES_MAX}) n"
    );
    sqlx::query(&fill).execute(&database.pool).await.unwrap();
    write(&database, vec![ended(met(1, &["known", "made up"]))]).await;
    assert_eq!(database.count("SELECT count(*) FROM drift").await, SHAPES_MAX);
    assert_eq!(counts(&database).await.first(), Some(&("known".to_owned(), 2)));
}
