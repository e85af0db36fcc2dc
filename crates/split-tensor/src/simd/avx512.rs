//! Sixteen lanes a vector.

use core::arch::x86_64::*;

use crate::coder::rans::{LOW, MAX_LANES};
use crate::coder::slots::{CoderEntries, CoderTable, PackedSlots};
use crate::limits::small_i32;
use crate::table::{SCALE, SCALE_BITS};

/// Lanes of one vector.
pub(super) const WIDTH: usize = 16;

/// Proof that the machine has what the functions below need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn new() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt");
        has_all.then_some(Self(()))
    }

    pub(super) fn decode_rounds(
        self,
        slots: &PackedSlots,
        min: i32,
        states: &mut [u32],
        words: &mut &[u8],
        out: &mut [i32],
    ) {
        // SAFETY: `self` exists, so `new` has found every feature that the callee enables.
        unsafe {
            match states.len() {
                16 => decode::<1>(slots, min, states, words, out),
                32 => decode::<2>(slots, min, states, words, out),
                _ => decode::<4>(slots, min, states, words, out),
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
                16 => start::<1>(entries, codes, states),
                32 => start::<2>(entries, codes, states),
                _ => start::<4>(entries, codes, states),
            }
        }
    }

    pub(super) fn codes_of(self, table: &CoderTable, symbols: &[i32], codes: &mut [u32]) {
        // SAFETY: `self` exists, so `new` has found every feature that the callee enables.
        unsafe { codes_of(table, symbols, codes) }
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
                16 => encode::<1>(entries, codes, states, words, free),
                32 => encode::<2>(entries, codes, states, words, free),
                _ => encode::<4>(entries, codes, states, words, free),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
fn load_states<const VECTORS: usize>(states: &[u32]) -> [__m512i; VECTORS] {
    assert_eq!(states.len(), VECTORS * WIDTH, "a state for each lane");
    let mut loaded = [_mm512_setzero_si512(); VECTORS];
    for (vector, states) in loaded.iter_mut().zip(states.chunks_exact(WIDTH)) {
        // SAFETY: the chunk holds sixteen 32-bit values; the load needs no alignment.
        *vector = unsafe { _mm512_loadu_si512(states.as_ptr().cast()) };
    }
    loaded
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
fn store_states<const VECTORS: usize>(vectors: &[__m512i; VECTORS], states: &mut [u32]) {
    for (vector, states) in vectors.iter().zip(states.chunks_exact_mut(WIDTH)) {
        // SAFETY: the chunk holds sixteen 32-bit values; the store needs no alignment.
        unsafe { _mm512_storeu_si512(states.as_mut_ptr().cast(), *vector) };
    }
}

/// Symbols of sixteen lanes, and their states before the refill.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
fn look_up(slots: &PackedSlots, min: __m512i, states: __m512i) -> (__m512i, __m512i) {
    let slot = _mm512_and_si512(states, _mm512_set1_epi32(SCALE.cast_signed() - 1));
    // SAFETY: every index is below 4096, the length of `slots`.
    let entry = unsafe { _mm512_i32gather_epi32::<4>(slot, slots.as_ptr().cast()) };
    let symbols = _mm512_add_epi32(min, _mm512_and_si512(entry, _mm512_set1_epi32(0xff)));
    let shifted = _mm512_srli_epi32::<SCALE_BITS>(states);
    let advanced = _mm512_mullo_epi32(_mm512_srli_epi32::<20>(entry), shifted);
    let offset = _mm512_and_si512(_mm512_srli_epi32::<8>(entry), _mm512_set1_epi32(0xfff));
    (symbols, _mm512_add_epi32(advanced, offset))
}

/// States with a word shifted in where the mask says so; word `i` goes to the `i`-th of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
fn refill(states: __m512i, mask: __mmask16, words: &[u8; 2 * WIDTH]) -> __m512i {
    // SAFETY: the array holds sixteen 16-bit words; the load needs no alignment.
    let words = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
    let words = _mm512_maskz_expand_epi32(mask, _mm512_cvtepu16_epi32(words));
    _mm512_mask_or_epi32(states, mask, _mm512_slli_epi32::<16>(states), words)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
fn decode<const VECTORS: usize>(
    slots: &PackedSlots,
    min: i32,
    kept: &mut [u32],
    words: &mut &[u8],
    out: &mut [i32],
) {
    let mut states = load_states::<VECTORS>(kept);
    let min = _mm512_set1_epi32(min);
    let low = _mm512_set1_epi32(LOW.cast_signed());
    let mut left = *words;
    let mut rounds = out.chunks_exact_mut(VECTORS * WIDTH);
    while left.len() >= 2 * VECTORS * WIDTH {
        let Some(round) = rounds.next() else { break };
        for (state, out) in states.iter_mut().zip(round.chunks_exact_mut(WIDTH)) {
            let (symbols, advanced) = look_up(slots, min, *state);
            // SAFETY: the chunk holds sixteen 32-bit values.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), symbols) };
            let mask = _mm512_cmplt_epu32_mask(advanced, low);
            // Each vector before took at most its own 32 bytes of the round's.
            let Some(room) = left.first_chunk() else {
                unreachable!("checked above")
            };
            *state = refill(advanced, mask, room);
            left = &left[2 * mask.count_ones() as usize..];
        }
    }
    // Fewer words than a round could take: read them from a padded copy, count them.
    let mut padded = [0u8; 2 * MAX_LANES + 2 * WIDTH];
    let last = if left.len() < 2 * MAX_LANES {
        left
    } else {
        &[]
    };
    padded[..last.len()].copy_from_slice(last);
    let mut used = 0;
    for round in rounds {
        for (state, out) in states.iter_mut().zip(round.chunks_exact_mut(WIDTH)) {
            let (symbols, advanced) = look_up(slots, min, *state);
            // SAFETY: the chunk holds sixteen 32-bit values.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), symbols) };
            if used == last.len() {
                *state = advanced;
                continue;
            }
            let mut mask = _mm512_cmplt_epu32_mask(advanced, low);
            let remaining = (last.len() - used) / 2;
            if mask.count_ones() as usize > remaining {
                mask = first_set(mask, remaining);
            }
            let Some(room) = padded[used..].first_chunk() else {
                unreachable!("padded")
            };
            *state = refill(advanced, mask, room);
            used += 2 * mask.count_ones() as usize;
        }
    }
    *words = &left[used..];
    store_states(&states, kept);
}

/// The lowest `count` set bits.
fn first_set(mask: u16, count: usize) -> u16 {
    let mut kept = 0;
    let mut rest = mask;
    for _ in 0..count {
        kept |= rest & rest.wrapping_neg();
        rest &= rest.wrapping_sub(1);
    }
    kept
}

/// Whole rounds from the last one on, up to the first in which a state is full; gives how
/// many symbols are left.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
fn start<const VECTORS: usize>(entries: &CoderEntries, codes: &[u32], kept: &mut [u32]) -> usize {
    let mut states = load_states::<VECTORS>(kept);
    let last = _mm512_set1_epi32(small_i32(entries.vector().0.len() - 1));
    let mut left = codes.len();
    for round in codes.rchunks_exact(VECTORS * WIDTH) {
        let mut next = states;
        let mut any_full = 0;
        for (state, codes) in next.iter_mut().zip(round.chunks_exact(WIDTH)) {
            // SAFETY: the chunk holds sixteen 32-bit values.
            let codes = unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) };
            let (magic, rest) = gather_entries(entries, last, codes);
            let frequency = _mm512_and_si512(rest, _mm512_set1_epi32(0xfff));
            any_full |= _mm512_cmpge_epu32_mask(*state, _mm512_slli_epi32::<19>(frequency));
            *state = push(*state, magic, rest, frequency);
        }
        if any_full != 0 {
            break;
        }
        states = next;
        left -= VECTORS * WIDTH;
    }
    store_states(&states, kept);
    left
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
fn encode<const VECTORS: usize>(
    entries: &CoderEntries,
    codes: &[u32],
    kept: &mut [u32],
    words: &mut [u16],
    mut free: usize,
) -> usize {
    let mut states = load_states::<VECTORS>(kept);
    let last = _mm512_set1_epi32(small_i32(entries.vector().0.len() - 1));
    for round in codes.rchunks_exact(VECTORS * WIDTH) {
        for (state, codes) in states.iter_mut().zip(round.chunks_exact(WIDTH)).rev() {
            // SAFETY: the chunk holds sixteen 32-bit values.
            let codes = unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) };
            let (magic, rest) = gather_entries(entries, last, codes);
            let frequency = _mm512_and_si512(rest, _mm512_set1_epi32(0xfff));
            let full = _mm512_cmpge_epu32_mask(*state, _mm512_slli_epi32::<19>(frequency));
            let count = full.count_ones() as usize;
            let emitted = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(full, *state));
            let room = &mut words[free - count..free];
            let stored = u16::MAX.unbounded_shr(16 - full.count_ones());
            // SAFETY: the mask stores the `count` words that `room` holds, no others.
            unsafe { _mm256_mask_storeu_epi16(room.as_mut_ptr().cast(), stored, emitted) };
            free -= count;
            let shorter = _mm512_mask_srli_epi32::<16>(*state, full, *state);
            *state = push(shorter, magic, rest, frequency);
        }
    }
    store_states(&states, kept);
    free
}

