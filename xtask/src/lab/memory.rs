//! Heap of this process, counted by the allocator.
//!
//! Counting costs two atomic additions an allocation, far below what a tensor operation takes. Only
//! the host's heap is counted: not the memory of a graphics card, not pages that a driver maps.

use std::alloc::System;

use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait as _};

#[global_allocator]
static HEAP: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What `work` gives, and the most bytes that the process held during it beyond what it held before.
/// Threads that work on something else meanwhile count too.
pub(crate) fn heap_peak_bytes<T>(work: impl FnOnce() -> T) -> (T, u64) {
    HEAP.reset_peak_memory();
    let result = work();
    let bytes = u64::try_from(HEAP.get_peak_memory()).unwrap_or(u64::MAX);
    (result, bytes)
}

#[cfg(test)]
mod tests {
    use super::heap_peak_bytes;

    #[test]
    fn the_peak_is_what_was_held_at_once() {
        let piece = || std::hint::black_box(vec![1_u8; 16 << 20]);
        // Other tests of this binary allocate and free beside this one: what they free lowers the peak
        // and what they allocate raises it, hence pieces far above what they hold.
        let (_, one_by_one) = heap_peak_bytes(|| (0..16).for_each(|_| drop(piece())));
        let (_, at_once) = heap_peak_bytes(|| (0..16).map(|_| piece()).collect::<Vec<_>>());
        assert!(one_by_one >= 8 << 20, "{one_by_one}");
        assert!(at_once >= 192 << 20, "{at_once}");
        assert!(at_once > 2 * one_by_one, "{at_once} after {one_by_one}");
    }
}
