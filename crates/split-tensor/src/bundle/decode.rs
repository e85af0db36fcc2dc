//! Frames to latents, whole or in part.

use alloc::vec::Vec;

use super::{BundleCodec, BundleScratch, Gathering, Received};
use crate::error::DecodeError;
use crate::frame::{BundleRef, SegmentRef};
use crate::latent::Latent;
use crate::symbols::Symbols;

impl BundleCodec {
    /// Decodes the bytes of exactly one frame into a latent for each tensor.
    ///
    /// # Errors
    /// As [`Self::decode_symbols`].
    pub fn decode(&self, bytes: &[u8]) -> Result<Vec<Latent>, DecodeError> {
        self.restore(&self.decode_symbols(bytes)?)
    }

    /// As [`Self::decode`], into `values`, a list for each tensor, and with buffers that the
    /// caller keeps: once they have grown, nothing is allocated.
    ///
    /// # Errors
    /// As [`Self::decode_symbols`]; `values` then holds nothing of use.
    pub fn decode_reusing(
        &self,
        bytes: &[u8],
        scratch: &mut BundleScratch,
        values: &mut Vec<Vec<f32>>,
    ) -> Result<(), DecodeError> {
        let (frame, rest) = BundleRef::parse(bytes)?;
        refuse_rest(rest)?;
        self.read_whole(&frame, scratch)?;
        values.resize_with(self.tensors.len(), Vec::new);
        for ((plan, symbols), values) in self.tensors.iter().zip(&scratch.symbols).zip(values) {
            plan.quantizer()
                .dequantize_into(plan.shape(), symbols, values)?;
        }
        Ok(())
    }

    /// Decodes the bytes of exactly one frame into symbols for each tensor.
    ///
    /// # Errors
    /// [`DecodeError`] for cut or damaged bytes and for frames of another bank, rung, part or
    /// number of segments; the error names both sides.
    pub fn decode_symbols(&self, bytes: &[u8]) -> Result<Vec<Symbols>, DecodeError> {
        let (frame, rest) = BundleRef::parse(bytes)?;
        refuse_rest(rest)?;
        self.decode_ref(&frame)
    }

    /// Decodes a whole frame that was parsed already.
    ///
    /// # Errors
    /// As [`Self::decode_symbols`].
    pub fn decode_ref(&self, frame: &BundleRef<'_>) -> Result<Vec<Symbols>, DecodeError> {
        let mut scratch = BundleScratch::new();
        self.read_whole(frame, &mut scratch)?;
        Ok(self.take_symbols(&mut scratch))
    }

    /// Decodes what is there of one frame, whose end may be cut off and, with
    /// [`Checksums::Segment`](crate::Checksums::Segment), whose segments may be damaged. [`Received`] says which
    /// channels are present; the others hold their fill.
    ///
    /// # Errors
    /// [`DecodeError::NothingArrived`] where no segment is whole and undamaged, and as
    /// [`Self::decode_symbols`] for what is not a frame of this codec. A cut frame with
    /// [`Checksums::Frame`](crate::Checksums::Frame) is refused, since nothing vouches for its parts.
    pub fn decode_partial(&self, bytes: &[u8]) -> Result<Received, DecodeError> {
        let frame = BundleRef::parse_prefix(bytes)?;
        self.check_frame(&frame)?;
        let mut gathering = Gathering::new(self, 0);
        for segment in frame.segments().filter(|segment| segment.intact) {
            gathering.read(&segment)?;
        }
        gathering.finish()
    }

