//! How one tensor is cut into segments.

use alloc::vec::Vec;

use crate::error::PlanError;
use crate::latent::LatentShape;
use crate::limits::{MAX_SEGMENTS, small_u16};
use crate::quantize::Quantizer;
use crate::symbols::Symbols;
use crate::table::TableSet;

/// Quantizer, tables and shape of one tensor, the order of its channels and how many of them
/// each segment takes.
///
/// Both ends hold the same plan; frames do not repeat it, files do. A new plan has one
/// segment with all channels in their own order; channels that do not arrive read as symbol 0.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorPlan {
    quantizer: Quantizer,
    tables: TableSet,
    shape: LatentShape,
    /// Every channel once, the most important first.
    order: Vec<u16>,
    /// Channels of each segment, none empty.
    segments: Vec<u16>,
    /// Symbol of each channel that does not arrive.
    fill: Vec<i32>,
}

impl TensorPlan {
    /// One segment with all channels.
    ///
    /// # Errors
    /// [`PlanError::ChannelMismatch`] where quantizer or tables are for another number of
    /// channels than the shape.
    pub fn new(
        quantizer: Quantizer,
        tables: TableSet,
        shape: LatentShape,
    ) -> Result<Self, PlanError> {
        for (what, found) in [
            ("a quantizer", quantizer.channels()),
            ("tables", tables.channels()),
        ] {
            if let Some(found) = found.filter(|&found| found != shape.channels()) {
                return Err(PlanError::ChannelMismatch {
                    what,
                    found,
                    allowed: shape.channels(),
                });
            }
        }
        let channels = small_u16(shape.channels());
        Ok(Self {
            quantizer,
            tables,
            shape,
            order: (0..channels).collect(),
            segments: alloc::vec![channels],
            fill: alloc::vec![0; shape.channels()],
        })
    }

