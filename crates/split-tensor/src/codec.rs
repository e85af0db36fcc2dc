//! Quantizer, tables and frame of one rung together.

use alloc::vec::Vec;

use crate::error::{DecodeError, EncodeError, TableError};
use crate::frame::{Frame, FrameHeader};
use crate::latent::{Latent, LatentShape};
use crate::quantize::Quantizer;
use crate::symbols::Symbols;
use crate::table::{Lanes, TableSet};

/// Latents to whole frames and back, for one rung of one bank.
#[derive(Debug, Clone)]
pub struct Codec {
    quantizer: Quantizer,
    tables: TableSet,
    shape: LatentShape,
    rung: u16,
    bank: u32,
    lanes: Lanes,
    checksum: bool,
}

impl Codec {
    /// Binds quantizer and tables to a shape, a rung and the low 32 bits of a bank digest.
    ///
    /// # Errors
    /// [`TableError::ChannelMismatch`] where quantizer or tables are for another number of
    /// channels than the shape.
    pub fn new(
        quantizer: Quantizer,
        tables: TableSet,
        shape: LatentShape,
        rung: u16,
        bank: u32,
    ) -> Result<Self, TableError> {
        for found in [quantizer.channels(), tables.channels()]
            .into_iter()
            .flatten()
        {
            if found != shape.channels() {
                return Err(TableError::ChannelMismatch {
                    found,
                    allowed: shape.channels(),
                });
            }
        }
        Ok(Self {
            quantizer,
            tables,
            shape,
            rung,
            bank,
            lanes: Lanes::Small,
            checksum: true,
        })
    }

    /// The same codec with another choice of lanes for encoding.
    #[must_use]
    pub fn with_lanes(self, lanes: Lanes) -> Self {
        Self { lanes, ..self }
    }

    /// The same codec with or without a checksum in the frames it writes, for links that
    /// check their bytes already. Frames of both kinds are read.
    #[must_use]
    pub fn with_checksum(self, checksum: bool) -> Self {
        Self { checksum, ..self }
    }

    /// Quantizes and encodes a latent into one frame.
    ///
    /// # Errors
    /// [`EncodeError`] for another shape or a latent that cannot be quantized.
    pub fn encode(&self, latent: &Latent) -> Result<Vec<u8>, EncodeError> {
        self.encode_symbols(&self.quantizer.quantize(latent)?)
    }

    /// Encodes symbols into one frame.
    ///
    /// # Errors
    /// [`EncodeError::ShapeMismatch`] for another shape.
    pub fn encode_symbols(&self, symbols: &Symbols) -> Result<Vec<u8>, EncodeError> {
        if symbols.shape() != self.shape {
            return Err(EncodeError::ShapeMismatch {
                found: symbols.shape(),
                allowed: self.shape,
            });
        }
        let mut payload = Vec::new();
        self.tables.encode_with(symbols, self.lanes, &mut payload)?;
        Ok(Frame::new(self.header(), payload)?.to_bytes())
    }

    /// Decodes the bytes of exactly one frame into a latent.
    ///
    /// # Errors
    /// As [`Self::decode_symbols`].
    pub fn decode(&self, bytes: &[u8]) -> Result<Latent, DecodeError> {
        Ok(self.quantizer.dequantize(&self.decode_symbols(bytes)?)?)
    }

    /// Decodes the bytes of exactly one frame into symbols.
    ///
    /// # Errors
    /// [`DecodeError`] for cut or damaged bytes and for frames of another bank, rung or
    /// shape; the error names both sides.
    pub fn decode_symbols(&self, bytes: &[u8]) -> Result<Symbols, DecodeError> {
        let (frame, rest) = Frame::parse(bytes)?;
        if !rest.is_empty() {
            return Err(DecodeError::TrailingBytes { found: rest.len() });
        }
        self.decode_frame(&frame)
    }

    /// Decodes a frame that was parsed already.
    ///
    /// # Errors
    /// As [`Self::decode_symbols`].
    pub fn decode_frame(&self, frame: &Frame) -> Result<Symbols, DecodeError> {
        let header = frame.header();
        if header.bank != self.bank {
            return Err(DecodeError::BankMismatch {
                found: header.bank,
                allowed: self.bank,
            });
        }
        if header.rung != self.rung {
            return Err(DecodeError::RungMismatch {
                found: header.rung,
                allowed: self.rung,
            });
        }
        match header.shape {
            Some(found) if found != self.shape => {
                return Err(DecodeError::ShapeMismatch {
                    found,
                    allowed: self.shape,
                });
            }
            _ => {}
        }
        self.tables.decode(self.shape, frame.payload())
    }

    /// The quantizer.
    #[must_use]
    pub fn quantizer(&self) -> &Quantizer {
        &self.quantizer
    }

    /// The tables.
    #[must_use]
    pub fn tables(&self) -> &TableSet {
        &self.tables
    }

    /// The shape that every frame of this codec holds.
    #[must_use]
    pub fn shape(&self) -> LatentShape {
        self.shape
    }

    /// The rung named in every frame.
    #[must_use]
    pub fn rung(&self) -> u16 {
        self.rung
    }

    /// Low 32 bits of the bank's digest, named in every frame.
    #[must_use]
    pub fn bank(&self) -> u32 {
        self.bank
    }

    fn header(&self) -> FrameHeader {
        FrameHeader {
            rung: self.rung,
            bank: self.bank,
            shape: None,
            checksum: self.checksum,
        }
    }
}
