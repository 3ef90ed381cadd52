//! Mapping on threads of its own, beside those that wait for Kafka: as many as the machine has cores, in the order of the
//! records, and with a bound on what lies between a thread and whoever takes its events.

use std::{
    collections::VecDeque,
    io,
    num::NonZeroUsize,
    ops::Range,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use tokio::sync::oneshot;

use crate::withheld::withheld;

/// So many small records are handed to a thread at once: a hand-over costs as much as a record.
const JOB_RECORDS: usize = 256;
/// The same, in bytes.
const JOB_BYTES: usize = 256 * 1024;
/// Bodies of so many bytes may be in work, or mapped and not taken yet; a single larger one is alone. What comes of a body may
/// have forty times its bytes.
const AHEAD_BYTES: usize = 1024 * 1024;

/// What the threads do to a record.
pub trait Work: Send + Sync + 'static {
    /// What is mapped.
    type Record: Send + Sync + 'static;
    /// What comes of it.
    type Events: Send + 'static;

    /// How large the record's body is.
    fn bytes(&self, record: &Self::Record) -> usize;

    /// Maps a record.
    fn map(&self, record: &Self::Record) -> Self::Events;

    /// What comes of a record on which [`Work::map`] panicked.
    fn panicked(&self, record: &Self::Record) -> Self::Events;
}

/// Threads that map batches. They end when the pool is dropped.
pub struct Pool<W: Work> {
    jobs: mpsc::Sender<Job<W>>,
    work: Arc<W>,
    threads: NonZeroUsize,
}

struct Job<W: Work> {
    batch: Arc<Vec<W::Record>>,
    range: Range<usize>,
    answer: oneshot::Sender<Vec<W::Events>>,
}

/// The threads are gone, which they only are when [`Work::panicked`] panics too.
#[derive(Debug, thiserror::Error)]
#[error("the threads that map ended")]
pub struct PoolGone;

impl<W: Work> Pool<W> {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system has no more of them.
    pub fn start(threads: NonZeroUsize, work: W) -> io::Result<Self> {
        let (jobs, taken) = mpsc::channel::<Job<W>>();
        let (work, taken) = (Arc::new(work), Arc::new(Mutex::new(taken)));
        for number in 0..threads.get() {
            let (work, taken) = (Arc::clone(&work), Arc::clone(&taken));
            std::thread::Builder::new().name(format!("mapping-{number}")).spawn(move || serve(&*work, &taken))?;
        }
        Ok(Self { jobs, work, threads })
    }

    /// Begins to map a batch.
    #[must_use]
    pub fn map(&self, batch: Arc<Vec<W::Record>>) -> Mapping<'_, W> {
        Mapping { pool: self, batch, next: 0, ahead: VecDeque::new(), ahead_bytes: 0 }
    }
}

fn serve<W: Work>(work: &W, jobs: &Mutex<mpsc::Receiver<Job<W>>>) {
    loop {
        // One thread waits for the next job, the others for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { batch, range, answer }) = job else { return };
        let records = batch.get(range).unwrap_or_default();
        let events = records
            .iter()
            .map(|record| withheld(|| work.map(record)).unwrap_or_else(|_panicked| work.panicked(record)));
        // Nobody waits for it where the batch was given up.
        let _given_up = answer.send(events.collect());
    }
}

/// A batch that is being mapped. What comes of its records is taken in their order.
pub struct Mapping<'p, W: Work> {
    pool: &'p Pool<W>,
    batch: Arc<Vec<W::Record>>,
    /// The first record that no thread has.
    next: usize,
    ahead: VecDeque<(usize, oneshot::Receiver<Vec<W::Events>>)>,
    ahead_bytes: usize,
}

