//! Tables on two levels: a bucket of 64 slots, then the entry of a slot within. Some 400 bytes
//! where the slots take 16 KiB. Slower than slots in the first cache, faster than slots out of it,
//! as with a table for each of many channels.
//!
//! A search by comparing with all starts, 192 bytes a table, took three times as long.

use alloc::vec::Vec;

use super::slots::packed_escape;
use crate::limits::small_u32;
use crate::table::{FreqTable, SCALE};

/// Buckets of a table, and slots of a bucket.
const BUCKETS: usize = 64;

/// Most listed symbols, so that an index and the escape's fit a byte.
const MAX_LISTED: usize = 254;

/// Sets with fewer tables keep their slots in the caches.
const MANY_TABLES: usize = 16;

/// One table.
#[derive(Debug, Clone)]
pub(crate) struct CompactTable {
    min: i32,
    /// From the lowest bit on: lift (8 bits), shift (4), base (20): the entry of a slot is
    /// `entries[base + ((slot % 64 + lift) >> shift)]`.
    buckets: [u32; BUCKETS],
    /// Entry index (8 bits), first slot (12), frequency (12).
    entries: Vec<u32>,
}

impl CompactTable {
    /// Compact tables where they pay: many tables, none of them large.
    pub(crate) fn all(tables: &[FreqTable]) -> Option<Vec<Self>> {
        let fits = |table: &FreqTable| table.frequencies().len() <= MAX_LISTED;
        let pays = tables.len() >= MANY_TABLES && tables.iter().all(fits);
        pays.then(|| tables.iter().map(Self::new).collect())
    }

    fn new(table: &FreqTable) -> Self {
        let mut entries = Vec::new();
        let mut slots = Vec::with_capacity(SCALE as usize);
        let listed = (0..).zip(table.frequencies().iter().copied());
        let escape = (small_u32(packed_escape(table)), table.escape_frequency());
        for (index, frequency) in listed.filter(|&(_, f)| f > 0).chain([escape]) {
            let start = small_u32(slots.len());
            slots.resize(slots.len() + usize::from(frequency), entries.len());
            entries.push(index | (start << 8) | (u32::from(frequency) << 20));
        }
        debug_assert_eq!(slots.len(), SCALE as usize);
        let mut buckets = [0; BUCKETS];
        for (bucket, slots) in buckets.iter_mut().zip(slots.chunks_exact(BUCKETS)) {
            let bound = slots.iter().position(|&entry| entry != slots[0]);
            let bound = bound.unwrap_or(BUCKETS);
            let one_begins = slots[bound..].iter().all(|&entry| entry == slots[0] + 1);
            let (base, lift, shift) = if one_begins {
                (slots[0], BUCKETS - bound, BUCKETS.ilog2())
            } else {
                // Rare symbols crowd here: an entry for every slot.
                let base = entries.len();
                let spelled_out: Vec<u32> = slots.iter().map(|&at| entries[at]).collect();
                entries.extend(spelled_out);
                (base, 0, 0)
            };
            *bucket = small_u32(lift) | (shift << 8) | (small_u32(base) << 12);
        }
        Self {
            min: table.min(),
            buckets,
            entries,
        }
    }

    /// The symbol of a slot, its first slot and its frequency.
    #[inline(always)]
    pub(crate) fn lookup(&self, slot: u32) -> (i32, u32, u32) {
        let bucket = self.buckets[slot as usize / BUCKETS % BUCKETS];
        let lifted = slot % small_u32(BUCKETS) + (bucket & 0xff);
        let entry = self.entries[((bucket >> 12) + (lifted >> ((bucket >> 8) & 0xf))) as usize];
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
    fn two_levels_find_what_the_slots_say() {
        for frequencies in [
            &[5, 0, 4000, 1, 0, 80][..],
            &[4095],
            &[1, 1, 1, 2, 60, 3900, 3, 1],
            &[16; 250],
        ] {
            let table = FreqTable::from_frequencies(-2, frequencies).unwrap();
            let compact = CompactTable::new(&table);
            let mut start = 0;
            let escape = table.min() + i32::try_from(packed_escape(&table)).unwrap();
            let escape = (escape, table.escape_frequency());
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
}
