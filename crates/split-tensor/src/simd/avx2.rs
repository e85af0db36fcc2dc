//! Eight lanes a vector.

use core::arch::x86_64::*;

use crate::coder::rans::{LOW, MAX_LANES};
use crate::coder::slots::{CoderEntries, CoderTable, PackedSlots};
use crate::limits::small_i32;
use crate::table::{SCALE, SCALE_BITS};

/// Lanes of one vector.
pub(super) const WIDTH: usize = 8;

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
        slots: &PackedSlots,
        min: i32,
        states: &mut [u32],
        words: &mut &[u8],
        out: &mut [i32],
    ) {
        // SAFETY: `self` exists, so `new` has found every feature that the callee enables.
        unsafe {
            match states.len() {
                8 => decode::<1>(slots, min, states, words, out),
                16 => decode::<2>(slots, min, states, words, out),
                32 => decode::<4>(slots, min, states, words, out),
                _ => decode::<8>(slots, min, states, words, out),
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
                8 => start::<1>(entries, codes, states),
                16 => start::<2>(entries, codes, states),
                32 => start::<4>(entries, codes, states),
                _ => start::<8>(entries, codes, states),
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
                8 => encode::<1>(entries, codes, states, words, free),
                16 => encode::<2>(entries, codes, states, words, free),
                32 => encode::<4>(entries, codes, states, words, free),
                _ => encode::<8>(entries, codes, states, words, free),
            }
        }
    }
}

/// For each mask of eight lanes, which word each lane takes: the `i`-th set lane the `i`-th.
static EXPAND: [[u8; 8]; 256] = expand_table();

/// For each mask, which lane gives each word: the set lanes in order, at the high end.
static COMPRESS: [[u8; 8]; 256] = compress_table();

