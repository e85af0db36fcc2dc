//! Frames with several segments, kind 2.
//!
//! | bytes | content |
//! |---|---|
//! | 1 | bits 7-6: kind, 2; bits 5-4: checksums, 0 none, 1 one at the end, 2 one behind each body; bit 3: a part; bits 2-0: 0 |
//! | 4, 1-3 | bank, rung, as in kind 1 |
//! | 2-8 | only of a part: rows and columns that are there, in cells of the smallest tensor |
//! | 1-2 | number of segments, at least 1 |
//! | 2-5 each | descriptor (one byte), length of the body (a number) |
//! | n | bodies; a checksum behind a body covers the header and that body |
//! | 4 | with one checksum: of all bytes before |

use alloc::vec::Vec;

use super::cursor::{Cursor, checksum};
use crate::error::DecodeError;
use crate::limits::{MAX_PAYLOAD_BYTES, MAX_SEGMENTS, MAX_SYMBOLS, small_u32};
use crate::varint;

/// The kind of a frame with several segments.
pub(crate) const KIND: u8 = 2;
const CHECKSUMS_SHIFT: u8 = 4;
const PART: u8 = 0x08;
const RESERVED: u8 = 0x07;
const MAX_DESCRIPTOR: u8 = 15;

/// What a frame with several segments is checked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    /// Nothing: for links that check their bytes already.
    None = 0,
    /// One CRC-32C at the end: a whole frame is right or refused, a cut one always refused.
    #[default]
    Frame = 1,
    /// One CRC-32C for each segment: damage and cuts cost the segments they hit.
    Segment = 2,
}

/// A frame with several segments inside the bytes that it was read from, which may end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleRef<'a> {
    rung: u16,
    bank: u32,
    checksums: Checksums,
    part: Option<[usize; 2]>,
    header: &'a [u8],
    count: usize,
    /// Descriptors and lengths.
    index: &'a [u8],
    bodies: &'a [u8],
}

/// One segment of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRef<'a> {
    /// Its place in the frame, from 0.
    pub index: usize,
    /// How its body is coded.
    pub(crate) descriptor: u8,
    /// Its bytes, descriptor and checksum excluded.
    pub body: &'a [u8],
    /// False where its own checksum does not match.
    pub intact: bool,
}

impl<'a> BundleRef<'a> {
    /// Takes one whole frame off the front of `bytes` and gives what follows it.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] where bytes are missing, any other [`DecodeError`] where
    /// they can never become such a frame. Checksums of single segments are left to
    /// [`Self::segments`].
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let (mut found, total) = Self::parse_header(bytes)?;
        let mut cursor = Cursor::new(bytes);
        cursor.take(found.header.len())?;
        found.bodies = cursor.take(total)?;
        if found.checksums == Checksums::Frame {
            cursor.take_checksum(&[cursor.before()])?;
        }
        Ok((found, cursor.rest))
    }

    /// As [`Self::parse`], for the beginning of a frame: the segments that are there whole.
    ///
    /// # Errors
    /// As [`Self::parse`], but [`DecodeError::Truncated`] only where the header is cut, or
    /// anything behind it where one checksum at the end vouches for all;
    /// [`DecodeError::TrailingBytes`] for bytes after the end.
    pub fn parse_prefix(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match Self::parse(bytes) {
            Ok((found, [])) => Ok(found),
            Ok((_, rest)) => Err(DecodeError::TrailingBytes { found: rest.len() }),
            Err(fault @ DecodeError::Truncated { .. }) => {
                let (mut found, total) = Self::parse_header(bytes)?;
                if found.checksums == Checksums::Frame {
                    return Err(fault);
                }
                let bodies = &bytes[found.header.len()..];
                found.bodies = &bodies[..bodies.len().min(total)];
                Ok(found)
            }
            Err(other) => Err(other),
        }
    }

    /// Which rung made the payloads.
    #[must_use]
    pub fn rung(&self) -> u16 {
        self.rung
    }

    /// Low 32 bits of the bank's digest.
    #[must_use]
    pub fn bank(&self) -> u32 {
        self.bank
    }

    /// What the frame is checked by.
    #[must_use]
    pub fn checksums(&self) -> Checksums {
        self.checksums
    }

    /// Rows and columns that the frame carries of every tensor, counted in cells of the smallest one; `None`
    /// for all of them.
    #[must_use]
    pub fn part(&self) -> Option<[usize; 2]> {
        self.part
    }

    /// Segments that the frame announces.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.count
    }

    /// The segments that are there whole, in order.
    pub fn segments(&self) -> impl Iterator<Item = SegmentRef<'a>> + use<'a> {
        let Self {
            checksums,
            header,
            count,
            index: mut entries,
            mut bodies,
            ..
        } = *self;
        (0..count).map_while(move |index| {
            let (descriptor, length) = read_entry(&mut entries).ok()?;
            let (body, rest) = bodies.split_at_checked(length)?;
            bodies = rest;
            let mut intact = true;
            if checksums == Checksums::Segment {
                let mut cursor = Cursor::new(bodies);
                let found = cursor.take_u32().ok()?;
                intact = found == checksum(&[header, body]);
                bodies = cursor.rest;
            }
            Some(SegmentRef {
                index,
                descriptor,
                body,
                intact,
            })
        })
    }

    /// The header, and the bytes of all bodies with their own checksums.
    fn parse_header(bytes: &'a [u8]) -> Result<(Self, usize), DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let first = cursor.take(1)?[0];
        if first >> 6 != KIND {
            return Err(DecodeError::UnknownKind {
                found: first >> 6,
                allowed: KIND,
            });
        }
        let checksums = match (first >> CHECKSUMS_SHIFT) & 3 {
            _ if first & RESERVED != 0 => None,
            0 => Some(Checksums::None),
            1 => Some(Checksums::Frame),
            2 => Some(Checksums::Segment),
            _ => None,
        };
        let checksums = checksums.ok_or(DecodeError::ReservedBits { found: first })?;
        let (bank, rung) = cursor.take_bank_and_rung()?;
        let part = if first & PART == 0 {
            None
        } else {
            Some([
                side(&mut cursor, "row count")?,
                side(&mut cursor, "column count")?,
            ])
        };
        let count = cursor.number("segment count", MAX_SEGMENTS)?;
        if count == 0 {
            return Err(DecodeError::BadNumber {
                what: "segment count",
                allowed: small_u32(MAX_SEGMENTS),
            });
        }
        let begin = cursor.before().len();
        let mut total = 0;
        for _ in 0..count {
            let descriptor = cursor.take(1)?[0];
            if descriptor > MAX_DESCRIPTOR {
                return Err(DecodeError::UnknownDescriptor { found: descriptor });
            }
            total += cursor.number("segment length", MAX_PAYLOAD_BYTES - total)?;
        }
        if checksums == Checksums::Segment {
            total += 4 * count;
        }
        let header = cursor.before();
        let found = Self {
            rung,
            bank,
            checksums,
            part,
            header,
            count,
            index: &header[begin..],
            bodies: &[],
        };
        Ok((found, total))
    }
}

