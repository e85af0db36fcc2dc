//! Quantizers, entropy coders and frames for small activation tensors.
//!
//! ```text
//! Latent --Quantizer--> Symbols --TableSet--> payload --Frame--> bytes
//!  f32                   i32      integer      rANS     header, checksum
//! ```
//! Floats end at [`Quantizer`]: the same [`Symbols`] and the same [`TableSet`] give the same
//! bytes on every machine.
//!
//! Which type to pick:
//!
//! | you have | take |
//! |---|---|
//! | one latent for each picture, a link that delivers or fails | [`Codec`]: quantizer, tables and frame of one rung; refuses frames that were not made for it |
//! | several tensors at once, a link that stops early or loses packets, a file | [`BundleCodec`] with a [`TensorPlan`] for each tensor; [`Gathering`] and [`FileReader`] on the other side |
//! | symbols, and a frame of your own | [`TableSet`]; [`TableSet::encode_adapting`] where the tables may not fit |
//! | training symbols | [`TableSet::fit`], which measures what neighbours are worth; [`FrequencyCount`] for plain counts |
//! | time to spare and bytes to save | [`FitConfig::mixing`]: predictions that learn as they go, 9 to 16 % smaller than contexts on raw activations and 7 to 10 % on trained latents, at about 7 million symbols a second |
//! | a stream of bytes | [`FrameReader`], in chunks of any size, with or without a copy |
//! | an activation and no training | [`Quantizer::fit_clipped`] or [`Quantizer::affine`] over a [`ValueRange`] |
//! | the coder of the paper to compare with | [`Huffman`] |
//!
//! Contexts decode at twice the speed of constriction's order 0 with AVX-512 and 16 lanes, at half of
//! it over one lane, the default of small payloads; `docs/decisions/0007` has every path.
//!
//! Buffers can be kept: the calls ending in `_reusing` and `_into` allocate nothing once a
//! [`Scratch`] or [`BundleScratch`] has grown. Bytes from outside never make a decoder panic,
//! loop or allocate beyond the `MAX_*` constants. The core needs `alloc` only (switch the
//! feature `std` off: vector paths go with it); the feature `burn` adds conversions from and to
//! Burn's `TensorData`. Byte layout of everything: `docs/format.md`.
//!
//! ```
//! use split_tensor::{Codec, FreqTable, Latent, LatentShape, Quantizer, TableSet};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let shape = LatentShape::new(2, 1, 3)?;
//! let tables = TableSet::shared(FreqTable::from_counts(0, &[70, 20, 8, 2])?);
//! let codec = Codec::new(Quantizer::uniform(0.5)?, tables, shape, 3, 0xfeed_beef)?;
//!
//! let latent = Latent::new(shape, vec![0.1, 0.0, 0.6, 1.1, 9.0, 0.0])?;
//! let frame = codec.encode(&latent)?;
//! assert_eq!(codec.decode(&frame)?.values(), [0.0, 0.0, 0.5, 1.0, 9.0, 0.0]);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod bits;
mod bundle;
mod codec;
mod coder;
mod count;
mod error;
mod frame;
mod latent;
mod limits;
mod math;
mod quantize;
mod reader;
mod simd;
mod symbols;
mod table;
#[cfg(feature = "burn")]
mod tensor_data;
mod varint;

pub use bundle::{BundleCodec, BundleScratch, FileReader, Gathering, Received, TensorPlan};
pub use codec::Codec;
pub use coder::huffman::{Huffman, HuffmanError};
pub use coder::payload::Scratch;
pub use count::FrequencyCount;
pub use error::{
    DecodeError, EncodeError, PlanError, QuantizeError, QuantizerError, ShapeError, TableError,
};
pub use frame::{
    BundleRef, Checksums, Frame, FrameHeader, FrameRef, PacketRef, SegmentRef, SingleRef,
};
pub use latent::{Latent, LatentShape};
pub use limits::{
    MAX_ALPHABET, MAX_CHANNELS, MAX_FILE_FRAMES, MAX_FILE_HEAD_BYTES, MAX_FRAME_BYTES, MAX_LEVELS,
    MAX_OWN_TABLES, MAX_PAYLOAD_BYTES, MAX_SEGMENTS, MAX_SYMBOL, MAX_SYMBOLS, MAX_TABLES,
    MAX_TENSORS,
};
pub use quantize::{LevelFit, Quantizer, ValueRange};
pub use reader::FrameReader;
pub use simd::CoderPath;
pub use symbols::Symbols;
pub use table::{FitCandidate, FitConfig, FreqTable, Lanes, TableSet};
#[cfg(feature = "burn")]
pub use tensor_data::TensorDataError;
