//! Payloads that carry their own tables: descriptor 15, one byte 0, the length of a table set,
//! the set, then the descriptor and body of a payload coded with it.

use alloc::vec::Vec;

use super::set::{Lanes, Layout, TableSet};
use crate::coder::payload::{self, Scratch};
use crate::count::FrequencyCount;
use crate::error::{DecodeError, TableError, take};
use crate::latent::LatentShape;
use crate::limits::{MAX_OWN_TABLES, MAX_PAYLOAD_BYTES, small_u32};
use crate::varint;

/// The descriptor of payloads whose next byte says what they are.
pub(crate) const EXTENDED: u8 = 15;

/// The byte after [`EXTENDED`] where tables follow.
const OWN_TABLES: u8 = 0;

/// Weight of all channels' counts in a channel's own table, in symbols.
const PRIOR_COUNT: f64 = 4.0;

/// Replaces the payload that begins at `begin` by one with tables of its own, where that is
/// shorter.
pub(crate) fn replace_if_shorter(
    shape: LatentShape,
    symbols: &[i32],
    lanes: Lanes,
    begin: usize,
    out: &mut Vec<u8>,
) {
    let mut candidate = Vec::new();
    for set in candidates(shape, symbols).into_iter().flatten() {
        candidate.clear();
        candidate.extend_from_slice(&[EXTENDED, OWN_TABLES]);
        let bytes = set.to_bytes();
        varint::write(&mut candidate, small_u32(bytes.len()));
        candidate.extend_from_slice(&bytes);
        let coded = set.encode_slice(shape, symbols, lanes, &mut Scratch::new(), &mut candidate);
        // The set was counted on these very channels.
        if coded.is_ok() && candidate.len() < out.len() - begin {
            out.truncate(begin);
            out.extend_from_slice(&candidate);
        }
    }
}

/// One table for all symbols, and one for each channel where there are few.
fn candidates(shape: LatentShape, symbols: &[i32]) -> [Option<TableSet>; 2] {
    let Ok(mut count) = FrequencyCount::new(shape.channels()) else {
        return [None, None];
    };
    count.add_planes(shape, symbols);
    let shared = count.shared_table().map(TableSet::shared).ok();
    let few = (2..=MAX_OWN_TABLES).contains(&shape.channels());
    let each = few
        .then(|| count.channel_tables(PRIOR_COUNT).ok())
        .flatten();
    [shared, each]
}

/// Decodes what follows the descriptor.
pub(crate) fn decode(
    shape: LatentShape,
    body: &[u8],
    values: &mut Vec<i32>,
) -> Result<(), DecodeError> {
    let mut rest = body;
    let kind = take(&mut rest, 1)?[0];
    if kind != OWN_TABLES {
        return Err(DecodeError::UnknownDescriptor { found: EXTENDED });
    }
    let length = varint::read(&mut rest, "table length", small_u32(MAX_PAYLOAD_BYTES))?;
    let set = TableSet::from_bytes_within(take(&mut rest, length as usize)?, MAX_OWN_TABLES)?;
    if set.mixes() || matches!(set.layout(), Layout::Contexts(_)) {
        let found = if set.mixes() { 16 } else { 2 };
        return Err(TableError::UnknownLayout { found }.into());
    }
    if let Some(allowed) = set.channels().filter(|&count| count != shape.channels()) {
        return Err(DecodeError::ChannelMismatch {
            found: shape.channels(),
            allowed,
        });
    }
    // Not another set within: `payload::decode` refuses the descriptor.
    let descriptor = take(&mut rest, 1)?[0];
    payload::decode(&set, shape, descriptor, rest, values)
}
