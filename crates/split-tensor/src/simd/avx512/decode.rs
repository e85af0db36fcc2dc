//! The decoder's loops.

use core::arch::x86_64::*;

use super::{WIDTH, load_states, store_states};
use crate::coder::buckets::{BucketTable, ENTRIES};
use crate::coder::rans::{LOW, MAX_LANES};
use crate::coder::slots::RunTable;
use crate::table::{SCALE, SCALE_BITS};

/// Symbols of a group of lanes, and their states before the refill.
type LookedUp<const VECTORS: usize> = ([__m512i; VECTORS], [__m512i; VECTORS]);

/// Decodes whole rounds; whether an escape may be among them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
pub(super) fn run<const GROUPS: usize, const VECTORS: usize>(
    table: &RunTable<'_>,
    states: &mut [u32],
    words: &mut &[u8],
    out: &mut [i32],
) -> bool {
    let mut seen = _mm512_setzero_si512();
    match table.buckets {
        Some(buckets) if buckets.has_no_gaps => {
            let registers = Registers::load(buckets);
            let look_up = |states| registers.look_up::<true, VECTORS>(states, &mut seen);
            rounds::<GROUPS, VECTORS>(look_up, states, words, out);
            registers.has_escape(seen)
        }
        Some(buckets) => {
            let registers = Registers::load(buckets);
            let look_up = |states| registers.look_up::<false, VECTORS>(states, &mut seen);
            rounds::<GROUPS, VECTORS>(look_up, states, words, out);
            registers.has_escape(seen)
        }
        None => {
            let look_up = |states| look_up::<VECTORS>(table, states, &mut seen);
            rounds::<GROUPS, VECTORS>(look_up, states, words, out);
            let escape = _mm512_set1_epi32(table.escape - table.min);
            _mm512_cmpeq_epi32_mask(seen, escape) != 0
        }
    }
}

/// By gathering a slot for each lane. `seen` gathers the largest entry index of each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn look_up<const VECTORS: usize>(
    table: &RunTable<'_>,
    states: [__m512i; VECTORS],
    seen: &mut __m512i,
) -> LookedUp<VECTORS> {
    let min = _mm512_set1_epi32(table.min);
    let mut symbols = states;
    let mut advanced = states;
    for ((symbols, advanced), states) in symbols.iter_mut().zip(&mut advanced).zip(states) {
        let slot = _mm512_and_si512(states, _mm512_set1_epi32(SCALE.cast_signed() - 1));
        // SAFETY: every index is below 4096, the length of `slots`.
        let entry = unsafe { _mm512_i32gather_epi32::<4>(slot, table.slots.as_ptr().cast()) };
        let index = _mm512_and_si512(entry, _mm512_set1_epi32(0xff));
        *seen = _mm512_max_epi32(*seen, index);
        *symbols = _mm512_add_epi32(min, index);
        let shifted = _mm512_srli_epi32::<SCALE_BITS>(states);
        let product = _mm512_mullo_epi32(_mm512_srli_epi32::<20>(entry), shifted);
        let offset = _mm512_and_si512(_mm512_srli_epi32::<8>(entry), _mm512_set1_epi32(0xfff));
        *advanced = _mm512_add_epi32(product, offset);
    }
    (symbols, advanced)
}

/// A bucket table in registers.
struct Registers {
    lifts: [__m512i; 2],
    ends: [__m512i; 2],
    /// Symbol of the first entry.
    min: __m512i,
    symbols: [__m512i; 2],
    starts: [__m512i; 2],
    frequencies: [__m512i; 2],
    escape: __m512i,
}

impl Registers {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
    fn load(table: &BucketTable) -> Self {
        let escape = i16::try_from(table.count - 1).expect("fewer than 32 entries");
        let (lifts, ends) = (
            table.lifts.as_chunks::<32>().0,
            table.ends.as_chunks::<64>().0,
        );
        // SAFETY: every load reads 64 bytes of an array of as many, and needs no alignment.
        let (lifts, ends) = unsafe {
            (
                [0, 1].map(|half| _mm512_loadu_si512(lifts[half].as_ptr().cast())),
                [0, 1].map(|half| _mm512_loadu_si512(ends[half].as_ptr().cast())),
            )
        };
        Self {
            lifts,
            ends,
            min: _mm512_set1_epi32(table.symbols[0]),
            symbols: load_wide(&table.symbols),
            starts: load_wide(&table.starts.map(i32::from)),
            frequencies: load_wide(&table.frequencies.map(i32::from)),
            escape: _mm512_set1_epi16(escape),
        }
    }

    /// By permutations. `seen` gathers the largest entry of each lane.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
    fn look_up<const HAS_NO_GAPS: bool, const VECTORS: usize>(
        &self,
        states: [__m512i; VECTORS],
        seen: &mut __m512i,
    ) -> LookedUp<VECTORS> {
        let slots = states.map(|states| _mm512_and_si512(states, _mm512_set1_epi32(0xfff)));
        let packed = _mm512_packus_epi32(slots[0], slots[VECTORS - 1]);
        let entries = self.entries_of(packed);
        *seen = _mm512_max_epu16(*seen, entries);
        let zero = _mm512_setzero_si512();
        let mut symbols = states;
        let mut advanced = states;
        for vector in 0..VECTORS {
            let entry = match vector {
                0 => _mm512_unpacklo_epi16(entries, zero),
                _ => _mm512_unpackhi_epi16(entries, zero),
            };
            let of = |tables: [__m512i; 2]| _mm512_permutex2var_epi32(tables[0], entry, tables[1]);
            symbols[vector] = if HAS_NO_GAPS {
                _mm512_add_epi32(self.min, entry)
            } else {
                of(self.symbols)
            };
            let shifted = _mm512_srli_epi32::<SCALE_BITS>(states[vector]);
            let product = _mm512_mullo_epi32(of(self.frequencies), shifted);
            let offset = _mm512_sub_epi32(slots[vector], of(self.starts));
            advanced[vector] = _mm512_add_epi32(product, offset);
        }
        (symbols, advanced)
    }

