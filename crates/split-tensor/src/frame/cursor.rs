//! Reading the front of a frame; faults count from the frame's first byte.

use crate::error::{DecodeError, take};
use crate::latent::LatentShape;
use crate::limits::{MAX_CHANNELS, MAX_SYMBOLS, small_u32};
use crate::varint;

pub(crate) struct Cursor<'a> {
    whole: &'a [u8],
    pub(crate) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(whole: &'a [u8]) -> Self {
        Self { whole, rest: whole }
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let begin = self.position();
        let found = self.whole.len();
        take(&mut self.rest, count).map_err(|_| DecodeError::Truncated {
            found,
            needed: begin + count,
        })
    }

    /// A number of at most `allowed`.
    pub(crate) fn number(
        &mut self,
        what: &'static str,
        allowed: usize,
    ) -> Result<usize, DecodeError> {
        let found = self.whole.len();
        match varint::read(&mut self.rest, what, small_u32(allowed)) {
            Ok(number) => Ok(number as usize),
            Err(DecodeError::Truncated { .. }) => Err(DecodeError::Truncated {
                found,
                needed: found + 1,
            }),
            Err(other) => Err(other),
        }
    }

    pub(crate) fn take_u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        let number = self.number(what, usize::from(u16::MAX))?;
        Ok(u16::try_from(number).expect("held against its limit"))
    }

    pub(crate) fn take_bank_and_rung(&mut self) -> Result<(u32, u16), DecodeError> {
        let bank = self.take_u32()?;
        Ok((bank, self.take_u16("rung")?))
    }

    pub(crate) fn take_shape(&mut self) -> Result<LatentShape, DecodeError> {
        let channels = self.number("channel count", MAX_CHANNELS)?;
        let height = self.number("height", MAX_SYMBOLS)?;
        let width = self.number("width", MAX_SYMBOLS)?;
        Ok(LatentShape::new(channels, height, width)?)
    }

    pub(crate) fn take_u32(&mut self) -> Result<u32, DecodeError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    }

    /// Takes the checksum of `parts`, one after the other, and compares it.
    pub(crate) fn take_checksum(&mut self, parts: &[&[u8]]) -> Result<(), DecodeError> {
        let found = self.take_u32()?;
        let computed = checksum(parts);
        if found == computed {
            Ok(())
        } else {
            Err(DecodeError::ChecksumMismatch { found, computed })
        }
    }

    /// Everything that was taken.
    pub(crate) fn before(&self) -> &'a [u8] {
        &self.whole[..self.position()]
    }

    fn position(&self) -> usize {
        self.whole.len() - self.rest.len()
    }
}

/// CRC-32C of several pieces as if they lay side by side.
pub(crate) fn checksum(parts: &[&[u8]]) -> u32 {
    parts
        .iter()
        .fold(0, |sum, part| crc32c::crc32c_append(sum, part))
}
