//! A pool of threads that map records, separate from the threads that wait for Kafka. Results are returned in the order of the
//! records, and the bodies that are in work or whose events are not taken yet are bounded.

use std::{
    collections::VecDeque,
    io,
    num::NonZeroUsize,
    ops::Range,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use tokio::sync::oneshot;

use crate::catch_panic::catch_panic;

/// At most this many records are sent to a thread as one job: sending a job costs as much as mapping a small record.
const JOB_RECORDS: usize = 256;
/// At most this many bytes of bodies are sent to a thread as one job, unless a single record is larger.
const JOB_BYTES: usize = 256 * 1024;
/// At most this many bytes of bodies may be in work, or mapped and not taken yet; a larger body is mapped alone. The events of
/// a body may take forty times its bytes.
const AHEAD_BYTES: usize = 1024 * 1024;

/// What the threads of a pool do with a record.
pub trait Work: Send + Sync + 'static {
    /// The input: one record.
    type Record: Send + Sync + 'static;
    /// The output: the events of one record.
    type Events: Send + 'static;

    /// The size of the record's body.
    fn bytes(&self, record: &Self::Record) -> usize;

    /// Maps a record to its events.
    fn map(&self, record: &Self::Record) -> Self::Events;

    /// Returns the events of a record on which [`Work::map`] panicked.
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

/// The threads of the pool have ended. This happens only if [`Work::panicked`] panics too.
#[derive(Debug, thiserror::Error)]
#[error("the mapping threads have ended")]
pub struct PoolGone;

impl<W: Work> Pool<W> {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system refuses to start another thread.
    pub fn start(threads: NonZeroUsize, work: W) -> io::Result<Self> {
        let (jobs, receiver) = mpsc::channel::<Job<W>>();
        let (work, receiver) = (Arc::new(work), Arc::new(Mutex::new(receiver)));
        for number in 0..threads.get() {
            let (work, receiver) = (Arc::clone(&work), Arc::clone(&receiver));
            std::thread::Builder::new().name(format!("mapping-{number}")).spawn(move || run_jobs(&*work, &receiver))?;
        }
        Ok(Self { jobs, work, threads })
    }

    /// Starts to map a batch.
    #[must_use]
    pub fn map(&self, batch: Arc<Vec<W::Record>>) -> Mapping<'_, W> {
        Mapping { pool: self, batch, next: 0, ahead: VecDeque::new(), ahead_bytes: 0 }
    }
}

fn run_jobs<W: Work>(work: &W, jobs: &Mutex<mpsc::Receiver<Job<W>>>) {
    loop {
        // One idle thread waits for the next job, the other idle threads wait for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { batch, range, answer }) = job else { return };
        let records = batch.get(range).unwrap_or_default();
        let events = records
            .iter()
            .map(|record| catch_panic(|| work.map(record)).unwrap_or_else(|_panicked| work.panicked(record)));
        // Sending fails if the batch was given up: the receiver has been dropped.
        let _given_up = answer.send(events.collect());
    }
}

/// A batch that is being mapped. Events are returned in the order of the records.
pub struct Mapping<'p, W: Work> {
    pool: &'p Pool<W>,
    batch: Arc<Vec<W::Record>>,
    /// The index of the first record that has not been sent to a thread.
    next: usize,
    ahead: VecDeque<(usize, oneshot::Receiver<Vec<W::Events>>)>,
    ahead_bytes: usize,
}

impl<W: Work> Mapping<'_, W> {
    /// Returns the events of the next few records, or `None` after the last record.
    ///
    /// # Errors
    /// [`PoolGone`] if the threads have ended.
    pub async fn next(&mut self) -> Result<Option<Vec<W::Events>>, PoolGone> {
        self.submit_jobs()?;
        let Some((bytes, answer)) = self.ahead.front_mut() else { return Ok(None) };
        let events = answer.await.map_err(|_| PoolGone)?;
        self.ahead_bytes -= *bytes;
        self.ahead.pop_front();
        Ok(Some(events))
    }

    fn submit_jobs(&mut self) -> Result<(), PoolGone> {
        // Two jobs for each thread: a thread that finishes one finds the next without waiting for this task.
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

    /// The next records for one thread, and the size of their bodies in bytes.
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

    /// Doubles a number; panics at the numbers in `bad`.
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
            // Later records finish sooner, so that the order of the results is not that in which they are done.
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
    async fn results_are_in_the_order_of_the_records_and_all_threads_work() {
        let pool = pool(4, Doubling::default());
        let expected: Vec<_> = (0..1_000).map(|number| Some(number * 2)).collect();
        assert_eq!(mapped(&pool, 1_000).await, expected);
        assert!(pool.work.most.load(Ordering::SeqCst) > 1, "one thread did all of it");
        assert!(mapped(&pool, 0).await.is_empty());
    }

    #[tokio::test]
    async fn a_panic_affects_only_its_own_record() {
        let pool = pool(2, Doubling { bad: vec![3, 40, 41], ..Doubling::default() });
        for _again in 0..2 {
            let found = mapped(&pool, 100).await;
            let lost: Vec<usize> = (0..100).filter(|number| found[*number].is_none()).collect();
            assert_eq!((found.len(), lost), (100, vec![3, 40, 41]));
        }
    }

    #[tokio::test]
    async fn large_bodies_are_not_all_mapped_at_once() {
        let pool = pool(4, Doubling { bytes: AHEAD_BYTES / 2, ..Doubling::default() });
        assert_eq!(mapped(&pool, 50).await.len(), 50);
        assert!(pool.work.most.load(Ordering::SeqCst) <= 2, "more than two halves of the bound at once");
    }
}
