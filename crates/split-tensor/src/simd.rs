//! The paths of the coder's inner loops: scalar everywhere, vectors where the machine has
//! them. Every path reads and writes the same bytes; the scalar one is always built.
#![cfg_attr(
    all(target_arch = "x86_64", feature = "std"),
    expect(
        unsafe_code,
        reason = "vector loads, stores and gathers, and calls of functions that need them"
    )
)]

#[cfg(all(target_arch = "x86_64", feature = "std"))]
mod avx2;
#[cfg(all(target_arch = "x86_64", feature = "std"))]
mod avx512;

#[cfg(all(target_arch = "x86_64", feature = "std"))]
use avx512::Avx512;

use crate::coder::contexts::{ContextRows, Lanes};
use crate::coder::rans;
use crate::coder::slots::{self, CoderEntries, CoderTable, RunTable};
use crate::error::DecodeError;

/// Which instructions the inner loops use. All paths give the same bytes and symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoderPath(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    Avx2(avx2::Avx2),
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    Avx512(Avx512),
}

impl CoderPath {
    /// Plain integer code; runs everywhere.
    #[must_use]
    pub fn scalar() -> Self {
        Self(Kind::Scalar)
    }

    /// Eight lanes a vector; `None` where the machine lacks AVX2.
    #[must_use]
    pub fn avx2() -> Option<Self> {
        #[cfg(all(target_arch = "x86_64", feature = "std"))]
        return avx2::Avx2::new().map(|path| Self(Kind::Avx2(path)));
        #[cfg(not(all(target_arch = "x86_64", feature = "std")))]
        return None;
    }

    /// Sixteen lanes a vector; `None` where the machine lacks AVX-512 F, BW, DQ, VL or VBMI.
    #[must_use]
    pub fn avx512() -> Option<Self> {
        #[cfg(all(target_arch = "x86_64", feature = "std"))]
        return Avx512::new().map(|path| Self(Kind::Avx512(path)));
        #[cfg(not(all(target_arch = "x86_64", feature = "std")))]
        return None;
    }

    /// The fastest path of this machine.
    #[must_use]
    pub fn best() -> Self {
        Self::avx512().or_else(Self::avx2).unwrap_or(Self::scalar())
    }

    /// Every path that this machine has, the scalar one first.
    pub fn all() -> impl Iterator<Item = Self> {
        [Some(Self::scalar()), Self::avx2(), Self::avx512()]
            .into_iter()
            .flatten()
    }

    /// `scalar`, `avx2` or `avx512`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx2(_) => "avx2",
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx512(_) => "avx512",
        }
    }

    /// Decodes whole rounds, `out` a multiple of the states long; whether an escape may be among
    /// them. One AVX2 vector alone waits for its gathers: the scalar loop is 1.4 times as fast
    /// there.
    pub(crate) fn decode_rounds(
        self,
        table: &RunTable<'_>,
        states: &mut [u32],
        words: &mut &[u8],
        out: &mut [i32],
    ) -> bool {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx512(path) if states.len() >= avx512::WIDTH => {
                path.decode_rounds(table, states, words, out)
            }
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx2(path) if states.len() >= 2 * avx2::WIDTH => {
                path.decode_rounds(table, states, words, out)
            }
            _ => rans::decode_rounds(table, states, words, out),
        }
    }

    /// Decodes a row of pixels with contexts; see [`ContextRows::decode_row`].
    pub(crate) fn decode_row(
        self,
        contexts: &ContextRows,
        (above, current): (Option<&[i32]>, &mut [i32]),
        lanes: &mut Lanes<'_>,
        words: &mut &[u8],
        escape: &mut dyn FnMut(u16) -> Result<i32, DecodeError>,
    ) -> Result<(), DecodeError> {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx512(path) => path.decode_row(contexts, (above, current), lanes, words, escape),
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx2(path) => path.decode_row(contexts, (above, current), lanes, words, escape),
            Kind::Scalar => contexts.decode_row(above, current, lanes, words, escape),
        }
    }

    /// Puts a decoded row where it belongs; see [`ContextRows::spread_row`].
    pub(crate) fn spread_row(
        self,
        contexts: &ContextRows,
        row: &[i32],
        place: (usize, usize),
        out: &mut [i32],
    ) {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx512(path) => path.spread_row(contexts, row, place, out),
            _ => contexts.spread_row(row, place, out),
        }
    }

    /// Encodes whole rounds, last one first, up to the first in which a state would have to
    /// emit a word; gives how many symbols are left.
    pub(crate) fn start_rounds(
        self,
        entries: &CoderEntries,
        codes: &[u32],
        states: &mut [u32],
    ) -> usize {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx512(path) if states.len() >= avx512::WIDTH => {
                path.start_rounds(entries, codes, states)
            }
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx2(path) | Kind::Avx512(Avx512 { narrow: path })
                if states.len() >= avx2::MIN_ENCODED =>
            {
                path.start_rounds(entries, codes, states)
            }
            _ => rans::start_rounds(entries.scalar(), codes, states),
        }
    }

    /// The entries of many symbols.
    pub(crate) fn codes_of(self, table: &CoderTable, symbols: &[i32], codes: &mut [u32]) {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx512(path) => path.codes_of(table, symbols, codes),
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx2(path) => path.codes_of(table, symbols, codes),
            Kind::Scalar => table.codes_of(symbols, codes),
        }
    }

    /// Position of the first `wanted`.
    pub(crate) fn find(self, symbols: &[i32], wanted: i32) -> Option<usize> {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx512(path) => path.find(symbols, wanted),
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx2(path) => path.find(symbols, wanted),
            Kind::Scalar => slots::find(symbols, wanted),
        }
    }

    /// Whether none of these symbols needs an escape; false where that is not clear.
    pub(crate) fn lists_all(self, table: &CoderTable, symbols: &[i32]) -> bool {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx512(path) => path.lists_all(table, symbols),
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx2(path) => path.lists_all(table, symbols),
            Kind::Scalar => table.lists_all(symbols),
        }
    }

    /// Encodes whole rounds, last one first; gives the new number of free words.
    pub(crate) fn encode_rounds(
        self,
        entries: &CoderEntries,
        codes: &[u32],
        states: &mut [u32],
        words: &mut [u16],
        free: usize,
    ) -> usize {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx512(path) if states.len() >= avx512::WIDTH => {
                path.encode_rounds(entries, codes, states, words, free)
            }
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Kind::Avx2(path) | Kind::Avx512(Avx512 { narrow: path })
                if states.len() >= avx2::MIN_ENCODED =>
            {
                path.encode_rounds(entries, codes, states, words, free)
            }
            _ => rans::encode_rounds(entries.scalar(), codes, states, words, free),
        }
    }
}

impl Default for CoderPath {
    fn default() -> Self {
        Self::best()
    }
}
