//! The tables of one rung: one for all channels, or one for each.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{FreqTable, SCALE};
use crate::bits::{BitReader, BitWriter};
use crate::coder::rans::{self, SlotRange, Slots};
use crate::error::{DecodeError, EncodeError, TableError, take};
use crate::latent::LatentShape;
use crate::limits::{
    MAX_ALPHABET, MAX_CHANNELS, MAX_PAYLOAD_BYTES, MAX_SYMBOL, MAX_TABLES, small_u16, small_u32,
};
use crate::symbols::Symbols;
use crate::varint;

/// Version of the serial form.
const SET_VERSION: u8 = 1;
const LAYOUT_SHARED: u8 = 0;
const LAYOUT_CHANNELS: u8 = 1;

/// Descriptor values of a payload's first byte.
const DESCRIPTOR_ESCAPES: u8 = 8;
const DESCRIPTOR_RAW: u8 = 7;

/// Stands for an escape until its value is read; no symbol is this small.
const ESCAPED: i32 = i32::MIN;

/// How many rANS lanes an encoder uses; a decoder takes what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Lanes {
    /// A lane for every 800 bytes that the tables expect: ending them costs about 0.2 %.
    #[default]
    Small,
    /// A lane for every 100 bytes that the tables expect: faster, up to 2 % larger.
    Fast,
    /// This many, rounded down to a power of two from 1 to 64.
    Exactly(usize),
}

/// Integer tables of one rung, with what the coder needs built once.
#[derive(Debug, Clone)]
pub struct TableSet {
    tables: Vec<FreqTable>,
    /// Table of each channel; empty where one table serves any number of channels.
    assignment: Vec<u16>,
    built: Vec<CoderTable>,
}

impl PartialEq for TableSet {
    fn eq(&self, other: &Self) -> bool {
        self.tables == other.tables && self.assignment == other.assignment
    }
}

impl Eq for TableSet {}

impl TableSet {
    /// One table for all channels, however many there are.
    #[must_use]
    pub fn shared(table: FreqTable) -> Self {
        Self::build(alloc::vec![table], Vec::new())
    }

    /// One table for each channel; equal tables are stored once.
    ///
    /// # Errors
    /// [`TableError::BadChannelCount`] for no tables or more than [`MAX_CHANNELS`],
    /// [`TableError::BadTableCount`] for more than [`MAX_TABLES`] different ones.
    pub fn per_channel(tables: Vec<FreqTable>) -> Result<Self, TableError> {
        let found = tables.len();
        if found == 0 || found > MAX_CHANNELS {
            return Err(TableError::BadChannelCount {
                found,
                allowed: MAX_CHANNELS,
            });
        }
        let mut distinct: Vec<FreqTable> = Vec::new();
        let mut assignment = Vec::with_capacity(found);
        for table in tables {
            let index = distinct
                .iter()
                .position(|known| *known == table)
                .unwrap_or_else(|| {
                    distinct.push(table);
                    distinct.len() - 1
                });
            assignment.push(small_u16(index));
        }
        if distinct.len() > MAX_TABLES {
            return Err(TableError::BadTableCount {
                found: distinct.len(),
                allowed: MAX_TABLES,
            });
        }
        Ok(Self::build(distinct, assignment))
    }

    /// Number of channels that this set is made for; `None` where any number fits.
    #[must_use]
    pub fn channels(&self) -> Option<usize> {
        (!self.assignment.is_empty()).then_some(self.assignment.len())
    }

    /// The distinct tables.
    #[must_use]
    pub fn tables(&self) -> &[FreqTable] {
        &self.tables
    }

    /// The table of a channel.
    ///
    /// # Panics
    /// For a channel that a per-channel set does not have.
    #[must_use]
    pub fn table_of(&self, channel: usize) -> &FreqTable {
        &self.tables[self.index_of(channel)]
    }

