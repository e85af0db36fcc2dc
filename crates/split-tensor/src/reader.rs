//! Frames out of a byte stream.

use alloc::vec::Vec;

use crate::error::DecodeError;
use crate::frame::{Frame, FrameRef};
use crate::limits::MAX_FRAME_BYTES;

/// Cuts frames out of a stream that arrives in chunks of any size.
///
/// It never holds more than the chunk pushed last plus one unfinished frame.
///
/// ```
/// # use split_tensor::{Frame, FrameHeader, FrameReader};
/// # let header = FrameHeader { rung: 1, bank: 2, shape: None, checksum: true };
/// # let frame = Frame::new(header, vec![0, 5]).unwrap();
/// let mut reader = FrameReader::new();
/// for byte in frame.to_bytes() {
///     assert_eq!(reader.next_frame(), Ok(None));
///     reader.push(&[byte]);
/// }
/// assert_eq!(reader.next_frame(), Ok(Some(frame)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were handed out.
    used: usize,
    /// Bytes that the frame at `used` needs before it is worth another look.
    needed: usize,
}

impl FrameReader {
    /// A reader at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes of the stream. Take all frames out before the next call.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame with one tensor, or `None` where more bytes are needed. Streams
    /// with other frames are read with [`Self::next_ref`].
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes cannot be such a frame. The stream has lost its step then,
    /// and every further call says the same.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        let bytes = &self.buffer[self.used..];
        if bytes.len() < self.needed || bytes.is_empty() {
            return Ok(None);
        }
        match Frame::parse(bytes) {
            Ok((frame, rest)) => {
                self.used = self.buffer.len() - rest.len();
                self.needed = 0;
                Ok(Some(frame))
            }
            Err(DecodeError::Truncated { needed, .. }) => {
                debug_assert!(needed <= MAX_FRAME_BYTES);
                self.needed = needed;
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// The next whole frame of any kind, without a copy: it lives in the reader's buffer until
    /// the next call.
    ///
    /// # Errors
    /// As [`Self::next_frame`].
    pub fn next_ref(&mut self) -> Result<Option<FrameRef<'_>>, DecodeError> {
        let bytes = &self.buffer[self.used..];
        if bytes.len() < self.needed || bytes.is_empty() {
            return Ok(None);
        }
        match FrameRef::parse(bytes) {
            Ok((frame, rest)) => {
                self.used = self.buffer.len() - rest.len();
                self.needed = 0;
                Ok(Some(frame))
            }
            Err(DecodeError::Truncated { needed, .. }) => {
                debug_assert!(needed <= MAX_FRAME_BYTES);
                self.needed = needed;
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// What is there of the frame that is not whole yet, for
    /// [`crate::BundleCodec::decode_partial`].
    #[must_use]
    pub fn unfinished(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    /// Bytes that wait for the rest of their frame.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.used
    }
}
