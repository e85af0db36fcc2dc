//! What the coder needs of all tables of a set, built once.

use alloc::vec::Vec;

use super::buckets::BucketTable;
use super::compact::CompactTable;
use crate::bits::BitWriter;
use crate::limits::{small_i32, small_u16, small_u32};
use crate::table::{FreqTable, SCALE, SCALE_BITS, slot_bits};

/// Stands for an escape in wide tables until its value is read; no symbol is this small.
const WIDE_ESCAPE: i32 = i32::MIN;

/// Listed symbols up to which slots are packed: indices fit a byte.
const MAX_PACKED: usize = 254;

/// Entry index of an escape in packed slots: after the last symbol that has a slot, so that
/// what is written for an escape is never such a symbol.
pub(crate) fn packed_escape(table: &FreqTable) -> usize {
    let last = table.frequencies().iter().rposition(|&f| f > 0);
    last.map_or(0, |index| index + 1)
}

/// How a symbol changes a state, without a division: `q = state * magic >> shift` is
/// `state / frequency` for every state below 2^31, and the new state is
/// `state + start + q * (4096 - frequency)`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct EncodeEntry {
    magic: u32,
    /// From this state on a word must be emitted first.
    pub(crate) limit: u32,
    start: u16,
    frequency: u16,
    complement: u16,
    shift: u16,
}

impl EncodeEntry {
    fn new(start: u16, frequency: u16) -> Self {
        debug_assert!(frequency > 0);
        let divisor = u64::from(frequency);
        let log = (divisor - 1).checked_ilog2().map_or(0, |log| log + 1);
        let shift = 31 + log;
        // The rounding error stays below one for states below 2^31, and the magic number
        // itself lies between 2^31 and 2^32.
        let magic = (1u64 << shift).div_ceil(divisor);
        Self {
            magic: u32::try_from(magic).expect("below 2^32 by the choice of shift"),
            limit: u32::from(frequency) << LIMIT_SHIFT,
            start,
            frequency,
            complement: small_u16(SCALE as usize - usize::from(frequency)),
            shift: small_u16(shift as usize),
        }
    }

    /// The state after this symbol, from one below the limit.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a quotient of a state fits 32 bits"
    )]
    pub(crate) fn push(&self, state: u32) -> u32 {
        let product = u64::from(state) * u64::from(self.magic);
        // The mask tells the compiler that the shift is in range.
        let quotient = (product >> (self.shift & 63)) as u32;
        state
            .wrapping_add(u32::from(self.start))
            .wrapping_add(quotient.wrapping_mul(u32::from(self.complement)))
    }
}

/// Shift from a frequency to the state from which encoding must emit a word first.
const LIMIT_SHIFT: u32 = 15 - SCALE_BITS + 16;

/// Entries of all tables, for one symbol at a time and for vectors.
#[derive(Debug, Clone, Default)]
pub(crate) struct CoderEntries {
    scalar: Vec<EncodeEntry>,
    /// From the lowest bit on: magic (32 bits), frequency (12), start (12), shift (8).
    packed: Vec<u64>,
}

impl CoderEntries {
    fn push(&mut self, start: u16, frequency: u16) {
        let entry = EncodeEntry::new(start, frequency);
        let rest = u64::from(frequency) | (u64::from(start) << 12) | (u64::from(entry.shift) << 24);
        self.packed.push(u64::from(entry.magic) | (rest << 32));
        self.scalar.push(entry);
    }

    /// Entries for one symbol at a time.
    #[inline]
    pub(crate) fn scalar(&self) -> &[EncodeEntry] {
        &self.scalar
    }

    /// Entries for vectors.
    #[inline]
    pub(crate) fn packed(&self) -> &[u64] {
        &self.packed
    }

    /// Packed entries of many codes.
    #[inline]
    pub(crate) fn look_up(&self, codes: &[u32], entries: &mut [u64]) {
        for (entry, &code) in entries.iter_mut().zip(codes) {
            *entry = self.packed[code as usize];
        }
    }
}

/// Where the parts of one table lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CoderTable {
    pub(crate) min: i32,
    /// First entry; listed symbols come in order, the escape after them.
    pub(crate) base: u32,
    /// Listed symbols.
    pub(crate) count: u32,
    /// Whether some listed symbols have no slot.
    pub(crate) has_gaps: bool,
    /// What a decoder writes for an escape; never a symbol with a slot.
    pub(crate) escape: i32,
    pub(crate) mean_millibits: u32,
}