    /// The serial form, byte for byte the same for equal sets.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = alloc::vec![SET_VERSION];
        if self.assignment.is_empty() {
            out.push(LAYOUT_SHARED);
        } else {
            out.push(LAYOUT_CHANNELS);
            write_count(&mut out, self.assignment.len());
            write_count(&mut out, self.tables.len());
            for &index in &self.assignment {
                varint::write(&mut out, u32::from(index));
            }
        }
        for table in &self.tables {
            write_table(table, &mut out);
        }
        out
    }

    /// Reads the serial form.
    ///
    /// # Errors
    /// [`TableError`] for every byte string that [`Self::to_bytes`] does not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TableError> {
        let mut rest = bytes;
        read_set(&mut rest).map_err(|fault| {
            fault.unwrap_or(TableError::Malformed {
                offset: bytes.len() - rest.len(),
            })
        })
    }

    /// XXH3 of [`Self::to_bytes`]: equal digests mean equal tables.
    #[must_use]
    pub fn digest(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.to_bytes())
    }

    /// Appends the payload of `symbols`, with lanes as [`Lanes::Small`] says.
    ///
    /// The first byte is the descriptor; in a frame it shares a byte with the flags.
    ///
    /// # Errors
    /// [`EncodeError::ChannelMismatch`] for symbols with another number of channels.
    pub fn encode_into(&self, symbols: &Symbols, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.encode_with(symbols, Lanes::Small, out)
    }

    /// As [`Self::encode_into`], with a choice of lanes.
    ///
    /// # Errors
    /// As [`Self::encode_into`].
    pub fn encode_with(
        &self,
        symbols: &Symbols,
        lanes: Lanes,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let shape = symbols.shape();
        if let Some(allowed) = self.channels_unlike(shape) {
            return Err(EncodeError::ChannelMismatch {
                found: shape.channels(),
                allowed,
            });
        }
        let code = self.lane_code(shape, lanes);
        let begin = out.len();
        let mut ranges = Vec::with_capacity(shape.len());
        let mut tail = Vec::new();
        let mut bits = BitWriter::new(&mut tail);
        for (channel, plane) in symbols.values().chunks_exact(shape.plane()).enumerate() {
            let index = self.index_of(channel);
            let (table, built) = (&self.tables[index], &self.built[index]);
            for &symbol in plane {
                ranges.push(built.range_of(table, symbol, &mut bits));
            }
        }
        bits.finish();
        out.push(if tail.is_empty() {
            code
        } else {
            code | DESCRIPTOR_ESCAPES
        });
        if !tail.is_empty() {
            write_count(out, tail.len());
            out.extend_from_slice(&tail);
        }
        rans::encode(&ranges, 1 << code, out);
        let raw_width = raw_width(symbols.values());
        let raw_bytes = 2 + (raw_width as usize * shape.len()).div_ceil(8);
        if out.len() - begin > raw_bytes {
            out.truncate(begin);
            write_raw(symbols.values(), raw_width, out);
        }
        debug_assert!(out.len() - begin <= MAX_PAYLOAD_BYTES);
        Ok(())
    }

    /// Decodes a payload of [`Self::encode_into`].
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that are cut, damaged or made with tables that disagree.
    pub fn decode(&self, shape: LatentShape, payload: &[u8]) -> Result<Symbols, DecodeError> {
        let mut values = Vec::new();
        self.decode_into(shape, payload, &mut values)?;
        Ok(Symbols::from_checked(shape, values))
    }

    /// As [`Self::decode`], into a buffer that the caller keeps.
    ///
    /// # Errors
    /// As [`Self::decode`]; the buffer then holds nothing of use.
    pub fn decode_into(
        &self,
        shape: LatentShape,
        payload: &[u8],
        values: &mut Vec<i32>,
    ) -> Result<(), DecodeError> {
        if let Some(allowed) = self.channels_unlike(shape) {
            return Err(DecodeError::ChannelMismatch {
                found: shape.channels(),
                allowed,
            });
        }
        let mut rest = payload;
        let descriptor = take(&mut rest, 1)?[0];
        values.clear();
        if descriptor == DESCRIPTOR_RAW {
            return read_raw(rest, shape.len(), values);
        }
        let code = descriptor & 7;
        if descriptor > 15 || code == 7 {
            return Err(DecodeError::UnknownDescriptor { found: descriptor });
        }
        let mut tail: &[u8] = &[];
        if descriptor & DESCRIPTOR_ESCAPES != 0 {
            let limit = small_u32(MAX_PAYLOAD_BYTES);
            let length = varint::read(&mut rest, "escape length", limit)?;
            tail = take(&mut rest, length as usize)?;
        }
        let mut decoder = rans::Decoder::new(rest, 1 << code)?;
        values.resize(shape.len(), 0);
        for (channel, plane) in values.chunks_exact_mut(shape.plane()).enumerate() {
            decoder.decode_run(&self.built[self.index_of(channel)], plane);
        }
        decoder.finish()?;
        self.read_escapes(shape, tail, descriptor, values)
    }

    /// Ideal bits of `symbols`: cross-entropy under these integer tables, raw bits of escapes
    /// included, without the coder's flush.
    ///
    /// # Panics
    /// For symbols with another number of channels than the set.
    #[must_use]
    pub fn code_length_bits(&self, symbols: &Symbols) -> f64 {
        let shape = symbols.shape();
        assert!(
            self.channels_unlike(shape).is_none(),
            "channels of symbols and tables agree"
        );
        let planes = symbols.values().chunks_exact(shape.plane()).enumerate();
        planes
            .map(|(channel, plane)| {
                let table = self.table_of(channel);
                plane
                    .iter()
                    .map(|&symbol| table.code_length_bits(symbol))
                    .sum::<f64>()
            })
            .sum()
    }

    /// Bits that ending the coder costs on average with [`Lanes::Small`], beyond
    /// [`Self::code_length_bits`]; one payload differs by a few bits a lane.
    #[must_use]
    pub fn flush_bits(&self, shape: LatentShape) -> f64 {
        match 1u32 << self.lane_code(shape, Lanes::Small) {
            1 => 13.0,
            lanes => 4.0 + 13.0 * f64::from(lanes),
        }
    }

    fn build(tables: Vec<FreqTable>, assignment: Vec<u16>) -> Self {
        let built = tables.iter().map(CoderTable::new).collect();
        Self {
            tables,
            assignment,
            built,
        }
    }

    fn index_of(&self, channel: usize) -> usize {
        if self.assignment.is_empty() {
            0
        } else {
            usize::from(self.assignment[channel])
        }
    }

    /// The set's number of channels where it differs from the shape's.
    fn channels_unlike(&self, shape: LatentShape) -> Option<usize> {
        self.channels()
            .filter(|&channels| channels != shape.channels())
    }

    /// The base-2 logarithm of the lane count. It follows from tables and shape alone.
    fn lane_code(&self, shape: LatentShape, lanes: Lanes) -> u8 {
        let bytes_per_lane = match lanes {
            Lanes::Small => 800,
            Lanes::Fast => 100,
            Lanes::Exactly(count) => return log2_lanes(count as u64),
        };
        let plane = shape.plane() as u64;
        let per_symbol: u64 = if self.assignment.is_empty() {
            self.built[0].mean_millibits * shape.channels() as u64
        } else {
            self.assignment
                .iter()
                .map(|&i| self.built[usize::from(i)].mean_millibits)
                .sum()
        };
        log2_lanes(per_symbol * plane / 8000 / bytes_per_lane)
    }

    fn read_escapes(
        &self,
        shape: LatentShape,
        tail: &[u8],
        descriptor: u8,
        values: &mut [i32],
    ) -> Result<(), DecodeError> {
        let mut bits = BitReader::new(tail);
        let mut any = false;
        for (channel, plane) in values.chunks_exact_mut(shape.plane()).enumerate() {
            let table = self.table_of(channel);
            for value in plane.iter_mut().filter(|value| **value == ESCAPED) {
                any = true;
                let symbol = bits
                    .get(1)
                    .and_then(|below| table.escaped_symbol(below == 1, bits.get_exp_golomb()?));
                *value = symbol.ok_or(DecodeError::CorruptPayload {
                    what: "an escape has no valid value",
                })?;
            }
        }
        let flagged = descriptor & DESCRIPTOR_ESCAPES != 0;
        if any != flagged || bits.finish().is_none_or(|left| !left.is_empty()) {
            return Err(DecodeError::CorruptPayload {
                what: "escape bits are left over",
            });
        }
        Ok(())
    }
}

