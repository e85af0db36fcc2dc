//! Several tensors in one frame, in segments that are coded each on its own.

mod decode;
mod encode;
mod file;
mod gather;
mod plan;
mod scratch;

use alloc::vec::Vec;

use crate::error::PlanError;
use crate::frame::Checksums;
use crate::latent::LatentShape;
use crate::limits::{MAX_SEGMENTS, MAX_SYMBOLS, MAX_TABLES, MAX_TENSORS};
use crate::table::{Lanes, TableSet};

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
    /// Rows and columns of a part, in cells of the smallest tensor.
    part: Option<[usize; 2]>,
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
            part: None,
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

    /// The codec for frames that carry only the first `rows` and `columns` of every tensor, counted in cells of
    /// the smallest one, as where a picture leaves a part of a canvas empty. Its frames say so and its plans
    /// have the smaller shapes; for all rows and columns it is this codec.
    ///
    /// # Errors
    /// [`PlanError::BadPart`] for no rows or columns, or more than the smallest tensor has; also where the
    /// cells of the smallest tensor are no whole numbers of cells of the others, and for a codec of a part.
    pub fn for_part(&self, rows: usize, columns: usize) -> Result<Self, PlanError> {
        let allowed = self.grid();
        let found = [rows, columns];
        let refused = PlanError::BadPart { found, allowed };
        let fits = |(found, allowed): (usize, usize)| (1..=allowed).contains(&found);
        if self.part.is_some() || !found.into_iter().zip(allowed).all(fits) {
            return Err(refused);
        }
        if found == allowed {
            return Ok(self.clone());
        }
        let scaled = |plan: &TensorPlan| {
            let shape = plan.shape();
            let sides = [shape.height(), shape.width()];
            let whole = |(side, grid): (usize, usize)| side.is_multiple_of(grid);
            if !sides.into_iter().zip(allowed).all(whole) {
                return Err(refused);
            }
            let [height, width] = [0, 1].map(|axis| sides[axis] / allowed[axis] * found[axis]);
            let shape = LatentShape::new(shape.channels(), height, width).map_err(|_| refused)?;
            Ok(plan.of_shape(shape))
        };
        let tensors = self
            .tensors
            .iter()
            .map(scaled)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            segments: segments_of(&tensors),
            tensors,
            part: Some(found),
            ..*self
        })
    }

    /// Rows and columns of [`Self::for_part`]; `None` for a codec of whole tensors.
    #[must_use]
    pub fn part(&self) -> Option<[usize; 2]> {
        self.part
    }

    /// Rows and columns of the smallest tensor.
    fn grid(&self) -> [usize; 2] {
        let least = |side: fn(LatentShape) -> usize| {
            let sides = self.tensors.iter().map(|plan| side(plan.shape()));
            sides.min().unwrap_or(0)
        };
        [least(|shape| shape.height()), least(|shape| shape.width())]
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
