//! A segment that travels alone, kind 3.
//!
//! | bytes | content |
//! |---|---|
//! | 1 | bits 7-6: kind, 3; bit 5: checksum follows; bit 4: 0; bits 3-0: descriptor |
//! | 4, 1-3 | bank, rung, as in kind 1 |
//! | 1-3 | group: which latents the segment belongs to, a number up to 65535 |
//! | 1-2 | segment, from 0 |
//! | 1-4 | length of the body |
//! | n, 4 | body, checksum of all bytes before |

use alloc::vec::Vec;

use super::HAS_CHECKSUM;
use super::cursor::{Cursor, checksum};
use crate::error::DecodeError;
use crate::limits::{MAX_PAYLOAD_BYTES, MAX_SEGMENTS, small_u32};
use crate::varint;

/// The kind of a segment that travels alone.
pub(crate) const KIND: u8 = 3;
const RESERVED: u8 = 1 << 4;
const DESCRIPTOR: u8 = 0x0f;

/// One segment inside the bytes of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketRef<'a> {
    /// Which rung made the payload.
    pub rung: u16,
    /// Low 32 bits of the bank's digest.
    pub bank: u32,
    /// Which latents the segment belongs to; the sender counts them, round and round.
    pub group: u16,
    /// Its place among the segments, from 0.
    pub segment: usize,
    /// Whether the packet ends with a CRC-32C.
    pub checksum: bool,
    /// How the body is coded.
    pub(crate) descriptor: u8,
    /// Its bytes.
    pub body: &'a [u8],
}

impl<'a> PacketRef<'a> {
    /// Takes one packet off the front of `bytes` and gives what follows it.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] where bytes are missing, any other [`DecodeError`] where
    /// they can never become a packet.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let first = cursor.take(1)?[0];
        if first >> 6 != KIND {
            return Err(DecodeError::UnknownKind {
                found: first >> 6,
                allowed: KIND,
            });
        }
        if first & RESERVED != 0 {
            return Err(DecodeError::ReservedBits { found: first });
        }
        let (bank, rung) = cursor.take_bank_and_rung()?;
        let group = cursor.take_u16("group")?;
        let segment = cursor.number("segment", MAX_SEGMENTS - 1)?;
        let length = cursor.number("payload length", MAX_PAYLOAD_BYTES)?;
        let body = cursor.take(length)?;
        let checksum = first & HAS_CHECKSUM != 0;
        if checksum {
            cursor.take_checksum(&[cursor.before()])?;
        }
        let found = Self {
            rung,
            bank,
            group,
            segment,
            checksum,
            descriptor: first & DESCRIPTOR,
            body,
        };
        Ok((found, cursor.rest))
    }

    /// Appends the packet's bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        let flag = if self.checksum { HAS_CHECKSUM } else { 0 };
        out.push((KIND << 6) | flag | self.descriptor);
        out.extend_from_slice(&self.bank.to_le_bytes());
        varint::write(out, u32::from(self.rung));
        varint::write(out, u32::from(self.group));
        varint::write(out, small_u32(self.segment));
        varint::write(out, small_u32(self.body.len()));
        out.extend_from_slice(self.body);
        if self.checksum {
            let sum = checksum(&[&out[begin..]]);
            out.extend_from_slice(&sum.to_le_bytes());
        }
    }
}
