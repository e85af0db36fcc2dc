//! Bytes of the part of a table set that mixing needs, behind its tables.

use alloc::vec::Vec;

use super::{
    EVEN_CELL, MAX_COARSE_WEIGHT, MAX_COEFFICIENT, MAX_MIXED_CHANNELS, MixChannel, MixModel,
    OWN_FEATURES, REFERENCES,
};
use crate::coder::mix::{WEIGHT_COUNT, cell_count};
use crate::limits::{MAX_SYMBOL, small_u32};
use crate::varint;

/// Largest cell.
const MAX_CELL: i32 = 4095;

pub(crate) fn write(model: &MixModel, out: &mut Vec<u8>) {
    varint::write(out, small_u32(model.channels.len()));
    for channel in &model.channels {
        write_signed(channel.centre, out);
        varint::write(out, small_u32(channel.references.len()));
        for &reference in &channel.references {
            // Only sets of a segment lack one, and nobody writes those.
            varint::write(out, reference.unwrap_or(0).into());
        }
        for &coefficient in channel.value.iter().chain(&channel.magnitude) {
            write_signed(coefficient, out);
        }
    }
    for &weight in &model.weights {
        write_signed(weight.into(), out);
    }
    let mut cells = model.cells.as_slice();
    while let Some((&cell, rest)) = cells.split_first() {
        write_signed(i32::from(cell) - i32::from(EVEN_CELL), out);
        cells = rest;
        if cell == EVEN_CELL {
            let more = rest.iter().take_while(|&&cell| cell == EVEN_CELL).count();
            varint::write(out, small_u32(more));
            cells = &rest[more..];
        }
    }
}

fn write_signed(value: i32, out: &mut Vec<u8>) {
    varint::write(out, varint::zigzag(value));
}

/// `None` for bytes that [`write`] does not write.
pub(crate) fn read(rest: &mut &[u8]) -> Option<MixModel> {
    let count = read_count(rest, MAX_MIXED_CHANNELS)?;
    if count == 0 {
        return None;
    }
    let mut channels = Vec::new();
    for index in 0..count {
        channels.push(read_channel(rest, index)?);
    }
    let mut weights = Vec::with_capacity(WEIGHT_COUNT);
    for _ in 0..WEIGHT_COUNT {
        let weight = read_signed(rest, MAX_COARSE_WEIGHT.into())?;
        weights.push(i16::try_from(weight).ok()?);
    }
    let cells = read_cells(rest, cell_count(count))?;
    Some(MixModel {
        channels,
        weights,
        cells,
    })
}

fn read_channel(rest: &mut &[u8], index: usize) -> Option<MixChannel> {
    let centre = read_signed(rest, MAX_SYMBOL)?;
    let count = read_count(rest, REFERENCES)?;
    let mut references = Vec::with_capacity(count);
    for _ in 0..count {
        // Earlier channels only, none of them twice.
        let found = read_count(rest, index.checked_sub(1)?)?;
        let reference = Some(u16::try_from(found).ok()?);
        if references.contains(&reference) {
            return None;
        }
        references.push(reference);
    }
    let mut coefficients = || {
        let read = (0..OWN_FEATURES + 2 * count).map(|_| read_signed(rest, MAX_COEFFICIENT));
        read.collect::<Option<Vec<i32>>>()
    };
    let value = coefficients()?;
    Some(MixChannel {
        centre,
        references,
        value,
        magnitude: coefficients()?,
    })
}

fn read_cells(rest: &mut &[u8], count: usize) -> Option<Vec<u16>> {
    let mut cells: Vec<u16> = Vec::new();
    let mut even_may_follow = true;
    while cells.len() < count {
        let found = read_signed(rest, MAX_CELL)? + i32::from(EVEN_CELL);
        let cell = u16::try_from(found).ok().filter(|cell| *cell < 4096)?;
        cells.push(cell);
        if cell == EVEN_CELL {
            // All in a row were counted, so another one cannot come next.
            let more = read_count(rest, count - cells.len())?;
            if !even_may_follow {
                return None;
            }
            cells.resize(cells.len() + more, EVEN_CELL);
        }
        even_may_follow = cell != EVEN_CELL;
    }
    Some(cells)
}

fn read_count(rest: &mut &[u8], allowed: usize) -> Option<usize> {
    let count = varint::read(rest, "count", small_u32(allowed)).ok()?;
    Some(count as usize)
}

fn read_signed(rest: &mut &[u8], allowed: i32) -> Option<i32> {
    let coded = varint::read(rest, "number", u32::MAX).ok()?;
    let value = varint::unzigzag(coded);
    (value.unsigned_abs() <= allowed.unsigned_abs()).then_some(value)
}
