//! Eight lanes a vector.

mod contexts;
mod decode;
mod encode;

use core::arch::x86_64::*;

use crate::coder::contexts::{ContextRows, Lanes};
use crate::coder::slots::{self, CoderEntries, CoderTable, RunTable};
use crate::error::DecodeError;

/// Lanes of one vector of a decoder.
pub(super) const WIDTH: usize = 8;

/// Fewest lanes that are encoded here.
pub(super) const MIN_ENCODED: usize = 4;

/// Proof that the machine has what the functions below need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn new() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt");
        has_all.then_some(Self(()))
    }

    pub(super) fn decode_rounds(
        self,
        table: &RunTable<'_>,
        states: &mut [u32],
        words: &mut &[u8],
        out: &mut [i32],
    ) -> bool {
        // SAFETY: `self` exists, so `new` has found every feature that the callees enable.
        unsafe {
            match states.len() {
                16 => decode::run::<2>(table, states, words, out),
                32 => decode::run::<4>(table, states, words, out),
                _ => decode::run::<8>(table, states, words, out),
            }
        }
    }

    pub(super) fn decode_row(
        self,
        contexts: &ContextRows,
        (above, current): (Option<&[i32]>, &mut [i32]),
        lanes: &mut Lanes<'_>,
        words: &mut &[u8],
        escape: &mut dyn FnMut(u16) -> Result<i32, DecodeError>,
    ) -> Result<(), DecodeError> {
        // SAFETY: `self` exists, so `new` has found every feature that the callees enable.
        unsafe {
            match lanes.count {
                _ if !contexts.channels().is_multiple_of(WIDTH) => {
                    decode_row(contexts, (above, current), lanes, words, escape)
                }
                8 => contexts::row::<1>(contexts, (above, current), lanes, words, escape),
                16 => contexts::row::<2>(contexts, (above, current), lanes, words, escape),
                32 => contexts::row::<4>(contexts, (above, current), lanes, words, escape),
                64 => contexts::row::<8>(contexts, (above, current), lanes, words, escape),
                _ => decode_row(contexts, (above, current), lanes, words, escape),
            }
        }
    }

    pub(super) fn start_rounds(
        self,
        entries: &CoderEntries,
        codes: &[u32],
        states: &mut [u32],
    ) -> usize {
        // SAFETY: `self` exists, so `new` has found every feature that the callee enables.
        unsafe {
            match states.len() {
                4 => encode::start::<1>(entries, codes, states),
                8 => encode::start::<2>(entries, codes, states),
                16 => encode::start::<4>(entries, codes, states),
                32 => encode::start::<8>(entries, codes, states),
                _ => encode::start::<16>(entries, codes, states),
            }
        }
    }

    pub(super) fn codes_of(self, table: &CoderTable, symbols: &[i32], codes: &mut [u32]) {
        // SAFETY: `self` exists, so `new` has found every feature that the callee enables.
        unsafe { codes_of(table, symbols, codes) }
    }

    pub(super) fn find(self, symbols: &[i32], wanted: i32) -> Option<usize> {
        // SAFETY: `self` exists, so `new` has found every feature that the callee enables.
        unsafe { find(symbols, wanted) }
    }

    pub(super) fn lists_all(self, table: &CoderTable, symbols: &[i32]) -> bool {
        // SAFETY: `self` exists, so `new` has found every feature that the callee enables.
        unsafe { lists_all(table, symbols) }
    }

    pub(super) fn encode_rounds(
        self,
        entries: &CoderEntries,
        codes: &[u32],
        states: &mut [u32],
        words: &mut [u16],
        free: usize,
    ) -> usize {
        // SAFETY: `self` exists, so `new` has found every feature that the callee enables.
        unsafe {
            match states.len() {
                4 => encode::rounds::<1>(entries, codes, states, words, free),
                8 => encode::rounds::<2>(entries, codes, states, words, free),
                16 => encode::rounds::<4>(entries, codes, states, words, free),
                32 => encode::rounds::<8>(entries, codes, states, words, free),
                _ => encode::rounds::<16>(entries, codes, states, words, free),
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn indices(row: [u8; 8]) -> __m256i {
    _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(row)))
}

#[target_feature(enable = "avx2,popcnt")]
fn load_states<const VECTORS: usize>(states: &[u32]) -> [__m256i; VECTORS] {
    assert_eq!(states.len(), VECTORS * WIDTH, "a state for each lane");
    let mut loaded = [_mm256_setzero_si256(); VECTORS];
    for (vector, states) in loaded.iter_mut().zip(states.chunks_exact(WIDTH)) {
        // SAFETY: the chunk holds eight 32-bit values; the load needs no alignment.
        *vector = unsafe { _mm256_loadu_si256(states.as_ptr().cast()) };
    }
    loaded
}

#[target_feature(enable = "avx2,popcnt")]
fn store_states<const VECTORS: usize>(vectors: &[__m256i; VECTORS], states: &mut [u32]) {
    for (vector, states) in vectors.iter().zip(states.chunks_exact_mut(WIDTH)) {
        // SAFETY: the chunk holds eight 32-bit values; the store needs no alignment.
        unsafe { _mm256_storeu_si256(states.as_mut_ptr().cast(), *vector) };
    }
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn mask_of(lanes: __m256i) -> usize {
    _mm256_movemask_ps(_mm256_castsi256_ps(lanes)).cast_unsigned() as usize
}

/// The scalar loop, compiled for wider registers.
#[target_feature(enable = "avx2,popcnt")]
fn codes_of(table: &CoderTable, symbols: &[i32], codes: &mut [u32]) {
    table.codes_of(symbols, codes);
}

/// The scalar loop, compiled for wider registers.
#[target_feature(enable = "avx2,popcnt")]
fn lists_all(table: &CoderTable, symbols: &[i32]) -> bool {
    table.lists_all(symbols)
}

/// The scalar loop, compiled for wider registers.
#[target_feature(enable = "avx2,popcnt")]
fn find(symbols: &[i32], wanted: i32) -> Option<usize> {
    slots::find(symbols, wanted)
}

/// The scalar loop, compiled for wider registers.
#[target_feature(enable = "avx2,popcnt")]
fn decode_row(
    contexts: &ContextRows,
    (above, current): (Option<&[i32]>, &mut [i32]),
    lanes: &mut Lanes<'_>,
    words: &mut &[u8],
    escape: &mut dyn FnMut(u16) -> Result<i32, DecodeError>,
) -> Result<(), DecodeError> {
    contexts.decode_row(above, current, lanes, words, escape)
}