/// Rows or columns of a part, at least one.
fn side(cursor: &mut Cursor<'_>, what: &'static str) -> Result<usize, DecodeError> {
    match cursor.number(what, MAX_SYMBOLS)? {
        0 => Err(DecodeError::BadNumber {
            what,
            allowed: small_u32(MAX_SYMBOLS),
        }),
        number => Ok(number),
    }
}

/// One entry of an index that was read before.
fn read_entry(entries: &mut &[u8]) -> Result<(u8, usize), DecodeError> {
    let mut cursor = Cursor::new(entries);
    let descriptor = cursor.take(1)?[0];
    let length = cursor.number("segment length", MAX_PAYLOAD_BYTES)?;
    *entries = cursor.rest;
    Ok((descriptor, length))
}

/// Appends a frame of payloads that lie one after the other in `payloads`, each with its
/// descriptor first and `ends` where it ends.
pub(crate) fn write(
    (rung, bank): (u16, u32),
    part: Option<[usize; 2]>,
    checksums: Checksums,
    payloads: &[u8],
    ends: &[usize],
    out: &mut Vec<u8>,
) {
    let begin = out.len();
    let flag = if part.is_some() { PART } else { 0 };
    out.push((KIND << 6) | ((checksums as u8) << CHECKSUMS_SHIFT) | flag);
    out.extend_from_slice(&bank.to_le_bytes());
    varint::write(out, u32::from(rung));
    for side in part.into_iter().flatten() {
        varint::write(out, small_u32(side));
    }
    varint::write(out, small_u32(ends.len()));
    let pieces = || {
        let begins = [0].into_iter().chain(ends.iter().copied());
        let payload = |(begin, &end): (usize, &usize)| &payloads[begin..end];
        begins.zip(ends).map(payload)
    };
    for payload in pieces() {
        out.push(payload[0]);
        varint::write(out, small_u32(payload.len() - 1));
    }
    let bodies = out.len();
    for payload in pieces() {
        let body = &payload[1..];
        out.extend_from_slice(body);
        if checksums == Checksums::Segment {
            let sum = checksum(&[&out[begin..bodies], body]);
            out.extend_from_slice(&sum.to_le_bytes());
        }
    }
    if checksums == Checksums::Frame {
        let sum = checksum(&[&out[begin..]]);
        out.extend_from_slice(&sum.to_le_bytes());
    }
}