const fn expand_table() -> [[u8; 8]; 256] {
    let mut table = [[0; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut word) = (0, 0);
        while lane < 8 {
            table[mask][lane] = word;
            if mask >> lane & 1 == 1 && word < 7 {
                word += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    table
}

const fn compress_table() -> [[u8; 8]; 256] {
    let mut table = [[0; 8]; 256];
    let mut mask: usize = 0;
    while mask < 256 {
        let mut place = 8 - mask.count_ones() as usize;
        let mut lane = 0;
        while lane < 8 {
            if mask >> lane & 1 == 1 {
                table[mask][place] = lane;
                place += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    table
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

/// Symbols of eight lanes, and their states before the refill.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn look_up(slots: &PackedSlots, min: __m256i, states: __m256i) -> (__m256i, __m256i) {
    let slot = _mm256_and_si256(states, _mm256_set1_epi32(SCALE.cast_signed() - 1));
    // SAFETY: every index is below 4096, the length of `slots`.
    let entry = unsafe { _mm256_i32gather_epi32::<4>(slots.as_ptr().cast(), slot) };
    let symbols = _mm256_add_epi32(min, _mm256_and_si256(entry, _mm256_set1_epi32(0xff)));
    let shifted = _mm256_srli_epi32::<{ SCALE_BITS.cast_signed() }>(states);
    let advanced = _mm256_mullo_epi32(_mm256_srli_epi32::<20>(entry), shifted);
    let offset = _mm256_and_si256(_mm256_srli_epi32::<8>(entry), _mm256_set1_epi32(0xfff));
    (symbols, _mm256_add_epi32(advanced, offset))
}

/// Which states are low, as a mask of eight bits and as a mask of whole lanes.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn low_states(states: __m256i) -> (usize, __m256i) {
    // States stay below 2^31, so the signed comparison is right.
    let low = _mm256_cmpgt_epi32(_mm256_set1_epi32(LOW.cast_signed()), states);
    (mask_of(low), low)
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn mask_of(lanes: __m256i) -> usize {
    _mm256_movemask_ps(_mm256_castsi256_ps(lanes)).cast_unsigned() as usize
}

/// States with a word shifted in where `low` says so.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn refill(states: __m256i, mask: usize, low: __m256i, words: &[u8; 2 * WIDTH]) -> __m256i {
    // SAFETY: the array holds eight 16-bit words; the load needs no alignment.
    let words = unsafe { _mm_loadu_si128(words.as_ptr().cast()) };
    let words = _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(words), indices(EXPAND[mask]));
    let filled = _mm256_or_si256(_mm256_slli_epi32::<16>(states), words);
    _mm256_blendv_epi8(states, filled, low)
}

#[target_feature(enable = "avx2,popcnt")]
fn decode<const VECTORS: usize>(
    slots: &PackedSlots,
    min: i32,
    kept: &mut [u32],
    words: &mut &[u8],
    out: &mut [i32],
) {
    let mut states = load_states::<VECTORS>(kept);
    let min = _mm256_set1_epi32(min);
    let mut left = *words;
    let mut rounds = out.chunks_exact_mut(VECTORS * WIDTH);
    while left.len() >= 2 * VECTORS * WIDTH {
        let Some(round) = rounds.next() else { break };
        for (state, out) in states.iter_mut().zip(round.chunks_exact_mut(WIDTH)) {
            let (symbols, advanced) = look_up(slots, min, *state);
            // SAFETY: the chunk holds eight 32-bit values.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), symbols) };
            let (mask, low) = low_states(advanced);
            // Each vector before took at most its own 16 bytes of the round's.
            let Some(room) = left.first_chunk() else {
                unreachable!("checked above")
            };
            *state = refill(advanced, mask, low, room);
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
            // SAFETY: the chunk holds eight 32-bit values.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), symbols) };
            if used == last.len() {
                *state = advanced;
                continue;
            }
            let (mut mask, mut low) = low_states(advanced);
            let remaining = (last.len() - used) / 2;
            if mask.count_ones() as usize > remaining {
                (mask, low) = first_set(mask, remaining);
            }
            let Some(room) = padded[used..].first_chunk() else {
                unreachable!("padded")
            };
            *state = refill(advanced, mask, low, room);
            used += 2 * mask.count_ones() as usize;
        }
    }
    *words = &left[used..];
    store_states(&states, kept);
}

/// The lowest `count` set bits, also as whole lanes.
#[target_feature(enable = "avx2,popcnt")]
fn first_set(mask: usize, count: usize) -> (usize, __m256i) {
    let (mut kept, mut rest) = (0, mask);
    for _ in 0..count {
        kept |= rest & rest.wrapping_neg();
        rest &= rest.wrapping_sub(1);
    }
    let lane = |lane: usize| if kept >> lane & 1 == 1 { -1 } else { 0 };
    let lanes = _mm256_setr_epi32(
        lane(0),
        lane(1),
        lane(2),
        lane(3),
        lane(4),
        lane(5),
        lane(6),
        lane(7),
    );
    (kept, lanes)
}

/// Whole rounds from the last one on, up to the first in which a state is full; gives how
/// many symbols are left.
#[target_feature(enable = "avx2,popcnt")]
fn start<const VECTORS: usize>(entries: &CoderEntries, codes: &[u32], kept: &mut [u32]) -> usize {
    let mut states = load_states::<VECTORS>(kept);
    let last = _mm256_set1_epi32(small_i32(entries.vector().0.len() - 1));
    let mut left = codes.len();
    for round in codes.rchunks_exact(VECTORS * WIDTH) {
        let mut next = states;
        let mut all_open = 0xff;
        for (state, codes) in next.iter_mut().zip(round.chunks_exact(WIDTH)) {
            // SAFETY: the chunk holds eight 32-bit values.
            let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
            let (magic, rest) = gather_entries(entries, last, codes);
            let frequency = _mm256_and_si256(rest, _mm256_set1_epi32(0xfff));
            all_open &= mask_of(_mm256_cmpgt_epi32(
                _mm256_slli_epi32::<19>(frequency),
                *state,
            ));
            *state = push(*state, magic, rest, frequency);
        }
        if all_open != 0xff {
            break;
        }
        states = next;
        left -= VECTORS * WIDTH;
    }
    store_states(&states, kept);
    left
}

#[target_feature(enable = "avx2,popcnt")]
fn encode<const VECTORS: usize>(
    entries: &CoderEntries,
    codes: &[u32],
    kept: &mut [u32],
    words: &mut [u16],
    mut free: usize,
) -> usize {
    let mut states = load_states::<VECTORS>(kept);
    let last = _mm256_set1_epi32(small_i32(entries.vector().0.len() - 1));
    for round in codes.rchunks_exact(VECTORS * WIDTH) {
        for (state, codes) in states.iter_mut().zip(round.chunks_exact(WIDTH)).rev() {
            // SAFETY: the chunk holds eight 32-bit values.
            let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
            let (magic, rest) = gather_entries(entries, last, codes);
            let frequency = _mm256_and_si256(rest, _mm256_set1_epi32(0xfff));
            // A frequency is at most 4095, so the limit stays below 2^31 as states do.
            let limit = _mm256_slli_epi32::<19>(frequency);
            let open = _mm256_cmpgt_epi32(limit, *state);
            let full = mask_of(open) ^ 0xff;
            let shorter = _mm256_srli_epi32::<16>(*state);
            let words16 = _mm256_and_si256(*state, _mm256_set1_epi32(0xffff));
            let ordered = _mm256_permutevar8x32_epi32(words16, indices(COMPRESS[full]));
            let packed = _mm256_packus_epi32(ordered, ordered);
            let packed = _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(packed));
            // The emitted words end the room; what lies before them is written again later.
            let room = &mut words[free - WIDTH..free];
            // SAFETY: the room holds eight 16-bit words.
            unsafe { _mm_storeu_si128(room.as_mut_ptr().cast(), packed) };
            free -= full.count_ones() as usize;
            let states = _mm256_blendv_epi8(shorter, *state, open);
            *state = push(states, magic, rest, frequency);
        }
    }
    store_states(&states, kept);
    free
}

/// Magic numbers and packed rests of eight entries.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn gather_entries(entries: &CoderEntries, last: __m256i, codes: __m256i) -> (__m256i, __m256i) {
    let (magics, rests) = entries.vector();
    debug_assert_eq!(magics.len(), rests.len());
    // Codes come from the same tables; the minimum only makes that checkable here.
    let codes = _mm256_min_epu32(codes, last);
    // SAFETY: every index is at most `last`, the last one of both slices: they grow together
    // and are never empty.
    unsafe {
        (
            _mm256_i32gather_epi32::<4>(magics.as_ptr().cast(), codes),
            _mm256_i32gather_epi32::<4>(rests.as_ptr().cast(), codes),
        )
    }
}

/// The states after one symbol each; see [`crate::coder::slots::EncodeEntry`].
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn push(states: __m256i, magic: __m256i, rest: __m256i, frequency: __m256i) -> __m256i {
    let shift = _mm256_add_epi32(_mm256_srli_epi32::<24>(rest), _mm256_set1_epi32(31));
    let even_shift = _mm256_and_si256(shift, _mm256_set1_epi64x(0xffff_ffff));
    let even = _mm256_srlv_epi64(_mm256_mul_epu32(states, magic), even_shift);
    let odd = _mm256_mul_epu32(
        _mm256_srli_epi64::<32>(states),
        _mm256_srli_epi64::<32>(magic),
    );
    let odd = _mm256_srlv_epi64(odd, _mm256_srli_epi64::<32>(shift));
    let quotient = _mm256_or_si256(even, _mm256_slli_epi64::<32>(odd));
    let start = _mm256_and_si256(_mm256_srli_epi32::<12>(rest), _mm256_set1_epi32(0xfff));
    let complement = _mm256_sub_epi32(_mm256_set1_epi32(SCALE.cast_signed()), frequency);
    let moved = _mm256_mullo_epi32(quotient, complement);
    _mm256_add_epi32(_mm256_add_epi32(states, start), moved)
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