    /// Entries of 32 slots of 16 bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
    fn entries_of(&self, slots: __m512i) -> __m512i {
        let bucket = _mm512_srli_epi16::<6>(slots);
        let lift = _mm512_permutex2var_epi16(self.lifts[0], bucket, self.lifts[1]);
        let entry = _mm512_srli_epi16::<6>(_mm512_add_epi16(slots, lift));
        // The low seven bits tell the slots of both end buckets apart.
        let low_bytes = 0x5555_5555_5555_5555;
        let end = _mm512_maskz_permutex2var_epi8(low_bytes, self.ends[0], slots, self.ends[1]);
        let moved = _mm512_add_epi16(slots, _mm512_set1_epi16(64));
        let at_end = _mm512_testn_epi16_mask(moved, _mm512_set1_epi16(0xf80));
        _mm512_mask_mov_epi16(entry, at_end, end)
    }

    /// Whether an escape is among the largest entries seen.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
    fn has_escape(&self, seen: __m512i) -> bool {
        _mm512_cmpeq_epi16_mask(seen, self.escape) != 0
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn load_wide(values: &[i32; ENTRIES]) -> [__m512i; 2] {
    let halves = values.as_chunks::<WIDTH>().0;
    // SAFETY: both halves hold sixteen 32-bit values; the loads need no alignment.
    unsafe { [0, 1].map(|half| _mm512_loadu_si512(halves[half].as_ptr().cast())) }
}

/// States with a word shifted in where the mask says so; word `i` goes to the `i`-th of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
pub(super) fn refill(states: __m512i, mask: __mmask16, words: &[u8; 2 * WIDTH]) -> __m512i {
    // SAFETY: the array holds sixteen 16-bit words; the load needs no alignment.
    let words = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
    let words = _mm512_maskz_expand_epi32(mask, _mm512_cvtepu16_epi32(words));
    _mm512_mask_or_epi32(states, mask, _mm512_slli_epi32::<16>(states), words)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn store_symbols<const VECTORS: usize>(symbols: &[__m512i; VECTORS], out: &mut [i32]) {
    for (symbols, out) in symbols.iter().zip(out.chunks_exact_mut(WIDTH)) {
        // SAFETY: the chunk holds sixteen 32-bit values.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), *symbols) };
    }
}

/// `GROUPS` groups of vectors, each looked up on its own: while one waits for its permutations,
/// another one works.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn rounds<const GROUPS: usize, const VECTORS: usize>(
    mut look_up: impl FnMut([__m512i; VECTORS]) -> LookedUp<VECTORS>,
    kept: &mut [u32],
    words: &mut &[u8],
    out: &mut [i32],
) {
    let mut states = [[_mm512_setzero_si512(); VECTORS]; GROUPS];
    for (group, kept) in states.iter_mut().zip(kept.chunks_exact(VECTORS * WIDTH)) {
        *group = load_states(kept);
    }
    let low = _mm512_set1_epi32(LOW.cast_signed());
    let mut left = *words;
    let mut rounds = out.chunks_exact_mut(GROUPS * VECTORS * WIDTH);
    while let Some(room) = left.first_chunk::<{ 2 * MAX_LANES }>() {
        let Some(round) = rounds.next() else { break };
        let mut used = 0;
        for (group, out) in states
            .iter_mut()
            .zip(round.chunks_exact_mut(VECTORS * WIDTH))
        {
            let (symbols, advanced) = look_up(*group);
            store_symbols(&symbols, out);
            for (state, advanced) in group.iter_mut().zip(advanced) {
                let mask = _mm512_cmplt_epu32_mask(advanced, low);
                // SAFETY: each of the vectors before, three at most, took at most 32 bytes of
                // the room's 128.
                let words = unsafe { &*room.as_ptr().add(used).cast::<[u8; 2 * WIDTH]>() };
                *state = refill(advanced, mask, words);
                used += 2 * mask.count_ones() as usize;
            }
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
        for (group, out) in states
            .iter_mut()
            .zip(round.chunks_exact_mut(VECTORS * WIDTH))
        {
            let (symbols, advanced) = look_up(*group);
            store_symbols(&symbols, out);
            if used == last.len() {
                *group = advanced;
                continue;
            }
            for (state, advanced) in group.iter_mut().zip(advanced) {
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
    }
    *words = &left[used..];
    for (group, kept) in states.iter().zip(kept.chunks_exact_mut(VECTORS * WIDTH)) {
        store_states(group, kept);
    }
}

/// The lowest `count` set bits.
pub(super) fn first_set(mask: u16, count: usize) -> u16 {
    let mut kept = 0;
    let mut rest = mask;
    for _ in 0..count {
        kept |= rest & rest.wrapping_neg();
        rest &= rest.wrapping_sub(1);
    }
    kept
}
