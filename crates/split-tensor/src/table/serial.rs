//! Bytes of a table set: version, layout, tables. All numbers but the first two bytes are
//! variable-length; `docs/format.md` has the layout.

use alloc::vec::Vec;

use super::context::{ChannelContext, ContextModel, MAX_CLASSES, Measure};
use super::mixing::{self, MixModel};
use super::set::Layout;
use super::{FreqTable, SCALE};
use crate::error::{TableError, take};
use crate::limits::{MAX_ALPHABET, MAX_CHANNELS, MAX_SYMBOL, MAX_TABLES, small_u32};
use crate::varint;

/// Version of the serial form.
const SET_VERSION: u8 = 1;
const LAYOUT_SHARED: u8 = 0;
const LAYOUT_CHANNELS: u8 = 1;
const LAYOUT_CONTEXTS: u8 = 2;
/// Set in a layout where what mixing needs follows the tables.
const MIXES: u8 = 16;

/// The largest neighbour sum.
const MAX_SUM: i32 = 6 * MAX_SYMBOL;

pub(super) fn write(tables: &[FreqTable], layout: &Layout, mix: Option<&MixModel>) -> Vec<u8> {
    let mut out = alloc::vec![SET_VERSION];
    match layout {
        Layout::Shared => out.push(LAYOUT_SHARED),
        Layout::Channels(assignment) => {
            out.push(LAYOUT_CHANNELS);
            write_count(&mut out, assignment.len());
            write_count(&mut out, tables.len());
            for &index in assignment {
                varint::write(&mut out, u32::from(index));
            }
        }
        Layout::Contexts(model) => {
            out.push(LAYOUT_CONTEXTS);
            write_count(&mut out, model.channels.len());
            write_count(&mut out, tables.len());
            varint::write(&mut out, u32::from(model.measure == Measure::Value));
            varint::write(&mut out, model.expected_millibits);
            for channel in &model.channels {
                write_channel(channel, &mut out);
            }
        }
    }
    for table in tables {
        write_table(table, &mut out);
    }
    if let Some(model) = mix {
        out[1] |= MIXES;
        mixing::serial::write(model, &mut out);
    }
    out
}

fn write_channel(channel: &ChannelContext, out: &mut Vec<u8>) {
    write_count(out, channel.thresholds.len());
    let mut last = None;
    for &threshold in &channel.thresholds {
        match last {
            None => varint::write(out, varint::zigzag(threshold)),
            Some(last) => varint::write(out, threshold.abs_diff(last)),
        }
        last = Some(threshold);
    }
    for &index in channel.tables.iter().chain([&channel.first]) {
        varint::write(out, u32::from(index));
    }
}

fn write_table(table: &FreqTable, out: &mut Vec<u8>) {
    varint::write(out, varint::zigzag(table.min()));
    write_count(out, table.frequencies().len());
    for &frequency in table.frequencies() {
        varint::write(out, u32::from(frequency));
    }
}

fn write_count(out: &mut Vec<u8>, count: usize) {
    varint::write(out, small_u32(count));
}

/// The parts of a set.
pub(super) type Parts = (Vec<FreqTable>, Layout, Option<MixModel>);

pub(super) fn read(bytes: &[u8]) -> Result<Parts, TableError> {
    let mut rest = bytes;
    read_set(&mut rest).map_err(|fault| {
        fault.unwrap_or(TableError::Malformed {
            offset: bytes.len() - rest.len(),
        })
    })
}

/// `None` as an error stands for malformed bytes at the place where reading stopped.
type Read<T> = Result<T, Option<TableError>>;

