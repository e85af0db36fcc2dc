//! Contexts as they are decoded: rows are kept pixel by pixel, so that the neighbours of sixteen
//! channels are sixteen numbers in a row and their classes come out of a few vectors. Compilers
//! make these loops; only the wrappers that let them use wider registers are in `simd`.

use alloc::vec::Vec;

use super::rans::{LOW, MAX_LANES, refill};
use crate::error::DecodeError;
use crate::limits::{small_u16, small_u32};
use crate::table::context::{ContextModel, Measure};
use crate::table::{FreqTable, SCALE, SCALE_BITS};

/// Buckets of a table, and slots of a bucket.
const BUCKETS: usize = 64;

/// Index of an escape in an entry.
const ESCAPE: u32 = 255;

/// Channels that lie together, one value of each; the last group is padded.
pub(crate) const GROUP: usize = 16;

/// Tables up to which vectors look at slots: they fit the second cache then, and one load from
/// there takes less time than two from the first.
const MAX_ONE_LEVEL: usize = 16;

/// Two levels in place of a table's 4096 slots, so that the tables of many contexts stay in the
/// first cache: a bucket of 64 slots, then the entry of a slot within.
#[derive(Debug, Clone)]
pub(crate) struct ContextRows {
    channels: usize,
    by_magnitude: bool,
    min: i32,
    /// Classes but the first of the channel that has most.
    steps: usize,
    /// By group of channels, then class; a sum at or above it belongs to a later class.
    thresholds: Vec<[i32; GROUP]>,
    /// First bucket of the table of each class but the first, in the same order.
    tables: Vec<[u32; GROUP]>,
    /// That of the first class, by group.
    lowest: Vec<[u32; GROUP]>,
    /// That of each channel's first symbol, by group.
    first: Vec<[u32; GROUP]>,
    /// From the lowest bit on: lift (8 bits), shift (4), base (20): the entry of a slot is
    /// `entries[base + ((slot % 64 + lift) >> shift)]`.
    buckets: Vec<u32>,
    /// Symbol minus `min` or [`ESCAPE`] (8 bits), first slot (12), frequency (12).
    entries: Vec<u32>,
    /// Slots of all tables, where they are few: as [`Self::entries`], but slot minus first slot.
    slots: Vec<u32>,
}

impl ContextRows {
    /// `None` where the tables together list a large range of symbols.
    pub(crate) fn new(tables: &[FreqTable], model: &ContextModel) -> Option<Self> {
        let min = tables.iter().map(FreqTable::min).min()?;
        let fits = |table: &FreqTable| {
            table.max() - min < ESCAPE.cast_signed() && u32::from(table.escape_frequency()) < SCALE
        };
        if !tables.iter().all(fits) {
            return None;
        }
        let channels = model.channels.len();
        let groups = channels.div_ceil(GROUP);
        let steps = model
            .channels
            .iter()
            .map(|channel| channel.thresholds.len());
        let steps = steps.max().unwrap_or(0);
        let mut rows = Self {
            channels,
            by_magnitude: model.measure == Measure::Magnitude,
            min,
            steps,
            thresholds: alloc::vec![[i32::MAX; GROUP]; steps * groups],
            tables: alloc::vec![[0; GROUP]; steps * groups],
            lowest: alloc::vec![[0; GROUP]; groups],
            first: alloc::vec![[0; GROUP]; groups],
            buckets: Vec::new(),
            entries: Vec::new(),
            slots: Vec::new(),
        };
        let bucket_of = |table: u16| u32::from(table) * small_u32(BUCKETS);
        for (at, channel) in model.channels.iter().enumerate() {
            let (group, at) = (at / GROUP, at % GROUP);
            rows.first[group][at] = bucket_of(channel.first);
            rows.lowest[group][at] = bucket_of(channel.tables[0]);
            let steps = channel.thresholds.iter().zip(&channel.tables[1..]);
            for (step, (&threshold, &table)) in steps.enumerate() {
                rows.thresholds[group * rows.steps + step][at] = threshold;
                rows.tables[group * rows.steps + step][at] = bucket_of(table);
            }
        }
        tables.iter().try_for_each(|table| rows.add(table))?;
        if tables.len() > MAX_ONE_LEVEL {
            rows.slots = Vec::new();
        }
        Some(rows)
    }

