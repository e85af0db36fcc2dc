//! Quantizer, tables and frame of one rung together.

use alloc::vec::Vec;

use crate::coder::payload::Scratch;
use crate::error::{DecodeError, EncodeError, TableError};
use crate::frame::{Frame, FrameHeader, SingleRef, parse_frame, write_frame};
use crate::latent::{Latent, LatentShape};
use crate::quantize::Quantizer;
use crate::symbols::Symbols;
use crate::table::{Lanes, TableSet, own};

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
    own_tables: bool,
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
            own_tables: false,
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

    /// The same codec, which puts tables of their own into frames where that makes them
    /// shorter: above some thousand symbols whose statistics are not those of the tables.
    /// Encoding then takes three times as long and allocates.
    #[must_use]
    pub fn with_own_tables(self, own_tables: bool) -> Self {
        Self { own_tables, ..self }
    }

    /// Quantizes and encodes a latent into one frame.
    ///
    /// # Errors
    /// [`EncodeError`] for another shape or a latent that cannot be quantized.
    pub fn encode(&self, latent: &Latent) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        self.encode_reusing(latent, &mut Scratch::new(), &mut out)?;
        Ok(out)
    }

    /// As [`Self::encode`], appending to `out` and with buffers that the caller keeps: once
    /// they have grown, nothing is allocated.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_reusing(
        &self,
        latent: &Latent,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.check_shape(latent.shape())?;
        let mut symbols = core::mem::take(&mut scratch.symbols);
        let quantized = self
            .quantizer
            .quantize_into(self.shape, latent.values(), &mut symbols);
        let result = match quantized {
            Ok(()) => self.write(&symbols, scratch, out),
            Err(fault) => Err(fault.into()),
        };
        scratch.symbols = symbols;
        result
    }

    /// Encodes symbols into one frame.
    ///
    /// # Errors
    /// [`EncodeError::ShapeMismatch`] for another shape.
    pub fn encode_symbols(&self, symbols: &Symbols) -> Result<Vec<u8>, EncodeError> {
        self.check_shape(symbols.shape())?;
        let mut out = Vec::new();
        self.write(symbols.values(), &mut Scratch::new(), &mut out)?;
        Ok(out)
    }

    /// Decodes the bytes of exactly one frame into a latent.
    ///
    /// # Errors
    /// As [`Self::decode_symbols`].
    pub fn decode(&self, bytes: &[u8]) -> Result<Latent, DecodeError> {
        let mut values = Vec::new();
        self.decode_reusing(bytes, &mut Scratch::new(), &mut values)?;
        Ok(Latent::from_checked(self.shape, values))
    }

    /// As [`Self::decode`], into `values` and with buffers that the caller keeps: once they
    /// have grown, nothing is allocated.
    ///
    /// # Errors
    /// As [`Self::decode_symbols`]; `values` then holds nothing of use.
    pub fn decode_reusing(
        &self,
        bytes: &[u8],
        scratch: &mut Scratch,
        values: &mut Vec<f32>,
    ) -> Result<(), DecodeError> {
        self.read(bytes, &mut scratch.symbols)?;
        self.quantizer
            .dequantize_into(self.shape, &scratch.symbols, values)?;
        Ok(())
    }

    /// Decodes the bytes of exactly one frame into symbols.
    ///
    /// # Errors
    /// [`DecodeError`] for cut or damaged bytes and for frames of another bank, rung or
    /// shape; the error names both sides.
    pub fn decode_symbols(&self, bytes: &[u8]) -> Result<Symbols, DecodeError> {
        let mut values = Vec::new();
        self.read(bytes, &mut values)?;
        Ok(Symbols::from_checked(self.shape, values))
    }

    /// Decodes a frame that was parsed already.
    ///
    /// # Errors
    /// As [`Self::decode_symbols`].
    pub fn decode_frame(&self, frame: &Frame) -> Result<Symbols, DecodeError> {
        self.check_header(frame.header())?;
        self.tables.decode(self.shape, frame.payload())
    }

    /// As [`Self::decode_frame`], without a copy of the payload.
    ///
    /// # Errors
    /// As [`Self::decode_symbols`].
    pub fn decode_ref(&self, frame: &SingleRef<'_>) -> Result<Symbols, DecodeError> {
        self.check_header(&frame.header)?;
        let mut values = Vec::new();
        self.tables
            .decode_body(self.shape, frame.descriptor, frame.body, &mut values)?;
        Ok(Symbols::from_checked(self.shape, values))
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

    fn check_shape(&self, found: LatentShape) -> Result<(), EncodeError> {
        if found == self.shape {
            return Ok(());
        }
        Err(EncodeError::ShapeMismatch {
            found,
            allowed: self.shape,
        })
    }

    fn check_header(&self, header: &FrameHeader) -> Result<(), DecodeError> {
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
            Some(found) if found != self.shape => Err(DecodeError::ShapeMismatch {
                found,
                allowed: self.shape,
            }),
            _ => Ok(()),
        }
    }

    fn write(
        &self,
        symbols: &[i32],
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let header = FrameHeader {
            rung: self.rung,
            bank: self.bank,
            shape: None,
            checksum: self.checksum,
        };
        let mut payload = core::mem::take(&mut scratch.payload);
        payload.clear();
        let coded =
            self.tables
                .encode_slice(self.shape, symbols, self.lanes, scratch, &mut payload);
        if coded.is_ok() {
            if self.own_tables {
                own::replace_if_shorter(self.shape, symbols, self.lanes, 0, &mut payload);
            }
            write_frame(&header, &payload, out);
        }
        scratch.payload = payload;
        coded
    }

    fn read(&self, bytes: &[u8], values: &mut Vec<i32>) -> Result<(), DecodeError> {
        let (header, payload, rest) = parse_frame(bytes)?;
        if !rest.is_empty() {
            return Err(DecodeError::TrailingBytes { found: rest.len() });
        }
        self.check_header(&header)?;
        self.tables
            .decode_body(self.shape, payload.descriptor, payload.body, values)
    }
}