    /// Begins to collect the packets of one group.
    #[must_use]
    pub fn gather(&self, group: u16) -> Gathering<'_> {
        Gathering::new(self, group)
    }

    /// Values of decoded symbols, a latent for each tensor.
    ///
    /// # Errors
    /// [`DecodeError::Quantize`] for symbols that a quantizer cannot restore.
    ///
    /// # Panics
    /// For another number of symbol sets than tensors.
    pub fn restore(&self, symbols: &[Symbols]) -> Result<Vec<Latent>, DecodeError> {
        assert_eq!(symbols.len(), self.tensors.len(), "a set for each tensor");
        let pairs = self.tensors.iter().zip(symbols);
        let restored = pairs.map(|(plan, symbols)| plan.quantizer().dequantize(symbols));
        Ok(restored.collect::<Result<_, _>>()?)
    }

    /// Decodes every segment of a frame into the scratch.
    fn read_whole(
        &self,
        frame: &BundleRef<'_>,
        scratch: &mut BundleScratch,
    ) -> Result<(), DecodeError> {
        self.check_frame(frame)?;
        scratch.symbols.resize_with(self.tensors.len(), Vec::new);
        for (plan, symbols) in self.tensors.iter().zip(&mut scratch.symbols) {
            // Every symbol is written below or an error returned, so old contents may stay.
            symbols.resize(plan.shape().len(), 0);
        }
        let mut count = 0;
        for segment in frame.segments() {
            if !segment.intact {
                return Err(DecodeError::DamagedSegment {
                    index: segment.index,
                });
            }
            self.read_segment(&segment, true, scratch)?;
            count += 1;
        }
        if count == self.segments.len() {
            return Ok(());
        }
        // Only a prefix can lack segments, and its length was never the matter.
        Err(DecodeError::SegmentMismatch {
            found: count,
            allowed: self.segments.len(),
        })
    }

    /// Decodes one segment into symbols that have their length already. Where it may be done
    /// `in_place`, a fault leaves symbols of the segment overwritten.
    pub(super) fn read_segment(
        &self,
        found: &SegmentRef<'_>,
        in_place: bool,
        scratch: &mut BundleScratch,
    ) -> Result<(), DecodeError> {
        let segment = &self.segments[found.index];
        let BundleScratch {
            symbols, planes, ..
        } = scratch;
        let (shape, tables) = (segment.shape, &segment.tables);
        let all = &mut symbols[segment.tensor];
        if segment.whole && in_place {
            return tables.decode_body(shape, found.descriptor, found.body, all);
        }
        tables.decode_body(shape, found.descriptor, found.body, planes)?;
        let plane = shape.plane();
        for (&channel, values) in segment.channels.iter().zip(planes.chunks_exact(plane)) {
            all[usize::from(channel) * plane..][..plane].copy_from_slice(values);
        }
        Ok(())
    }

    fn check_frame(&self, frame: &BundleRef<'_>) -> Result<(), DecodeError> {
        self.check_origin(frame.rung(), frame.bank())?;
        self.check_part(frame.part())?;
        if frame.segment_count() != self.segments.len() {
            return Err(DecodeError::SegmentMismatch {
                found: frame.segment_count(),
                allowed: self.segments.len(),
            });
        }
        Ok(())
    }

    pub(super) fn check_origin(&self, rung: u16, bank: u32) -> Result<(), DecodeError> {
        if bank != self.bank {
            return Err(DecodeError::BankMismatch {
                found: bank,
                allowed: self.bank,
            });
        }
        if rung != self.rung {
            return Err(DecodeError::RungMismatch {
                found: rung,
                allowed: self.rung,
            });
        }
        Ok(())
    }

    pub(super) fn check_part(&self, found: Option<[usize; 2]>) -> Result<(), DecodeError> {
        if found == self.part {
            return Ok(());
        }
        Err(DecodeError::PartMismatch {
            found: found.unwrap_or_default(),
            allowed: self.part.unwrap_or_default(),
        })
    }

    pub(super) fn take_symbols(&self, scratch: &mut BundleScratch) -> Vec<Symbols> {
        let taken = scratch.symbols.drain(..);
        let pairs = self.tensors.iter().zip(taken);
        pairs
            .map(|(plan, values)| Symbols::from_checked(plan.shape(), values))
            .collect()
    }
}

pub(super) fn refuse_rest(rest: &[u8]) -> Result<(), DecodeError> {
    if rest.is_empty() {
        return Ok(());
    }
    Err(DecodeError::TrailingBytes { found: rest.len() })
}
