//! Works on the parts of a log, several at the same time.

use std::{num::NonZeroUsize, sync::Arc};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::error::ReplayError;

/// Works on each part, at most `parallel` of them at the same time. Ends with the first error.
pub(crate) async fn for_each<P, W>(
    parallel: NonZeroUsize,
    parts: Vec<P>,
    work: impl Fn(P) -> W,
) -> Result<(), ReplayError>
where
    W: Future<Output = Result<(), ReplayError>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(parallel.get()));
    let mut tasks = JoinSet::new();
    for part in parts {
        let (slots, worked) = (Arc::clone(&slots), work(part));
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _slot = slots.acquire_owned().await;
            worked.await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
