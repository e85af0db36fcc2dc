//! The encoder: from the last symbol to the first, lanes side by side.

use alloc::vec::Vec;

use super::{LOW, MAX_LANES, write_single_state, write_states};
use crate::coder::slots::{CoderEntries, EncodeEntry};
use crate::simd::CoderPath;

/// Starts of a lane are doubled this often before the largest one is taken.
const START_ATTEMPTS: u32 = 8;

/// Symbols whose codes are looked up at a time: they stay in the first cache. A multiple of
/// every lane count.
const BLOCK: usize = 4096;

/// Buffers that are only there to be used again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers {
    codes: Vec<u32>,
    words: Vec<u16>,
}

/// Encodes `count` symbols over `lanes` lanes (a power of two up to [`MAX_LANES`]).
/// `fill(begin, codes)` writes the codes of the symbols from `begin` on.
pub(crate) fn encode(
    path: CoderPath,
    entries: &CoderEntries,
    (count, lanes): (usize, usize),
    buffers: &mut Buffers,
    mut fill: impl FnMut(usize, &mut [u32]),
    out: &mut Vec<u8>,
) {
    assert!(
        lanes.is_power_of_two() && lanes <= MAX_LANES,
        "lane counts are checked before"
    );
    let Buffers { codes, words } = buffers;
    // Grown and never cleared: what is read below was written before.
    codes.resize(codes.len().max(count.min(2 * BLOCK)), 0);
    words.resize(words.len().max(count), 0);
    // The quiet part has to lie in one piece; it is short unless next to nothing is said.
    let mut piece = count.min(BLOCK);
    let (mut begin, mut states, mut loud);
    loop {
        // Pieces begin where a round does.
        begin = (count - piece) & !(MAX_LANES - 1);
        codes.resize(codes.len().max(count - begin), 0);
        let codes = &mut codes[..count - begin];
        fill(begin, codes);
        (states, loud) = start(path, entries, codes, lanes);
        if loud > 0 || begin == 0 {
            break;
        }
        piece = count.min(4 * piece);
    }
    // A symbol emits one word at most, so `free` never falls below the symbols left.
    let words = &mut words[..begin + loud];
    let mut free = words.len();
    let whole = loud & !(lanes - 1);
    for (index, &code) in codes[whole..loud].iter().enumerate().rev() {
        let state = &mut states[index];
        let entry = &entries.scalar()[code as usize];
        if *state >= entry.limit {
            free -= 1;
            words[free] = (*state & 0xffff) as u16;
            *state >>= 16;
        }
        *state = entry.push(*state);
    }
    let states = &mut states[..lanes];
    free = path.encode_rounds(entries, &codes[..whole], states, words, free);
    while begin > 0 {
        let next = begin.saturating_sub(BLOCK);
        let codes = &mut codes[..begin - next];
        fill(next, codes);
        free = path.encode_rounds(entries, codes, states, words, free);
        begin = next;
    }
    let emitted = &words[free..];
    if lanes == 1 {
        write_single_state(states[0], emitted.is_empty(), out);
    } else {
        write_states(states, out);
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
fn start(
    path: CoderPath,
    entries: &CoderEntries,
    codes: &[u32],
    lanes: usize,
) -> ([u32; MAX_LANES], usize) {
    let mut starts = [0u32; MAX_LANES];
    for attempt in 0.. {
        if attempt >= START_ATTEMPTS {
            starts[..lanes].fill(LOW);
        }
        let mut states = starts;
        let loud = quiet_part(path, entries, codes, &mut states[..lanes]);
        if lanes == 1 {
            return (states, loud);
        }
        let mut caught_up = true;
        for lane in 0..lanes {
            if states[lane] >= LOW {
                continue;
            }
            let before = Raised {
                start: starts[lane],
                state: states[lane],
            };
            let raised = raise(entries.scalar(), codes, loud, (lane, lanes), before);
            starts[lane] = raised.start;
            states[lane] = raised.state;
            caught_up &= raised.state >= LOW;
        }
        if caught_up {
            return (states, loud);
        }
    }
    unreachable!("starts of 2^15 always suffice")
}

/// A lane's start and the state it leads to; 0 where it would emit a word too early.
struct Raised {
    start: u32,
    state: u32,
}

/// Raises the start of one lane until its state after the quiet part reaches [`LOW`].
fn raise(
    entries: &[EncodeEntry],
    codes: &[u32],
    loud: usize,
    (lane, lanes): (usize, usize),
    Raised {
        mut start,
        mut state,
    }: Raised,
) -> Raised {
    for attempt in 0.. {
        start = match attempt {
            0..START_ATTEMPTS => raised(start, state),
            _ => LOW,
        };
        state = start;
        let begin = loud + (lane.wrapping_sub(loud) & (lanes - 1));
        for &code in codes[begin.min(codes.len())..].iter().step_by(lanes).rev() {
            let entry = &entries[code as usize];
            if state >= entry.limit {
                return Raised { start, state: 0 };
            }
            state = entry.push(state);
        }
        if state >= LOW {
            return Raised { start, state };
        }
    }
    unreachable!("a start of 2^15 always suffices")
}

/// Encodes from the end up to the first symbol that makes a lane emit a word; gives how many
/// symbols there are up to that one, which is not encoded.
fn quiet_part(path: CoderPath, entries: &CoderEntries, codes: &[u32], states: &mut [u32]) -> usize {
    let whole = codes.len() & !(states.len() - 1);
    let singly = |states: &mut [u32], begin: usize, end: usize| {
        for index in (begin..end).rev() {
            let entry = &entries.scalar()[codes[index] as usize];
            let state = &mut states[index - begin];
            if *state >= entry.limit {
                return Some(index + 1);
            }
            *state = entry.push(*state);
        }
        None
    };
    if let Some(loud) = singly(states, whole, codes.len()) {
        return loud;
    }
    let left = path.start_rounds(entries, &codes[..whole], states);
    match left.checked_sub(states.len()) {
        Some(begin) => singly(states, begin, left).expect("a state of this round is full"),
        None => 0,
    }
}

/// Whole rounds from the last one on, up to the first in which a state is full; gives how
/// many symbols are left. The scalar path.
pub(crate) fn start_rounds(entries: &[EncodeEntry], codes: &[u32], states: &mut [u32]) -> usize {
    match states.len() {
        1 => start_groups::<1>(entries, codes, states),
        2 => start_groups::<2>(entries, codes, states),
        4 => start_groups::<4>(entries, codes, states),
        8 => start_groups::<8>(entries, codes, states),
        16 => start_groups::<16>(entries, codes, states),
        32 => start_groups::<32>(entries, codes, states),
        _ => start_groups::<64>(entries, codes, states),
    }
}

fn start_groups<const LANES: usize>(
    entries: &[EncodeEntry],
    codes: &[u32],
    kept: &mut [u32],
) -> usize {
    let mut states: [u32; LANES] = (&*kept).try_into().expect("as many states as lanes");
    let mut left = codes.len();
    for round in codes.rchunks_exact(LANES) {
        let mut next = states;
        let mut any_full = false;
        for (state, &code) in next.iter_mut().zip(round) {
            let entry = &entries[code as usize];
            any_full |= *state >= entry.limit;
            *state = entry.push(*state);
        }
        if any_full {
            break;
        }
        states = next;
        left -= LANES;
    }
    kept.copy_from_slice(&states);
    left
}

/// A larger start for a lane that ended at `state`, below [`LOW`].
fn raised(start: u32, state: u32) -> u32 {
    if start == 0 {
        return 1;
    }
    let missing = LOW.ilog2() - state.max(1).ilog2();
    (start << missing).min(LOW)
}
