//! Payloads: a descriptor, the bits of escapes, rANS; or raw symbols.

use alloc::vec::Vec;

use super::contexts::ContextRows;
use super::mix;
use super::rans;
use super::raw;
use super::slots::{CoderTable, CoderTables, Slots};
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
/// The descriptor of mixed predictions, for sets that mix.
const MIXED: u8 = 0;

/// Symbols looked at in one go; a multiple of every lane count.
const PIECE: usize = 2048;

/// Symbols of one channel up to which compact tables are the faster ones.
const SMALL_PLANE: usize = 64;

/// Buffers that coding needs; kept by the caller, nothing is allocated once they have grown.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    buffers: rans::Buffers,
    /// Coder entry of each symbol in coding order, where they are needed in one piece.
    codes: Vec<u32>,
    tail: Vec<u8>,
    /// What mixed predictions learn on the way.
    state: Vec<i32>,
    pub(crate) payload: Vec<u8>,
    pub(crate) symbols: Vec<i32>,
}

impl Scratch {
    /// Empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// Appends the payload of `symbols` over `1 << code` lanes.
pub(crate) fn encode(
    set: &TableSet,
    shape: LatentShape,
    symbols: &[i32],
    code: u8,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) {
    let begin = out.len();
    if let Some(model) = set.mix() {
        out.push(MIXED);
        mix::encode(model, shape, symbols, &mut scratch.state, out);
        write_raw_if_shorter(symbols, begin, out);
        return;
    }
    let Scratch {
        buffers,
        codes,
        tail,
        ..
    } = scratch;
    tail.clear();
    let mut bits = BitWriter::new(tail);
    if let Layout::Contexts(model) = set.layout() {
        fill_contexts(set, shape, symbols, model, codes, &mut bits);
    } else {
        write_escapes(set, shape, symbols, &mut bits);
    }
    bits.finish();
    out.push(if tail.is_empty() {
        code
    } else {
        code | ESCAPES
    });
    if !tail.is_empty() {
        varint::write(out, small_u32(tail.len()));
        out.extend_from_slice(tail);
    }
    let entries = &set.coder().entries;
    let size = (shape.len(), 1 << code);
    if let Layout::Contexts(_) = set.layout() {
        let fill = |from: usize, part: &mut [u32]| {
            part.copy_from_slice(&codes[from..from + part.len()]);
        };
        rans::encode(set.path(), entries, size, buffers, fill, out);
    } else {
        let fill = |from: usize, part: &mut [u32]| fill_channels(set, shape, symbols, from, part);
        rans::encode(set.path(), entries, size, buffers, fill, out);
    }
    write_raw_if_shorter(symbols, begin, out);
    debug_assert!(out.len() - begin <= MAX_PAYLOAD_BYTES);
}

/// Values of escapes, channel by channel.
fn write_escapes(set: &TableSet, shape: LatentShape, symbols: &[i32], bits: &mut BitWriter<'_>) {
    for (channel, plane) in symbols.chunks_exact(shape.plane()).enumerate() {
        let index = usize::from(set.layout().table_of(channel));
        let (table, coder) = (&set.tables()[index], &set.coder().tables[index]);
        for piece in plane.chunks(PIECE) {
            if !set.path().lists_all(coder, piece) {
                piece
                    .iter()
                    .for_each(|&symbol| coder.escape(table, symbol, bits));
            }
        }
    }
}

/// Codes of the symbols from `from` on, channel by channel.
fn fill_channels(
    set: &TableSet,
    shape: LatentShape,
    symbols: &[i32],
    mut from: usize,
    mut codes: &mut [u32],
) {
    let plane = shape.plane();
    while !codes.is_empty() {
        let channel = from / plane;
        let count = codes.len().min((channel + 1) * plane - from);
        let (part, rest) = codes.split_at_mut(count);
        let table = &set.coder().tables[usize::from(set.layout().table_of(channel))];
        set.path()
            .codes_of(table, &symbols[from..from + count], part);
        from += count;
        codes = rest;
    }
}

/// Codes of all symbols in the order of contexts, and values of escapes.
fn fill_contexts(
    set: &TableSet,
    shape: LatentShape,
    symbols: &[i32],
    model: &ContextModel,
    codes: &mut Vec<u32>,
    bits: &mut BitWriter<'_>,
) {
    // Grown and never cleared: every code is written below.
    codes.resize(codes.len().max(shape.len()), 0);
    let mut next = codes.iter_mut();
    for_each_context(shape, symbols, model, |index, symbol| {
        let coder = &set.coder().tables[usize::from(index)];
        coder.escape(&set.tables()[usize::from(index)], symbol, bits);
        if let Some(code) = next.next() {
            *code = coder.code_of(symbol);
        }
    });
}

fn write_raw_if_shorter(symbols: &[i32], begin: usize, out: &mut Vec<u8>) {
    let is_shorter = |width: u32| out.len() - begin > 1 + raw::bytes_of(width, symbols.len());
    // Most payloads beat even symbols of few bits, and a look at some of them proves it.
    let mut width = 0;
    for piece in symbols.chunks(PIECE) {
        width = raw::width_of(piece).max(width);
        if !is_shorter(width) {
            return;
        }
    }
    out.truncate(begin);
    out.push(RAW);
    raw::write(symbols, width, out);
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
    descriptor: u8,
    body: &[u8],
    values: &mut Vec<i32>,
) -> Result<(), DecodeError> {
    let mut rest = body;
    // Every symbol is written below or an error returned, so old contents may stay.
    values.resize(shape.len(), 0);
    if descriptor == RAW {
        return raw::read(rest, values);
    }
    if let Some(model) = set.mix() {
        return match descriptor {
            MIXED => mix::decode(model, shape, rest, values),
            found => Err(DecodeError::UnknownDescriptor { found }),
        };
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
    let decoder = rans::Decoder::new(set.path(), rest, 1 << code)?;
    let mut reader = EscapeReader {
        bits: BitReader::new(tail),
        any: false,
    };
    match set.layout() {
        Layout::Contexts(model) => match set.rows() {
            Some(rows) => decode_rows(set, shape, rows, decoder, &mut reader, values)?,
            None => decode_contexts(set, shape, model, decoder, &mut reader, values)?,
        },
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
    let coder = set.coder();
    for (channel, plane) in values.chunks_exact_mut(shape.plane()).enumerate() {
        let index = layout.table_of(channel);
        let CoderTable { escape, .. } = coder.tables[usize::from(index)];
        // A small plane meets its slots too rarely to have them in the cache.
        let plane_is_small = plane.len() <= SMALL_PLANE;
        // In pieces that are still in the first cache when they are searched for escapes.
        for piece in plane.chunks_mut(2 * PIECE) {
            let may_be_escaped = match (&coder.compact, &coder.slots) {
                (Some(tables), _) if plane_is_small => {
                    let table = &tables[usize::from(index)];
                    decoder.decode_run_with(|slot| table.lookup(slot), piece);
                    true
                }
                (_, Slots::Packed(slots)) => decoder.decode_run(&coder.run(slots, index), piece),
                (_, Slots::Wide(slots)) => {
                    decoder.decode_run_with(|slot| coder.wide(slots, index, slot), piece);
                    true
                }
            };
            let mut rest = if may_be_escaped { piece } else { &mut [] };
            while let Some(at) = set.path().find(rest, escape) {
                rest[at] = escapes.read(set, index)?;
                rest = &mut rest[at + 1..];
            }
        }
    }
    decoder.finish()
}

/// Row by row, all channels of a pixel together.
fn decode_rows(
    set: &TableSet,
    shape: LatentShape,
    contexts: &ContextRows,
    mut decoder: rans::Decoder<'_>,
    escapes: &mut EscapeReader<'_>,
    values: &mut Vec<i32>,
) -> Result<(), DecodeError> {
    let length = shape.width() * contexts.stride();
    // Two rows behind the symbols: the buffer that the caller keeps serves for them as well.
    values.resize(shape.len() + 2 * length, 0);
    let (planes, rows) = values.split_at_mut(shape.len());
    let (mut above, mut current) = rows.split_at_mut(length);
    for y in 0..shape.height() {
        let rows = ((y > 0).then_some(&*above), &mut *current);
        decoder.decode_row(contexts, rows, &mut |table| escapes.read(set, table))?;
        let place = (y * shape.width(), shape.plane());
        set.path().spread_row(contexts, current, place, planes);
        core::mem::swap(&mut above, &mut current);
    }
    values.truncate(shape.len());
    decoder.finish()
}

fn decode_contexts(
    set: &TableSet,
    shape: LatentShape,
    model: &ContextModel,
    mut decoder: rans::Decoder<'_>,
    escapes: &mut EscapeReader<'_>,
    values: &mut [i32],
) -> Result<(), DecodeError> {
    let coder = set.coder();
    let (plane, width) = (shape.plane(), shape.width());
    for pixel in 0..plane {
        let (row, column) = (pixel / width, pixel % width);
        for (context, values) in model.channels.iter().zip(values.chunks_exact_mut(plane)) {
            let index = if pixel == 0 {
                context.first
            } else {
                context.table_at(neighbour_sum(values, width, row, column, model.measure))
            };
            let symbol = match (&coder.compact, &coder.slots) {
                (Some(tables), _) => {
                    let table = &tables[usize::from(index)];
                    decoder.decode_with(|slot| table.lookup(slot))
                }
                (None, Slots::Packed(slots)) => {
                    let min = coder.tables[usize::from(index)].min;
                    decoder.decode_packed(CoderTables::packed(slots, index), min)
                }
                (None, Slots::Wide(slots)) => {
                    decoder.decode_with(|slot| coder.wide(slots, index, slot))
                }
            };
            let escape = coder.tables[usize::from(index)].escape;
            values[pixel] = if symbol == escape {
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
        let table = &set.tables()[usize::from(index)];
        let symbol = self
            .bits
            .get(1)
            .and_then(|below| table.escaped_symbol(below == 1, self.bits.get_exp_golomb()?));
        symbol.ok_or(DecodeError::CorruptPayload {
            what: "an escape has no valid value",
        })
    }
}
