//! Latents to frames, packets and files.

use alloc::vec::Vec;

use super::{BundleCodec, BundleScratch, file};
use crate::error::EncodeError;
use crate::frame::packet::PacketRef;
use crate::frame::{Checksums, bundle as wire};
use crate::latent::{Latent, LatentShape};
use crate::symbols::Symbols;
use crate::table::own;

impl BundleCodec {
    /// Quantizes and encodes one latent for each tensor into one frame.
    ///
    /// # Errors
    /// [`EncodeError`] for another number of latents or other shapes, and for latents that
    /// cannot be quantized.
    pub fn encode(&self, latents: &[Latent]) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        self.encode_reusing(latents, &mut BundleScratch::new(), &mut out)?;
        Ok(out)
    }

    /// As [`Self::encode`], appending to `out` and with buffers that the caller keeps: once
    /// they have grown, nothing is allocated.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_reusing(
        &self,
        latents: &[Latent],
        scratch: &mut BundleScratch,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.quantize(latents, scratch)?;
        self.write_frame(scratch, out)
    }

    /// Encodes symbols, a set for each tensor, into one frame.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_symbols(&self, symbols: &[Symbols]) -> Result<Vec<u8>, EncodeError> {
        let mut scratch = BundleScratch::new();
        self.copy_symbols(symbols, &mut scratch)?;
        let mut out = Vec::new();
        self.write_frame(&mut scratch, &mut out)?;
        Ok(out)
    }

    /// Bits that the symbols of all tensors take under the tables, segment by segment: the cross-entropy, without
    /// headers and the ends of payloads.
    ///
    /// # Errors
    /// [`EncodeError`] for another number of sets or other shapes.
    pub fn code_length_bits(&self, symbols: &[Symbols]) -> Result<f64, EncodeError> {
        self.check_shapes(symbols.iter().map(Symbols::shape))?;
        let bits = self.segments.iter().map(|segment| {
            let all = symbols[segment.tensor].values();
            let plane = segment.shape.plane();
            let planes = segment.channels.iter();
            let planes = planes.flat_map(|&channel| &all[usize::from(channel) * plane..][..plane]);
            let part = Symbols::from_checked(segment.shape, planes.copied().collect());
            segment.tables.code_length_bits(&part)
        });
        Ok(bits.sum())
    }

    /// Quantizes and encodes one latent for each tensor into packets, a segment in each.
    /// `group` tells them from the packets of other latents.
    ///
    /// # Errors
    /// As [`Self::encode`]; [`EncodeError::Part`] for the codec of a part.
    pub fn encode_packets(
        &self,
        latents: &[Latent],
        group: u16,
    ) -> Result<Vec<Vec<u8>>, EncodeError> {
        let mut scratch = BundleScratch::new();
        self.quantize(latents, &mut scratch)?;
        self.write_packets(&mut scratch, group)
    }

    /// As [`Self::encode_packets`], for symbols.
    ///
    /// # Errors
    /// As [`Self::encode_packets`].
    pub fn encode_symbol_packets(
        &self,
        symbols: &[Symbols],
        group: u16,
    ) -> Result<Vec<Vec<u8>>, EncodeError> {
        let mut scratch = BundleScratch::new();
        self.copy_symbols(symbols, &mut scratch)?;
        self.write_packets(&mut scratch, group)
    }

    /// Quantizes and encodes several groups of latents into one file, which carries shapes,
    /// quantizers and tables and so decodes alone: see [`FileReader`](crate::FileReader).
    ///
    /// # Errors
    /// As [`Self::encode`]; [`EncodeError::TooMany`] beyond [`crate::MAX_FILE_FRAMES`] frames
    /// or [`crate::MAX_FILE_HEAD_BYTES`] of plans, [`EncodeError::Part`] for the codec of a part.
    pub fn encode_file(&self, groups: &[Vec<Latent>]) -> Result<Vec<u8>, EncodeError> {
        let mut out = self.file_head(groups.len())?;
        let mut scratch = BundleScratch::new();
        for latents in groups {
            self.encode_reusing(latents, &mut scratch, &mut out)?;
        }
        Ok(out)
    }

    /// The beginning of a file; as many frames of [`Self::encode`] follow.
    ///
    /// # Errors
    /// [`EncodeError::TooMany`] and [`EncodeError::Part`] as [`Self::encode_file`].
    pub fn file_head(&self, frames: usize) -> Result<Vec<u8>, EncodeError> {
        self.refuse_part("a file")?;
        file::write_head(self, frames)
    }

    /// Packets and files have no place for the size of a part.
    fn refuse_part(&self, what: &'static str) -> Result<(), EncodeError> {
        match self.part {
            Some(_) => Err(EncodeError::Part { what }),
            None => Ok(()),
        }
    }

    fn quantize(&self, latents: &[Latent], scratch: &mut BundleScratch) -> Result<(), EncodeError> {
        self.check_shapes(latents.iter().map(Latent::shape))?;
        scratch.symbols.resize_with(self.tensors.len(), Vec::new);
        let pairs = self.tensors.iter().zip(latents).zip(&mut scratch.symbols);
        for ((plan, latent), symbols) in pairs {
            plan.quantizer()
                .quantize_into(plan.shape(), latent.values(), symbols)?;
        }
        Ok(())
    }

    fn copy_symbols(
        &self,
        symbols: &[Symbols],
        scratch: &mut BundleScratch,
    ) -> Result<(), EncodeError> {
        self.check_shapes(symbols.iter().map(Symbols::shape))?;
        scratch.symbols.clear();
        let copies = symbols.iter().map(|symbols| symbols.values().to_vec());
        scratch.symbols.extend(copies);
        Ok(())
    }

    fn check_shapes(
        &self,
        shapes: impl ExactSizeIterator<Item = LatentShape>,
    ) -> Result<(), EncodeError> {
        if shapes.len() != self.tensors.len() {
            return Err(EncodeError::TensorMismatch {
                found: shapes.len(),
                allowed: self.tensors.len(),
            });
        }
        for (found, plan) in shapes.zip(&self.tensors) {
            if found != plan.shape() {
                return Err(EncodeError::ShapeMismatch {
                    found,
                    allowed: plan.shape(),
                });
            }
        }
        Ok(())
    }

    /// The payloads of all segments, one after the other in the scratch.
    fn encode_segments(&self, scratch: &mut BundleScratch) -> Result<(), EncodeError> {
        let BundleScratch {
            symbols,
            planes,
            coder,
            payloads,
            ends,
        } = scratch;
        payloads.clear();
        ends.clear();
        for segment in &self.segments {
            let all = &symbols[segment.tensor];
            let values = if segment.whole {
                all
            } else {
                planes.clear();
                let plane = segment.shape.plane();
                for &channel in &segment.channels {
                    planes.extend_from_slice(&all[usize::from(channel) * plane..][..plane]);
                }
                &*planes
            };
            let begin = payloads.len();
            let (shape, lanes) = (segment.shape, self.lanes);
            segment
                .tables
                .encode_slice(shape, values, lanes, coder, payloads)?;
            if self.own_tables {
                own::replace_if_shorter(shape, values, lanes, begin, payloads);
            }
            ends.push(payloads.len());
        }
        Ok(())
    }

    fn write_frame(
        &self,
        scratch: &mut BundleScratch,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.encode_segments(scratch)?;
        let BundleScratch { payloads, ends, .. } = scratch;
        let origin = (self.rung, self.bank);
        wire::write(origin, self.part, self.checksums, payloads, ends, out);
        Ok(())
    }

    fn write_packets(
        &self,
        scratch: &mut BundleScratch,
        group: u16,
    ) -> Result<Vec<Vec<u8>>, EncodeError> {
        self.refuse_part("packets")?;
        self.encode_segments(scratch)?;
        let mut begin = 0;
        let packets = scratch.ends.iter().enumerate().map(|(segment, &end)| {
            let payload = &scratch.payloads[begin..end];
            begin = end;
            let mut out = Vec::new();
            PacketRef {
                rung: self.rung,
                bank: self.bank,
                group,
                segment,
                checksum: self.checksums != Checksums::None,
                descriptor: payload[0],
                body: &payload[1..],
            }
            .write(&mut out);
            out
        });
        Ok(packets.collect())
    }
}
