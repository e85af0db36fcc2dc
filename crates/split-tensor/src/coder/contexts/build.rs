//! Contexts as the coder looks them up, made from integer tables.

use alloc::vec::Vec;

use super::{BUCKETS, ContextRows, ESCAPE, GROUP, WITHIN};
use crate::limits::small_u32;
use crate::table::context::{ChannelContext, ContextModel, Measure};
use crate::table::{FreqTable, SCALE};

/// Symbols from the smallest to the largest of a set up to which it has [`ContextRows::starts`].
const MAX_STARTS: usize = 16;

/// Spelled out slots of one set.
const MAX_SPELLED: usize = 1 << 24;

impl ContextRows {
    /// `None` where the tables together list a large range of symbols.
    pub(crate) fn new(tables: &[FreqTable], model: &ContextModel) -> Option<Self> {
        let min = tables.iter().map(FreqTable::min).min()?;
        let fits = |table: &FreqTable| {
            table.max() - min < ESCAPE.cast_signed() && u32::from(table.escape_frequency()) < SCALE
        };
        let has = |table: &u16| usize::from(*table) < tables.len();
        let has_all = |channel: &ChannelContext| {
            has(&channel.first) && !channel.tables.is_empty() && channel.tables.iter().all(has)
        };
        if !tables.iter().all(fits) || !model.channels.iter().all(has_all) {
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
            buckets: Vec::with_capacity(tables.len() * BUCKETS),
            spelled: Vec::new(),
            starts: Vec::new(),
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
        rows.add_starts(tables);
        Some(rows)
    }

    /// Adds the buckets of a table; `None` where too much has to be spelled out.
    fn add(&mut self, table: &FreqTable) -> Option<()> {
        let mut slots = Vec::with_capacity(SCALE as usize);
        let above = (table.min() - self.min).cast_unsigned();
        let listed = (above..).zip(table.frequencies().iter().copied());
        let escape = (ESCAPE, table.escape_frequency());
        for (index, frequency) in listed.filter(|&(_, f)| f > 0).chain([escape]) {
            let entry = index | (small_u32(slots.len()) << 8) | (u32::from(frequency) << 20);
            slots.resize(slots.len() + usize::from(frequency), entry);
        }
        debug_assert!(slots.len() == SCALE as usize);
        for slots in slots.chunks_exact(WITHIN) {
            let (low, high) = (slots[0], slots[WITHIN - 1]);
            let two_cover = slots.iter().all(|&entry| entry == low || entry == high);
            let (low, high) = if two_cover && high & 0xff != ESCAPE {
                (low, high)
            } else {
                let base = self.spelled.len();
                if base >= MAX_SPELLED {
                    return None;
                }
                self.spelled.extend_from_slice(slots);
                let at = ESCAPE | (small_u32(base) << 8);
                (at, at)
            };
            self.buckets.push(u64::from(low) | (u64::from(high) << 32));
        }
        Some(())
    }

    /// First slots behind all symbols, for comparing instead of loading.
    fn add_starts(&mut self, tables: &[FreqTable]) {
        let last = tables.iter().map(FreqTable::max).max();
        let symbols = self.min..=last.unwrap_or(self.min);
        if tables.len() > GROUP || symbols.clone().count() > MAX_STARTS {
            return;
        }
        let mut behind = [SCALE; GROUP];
        behind[..tables.len()].fill(0);
        self.starts = symbols
            .map(|symbol| {
                for (behind, table) in behind.iter_mut().zip(tables) {
                    let at = usize::try_from(symbol - table.min());
                    let frequency = at.ok().and_then(|at| table.frequencies().get(at));
                    *behind += u32::from(frequency.copied().unwrap_or(0));
                }
                behind
            })
            .collect();
    }
}
