//! Measures the memory of the process by counting the requests to its allocator.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicIsize, Ordering::Relaxed},
};

use tokio::sync::Mutex;

static NOW: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);
/// Only one measurement runs at a time.
static TURN: Mutex<()> = Mutex::const_new(());

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

/// Returns the result of `work`, and the most bytes that were allocated at once in addition to those allocated before.
pub(crate) async fn peak<T>(work: impl Future<Output = T>) -> (T, usize) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let done = work.await;
    (done, usize::try_from(PEAK.load(Relaxed) - before).unwrap_or_default())
}

/// Returns how many bytes are allocated.
pub(crate) fn now() -> isize {
    NOW.load(Relaxed)
}

/// Waits for exclusive use of the measurement. No other test allocates memory while the guard is held.
pub(crate) async fn turn() -> tokio::sync::MutexGuard<'static, ()> {
    TURN.lock().await
}

fn count(bytes: usize, bytes_before: usize) {
    let change = bytes.cast_signed() - bytes_before.cast_signed();
    let now = NOW.fetch_add(change, Relaxed) + change;
    PEAK.fetch_max(now, Relaxed);
}

#[expect(
    unsafe_code,
    reason = "only an allocator can count allocations; each call is passed on unchanged to the system allocator"
)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller fulfils the contract of GlobalAlloc, which is also that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        count(new_bytes, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_bytes) }
    }
}
