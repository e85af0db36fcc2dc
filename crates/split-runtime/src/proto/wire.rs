//! Fields of messages: varints in shortest form, fixed digests, bounded text.

use super::error::MessageError;

/// Appends a number, seven bits a byte, low bits first.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

fn low_byte(value: u32) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// What a varint at the start of some bytes holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Varint {
    /// A number and how many bytes it took.
    Value(u32, usize),
    /// All bytes so far ask for another.
    Unfinished,
    /// Too long, too large, or not in shortest form.
    Invalid,
}

pub(crate) fn read_varint(bytes: &[u8]) -> Varint {
    let mut value = 0_u32;
    for (index, &byte) in bytes.iter().enumerate().take(5) {
        let part = u32::from(byte & 0x7f);
        if index == 4 && part > 0x0f {
            return Varint::Invalid;
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            // A last byte of zero could be left out: two forms of one number are one too many.
            if byte == 0 && index > 0 {
                return Varint::Invalid;
            }
            return Varint::Value(value, index + 1);
        }
    }
    if bytes.len() >= 5 {
        return Varint::Invalid;
    }
    Varint::Unfinished
}

/// Reads fields from the front of a message.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn bytes(
        &mut self,
        count: usize,
        field: &'static str,
    ) -> Result<&'a [u8], MessageError> {
        if count > self.rest.len() {
            return Err(MessageError::Truncated { field });
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self, field: &'static str) -> Result<u8, MessageError> {
        Ok(self.bytes(1, field)?[0])
    }

    pub(crate) fn digest(&mut self, field: &'static str) -> Result<u64, MessageError> {
        let mut digest = [0; 8];
        digest.copy_from_slice(self.bytes(8, field)?);
        Ok(u64::from_le_bytes(digest))
    }

    pub(crate) fn number(&mut self, field: &'static str) -> Result<u32, MessageError> {
        match read_varint(self.rest) {
            Varint::Value(value, used) => {
                self.rest = &self.rest[used..];
                Ok(value)
            }
            Varint::Unfinished => Err(MessageError::Truncated { field }),
            Varint::Invalid => Err(MessageError::BadNumber { field }),
        }
    }

    pub(crate) fn number_u16(&mut self, field: &'static str) -> Result<u16, MessageError> {
        let value = self.number(field)?;
        u16::try_from(value).map_err(|_| MessageError::BadNumber { field })
    }

    /// A count or length, checked against its bound before anything is reserved for it.
    pub(crate) fn count(
        &mut self,
        field: &'static str,
        allowed: usize,
    ) -> Result<usize, MessageError> {
        let value = self.number(field)?;
        let found = usize::try_from(value).map_err(|_| MessageError::BadNumber { field })?;
        if found > allowed {
            return Err(MessageError::AboveBound {
                field,
                found,
                allowed,
            });
        }
        Ok(found)
    }

    pub(crate) fn text(
        &mut self,
        field: &'static str,
        allowed: usize,
    ) -> Result<String, MessageError> {
        let length = self.count(field, allowed)?;
        let bytes = self.bytes(length, field)?;
        let text = str::from_utf8(bytes).map_err(|_| MessageError::NotUtf8 { field })?;
        Ok(text.to_owned())
    }

    /// All that is left; for the body at the end of a message.
    pub(crate) fn remainder(self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn finish(self) -> Result<(), MessageError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(MessageError::TrailingBytes {
            found: self.rest.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back_and_take_the_fewest_bytes() {
        let cases = [
            (0, 1),
            (127, 1),
            (128, 2),
            (16_383, 2),
            (16_384, 3),
            (u32::MAX, 5),
        ];
        for (value, length) in cases {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), length);
            assert_eq!(read_varint(&out), Varint::Value(value, length));
            assert_eq!(read_varint(&out[..length - 1]), Varint::Unfinished);
        }
    }

    #[test]
    fn varints_that_are_long_or_padded_are_refused() {
        assert_eq!(read_varint(&[0x80, 0x00]), Varint::Invalid);
        assert_eq!(
            read_varint(&[0xff, 0xff, 0xff, 0xff, 0x1f]),
            Varint::Invalid
        );
        assert_eq!(read_varint(&[0x80; 5]), Varint::Invalid);
    }
}
