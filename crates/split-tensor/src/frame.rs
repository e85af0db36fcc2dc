//! Frames: a header of seven bytes in the common case, the payload, a checksum. Frames with
//! several segments are in `bundle`, segments that travel alone in `packet`.
//!
//! | bytes | content |
//! |---|---|
//! | 1 | bits 7-6: kind, 1; bit 5: checksum follows; bit 4: shape follows; bits 3-0: descriptor of the payload |
//! | 4 | bank: low 32 bits of its digest, lowest byte first |
//! | 1-3 | rung |
//! | 3-12 | only with bit 4: channels, height, width |
//! | 1-4 | bytes of the payload's body |
//! | n | body |
//! | 4 | only with bit 5: CRC-32C of all bytes before, lowest byte first |
//!
//! Rung, sides and length are variable-length numbers: seven bits a byte, lowest first.

mod any;
pub(crate) mod bundle;
pub(crate) mod cursor;
pub(crate) mod packet;

use alloc::vec::Vec;

use crate::error::{DecodeError, EncodeError};
use crate::latent::LatentShape;
use crate::limits::MAX_PAYLOAD_BYTES;
use crate::varint;

use cursor::Cursor;

pub use any::{FrameRef, SingleRef};
pub use bundle::{BundleRef, Checksums, SegmentRef};
pub use packet::PacketRef;

/// The kind of a frame with one tensor, in the two top bits of its first byte.
pub(crate) const KIND: u8 = 1;
/// In frames with one tensor and in packets.
const HAS_CHECKSUM: u8 = 1 << 5;
const HAS_SHAPE: u8 = 1 << 4;
const DESCRIPTOR: u8 = 0x0f;

/// What a frame says about its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Which rung of the bank made the payload.
    pub rung: u16,
    /// Low 32 bits of the bank's digest.
    pub bank: u32,
    /// Shape of the latent; `None` where the rung implies it.
    pub shape: Option<LatentShape>,
    /// Whether the frame ends with a CRC-32C.
    pub checksum: bool,
}

/// A header and a payload as [`crate::TableSet::encode_into`] writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    header: FrameHeader,
    payload: Vec<u8>,
}

impl Frame {
    /// Pairs a header with a payload.
    ///
    /// # Errors
    /// [`EncodeError::PayloadTooLong`] beyond [`MAX_PAYLOAD_BYTES`].
    ///
    /// # Panics
    /// Where `payload` does not begin with a descriptor, which every payload of a
    /// [`crate::TableSet`] does.
    pub fn new(header: FrameHeader, payload: Vec<u8>) -> Result<Self, EncodeError> {
        let descriptor = payload.first().copied().unwrap_or(u8::MAX);
        assert!(
            descriptor <= DESCRIPTOR,
            "a payload begins with its descriptor"
        );
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(EncodeError::PayloadTooLong {
                found: payload.len(),
                allowed: MAX_PAYLOAD_BYTES,
            });
        }
        Ok(Self { header, payload })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// The payload, its descriptor first.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Bytes that the payload takes in the frame; its descriptor is part of the header.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload.len() - 1
    }

    /// The frame as it goes on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + 32);
        write_frame(&self.header, &self.payload, &mut out);
        out
    }

    /// Takes one frame off the front of `bytes` and gives what follows it.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] where bytes are missing, any other [`DecodeError`] where
    /// they can never become a frame.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let (header, payload, rest) = parse_frame(bytes)?;
        let mut owned = Vec::with_capacity(payload.body.len() + 1);
        owned.push(payload.descriptor);
        owned.extend_from_slice(payload.body);
        Ok((
            Self {
                header,
                payload: owned,
            },
            rest,
        ))
    }
}

/// A payload inside the bytes of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PayloadRef<'a> {
    pub(crate) descriptor: u8,
    pub(crate) body: &'a [u8],
}

/// Appends the wire form of a frame whose payload is within its limit.
pub(crate) fn write_frame(header: &FrameHeader, payload: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    let (descriptor, body) = payload
        .split_first()
        .expect("a payload begins with its descriptor");
    let mut first = (KIND << 6) | descriptor;
    first |= if header.checksum { HAS_CHECKSUM } else { 0 };
    first |= if header.shape.is_some() { HAS_SHAPE } else { 0 };
    out.push(first);
    out.extend_from_slice(&header.bank.to_le_bytes());
    varint::write(out, u32::from(header.rung));
    if let Some(shape) = header.shape {
        for side in shape.sides() {
            varint::write(out, side);
        }
    }
    varint::write(
        out,
        u32::try_from(body.len()).expect("within MAX_PAYLOAD_BYTES"),
    );
    out.extend_from_slice(body);
    if header.checksum {
        let sum = crc32c::crc32c(&out[begin..]);
        out.extend_from_slice(&sum.to_le_bytes());
    }
}

/// Reads a frame without copying its payload.
pub(crate) fn parse_frame(
    bytes: &[u8],
) -> Result<(FrameHeader, PayloadRef<'_>, &[u8]), DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let (header, descriptor, length) = parse_header(&mut cursor)?;
    let body = cursor.take(length)?;
    if header.checksum {
        cursor.take_checksum(&[cursor.before()])?;
    }
    Ok((header, PayloadRef { descriptor, body }, cursor.rest))
}

/// Header, descriptor, body length.
fn parse_header(cursor: &mut Cursor<'_>) -> Result<(FrameHeader, u8, usize), DecodeError> {
    let first = cursor.take(1)?[0];
    if first >> 6 != KIND {
        return Err(DecodeError::UnknownKind {
            found: first >> 6,
            allowed: KIND,
        });
    }
    let (bank, rung) = cursor.take_bank_and_rung()?;
    let mut shape = None;
    if first & HAS_SHAPE != 0 {
        shape = Some(cursor.take_shape()?);
    }
    let length = cursor.number("payload length", MAX_PAYLOAD_BYTES)?;
    let header = FrameHeader {
        rung,
        bank,
        shape,
        checksum: first & HAS_CHECKSUM != 0,
    };
    Ok((header, first & DESCRIPTOR, length))
}
