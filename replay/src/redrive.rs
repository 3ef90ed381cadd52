//! Maps the records of dead letters again.

use std::{collections::BTreeSet, sync::Arc};

use normalizer::MAPPING_VERSION;
use schemas::receipt::RawPosition;
use sqlx::PgPool;
use store::{
    dead_letters::{self, Letter, LetterId, LetterState},
    replay,
};

use crate::{
    apply::apply_alone,
    error::ReplayError,
    run::{alone, compare_alone, start},
    scope::Scope,
    state::{Progress, ReplayConfig},
};

/// Maps the records of dead letters that are not settled, publishes the result, and waits until the sinks have stored it. Returns the
/// numbers of the replays that did it. The records are published also if nothing differs, so that the attempt is recorded. A redrive of
/// such records that was interrupted is continued first, with its number, so that it is one attempt; so is one of records whose dead
/// letters it has settled already.
///
/// # Errors
/// [`ReplayError`].
pub async fn redrive(
    config: ReplayConfig,
    pool: &PgPool,
    letters: &[Letter],
    operator: &str,
    progress: Arc<Progress>,
) -> Result<Vec<i32>, ReplayError> {
    let by = (MAPPING_VERSION, catalogue::revision());
    let mut left: Vec<&Letter> =
        letters.iter().filter(|letter| LetterState::UNSETTLED.contains(&letter.state)).collect();
    let mut replays = Vec::new();
    for (unfinished, scope) in replay::unfinished_redrives(&mut *pool.acquire().await?, by).await? {
        let Some(scope) = Scope::from_stored(&scope) else { continue };
        let is_of = |letter: &Letter| letter.raw_record.is_some_and(|raw| scope.records.contains(&raw));
        if letters.iter().any(is_of) {
            complete(config.clone(), pool, unfinished, Arc::clone(&progress)).await?;
            left.retain(|letter| !is_of(letter));
            replays.push(unfinished);
        }
    }
    let records: BTreeSet<RawPosition> = left.iter().filter_map(|letter| letter.raw_record).collect();
    if !records.is_empty() {
        let ids: Vec<LetterId> = left.into_iter().map(|letter| letter.id.clone()).collect();
        dead_letters::mark_redriven(&mut *pool.acquire().await?, &ids, operator).await?;
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("redrive-marked");
        let replay_id = start(&config, pool, &Scope::of_records(records), operator).await?;
        complete(config, pool, replay_id, progress).await?;
        replays.push(replay_id);
    }
    Ok(replays)
}

async fn complete(
    config: ReplayConfig,
    pool: &PgPool,
    replay_id: i32,
    progress: Arc<Progress>,
) -> Result<(), ReplayError> {
    let work = async {
        compare_alone(config.clone(), pool, replay_id, Arc::clone(&progress), false).await?;
        apply_alone(config, pool, replay_id, progress).await
    };
    alone(pool, replay_id, Box::pin(work)).await?;
    Ok(())
}