    /// Adds the buckets and entries of a table; `None` where there are too many entries.
    fn add(&mut self, table: &FreqTable) -> Option<()> {
        let mut slots = Vec::with_capacity(SCALE as usize);
        let first_entry = self.entries.len();
        let above = (table.min() - self.min).cast_unsigned();
        let listed = (above..).zip(table.frequencies().iter().copied());
        let escape = (ESCAPE, table.escape_frequency());
        for (index, frequency) in listed.filter(|&(_, f)| f > 0).chain([escape]) {
            let start = small_u32(slots.len());
            let entry = index | (start << 8) | (u32::from(frequency) << 20);
            let at = self.entries.len();
            slots.resize(slots.len() + usize::from(frequency), at);
            self.entries.push(entry);
        }
        debug_assert!(slots.len() == SCALE as usize && self.entries.len() > first_entry);
        if self.buckets.len() < MAX_ONE_LEVEL * BUCKETS {
            let of = |(slot, &at): (u32, &usize)| {
                let entry = self.entries[at];
                let offset = slot - ((entry >> 8) & 0xfff);
                (entry & 0xfff0_00ff) | (offset << 8)
            };
            self.slots.extend((0..).zip(&slots).map(of));
        }
        for slots in slots.chunks_exact(BUCKETS) {
            let bound = slots.iter().position(|&entry| entry != slots[0]);
            let bound = bound.unwrap_or(BUCKETS);
            let one_begins = slots[bound..].iter().all(|&entry| entry == slots[0] + 1);
            let (base, lift, shift) = if one_begins {
                (slots[0], BUCKETS - bound, BUCKETS.ilog2())
            } else {
                // Rare symbols crowd here: an entry for every slot.
                let base = self.entries.len();
                let spelled_out: Vec<u32> = slots.iter().map(|&at| self.entries[at]).collect();
                self.entries.extend(spelled_out);
                (base, 0, 0)
            };
            let base = u32::try_from(base).ok().filter(|&base| base < 1 << 20)?;
            self.buckets
                .push(small_u32(lift) | (shift << 8) | (base << 12));
        }
        Some(())
    }

    /// Numbers that a pixel takes in a row: its channels, padded to whole groups.
    pub(crate) fn stride(&self) -> usize {
        self.lowest.len() * GROUP
    }

    /// Decodes a row of `width` pixels into `current`; `above` is the row before, if there is
    /// one, and `escape` reads a value for a table.
    #[inline(always)]
    pub(crate) fn decode_row(
        &self,
        above: Option<&[i32]>,
        current: &mut [i32],
        lanes: &mut Lanes<'_>,
        words: &mut &[u8],
        escape: &mut dyn FnMut(u16) -> Result<i32, DecodeError>,
    ) -> Result<(), DecodeError> {
        let stride = self.stride();
        for column in 0..current.len() / stride {
            let (done, rest) = current.split_at_mut(column * stride);
            let neighbours = neighbours(above, done, column, stride);
            let here = rest.as_chunks_mut().0;
            for (group, here) in here.iter_mut().enumerate().take(self.lowest.len()) {
                let count = GROUP.min(self.channels - group * GROUP);
                let tables = match neighbours {
                    None => self.first[group],
                    Some(rows) => self.tables_of(group, rows.map(|row| &row.as_chunks().0[group])),
                };
                if self.decode_group(&tables[..count], here, lanes, words) {
                    self.read_escapes(&tables[..count], here, escape)?;
                }
            }
        }
        Ok(())
    }

    /// Puts the values of escapes in their places.
    #[cold]
    pub(crate) fn read_escapes(
        &self,
        tables: &[u32],
        here: &mut [i32; GROUP],
        escape: &mut dyn FnMut(u16) -> Result<i32, DecodeError>,
    ) -> Result<(), DecodeError> {
        let reads = here.iter_mut().zip(tables);
        for (value, &bucket) in reads.filter(|(value, _)| **value == self.escape()) {
            *value = escape(small_u16(bucket as usize / BUCKETS))?;
        }
        Ok(())
    }