fn log2_lanes(count: u64) -> u8 {
    let code = count.clamp(1, rans::MAX_LANES as u64).ilog2();
    u8::try_from(code).expect("at most six")
}

/// Coder side of one table.
#[derive(Debug, Clone)]
struct CoderTable {
    /// Entry of each slot: an index into `entries`.
    slots: Box<[u16]>,
    /// Symbol, first slot and frequency; the escape is last.
    entries: Box<[Entry]>,
    mean_millibits: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    symbol: i32,
    range: SlotRange,
}

impl CoderTable {
    fn new(table: &FreqTable) -> Self {
        let mut slots = Vec::with_capacity(SCALE as usize);
        let mut entries = Vec::with_capacity(table.frequencies().len() + 1);
        let symbols = (table.min()..)
            .take(table.frequencies().len())
            .chain([ESCAPED]);
        let frequencies = table
            .frequencies()
            .iter()
            .copied()
            .chain([table.escape_frequency()]);
        for (index, (symbol, frequency)) in symbols.zip(frequencies).enumerate() {
            let start = u16::try_from(slots.len()).expect("at most 4096 slots");
            let index = u16::try_from(index).expect("at most 4096 entries");
            slots.resize(slots.len() + usize::from(frequency), index);
            entries.push(Entry {
                symbol,
                range: SlotRange { start, frequency },
            });
        }
        debug_assert_eq!(slots.len(), SCALE as usize);
        Self {
            slots: slots.into(),
            entries: entries.into(),
            mean_millibits: mean_millibits(table),
        }
    }

