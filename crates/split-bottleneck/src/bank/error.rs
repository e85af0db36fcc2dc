use split_tensor::{DecodeError, EncodeError, PlanError, ShapeError, TableError};
use thiserror::Error;

use super::MAX_RUNGS;
use crate::error::{ConfigError, StateError};
use crate::store::ArchiveError;

/// Why a bank cannot be made, read or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BankError {
    /// The bytes are no bank.
    #[error("not a bank: {0}")]
    Archive(#[from] ArchiveError),
    /// A rung's configuration does not hold.
    #[error("rung {rung}: {source}")]
    Config {
        /// Name of the rung.
        rung: String,
        /// What is wrong.
        source: ConfigError,
    },
    /// A rung's weights do not fit its configuration.
    #[error("rung {rung}: {source}")]
    State {
        /// Name of the rung.
        rung: String,
        /// What is wrong.
        source: StateError,
    },
    /// A rung's tables do not hold.
    #[error("rung {rung}: {source}")]
    Table {
        /// Name of the rung.
        rung: String,
        /// What is wrong.
        source: TableError,
    },
    /// A rung's segments do not hold.
    #[error("rung {rung}: {source}")]
    Segments {
        /// Name of the rung.
        rung: String,
        /// What is wrong.
        source: PlanError,
    },
    /// The content is not what the bank's digest says.
    #[error("the bank is damaged: its digest is {found:016x}, its manifest says {expected:016x}")]
    Digest {
        /// Digest of the content.
        found: u64,
        /// Digest in the manifest.
        expected: u64,
    },
    /// There is no such rung.
    #[error("the bank has {rungs} rungs, rung {found} was asked for")]
    NoRung {
        /// Index asked for.
        found: usize,
        /// Rungs of the bank.
        rungs: usize,
    },
    /// No rung has this name or place.
    #[error("the bank has no rung {name}; it has {}", known.join(", "))]
    UnknownRung {
        /// Name or place asked for.
        name: String,
        /// Names of all rungs.
        known: Vec<String>,
    },
    /// Too many rungs.
    #[error("{found} rungs are more than the {MAX_RUNGS} a frame can name")]
    TooManyRungs {
        /// Rungs found.
        found: usize,
    },
    /// Rungs that share tensors are small in a file and large in memory.
    #[error("the weights of its rungs are {found} values, more than the {allowed} a bank may hold")]
    TooLarge {
        /// Values of the rungs that were read so far.
        found: u64,
        /// Most values.
        allowed: u64,
    },
}

/// Why an activation or a frame cannot be coded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CodingError {
    /// The activation has another shape than the unit.
    #[error("the activation is {found:?}, the unit was trained for {expected:?}")]
    Activation {
        /// Channels, height, width of the unit.
        expected: [usize; 3],
        /// Channels, height, width found.
        found: [usize; 3],
    },
    /// The latent cannot be held.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The latent cannot be coded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The frame cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}
