//! A normalizer with a consumer group of its own maps the raw topics again.

use crate::{
    payload::{glucose, weight},
    world::{Stage, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_normalizer_with_a_group_of_its_own_repairs_the_rows_of_an_older_mapping_and_adds_none() {
    let mut world = World::start().await;
    world.client.post_medisante(&glucose(0)).await;
    world.client.post("/health-data/healthkit/fhir-json", &weight("w-1", 70.0)).await;
    world.until_count("SELECT count(*) FROM readings", 2).await;
    // The rows that an older mapping with a mistake would have produced.
    let older = "UPDATE readings SET mapping_version = mapping_version - 1, value_num = value_num * 10";
    sqlx::query(older).execute(&world.pool).await.unwrap();
    let right =
        "SELECT count(*) FROM attributed_readings WHERE (code, value_num) IN (('15074-8', 5.6), ('29463-7', 70))";
    assert_eq!(world.count(right).await, 0);

    world.run_normalizer((Stage::Normalizer, 1), "repair");
    world.until_count(right, 2).await;
    assert_eq!(world.count("SELECT count(*) FROM readings").await, 2);
    world.assert_ledger(2).await;
}