/// Magic numbers and packed rests of sixteen entries.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
fn gather_entries(entries: &CoderEntries, last: __m512i, codes: __m512i) -> (__m512i, __m512i) {
    let (magics, rests) = entries.vector();
    debug_assert_eq!(magics.len(), rests.len());
    // Codes come from the same tables; the minimum only makes that checkable here.
    let codes = _mm512_min_epu32(codes, last);
    // SAFETY: every index is at most `last`, the last one of both slices: they grow together
    // and are never empty.
    unsafe {
        (
            _mm512_i32gather_epi32::<4>(codes, magics.as_ptr().cast()),
            _mm512_i32gather_epi32::<4>(codes, rests.as_ptr().cast()),
        )
    }
}

/// The states after one symbol each; see [`crate::coder::slots::EncodeEntry`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
fn push(states: __m512i, magic: __m512i, rest: __m512i, frequency: __m512i) -> __m512i {
    let shift = _mm512_add_epi32(_mm512_srli_epi32::<24>(rest), _mm512_set1_epi32(31));
    let even_shift = _mm512_and_si512(shift, _mm512_set1_epi64(0xffff_ffff));
    let even = _mm512_srlv_epi64(_mm512_mul_epu32(states, magic), even_shift);
    let odd = _mm512_mul_epu32(
        _mm512_srli_epi64::<32>(states),
        _mm512_srli_epi64::<32>(magic),
    );
    let odd = _mm512_srlv_epi64(odd, _mm512_srli_epi64::<32>(shift));
    let quotient = _mm512_or_si512(even, _mm512_slli_epi64::<32>(odd));
    let start = _mm512_and_si512(_mm512_srli_epi32::<12>(rest), _mm512_set1_epi32(0xfff));
    let complement = _mm512_sub_epi32(_mm512_set1_epi32(SCALE.cast_signed()), frequency);
    let moved = _mm512_mullo_epi32(quotient, complement);
    _mm512_add_epi32(_mm512_add_epi32(states, start), moved)
}

/// The scalar loop, compiled for wider registers.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
fn codes_of(table: &CoderTable, symbols: &[i32], codes: &mut [u32]) {
    table.codes_of(symbols, codes);
}

/// The scalar loop, compiled for wider registers.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
fn lists_all(table: &CoderTable, symbols: &[i32]) -> bool {
    table.lists_all(symbols)
}
