//! Table sets from training symbols, chosen by what they save on symbols held out.

mod cluster;
mod histogram;

use alloc::vec::Vec;

use super::context::{ChannelContext, ContextModel, Measure};
use super::mixing::MAX_MIXED_CHANNELS;
use super::set::{Layout, TableSet, intern};
use crate::coder::payload;
use crate::error::TableError;
use crate::limits::{MAX_TABLES, small_u32};
use crate::math;
use crate::symbols::Symbols;
use histogram::{Classes, Window};

/// Every fourth sample is held out, where there are enough of them.
const HOLD_OUT: usize = 4;
const ENOUGH_SAMPLES: usize = 16;

/// Share by which a richer layout must beat a simpler one on held-out symbols.
const MARGIN: f64 = 0.005;

/// Name of the candidate that mixes predictions.
const MIXING: &str = "mixing";

/// How [`TableSet::fit`] chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitConfig {
    /// Whether tables may depend on the neighbours of a symbol. Such tables are smaller on
    /// the wire and slower to decode.
    pub contexts: bool,
    /// Most tables in the set, from 1 to [`MAX_TABLES`]; similar ones are merged.
    pub max_tables: usize,
    /// How many symbols of its channel each table is backed off with, at least 0.
    pub prior_count: f64,
    /// Whether payloads may mix predictions that learn as they go: the smallest ones, coded
    /// some fifteen times more slowly than those with contexts. Off by default. As every layout, it is taken where held-out
    /// samples say that it is smaller, so there have to be sixteen samples at least.
    pub mixing: bool,
}

impl Default for FitConfig {
    /// Contexts, at most 16 tables, a prior of 8 symbols. More tables save next to nothing (two
    /// bytes of 1,733 between 16 and 64 in the smooth fields of `bench codec`), and decoders
    /// keep sixteen in the first cache.
    fn default() -> Self {
        Self {
            contexts: true,
            max_tables: 16,
            prior_count: 8.0,
            mixing: false,
        }
    }
}

/// One layout that [`TableSet::fit_measured`] tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitCandidate {
    /// `shared`, `channels`, `contexts-magnitude`, `contexts-value` or `mixing`.
    pub name: &'static str,
    /// Ideal bits of all held-out symbols.
    pub held_out_bits: f64,
    /// Distinct tables.
    pub tables: usize,
    /// Whether this layout was taken.
    pub chosen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Shared,
    Channels,
    Contexts(Measure),
}

impl Plan {
    fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Channels => "channels",
            Self::Contexts(Measure::Magnitude) => "contexts-magnitude",
            Self::Contexts(Measure::Value) => "contexts-value",
        }
    }
}

impl TableSet {
    /// Tables for symbols like these: one for all channels, one for each, or by
    /// neighbourhood, whichever codes every fourth sample best when fitted to the others.
    /// The tables then learn from all samples.
    ///
    /// # Errors
    /// [`TableError::NoSymbols`] without samples, [`TableError::ChannelMismatch`] where they
    /// differ in channels, [`TableError::BadTableCount`] and [`TableError::BadWeight`] for a
    /// configuration out of range.
    pub fn fit(samples: &[Symbols], config: &FitConfig) -> Result<Self, TableError> {
        Self::fit_measured(samples, config).map(|(set, _)| set)
    }

    /// As [`Self::fit`], with what every layout would have cost.
    ///
    /// # Errors
    /// As [`Self::fit`].
    pub fn fit_measured(
        samples: &[Symbols],
        config: &FitConfig,
    ) -> Result<(Self, Vec<FitCandidate>), TableError> {
        check(samples, config)?;
        let all: Vec<&Symbols> = samples.iter().collect();
        let (train, held_out) = split(&all);
        let mut candidates = Vec::new();
        let mut best: Option<(f64, Plan)> = None;
        for plan in plans(samples, config) {
            let set = build(plan, &train, config)?;
            let bits: f64 = held_out
                .iter()
                .map(|symbols| set.code_length_bits(symbols))
                .sum();
            candidates.push(FitCandidate {
                name: plan.name(),
                held_out_bits: bits,
                tables: set.tables().len(),
                chosen: false,
            });
            if best.is_none_or(|(least, _)| bits < least * (1.0 - MARGIN)) {
                best = Some((bits, plan));
            }
        }
        let (least, plan) = best.ok_or(TableError::NoSymbols)?;
        let mut chosen = plan.name();
        let mut set = build(plan, &all, config)?;
        let may_mix = config.mixing
            && samples.len() >= ENOUGH_SAMPLES
            && samples[0].shape().channels() <= MAX_MIXED_CHANNELS;
        if may_mix {
            let tried = build(plan, &train, config)?.mixing_as(&train);
            let bits = held_out
                .iter()
                .map(|symbols| tried.code_length_bits(symbols));
            let bits: f64 = bits.sum();
            candidates.push(FitCandidate {
                name: MIXING,
                held_out_bits: bits,
                tables: tried.tables().len(),
                chosen: false,
            });
            if bits < least * (1.0 - MARGIN) {
                chosen = MIXING;
                set = set.mixing_as(&all);
            }
        }
        for candidate in &mut candidates {
            candidate.chosen = candidate.name == chosen;
        }
        Ok((set, candidates))
    }
}

/// The number of channels, which all samples share.
pub(super) fn check_channels(samples: &[Symbols]) -> Result<usize, TableError> {
    let first = samples.first().ok_or(TableError::NoSymbols)?;
    let allowed = first.shape().channels();
    for symbols in samples {
        let found = symbols.shape().channels();
        if found != allowed {
            return Err(TableError::ChannelMismatch { found, allowed });
        }
    }
    Ok(allowed)
}

