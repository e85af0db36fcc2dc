//! Interleaved rANS: `u32` states below 2^31, 16-bit words, 12-bit slots, 1 to 64 lanes.
//!
//! Symbol `i` belongs to lane `i % lanes`. A decoder refills a state below 2^15 with the next
//! word *while words remain*, and not after. So an encoder may start its lanes from zero
//! instead of 2^15, and the last symbols ride in the states: ending costs about 13 bits a lane
//! where a plain coder pays 24. The rule asks one thing of the encoder: when it emits its
//! first word, every lane must have reached 2^15. Lanes that have not are started again from
//! a power of two.

mod decode;
mod encode;

use alloc::vec::Vec;

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;

pub(crate) use decode::{Decoder, decode_rounds, refill};
pub(crate) use encode::{Buffers, encode, encode_rounds, start_rounds};

/// Most lanes of one payload.
pub(crate) const MAX_LANES: usize = 64;

/// States below this are refilled.
pub(crate) const LOW: u32 = 1 << 15;

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
        *state = read.ok_or(DecodeError::Truncated {
            found: body.len(),
            needed: body.len() + 1,
        })?;
    }
    *body = bits.finish().ok_or(DecodeError::CorruptPayload {
        what: "padding bits are not zero",
    })?;
    Ok(())
}