    /// The same plan with channels in another order, the most important first.
    ///
    /// # Errors
    /// [`PlanError::BadOrder`] unless `order` names every channel once.
    pub fn with_order(self, order: Vec<u16>) -> Result<Self, PlanError> {
        let mut seen = alloc::vec![false; self.shape.channels()];
        for &channel in &order {
            match seen.get_mut(usize::from(channel)) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(PlanError::BadOrder { channel }),
            }
        }
        match seen.iter().position(|&seen| !seen) {
            Some(missing) => Err(PlanError::BadOrder {
                channel: small_u16(missing),
            }),
            None => Ok(Self { order, ..self }),
        }
    }

    /// The same plan with these numbers of channels for the segments, from the first of the
    /// order on.
    ///
    /// # Errors
    /// [`PlanError::BadSegments`] for empty segments or another sum than the channels,
    /// [`PlanError::BadCount`] for more than [`MAX_SEGMENTS`].
    pub fn with_segments(self, channels: &[usize]) -> Result<Self, PlanError> {
        if channels.len() > MAX_SEGMENTS {
            return Err(PlanError::BadCount {
                what: "segments",
                found: channels.len(),
                allowed: MAX_SEGMENTS,
            });
        }
        let allowed = self.shape.channels();
        let found = channels
            .iter()
            .fold(0usize, |sum, &count| sum.saturating_add(count));
        if found != allowed || channels.contains(&0) {
            return Err(PlanError::BadSegments { found, allowed });
        }
        let segments = channels.iter().map(|&count| small_u16(count)).collect();
        Ok(Self { segments, ..self })
    }

    /// The same plan with these symbols for channels that do not arrive.
    ///
    /// # Errors
    /// [`PlanError::ChannelMismatch`] for another number than the channels,
    /// [`PlanError::BadFill`] for a symbol that the quantizer cannot restore.
    pub fn with_fill(self, fill: Vec<i32>) -> Result<Self, PlanError> {
        if fill.len() != self.shape.channels() {
            return Err(PlanError::ChannelMismatch {
                what: "a fill",
                found: fill.len(),
                allowed: self.shape.channels(),
            });
        }
        for (channel, &found) in fill.iter().enumerate() {
            if self.value_of(channel, found).is_none() {
                return Err(PlanError::BadFill { found, channel });
            }
        }
        Ok(Self { fill, ..self })
    }

    /// The same plan with order and fill from samples. A channel's fill is the symbol nearest
    /// to its mean; channels come in the order of the squared error that receiving them
    /// takes away, for each bit they cost under the tables.
    ///
    /// # Errors
    /// [`PlanError::BadSamples`] without samples or where one has another shape,
    /// [`PlanError::BadFill`] where the quantizer cannot restore a sample's symbols.
    pub fn ranked(self, samples: &[Symbols]) -> Result<Self, PlanError> {
        let allowed = self.shape;
        if samples.is_empty() || samples.iter().any(|symbols| symbols.shape() != allowed) {
            return Err(PlanError::BadSamples { allowed });
        }
        let mut fill = Vec::with_capacity(allowed.channels());
        let mut ranks = Vec::with_capacity(allowed.channels());
        for channel in 0..small_u16(allowed.channels()) {
            let (symbol, gain) = self.gain_of(channel, samples)?;
            fill.push(symbol);
            ranks.push((gain, channel));
        }
        // Greatest gain first; channels without a difference stay in their own order.
        ranks.sort_by(|(a, i), (b, j)| b.total_cmp(a).then(i.cmp(j)));
        let order = ranks.into_iter().map(|(_, channel)| channel).collect();
        self.with_fill(fill)?.with_order(order)
    }

    /// The same plan for another height and width.
    pub(super) fn of_shape(&self, shape: LatentShape) -> Self {
        debug_assert_eq!(shape.channels(), self.shape.channels(), "the same channels");
        Self {
            shape,
            ..self.clone()
        }
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

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> LatentShape {
        self.shape
    }

    /// Every channel once, the most important first.
    #[must_use]
    pub fn order(&self) -> &[u16] {
        &self.order
    }

    /// Channels of each segment.
    #[must_use]
    pub fn segments(&self) -> &[u16] {
        &self.segments
    }

    /// Symbol of each channel that does not arrive.
    #[must_use]
    pub fn fill(&self) -> &[i32] {
        &self.fill
    }

    /// Fill of a channel, and the squared error that its symbols take away for each bit.
    fn gain_of(&self, channel: u16, samples: &[Symbols]) -> Result<(i32, f64), PlanError> {
        let at = usize::from(channel);
        let plane = self.shape.plane();
        let flat = LatentShape::new(1, self.shape.height(), self.shape.width())
            .expect("one channel of a valid shape");
        let tables = self.tables.for_channels(&[channel]);
        let planes = samples
            .iter()
            .map(|symbols| &symbols.values()[at * plane..][..plane]);
        let (mut sum, mut count) = (0i64, 0i64);
        let mut bits = 0.0;
        for values in planes.clone() {
            sum += values.iter().map(|&value| i64::from(value)).sum::<i64>();
            count += values.iter().map(|_| 1).sum::<i64>();
            bits += tables.code_length_bits(&Symbols::from_checked(flat, values.to_vec()));
        }
        let fill = nearest(sum, count);
        let value_of = |found: i32| {
            self.value_of(at, found)
                .ok_or(PlanError::BadFill { found, channel: at })
        };
        let filled = value_of(fill)?;
        let mut gain = 0.0;
        for &symbol in planes.flatten() {
            let distance = f64::from(value_of(symbol)?) - f64::from(filled);
            gain += distance * distance;
        }
        // A channel may cost nothing; it then differs from its fill nowhere or comes first.
        Ok((fill, gain / bits.max(1e-9)))
    }

    /// The value of a symbol in a channel; `None` where the quantizer has none.
    fn value_of(&self, channel: usize, symbol: i32) -> Option<f32> {
        self.quantizer.value_of(channel, symbol)
    }
}

/// `sum / count`, rounded; the quotient lies between symbols.
fn nearest(sum: i64, count: i64) -> i32 {
    let rounded = (2 * sum + count).div_euclid(2 * count);
    i32::try_from(rounded).expect("a mean lies between its symbols")
}
