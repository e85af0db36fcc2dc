//! The decoder: scalar, in groups of lanes without branches.

use super::{LOW, MAX_LANES, read_single_state, read_states};
use crate::coder::contexts::{ContextRows, Lanes};
use crate::coder::slots::{PackedSlots, RunTable};
use crate::error::DecodeError;
use crate::simd::CoderPath;
use crate::table::{SCALE, SCALE_BITS};

/// States and the words not yet read.
pub(crate) struct Decoder<'a> {
    path: CoderPath,
    states: [u32; MAX_LANES],
    lanes: usize,
    words: &'a [u8],
    /// Position of the next symbol.
    next: usize,
}

impl<'a> Decoder<'a> {
    /// Reads the states off a payload body.
    pub(crate) fn new(
        path: CoderPath,
        mut body: &'a [u8],
        lanes: usize,
    ) -> Result<Self, DecodeError> {
        let mut states = [0; MAX_LANES];
        if lanes == 1 {
            states[0] = read_single_state(&mut body)?;
        } else {
            read_states(&mut body, &mut states[..lanes])?;
        }
        if !body.len().is_multiple_of(2) {
            return Err(DecodeError::CorruptPayload {
                what: "half a word at the end",
            });
        }
        Ok(Self {
            path,
            states,
            lanes,
            words: body,
            next: 0,
        })
    }

    /// Decodes `out.len()` symbols with one table; whether an escape may be among them.
    pub(crate) fn decode_run(&mut self, table: &RunTable<'_>, mut out: &mut [i32]) -> bool {
        let until_round = self.next.wrapping_neg() & (self.lanes - 1);
        let head = until_round.min(out.len());
        let (first, rest) = out.split_at_mut(head);
        let mut escaped = self.decode_singly(table, first);
        out = rest;
        let whole = out.len() & !(self.lanes - 1);
        let (rounds, tail) = out.split_at_mut(whole);
        let states = &mut self.states[..self.lanes];
        escaped |= self
            .path
            .decode_rounds(table, states, &mut self.words, rounds);
        self.next += whole;
        escaped | self.decode_singly(table, tail)
    }

    fn decode_singly(&mut self, table: &RunTable<'_>, out: &mut [i32]) -> bool {
        let mut escaped = false;
        for symbol in out {
            *symbol = self.decode_packed(table.slots, table.min);
            escaped |= *symbol == table.escape;
        }
        escaped
    }

    /// Decodes the next symbol with a packed table.
    #[inline]
    pub(crate) fn decode_packed(&mut self, slots: &PackedSlots, min: i32) -> i32 {
        let lane = self.next & (self.lanes - 1);
        self.next += 1;
        step(&mut self.states[lane], &mut self.words, slots, min)
    }

    /// Decodes `out.len()` symbols with a table that gives symbol, first slot and frequency.
    pub(crate) fn decode_run_with(
        &mut self,
        lookup: impl Fn(u32) -> (i32, u32, u32) + Copy,
        out: &mut [i32],
    ) {
        if self.lanes == 1 {
            // One state stays in a register.
            let mut state = self.states[0];
            for symbol in out.iter_mut() {
                *symbol = step_with(&mut state, &mut self.words, lookup);
            }
            self.states[0] = state;
            self.next += out.len();
        } else {
            for symbol in out {
                *symbol = self.decode_with(lookup);
            }
        }
    }

    /// Decodes the next symbol with a table that gives symbol, first slot and frequency.
    #[inline]
    pub(crate) fn decode_with(&mut self, lookup: impl Fn(u32) -> (i32, u32, u32)) -> i32 {
        let lane = self.next & (self.lanes - 1);
        self.next += 1;
        step_with(&mut self.states[lane], &mut self.words, lookup)
    }

    /// Decodes a row of pixels with contexts; see [`ContextRows::decode_row`].
    pub(crate) fn decode_row(
        &mut self,
        contexts: &ContextRows,
        rows: (Option<&[i32]>, &mut [i32]),
        escape: &mut dyn FnMut(u16) -> Result<i32, DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut lanes = Lanes {
            states: &mut self.states,
            count: self.lanes,
            next: self.next,
        };
        let words = &mut self.words;
        self.path
            .decode_row(contexts, rows, &mut lanes, words, escape)?;
        self.next = lanes.next;
        Ok(())
    }

