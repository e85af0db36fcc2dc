//! When work is handed to other threads.

use rayon::prelude::*;

/// Multiply-adds that a task should have at least, some 50 microseconds of one thread: waking another costs
/// ten or more, and an idle one that was woken in vain goes on looking for work and takes time from the first.
const TASK_MACS: usize = 4_000_000;

/// Work of one pass over a value, in these multiply-adds: it waits for memory.
pub(crate) const PASS_MACS: usize = 16;

/// Whether a piece of work of `macs` multiply-adds should be shared out.
pub(crate) fn worth(macs: usize) -> bool {
    macs >= 2 * TASK_MACS && rayon::current_num_threads() > 1
}

/// Calls `work(memory, index, chunk)` for each chunk of `target`, on several threads where the
/// whole is large enough. Each thread has one `memory`; chunks must not depend on its content.
pub(crate) fn for_each_chunk<M: Default>(
    target: &mut [f32],
    chunk_len: usize,
    chunk_macs: usize,
    work: impl Fn(&mut M, usize, &mut [f32]) + Sync + Send,
) {
    let chunks = target.len() / chunk_len;
    if chunks > 1 && worth(chunk_macs.saturating_mul(chunks)) {
        target
            .par_chunks_exact_mut(chunk_len)
            .enumerate()
            .with_min_len((TASK_MACS / chunk_macs.max(1)).max(1))
            .for_each_init(M::default, |memory, (index, chunk)| {
                work(memory, index, chunk)
            });
    } else {
        let mut memory = M::default();
        for (index, chunk) in target.chunks_exact_mut(chunk_len).enumerate() {
            work(&mut memory, index, chunk);
        }
    }
}

/// Calls `work` with pieces of `target` and what lies beside them in `source`, on several threads where they are long.
pub(crate) fn for_each_pair(
    target: &mut [f32],
    source: &[f32],
    work: impl Fn(&mut [f32], &[f32]) + Sync + Send,
) {
    if worth(target.len().saturating_mul(PASS_MACS)) {
        let piece = TASK_MACS / PASS_MACS;
        let pieces = target.par_chunks_mut(piece).zip(source.par_chunks(piece));
        pieces.for_each(|(target, source)| work(target, source));
    } else {
        work(target, source);
    }
}
