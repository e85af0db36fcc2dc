//! A second decoder, written from docs/format.md and from nothing else: one symbol and one bit
//! at a time, without a line of the crate.
#![allow(dead_code, reason = "every test file uses its own part")]

pub(crate) mod frames;
pub(crate) mod mixing;
pub(crate) mod payload;

/// Why bytes were refused.
pub(crate) type Refused = &'static str;

pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Refused> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("bytes are missing")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Refused> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn number(&mut self) -> Result<u64, Refused> {
        let mut value = 0;
        for place in 0..5 {
            let byte = self.byte()?;
            value += u64::from(byte % 128) << (7 * place);
            if byte < 128 {
                let shortest = byte > 0 || place == 0;
                return if shortest {
                    Ok(value)
                } else {
                    Err("a number is too long")
                };
            }
        }
        Err("a number is too long")
    }

    pub(crate) fn count(&mut self, limit: u64) -> Result<usize, Refused> {
        let value = self.number()?;
        if value > limit {
            return Err("a number is beyond its limit");
        }
        usize::try_from(value).map_err(|_| "a number is too large")
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Refused> {
        unfold(self.number()?)
    }

    pub(crate) fn float(&mut self) -> Result<f32, Refused> {
        let four = self.take(4)?;
        Ok(f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Refused> {
        let four = self.take(4)?;
        Ok(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
    }
}

/// The signed number behind an unsigned one.
pub(crate) fn unfold(value: u64) -> Result<i64, Refused> {
    let value = i64::try_from(value).map_err(|_| "a number is too large")?;
    Ok(if value % 2 == 0 {
        value / 2
    } else {
        -(value + 1) / 2
    })
}

/// Bits, lowest first.
pub(crate) struct Bits<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) read: usize,
}

impl Bits<'_> {
    pub(crate) fn bit(&mut self) -> Result<u64, Refused> {
        let byte = self.bytes.get(self.read / 8).ok_or("bits are missing")?;
        self.read += 1;
        Ok(u64::from(byte >> ((self.read - 1) % 8) & 1))
    }

    pub(crate) fn bits(&mut self, count: u64) -> Result<u64, Refused> {
        let mut value = 0;
        for place in 0..count {
            value += self.bit()? << place;
        }
        Ok(value)
    }

    /// Skips the padding, which must be zeros.
    pub(crate) fn finish(mut self) -> Result<usize, Refused> {
        while !self.read.is_multiple_of(8) {
            if self.bit()? != 0 {
                return Err("padding is not zero");
            }
        }
        Ok(self.read / 8)
    }
}

/// CRC-32C, bit by bit.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 * (sum & 1));
        }
    }
    !sum
}
