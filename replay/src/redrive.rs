//! Maps the records of dead letters again.

use std::{collections::BTreeSet, sync::Arc};

use normalizer::MAPPING_VERSION;
use schemas::receipt::RawPosition;
use sqlx::PgPool;
use store::replay;

use crate::{
    apply::apply,
    diff::Diff,
    error::ReplayError,
    run::{compare, start},
    scope::Scope,
    state::{Progress, ReplayConfig},
};

/// Maps the records of dead letters again, publishes the result, and waits until the sinks have stored it. Returns what was changed. The
/// records are published also if nothing differs, so that the attempt is recorded. A call for the same records that was interrupted is
/// continued, with its number, so that it is one attempt.
///
/// # Errors
/// [`ReplayError`].
pub async fn redrive(
    config: ReplayConfig,
    pool: &PgPool,
    records: BTreeSet<RawPosition>,
    operator: &str,
    progress: Arc<Progress>,
) -> Result<Diff, ReplayError> {
    let scope = Scope::of_records(records);
    let stored = scope.stored().map_err(|error| sqlx::Error::Encode(error.into()))?;
    let by = (MAPPING_VERSION, catalogue::revision());
    let replay_id = match replay::unfinished_redrive(&mut *pool.acquire().await?, &stored, by).await? {
        Some(unfinished) => unfinished,
        None => start(&config, pool, &scope, operator).await?,
    };
    compare(config.clone(), pool, replay_id, Arc::clone(&progress), false).await?;
    apply(config, pool, replay_id, progress).await
}
