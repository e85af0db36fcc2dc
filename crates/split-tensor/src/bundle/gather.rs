//! What arrived of a frame, or of the packets of one group.

use alloc::vec::Vec;

use super::decode::refuse_rest;
use super::{BundleCodec, BundleScratch};
use crate::error::DecodeError;
use crate::frame::{PacketRef, SegmentRef};
use crate::latent::Latent;
use crate::symbols::Symbols;

/// Collects the packets of one group, in any order and with any of them missing.
#[derive(Debug, Clone)]
pub struct Gathering<'a> {
    codec: &'a BundleCodec,
    group: u16,
    scratch: BundleScratch,
    /// Which segments are decoded.
    arrived: Vec<bool>,
}

/// Symbols of all tensors, of which some channels may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it may hold fill in place of channels"]
pub struct Received {
    symbols: Vec<Symbols>,
    /// For each tensor, which channels are present.
    present: Vec<Vec<bool>>,
    arrived: Vec<bool>,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(codec: &'a BundleCodec, group: u16) -> Self {
        let mut scratch = BundleScratch::new();
        for plan in codec.tensors() {
            let plane = plan.shape().plane();
            let mut symbols = Vec::with_capacity(plan.shape().len());
            for &fill in plan.fill() {
                symbols.resize(symbols.len() + plane, fill);
            }
            scratch.symbols.push(symbols);
        }
        Self {
            codec,
            group,
            scratch,
            arrived: alloc::vec![false; codec.segment_count()],
        }
    }

    /// Decodes one packet; false where its segment had arrived before.
    ///
    /// # Errors
    /// [`DecodeError`] for cut or damaged bytes and for packets of another bank, rung or
    /// group; what was gathered before stays.
    pub fn add(&mut self, packet: &[u8]) -> Result<bool, DecodeError> {
        let (packet, rest) = PacketRef::parse(packet)?;
        refuse_rest(rest)?;
        self.add_ref(&packet)
    }

    /// As [`Self::add`], for a packet that was parsed already.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_ref(&mut self, packet: &PacketRef<'_>) -> Result<bool, DecodeError> {
        self.codec.check_origin(packet.rung, packet.bank)?;
        self.codec.check_part(None)?;
        if packet.group != self.group {
            return Err(DecodeError::GroupMismatch {
                found: packet.group,
                allowed: self.group,
            });
        }
        if packet.segment >= self.arrived.len() {
            return Err(DecodeError::SegmentMismatch {
                found: packet.segment,
                allowed: self.arrived.len(),
            });
        }
        if self.arrived[packet.segment] {
            return Ok(false);
        }
        self.read(&SegmentRef {
            index: packet.segment,
            descriptor: packet.descriptor,
            body: packet.body,
            intact: true,
        })?;
        Ok(true)
    }

    /// Whether every segment has arrived.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.arrived.contains(&false)
    }

    /// Segments that have not arrived.
    pub fn missing(&self) -> impl Iterator<Item = usize> + '_ {
        let all = self.arrived.iter().enumerate();
        all.filter(|&(_, &arrived)| !arrived)
            .map(|(index, _)| index)
    }

    /// What was gathered; channels that did not arrive hold their fill.
    ///
    /// # Errors
    /// [`DecodeError::NothingArrived`] where not one segment did.
    pub fn finish(mut self) -> Result<Received, DecodeError> {
        if !self.arrived.contains(&true) {
            return Err(DecodeError::NothingArrived {
                segments: self.arrived.len(),
            });
        }
        let plans = self.codec.tensors().iter();
        let mut present: Vec<Vec<bool>> = plans
            .map(|plan| alloc::vec![false; plan.shape().channels()])
            .collect();
        for (index, _) in self.arrived.iter().enumerate().filter(|(_, here)| **here) {
            let (tensor, channels) = self.codec.segment(index);
            for &channel in channels {
                present[tensor][usize::from(channel)] = true;
            }
        }
        Ok(Received {
            symbols: self.codec.take_symbols(&mut self.scratch),
            present,
            arrived: self.arrived,
        })
    }

    /// Decodes a segment whose place is known to exist.
    pub(super) fn read(&mut self, segment: &SegmentRef<'_>) -> Result<(), DecodeError> {
        self.codec.read_segment(segment, false, &mut self.scratch)?;
        self.arrived[segment.index] = true;
        Ok(())
    }
}

impl Received {
    /// Symbols of each tensor; those of missing channels are their fill.
    #[must_use]
    pub fn symbols(&self) -> &[Symbols] {
        &self.symbols
    }

    /// Which channels of a tensor are present.
    ///
    /// # Panics
    /// For a tensor that there is not.
    #[must_use]
    pub fn present(&self, tensor: usize) -> &[bool] {
        &self.present[tensor]
    }

    /// Which segments arrived, in the order of the frame.
    #[must_use]
    pub fn arrived(&self) -> &[bool] {
        &self.arrived
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.arrived.contains(&false)
    }

    /// Values of all tensors.
    ///
    /// # Errors
    /// As [`BundleCodec::restore`].
    ///
    /// # Panics
    /// For a codec with another number of tensors.
    pub fn latents(&self, codec: &BundleCodec) -> Result<Vec<Latent>, DecodeError> {
        codec.restore(&self.symbols)
    }
}
