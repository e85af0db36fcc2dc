//! How long payloads become, before they are coded.

use super::{Lanes, Layout, TableSet};
use crate::coder::{mix, payload, rans};
use crate::latent::LatentShape;
use crate::symbols::Symbols;

impl TableSet {
    /// Ideal bits of `symbols`: cross-entropy under these integer tables, raw bits of escapes
    /// included, without the coder's flush.
    ///
    /// # Panics
    /// For symbols with another number of channels than the set.
    #[must_use]
    pub fn code_length_bits(&self, symbols: &Symbols) -> f64 {
        let shape = symbols.shape();
        assert!(
            self.channels_unlike(shape).is_none(),
            "channels of symbols and tables agree"
        );
        if let Some(model) = self.mix() {
            return mix::code_length_bits(model, shape, symbols.values());
        }
        let mut bits = 0.0;
        if let Layout::Contexts(model) = &self.layout {
            payload::for_each_context(shape, symbols.values(), model, |index, symbol| {
                bits += self.bits_of(index, symbol);
            });
        } else {
            for (channel, plane) in symbols.values().chunks_exact(shape.plane()).enumerate() {
                let index = self.layout.table_of(channel);
                bits += plane
                    .iter()
                    .map(|&symbol| self.bits_of(index, symbol))
                    .sum::<f64>();
            }
        }
        bits
    }

    /// Bits that ending the coder costs on average with [`Lanes::Small`], beyond
    /// [`Self::code_length_bits`]; one payload differs by a few bits a lane.
    #[must_use]
    pub fn flush_bits(&self, shape: LatentShape) -> f64 {
        if self.mix.is_some() {
            return mix::END_BITS;
        }
        match 1u32 << self.lane_code(shape, Lanes::Small) {
            1 => 13.0,
            lanes => 4.0 + 13.0 * f64::from(lanes),
        }
    }

    /// The base-2 logarithm of the lane count. It follows from tables and shape alone.
    pub(super) fn lane_code(&self, shape: LatentShape, lanes: Lanes) -> u8 {
        match lanes {
            Lanes::Small => {}
            Lanes::Fast => return log2_lanes((shape.len() as u64).isqrt() / 4),
            Lanes::Exactly(count) => return log2_lanes(count as u64),
        }
        let mean_of = |index: u16| u64::from(self.coder.tables[usize::from(index)].mean_millibits);
        let channels = shape.channels() as u64;
        let per_pixel: u64 = match &self.layout {
            Layout::Shared => mean_of(0) * channels,
            Layout::Channels(tables) => tables.iter().map(|&index| mean_of(index)).sum(),
            Layout::Contexts(model) => u64::from(model.expected_millibits) * channels,
        };
        log2_lanes(per_pixel * shape.plane() as u64 / 8000 / BYTES_PER_LANE)
    }

    fn bits_of(&self, index: u16, symbol: i32) -> f64 {
        self.coder
            .bits_of(index, &self.tables[usize::from(index)], symbol)
    }
}

/// Of [`Lanes::Small`].
const BYTES_PER_LANE: u64 = 800;

fn log2_lanes(count: u64) -> u8 {
    let code = count.clamp(1, rans::MAX_LANES as u64).ilog2();
    u8::try_from(code).unwrap_or(0)
}
