//! The decoder's loop over the pixels of a row with contexts, one channel a lane.

use core::arch::x86_64::*;

use super::decode::{first_set, refill};
use super::{WIDTH, load_states, store_states};
use crate::coder::contexts::{ContextRows, GROUP, Lanes, neighbours};
use crate::coder::rans::LOW;
use crate::error::DecodeError;
use crate::table::SCALE_BITS;

/// Decodes a row with a multiple of the lanes for channels; see [`ContextRows::decode_row`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
pub(super) fn row<const VECTORS: usize>(
    contexts: &ContextRows,
    (above, current): (Option<&[i32]>, &mut [i32]),
    lanes: &mut Lanes<'_>,
    words: &mut &[u8],
    escape: &mut dyn FnMut(u16) -> Result<i32, DecodeError>,
) -> Result<(), DecodeError> {
    let mut states = load_states::<VECTORS>(&lanes.states[..VECTORS * WIDTH]);
    let low = _mm512_set1_epi32(LOW.cast_signed());
    let min = _mm512_set1_epi32(contexts.min());
    let escaped = _mm512_set1_epi32(contexts.escape());
    let stride = contexts.stride();
    let mut left = *words;
    for column in 0..current.len() / stride {
        let (done, rest) = current.split_at_mut(column * stride);
        let neighbours = neighbours(above, done, column, stride);
        let groups = rest[..stride].as_chunks_mut::<GROUP>().0;
        for (round, here) in groups.chunks_exact_mut(VECTORS).enumerate() {
            for (vector, here) in here.iter_mut().enumerate() {
                let group = round * VECTORS + vector;
                let table = match neighbours {
                    None => load_buckets(contexts.first(group)),
                    Some(rows) => {
                        let rows = rows.map(|row| load(&row.as_chunks::<GROUP>().0[group]));
                        table_of(contexts, group, sum_of(contexts.by_magnitude(), rows))
                    }
                };
                let (index, advanced) = look_up(contexts, table, states[vector]);
                let symbols = _mm512_add_epi32(min, index);
                // SAFETY: the array holds sixteen 32-bit values.
                unsafe { _mm512_storeu_si512(here.as_mut_ptr().cast(), symbols) };
                let mut mask = _mm512_cmplt_epu32_mask(advanced, low);
                let mut padded = [0; 2 * WIDTH];
                let room = if let Some(room) = left.first_chunk() {
                    room
                } else {
                    padded[..left.len()].copy_from_slice(left);
                    if 2 * mask.count_ones() as usize > left.len() {
                        mask = first_set(mask, left.len() / 2);
                    }
                    &padded
                };
                states[vector] = refill(advanced, mask, room);
                left = &left[2 * mask.count_ones() as usize..];
                if _mm512_cmpeq_epi32_mask(symbols, escaped) != 0 {
                    contexts.read_escapes(&store(table), here, escape)?;
                }
            }
        }
    }
    *words = left;
    lanes.next += contexts.channels() * (current.len() / stride);
    store_states(&states, &mut lanes.states[..VECTORS * WIDTH]);
    Ok(())
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn store(values: __m512i) -> [u32; WIDTH] {
    let mut stored = [0; WIDTH];
    // SAFETY: the array holds sixteen 32-bit values; the store needs no alignment.
    unsafe { _mm512_storeu_si512(stored.as_mut_ptr().cast(), values) };
    stored
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn load(values: &[i32; GROUP]) -> __m512i {
    // SAFETY: the array holds sixteen 32-bit values; the load needs no alignment.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn load_buckets(values: &[u32; GROUP]) -> __m512i {
    // SAFETY: the array holds sixteen 32-bit values; the load needs no alignment.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

/// `2 W + 2 N + NW + NE` of sixteen channels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn sum_of(by_magnitude: bool, mut neighbours: [__m512i; 4]) -> __m512i {
    if by_magnitude {
        for values in &mut neighbours {
            *values = _mm512_abs_epi32(*values);
        }
    }
    let [left, up, corner, right] = neighbours;
    let twice = _mm512_slli_epi32::<1>(_mm512_add_epi32(left, up));
    _mm512_add_epi32(twice, _mm512_add_epi32(corner, right))
}

/// First buckets of the tables that the sums choose.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn table_of(contexts: &ContextRows, group: usize, sum: __m512i) -> __m512i {
    let mut table = load_buckets(contexts.lowest(group));
    for (thresholds, tables) in contexts.steps(group) {
        let reached = _mm512_cmpge_epi32_mask(sum, load(thresholds));
        table = _mm512_mask_mov_epi32(table, reached, load_buckets(tables));
    }
    table
}

/// Symbols above the smallest, and the states before the refill.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn look_up(contexts: &ContextRows, table: __m512i, states: __m512i) -> (__m512i, __m512i) {
    let slot = _mm512_and_si512(states, _mm512_set1_epi32(0xfff));
    let shifted = _mm512_srli_epi32::<SCALE_BITS>(states);
    let middle = |entry| _mm512_and_si512(_mm512_srli_epi32::<8>(entry), _mm512_set1_epi32(0xfff));
    let (entry, offset) = if contexts.slots().is_empty() {
        let entry = by_levels(contexts, table, slot);
        (entry, _mm512_sub_epi32(slot, middle(entry)))
    } else {
        let first = _mm512_slli_epi32::<6>(table);
        let entry = gather(contexts.slots(), _mm512_add_epi32(first, slot));
        (entry, middle(entry))
    };
    let product = _mm512_mullo_epi32(_mm512_srli_epi32::<20>(entry), shifted);
    let index = _mm512_and_si512(entry, _mm512_set1_epi32(0xff));
    (index, _mm512_add_epi32(product, offset))
}

