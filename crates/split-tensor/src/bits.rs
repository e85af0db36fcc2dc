//! Bit strings, lowest bit of each byte first.

use alloc::vec::Vec;

/// Appends bits to a byte vector.
pub(crate) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u64,
    count: u32,
}

impl<'a> BitWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            pending: 0,
            count: 0,
        }
    }

    /// Appends the `width` (at most 32) low bits of `value`, whose other bits are zero.
    pub(crate) fn put(&mut self, value: u32, width: u32) {
        debug_assert!(width == 32 || value >> width == 0);
        self.pending |= u64::from(value) << self.count;
        self.count += width;
        while self.count >= 8 {
            self.out.push((self.pending & 0xff) as u8);
            self.pending >>= 8;
            self.count -= 8;
        }
    }

    /// Appends `value` as an Exp-Golomb code of order zero: k zeros, a one, k low bits.
    pub(crate) fn put_exp_golomb(&mut self, value: u32) {
        debug_assert!(value < u32::MAX);
        let plus_one = value + 1;
        let low = plus_one.ilog2();
        self.put(0, low);
        self.put(1, 1);
        self.put(plus_one - (1 << low), low);
    }

    /// Writes the last, zero-padded byte.
    pub(crate) fn finish(self) {
        if self.count > 0 {
            self.out.push((self.pending & 0xff) as u8);
        }
    }
}

/// Bits of an Exp-Golomb code of order zero.
pub(crate) fn exp_golomb_bits(value: u32) -> u32 {
    2 * (value + 1).ilog2() + 1
}

/// Reads bits off a byte slice; `None` where they run out.
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
    pending: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            position: 0,
            pending: 0,
            count: 0,
        }
    }

    /// Reads `width` (at most 32) bits.
    pub(crate) fn get(&mut self, width: u32) -> Option<u32> {
        debug_assert!(width <= 32);
        while self.count < width {
            let byte = *self.bytes.get(self.position)?;
            self.pending |= u64::from(byte) << self.count;
            self.position += 1;
            self.count += 8;
        }
        let value = self.pending & ((1u64 << width) - 1);
        self.pending >>= width;
        self.count -= width;
        u32::try_from(value).ok()
    }

    /// Reads an Exp-Golomb code of order zero.
    pub(crate) fn get_exp_golomb(&mut self) -> Option<u32> {
        let mut low = 0;
        while self.get(1)? == 0 {
            low += 1;
            if low > 31 {
                return None;
            }
        }
        Some(((1 << low) - 1) + self.get(low)?)
    }

    /// The bytes after the one that was read last, if the bits up to its end are zero.
    pub(crate) fn finish(self) -> Option<&'a [u8]> {
        debug_assert!(self.count < 8);
        (self.pending == 0).then(|| &self.bytes[self.position..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_exp_golomb_codes_survive() {
        let values = [0, 1, 2, 7, 255, 65535, (1 << 31) - 2];
        let mut bytes = Vec::new();
        let mut writer = BitWriter::new(&mut bytes);
        for value in values {
            writer.put_exp_golomb(value);
            writer.put(value & 0x7f, 7);
        }
        writer.finish();
        let mut reader = BitReader::new(&bytes);
        for value in values {
            assert_eq!(reader.get_exp_golomb(), Some(value));
            assert_eq!(reader.get(7), Some(value & 0x7f));
        }
        assert_eq!(reader.finish(), Some(&[][..]));
    }
}