/// Slots of all tables.
#[derive(Debug, Clone)]
pub(crate) enum Slots {
    /// 4096 a table: entry index (8 bits), slot minus first (12), frequency (12).
    Packed(Vec<u32>),
    /// 4096 a table: entry index. For alphabets too large to pack.
    Wide(Vec<u16>),
}

/// Slots of one table in packed form.
pub(crate) type PackedSlots = [u32; SCALE as usize];

/// What decoding a run of symbols with one table needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunTable<'a> {
    pub(crate) min: i32,
    /// What is written for an escape; its entry index is the largest one.
    pub(crate) escape: i32,
    pub(crate) slots: &'a PackedSlots,
    /// Where the table is small enough.
    pub(crate) buckets: Option<&'a BucketTable>,
}

/// Coder side of all tables of a set.
#[derive(Debug, Clone)]
pub(crate) struct CoderTables {
    pub(crate) tables: Vec<CoderTable>,
    pub(crate) entries: CoderEntries,
    /// Ideal code length of each entry; never used by the coder itself.
    bits: Vec<f32>,
    pub(crate) slots: Slots,
    /// Small tables once more, for vectors.
    buckets: Vec<Option<BucketTable>>,
    /// Only where they pay.
    pub(crate) compact: Option<Vec<CompactTable>>,
}

impl CoderTables {
    pub(crate) fn new(tables: &[FreqTable]) -> Self {
        let packs = |table: &FreqTable| table.frequencies().len() <= MAX_PACKED;
        let packed = tables.iter().all(packs);
        let mut built = Self {
            tables: Vec::with_capacity(tables.len()),
            entries: CoderEntries::default(),
            bits: Vec::new(),
            slots: if packed {
                Slots::Packed(Vec::new())
            } else {
                Slots::Wide(Vec::new())
            },
            buckets: tables.iter().map(BucketTable::new).collect(),
            compact: CompactTable::all(tables),
        };
        for table in tables {
            built.add(table, packed);
        }
        built
    }

    fn add(&mut self, table: &FreqTable, packed: bool) {
        let count = table.frequencies().len();
        self.tables.push(CoderTable {
            min: table.min(),
            base: small_u32(self.entries.scalar.len()),
            count: small_u32(count),
            has_gaps: table.frequencies().contains(&0),
            escape: if packed {
                table.min() + small_i32(packed_escape(table))
            } else {
                WIDE_ESCAPE
            },
            mean_millibits: mean_millibits(table),
        });
        let mut start = 0;
        let last = small_u16(SCALE as usize - usize::from(table.escape_frequency()));
        let frequencies = table
            .frequencies()
            .iter()
            .copied()
            .chain([table.escape_frequency()]);
        for (index, frequency) in frequencies.enumerate() {
            if frequency == 0 {
                // A gap is coded as the escape.
                self.entries.push(last, table.escape_frequency());
            } else {
                self.entries.push(start, frequency);
            }
            self.bits.push(if frequency == 0 {
                0.0
            } else {
                bits_f32(frequency)
            });
            match &mut self.slots {
                Slots::Packed(slots) => {
                    let index = if index == count {
                        small_u32(packed_escape(table))
                    } else {
                        small_u32(index)
                    };
                    let fixed = (u32::from(frequency) << 20) | index;
                    slots.extend((0..u32::from(frequency)).map(|offset| (offset << 8) | fixed));
                }
                Slots::Wide(slots) => {
                    slots.resize(slots.len() + usize::from(frequency), small_u16(index));
                }
            }
            start += frequency;
        }
        debug_assert_eq!(u32::from(start), SCALE);
    }

    /// Ideal bits of a symbol, raw bits of an escape included.
    pub(crate) fn bits_of(&self, index: u16, table: &FreqTable, symbol: i32) -> f64 {
        match table.index_of(symbol) {
            Some(entry) => {
                f64::from(self.bits[self.tables[usize::from(index)].base as usize + entry])
            }
            None => table.code_length_bits(symbol),
        }
    }

    /// A table as a run of symbols needs it; `slots` are those of all tables.
    #[inline]
    pub(crate) fn run<'a>(&'a self, slots: &'a [u32], index: u16) -> RunTable<'a> {
        let CoderTable { min, escape, .. } = self.tables[usize::from(index)];
        RunTable {
            min,
            escape,
            slots: Self::packed(slots, index),
            buckets: self.buckets[usize::from(index)].as_ref(),
        }
    }

    /// Packed slots of a table.
    #[inline]
    pub(crate) fn packed(slots: &[u32], index: u16) -> &PackedSlots {
        let begin = usize::from(index) * SCALE as usize;
        let slots = &slots[begin..begin + SCALE as usize];
        slots.try_into().expect("the range is as long as a table")
    }