fn check(samples: &[Symbols], config: &FitConfig) -> Result<(), TableError> {
    check_channels(samples)?;
    if config.max_tables == 0 || config.max_tables > MAX_TABLES {
        return Err(TableError::BadTableCount {
            found: config.max_tables,
            allowed: MAX_TABLES,
        });
    }
    if !config.prior_count.is_finite() || config.prior_count < 0.0 {
        return Err(TableError::BadWeight {
            found: config.prior_count,
            index: 0,
        });
    }
    Ok(())
}

/// Samples to learn from and to judge by; the same ones where there are too few.
fn split<'a>(all: &[&'a Symbols]) -> (Vec<&'a Symbols>, Vec<&'a Symbols>) {
    if all.len() < ENOUGH_SAMPLES {
        return (all.to_vec(), all.to_vec());
    }
    let is_held_out = |index: usize| index % HOLD_OUT == HOLD_OUT - 1;
    let pick = |held_out: bool| {
        let indices = (0..all.len()).filter(move |&index| is_held_out(index) == held_out);
        indices.map(|index| all[index]).collect()
    };
    (pick(false), pick(true))
}

/// Layouts worth a try, the simple ones first.
fn plans(samples: &[Symbols], config: &FitConfig) -> Vec<Plan> {
    let mut plans = alloc::vec![Plan::Shared];
    if samples[0].shape().channels() > 1 {
        plans.push(Plan::Channels);
    }
    if config.contexts && samples.len() >= ENOUGH_SAMPLES {
        plans.push(Plan::Contexts(Measure::Magnitude));
        if samples
            .iter()
            .any(|symbols| symbols.values().iter().any(|&value| value < 0))
        {
            plans.push(Plan::Contexts(Measure::Value));
        }
    }
    plans
}

fn build(plan: Plan, samples: &[&Symbols], config: &FitConfig) -> Result<TableSet, TableError> {
    let window = Window::over(samples);
    let channels = window.count_channels(samples);
    let whole = histogram::sum(&channels);
    match plan {
        Plan::Shared => Ok(TableSet::shared(window.table(&whole)?)),
        Plan::Channels => {
            let backed: Vec<_> = channels
                .iter()
                .map(|counts| histogram::backed_off(counts, &whole, config.prior_count))
                .collect();
            let groups = cluster::cluster(&backed, config.max_tables);
            let tables = window.tables(&groups.merged)?;
            let assigned = groups.of_each.iter().map(|&group| tables[group].clone());
            TableSet::per_channel(assigned.collect())
        }
        Plan::Contexts(measure) => {
            let backed: Vec<_> = channels
                .iter()
                .map(|counts| histogram::backed_off(counts, &whole, config.prior_count))
                .collect();
            build_contexts(measure, samples, &window, &backed, config)
        }
    }
}

fn build_contexts(
    measure: Measure,
    samples: &[&Symbols],
    window: &Window,
    channels: &[Vec<f64>],
    config: &FitConfig,
) -> Result<TableSet, TableError> {
    let classes = histogram::merged_classes(Classes::count(samples, measure, window));
    // Contexts in the order in which a channel names its tables: classes, then the first.
    let mut contexts = Vec::new();
    for (classes, channel) in classes.iter().zip(channels) {
        for counts in classes.counts.iter().chain([&classes.first]) {
            contexts.push(histogram::backed_off(counts, channel, config.prior_count));
        }
    }
    let groups = cluster::cluster(&contexts, config.max_tables);
    let tables = window.tables(&groups.merged)?;
    let mut distinct = Vec::new();
    let mut next = groups.of_each.iter();
    let mut table_of_next = || {
        let group = next.next().copied().unwrap_or(0);
        intern(&mut distinct, tables[group].clone())
    };
    let mut model = ContextModel {
        measure,
        channels: Vec::with_capacity(classes.len()),
        expected_millibits: 0,
    };
    for classes in classes {
        let tables = (0..classes.counts.len()).map(|_| table_of_next());
        let tables = tables.collect::<Result<Vec<u16>, _>>()?;
        let first = table_of_next()?;
        model.channels.push(ChannelContext {
            thresholds: classes.thresholds,
            tables,
            first,
        });
    }
    let set = TableSet::build(distinct, Layout::Contexts(model));
    Ok(with_expected_bits(set, samples))
}

/// The set with its expected bits per symbol filled in.
fn with_expected_bits(set: TableSet, samples: &[&Symbols]) -> TableSet {
    let mut bits = 0.0;
    let mut count = 0u64;
    for symbols in samples {
        bits += set.code_length_bits(symbols);
        count += symbols.values().len() as u64;
    }
    let (tables, layout) = set.into_parts();
    let Layout::Contexts(mut model) = layout else {
        unreachable!("only called for sets with contexts");
    };
    model.expected_millibits = millibits(bits / math::to_f64(count.max(1)));
    TableSet::build(tables, Layout::Contexts(model))
}

#[expect(clippy::cast_possible_truncation, reason = "held below 64,000")]
#[expect(clippy::cast_sign_loss, reason = "code lengths are not negative")]
fn millibits(bits_per_symbol: f64) -> u32 {
    small_u32((bits_per_symbol * 1000.0).clamp(0.0, 64_000.0) as usize)
}

/// Coding order matters to contexts alone, so other layouts are counted plane by plane.
fn for_each_with_sum(
    symbols: &Symbols,
    measure: Measure,
    visit: impl FnMut(usize, Option<i32>, i32),
) {
    payload::for_each_neighbour_sum(symbols.shape(), symbols.values(), measure, visit);
}
