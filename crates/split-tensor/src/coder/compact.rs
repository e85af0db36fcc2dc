//! Small tables, found by comparing: 192 bytes where the slots take 16 KiB. Slower than slots
//! in the first cache, faster than slots out of it, as with a table for each of many channels.

use alloc::vec::Vec;

use super::slots::packed_escape;
use crate::limits::small_u32;
use crate::table::{FreqTable, SCALE};

/// Entries of a compact table, the escape included.
const ENTRIES: usize = 32;

/// Sets with fewer tables keep their slots in the caches.
const MANY_TABLES: usize = 16;

/// One table: first slots in rising order, and what they stand for.
#[derive(Debug, Clone)]
pub(crate) struct CompactTable {
    min: i32,
    /// Signed, so that eight of them compare at once everywhere; beyond the last, none fits.
    starts: [i16; ENTRIES],
    /// Entry index (8 bits), first slot (12), frequency (12).
    entries: [u32; ENTRIES],
}

impl CompactTable {
    /// Compact tables where they pay: many tables, all of them small.
    pub(crate) fn all(tables: &[FreqTable]) -> Option<Vec<Self>> {
        let fits = |table: &FreqTable| table.frequencies().len() < ENTRIES;
        let pays = tables.len() >= MANY_TABLES && tables.iter().all(fits);
        pays.then(|| tables.iter().map(Self::new).collect())
    }

    fn new(table: &FreqTable) -> Self {
        let mut starts = [i16::MAX; ENTRIES];
        let mut entries = [0; ENTRIES];
        let listed = (0..).zip(table.frequencies().iter().copied());
        let escape = (small_u32(packed_escape(table)), table.escape_frequency());
        let with_slots = listed
            .filter(|&(_, frequency)| frequency > 0)
            .chain([escape]);
        let mut start = 0;
        for ((index, frequency), at) in with_slots.zip(0..ENTRIES) {
            starts[at] = start;
            entries[at] = index
                | (small_u32(start.unsigned_abs().into()) << 8)
                | (u32::from(frequency) << 20);
            start += i16::try_from(frequency).expect("at most 4096");
        }
        debug_assert_eq!(u32::from(start.unsigned_abs()), SCALE);
        Self {
            min: table.min(),
            starts,
            entries,
        }
    }

    /// The symbol of a slot, its first slot and its frequency.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "a slot is below 4096")]
    #[allow(clippy::cast_sign_loss, reason = "a count of at least one")]
    pub(crate) fn lookup(&self, slot: u32) -> (i32, u32, u32) {
        let slot = (slot & (SCALE - 1)) as i16;
        let at_or_below = self
            .starts
            .iter()
            .fold(0i16, |n, &start| n + i16::from(start <= slot));
        // The first start is 0, so at least one is at or below.
        let entry = self.entries[(at_or_below - 1) as usize & (ENTRIES - 1)];
        (
            self.min + (entry & 0xff).cast_signed(),
            (entry >> 8) & 0xfff,
            entry >> 20,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparing_finds_what_the_slots_say() {
        let table = FreqTable::from_frequencies(-2, &[5, 0, 4000, 1, 0, 80]).unwrap();
        let compact = CompactTable::new(&table);
        let mut start = 0;
        let escape = (table.min() + 6, table.escape_frequency());
        let listed = (table.min()..).zip(table.frequencies().iter().copied());
        for (symbol, frequency) in listed.chain([escape]) {
            for slot in start..start + u32::from(frequency) {
                assert_eq!(compact.lookup(slot), (symbol, start, u32::from(frequency)));
            }
            start += u32::from(frequency);
        }
        assert_eq!(start, SCALE);
    }
}
