//! What a set knows beyond its tables when its payloads mix predictions: for each channel its
//! centre, references and two linear predictions, then the state that every payload starts with.

mod fit;
pub(crate) mod serial;

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::fit::check_channels;
use super::set::TableSet;

use crate::coder::mix::state::{self, State};
use crate::coder::mix::{WEIGHT_COUNT, cell_count, cells_of_channel};
use crate::error::TableError;
use crate::symbols::Symbols;

/// Most channels of a set that mixes; its state takes 768 cells a channel.
pub(crate) const MAX_MIXED_CHANNELS: usize = 1 << 10;

/// Channels that a channel is predicted from, at most.
pub(crate) const REFERENCES: usize = 8;

/// Features of a channel's own, and of all with those of references.
pub(crate) const OWN_FEATURES: usize = 7;
pub(crate) const FEATURES: usize = OWN_FEATURES + 2 * REFERENCES;

/// Largest coefficient of a linear prediction, 128 in 1/4096.
pub(crate) const MAX_COEFFICIENT: i32 = 1 << 19;

/// Largest weight as the serial form has it, 64 in 1/256.
pub(crate) const MAX_COARSE_WEIGHT: i16 = 1 << 14;

/// Twelve bits of a cell that was never met.
pub(crate) const EVEN_CELL: u16 = 1 << 11;

/// What is known of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MixChannel {
    /// The symbol that values are counted from.
    pub(crate) centre: i32,
    /// Earlier channels, the most telling one first; `None` for one that is not in the payload.
    pub(crate) references: Vec<Option<u16>>,
    /// Coefficients of the predicted value and of the predicted magnitude, in 1/4096: own
    /// features, then two for each reference.
    pub(crate) value: Vec<i32>,
    pub(crate) magnitude: Vec<i32>,
}

/// Everything that mixing needs; as long as the set has channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MixModel {
    pub(crate) channels: Vec<MixChannel>,
    /// In 1/256.
    pub(crate) weights: Vec<i16>,
    /// Twelve bits each: those of all channels together, then those of each channel.
    pub(crate) cells: Vec<u16>,
}

impl TableSet {
    /// The same tables in a set whose payloads mix predictions learnt from these samples: the
    /// smallest payloads, coded some fifteen times more slowly than those with contexts and in
    /// one lane whatever
    /// [`super::Lanes`] says. [`super::FitConfig::mixing`] does this where it pays.
    ///
    /// # Errors
    /// [`TableError::NoSymbols`] without samples, [`TableError::ChannelMismatch`] where they
    /// differ in channels from each other or the set, [`TableError::BadChannelCount`] for more
    /// than 1024 channels.
    pub fn with_mixing(self, samples: &[Symbols]) -> Result<Self, TableError> {
        let channels = check_channels(samples)?;
        self.with_mixing_in(samples, &[channels])
    }

    /// As [`Self::with_mixing`], for payloads that hold the channels in segments of these numbers: no
    /// prediction looks at a channel of another segment, which the decoder of one may lack.
    ///
    /// # Errors
    /// As [`Self::with_mixing`]; [`TableError::ChannelMismatch`] also where the segments do not add up to the
    /// channels of the samples.
    pub fn with_mixing_in(
        self,
        samples: &[Symbols],
        segments: &[usize],
    ) -> Result<Self, TableError> {
        let allowed = check_channels(samples)?;
        let found = segments
            .iter()
            .fold(0_usize, |sum, count| sum.saturating_add(*count));
        if found != allowed {
            return Err(TableError::ChannelMismatch { found, allowed });
        }
        if let Some(found) = self.channels().filter(|&found| found != allowed) {
            return Err(TableError::ChannelMismatch { found, allowed });
        }
        if allowed > MAX_MIXED_CHANNELS {
            return Err(TableError::BadChannelCount {
                found: allowed,
                allowed: MAX_MIXED_CHANNELS,
            });
        }
        let samples: Vec<&Symbols> = samples.iter().collect();
        let model = MixModel::fit_in(&samples, segments);
        Ok(self.with_model(Some(Arc::new(model))))
    }

    /// The same tables in a set whose payloads do not mix predictions.
    #[must_use]
    pub fn without_mixing(self) -> Self {
        self.with_model(None)
    }

    /// Whether payloads mix predictions.
    #[must_use]
    pub fn mixes(&self) -> bool {
        self.mix().is_some()
    }

    /// As [`Self::with_mixing`], for samples that were checked.
    pub(super) fn mixing_as(self, samples: &[&Symbols]) -> Self {
        self.with_model(Some(Arc::new(MixModel::fit(samples))))
    }
}

impl MixModel {
    /// Numbers that the state of a payload takes.
    pub(crate) fn state_length(&self) -> usize {
        WEIGHT_COUNT + self.cells.len()
    }

    /// The state in which a payload starts, in a buffer of [`Self::state_length`].
    pub(crate) fn start<'a>(&self, buffer: &'a mut [i32]) -> State<'a> {
        let (weights, cells) = buffer.split_at_mut(WEIGHT_COUNT);
        for (weight, &coarse) in weights.iter_mut().zip(&self.weights) {
            *weight = state::weight_from(coarse);
        }
        for (cell, &coarse) in cells.iter_mut().zip(&self.cells) {
            *cell = state::cell_from(coarse);
        }
        State {
            cells,
            weights,
            seen: &mut [],
        }
    }

    /// The same for some of the channels, in the order given. A reference that does not come
    /// before its channel counts as absent.
    pub(crate) fn for_channels(&self, picked: &[u16]) -> Self {
        let shared = ..cell_count(0);
        let mut cells = self.cells[shared].to_vec();
        let mut channels = Vec::with_capacity(picked.len());
        for (at, &channel) in picked.iter().enumerate() {
            let channel = usize::from(channel);
            cells.extend_from_slice(&self.cells[cells_of_channel(channel)]);
            let own = &self.channels[channel];
            let place = |reference: &Option<u16>| {
                let before = picked[..at].iter();
                let found = before.zip(0..).find(|(name, _)| Some(**name) == *reference);
                found.map(|(_, place)| place)
            };
            channels.push(MixChannel {
                references: own.references.iter().map(place).collect(),
                ..own.clone()
            });
        }
        Self {
            channels,
            weights: self.weights.clone(),
            cells,
        }
    }
}
