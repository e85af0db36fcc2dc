//! The decoder's loop over the pixels of a row with contexts, one channel a lane.

use core::arch::x86_64::*;

use super::decode::{first_set, refill};
use super::{WIDTH, load_states, store_states};
use crate::coder::contexts::{
    BUCKET_BITS, ContextRows, ESCAPE, GROUP, Lanes, WITHIN_BITS, neighbours,
};
use crate::coder::rans::LOW;
use crate::error::DecodeError;
use crate::table::{SCALE, SCALE_BITS};

/// Decodes a row of a multiple of sixteen channels; see [`ContextRows::decode_row`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
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
    let low = _mm512_set1_epi32(LOW.cast_signed());
    let min = _mm512_set1_epi32(contexts.min());
    let escaped = _mm512_set1_epi32(ESCAPE.cast_signed());
    let stride = contexts.stride();
    let mut left = *words;
    for column in 0..current.len() / stride {
        let (done, rest) = current.split_at_mut(column * stride);
        let neighbours = neighbours(above, done, column, stride);
        let groups = rest[..stride].as_chunks_mut::<GROUP>().0;
        for (group, here) in groups.iter_mut().enumerate() {
            let table = match neighbours {
                None => load_buckets(contexts.first(group)),
                Some(rows) => {
                    let rows = rows.map(|row| load(&row.as_chunks::<GROUP>().0[group]));
                    table_of(contexts, group, sum_of(contexts.by_magnitude(), rows))
                }
            };
            let slot = _mm512_and_si512(states[0], _mm512_set1_epi32(0xfff));
            let found = if contexts.starts().is_empty() {
                by_buckets(contexts, table, slot)
            } else {
                by_starts(contexts.starts(), table, slot)
            };
            let symbols = _mm512_add_epi32(min, found.index);
            // SAFETY: the array holds sixteen 32-bit values.
            unsafe { _mm512_storeu_si512(here.as_mut_ptr().cast(), symbols) };
            let shifted = _mm512_srli_epi32::<SCALE_BITS>(states[0]);
            let product = _mm512_mullo_epi32(found.frequency, shifted);
            let advanced = _mm512_add_epi32(product, _mm512_sub_epi32(slot, found.start));
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
            states[0] = refill(advanced, mask, room);
            states.rotate_left(1);
            left = &left[2 * mask.count_ones() as usize..];
            if _mm512_cmpeq_epi32_mask(found.index, escaped) != 0 {
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

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn store(values: __m512i) -> [u32; WIDTH] {
    let mut stored = [0; WIDTH];
    // SAFETY: the array holds sixteen 32-bit values; the store needs no alignment.
    unsafe { _mm512_storeu_si512(stored.as_mut_ptr().cast(), values) };
    stored
}

/// Entries, with those of slots that are spelled out in the lanes of the mask.
#[cold]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn spell_out(contexts: &ContextRows, mask: __mmask16, entry: __m512i, slot: __m512i) -> __m512i {
    let (mut entries, slots) = (store(entry), store(slot));
    let mut rest = mask;
    while rest != 0 {
        let lane = rest.trailing_zeros() as usize;
        entries[lane] = contexts.spelled_out(entries[lane], slots[lane]);
        rest &= rest - 1;
    }
    load_buckets(&entries)
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

/// What slots belong to, lane by lane.
struct Found {
    /// Symbols above the smallest, 255 for escapes.
    index: __m512i,
    start: __m512i,
    frequency: __m512i,
}

/// By comparing slots with all first slots of their tables: without a load, it takes less time than one
/// gather where the symbols are few.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn by_starts(starts: &[[u32; GROUP]], table: __m512i, slot: __m512i) -> Found {
    let table = _mm512_srli_epi32::<BUCKET_BITS>(table);
    let one = _mm512_set1_epi32(1);
    let mut index = _mm512_setzero_si512();
    let mut start = _mm512_setzero_si512();
    let mut end = _mm512_set1_epi32(SCALE.cast_signed());
    for starts in starts {
        let behind = _mm512_permutexvar_epi32(table, load_buckets(starts));
        let reached = _mm512_cmpge_epu32_mask(slot, behind);
        index = _mm512_mask_add_epi32(index, reached, index, one);
        start = _mm512_mask_mov_epi32(start, reached, behind);
        end = _mm512_mask_min_epu32(end, !reached, end, behind);
    }
    let count = i32::try_from(starts.len()).expect("at most sixteen symbols");
    let all = _mm512_cmpeq_epi32_mask(index, _mm512_set1_epi32(count));
    Found {
        index: _mm512_mask_mov_epi32(index, all, _mm512_set1_epi32(ESCAPE.cast_signed())),
        start,
        frequency: _mm512_sub_epi32(end, start),
    }
}

/// By a bucket for each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")]
fn by_buckets(contexts: &ContextRows, table: __m512i, slot: __m512i) -> Found {
    let at = _mm512_add_epi32(table, _mm512_srli_epi32::<WITHIN_BITS>(slot));
    let buckets = contexts.buckets().as_ptr().cast();
    let (front, back) = (
        _mm512_castsi512_si256(at),
        _mm512_extracti64x4_epi64::<1>(at),
    );
    // SAFETY: the tables are those of `contexts`, which has 128 buckets for each, and slots are
    // below 128 x 32.
    let (front, back) = unsafe {
        (
            _mm512_i32gather_epi64::<8>(front, buckets),
            _mm512_i32gather_epi64::<8>(back, buckets),
        )
    };
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    let low = _mm512_permutex2var_epi32(front, even, back);
    let high = _mm512_permutex2var_epi32(front, odd, back);
    let start_of =
        |entry| _mm512_and_si512(_mm512_srli_epi32::<8>(entry), _mm512_set1_epi32(0xfff));
    let in_high = _mm512_cmpge_epu32_mask(slot, start_of(high));
    let mut entry = _mm512_mask_mov_epi32(low, in_high, high);
    let index_of = |entry| _mm512_and_si512(entry, _mm512_set1_epi32(0xff));
    let listed = _mm512_set1_epi32(ESCAPE.cast_signed());
    let spelled = _mm512_cmpeq_epi32_mask(index_of(entry), listed);
    if spelled != 0 {
        entry = spell_out(contexts, spelled, entry, slot);
    }
    Found {
        index: index_of(entry),
        start: start_of(entry),
        frequency: _mm512_srli_epi32::<20>(entry),
    }
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
