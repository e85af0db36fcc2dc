//! The wire format of protocol buffers, read in place.

use thiserror::Error;

/// Bytes that are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(in crate::weights) enum WireError {
    #[error("it ends inside a field")]
    Short,
    #[error("a number in it has more than ten bytes")]
    LongNumber,
    #[error("a field in it has the unknown wire type {0}")]
    Type(u64),
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// Numbers and values of a message's fields, in the order in which they lie; ends after an error.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), WireError> {
        let key = varint(&mut self.rest)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => Value::Fixed64(self.fixed()?),
            2 => {
                let length = varint(&mut self.rest)?;
                let length = usize::try_from(length).map_err(|_| WireError::Short)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireError::Short)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(self.fixed()?),
            other => return Err(WireError::Type(other)),
        };
        Ok((key >> 3, value))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The numbers of a packed field; ends after an error.
pub(super) fn varints(packed: &[u8]) -> impl Iterator<Item = Result<u64, WireError>> {
    let mut rest = packed;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let number = varint(&mut rest);
        if number.is_err() {
            rest = &[];
        }
        Some(number)
    })
}

/// Seven bits a byte, the least first.
fn varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut number = 0;
    for place in 0..10 {
        let (&byte, after) = rest.split_first().ok_or(WireError::Short)?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(WireError::LongNumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_as_they_lie() {
        let message = [
            0x08, 0x96, 0x01, // field 1: 150
            0x12, 0x02, b'o', b'k', // field 2
            0x1d, 1, 2, 3, 4, // field 3: four bytes
            0x21, 1, 2, 3, 4, 5, 6, 7, 8, // field 4: eight bytes
        ];
        let fields: Result<Vec<_>, _> = Fields::of(&message).collect();
        assert_eq!(
            fields.unwrap(),
            [
                (1, Value::Varint(150)),
                (2, Value::Bytes(b"ok")),
                (3, Value::Fixed32([1, 2, 3, 4])),
                (4, Value::Fixed64([1, 2, 3, 4, 5, 6, 7, 8])),
            ]
        );
    }

    #[test]
    fn what_is_no_message_ends_with_an_error() {
        for (message, error) in [
            (&[0x08][..], WireError::Short),
            (&[0x12, 0x05, 0x00], WireError::Short),
            (&[0x1d, 0, 0], WireError::Short),
            (&[0x0b, 0x00], WireError::Type(3)),
            (&[0xff; 11], WireError::LongNumber),
        ] {
            let fields: Vec<_> = Fields::of(message).collect();
            assert_eq!(fields, [Err(error)]);
        }
        let numbers: Vec<_> = varints(&[0x01, 0x80]).collect();
        assert_eq!(numbers, [Ok(1), Err(WireError::Short)]);
    }
}
