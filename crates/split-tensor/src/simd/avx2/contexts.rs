//! The decoder's loop over the pixels of a row with contexts, one channel a lane.

use core::arch::x86_64::*;

use super::decode::{first_set, low_states, refill};
use super::{WIDTH, load_states, mask_of, store_states};
use crate::coder::contexts::{
    BUCKET_BITS, ContextRows, ESCAPE, GROUP, Lanes, WITHIN_BITS, neighbours,
};
use crate::error::DecodeError;
use crate::table::{SCALE, SCALE_BITS};

/// Decodes a row of a multiple of eight channels; see [`ContextRows::decode_row`].
#[target_feature(enable = "avx2,popcnt")]
pub(super) fn row<const VECTORS: usize>(
    contexts: &ContextRows,
    (above, current): (Option<&[i32]>, &mut [i32]),
    lanes: &mut Lanes<'_>,
    words: &mut &[u8],
    escape: &mut dyn FnMut(u16) -> Result<i32, DecodeError>,
) -> Result<(), DecodeError> {
    // Those whose turn it is come first; the others move up behind them.
    let mut states = load_states::<VECTORS>(&lanes.states[..VECTORS * WIDTH]);
    states.rotate_left(lanes.next / WIDTH % VECTORS);
    let min = _mm256_set1_epi32(contexts.min());
    let escaped = _mm256_set1_epi32(ESCAPE.cast_signed());
    let stride = contexts.stride();
    let mut left = *words;
    for column in 0..current.len() / stride {
        let (done, rest) = current.split_at_mut(column * stride);
        let neighbours = neighbours(above, done, column, stride);
        let pixel = rest[..contexts.channels()].as_chunks_mut::<WIDTH>().0;
        for (vector, here) in pixel.iter_mut().enumerate() {
            let table = match neighbours {
                None => load_buckets(half(contexts.first(vector / 2), vector)),
                Some(rows) => {
                    let rows = rows.map(|row| load(&row.as_chunks().0[vector]));
                    table_of(contexts, vector, sum_of(contexts.by_magnitude(), rows))
                }
            };
            let slot = _mm256_and_si256(states[0], _mm256_set1_epi32(0xfff));
            let found = if contexts.starts().is_empty() {
                by_buckets(contexts, table, slot)
            } else {
                by_starts(contexts.starts(), table, slot)
            };
            let symbols = _mm256_add_epi32(min, found.index);
            // SAFETY: the array holds eight 32-bit values.
            unsafe { _mm256_storeu_si256(here.as_mut_ptr().cast(), symbols) };
            let shifted = _mm256_srli_epi32::<{ SCALE_BITS.cast_signed() }>(states[0]);
            let product = _mm256_mullo_epi32(found.frequency, shifted);
            let advanced = _mm256_add_epi32(product, _mm256_sub_epi32(slot, found.start));
            let (mut mask, mut low) = low_states(advanced);
            let mut padded = [0; 2 * WIDTH];
            let room = if let Some(room) = left.first_chunk() {
                room
            } else {
                padded[..left.len()].copy_from_slice(left);
                if 2 * mask.count_ones() as usize > left.len() {
                    (mask, low) = first_set(mask, left.len() / 2);
                }
                &padded
            };
            states[0] = refill(advanced, mask, low, room);
            states.rotate_left(1);
            left = &left[2 * mask.count_ones() as usize..];
            if mask_of(_mm256_cmpeq_epi32(found.index, escaped)) != 0 {
                contexts.read_escapes(&store(table), here, escape)?;
            }
        }
    }
    *words = left;
    lanes.next += contexts.channels() * (current.len() / stride);
    states.rotate_right(lanes.next / WIDTH % VECTORS);
    store_states(&states, &mut lanes.states[..VECTORS * WIDTH]);
    Ok(())
}

