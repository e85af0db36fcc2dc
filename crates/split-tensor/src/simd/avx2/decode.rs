//! The decoder's loops.

use core::arch::x86_64::*;

use super::{WIDTH, indices, load_states, mask_of, store_states};
use crate::coder::buckets::BucketTable;
use crate::coder::rans::{LOW, MAX_LANES};
use crate::coder::slots::RunTable;
use crate::table::{SCALE, SCALE_BITS};

/// For each mask of eight lanes, which word each lane takes: the `i`-th set lane the `i`-th.
static EXPAND: [[u8; 8]; 256] = expand_table();

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

/// Symbols of all lanes, and their states before the refill.
type LookedUp<const VECTORS: usize> = ([__m256i; VECTORS], [__m256i; VECTORS]);

/// Decodes whole rounds; whether an escape may be among them.
#[target_feature(enable = "avx2,popcnt")]
pub(super) fn run<const VECTORS: usize>(
    table: &RunTable<'_>,
    states: &mut [u32],
    words: &mut &[u8],
    out: &mut [i32],
) -> bool {
    let mut seen = _mm256_setzero_si256();
    if let Some(starts) = table
        .buckets
        .and_then(|buckets| Starts::load(table.min, buckets))
    {
        rounds::<VECTORS>(
            |states| starts.look_up(states, &mut seen),
            states,
            words,
            out,
        );
        starts.has_escape(seen)
    } else {
        let look_up = |states| look_up::<VECTORS>(table, states, &mut seen);
        rounds::<VECTORS>(look_up, states, words, out);
        let escape = _mm256_set1_epi32(table.escape - table.min);
        mask_of(_mm256_cmpeq_epi32(seen, escape)) != 0
    }
}

/// By gathering a slot for each lane. `seen` gathers the largest entry index of each lane.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn look_up<const VECTORS: usize>(
    table: &RunTable<'_>,
    states: [__m256i; VECTORS],
    seen: &mut __m256i,
) -> LookedUp<VECTORS> {
    let min = _mm256_set1_epi32(table.min);
    let mut symbols = states;
    let mut advanced = states;
    for ((symbols, advanced), states) in symbols.iter_mut().zip(&mut advanced).zip(states) {
        let slot = _mm256_and_si256(states, _mm256_set1_epi32(SCALE.cast_signed() - 1));
        // SAFETY: every index is below 4096, the length of `slots`.
        let entry = unsafe { _mm256_i32gather_epi32::<4>(table.slots.as_ptr().cast(), slot) };
        let index = _mm256_and_si256(entry, _mm256_set1_epi32(0xff));
        *seen = _mm256_max_epi32(*seen, index);
        *symbols = _mm256_add_epi32(min, index);
        let shifted = _mm256_srli_epi32::<{ SCALE_BITS.cast_signed() }>(states);
        let product = _mm256_mullo_epi32(_mm256_srli_epi32::<20>(entry), shifted);
        let offset = _mm256_and_si256(_mm256_srli_epi32::<8>(entry), _mm256_set1_epi32(0xfff));
        *advanced = _mm256_add_epi32(product, offset);
    }
    (symbols, advanced)
}

/// Entries that a byte shuffle can look up.
const SHUFFLED: usize = 16;

/// A table of at most sixteen entries, found by comparing a slot with all first slots.
struct Starts {
    min: __m256i,
    /// First slots minus one, but for the first entry's.
    below: [__m256i; SHUFFLED - 1],
    count: usize,
    /// Low and high bytes of the first slots, then of the frequencies.
    starts: [__m256i; 2],
    frequencies: [__m256i; 2],
    /// Entry indices as symbols count them from `min`.
    indices: __m256i,
    escape: __m256i,
}

impl Starts {
    #[target_feature(enable = "avx2,popcnt")]
    fn load(min: i32, table: &BucketTable) -> Option<Self> {
        if table.count > SHUFFLED {
            return None;
        }
        let small = |value: u16| i16::try_from(value).expect("at most 4096");
        let mut below = [_mm256_setzero_si256(); SHUFFLED - 1];
        for (below, &start) in below.iter_mut().zip(&table.starts[1..]) {
            *below = _mm256_set1_epi16(small(start) - 1);
        }
        let mut indices = [0; SHUFFLED];
        for (index, symbol) in indices.iter_mut().zip(&table.symbols[..table.count]) {
            *index = u8::try_from(symbol - min).expect("entries of a packed table fit a byte");
        }
        let halves = |values: &[u16; 32]| {
            [0, 1].map(|half| {
                let mut bytes = [0; SHUFFLED];
                for (byte, value) in bytes.iter_mut().zip(values) {
                    *byte = value.to_le_bytes()[half];
                }
                load_both(&bytes)
            })
        };
        Some(Self {
            min: _mm256_set1_epi32(min),
            below,
            count: table.count - 1,
            starts: halves(&table.starts),
            frequencies: halves(&table.frequencies),
            indices: load_both(&indices),
            escape: _mm256_set1_epi16(small(u16::try_from(table.count - 1).expect("below 16"))),
        })
    }