    /// The slots of a symbol; an escape's value goes to `bits`.
    fn range_of(&self, table: &FreqTable, symbol: i32, bits: &mut BitWriter<'_>) -> SlotRange {
        if let Some(index) = table.index_of(symbol) {
            return self.entries[index].range;
        }
        let (below, distance) = table.escape_code(symbol);
        bits.put(u32::from(below), 1);
        bits.put_exp_golomb(distance);
        self.entries[self.entries.len() - 1].range
    }
}

impl Slots for CoderTable {
    #[inline]
    fn lookup(&self, slot: u32) -> (i32, u32, u32) {
        let entry = &self.entries[usize::from(self.slots[slot as usize])];
        (
            entry.symbol,
            u32::from(entry.range.start),
            u32::from(entry.range.frequency),
        )
    }
}

/// The table's entropy in thousandths of a bit; only sums and products, so it is the same
/// everywhere, and only used to choose a lane count.
#[expect(clippy::cast_possible_truncation, reason = "at most 12,000")]
#[expect(clippy::cast_sign_loss, reason = "an entropy is not negative")]
fn mean_millibits(table: &FreqTable) -> u64 {
    (table.entropy_bits() * 1000.0) as u64
}

/// Bits for the widest symbol in zigzag form.
fn raw_width(values: &[i32]) -> u32 {
    let all = values
        .iter()
        .fold(0, |all, &value| all | varint::zigzag(value));
    u32::BITS - all.leading_zeros()
}

fn write_raw(values: &[i32], width: u32, out: &mut Vec<u8>) {
    out.push(DESCRIPTOR_RAW);
    out.push((width & 0xff) as u8);
    let mut bits = BitWriter::new(out);
    for &value in values {
        bits.put(varint::zigzag(value), width);
    }
    bits.finish();
}

