//! Payloads: a descriptor, the bits of escapes, rANS; or raw symbols.

use alloc::vec::Vec;

use super::rans;
use super::raw;
use super::slots::ESCAPED;
use crate::bits::{BitReader, BitWriter};
use crate::error::{DecodeError, take};
use crate::latent::LatentShape;
use crate::limits::{MAX_PAYLOAD_BYTES, small_u32};
use crate::table::context::{ContextModel, Measure, neighbour_sum};
use crate::table::set::{Layout, TableSet};
use crate::varint;

/// Set in a descriptor where escapes follow.
const ESCAPES: u8 = 8;
/// The descriptor of raw symbols.
const RAW: u8 = 7;

/// Appends the payload of `symbols` over `1 << code` lanes.
pub(crate) fn encode(
    set: &TableSet,
    shape: LatentShape,
    symbols: &[i32],
    code: u8,
    out: &mut Vec<u8>,
) {
    let begin = out.len();
    let mut ranges = Vec::with_capacity(shape.len());
    let mut tail = Vec::new();
    let mut bits = BitWriter::new(&mut tail);
    let mut push = |index: u16, symbol: i32| {
        let (table, built) = set.coder_of(index);
        ranges.push(built.range_of(table, symbol, &mut bits));
    };
    match set.layout() {
        Layout::Contexts(model) => {
            for_each_context(shape, symbols, model, &mut push);
        }
        layout => {
            for (channel, plane) in symbols.chunks_exact(shape.plane()).enumerate() {
                let index = layout.table_of(channel);
                plane.iter().for_each(|&symbol| push(index, symbol));
            }
        }
    }
    bits.finish();
    out.push(if tail.is_empty() {
        code
    } else {
        code | ESCAPES
    });
    if !tail.is_empty() {
        varint::write(out, small_u32(tail.len()));
        out.extend_from_slice(&tail);
    }
    rans::encode(&ranges, 1 << code, out);
    let width = raw::width_of(symbols);
    if out.len() - begin > 1 + raw::bytes_of(width, shape.len()) {
        out.truncate(begin);
        out.push(RAW);
        raw::write(symbols, width, out);
    }
    debug_assert!(out.len() - begin <= MAX_PAYLOAD_BYTES);
}

/// Calls `visit` with table and symbol in coding order.
pub(crate) fn for_each_context(
    shape: LatentShape,
    symbols: &[i32],
    model: &ContextModel,
    mut visit: impl FnMut(u16, i32),
) {
    for_each_neighbour_sum(shape, symbols, model.measure, |channel, sum, symbol| {
        let context = &model.channels[channel];
        let index = sum.map_or(context.first, |sum| context.table_at(sum));
        visit(index, symbol);
    });
}

/// Calls `visit` with channel, neighbour sum and symbol in the coding order of contexts; the
/// first symbol of a channel has no neighbours.
pub(crate) fn for_each_neighbour_sum(
    shape: LatentShape,
    symbols: &[i32],
    measure: Measure,
    mut visit: impl FnMut(usize, Option<i32>, i32),
) {
    let (plane, width) = (shape.plane(), shape.width());
    for pixel in 0..plane {
        let (row, column) = (pixel / width, pixel % width);
        for (channel, values) in symbols.chunks_exact(plane).enumerate() {
            let sum = (pixel > 0).then(|| neighbour_sum(values, width, row, column, measure));
            visit(channel, sum, values[pixel]);
        }
    }
}

/// Decodes a payload into `values`, which gets the shape's length.
pub(crate) fn decode(
    set: &TableSet,
    shape: LatentShape,
    payload: &[u8],
    values: &mut Vec<i32>,
) -> Result<(), DecodeError> {
    let mut rest = payload;
    let descriptor = take(&mut rest, 1)?[0];
    values.clear();
    if descriptor == RAW {
        // Every symbol takes a bit unless all are zero, so this allocates what the shape says.
        values.resize(shape.len(), 0);
        return raw::read(rest, values);
    }
    let code = descriptor & 7;
    if descriptor > 15 || code == 7 {
        return Err(DecodeError::UnknownDescriptor { found: descriptor });
    }
    let mut tail: &[u8] = &[];
    let escapes = descriptor & ESCAPES != 0;
    if escapes {
        let length = varint::read(&mut rest, "escape length", small_u32(MAX_PAYLOAD_BYTES))?;
        tail = take(&mut rest, length as usize)?;
    }
    let decoder = rans::Decoder::new(rest, 1 << code)?;
    values.resize(shape.len(), 0);
    let mut reader = EscapeReader {
        bits: BitReader::new(tail),
        any: false,
    };
    match set.layout() {
        Layout::Contexts(model) => {
            decode_contexts(set, shape, model, decoder, &mut reader, values)?;
        }
        layout => decode_channels(set, shape, layout, decoder, &mut reader, values)?,
    }
    if reader.any != escapes || reader.bits.finish().is_none_or(|left| !left.is_empty()) {
        return Err(DecodeError::CorruptPayload {
            what: "escape bits are left over",
        });
    }
    Ok(())
}

fn decode_channels(
    set: &TableSet,
    shape: LatentShape,
    layout: &Layout,
    mut decoder: rans::Decoder<'_>,
    escapes: &mut EscapeReader<'_>,
    values: &mut [i32],
) -> Result<(), DecodeError> {
    for (channel, plane) in values.chunks_exact_mut(shape.plane()).enumerate() {
        decoder.decode_run(set.coder_of(layout.table_of(channel)).1, plane);
    }
    decoder.finish()?;
    for (channel, plane) in values.chunks_exact_mut(shape.plane()).enumerate() {
        for value in plane.iter_mut().filter(|value| **value == ESCAPED) {
            *value = escapes.read(set, layout.table_of(channel))?;
        }
    }
    Ok(())
}

fn decode_contexts(
    set: &TableSet,
    shape: LatentShape,
    model: &ContextModel,
    mut decoder: rans::Decoder<'_>,
    escapes: &mut EscapeReader<'_>,
    values: &mut [i32],
) -> Result<(), DecodeError> {
    let (plane, width) = (shape.plane(), shape.width());
    for pixel in 0..plane {
        let (row, column) = (pixel / width, pixel % width);
        for (context, values) in model.channels.iter().zip(values.chunks_exact_mut(plane)) {
            let index = if pixel == 0 {
                context.first
            } else {
                context.table_at(neighbour_sum(values, width, row, column, model.measure))
            };
            let symbol = decoder.decode_one(set.coder_of(index).1);
            values[pixel] = if symbol == ESCAPED {
                escapes.read(set, index)?
            } else {
                symbol
            };
        }
    }
    decoder.finish()
}

/// Values of escaped symbols, in coding order.
struct EscapeReader<'a> {
    bits: BitReader<'a>,
    any: bool,
}

impl EscapeReader<'_> {
    fn read(&mut self, set: &TableSet, index: u16) -> Result<i32, DecodeError> {
        self.any = true;
        let (table, _) = set.coder_of(index);
        let symbol = self
            .bits
            .get(1)
            .and_then(|below| table.escaped_symbol(below == 1, self.bits.get_exp_golomb()?));
        symbol.ok_or(DecodeError::CorruptPayload {
            what: "an escape has no valid value",
        })
    }
}
