//! Sixteen lanes a vector.

mod contexts;
mod decode;
mod encode;

use core::arch::x86_64::*;

use super::avx2::Avx2;
use crate::coder::contexts::{ContextRows, Lanes};
use crate::coder::slots::{self, CoderEntries, CoderTable, RunTable};
use crate::error::DecodeError;

/// Lanes of one vector.
pub(super) const WIDTH: usize = 16;

/// Proof that the machine has what the functions below need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Avx512 {
    /// For fewer lanes than a vector has here.
    pub(super) narrow: Avx2,
}

impl Avx512 {
    pub(super) fn new() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt");
        let narrow = Avx2::new()?;
        has_all.then_some(Self { narrow })
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
                16 => decode::run::<1, 1>(table, states, words, out),
                32 => decode::run::<2, 1>(table, states, words, out),
                _ => decode::run::<2, 2>(table, states, words, out),
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
                    self.narrow
                        .decode_row(contexts, (above, current), lanes, words, escape)
                }
                16 => contexts::row::<1>(contexts, (above, current), lanes, words, escape),
                32 => contexts::row::<2>(contexts, (above, current), lanes, words, escape),
                64 => contexts::row::<4>(contexts, (above, current), lanes, words, escape),
                _ => self
                    .narrow
                    .decode_row(contexts, (above, current), lanes, words, escape),
            }
        }
    }

    pub(super) fn spread_row(
        self,
        contexts: &ContextRows,
        row: &[i32],
        place: (usize, usize),
        out: &mut [i32],
    ) {
        // SAFETY: `self` exists, so `new` has found every feature that the callee enables.
        unsafe { contexts::spread_row(contexts, row, place, out) }
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
                16 => encode::start::<1>(entries, codes, states),
                32 => encode::start::<2>(entries, codes, states),
                _ => encode::start::<4>(entries, codes, states),
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
                16 => encode::rounds::<1>(entries, codes, states, words, free),
                32 => encode::rounds::<2>(entries, codes, states, words, free),
                _ => encode::rounds::<4>(entries, codes, states, words, free),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn load_states<const VECTORS: usize>(states: &[u32]) -> [__m512i; VECTORS] {
    assert_eq!(states.len(), VECTORS * WIDTH, "a state for each lane");
    let mut loaded = [_mm512_setzero_si512(); VECTORS];
    for (vector, states) in loaded.iter_mut().zip(states.chunks_exact(WIDTH)) {
        // SAFETY: the chunk holds sixteen 32-bit values; the load needs no alignment.
        *vector = unsafe { _mm512_loadu_si512(states.as_ptr().cast()) };
    }
    loaded
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn store_states<const VECTORS: usize>(vectors: &[__m512i; VECTORS], states: &mut [u32]) {
    for (vector, states) in vectors.iter().zip(states.chunks_exact_mut(WIDTH)) {
        // SAFETY: the chunk holds sixteen 32-bit values; the store needs no alignment.
        unsafe { _mm512_storeu_si512(states.as_mut_ptr().cast(), *vector) };
    }
}

/// The scalar loop, compiled for wider registers.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn codes_of(table: &CoderTable, symbols: &[i32], codes: &mut [u32]) {
    table.codes_of(symbols, codes);
}

/// The scalar loop, compiled for wider registers.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn lists_all(table: &CoderTable, symbols: &[i32]) -> bool {
    table.lists_all(symbols)
}

/// The scalar loop, compiled for wider registers.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn find(symbols: &[i32], wanted: i32) -> Option<usize> {
    slots::find(symbols, wanted)
}
