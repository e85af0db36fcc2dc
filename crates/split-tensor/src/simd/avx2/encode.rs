//! The encoder's loops: a lane takes 64 bits, so that products need no halves.

use core::arch::x86_64::*;

use crate::coder::slots::CoderEntries;
use crate::table::SCALE;

/// Lanes of one vector here.
const WIDTH: usize = 4;

/// For each mask of four lanes, the bytes of its lanes' words, in order and at the high end of
/// eight. Lanes 0 to 3 lie in the 16-bit places 0, 4, 1 and 5.
static COMPRESS: [u64; 16] = compress_table();

const fn compress_table() -> [u64; 16] {
    const PLACES: [u64; WIDTH] = [0, 4, 1, 5];
    let mut table = [0; 16];
    let mut mask = 0;
    while mask < 16 {
        let mut lane = WIDTH;
        let mut shift = 64;
        while lane > 0 {
            lane -= 1;
            if mask >> lane & 1 == 1 {
                shift -= 16;
                let byte = 2 * PLACES[lane];
                table[mask] |= (byte | (byte + 1) << 8) << shift;
            }
        }
        mask += 1;
    }
    table
}

/// States as 64-bit lanes.
#[target_feature(enable = "avx2,popcnt")]
fn load_states<const VECTORS: usize>(states: &[u32]) -> [__m256i; VECTORS] {
    assert_eq!(states.len(), VECTORS * WIDTH, "a state for each lane");
    let mut loaded = [_mm256_setzero_si256(); VECTORS];
    for (vector, states) in loaded.iter_mut().zip(states.as_chunks::<WIDTH>().0) {
        // SAFETY: the chunk holds four 32-bit values; the load needs no alignment.
        *vector = _mm256_cvtepu32_epi64(unsafe { _mm_loadu_si128(states.as_ptr().cast()) });
    }
    loaded
}

#[target_feature(enable = "avx2,popcnt")]
fn store_states<const VECTORS: usize>(vectors: &[__m256i; VECTORS], states: &mut [u32]) {
    let even = _mm256_setr_epi32(0, 2, 4, 6, 0, 0, 0, 0);
    for (vector, states) in vectors.iter().zip(states.as_chunks_mut::<WIDTH>().0) {
        let packed = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(*vector, even));
        // SAFETY: the chunk holds four 32-bit values; the store needs no alignment.
        unsafe { _mm_storeu_si128(states.as_mut_ptr().cast(), packed) };
    }
}

/// Packed entries of four codes.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn look_up(packed: &[u64], codes: &[u32; WIDTH]) -> __m256i {
    let [a, b, c, d] = codes.map(|code| packed[code as usize].cast_signed());
    _mm256_setr_epi64x(a, b, c, d)
}

/// Negative where a state is below the entry's limit.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn below_limit(states: __m256i, entries: __m256i) -> __m256i {
    let frequencies = _mm256_set1_epi64x(0xfff << 19);
    let limit = _mm256_and_si256(_mm256_srli_epi64::<13>(entries), frequencies);
    _mm256_sub_epi64(states, limit)
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn sign_bits(lanes: __m256i) -> usize {
    _mm256_movemask_pd(_mm256_castsi256_pd(lanes)).cast_unsigned() as usize
}

/// The states after one symbol each; see [`crate::coder::slots::EncodeEntry`].
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn push(states: __m256i, entries: __m256i) -> __m256i {
    let twelve = _mm256_set1_epi64x(0xfff);
    let frequency = _mm256_and_si256(_mm256_srli_epi64::<32>(entries), twelve);
    let start = _mm256_and_si256(_mm256_srli_epi64::<44>(entries), twelve);
    let complement = _mm256_sub_epi64(_mm256_set1_epi64x(SCALE.into()), frequency);
    let product = _mm256_mul_epu32(states, entries);
    let quotient = _mm256_srlv_epi64(product, _mm256_srli_epi64::<56>(entries));
    let moved = _mm256_mul_epu32(quotient, complement);
    _mm256_add_epi64(_mm256_add_epi64(states, start), moved)
}

/// Whole rounds from the last one on, up to the first in which a state is full; gives how
/// many symbols are left.
#[target_feature(enable = "avx2,popcnt")]
pub(super) fn start<const VECTORS: usize>(
    entries: &CoderEntries,
    codes: &[u32],
    kept: &mut [u32],
) -> usize {
    let mut states = load_states::<VECTORS>(kept);
    let mut left = codes.len();
    for round in codes.rchunks_exact(VECTORS * WIDTH) {
        let mut next = states;
        let mut all_open = 0xf;
        for (state, codes) in next.iter_mut().zip(round.as_chunks().0) {
            let entries = look_up(entries.packed(), codes);
            all_open &= sign_bits(below_limit(*state, entries));
            *state = push(*state, entries);
        }
        if all_open != 0xf {
            break;
        }
        states = next;
        left -= VECTORS * WIDTH;
    }
    store_states(&states, kept);
    left
}

/// Whole rounds, last one first; gives the new number of free words.
#[target_feature(enable = "avx2,popcnt")]
pub(super) fn rounds<const VECTORS: usize>(
    entries: &CoderEntries,
    codes: &[u32],
    kept: &mut [u32],
    words: &mut [u16],
    mut free: usize,
) -> usize {
    let mut states = load_states::<VECTORS>(kept);
    for round in codes.rchunks_exact(VECTORS * WIDTH) {
        for (state, codes) in states.iter_mut().zip(round.as_chunks().0).rev() {
            let entries = look_up(entries.packed(), codes);
            let open = below_limit(*state, entries);
            let full = sign_bits(open) ^ 0xf;
            // The emitted words end the room; what lies before them is written again later.
            let room = &mut words[free - WIDTH..free];
            let emitted = compress(*state, full);
            // SAFETY: the room holds four 16-bit words.
            unsafe { _mm_storel_epi64(room.as_mut_ptr().cast(), emitted) };
            free -= full.count_ones() as usize;
            let shorter = _mm256_srli_epi64::<16>(*state);
            *state = push(blend(shorter, *state, open), entries);
        }
    }
    store_states(&states, kept);
    free
}

/// The second where the sign of the third is set.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn blend(first: __m256i, second: __m256i, sign: __m256i) -> __m256i {
    _mm256_castpd_si256(_mm256_blendv_pd(
        _mm256_castsi256_pd(first),
        _mm256_castsi256_pd(second),
        _mm256_castsi256_pd(sign),
    ))
}

/// The low words of the lanes in the mask, in order and at the high end of eight bytes.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn compress(states: __m256i, mask: usize) -> __m128i {
    let high = _mm_slli_epi64::<16>(_mm256_extracti128_si256::<1>(states));
    let places = _mm_blend_epi16::<0b0010_0010>(_mm256_castsi256_si128(states), high);
    let order = _mm_cvtsi64_si128(COMPRESS[mask & 0xf].cast_signed());
    _mm_shuffle_epi8(places, order)
}