fn read_raw(mut rest: &[u8], count: usize, values: &mut Vec<i32>) -> Result<(), DecodeError> {
    let width = u32::from(take(&mut rest, 1)?[0]);
    let widest = u32::BITS - varint::zigzag(MAX_SYMBOL).leading_zeros();
    if width > widest {
        return Err(DecodeError::BadNumber {
            what: "raw width",
            allowed: widest,
        });
    }
    let needed = (count * width as usize).div_ceil(8);
    if rest.len() != needed {
        return Err(DecodeError::CorruptPayload {
            what: "raw symbols have another length",
        });
    }
    let mut bits = BitReader::new(rest);
    values.reserve(count);
    for _ in 0..count {
        let value = varint::unzigzag(bits.get(width).expect("the length was checked"));
        if value.unsigned_abs() > MAX_SYMBOL.unsigned_abs() {
            return Err(DecodeError::CorruptPayload {
                what: "a raw symbol is too large",
            });
        }
        values.push(value);
    }
    if bits.finish().is_none() || raw_width(values) != width {
        return Err(DecodeError::CorruptPayload {
            what: "raw symbols are not minimal",
        });
    }
    Ok(())
}

fn write_count(out: &mut Vec<u8>, count: usize) {
    varint::write(
        out,
        u32::try_from(count).expect("held against a limit before"),
    );
}

fn write_table(table: &FreqTable, out: &mut Vec<u8>) {
    varint::write(out, varint::zigzag(table.min()));
    write_count(out, table.frequencies().len());
    for &frequency in table.frequencies() {
        varint::write(out, u32::from(frequency));
    }
}

/// `Err(None)` stands for malformed bytes at the place where reading stopped.
fn read_set(rest: &mut &[u8]) -> Result<TableSet, Option<TableError>> {
    let head = take(rest, 2).map_err(|_| None)?;
    let (version, layout) = (head[0], head[1]);
    if version != SET_VERSION {
        return Err(Some(TableError::UnknownVersion {
            found: version,
            allowed: SET_VERSION,
        }));
    }
    let mut assignment = Vec::new();
    let mut count = 1;
    match layout {
        LAYOUT_SHARED => {}
        LAYOUT_CHANNELS => {
            let channels = read_count(rest, MAX_CHANNELS)?;
            count = read_count(rest, channels.min(MAX_TABLES))?;
            if channels == 0 || count == 0 {
                return Err(None);
            }
            let mut fresh = 0;
            for _ in 0..channels {
                let index = read_count(rest, count - 1)?;
                // Tables are numbered in the order of their first use.
                if index > fresh {
                    return Err(None);
                }
                fresh += usize::from(index == fresh);
                assignment.push(u16::try_from(index).map_err(|_| None)?);
            }
            if fresh != count {
                return Err(None);
            }
        }
        found => return Err(Some(TableError::UnknownLayout { found })),
    }
    let mut tables = Vec::new();
    for _ in 0..count {
        let table = read_table(rest)?;
        if tables.contains(&table) {
            return Err(None);
        }
        tables.push(table);
    }
    if rest.is_empty() {
        Ok(TableSet::build(tables, assignment))
    } else {
        Err(None)
    }
}

fn read_table(rest: &mut &[u8]) -> Result<FreqTable, Option<TableError>> {
    let min = varint::unzigzag(varint::read(rest, "minimum", u32::MAX).map_err(|_| None)?);
    let count = read_count(rest, MAX_ALPHABET)?;
    let mut frequencies = Vec::new();
    for _ in 0..count {
        let frequency = read_count(rest, SCALE as usize - 1)?;
        frequencies.push(u16::try_from(frequency).map_err(|_| None)?);
    }
    FreqTable::from_frequencies(min, &frequencies).map_err(Some)
}

fn read_count(rest: &mut &[u8], allowed: usize) -> Result<usize, Option<TableError>> {
    let limit = u32::try_from(allowed).map_err(|_| None)?;
    varint::read(rest, "count", limit)
        .map(|count| count as usize)
        .map_err(|_| None)
}
