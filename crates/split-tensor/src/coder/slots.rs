//! What the coder needs of one table, built once.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::rans::{SlotRange, Slots};
use crate::bits::BitWriter;
use crate::limits::{small_u16, small_u32};
use crate::table::{FreqTable, SCALE, slot_bits};

/// Stands for an escape until its value is read; no symbol is this small.
pub(crate) const ESCAPED: i32 = i32::MIN;

/// Coder side of one table.
#[derive(Debug, Clone)]
pub(crate) struct CoderTable {
    /// Entry of each slot: an index into `entries`.
    slots: Box<[u16]>,
    /// Symbol, first slot and frequency; the escape is last.
    entries: Box<[Entry]>,
    pub(crate) mean_millibits: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    symbol: i32,
    range: SlotRange,
    /// Ideal code length; never used by the coder itself.
    bits: f32,
}

impl CoderTable {
    pub(crate) fn new(table: &FreqTable) -> Self {
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
            let start = small_u16(slots.len());
            slots.resize(slots.len() + usize::from(frequency), small_u16(index));
            entries.push(Entry {
                symbol,
                range: SlotRange { start, frequency },
                bits: slot_bits_f32(frequency),
            });
        }
        debug_assert_eq!(slots.len(), SCALE as usize);
        Self {
            slots: slots.into(),
            entries: entries.into(),
            mean_millibits: mean_millibits(table),
        }
    }

    /// Ideal bits of a symbol, raw bits of an escape included.
    pub(crate) fn bits_of(&self, table: &FreqTable, symbol: i32) -> f64 {
        match table.index_of(symbol) {
            Some(index) => f64::from(self.entries[index].bits),
            None => table.code_length_bits(symbol),
        }
    }

    /// The slots of a symbol; an escape's value goes to `bits`.
    pub(crate) fn range_of(
        &self,
        table: &FreqTable,
        symbol: i32,
        bits: &mut BitWriter<'_>,
    ) -> SlotRange {
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

#[expect(
    clippy::cast_possible_truncation,
    reason = "seven digits are enough for a length"
)]
fn slot_bits_f32(frequency: u16) -> f32 {
    if frequency == 0 {
        0.0
    } else {
        slot_bits(frequency) as f32
    }
}

/// The table's entropy in thousandths of a bit; only sums and products, so it is the same
/// everywhere, and only used to choose a lane count.
#[expect(clippy::cast_possible_truncation, reason = "at most 12,000")]
#[expect(clippy::cast_sign_loss, reason = "an entropy is not negative")]
fn mean_millibits(table: &FreqTable) -> u32 {
    small_u32((table.entropy_bits() * 1000.0) as usize)
}