    /// First buckets of the tables of a group of channels.
    #[inline(always)]
    fn tables_of(&self, group: usize, neighbours: [&[i32; GROUP]; 4]) -> [u32; GROUP] {
        let [left, up, corner, right] = neighbours;
        let mut sums = [0; GROUP];
        for (at, sum) in sums.iter_mut().enumerate() {
            let of = |values: &[i32; GROUP]| {
                let value = values[at];
                if self.by_magnitude {
                    value.abs()
                } else {
                    value
                }
            };
            *sum = 2 * (of(left) + of(up)) + of(corner) + of(right);
        }
        let mut chosen = self.lowest[group];
        for (thresholds, tables) in self.steps(group) {
            // Bit masks in place of branches: this way it becomes vectors.
            for at in 0..GROUP {
                let reached = u32::from(sums[at] >= thresholds[at]).wrapping_neg();
                chosen[at] ^= (chosen[at] ^ tables[at]) & reached;
            }
        }
        chosen
    }

    /// Decodes a symbol with each of these tables; whether an escape is among them.
    #[inline(always)]
    fn decode_group(
        &self,
        tables: &[u32],
        here: &mut [i32; GROUP],
        lanes: &mut Lanes<'_>,
        words: &mut &[u8],
    ) -> bool {
        // Indices plus one: only the escape's has more than eight bits.
        let mut seen = 0;
        // No group can use more words than this.
        if let Some(room) = words.first_chunk::<{ 2 * GROUP }>() {
            let mut used = 0;
            for (&table, value) in tables.iter().zip(here) {
                let state = lanes.next();
                let (index, advanced) = self.look_up(table, *state);
                *value = self.min + index.cast_signed();
                seen |= index + 1;
                // Read in any case, kept only where the state is low: no branch to miss.
                let at = (2 * used) & (2 * GROUP - 2);
                let word = u32::from(u16::from_le_bytes([room[at], room[at + 1]]));
                let low = u32::from(advanced < LOW);
                *state = (advanced << (16 * low)) | (word & low.wrapping_neg());
                used += low as usize;
            }
            *words = &words[2 * used..];
        } else {
            for (&table, value) in tables.iter().zip(here) {
                let state = lanes.next();
                let (index, advanced) = self.look_up(table, *state);
                *value = self.min + index.cast_signed();
                seen |= index + 1;
                *state = advanced;
                refill(state, words);
            }
        }
        seen > ESCAPE
    }

    /// Symbol above the smallest, and the state before the refill.
    #[inline(always)]
    fn look_up(&self, table: u32, state: u32) -> (u32, u32) {
        let slot = state & (SCALE - 1);
        let bucket = self.buckets[(table + slot / small_u32(BUCKETS)) as usize];
        let lifted = slot % small_u32(BUCKETS) + (bucket & 0xff);
        let at = (bucket >> 12) + (lifted >> ((bucket >> 8) & 0xf));
        let entry = self.entries[at as usize];
        let advanced = (entry >> 20) * (state >> SCALE_BITS) + slot - ((entry >> 8) & 0xfff);
        (entry & 0xff, advanced)
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    pub(crate) fn by_magnitude(&self) -> bool {
        self.by_magnitude
    }

    pub(crate) fn min(&self) -> i32 {
        self.min
    }

    /// Of a group of channels: thresholds of each class but the first, and tables from there on.
    #[inline(always)]
    pub(crate) fn steps(
        &self,
        group: usize,
    ) -> impl Iterator<Item = (&[i32; GROUP], &[u32; GROUP])> {
        let range = group * self.steps..(group + 1) * self.steps;
        let thresholds = &self.thresholds[range.clone()];
        thresholds.iter().zip(&self.tables[range])
    }

    /// Tables of the first class of a group of channels.
    #[inline]
    pub(crate) fn lowest(&self, group: usize) -> &[u32; GROUP] {
        &self.lowest[group]
    }

    /// Tables of the first symbols of a group of channels.
    #[inline]
    pub(crate) fn first(&self, group: usize) -> &[u32; GROUP] {
        &self.first[group]
    }

    /// Buckets and entries, neither of them empty.
    #[inline]
    pub(crate) fn levels(&self) -> (&[u32], &[u32]) {
        (&self.buckets, &self.entries)
    }

    /// Slots of all tables, none where there are many tables.
    #[inline]
    pub(crate) fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// What is written for an escape until its value is read; no symbol with a slot.
    pub(crate) fn escape(&self) -> i32 {
        self.min + ESCAPE.cast_signed()
    }

    /// Puts a decoded row where it belongs: all channels of each pixel to a row of each channel,
    /// `plane` symbols long, from `at` on.
    pub(crate) fn spread_row(&self, row: &[i32], (at, plane): (usize, usize), out: &mut [i32]) {
        let stride = self.stride();
        let width = row.len() / stride;
        for (channel, plane) in out.chunks_exact_mut(plane).enumerate() {
            let values = row[channel..].iter().step_by(stride);
            for (out, value) in plane[at..at + width].iter_mut().zip(values) {
                *out = *value;
            }
        }
    }
}

/// States, and whose turn it is.
pub(crate) struct Lanes<'a> {
    pub(crate) states: &'a mut [u32; MAX_LANES],
    /// A power of two.
    pub(crate) count: usize,
    /// Position of the next symbol.
    pub(crate) next: usize,
}

