//! Numbers of one to five bytes: seven bits a byte, lowest first, always in the shortest form.

use alloc::vec::Vec;

use crate::error::{DecodeError, take};

/// Appends `value`.
pub(crate) fn write(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Takes a number of at most `allowed` off the front of `bytes`.
pub(crate) fn read(
    bytes: &mut &[u8],
    what: &'static str,
    allowed: u32,
) -> Result<u32, DecodeError> {
    let mut value = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let minimal = byte != 0 || shift == 0;
            return match u32::try_from(value) {
                Ok(value) if minimal && value <= allowed => Ok(value),
                _ => Err(DecodeError::BadNumber { what, allowed }),
            };
        }
    }
    Err(DecodeError::BadNumber { what, allowed })
}

/// Signed to unsigned: 0, -1, 1, -2 become 0, 1, 2, 3.
pub(crate) fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(crate) fn unzigzag(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_and_longer_forms_are_refused() {
        for value in [0, 1, 127, 128, 16383, 16384, 1 << 21, 1 << 28, u32::MAX] {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            assert_eq!(read(&mut bytes.as_slice(), "value", u32::MAX), Ok(value));
            *bytes.last_mut().unwrap() |= 0x80;
            bytes.push(0);
            assert!(read(&mut bytes.as_slice(), "value", u32::MAX).is_err());
        }
        for value in [0, 1, -1, i32::MAX, i32::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
