use split_tensor::{DecodeError, Frame};

use super::contract::Contract;
use super::edge::EdgeConfig;
use super::message::Status;

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

/// Refuses what isn't in the contract or too long, by name.
pub(crate) fn check_bounds(
    config: &EdgeConfig,
    contract: &Contract,
    rung: u16,
    body: &[u8],
) -> Result<(), (Status, String)> {
    if rung >= contract.rungs {
        let (name, rungs) = (&contract.split, contract.rungs);
        let detail = format!("rung {rung} of split `{name}`, which has {rungs}");
        return Err((Status::UnknownRung, detail));
    }
    let (found, allowed) = (body.len(), config.frame_bytes_max);
    if found > allowed {
        let detail = format!("frame of {found} bytes, at most {allowed} are allowed");
        return Err((Status::FrameTooLong, detail));
    }
    Ok(())
}

/// Refuses a frame without time, and one that isn't of its contract and rung.
pub(crate) fn check_body(
    config: &EdgeConfig,
    contract: &Contract,
    rung: u16,
    budget_us: u32,
    body: &[u8],
) -> Result<(), (Status, String)> {
    if budget_us == 0 {
        return Err((Status::Expired, String::new()));
    }
    if config.check_frames {
        let opened = contract.open_frame(rung, body);
        opened.map_err(|error| (Status::BadFrame, error.to_string()))?;
    }
    Ok(())
}

/// The bank that a frame names, if it is a frame.
#[cfg(feature = "grpc")]
pub(crate) fn bank_of(body: &[u8]) -> Option<u32> {
    let (frame, _) = Frame::parse(body).ok()?;
    Some(frame.header().bank)
}

/// The rung that a frame names.
pub(crate) fn rung_of(body: &[u8]) -> Result<u16, (Status, String)> {
    let (frame, _) = Frame::parse(body)
        .map_err(|error| (Status::BadFrame, FrameError::Unreadable(error).to_string()))?;
    Ok(frame.header().rung)
}
