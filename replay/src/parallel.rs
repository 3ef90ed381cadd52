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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn as_many_parts_as_allowed_are_worked_on_at_the_same_time() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |()| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            }
        };
        for_each(NonZeroUsize::new(2).unwrap(), vec![(); 7], work).await.unwrap();
        assert_eq!(most.load(Ordering::Relaxed), 2);
    }
}
