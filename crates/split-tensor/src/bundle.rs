//! Several tensors in one frame, in segments that are coded each on its own.

pub(crate) mod file;
mod gather;
mod plan;
mod scratch;

use alloc::vec::Vec;

use crate::error::{DecodeError, EncodeError, PlanError};
use crate::frame::packet::PacketRef;
use crate::frame::{BundleRef, Checksums, SegmentRef, bundle as wire};
use crate::latent::{Latent, LatentShape};
use crate::limits::{MAX_SEGMENTS, MAX_SYMBOLS, MAX_TABLES, MAX_TENSORS};
use crate::symbols::Symbols;
use crate::table::{Lanes, TableSet, own};

pub use file::FileReader;
pub use gather::{Gathering, Received};
pub use plan::TensorPlan;
pub use scratch::BundleScratch;

/// Latents of several tensors to frames and back, for one rung of one bank.
///
/// The first segments of all tensors come first in a frame, then the second ones, and so on:
/// cut anywhere, it still holds the most important channels of each tensor.
///
/// | to send | use | what a fault costs |
/// |---|---|---|
/// | all at once | [`Self::encode`], [`Self::decode`] | the frame |
/// | over a link that may stop early | [`Self::encode`] with [`Checksums::Segment`], [`Self::decode_partial`] | segments after the cut |
/// | in packets that get lost | [`Self::encode_packets`], [`Self::gather`] | the segments in them |
#[derive(Debug, Clone)]
pub struct BundleCodec {
    tensors: Vec<TensorPlan>,
    /// In the order of the frame.
    segments: Vec<Segment>,
    rung: u16,
    bank: u32,
    lanes: Lanes,
    checksums: Checksums,
    own_tables: bool,
}

/// Channels of one tensor that are coded together.
#[derive(Debug, Clone)]
struct Segment {
    tensor: usize,
    channels: Vec<u16>,
    /// Whether these are all channels in their own order, so that nothing need be moved.
    whole: bool,
    shape: LatentShape,
    tables: TableSet,
}

impl BundleCodec {
    /// Binds plans to a rung and the low 32 bits of a bank digest.
    ///
    /// # Errors
    /// [`PlanError::BadCount`] for no tensors or more than [`MAX_TENSORS`], and for more than
    /// [`MAX_SEGMENTS`] segments, [`MAX_SYMBOLS`] symbols or [`MAX_TABLES`] tables in all.
    pub fn new(tensors: Vec<TensorPlan>, rung: u16, bank: u32) -> Result<Self, PlanError> {
        let sum = |of: fn(&TensorPlan) -> usize| tensors.iter().map(of).sum::<usize>();
        for (what, found, allowed) in [
            ("tensors", tensors.len(), MAX_TENSORS),
            ("segments", sum(|plan| plan.segments().len()), MAX_SEGMENTS),
            ("symbols", sum(|plan| plan.shape().len()), MAX_SYMBOLS),
            (
                "tables",
                sum(|plan| plan.tables().tables().len()),
                MAX_TABLES,
            ),
        ] {
            if found == 0 || found > allowed {
                return Err(PlanError::BadCount {
                    what,
                    found,
                    allowed,
                });
            }
        }
        Ok(Self {
            segments: segments_of(&tensors),
            tensors,
            rung,
            bank,
            lanes: Lanes::Small,
            checksums: Checksums::default(),
            own_tables: false,
        })
    }

    /// The same codec with another choice of lanes for encoding.
    #[must_use]
    pub fn with_lanes(self, lanes: Lanes) -> Self {
        Self { lanes, ..self }
    }

    /// The same codec with other checksums in what it writes; packets have one unless this is
    /// [`Checksums::None`]. All forms are read.
    #[must_use]
    pub fn with_checksums(self, checksums: Checksums) -> Self {
        Self { checksums, ..self }
    }

    /// As [`crate::Codec::with_own_tables`], segment by segment.
    #[must_use]
    pub fn with_own_tables(self, own_tables: bool) -> Self {
        Self { own_tables, ..self }
    }

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