/// Entries of slots by way of their buckets.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn by_levels(contexts: &ContextRows, table: __m512i, slot: __m512i) -> __m512i {
    let (buckets, entries) = contexts.levels();
    let bucket = gather(
        buckets,
        _mm512_add_epi32(table, _mm512_srli_epi32::<6>(slot)),
    );
    let within = _mm512_and_si512(slot, _mm512_set1_epi32(63));
    let lifted = _mm512_add_epi32(within, _mm512_and_si512(bucket, _mm512_set1_epi32(0xff)));
    let shift = _mm512_and_si512(_mm512_srli_epi32::<8>(bucket), _mm512_set1_epi32(0xf));
    let within = _mm512_srlv_epi32(lifted, shift);
    gather(
        entries,
        _mm512_add_epi32(_mm512_srli_epi32::<12>(bucket), within),
    )
}

/// Two gathers of half a vector: on AMD's machines faster than one of a whole.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn gather(values: &[u32], at: __m512i) -> __m512i {
    let last = u32::try_from(values.len() - 1).expect("fewer than 2^20 buckets and entries");
    // Indices come from the same tables; the minimum only makes that checkable here.
    let at = _mm512_min_epu32(at, _mm512_set1_epi32(last.cast_signed()));
    let values = values.as_ptr().cast();
    let (front, back) = (
        _mm512_castsi512_si256(at),
        _mm512_extracti64x4_epi64::<1>(at),
    );
    // SAFETY: every index is at most that of the last value, and there is one.
    let (front, back) = unsafe {
        (
            _mm256_i32gather_epi32::<4>(values, front),
            _mm256_i32gather_epi32::<4>(values, back),
        )
    };
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(front), back)
}

/// Up to sixteen pixels and channels at a time; see [`ContextRows::spread_row`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
pub(super) fn spread_row(
    contexts: &ContextRows,
    row: &[i32],
    (at, plane): (usize, usize),
    out: &mut [i32],
) {
    let stride = contexts.stride();
    for (block, pixels) in row.chunks(WIDTH * stride).enumerate() {
        let count = pixels.len() / stride;
        let stored = u16::MAX >> (WIDTH - count);
        let begin = at + block * WIDTH;
        for (group, planes) in out.chunks_mut(GROUP * plane).enumerate() {
            let mut rows = [_mm512_setzero_si512(); WIDTH];
            for (row, pixel) in rows.iter_mut().zip(pixels.chunks_exact(stride)) {
                *row = load(&pixel.as_chunks::<GROUP>().0[group]);
            }
            let channels = transpose(rows);
            for (plane, values) in planes.chunks_exact_mut(plane).zip(channels) {
                let room = &mut plane[begin..begin + count];
                // SAFETY: the mask stores the `count` values that `room` holds, no others.
                unsafe { _mm512_mask_storeu_epi32(room.as_mut_ptr(), stored, values) };
            }
        }
    }
}

/// Sixteen rows of sixteen numbers as sixteen columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn transpose(mut a: [__m512i; WIDTH]) -> [__m512i; WIDTH] {
    let mut b = a;
    for i in 0..8 {
        b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
    for i in [0, 4, 8, 12] {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    for i in 0..4 {
        for half in [0, 8] {
            let (low, high) = (a[half + i], a[half + i + 4]);
            b[half + i] = _mm512_shuffle_i32x4::<0x88>(low, high);
            b[half + i + 4] = _mm512_shuffle_i32x4::<0xdd>(low, high);
        }
    }
    for i in 0..8 {
        a[i] = _mm512_shuffle_i32x4::<0x88>(b[i], b[i + 8]);
        a[i + 8] = _mm512_shuffle_i32x4::<0xdd>(b[i], b[i + 8]);
    }
    a
}
