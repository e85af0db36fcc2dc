use split_tensor::{DecodeError, Frame};

use super::contract::Contract;

/// Why a body isn't a frame of its contract and rung.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes are no frame.
    #[error("unreadable frame: {0}")]
    Unreadable(#[from] DecodeError),
    /// The frame is of another bank.
    #[error("frame of bank {found:08x}, split `{split}` has bank {expected:08x}")]
    OtherBank {
        /// Name of the split point.
        split: String,
        /// Bank found.
        found: u32,
        /// Bank of the contract.
        expected: u32,
    },
    /// The frame is of another rung than its message says.
    #[error("frame of rung {found} of split `{split}`, sent as rung {expected}")]
    OtherRung {
        /// Name of the split point.
        split: String,
        /// Rung found.
        found: u16,
        /// Rung that the message named.
        expected: u16,
    },
    /// Bytes follow the frame.
    #[error("{found} bytes after the frame")]
    TrailingBytes {
        /// How many.
        found: usize,
    },
}

impl Contract {
    /// Reads a body as a frame of this contract's bank and of `rung`.
    ///
    /// # Errors
    /// [`FrameError`] naming what the frame is of, where it isn't.
    pub fn open_frame(&self, rung: u16, body: &[u8]) -> Result<Frame, FrameError> {
        let (frame, rest) = Frame::parse(body)?;
        let header = frame.header();
        if header.bank != self.bank {
            return Err(FrameError::OtherBank {
                split: self.split.clone(),
                found: header.bank,
                expected: self.bank,
            });
        }
        if header.rung != rung {
            return Err(FrameError::OtherRung {
                split: self.split.clone(),
                found: header.rung,
                expected: rung,
            });
        }
        if !rest.is_empty() {
            let found = rest.len();
            return Err(FrameError::TrailingBytes { found });
        }
        Ok(frame)
    }
}
