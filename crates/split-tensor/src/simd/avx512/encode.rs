//! The encoder's loops.

use core::arch::x86_64::*;

use super::{WIDTH, load_states, store_states};
use crate::coder::slots::CoderEntries;
use crate::table::SCALE;

/// Codes whose entries are looked up at a time.
const BLOCK: usize = 256;

/// Calls `visit` with the entries of each round, last round first, as long as it says so.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn for_each_round<const VECTORS: usize>(
    entries: &CoderEntries,
    codes: &[u32],
    mut visit: impl FnMut(&[[__m512i; 2]; VECTORS]) -> bool,
) {
    let mut looked_up = [[_mm512_setzero_si512(); 2]; VECTORS];
    if let Some(registers) = Registers::load(entries) {
        for round in codes.rchunks_exact(VECTORS * WIDTH) {
            for (entries, codes) in looked_up.iter_mut().zip(round.as_chunks().0) {
                *entries = registers.look_up(codes);
            }
            if !visit(&looked_up) {
                return;
            }
        }
        return;
    }
    let mut buffer = [0; BLOCK];
    for block in codes.rchunks(BLOCK) {
        entries.look_up(block, &mut buffer);
        for round in buffer[..block.len()].rchunks_exact(VECTORS * WIDTH) {
            for (entries, packed) in looked_up.iter_mut().zip(round.as_chunks().0) {
                *entries = unpack(packed);
            }
            if !visit(&looked_up) {
                return;
            }
        }
    }
}

/// Whole rounds from the last one on, up to the first in which a state is full; gives how
/// many symbols are left.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
pub(super) fn start<const VECTORS: usize>(
    entries: &CoderEntries,
    codes: &[u32],
    kept: &mut [u32],
) -> usize {
    let mut states = load_states::<VECTORS>(kept);
    let mut left = codes.len();
    for_each_round::<VECTORS>(entries, codes, |round| {
        let mut next = states;
        let mut any_full = 0;
        for (state, &[magic, rest]) in next.iter_mut().zip(round) {
            let frequency = _mm512_and_si512(rest, _mm512_set1_epi32(0xfff));
            any_full |= _mm512_cmpge_epu32_mask(*state, _mm512_slli_epi32::<19>(frequency));
            *state = push(*state, magic, rest, frequency);
        }
        if any_full != 0 {
            return false;
        }
        states = next;
        left -= VECTORS * WIDTH;
        true
    });
    store_states(&states, kept);
    left
}

/// Whole rounds, last one first; gives the new number of free words.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
pub(super) fn rounds<const VECTORS: usize>(
    entries: &CoderEntries,
    codes: &[u32],
    kept: &mut [u32],
    words: &mut [u16],
    mut free: usize,
) -> usize {
    let mut states = load_states::<VECTORS>(kept);
    for_each_round::<VECTORS>(entries, codes, |round| {
        for (state, &[magic, rest]) in states.iter_mut().zip(round).rev() {
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
        true
    });
    store_states(&states, kept);
    free
}

/// All entries in registers, where they are few.
struct Registers {
    magics: [__m512i; 2],
    rests: [__m512i; 2],
}

impl Registers {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
    fn load(entries: &CoderEntries) -> Option<Self> {
        let mut padded = [0; 2 * WIDTH];
        let packed = entries.packed();
        padded.get_mut(..packed.len())?.copy_from_slice(packed);
        let halves = padded.as_chunks::<WIDTH>().0;
        let [low, high] = [unpack(&halves[0]), unpack(&halves[1])];
        Some(Self {
            magics: [low[0], high[0]],
            rests: [low[1], high[1]],
        })
    }

    /// Magic numbers and rests of sixteen entries.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
    fn look_up(&self, codes: &[u32; WIDTH]) -> [__m512i; 2] {
        // SAFETY: the array holds sixteen 32-bit values; the load needs no alignment.
        let codes = unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) };
        [
            _mm512_permutex2var_epi32(self.magics[0], codes, self.magics[1]),
            _mm512_permutex2var_epi32(self.rests[0], codes, self.rests[1]),
        ]
    }
}

/// Magic numbers and rests of packed entries.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn unpack(packed: &[u64; WIDTH]) -> [__m512i; 2] {
    let halves = packed.as_chunks::<8>().0;
    // SAFETY: both halves hold eight 64-bit values; the loads need no alignment.
    let [low, high] =
        unsafe { [0, 1].map(|half| _mm512_loadu_si512(halves[half].as_ptr().cast())) };
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    [
        _mm512_permutex2var_epi32(low, even, high),
        _mm512_permutex2var_epi32(low, odd, high),
    ]
}

/// The states after one symbol each; see [`crate::coder::slots::EncodeEntry`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn push(states: __m512i, magic: __m512i, rest: __m512i, frequency: __m512i) -> __m512i {
    let shift = _mm512_srli_epi32::<24>(rest);
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
