//! Mixed predictions: the slow, smallest payloads. A symbol is a few binary decisions; seven
//! cells predict each of them, a weighted sum of their log-odds is its probability, and cells
//! and weights learn as they go. Integers only. `docs/format.md`, section 3.4, has every number.

pub(crate) mod curve;
pub(crate) mod state;
pub(crate) mod surroundings;

use alloc::vec::Vec;

use super::binary::{Bins, Decoder, Encoder};
use crate::error::DecodeError;
use crate::latent::LatentShape;
use crate::limits::MAX_SYMBOL;
use crate::math;
use crate::table::mixing::MixModel;
use state::{NODES, State};
use surroundings::{Places, Plane};

/// The decision whether a symbol differs from the centre, and that about its side.
const DIFFERS: usize = 0;
const BELOW: usize = 1;

/// The first decision about the distance, above and below the centre.
const DISTANCE: [usize; 2] = [2, 7];

/// Decisions about the distance that have cells of their own.
const DISTANCES: usize = 5;

/// From this distance on the rest is an Exp-Golomb code.
const FAR: u32 = 20;

/// Appends the body of a payload.
pub(crate) fn encode(
    model: &MixModel,
    shape: LatentShape,
    symbols: &[i32],
    buffer: &mut Vec<i32>,
    out: &mut Vec<u8>,
) {
    // Never read or written: what is decoded is what is there already.
    let mut encoder = Encoder::new(out);
    walk_known(model, shape, symbols, buffer, &mut encoder);
    encoder.finish();
}

/// Bits that the symbols take, without the end of the body.
pub(crate) fn code_length_bits(model: &MixModel, shape: LatentShape, symbols: &[i32]) -> f64 {
    let mut length = Length { bits: 0.0 };
    walk_known(model, shape, symbols, &mut Vec::new(), &mut length);
    length.bits
}

fn walk_known(
    model: &MixModel,
    shape: LatentShape,
    symbols: &[i32],
    buffer: &mut Vec<i32>,
    bins: &mut impl Bins,
) {
    buffer.resize(model.state_length(), 0);
    let mut state = model.start(buffer);
    let done = visit(model, shape, symbols, &mut state, bins);
    debug_assert!(done.is_ok(), "only decoders refuse");
}

/// Codes known symbols with a state that goes on.
pub(crate) fn visit(
    model: &MixModel,
    shape: LatentShape,
    symbols: &[i32],
    state: &mut State<'_>,
    bins: &mut impl Bins,
) -> Result<(), DecodeError> {
    for channel in 0..shape.channels() {
        let centre = model.channels[channel].centre;
        let plane = Plane {
            shape,
            symbols,
            channels: &model.channels,
            channel,
        };
        let begin = channel * shape.plane();
        let mut place = begin;
        for row in 0..shape.height() {
            for column in 0..shape.width() {
                let places = plane.places(row, column);
                code(state, bins, &places, symbols[place] - centre)?;
                place += 1;
            }
        }
    }
    Ok(())
}

/// Decodes a body into `values`, which gets the shape's length.
pub(crate) fn decode(
    model: &MixModel,
    shape: LatentShape,
    body: &[u8],
    values: &mut Vec<i32>,
) -> Result<(), DecodeError> {
    // The state lies behind the symbols: the buffer that the caller keeps serves for it too.
    values.resize(shape.len() + model.state_length(), 0);
    let (symbols, buffer) = values.split_at_mut(shape.len());
    let mut state = model.start(buffer);
    let mut decoder = Decoder::new(body);
    for (channel, own) in model.channels.iter().enumerate() {
        let mut place = channel * shape.plane();
        for row in 0..shape.height() {
            for column in 0..shape.width() {
                let plane = Plane {
                    shape,
                    symbols,
                    channels: &model.channels,
                    channel,
                };
                let places = plane.places(row, column);
                let symbol = own.centre + code(&mut state, &mut decoder, &places, 0)?;
                if symbol.unsigned_abs() > MAX_SYMBOL.unsigned_abs() {
                    return Err(DecodeError::CorruptPayload {
                        what: "a symbol is too large",
                    });
                }
                symbols[place] = symbol;
                place += 1;
            }
        }
    }
    values.truncate(shape.len());
    decoder.finish()
}

/// Codes one value; a decoder ignores the argument and returns what it found.
#[inline]
fn code(
    state: &mut State<'_>,
    bins: &mut impl Bins,
    places: &Places,
    value: i32,
) -> Result<i32, DecodeError> {
    let mut bin = |node: usize, bit: bool| {
        debug_assert!(node < NODES);
        let prediction = state.predict(places, node);
        let bit = bins.code(prediction.one(), bit)?;
        state.update(&prediction, bit);
        Ok::<bool, DecodeError>(bit)
    };
    if !bin(DIFFERS, value != 0)? {
        return Ok(0);
    }
    let below = bin(BELOW, value < 0)?;
    let first = DISTANCE[usize::from(below)];
    let wanted = value.unsigned_abs();
    let mut distance = 1;
    while distance < FAR {
        let node = first + DISTANCES.min(distance as usize) - 1;
        if !bin(node, wanted > distance)? {
            break;
        }
        distance += 1;
    }
    if distance == FAR {
        distance += exp_golomb(bins, wanted.saturating_sub(FAR))?;
    }
    let distance = distance.cast_signed();
    Ok(if below { -distance } else { distance })
}

/// An Exp-Golomb code of order zero, highest bit first, all its bits even.
#[cold]
fn exp_golomb(bins: &mut impl Bins, value: u32) -> Result<u32, DecodeError> {
    const EVEN: u32 = 1 << 15;
    // No two symbols lie further apart.
    const MOST: u32 = (2 * MAX_SYMBOL).ilog2();
    let wanted = (value + 1).ilog2();
    let mut low = 0;
    while !bins.code(EVEN, low == wanted)? {
        low += 1;
        if low > MOST {
            return Err(DecodeError::CorruptPayload {
                what: "a symbol is too large",
            });
        }
    }
    let mut found = 1;
    for place in (0..low).rev() {
        let bit = bins.code(EVEN, (value + 1) >> place & 1 == 1)?;
        found = 2 * found + u32::from(bit);
    }
    Ok(found - 1)
}

/// Adds up what decisions cost.
struct Length {
    bits: f64,
}

impl Bins for Length {
    fn code(&mut self, one: u32, bit: bool) -> Result<bool, DecodeError> {
        let share = if bit { one } else { (1 << 16) - one };
        self.bits += 16.0 - math::log2(share.into());
        Ok(bit)
    }
}

/// Takes every decision and keeps nothing: for training.
pub(crate) struct Nowhere;

impl Bins for Nowhere {
    fn code(&mut self, _: u32, bit: bool) -> Result<bool, DecodeError> {
        Ok(bit)
    }
}

/// Bits that ending a body takes on average.
pub(crate) const END_BITS: f64 = 4.0;

/// Weights of a set.
pub(crate) const WEIGHT_COUNT: usize = surroundings::WEIGHT_SETS * NODES * state::WEIGHTS;

/// Cells of a set with so many channels, those of all decisions.
pub(crate) fn cell_count(channels: usize) -> usize {
    surroundings::cells_of(channels) * NODES
}

/// A channel's cells within those of all.
pub(crate) fn cells_of_channel(channel: usize) -> core::ops::Range<usize> {
    cell_count(channel)..cell_count(channel + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_format() {
        assert_eq!(WEIGHT_COUNT, 960);
        assert_eq!(cell_count(3), (356 + 3 * 64) * 12);
        assert_eq!(cells_of_channel(0).start, 356 * 12);
    }
}