    /// Quantizes and encodes one latent for each tensor into packets, a segment in each.
    /// `group` tells them from the packets of other latents.
    ///
    /// # Errors
    /// As [`Self::encode`].
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
    /// As [`Self::encode`].
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
    /// quantizers and tables and so decodes alone: see [`FileReader`].
    ///
    /// # Errors
    /// As [`Self::encode`]; [`EncodeError::TooMany`] beyond [`crate::MAX_FILE_FRAMES`] frames
    /// or [`crate::MAX_FILE_HEAD_BYTES`] of plans.
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
    /// [`EncodeError::TooMany`] as [`Self::encode_file`].
    pub fn file_head(&self, frames: usize) -> Result<Vec<u8>, EncodeError> {
        file::write_head(self, frames)
    }

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
    /// [`DecodeError`] for cut or damaged bytes and for frames of another bank, rung or
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
    /// [`Checksums::Segment`], whose segments may be damaged. [`Received`] says which
    /// channels are present; the others hold their fill.
    ///
    /// # Errors
    /// [`DecodeError::NothingArrived`] where no segment is whole and undamaged, and as
    /// [`Self::decode_symbols`] for what is not a frame of this codec. A cut frame with
    /// [`Checksums::Frame`] is refused, since nothing vouches for its parts.
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

    /// The plans, one for each tensor.
    #[must_use]
    pub fn tensors(&self) -> &[TensorPlan] {
        &self.tensors
    }

    /// Segments of a frame.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Tensor and channels of a segment, in the order of the frame.
    ///
    /// # Panics
    /// For a segment that the codec does not have.
    #[must_use]
    pub fn segment(&self, index: usize) -> (usize, &[u16]) {
        let segment = &self.segments[index];
        (segment.tensor, &segment.channels)
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
        wire::write((self.rung, self.bank), self.checksums, payloads, ends, out);
        Ok(())
    }

    fn write_packets(
        &self,
        scratch: &mut BundleScratch,
        group: u16,
    ) -> Result<Vec<Vec<u8>>, EncodeError> {
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
    fn read_segment(
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
        if frame.segment_count() != self.segments.len() {
            return Err(DecodeError::SegmentMismatch {
                found: frame.segment_count(),
                allowed: self.segments.len(),
            });
        }
        Ok(())
    }

    fn check_origin(&self, rung: u16, bank: u32) -> Result<(), DecodeError> {
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

    fn take_symbols(&self, scratch: &mut BundleScratch) -> Vec<Symbols> {
        let taken = scratch.symbols.drain(..);
        let pairs = self.tensors.iter().zip(taken);
        pairs
            .map(|(plan, values)| Symbols::from_checked(plan.shape(), values))
            .collect()
    }
}

/// Segments in the order of the frame: the first ones of all tensors, then the second ones.
fn segments_of(tensors: &[TensorPlan]) -> Vec<Segment> {
    let ranks = tensors.iter().map(|plan| plan.segments().len()).max();
    let mut begins = alloc::vec![0; tensors.len()];
    let mut segments = Vec::new();
    for rank in 0..ranks.unwrap_or(0) {
        for (tensor, plan) in tensors.iter().enumerate() {
            let Some(&count) = plan.segments().get(rank) else {
                continue;
            };
            let begin = begins[tensor];
            begins[tensor] += usize::from(count);
            let channels = plan.order()[begin..begins[tensor]].to_vec();
            let shape = plan.shape();
            segments.push(Segment {
                tensor,
                whole: channels.len() == shape.channels() && channels.is_sorted(),
                shape: LatentShape::new(channels.len(), shape.height(), shape.width())
                    .expect("fewer channels of a valid shape"),
                tables: plan.tables().for_channels(&channels),
                channels,
            });
        }
    }
    segments
}

fn refuse_rest(rest: &[u8]) -> Result<(), DecodeError> {
    if rest.is_empty() {
        return Ok(());
    }
    Err(DecodeError::TrailingBytes { found: rest.len() })
}
