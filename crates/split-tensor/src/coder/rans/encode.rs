//! The encoder: from the last symbol to the first, lanes side by side.

use alloc::vec::Vec;

use super::{LOW, MAX_LANES, write_single_state, write_states};
use crate::coder::slots::{CoderEntries, EncodeEntry};
use crate::simd::CoderPath;

/// Starts of a lane are doubled this often before the largest one is taken.
const START_ATTEMPTS: u32 = 8;

/// Encodes entries over `lanes` lanes (a power of two up to [`MAX_LANES`]). `words` is only
/// there to be used again.
pub(crate) fn encode(
    path: CoderPath,
    entries: &CoderEntries,
    codes: &[u32],
    lanes: usize,
    words: &mut Vec<u16>,
    out: &mut Vec<u8>,
) {
    assert!(
        lanes.is_power_of_two() && lanes <= MAX_LANES,
        "lane counts are checked before"
    );
    let (mut states, loud) = start(entries.scalar(), codes, lanes);
    let loud = &codes[..loud];
    words.clear();
    words.resize(loud.len(), 0);
    // A symbol emits one word at most, so `free` never falls below the symbols left.
    let mut free = loud.len();
    let whole = loud.len() & !(lanes - 1);
    for (index, &code) in loud[whole..].iter().enumerate().rev() {
        let state = &mut states[index];
        let entry = &entries.scalar()[code as usize];
        if *state >= entry.limit {
            free -= 1;
            words[free] = (*state & 0xffff) as u16;
            *state >>= 16;
        }
        *state = entry.push(*state);
    }
    let rounds = &loud[..whole];
    free = path.encode_rounds(entries, rounds, &mut states[..lanes], words, free);
    let emitted = &words[free..];
    if lanes == 1 {
        write_single_state(states[0], emitted.is_empty(), out);
    } else {
        write_states(&states[..lanes], out);
    }
    extend_with_words(emitted, out);
}

/// Words as bytes, lowest byte first.
fn extend_with_words(words: &[u16], out: &mut Vec<u8>) {
    #[cfg(target_endian = "little")]
    out.extend_from_slice(bytemuck::cast_slice(words));
    #[cfg(not(target_endian = "little"))]
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

/// Whole rounds, last one first; gives the new number of free words. The scalar path.
pub(crate) fn encode_rounds(
    entries: &[EncodeEntry],
    codes: &[u32],
    states: &mut [u32],
    words: &mut [u16],
    free: usize,
) -> usize {
    match states.len() {
        1 => encode_groups::<1>(entries, codes, states, words, free),
        2 => encode_groups::<2>(entries, codes, states, words, free),
        4 => encode_groups::<4>(entries, codes, states, words, free),
        8 => encode_groups::<8>(entries, codes, states, words, free),
        lanes => {
            let mut free = free;
            for round in codes.rchunks_exact(lanes) {
                for (codes, states) in round.rchunks_exact(8).zip(states.rchunks_exact_mut(8)) {
                    free = encode_groups::<8>(entries, codes, states, words, free);
                }
            }
            free
        }
    }
}

fn encode_groups<const LANES: usize>(
    entries: &[EncodeEntry],
    codes: &[u32],
    states: &mut [u32],
    words: &mut [u16],
    mut free: usize,
) -> usize {
    let kept = states;
    let mut states: [u32; LANES] = (&*kept).try_into().expect("as many states as lanes");
    for round in codes.rchunks_exact(LANES) {
        let round: &[u32; LANES] = round.try_into().expect("chunks are this long");
        let room: &mut [u16; LANES] = (&mut words[free - LANES..free])
            .try_into()
            .expect("a range this long");
        let mut left = LANES;
        for lane in (0..LANES).rev() {
            let entry = &entries[round[lane] as usize];
            let state = states[lane];
            // Written in any case, kept only where the state is full: no branch to miss.
            room[(left - 1) & (LANES - 1)] = (state & 0xffff) as u16;
            let full = state >= entry.limit;
            left -= usize::from(full);
            let state = if full { state >> 16 } else { state };
            states[lane] = entry.push(state);
        }
        free -= LANES - left;
    }
    kept.copy_from_slice(&states);
    free
}

/// Encodes the last symbols up to the first word; gives the states and how many symbols come
/// before.
fn start(entries: &[EncodeEntry], codes: &[u32], lanes: usize) -> ([u32; MAX_LANES], usize) {
    let mask = lanes - 1;
    let mut starts = [0u32; MAX_LANES];
    for attempt in 0.. {
        let mut states = starts;
        let mut loud = 0;
        for (index, &code) in codes.iter().enumerate().rev() {
            let entry = &entries[code as usize];
            let state = &mut states[index & mask];
            if *state >= entry.limit {
                loud = index + 1;
                break;
            }
            *state = entry.push(*state);
        }
        let mut ready = true;
        if lanes > 1 {
            for (start, &state) in starts[..lanes].iter_mut().zip(&states) {
                if state < LOW {
                    ready = false;
                    *start = raised(*start, state, attempt);
                }
            }
        }
        if ready {
            return (states, loud);
        }
    }
    unreachable!("starts of 2^15 always suffice")
}

/// A larger start for a lane that ended at `state`, below [`LOW`].
fn raised(start: u32, state: u32, attempt: u32) -> u32 {
    if attempt >= START_ATTEMPTS {
        return LOW;
    }
    if start == 0 {
        return 1;
    }
    let missing = LOW.ilog2() - state.max(1).ilog2();
    (start << missing).min(LOW)
}