/// The eight values of a group that belong to this vector of a pixel.
#[inline]
fn half<T>(group: &[T; GROUP], vector: usize) -> &[T; WIDTH] {
    &group.as_chunks().0[vector % 2]
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn store(values: __m256i) -> [u32; WIDTH] {
    let mut stored = [0; WIDTH];
    // SAFETY: the array holds eight 32-bit values; the store needs no alignment.
    unsafe { _mm256_storeu_si256(stored.as_mut_ptr().cast(), values) };
    stored
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn load(values: &[i32; WIDTH]) -> __m256i {
    // SAFETY: the array holds eight 32-bit values; the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn load_buckets(values: &[u32; WIDTH]) -> __m256i {
    // SAFETY: the array holds eight 32-bit values; the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// Entries, with those of slots that are spelled out in the lanes of the mask.
#[cold]
#[target_feature(enable = "avx2,popcnt")]
fn spell_out(contexts: &ContextRows, mask: usize, entry: __m256i, slot: __m256i) -> __m256i {
    let (mut entries, slots) = (store(entry), store(slot));
    let mut rest = mask;
    while rest != 0 {
        let lane = rest.trailing_zeros() as usize;
        entries[lane] = contexts.spelled_out(entries[lane], slots[lane]);
        rest &= rest - 1;
    }
    load_buckets(&entries)
}

/// `2 W + 2 N + NW + NE` of eight channels.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn sum_of(by_magnitude: bool, mut neighbours: [__m256i; 4]) -> __m256i {
    if by_magnitude {
        for values in &mut neighbours {
            *values = _mm256_abs_epi32(*values);
        }
    }
    let [left, up, corner, right] = neighbours;
    let twice = _mm256_slli_epi32::<1>(_mm256_add_epi32(left, up));
    _mm256_add_epi32(twice, _mm256_add_epi32(corner, right))
}

/// First buckets of the tables that the sums choose.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn table_of(contexts: &ContextRows, vector: usize, sum: __m256i) -> __m256i {
    let group = vector / 2;
    let mut table = load_buckets(half(contexts.lowest(group), vector));
    for (thresholds, tables) in contexts.steps(group) {
        let below = _mm256_cmpgt_epi32(load(half(thresholds, vector)), sum);
        table = _mm256_blendv_epi8(load_buckets(half(tables, vector)), table, below);
    }
    table
}

/// What slots belong to, lane by lane.
struct Found {
    /// Symbols above the smallest, 255 for escapes.
    index: __m256i,
    start: __m256i,
    frequency: __m256i,
}

/// By comparing slots with all first slots of their tables: without a gather, it takes less time where
/// the symbols are few.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn by_starts(starts: &[[u32; GROUP]], table: __m256i, slot: __m256i) -> Found {
    let table = _mm256_srli_epi32::<{ BUCKET_BITS.cast_signed() }>(table);
    // The sign says which half of the tables.
    let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(table));
    let count = i32::try_from(starts.len()).expect("at most sixteen symbols");
    let last = _mm256_set1_epi32(SCALE.cast_signed());
    let mut index = _mm256_set1_epi32(count);
    let mut start = _mm256_setzero_si256();
    let mut end = last;
    for starts in starts {
        let [low, high] = [half(starts, 0), half(starts, 1)]
            .map(|starts| _mm256_permutevar8x32_epi32(load_buckets(starts), table));
        let (low, high) = (_mm256_castsi256_ps(low), _mm256_castsi256_ps(high));
        let behind = _mm256_castps_si256(_mm256_blendv_ps(low, high, upper));
        let ahead = _mm256_cmpgt_epi32(behind, slot);
        index = _mm256_add_epi32(index, ahead);
        start = _mm256_blendv_epi8(behind, start, ahead);
        end = _mm256_min_epi32(end, _mm256_blendv_epi8(last, behind, ahead));
    }
    let all = _mm256_cmpeq_epi32(index, _mm256_set1_epi32(count));
    Found {
        index: _mm256_blendv_epi8(index, _mm256_set1_epi32(ESCAPE.cast_signed()), all),
        start,
        frequency: _mm256_sub_epi32(end, start),
    }
}

/// By a bucket for each lane.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
fn by_buckets(contexts: &ContextRows, table: __m256i, slot: __m256i) -> Found {
    let at = _mm256_add_epi32(
        table,
        _mm256_srli_epi32::<{ WITHIN_BITS.cast_signed() }>(slot),
    );
    // Lanes 0, 1, 4, 5 and 2, 3, 6, 7: the shuffles below, each within its half, put them in order.
    let at = _mm256_permute4x64_epi64::<0b11_01_10_00>(at);
    let buckets = contexts.buckets().as_ptr().cast();
    let (front, back) = (
        _mm256_castsi256_si128(at),
        _mm256_extracti128_si256::<1>(at),
    );
    // SAFETY: the tables are those of `contexts`, which has 128 buckets for each, and slots are
    // below 128 x 32.
    let (front, back) = unsafe {
        (
            _mm256_castsi256_ps(_mm256_i32gather_epi64::<8>(buckets, front)),
            _mm256_castsi256_ps(_mm256_i32gather_epi64::<8>(buckets, back)),
        )
    };
    let low = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(front, back));
    let high = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(front, back));
    let start_of =
        |entry| _mm256_and_si256(_mm256_srli_epi32::<8>(entry), _mm256_set1_epi32(0xfff));
    let mut entry = _mm256_blendv_epi8(high, low, _mm256_cmpgt_epi32(start_of(high), slot));
    let index_of = |entry| _mm256_and_si256(entry, _mm256_set1_epi32(0xff));
    let listed = _mm256_set1_epi32(ESCAPE.cast_signed());
    let spelled = mask_of(_mm256_cmpeq_epi32(index_of(entry), listed));
    if spelled != 0 {
        entry = spell_out(contexts, spelled, entry, slot);
    }
    Found {
        index: index_of(entry),
        start: start_of(entry),
        frequency: _mm256_srli_epi32::<20>(entry),
    }
}