    /// Checks that the words are used up and the lanes are back where an encoder starts.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if !self.words.is_empty() {
            return Err(DecodeError::CorruptPayload {
                what: "words are left over",
            });
        }
        let is_start = |&state: &u32| {
            state == 0 || (self.lanes > 1 && state <= LOW && state.is_power_of_two())
        };
        if !self.states[..self.lanes].iter().all(is_start) {
            return Err(DecodeError::CorruptPayload {
                what: "a lane ends in a wrong state",
            });
        }
        Ok(())
    }
}

/// Takes a word where the state is low and one is left.
#[inline]
pub(crate) fn refill(state: &mut u32, words: &mut &[u8]) {
    if *state < LOW
        && let Some((word, rest)) = words.split_first_chunk::<2>()
    {
        *state = (*state << 16) | u32::from(u16::from_le_bytes(*word));
        *words = rest;
    }
}

#[inline]
fn step(state: &mut u32, words: &mut &[u8], slots: &PackedSlots, min: i32) -> i32 {
    let entry = slots[(*state & (SCALE - 1)) as usize];
    *state = advance(*state, entry);
    refill(state, words);
    min + (entry & 0xff).cast_signed()
}

#[inline]
fn step_with(state: &mut u32, words: &mut &[u8], lookup: impl Fn(u32) -> (i32, u32, u32)) -> i32 {
    let slot = *state & (SCALE - 1);
    let (symbol, start, frequency) = lookup(slot);
    *state = frequency * (*state >> SCALE_BITS) + slot - start;
    refill(state, words);
    symbol
}

/// The state after a packed entry.
#[inline]
fn advance(state: u32, entry: u32) -> u32 {
    (entry >> 20) * (state >> SCALE_BITS) + ((entry >> 8) & 0xfff)
}

/// Whole rounds; whether an escape is among them. The scalar path.
pub(crate) fn decode_rounds(
    table: &RunTable<'_>,
    states: &mut [u32],
    words: &mut &[u8],
    out: &mut [i32],
) -> bool {
    match states.len() {
        1 => decode_groups::<1>(table, states, words, out),
        2 => decode_groups::<2>(table, states, words, out),
        4 => decode_groups::<4>(table, states, words, out),
        8 => decode_groups::<8>(table, states, words, out),
        lanes => {
            for round in out.chunks_exact_mut(lanes) {
                for (out, states) in round.chunks_exact_mut(8).zip(states.chunks_exact_mut(8)) {
                    decode_groups::<8>(table, states, words, out);
                }
            }
        }
    }
    // A look of its own and without branches: cheaper than one in the loops.
    let is_escape = |&value: &i32| value == table.escape;
    out.iter().fold(false, |any, value| any | is_escape(value))
}

fn decode_groups<const LANES: usize>(
    &RunTable { min, slots, .. }: &RunTable<'_>,
    kept: &mut [u32],
    words: &mut &[u8],
    out: &mut [i32],
) {
    let mut states: [u32; LANES] = (&*kept).try_into().expect("as many states as lanes");
    let mut left = *words;
    let mut groups = out.chunks_exact_mut(LANES);
    // Plenty of words: none of these groups can run out.
    while left.len() >= 2 * MAX_LANES {
        let Some(out) = groups.next() else { break };
        let room: &[u8; 2 * MAX_LANES] = left.first_chunk().expect("the length was checked");
        let mut used = 0;
        for (lane, symbol) in out.iter_mut().enumerate() {
            let entry = slots[(states[lane] & (SCALE - 1)) as usize];
            let state = advance(states[lane], entry);
            *symbol = min + (entry & 0xff).cast_signed();
            // Read in any case, kept only where the state is low: no branch to miss.
            let at = (2 * used) & (2 * MAX_LANES - 2);
            let word = u32::from(u16::from_le_bytes([room[at], room[at + 1]]));
            let low = state < LOW;
            states[lane] = if low { (state << 16) | word } else { state };
            used += usize::from(low);
        }
        left = &left[2 * used..];
    }
    for out in groups {
        for (lane, symbol) in out.iter_mut().enumerate() {
            *symbol = step(&mut states[lane], &mut left, slots, min);
        }
    }
    *words = left;
    kept.copy_from_slice(&states);
}