impl Lanes<'_> {
    #[inline(always)]
    fn next(&mut self) -> &mut u32 {
        let lane = self.next & (self.count - 1);
        self.next += 1;
        &mut self.states[lane & (MAX_LANES - 1)]
    }
}

/// The pixels to the left, above, above left and above right, replaced where they lie outside;
/// `None` for the first one.
#[inline(always)]
pub(crate) fn neighbours<'a>(
    above: Option<&'a [i32]>,
    done: &'a [i32],
    column: usize,
    stride: usize,
) -> Option<[&'a [i32]; 4]> {
    let pixel = |row: &'a [i32], column: usize| row.get(column * stride..(column + 1) * stride);
    let left = column.checked_sub(1).and_then(|left| pixel(done, left));
    let Some(above) = above else {
        return left.map(|left| [left; 4]);
    };
    let up = pixel(above, column)?;
    let right = pixel(above, column + 1).unwrap_or(up);
    let corner = column.checked_sub(1).and_then(|left| pixel(above, left));
    Some([left.unwrap_or(up), up, corner.unwrap_or(up), right])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::context::ChannelContext;

    #[test]
    fn two_levels_find_what_the_slots_say() {
        let frequencies = [
            &[1u16, 2, 3, 0, 60, 500, 3000, 400, 100, 20, 5, 1, 1][..],
            &[4095],
            &[30, 30, 30, 1000, 30, 30, 30],
        ];
        let tables: Vec<FreqTable> = frequencies
            .iter()
            .map(|frequencies| FreqTable::from_frequencies(-3, frequencies).unwrap())
            .collect();
        let model = ContextModel {
            measure: Measure::Value,
            channels: alloc::vec![ChannelContext {
                thresholds: alloc::vec![2, 5],
                tables: alloc::vec![0, 1, 2],
                first: 1,
            }],
            expected_millibits: 0,
        };
        let rows = ContextRows::new(&tables, &model).unwrap();
        for (at, table) in tables.iter().enumerate() {
            let listed = (0..).zip(table.frequencies().iter().copied());
            let escape = (ESCAPE, table.escape_frequency());
            let mut start = 0;
            for (index, frequency) in listed.filter(|entry| entry.1 > 0).chain([escape]) {
                for slot in start..start + u32::from(frequency) {
                    let bucket = rows.buckets[at * BUCKETS + slot as usize / BUCKETS];
                    let within = (slot % 64 + (bucket & 0xff)) >> ((bucket >> 8) & 0xf);
                    let entry = rows.entries[((bucket >> 12) + within) as usize];
                    assert_eq!(entry & 0xff, index);
                    assert_eq!((entry >> 8) & 0xfff, start);
                    assert_eq!(entry >> 20, u32::from(frequency));
                    let one_level = rows.slots[at * SCALE as usize + slot as usize];
                    assert_eq!(one_level & 0xfff0_00ff, entry & 0xfff0_00ff);
                    assert_eq!((one_level >> 8) & 0xfff, slot - start);
                }
                start += u32::from(frequency);
            }
        }
        assert_eq!(rows.steps, 2);
    }
}
