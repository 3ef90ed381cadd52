//! Maps the records of dead letters again.

use std::{collections::BTreeSet, sync::Arc};

use catalogue::CatalogueFile;
use normalizer::MAPPING_VERSION;
use schemas::receipt::RawPosition;
use sqlx::{PgConnection, PgPool};
use store::{
    dead_letters::{self, Letter, LetterId, LetterState},
    replay,
};

use crate::{
    apply::apply_alone,
    error::ReplayError,
    job::{alone, gone_records},
    run::{compare_alone, start},
    scope::Scope,
    state::{Progress, ReplayConfig},
};

/// What a redrive did.
#[derive(Default)]
pub struct Redriven {
    /// The numbers of the replays.
    pub replays: Vec<i32>,
    /// The records that no longer exist, so that they could not be mapped.
    pub gone: BTreeSet<RawPosition>,
}

/// Maps the records of dead letters that are not settled, publishes the result, and waits until the sinks have stored it. The records
/// are published also if nothing differs, so that the attempt is recorded. A redrive of such records that was interrupted is continued
/// first, with its number, so that it is one attempt; so is one of records whose dead letters it has settled already.
///
/// # Errors
/// [`ReplayError`].
pub async fn redrive(
    config: ReplayConfig,
    pool: &PgPool,
    letters: &[Letter],
    operator: &str,
    progress: Arc<Progress>,
) -> Result<Redriven, ReplayError> {
    let by = (MAPPING_VERSION, catalogue::revision(), catalogue::file().map(CatalogueFile::sha256));
    let mut left: Vec<&Letter> =
        letters.iter().filter(|letter| LetterState::UNSETTLED.contains(&letter.state)).collect();
    let mut redriven = Redriven::default();
    for (unfinished, scope) in replay::unfinished_redrives(&mut *pool.acquire().await?, by).await? {
        let Some(scope) = Scope::from_stored(&scope) else { continue };
        let is_of = |letter: &Letter| letter.raw_record.is_some_and(|raw| scope.records.contains(&raw));
        if letters.iter().any(is_of) {
            complete(config.clone(), pool, unfinished, Arc::clone(&progress)).await?;
            left.retain(|letter| !is_of(letter));
            redriven.add(&mut *pool.acquire().await?, unfinished, &scope).await?;
        }
    }
    let records: BTreeSet<RawPosition> = left.iter().filter_map(|letter| letter.raw_record).collect();
    if !records.is_empty() {
        let ids: Vec<LetterId> = left.into_iter().map(|letter| letter.id.clone()).collect();
        dead_letters::mark_redriven(&mut *pool.acquire().await?, &ids, operator).await?;
        #[cfg(feature = "fail-points")]
        service::fail_point::pass("redrive-marked");
        let scope = Scope::of_records(records);
        let replay_id = start(&config, pool, &scope, operator).await?;
        complete(config, pool, replay_id, progress).await?;
        redriven.add(&mut *pool.acquire().await?, replay_id, &scope).await?;
    }
    Ok(redriven)
}

impl Redriven {
    async fn add(&mut self, connection: &mut PgConnection, replay_id: i32, scope: &Scope) -> Result<(), ReplayError> {
        self.replays.push(replay_id);
        self.gone.extend(gone_records(connection, replay_id, scope).await?);
        Ok(())
    }
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
