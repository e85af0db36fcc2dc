//! Contexts as they are decoded: rows are kept pixel by pixel, so that the neighbours of sixteen
//! channels are sixteen numbers in a row and their classes come out of a few vectors. The scalar
//! loops are here, those over vectors in `simd`.

mod build;

use alloc::vec::Vec;

use super::rans::{LOW, MAX_LANES, refill};
use crate::error::DecodeError;
use crate::limits::small_u16;
use crate::table::{SCALE, SCALE_BITS};

/// A slot's bucket is in its upper bits, its place there in the lower ones.
pub(crate) const BUCKET_BITS: u32 = 7;
pub(crate) const WITHIN_BITS: u32 = SCALE_BITS - BUCKET_BITS;

/// Buckets of a table, and slots of a bucket.
const BUCKETS: usize = 1 << BUCKET_BITS;
const WITHIN: usize = 1 << WITHIN_BITS;

/// Index of an escape in an entry, and of a bucket that is spelled out.
pub(crate) const ESCAPE: u32 = 255;

/// Channels that lie together, one value of each; the last group is padded.
pub(crate) const GROUP: usize = 16;

/// A bucket of 32 slots for one load in place of a table's 4096 slots, so that the tables of many
/// contexts stay in the first cache. Nearly every bucket is covered by one or two entries, and
/// holds them; the few where rare symbols crowd say where each of their slots is spelled out.
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
    /// Two entries each, the lower half's for slots before the first slot of the upper half's.
    /// An entry is, from the lowest bit on, symbol minus `min` (8 bits), first slot (12),
    /// frequency (12). Where both have the index [`ESCAPE`], the other bits say where
    /// the bucket's slots begin in `spelled`.
    buckets: Vec<u64>,
    /// Entries of single slots; the index [`ESCAPE`] is an escape here.
    spelled: Vec<u32>,
    /// By symbol from `min` on, then table: the first slot behind it. None where there are many
    /// tables or symbols.
    starts: Vec<[u32; GROUP]>,
}

impl ContextRows {
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
        here: &mut [i32],
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
    #[expect(clippy::cast_possible_truncation, reason = "both halves")]
    fn look_up(&self, table: u32, state: u32) -> (u32, u32) {
        let slot = state & (SCALE - 1);
        let bucket = self.buckets[(table + (slot >> WITHIN_BITS)) as usize];
        let [low, high] = [bucket as u32, (bucket >> 32) as u32];
        let mut entry = if slot >= (high >> 8) & 0xfff {
            high
        } else {
            low
        };
        if entry & 0xff == ESCAPE {
            entry = self.spelled_out(entry, slot);
        }
        let advanced = (entry >> 20) * (state >> SCALE_BITS) + slot - ((entry >> 8) & 0xfff);
        (entry & 0xff, advanced)
    }

    /// The entry of a slot whose bucket is spelled out.
    #[cold]
    pub(crate) fn spelled_out(&self, entry: u32, slot: u32) -> u32 {
        self.spelled[(entry >> 8) as usize + slot as usize % WITHIN]
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

    /// Buckets of all tables, 128 of each; a group's tables are given by their first ones.
    #[inline]
    pub(crate) fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// By symbol from the smallest on, then table: the first slot behind it, 4096 where nothing
    /// follows. The number of them at or below a slot is the symbol that has it, and all of them are
    /// for an escape. Empty where there are many tables or symbols.
    #[inline]
    pub(crate) fn starts(&self) -> &[[u32; GROUP]] {
        &self.starts
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
    use crate::limits::small_u32;
    use crate::table::FreqTable;
    use crate::table::context::{ChannelContext, ContextModel, Measure};

    #[test]
    fn buckets_find_what_the_slots_say() {
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
                    let state = slot | (5 << SCALE_BITS);
                    let found = rows.look_up(small_u32(at * BUCKETS), state);
                    let advanced = 5 * u32::from(frequency) + slot - start;
                    assert_eq!(found, (index, advanced), "table {at}, slot {slot}");
                }
                start += u32::from(frequency);
            }
        }
        assert_eq!(rows.steps, 2);
    }
}