    /// `seen` gathers the largest entry of each lane.
    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    fn look_up<const VECTORS: usize>(
        &self,
        states: [__m256i; VECTORS],
        seen: &mut __m256i,
    ) -> LookedUp<VECTORS> {
        let scale = _mm256_set1_epi32(SCALE.cast_signed() - 1);
        let mut symbols = states;
        let mut advanced = states;
        // Two vectors of states share one of 16-bit slots.
        for pair in (0..VECTORS).step_by(2) {
            let slots = _mm256_packus_epi32(
                _mm256_and_si256(states[pair], scale),
                _mm256_and_si256(states[pair + 1], scale),
            );
            let mut entry = _mm256_setzero_si256();
            for below in &self.below[..self.count] {
                entry = _mm256_sub_epi16(entry, _mm256_cmpgt_epi16(slots, *below));
            }
            *seen = _mm256_max_epi16(*seen, entry);
            // A set top bit shuffles in a zero.
            let low = _mm256_or_si256(entry, _mm256_set1_epi16(0x8000_u16.cast_signed()));
            let high = _mm256_or_si256(_mm256_slli_epi16::<8>(entry), _mm256_set1_epi16(0x80));
            let of = |halves: [__m256i; 2]| {
                let (low, high) = (
                    _mm256_shuffle_epi8(halves[0], low),
                    _mm256_shuffle_epi8(halves[1], high),
                );
                _mm256_or_si256(low, high)
            };
            let index = unpack(_mm256_shuffle_epi8(self.indices, low));
            let frequency = unpack(of(self.frequencies));
            let offset = unpack(_mm256_sub_epi16(slots, of(self.starts)));
            for half in 0..2 {
                let shifted =
                    _mm256_srli_epi32::<{ SCALE_BITS.cast_signed() }>(states[pair + half]);
                let product = _mm256_mullo_epi32(frequency[half], shifted);
                symbols[pair + half] = _mm256_add_epi32(self.min, index[half]);
                advanced[pair + half] = _mm256_add_epi32(product, offset[half]);
            }
        }
        (symbols, advanced)
    }

    /// Whether an escape is among the largest entries seen.
    #[target_feature(enable = "avx2,popcnt")]
    fn has_escape(&self, seen: __m256i) -> bool {
        _mm256_movemask_epi8(_mm256_cmpeq_epi16(seen, self.escape)) != 0
    }
}

/// The inverse of packing two vectors into one of 16-bit values.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn unpack(packed: __m256i) -> [__m256i; 2] {
    let zero = _mm256_setzero_si256();
    [
        _mm256_unpacklo_epi16(packed, zero),
        _mm256_unpackhi_epi16(packed, zero),
    ]
}

/// Sixteen bytes in both halves.
#[target_feature(enable = "avx2,popcnt")]
fn load_both(bytes: &[u8; SHUFFLED]) -> __m256i {
    // SAFETY: the array holds sixteen bytes; the load needs no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

/// Which states are low, as a mask of eight bits and as a mask of whole lanes.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
pub(super) fn low_states(states: __m256i) -> (usize, __m256i) {
    // States stay below 2^31, so the signed comparison is right.
    let low = _mm256_cmpgt_epi32(_mm256_set1_epi32(LOW.cast_signed()), states);
    (mask_of(low), low)
}

/// States with a word shifted in where `low` says so.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
pub(super) fn refill(
    states: __m256i,
    mask: usize,
    low: __m256i,
    words: &[u8; 2 * WIDTH],
) -> __m256i {
    // SAFETY: the array holds eight 16-bit words; the load needs no alignment.
    let words = unsafe { _mm_loadu_si128(words.as_ptr().cast()) };
    let words = _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(words), indices(EXPAND[mask]));
    let filled = _mm256_or_si256(_mm256_slli_epi32::<16>(states), words);
    _mm256_blendv_epi8(states, filled, low)
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn store_symbols<const VECTORS: usize>(symbols: &[__m256i; VECTORS], out: &mut [i32]) {
    for (symbols, out) in symbols.iter().zip(out.chunks_exact_mut(WIDTH)) {
        // SAFETY: the chunk holds eight 32-bit values.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), *symbols) };
    }
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn rounds<const VECTORS: usize>(
    mut look_up: impl FnMut([__m256i; VECTORS]) -> LookedUp<VECTORS>,
    kept: &mut [u32],
    words: &mut &[u8],
    out: &mut [i32],
) {
    let mut states = load_states::<VECTORS>(kept);
    let mut left = *words;
    let mut rounds = out.chunks_exact_mut(VECTORS * WIDTH);
    while let Some(room) = left.first_chunk::<{ 2 * MAX_LANES }>() {
        let Some(round) = rounds.next() else { break };
        let (symbols, advanced) = look_up(states);
        store_symbols(&symbols, round);
        let mut used = 0;
        for (state, advanced) in states.iter_mut().zip(advanced) {
            let (mask, low) = low_states(advanced);
            // SAFETY: each of the vectors before, seven at most, took at most 16 bytes of the
            // room's 128.
            let words = unsafe { &*room.as_ptr().add(used).cast::<[u8; 2 * WIDTH]>() };
            *state = refill(advanced, mask, low, words);
            used += 2 * mask.count_ones() as usize;
        }
        left = &left[used..];
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
        let (symbols, advanced) = look_up(states);
        store_symbols(&symbols, round);
        if used == last.len() {
            states = advanced;
            continue;
        }
        for (state, advanced) in states.iter_mut().zip(advanced) {
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
pub(super) fn first_set(mask: usize, count: usize) -> (usize, __m256i) {
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