    /// Entry of a symbol in a wide table: what to write, first slot, frequency.
    pub(crate) fn wide(&self, slots: &[u16], index: u16, slot: u32) -> (i32, u32, u32) {
        let table = &self.tables[usize::from(index)];
        let at = slots[usize::from(index) * SCALE as usize + slot as usize];
        let entry = &self.entries.scalar[table.base as usize + usize::from(at)];
        let escaped = u32::from(at) == table.count;
        let symbol = if escaped {
            WIDE_ESCAPE
        } else {
            table.min + small_i32(usize::from(at))
        };
        (symbol, u32::from(entry.start), u32::from(entry.frequency))
    }
}

impl CoderTable {
    /// The entry of a symbol: its own, or the escape's.
    #[inline]
    pub(crate) fn code_of(&self, symbol: i32) -> u32 {
        self.base + self.offset_of(symbol).min(self.count)
    }

    /// The entries of many symbols.
    #[inline]
    pub(crate) fn codes_of(&self, symbols: &[i32], codes: &mut [u32]) {
        for (code, &symbol) in codes.iter_mut().zip(symbols) {
            *code = self.code_of(symbol);
        }
    }

    /// Whether none of these symbols needs an escape; false where that is not clear.
    #[inline]
    pub(crate) fn lists_all(&self, symbols: &[i32]) -> bool {
        let farthest = symbols
            .iter()
            .fold(0, |far, &symbol| self.offset_of(symbol).max(far));
        farthest < self.count && !self.has_gaps
    }

    /// Puts the value of a symbol to `bits` if it needs an escape.
    #[inline]
    pub(crate) fn escape(&self, table: &FreqTable, symbol: i32, bits: &mut BitWriter<'_>) {
        let offset = self.offset_of(symbol);
        let is_gap = || self.has_gaps && table.frequencies()[offset as usize] == 0;
        if offset >= self.count || is_gap() {
            put_escape(table, symbol, bits);
        }
    }

    #[inline]
    fn offset_of(&self, symbol: i32) -> u32 {
        symbol.wrapping_sub(self.min).cast_unsigned()
    }
}

/// Position of the first `wanted`.
#[inline]
pub(crate) fn find(symbols: &[i32], wanted: i32) -> Option<usize> {
    // A look without branches at many symbols, then at each of them.
    const LOOK: usize = 64;
    let has_it = |look: &&[i32]| {
        look.iter()
            .fold(false, |any, &value| any | (value == wanted))
    };
    let mut looks = symbols.chunks(LOOK);
    let skipped = looks.position(|look| has_it(&look))?;
    let begin = skipped * LOOK;
    let within = symbols[begin..].iter().position(|&value| value == wanted)?;
    Some(begin + within)
}

#[cold]
fn put_escape(table: &FreqTable, symbol: i32, bits: &mut BitWriter<'_>) {
    let (below, distance) = table.escape_code(symbol);
    bits.put(u32::from(below), 1);
    bits.put_exp_golomb(distance);
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "seven digits are enough for a length"
)]
fn bits_f32(frequency: u16) -> f32 {
    slot_bits(frequency) as f32
}

/// The table's entropy in thousandths of a bit; only sums and products, so it is the same
/// everywhere, and only used to choose a lane count.
#[expect(clippy::cast_possible_truncation, reason = "at most 12,000")]
#[expect(clippy::cast_sign_loss, reason = "an entropy is not negative")]
fn mean_millibits(table: &FreqTable) -> u32 {
    small_u32((table.entropy_bits() * 1000.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplying_by_the_magic_divides() {
        for frequency in 1..4096u16 {
            let mut entries = CoderEntries::default();
            entries.push(3, frequency);
            let entry = entries.scalar[0];
            let (magic, shift) = (entries.packed[0] & 0xffff_ffff, entries.packed[0] >> 56);
            let divisor = u32::from(frequency);
            for base in [
                0,
                1,
                divisor,
                1 << 15,
                1 << 24,
                entry.limit - 1,
                0x7fff_ffff,
            ] {
                for state in base.saturating_sub(2)..=base.saturating_add(2).min(0x7fff_ffff) {
                    let quotient = (u64::from(state) * magic) >> shift;
                    assert_eq!(quotient, u64::from(state / divisor), "{state} / {divisor}");
                    if state < entry.limit {
                        let expected = ((state / divisor) << 12) + state % divisor + 3;
                        assert_eq!(entry.push(state), expected);
                    }
                }
            }
        }
    }
}