fn read_set(rest: &mut &[u8]) -> Read<Parts> {
    let head = take(rest, 2).map_err(|_| None)?;
    let (version, layout, mixes) = (head[0], head[1] & !MIXES, head[1] & MIXES != 0);
    if version != SET_VERSION {
        return Err(Some(TableError::UnknownVersion {
            found: version,
            allowed: SET_VERSION,
        }));
    }
    let mut indices = Indices { fresh: 0, count: 1 };
    let layout = match layout {
        LAYOUT_SHARED => {
            indices.fresh = 1;
            Layout::Shared
        }
        LAYOUT_CHANNELS => {
            let channels = read_head(rest, &mut indices)?;
            let mut assignment = Vec::new();
            for _ in 0..channels {
                assignment.push(indices.read(rest)?);
            }
            Layout::Channels(assignment)
        }
        LAYOUT_CONTEXTS => Layout::Contexts(read_contexts(rest, &mut indices)?),
        _ => return Err(Some(TableError::UnknownLayout { found: head[1] })),
    };
    if usize::from(indices.fresh) != indices.count {
        return Err(None);
    }
    let mut tables = Vec::new();
    for _ in 0..indices.count {
        let table = read_table(rest)?;
        if tables.contains(&table) {
            return Err(None);
        }
        tables.push(table);
    }
    let mix = if mixes {
        let model = mixing::serial::read(rest).ok_or(None)?;
        if layout
            .channels()
            .is_some_and(|count| count != model.channels.len())
        {
            return Err(None);
        }
        Some(model)
    } else {
        None
    };
    if rest.is_empty() {
        Ok((tables, layout, mix))
    } else {
        Err(None)
    }
}

/// Channel count and table count, neither zero.
fn read_head(rest: &mut &[u8], indices: &mut Indices) -> Read<usize> {
    let channels = read_count(rest, MAX_CHANNELS)?;
    indices.count = read_count(rest, MAX_TABLES)?;
    if channels == 0 || indices.count == 0 {
        Err(None)
    } else {
        Ok(channels)
    }
}

fn read_contexts(rest: &mut &[u8], indices: &mut Indices) -> Read<ContextModel> {
    let count = read_head(rest, indices)?;
    let measure = match read_count(rest, 1)? {
        0 => Measure::Magnitude,
        _ => Measure::Value,
    };
    let expected_millibits = small_u32(read_count(rest, 64_000)?);
    let mut channels = Vec::new();
    for _ in 0..count {
        let thresholds = read_thresholds(rest)?;
        let mut tables = Vec::with_capacity(thresholds.len() + 1);
        for _ in 0..=thresholds.len() {
            tables.push(indices.read(rest)?);
        }
        channels.push(ChannelContext {
            thresholds,
            tables,
            first: indices.read(rest)?,
        });
    }
    Ok(ContextModel {
        measure,
        channels,
        expected_millibits,
    })
}

fn read_thresholds(rest: &mut &[u8]) -> Read<Vec<i32>> {
    let count = read_count(rest, MAX_CLASSES - 1)?;
    let mut thresholds: Vec<i32> = Vec::with_capacity(count);
    for _ in 0..count {
        let coded = varint::read(rest, "threshold", u32::MAX).map_err(|_| None)?;
        let threshold = match thresholds.last() {
            None => Some(varint::unzigzag(coded)),
            Some(last) if coded > 0 => last.checked_add_unsigned(coded),
            Some(_) => None,
        };
        match threshold {
            Some(found) if found.unsigned_abs() <= MAX_SUM.unsigned_abs() => {
                thresholds.push(found);
            }
            _ => return Err(None),
        }
    }
    Ok(thresholds)
}

/// Reads table indices; tables are numbered in the order of their first use, so that equal
/// sets have equal bytes.
struct Indices {
    fresh: u16,
    count: usize,
}

impl Indices {
    fn read(&mut self, rest: &mut &[u8]) -> Read<u16> {
        let found = u16::try_from(read_count(rest, self.count - 1)?).map_err(|_| None)?;
        if found > self.fresh {
            return Err(None);
        }
        self.fresh += u16::from(found == self.fresh);
        Ok(found)
    }
}

fn read_table(rest: &mut &[u8]) -> Read<FreqTable> {
    let min = varint::unzigzag(varint::read(rest, "minimum", u32::MAX).map_err(|_| None)?);
    let count = read_count(rest, MAX_ALPHABET)?;
    let mut frequencies = Vec::new();
    for _ in 0..count {
        let frequency = read_count(rest, SCALE as usize - 1)?;
        frequencies.push(u16::try_from(frequency).map_err(|_| None)?);
    }
    FreqTable::from_frequencies(min, &frequencies).map_err(Some)
}

fn read_count(rest: &mut &[u8], allowed: usize) -> Read<usize> {
    varint::read(rest, "count", small_u32(allowed))
        .map(|count| count as usize)
        .map_err(|_| None)
}
