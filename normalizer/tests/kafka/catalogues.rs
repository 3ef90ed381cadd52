//! Catalogue files that other processes have used. The process of the tests uses none.

use normalizer::{CatalogueConflict, NormalizerError};
use rdkafka::admin::AdminOptions;

use crate::world::World;

/// An installation that was upgraded without `topics apply`.
#[tokio::test(flavor = "multi_thread")]
async fn a_normalizer_without_a_catalogue_file_needs_no_topic_for_them() {
    let world = World::new(1).await;
    let name = world.topics.catalogues();
    world.admin().delete_topics(&[&name], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    let running = world.start();
    world.sample(0, 1).await;
    world.until(&[&running], &world.topics.readings(), 1).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_normalizer_without_a_catalogue_file_does_not_map_after_one_with_a_file() {
    let world = World::new(1).await;
    let name = world.topics.catalogues();
    // A later release may use other keys.
    world.append(&name, "later", "").await;
    let running = world.start();
    running.until_ready().await;
    running.stop().await;

    world.append(&name, "3:00", "revision = 3").await;
    world.append(&name, "2:00", "revision = 2").await;
    world.sample(0, 1).await;
    let ended = world.start().ended().await;
    let conflict = CatalogueConflict::Older { own: 0, published: 3 };
    assert!(matches!(&ended, Err(NormalizerError::Conflict(found)) if *found == conflict), "{ended:?}");
    assert_eq!(world.count(&world.topics.readings()), 0);
    let error = normalizer::check_catalogue(&world.config()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "catalogue revision 3 was used before, and this process has revision 0; set CATALOGUE_FILE to the file of revision 3, or \
         to one with a higher revision (a file with a revision and no entry stands for the built-in catalogue)"
    );
}
