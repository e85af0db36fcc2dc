//! Bytes of a quantizer: scheme, then its numbers; `docs/format.md` has the layout.

use alloc::vec::Vec;

use super::affine::{Affine, ScaleZero};
use super::dead_zone::DeadZone;
use super::levels::Levels;
use super::steps::Steps;
use super::{Quantizer, Scheme};
use crate::error::{DecodeError, QuantizerError, take};
use crate::limits::{MAX_CHANNELS, MAX_LEVELS, small_u32};
use crate::varint;

const STEPS: u8 = 0;
const DEAD_ZONE: u8 = 1;
const AFFINE: u8 = 2;
const LEVELS: u8 = 3;

pub(super) fn write(quantizer: &Quantizer, out: &mut Vec<u8>) {
    match &quantizer.scheme {
        Scheme::Steps(steps) => {
            out.push(STEPS);
            write_steps(steps, out);
        }
        Scheme::DeadZone(zone) => {
            out.push(DEAD_ZONE);
            let (shift, restore) = zone.offsets();
            write_floats(&[shift, restore], out);
            write_steps(zone.steps(), out);
        }
        Scheme::Affine(affine) => {
            out.push(AFFINE);
            let (bits, channels) = affine.parts();
            varint::write(out, bits);
            varint::write(out, small_u32(affine.channels().unwrap_or(0)));
            for entry in channels {
                write_floats(&[entry.scale], out);
                varint::write(out, varint::zigzag(entry.zero));
            }
        }
        Scheme::Levels(levels) => {
            out.push(LEVELS);
            let (thresholds, values) = levels.parts();
            varint::write(out, small_u32(values.len()));
            write_floats(thresholds, out);
            write_floats(values, out);
        }
    }
}

/// Takes a quantizer off the front of `bytes`.
pub(super) fn read(bytes: &mut &[u8]) -> Result<Quantizer, DecodeError> {
    let scheme = match take(bytes, 1)?[0] {
        STEPS => Scheme::Steps(read_steps(bytes)?),
        DEAD_ZONE => {
            let offsets = read_floats(bytes, 2)?;
            Scheme::DeadZone(DeadZone::new(read_steps(bytes)?, offsets[0], offsets[1])?)
        }
        AFFINE => {
            let bits = varint::read(bytes, "bits", 8)?;
            let count = read_count(bytes, "channel count", MAX_CHANNELS)?;
            let mut channels = Vec::new();
            for _ in 0..count.max(1) {
                let scale = read_floats(bytes, 1)?[0];
                let zero = varint::unzigzag(varint::read(bytes, "zero point", 511)?);
                channels.push(ScaleZero { scale, zero });
            }
            Scheme::Affine(Affine::from_parts(bits, channels, count > 0)?)
        }
        LEVELS => {
            let count = read_count(bytes, "level count", MAX_LEVELS)?;
            let thresholds = read_floats(bytes, count.saturating_sub(1))?;
            Scheme::Levels(Levels::new(thresholds, read_floats(bytes, count)?)?)
        }
        found => return Err(QuantizerError::UnknownScheme { found }.into()),
    };
    Ok(Quantizer { scheme })
}

fn write_steps(steps: &Steps, out: &mut Vec<u8>) {
    varint::write(out, small_u32(steps.channels().unwrap_or(0)));
    write_floats(steps.all(), out);
}

fn read_steps(bytes: &mut &[u8]) -> Result<Steps, DecodeError> {
    let count = read_count(bytes, "channel count", MAX_CHANNELS)?;
    let steps = read_floats(bytes, count.max(1))?;
    Ok(match count {
        0 => Steps::shared(steps[0])?,
        _ => Steps::per_channel(steps)?,
    })
}

fn write_floats(values: &[f32], out: &mut Vec<u8>) {
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn read_floats(bytes: &mut &[u8], count: usize) -> Result<Vec<f32>, DecodeError> {
    let taken = take(bytes, 4 * count)?;
    let values = taken.chunks_exact(4).map(|four| {
        let four = four.try_into().expect("chunks of four bytes");
        f32::from_le_bytes(four)
    });
    Ok(values.collect())
}

fn read_count(bytes: &mut &[u8], what: &'static str, allowed: usize) -> Result<usize, DecodeError> {
    Ok(varint::read(bytes, what, small_u32(allowed))? as usize)
}
