//! The paths of the coder's inner loops: scalar everywhere, vectors where the machine has
//! them. Every path reads and writes the same bytes.

use crate::coder::rans;
use crate::coder::slots::{EncodeEntry, PackedSlots};

/// Which instructions the inner loops use. All paths give the same bytes and symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoderPath(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
}

impl CoderPath {
    /// Plain integer code; runs everywhere.
    #[must_use]
    pub fn scalar() -> Self {
        Self(Kind::Scalar)
    }

    /// The fastest path of this machine.
    #[must_use]
    pub fn best() -> Self {
        Self::scalar()
    }

    /// `scalar`, `avx2` or `avx512`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
        }
    }

    /// Every path that this machine has, the scalar one first.
    pub fn all() -> impl Iterator<Item = Self> {
        [Some(Self::scalar())].into_iter().flatten()
    }

    pub(crate) fn decode_rounds(
        self,
        slots: &PackedSlots,
        min: i32,
        states: &mut [u32],
        words: &mut &[u8],
        out: &mut [i32],
    ) {
        rans::decode_rounds(slots, min, states, words, out);
    }

    pub(crate) fn encode_rounds(
        self,
        entries: &[EncodeEntry],
        codes: &[u32],
        states: &mut [u32],
        words: &mut [u16],
        free: usize,
    ) -> usize {
        rans::encode_rounds(entries, codes, states, words, free)
    }
}

impl Default for CoderPath {
    fn default() -> Self {
        Self::best()
    }
}
