//! Buffers for frames with several segments.

use alloc::vec::Vec;

use crate::coder::payload::Scratch;

/// Buffers that coding needs; kept by the caller, nothing is allocated once they have grown.
#[derive(Debug, Clone, Default)]
pub struct BundleScratch {
    /// Symbols of each tensor.
    pub(super) symbols: Vec<Vec<i32>>,
    /// Channels of one segment, side by side.
    pub(super) planes: Vec<i32>,
    pub(super) coder: Scratch,
    /// Payloads of all segments, one after the other.
    pub(super) payloads: Vec<u8>,
    /// Where each payload ends.
    pub(super) ends: Vec<usize>,
}

impl BundleScratch {
    /// Empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}
