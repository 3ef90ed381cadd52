//! Counts the memory that a thread has allocated at once. The fuzz targets use this file too.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

/// The stated bound on the memory for a body, in bytes.
pub(crate) fn bound(body_bytes: usize) -> usize {
    2 * 1024 * 1024 + 10 * body_bytes
}

/// Runs work. Returns its result, and the maximum of the bytes that were allocated at once in addition to those before.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.get();
    PEAK.set(before);
    let done = work();
    (done, usize::try_from(PEAK.get() - before).unwrap_or_default())
}

fn count(bytes: usize, bytes_before: usize) {
    let now = NOW.get().wrapping_add_unsigned(bytes).wrapping_sub_unsigned(bytes_before);
    NOW.set(now);
    PEAK.set(PEAK.get().max(now));
}

#[expect(unsafe_code, reason = "only an allocator can count allocations; each call goes to the system's unchanged")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller upholds the contract of GlobalAlloc, which is the same for both allocators.
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
