//! A binary arithmetic coder: 32-bit range, carries, whole bytes. Each message has exactly one
//! body, and the decoder checks that it is this one.

use alloc::vec::Vec;

use crate::error::DecodeError;

/// Ranges below this are widened by a byte.
const NARROW: u32 = 1 << 24;

/// Bytes that a decoder looks ahead.
const AHEAD: usize = 4;

/// Where binary decisions go to or come from.
pub(crate) trait Bins {
    /// Codes `bit`, which is one with `one` of 65536 (1 to 65535); a decoder ignores the
    /// argument and returns the bit that it found.
    fn code(&mut self, one: u32, bit: bool) -> Result<bool, DecodeError>;
}

/// How much of a range belongs to a one.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a part of the range")]
fn share(range: u32, one: u32) -> u32 {
    ((u64::from(range) * u64::from(one)) >> 16) as u32
}

/// Appends the body of a message.
pub(crate) struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    low: u32,
    range: u32,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            low: 0,
            range: u32::MAX,
        }
    }

    /// A carry runs into the bytes written before; it always ends, since the sum of all that
    /// is added stays below one.
    fn add(&mut self, value: u32) {
        let (low, carries) = self.low.overflowing_add(value);
        self.low = low;
        if carries {
            for byte in self.out.iter_mut().rev() {
                *byte = byte.wrapping_add(1);
                if *byte != 0 {
                    break;
                }
            }
        }
    }

    /// Writes as many of the lowest bytes of the message as its range needs: one or none.
    pub(crate) fn finish(mut self) {
        let last = self.range - 1;
        let (value, carries) = self.low.overflowing_add(last);
        if carries || self.low == 0 {
            // A whole number of bytes was written: what follows reads as zeros.
            self.add(self.low.wrapping_neg());
            return;
        }
        let [first, ..] = value.to_be_bytes();
        self.out.push(first);
    }
}

impl Bins for Encoder<'_> {
    #[inline]
    fn code(&mut self, one: u32, bit: bool) -> Result<bool, DecodeError> {
        let ones = share(self.range, one);
        if bit {
            self.range = ones;
        } else {
            self.add(ones);
            self.range -= ones;
        }
        while self.range < NARROW {
            let [first, ..] = self.low.to_be_bytes();
            self.out.push(first);
            self.low <<= 8;
            self.range <<= 8;
        }
        Ok(bit)
    }
}

/// Reads what [`Encoder`] wrote.
pub(crate) struct Decoder<'a> {
    body: &'a [u8],
    /// Bytes taken, those beyond the end included.
    taken: usize,
    /// The last four bytes.
    code: u32,
    /// How far the code lies above the lower end of the range.
    above: u32,
    range: u32,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        let mut decoder = Self {
            body,
            taken: 0,
            code: 0,
            above: 0,
            range: u32::MAX,
        };
        for _ in 0..AHEAD {
            decoder.take();
        }
        decoder.above = decoder.code;
        decoder
    }

    fn take(&mut self) -> u32 {
        let byte = self.body.get(self.taken).copied().unwrap_or(0);
        self.taken += 1;
        self.code = (self.code << 8) | u32::from(byte);
        u32::from(byte)
    }

    /// Checks that the body ends as the encoder would have ended it.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        let low = self.code.wrapping_sub(self.above);
        let (value, carries) = low.overflowing_add(self.range - 1);
        let written = self.taken - AHEAD;
        let (end, length) = if carries || low == 0 {
            (0, written)
        } else {
            (value & 0xff00_0000, written + 1)
        };
        if self.code == end && self.body.len() == length {
            return Ok(());
        }
        Err(DecodeError::CorruptPayload {
            what: "the body does not end where its symbols do",
        })
    }
}

impl Bins for Decoder<'_> {
    #[inline]
    fn code(&mut self, one: u32, _: bool) -> Result<bool, DecodeError> {
        let ones = share(self.range, one);
        let bit = self.above < ones;
        if bit {
            self.range = ones;
        } else {
            self.above -= ones;
            self.range -= ones;
        }
        while self.range < NARROW {
            if self.taken >= self.body.len() + AHEAD {
                return Err(DecodeError::Truncated {
                    found: self.body.len(),
                    needed: self.body.len() + 1,
                });
            }
            let byte = self.take();
            self.above = (self.above << 8) | byte;
            self.range <<= 8;
        }
        Ok(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities and bits from a small generator; the likely bit for the most part.
    fn message(seed: u32, count: usize) -> Vec<(u32, bool)> {
        let mut state = seed;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        let decision = |_| {
            let one = match draw() % 4 {
                0 => 1 + draw() % 3,
                1 => 65_535 - draw() % 3,
                _ => 1 + draw() % 65_535,
            };
            (one, draw() % 65_536 < one)
        };
        (0..count).map(decision).collect()
    }

    fn encoded(message: &[(u32, bool)]) -> Vec<u8> {
        let mut out = alloc::vec![0xff];
        let mut encoder = Encoder::new(&mut out);
        for &(one, bit) in message {
            encoder.code(one, bit).unwrap();
        }
        encoder.finish();
        assert_eq!(out[0], 0xff, "no carry leaves the body");
        out.split_off(1)
    }

    fn decoded(message: &[(u32, bool)], body: &[u8]) -> Result<Vec<bool>, DecodeError> {
        let mut decoder = Decoder::new(body);
        let bits: Result<Vec<bool>, DecodeError> = message
            .iter()
            .map(|&(one, _)| decoder.code(one, false))
            .collect();
        decoder.finish()?;
        bits
    }

    #[test]
    fn every_message_has_one_body() {
        for seed in 0..300 {
            let message = message(seed, seed as usize);
            let bits: Vec<bool> = message.iter().map(|&(_, bit)| bit).collect();
            let body = encoded(&message);
            assert_eq!(decoded(&message, &body).as_ref(), Ok(&bits));
            for at in 0..body.len() {
                for bit in 0..8 {
                    let mut other = body.clone();
                    other[at] ^= 1 << bit;
                    // Other bytes are other bits, or nothing at all.
                    assert_ne!(decoded(&message, &other).as_ref(), Ok(&bits));
                }
                assert_ne!(decoded(&message, &body[..at]).as_ref(), Ok(&bits));
            }
            let mut longer = body.clone();
            longer.push(0);
            assert!(decoded(&message, &longer).is_err() || body.is_empty());
        }
    }

    #[test]
    fn carries_run_through_many_bytes() {
        // Ones of little probability pile up at the upper end of the range.
        let message: Vec<(u32, bool)> = (0..400).map(|at| (65_535, at % 97 == 5)).collect();
        let body = encoded(&message);
        let bits: Vec<bool> = message.iter().map(|&(_, bit)| bit).collect();
        assert_eq!(decoded(&message, &body), Ok(bits));
        assert!(encoded(&[]).is_empty());
    }
}