impl<W: Work> Mapping<'_, W> {
    /// What comes of the next few records; none behind the last.
    ///
    /// # Errors
    /// [`PoolGone`].
    pub async fn next(&mut self) -> Result<Option<Vec<W::Events>>, PoolGone> {
        self.hand_over()?;
        let Some((bytes, answer)) = self.ahead.front_mut() else { return Ok(None) };
        let events = answer.await.map_err(|_| PoolGone)?;
        self.ahead_bytes -= *bytes;
        self.ahead.pop_front();
        Ok(Some(events))
    }

    fn hand_over(&mut self) -> Result<(), PoolGone> {
        // One more for each thread, so that none waits for this one.
        while self.next < self.batch.len() && self.ahead.len() < 2 * self.pool.threads.get() {
            let (range, bytes) = self.job();
            if !self.ahead.is_empty() && self.ahead_bytes + bytes > AHEAD_BYTES {
                break;
            }
            self.next = range.end;
            self.ahead_bytes += bytes;
            let (answer, answered) = oneshot::channel();
            let job = Job { batch: Arc::clone(&self.batch), range, answer };
            self.pool.jobs.send(job).map_err(|_| PoolGone)?;
            self.ahead.push_back((bytes, answered));
        }
        Ok(())
    }

    /// The next records for one thread, and how many bytes they have.
    fn job(&self) -> (Range<usize>, usize) {
        let (mut end, mut bytes) = (self.next, 0);
        for record in self.batch.iter().skip(self.next).take(JOB_RECORDS) {
            let more = self.pool.work.bytes(record);
            if end > self.next && bytes + more > JOB_BYTES {
                break;
            }
            (end, bytes) = (end + 1, bytes + more);
        }
        (self.next..end, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Doubles a number; panics at those that it is told.
    #[derive(Default)]
    struct Doubling {
        bad: Vec<usize>,
        bytes: usize,
        working: AtomicUsize,
        most: AtomicUsize,
    }

    impl Work for Doubling {
        type Record = usize;
        type Events = Option<usize>;

        fn bytes(&self, _record: &usize) -> usize {
            self.bytes
        }

        fn map(&self, record: &usize) -> Option<usize> {
            let working = self.working.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(working, Ordering::SeqCst);
            // Later ones are done sooner.
            std::thread::sleep(std::time::Duration::from_micros(200 - (*record as u64 % 200)));
            self.working.fetch_sub(1, Ordering::SeqCst);
            assert!(!self.bad.contains(record), "canary-9f3 {record}");
            Some(record * 2)
        }

        fn panicked(&self, _record: &usize) -> Option<usize> {
            None
        }
    }

    async fn mapped(pool: &Pool<Doubling>, count: usize) -> Vec<Option<usize>> {
        let mut mapping = pool.map(Arc::new((0..count).collect()));
        let mut all = Vec::new();
        while let Some(some) = mapping.next().await.unwrap() {
            all.extend(some);
        }
        all
    }

    fn pool(threads: usize, work: Doubling) -> Pool<Doubling> {
        Pool::start(NonZeroUsize::new(threads).unwrap(), work).unwrap()
    }

    #[tokio::test]
    async fn the_order_is_that_of_the_records_and_all_threads_work() {
        let pool = pool(4, Doubling::default());
        let expected: Vec<_> = (0..1_000).map(|number| Some(number * 2)).collect();
        assert_eq!(mapped(&pool, 1_000).await, expected);
        assert!(pool.work.most.load(Ordering::SeqCst) > 1, "one thread did all of it");
        assert!(mapped(&pool, 0).await.is_empty());
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_record_only() {
        let pool = pool(2, Doubling { bad: vec![3, 40, 41], ..Doubling::default() });
        for _again in 0..2 {
            let found = mapped(&pool, 100).await;
            let lost: Vec<usize> = (0..100).filter(|number| found[*number].is_none()).collect();
            assert_eq!((found.len(), lost), (100, vec![3, 40, 41]));
        }
    }

    #[tokio::test]
    async fn large_bodies_do_not_pile_up() {
        let pool = pool(4, Doubling { bytes: AHEAD_BYTES / 2, ..Doubling::default() });
        assert_eq!(mapped(&pool, 50).await.len(), 50);
        assert!(pool.work.most.load(Ordering::SeqCst) <= 2, "more than two halves of the bound at once");
    }
}
