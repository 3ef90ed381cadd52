//! A replay as the database has it, and who may work on it.

use std::collections::BTreeSet;

use catalogue::CatalogueFile;
use normalizer::MAPPING_VERSION;
use schemas::receipt::RawPosition;
use sqlx::{PgConnection, PgPool};
use store::replay::{self, Job, JobState, Pass};

use crate::{counts::Counts, error::ReplayError, scope::Scope};

/// Returns a replay, or an error that says which ones exist.
pub(crate) async fn job_of(connection: &mut PgConnection, replay_id: i32) -> Result<Job, ReplayError> {
    replay::job(connection, replay_id).await?.ok_or(ReplayError::Unknown(replay_id))
}

/// Works on a replay while no other process does.
pub(crate) async fn alone<T>(
    pool: &PgPool,
    replay_id: i32,
    work: impl Future<Output = Result<T, ReplayError>>,
) -> Result<T, ReplayError> {
    let lock = replay::lock(pool, replay_id).await?.ok_or(ReplayError::InUse(replay_id))?;
    let worked = work.await;
    let released = lock.release().await;
    let worked = worked?;
    released?;
    Ok(worked)
}

/// Returns why a replay that was in progress does not go on.
pub(crate) async fn ended(connection: &mut PgConnection, replay_id: i32) -> ReplayError {
    match job_of(connection, replay_id).await {
        Ok(Job { state: JobState::Aborted, .. }) => ReplayError::Aborted(replay_id),
        Ok(job) => ReplayError::Ended { replay: replay_id, state: job.state.as_str() },
        Err(error) => error,
    }
}

/// A replay continues only with the mapping and the catalogue file with which it began: others would yield other readings.
pub(crate) fn require_mapping(job: &Job) -> Result<(), ReplayError> {
    let (replay, mapping, catalogue) = (job.replay_id, job.mapping_version, job.catalogue_revision);
    if (mapping, catalogue) != (MAPPING_VERSION, catalogue::revision()) {
        return Err(ReplayError::OtherMapping { replay, mapping, catalogue });
    }
    if job.catalogue_sha256.as_deref() != catalogue::file().map(CatalogueFile::sha256) {
        let sha256 = job.catalogue_sha256.clone().unwrap_or_default();
        return Err(ReplayError::OtherFile { replay, catalogue, sha256 });
    }
    Ok(())
}

/// Returns the records of a redrive that no longer exist.
pub(crate) async fn gone_records(
    connection: &mut PgConnection,
    replay_id: i32,
    scope: &Scope,
) -> Result<BTreeSet<RawPosition>, ReplayError> {
    let mut counts = Counts::default();
    for range in replay::ranges(connection, replay_id, Pass::Compare).await? {
        counts.add(&Counts::from_stored(&range.counts));
    }
    Ok(scope.records.iter().filter(|raw| counts.has_deleted(raw)).copied().collect())
}
