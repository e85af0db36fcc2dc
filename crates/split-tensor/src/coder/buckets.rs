//! Small tables in a form that vector registers hold. The slots of a table are cut into 64
//! buckets of 64; in all but the first and the last one at most one entry begins, so one number a
//! bucket tells the entry of every slot, and both ends, where rare symbols crowd, are spelled out.
//! A permutation then finds the entries of 32 lanes, where a gather loads for each lane.

use super::slots::packed_escape;
use crate::limits::{small_i32, small_u16};
use crate::table::{FreqTable, SCALE};

/// Buckets of a table, and slots of a bucket.
pub(crate) const BUCKETS: usize = 64;

/// Most entries, the escape included.
pub(crate) const ENTRIES: usize = 32;

/// One table by buckets.
#[derive(Debug, Clone)]
pub(crate) struct BucketTable {
    /// For each bucket: `(slot + lift) / 64`, in 16 bits, is the entry of a slot of the bucket.
    /// The next entry is reached where its first slot makes the sum carry.
    pub(crate) lifts: [u16; BUCKETS],
    /// Entry of each slot of the first bucket, then of the last one.
    pub(crate) ends: [u8; 2 * BUCKETS],
    /// Symbol of each entry; for the last one what stands for an escape.
    pub(crate) symbols: [i32; ENTRIES],
    /// First slot of each entry, [`SCALE`] beyond the last.
    pub(crate) starts: [u16; ENTRIES],
    pub(crate) frequencies: [u16; ENTRIES],
    /// Entries in use; the last one is the escape.
    pub(crate) count: usize,
    /// Whether the symbols follow each other.
    pub(crate) has_no_gaps: bool,
}

impl BucketTable {
    /// `None` where there are too many entries or two of them begin in one bucket in between.
    pub(crate) fn new(table: &FreqTable) -> Option<Self> {
        let mut built = Self {
            lifts: [0; BUCKETS],
            ends: [0; 2 * BUCKETS],
            symbols: [0; ENTRIES],
            starts: [small_u16(SCALE as usize); ENTRIES],
            frequencies: [0; ENTRIES],
            count: 0,
            has_no_gaps: true,
        };
        let listed = table.frequencies().iter().copied().enumerate();
        let escape = (packed_escape(table), table.escape_frequency());
        let mut start = 0;
        for (index, frequency) in listed.filter(|&(_, f)| f > 0).chain([escape]) {
            let entry = built.count;
            *built.symbols.get_mut(entry)? = table.min() + small_i32(index);
            built.has_no_gaps &= built.symbols[entry] == built.symbols[0] + small_i32(entry);
            built.starts[entry] = start;
            built.frequencies[entry] = frequency;
            built.count += 1;
            start += frequency;
        }
        debug_assert_eq!(u32::from(start), SCALE);
        built.fill_buckets().then_some(built)
    }

    /// Whether the entries allow it.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "entries are below 32, slots below 4096"
    )]
    fn fill_buckets(&mut self) -> bool {
        let mut slots = [0u8; SCALE as usize];
        for entry in 0..self.count {
            let start = usize::from(self.starts[entry]);
            let end = start + usize::from(self.frequencies[entry]);
            slots[start..end].fill(entry as u8);
        }
        self.ends[..BUCKETS].copy_from_slice(&slots[..BUCKETS]);
        self.ends[BUCKETS..].copy_from_slice(&slots[SCALE as usize - BUCKETS..]);
        for (bucket, slots) in slots.chunks_exact(BUCKETS).enumerate() {
            let second = slots.iter().position(|&entry| entry != slots[0]);
            let bound = second.unwrap_or(BUCKETS);
            let is_end = bucket == 0 || bucket == BUCKETS - 1;
            if !is_end && slots[bound..].iter().any(|&entry| entry != slots[0] + 1) {
                return false;
            }
            let lifted = usize::from(slots[0]) * BUCKETS + BUCKETS - bound;
            self.lifts[bucket] = (lifted as u16).wrapping_sub((bucket * BUCKETS) as u16);
        }
        true
    }

    /// The entry of a slot, as the vectors find it.
    #[cfg(test)]
    fn entry_of(&self, slot: u16) -> usize {
        match usize::from(slot) / BUCKETS {
            0 | 63 => self.ends[usize::from(slot) % (2 * BUCKETS)].into(),
            bucket => (slot.wrapping_add(self.lifts[bucket]) / 64).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_find_what_the_slots_say() {
        for frequencies in [
            &[1, 2, 3, 0, 60, 500, 3000, 400, 100, 20, 5, 1, 1][..],
            &[4095],
            &[64, 64, 64, 0, 64, 3800],
        ] {
            let table = FreqTable::from_frequencies(-3, frequencies).unwrap();
            let buckets = BucketTable::new(&table).unwrap();
            let listed = (table.min()..).zip(frequencies.iter().copied());
            let escape = (
                table.min() + small_i32(frequencies.len()),
                table.escape_frequency(),
            );
            let mut start = 0;
            for (symbol, frequency) in listed.filter(|entry| entry.1 > 0).chain([escape]) {
                for slot in start..start + frequency {
                    let entry = buckets.entry_of(slot);
                    assert_eq!(buckets.symbols[entry], symbol);
                    assert_eq!(buckets.starts[entry], start);
                    assert_eq!(buckets.frequencies[entry], frequency);
                }
                start += frequency;
            }
        }
    }

    #[test]
    fn tables_that_do_not_fit_are_left_to_the_slots() {
        let crowded = [1000, 30, 30, 30, 1000];
        let table = FreqTable::from_frequencies(0, &crowded).unwrap();
        assert!(BucketTable::new(&table).is_none());
        let many = [100u16; 32];
        let table = FreqTable::from_frequencies(0, &many).unwrap();
        assert!(BucketTable::new(&table).is_none());
    }
}
