//! Frames of any kind, without a copy.

use super::bundle::{self, BundleRef};
use super::packet::{self, PacketRef};
use super::{FrameHeader, KIND, parse_frame};
use crate::error::DecodeError;

/// A frame with one tensor inside the bytes that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SingleRef<'a> {
    /// The header.
    pub header: FrameHeader,
    /// How the body is coded.
    pub(crate) descriptor: u8,
    /// The payload without its descriptor.
    pub body: &'a [u8],
}

/// A frame of any kind inside the bytes that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameRef<'a> {
    /// One tensor; see [`crate::Codec::decode_ref`].
    Single(SingleRef<'a>),
    /// Several segments; see [`crate::BundleCodec::decode_ref`].
    Bundle(BundleRef<'a>),
    /// One segment alone; see [`crate::Gathering::add`].
    Packet(PacketRef<'a>),
}

impl<'a> FrameRef<'a> {
    /// Takes one frame off the front of `bytes` and gives what follows it.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] where bytes are missing, any other [`DecodeError`] where
    /// they can never become a frame.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        match bytes.first().map(|first| first >> 6) {
            Some(bundle::KIND) => {
                let (found, rest) = BundleRef::parse(bytes)?;
                Ok((Self::Bundle(found), rest))
            }
            Some(packet::KIND) => {
                let (found, rest) = PacketRef::parse(bytes)?;
                Ok((Self::Packet(found), rest))
            }
            // Kind 1, and every kind that is unknown.
            _ => {
                let (header, payload, rest) = parse_frame(bytes)?;
                let found = SingleRef {
                    header,
                    descriptor: payload.descriptor,
                    body: payload.body,
                };
                debug_assert_eq!(bytes[0] >> 6, KIND);
                Ok((Self::Single(found), rest))
            }
        }
    }

    /// Which rung made the frame.
    #[must_use]
    pub fn rung(&self) -> u16 {
        match self {
            Self::Single(found) => found.header.rung,
            Self::Bundle(found) => found.rung(),
            Self::Packet(found) => found.rung,
        }
    }

    /// Bytes of its coded symbols, all segments together.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        match self {
            Self::Single(found) => found.body.len(),
            Self::Bundle(found) => found.segments().map(|segment| segment.body.len()).sum(),
            Self::Packet(found) => found.body.len(),
        }
    }

    /// Low 32 bits of the bank's digest.
    #[must_use]
    pub fn bank(&self) -> u32 {
        match self {
            Self::Single(found) => found.header.bank,
            Self::Bundle(found) => found.bank(),
            Self::Packet(found) => found.bank,
        }
    }
}
