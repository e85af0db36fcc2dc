//! Symbols without an entropy coder, which bounds how much a payload can grow.

use alloc::vec::Vec;

use crate::bits::{BitReader, BitWriter};
use crate::error::{DecodeError, take};
use crate::limits::MAX_SYMBOL;
use crate::varint;

/// Bits for the widest symbol in zigzag form.
pub(crate) fn width_of(values: &[i32]) -> u32 {
    let all = values
        .iter()
        .fold(0, |all, &value| all | varint::zigzag(value));
    u32::BITS - all.leading_zeros()
}

/// Bytes of `count` symbols, the width byte included.
pub(crate) fn bytes_of(width: u32, count: usize) -> usize {
    1 + (width as usize * count).div_ceil(8)
}

/// Appends the width and every symbol in as many bits.
pub(crate) fn write(values: &[i32], width: u32, out: &mut Vec<u8>) {
    out.push((width & 0xff) as u8);
    let mut bits = BitWriter::new(out);
    for &value in values {
        bits.put(varint::zigzag(value), width);
    }
    bits.finish();
}

/// Reads `values.len()` symbols.
pub(crate) fn read(mut body: &[u8], values: &mut [i32]) -> Result<(), DecodeError> {
    let width = u32::from(take(&mut body, 1)?[0]);
    let widest = u32::BITS - varint::zigzag(MAX_SYMBOL).leading_zeros();
    if width > widest {
        return Err(DecodeError::BadNumber {
            what: "raw width",
            allowed: widest,
        });
    }
    if body.len() + 1 != bytes_of(width, values.len()) {
        return Err(DecodeError::CorruptPayload {
            what: "raw symbols have another length",
        });
    }
    let mut bits = BitReader::new(body);
    for value in values.iter_mut() {
        let coded = bits.get(width).expect("the length was checked");
        *value = varint::unzigzag(coded);
        if value.unsigned_abs() > MAX_SYMBOL.unsigned_abs() {
            return Err(DecodeError::CorruptPayload {
                what: "a raw symbol is too large",
            });
        }
    }
    if bits.finish().is_none() || width_of(values) != width {
        return Err(DecodeError::CorruptPayload {
            what: "raw symbols are not minimal",
        });
    }
    Ok(())
}
