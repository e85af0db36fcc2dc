//! Interleaved rANS: `u32` states below 2^31, 16-bit words, 12-bit slots, 1 to 64 lanes.
//!
//! Symbol `i` belongs to lane `i % lanes`. A decoder refills a state below 2^15 with the next
//! word *while words remain*, and not after. So an encoder may start its lanes from zero
//! instead of 2^15, and the last symbols ride in the states: ending costs about 13 bits a lane
//! where a plain coder pays 24. The rule asks one thing of the encoder: when
//! it emits its first word, every lane must have reached 2^15. Lanes that have not are started
//! again from a power of two.

use alloc::vec::Vec;

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::table::{SCALE, SCALE_BITS};

/// Most lanes of one payload.
pub(crate) const MAX_LANES: usize = 64;

/// States below this are refilled.
const LOW: u32 = 1 << 15;

/// Shift from a frequency to the state from which encoding must emit a word first.
const EMIT_SHIFT: u32 = 15 - SCALE_BITS + 16;

/// Starts of a lane are doubled this often before the largest one is taken.
const START_ATTEMPTS: u32 = 8;

/// Slots of one symbol in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotRange {
    pub(crate) start: u16,
    pub(crate) frequency: u16,
}

impl SlotRange {
    /// Whether a state must give off a word before it takes this symbol.
    #[inline]
    fn is_full(self, state: u32) -> bool {
        state >= u32::from(self.frequency) << EMIT_SHIFT
    }

    #[inline]
    fn push(self, state: u32) -> u32 {
        let frequency = u32::from(self.frequency);
        ((state / frequency) << SCALE_BITS) + state % frequency + u32::from(self.start)
    }
}

/// Encodes slot ranges over `lanes` lanes (a power of two up to [`MAX_LANES`]).
pub(crate) fn encode(ranges: &[SlotRange], lanes: usize, out: &mut Vec<u8>) {
    assert!(
        lanes.is_power_of_two() && lanes <= MAX_LANES,
        "lane counts are checked before"
    );
    let (mut states, quiet_from) = start(ranges, lanes);
    let mask = lanes - 1;
    let mut words = Vec::new();
    for (index, range) in ranges[..quiet_from].iter().enumerate().rev() {
        let state = &mut states[index & mask];
        if range.is_full(*state) {
            words.push((*state & 0xffff) as u16);
            *state >>= 16;
        }
        *state = range.push(*state);
    }
    if lanes == 1 {
        write_single_state(states[0], words.is_empty(), out);
    } else {
        write_states(&states[..lanes], out);
    }
    out.reserve(words.len() * 2);
    for word in words.iter().rev() {
        out.extend_from_slice(&word.to_le_bytes());
    }
}

/// Encodes the last symbols up to the first word; gives the states and where that word falls.
fn start(ranges: &[SlotRange], lanes: usize) -> ([u32; MAX_LANES], usize) {
    let mask = lanes - 1;
    let mut starts = [0u32; MAX_LANES];
    for attempt in 0.. {
        let mut states = starts;
        let mut quiet_from = 0;
        for (index, range) in ranges.iter().enumerate().rev() {
            let state = states[index & mask];
            if range.is_full(state) {
                quiet_from = index + 1;
                break;
            }
            states[index & mask] = range.push(state);
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
            return (states, quiet_from);
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

/// One lane: as few bytes as the state needs, but three or four where words follow, so that
/// the length of the whole tells the length of the state.
fn write_single_state(state: u32, alone: bool, out: &mut Vec<u8>) {
    let needed = (u32::BITS - state.leading_zeros()).div_ceil(8) as usize;
    let count = if alone { needed } else { needed.max(3) };
    out.extend_from_slice(&state.to_le_bytes()[..count]);
}

/// Several lanes: for each, four bits of length and the bits below the leading one.
fn write_states(states: &[u32], out: &mut Vec<u8>) {
    let mut bits = BitWriter::new(out);
    for &state in states {
        let length = state.ilog2();
        debug_assert!((15..31).contains(&length));
        bits.put(length - 15, 4);
        bits.put(state - (1 << length), length);
    }
    bits.finish();
}

/// What a decoder needs of one table.
pub(crate) trait Slots {
    /// The symbol of a slot, its first slot and its frequency.
    fn lookup(&self, slot: u32) -> (i32, u32, u32);
}

/// States and the words not yet read.
pub(crate) struct Decoder<'a> {
    states: [u32; MAX_LANES],
    lanes: usize,
    words: &'a [u8],
    next: usize,
}

impl<'a> Decoder<'a> {
    /// Reads the states off a payload body.
    pub(crate) fn new(mut body: &'a [u8], lanes: usize) -> Result<Self, DecodeError> {
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
            states,
            lanes,
            words: body,
            next: 0,
        })
    }

    /// Decodes `out.len()` symbols with one table, going on at lane `next % lanes`.
    pub(crate) fn decode_run(&mut self, table: &impl Slots, out: &mut [i32]) {
        for symbol in out {
            *symbol = self.decode_one(table);
        }
    }

    /// Decodes the next symbol.
    #[inline]
    pub(crate) fn decode_one(&mut self, table: &impl Slots) -> i32 {
        let state = &mut self.states[self.next & (self.lanes - 1)];
        self.next += 1;
        let slot = *state & (SCALE - 1);
        let (symbol, start, frequency) = table.lookup(slot);
        *state = frequency * (*state >> SCALE_BITS) + slot - start;
        if *state < LOW
            && let Some((word, rest)) = self.words.split_first_chunk::<2>()
        {
            *state = (*state << 16) | u32::from(u16::from_le_bytes(*word));
            self.words = rest;
        }
        symbol
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

fn read_single_state(body: &mut &[u8]) -> Result<u32, DecodeError> {
    let count = match body.len() {
        short @ 0..=4 => short,
        long => 4 - long % 2,
    };
    let (head, rest) = body.split_at(count);
    let mut bytes = [0; 4];
    bytes[..count].copy_from_slice(head);
    let state = u32::from_le_bytes(bytes);
    let minimal = if rest.is_empty() {
        head.last().is_none_or(|&byte| byte != 0)
    } else {
        state >= if count == 4 { 1 << 24 } else { LOW }
    };
    if !minimal || state >= 1 << 31 {
        return Err(DecodeError::CorruptPayload {
            what: "the state is out of range",
        });
    }
    *body = rest;
    Ok(state)
}

fn read_states(body: &mut &[u8], states: &mut [u32]) -> Result<(), DecodeError> {
    let mut bits = BitReader::new(body);
    for state in states.iter_mut() {
        let read = bits.get(4).and_then(|short| {
            let length = short + 15;
            Some((1 << length) | bits.get(length)?)
        });
        // Sixteen bits is the least that a state takes.
        *state = read.ok_or(DecodeError::Truncated {
            found: body.len(),
            needed: body.len() + 1,
        })?;
        if *state >= 1 << 31 {
            return Err(DecodeError::CorruptPayload {
                what: "a state is out of range",
            });
        }
    }
    *body = bits.finish().ok_or(DecodeError::CorruptPayload {
        what: "padding bits are not zero",
    })?;
    Ok(())
}
