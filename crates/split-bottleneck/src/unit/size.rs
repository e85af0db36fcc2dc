//! What a unit costs, and which sizes it may have.

use super::student;
use super::{ActivationShape, DecoderKind, EncoderKind, Scale, UnitConfig};
use crate::error::ConfigError;

/// Most weights of a unit, both sides together. A unit is a few small convolutions; a file that asks for more is
/// damaged or hostile, and is refused before memory is taken.
pub const MAX_UNIT_PARAMETERS: u64 = 1 << 26;

/// Most values of an activation that a unit restores.
pub const MAX_ACTIVATION_VALUES: u64 = 1 << 26;

/// Most residual blocks, and longest sides of kernels and paddings.
const MAX_COUNT: usize = 256;

impl UnitConfig {
    /// Multiply-accumulates of the unit encoder for one picture.
    #[must_use]
    pub fn encoder_macs(&self) -> usize {
        if let EncoderKind::Student { layers } = self.encoder {
            return whole(student::encoder_costs(self, layers).macs());
        }
        whole(product(&self.latent_size()).saturating_mul(self.encoder_weights()))
    }

    /// Multiply-accumulates of the unit decoder for one picture.
    #[must_use]
    pub fn decoder_macs(&self) -> usize {
        if let DecoderKind::Student { hidden } = self.decoder {
            return whole(student::decoder_costs(self, hidden).macs());
        }
        let pixels = product(&self.latent_size());
        let looks = match self.decoder {
            // Each pixel is compared with all, and takes from all.
            DecoderKind::Attentive { hidden, .. } => {
                product(&[2, hidden]).saturating_mul(pixels.saturating_mul(pixels))
            }
            _ => 0,
        };
        whole(sum([pixels.saturating_mul(self.decoder_weights()), looks]))
    }

    /// Weights of the unit encoder, each of which is used once for every pixel of the latent, but in a student;
    /// without batch norms.
    fn encoder_weights(&self) -> u64 {
        let ActivationShape { channels, .. } = self.activation;
        let latent = self.latent_channels;
        match self.encoder {
            EncoderKind::Paper { .. } => {
                sum([product(&[channels, 9]), product(&[channels, latent])])
            }
            EncoderKind::Conv { hidden } => sum([
                product(&[9, hidden, channels]),
                product(&[9, hidden, latent]),
            ]),
            EncoderKind::Patch => self.patch_weights(latent),
            EncoderKind::Light {
                hidden,
                groups,
                gdn,
            } => {
                let groups = u64::try_from(groups.max(1)).unwrap_or(u64::MAX);
                sum([
                    product(&[9, hidden, channels]) / groups,
                    if gdn { product(&[hidden, hidden]) } else { 0 },
                    product(&[hidden, latent]),
                ])
            }
            EncoderKind::Refined { hidden } => sum([
                self.patch_weights(latent),
                product(&[9, hidden, channels]),
                product(&[9, hidden, latent]),
            ]),
            EncoderKind::Scales { list } => {
                let maps = list.as_slice().iter();
                maps.map(|scale| product(&[scale.channels, scale.latent]))
                    .fold(0, u64::saturating_add)
            }
            EncoderKind::BottleNet => product(&[9, channels, latent]),
            EncoderKind::Student { layers } => student::encoder_costs(self, layers).weights(),
        }
    }

    /// The same of the unit decoder.
    fn decoder_weights(&self) -> u64 {
        let ActivationShape { channels, .. } = self.activation;
        let latent = self.latent_channels;
        match self.decoder {
            DecoderKind::Paper { kernel, .. } => sum([
                product(&[channels, latent]),
                product(&[channels, kernel, kernel]),
            ]),
            DecoderKind::Conv { hidden, blocks } => sum([
                product(&[9, hidden, latent]),
                product(&[18, blocks, hidden, hidden]),
                self.patch_weights(hidden),
            ]),
            DecoderKind::Patch { .. } => self.patch_weights(latent),
            DecoderKind::Refined {
                hidden,
                blocks,
                gdn,
                ..
            } => sum([
                product(&[9, hidden, latent]),
                product(&[18, blocks, hidden, hidden]),
                if gdn { product(&[hidden, hidden]) } else { 0 },
                self.patch_weights(hidden),
                self.patch_weights(latent),
            ]),
            DecoderKind::Attentive { hidden, blocks, .. } => sum([
                product(&[9, hidden, latent]),
                product(&[18, blocks, hidden, hidden]),
                product(&[4, hidden, hidden]),
                self.patch_weights(hidden),
                self.patch_weights(latent),
            ]),
            DecoderKind::BottleNet { .. } => product(&[9, channels, latent]),
            DecoderKind::Student { hidden } => student::decoder_costs(self, hidden).weights(),
        }
    }

    /// Fewest channels between two convolutions of a side, 1 where there are none.
    fn hidden_channels(&self) -> usize {
        let encoder = match self.encoder {
            EncoderKind::Conv { hidden }
            | EncoderKind::Light { hidden, .. }
            | EncoderKind::Refined { hidden } => hidden,
            EncoderKind::Paper { .. }
            | EncoderKind::Patch
            | EncoderKind::Scales { .. }
            | EncoderKind::BottleNet
            | EncoderKind::Student { .. } => 1,
        };
        let decoder = match self.decoder {
            DecoderKind::Conv { hidden, .. }
            | DecoderKind::Refined { hidden, .. }
            | DecoderKind::Attentive { hidden, .. } => hidden,
            DecoderKind::Student { hidden: [one, two] } => one.min(two),
            DecoderKind::Paper { .. }
            | DecoderKind::Patch { .. }
            | DecoderKind::BottleNet { .. } => 1,
        };
        encoder.min(decoder)
    }

    /// Weights between `other` channels and a patch of the stride's size.
    fn patch_weights(&self, other: usize) -> u64 {
        product(&[self.activation.channels, self.stride, self.stride, other])
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let ActivationShape {
            channels,
            height,
            width,
        } = self.activation;
        let sizes = [
            ("activation channels", channels),
            ("activation height", height),
            ("activation width", width),
            ("latent channels", self.latent_channels),
            ("stride", self.stride),
            ("hidden channels", self.hidden_channels()),
        ];
        if let Some((field, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(ConfigError::Zero { field });
        }
        if !(self.step.is_finite() && self.step > 0.0) {
            return Err(ConfigError::Step { found: self.step });
        }
        self.check_limits()?;
        self.check_factors()?;
        self.check_scales()?;
        match (self.encoder, self.decoder) {
            (EncoderKind::Student { layers }, DecoderKind::Student { .. }) => {
                return student::check(self, layers);
            }
            (EncoderKind::Student { .. }, _) | (_, DecoderKind::Student { .. }) => {
                return Err(ConfigError::Student);
            }
            _ => {}
        }
        let least = match self.encoder {
            EncoderKind::Paper { padding } => 3_usize.saturating_sub(2 * padding),
            EncoderKind::Conv { .. } | EncoderKind::Light { .. } | EncoderKind::BottleNet => 1,
            EncoderKind::Patch
            | EncoderKind::Refined { .. }
            | EncoderKind::Scales { .. }
            | EncoderKind::Student { .. } => self.stride,
        };
        let transposed = matches!(
            self.decoder,
            DecoderKind::Paper { .. } | DecoderKind::BottleNet { .. }
        );
        // A pixel shuffle gives back multiples of the stride only, and patches tile the picture.
        let tiled = !transposed
            || matches!(
                self.encoder,
                EncoderKind::Patch | EncoderKind::Refined { .. } | EncoderKind::Scales { .. }
            );
        let uneven =
            tiled && !(height.is_multiple_of(self.stride) && width.is_multiple_of(self.stride));
        if height < least || width < least || uneven {
            return Err(ConfigError::Stride {
                stride: self.stride,
                height,
                width,
            });
        }
        self.check_attention()
    }

    /// The attention of one head compares every pixel of the latent with every other.
    fn check_attention(&self) -> Result<(), ConfigError> {
        let DecoderKind::Attentive { hidden, heads, .. } = self.decoder else {
            return Ok(());
        };
        if heads == 0 || !hidden.is_multiple_of(heads) {
            return Err(ConfigError::Heads { heads, hidden });
        }
        let pixels = product(&self.latent_size());
        let found = product(&[heads]).saturating_mul(pixels.saturating_mul(pixels));
        match found > MAX_ACTIVATION_VALUES {
            true => Err(ConfigError::TooLarge {
                field: "weights of the attention",
                found,
                allowed: MAX_ACTIVATION_VALUES,
            }),
            false => Ok(()),
        }
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let ActivationShape {
            channels,
            height,
            width,
        } = self.activation;
        let counts = match self.decoder {
            DecoderKind::Paper {
                kernel,
                padding,
                output_padding: [rows, columns],
            } => [kernel, padding, rows, columns],
            DecoderKind::Conv { blocks, .. }
            | DecoderKind::Refined { blocks, .. }
            | DecoderKind::Attentive { blocks, .. } => [blocks, 0, 0, 0],
            DecoderKind::Patch { .. } | DecoderKind::Student { .. } => [0; 4],
            DecoderKind::BottleNet {
                output_padding: [rows, columns],
            } => [rows, columns, 0, 0],
        };
        let padding = match self.encoder {
            EncoderKind::Paper { padding } => padding,
            _ => 0,
        };
        let input = self.encoder_input();
        let picture = product(&[input.channels, input.height, input.width]);
        let counts = counts.into_iter().chain([padding]);
        let count = counts.max().unwrap_or(0);
        let weights = sum([self.encoder_weights(), self.decoder_weights()]);
        let limits = [
            (
                "values of the activation",
                product(&[channels, height, width]),
                MAX_ACTIVATION_VALUES,
            ),
            ("values of the picture", picture, MAX_ACTIVATION_VALUES),
            ("weights", weights, MAX_UNIT_PARAMETERS),
            ("blocks or padding", product(&[count]), MAX_COUNT as u64),
            // Before they are multiplied: a convolution may be wide on one side alone.
            (
                "latent channels",
                product(&[self.latent_channels]),
                MAX_UNIT_PARAMETERS,
            ),
            ("stride", product(&[self.stride]), MAX_ACTIVATION_VALUES),
        ];
        match limits
            .into_iter()
            .find(|(_, found, allowed)| found > allowed)
        {
            Some((field, found, allowed)) => Err(ConfigError::TooLarge {
                field,
                found,
                allowed,
            }),
            None => Ok(()),
        }
    }

    fn check_factors(&self) -> Result<(), ConfigError> {
        let factors = &self.step_factors;
        if !factors.is_empty() && factors.len() != self.latent_channels {
            return Err(ConfigError::StepFactors {
                found: factors.len(),
                expected: self.latent_channels,
            });
        }
        let fits = |factor: &f32| (self.step * factor).is_normal() && *factor > 0.0;
        if let Some(factor) = factors.iter().find(|factor| !fits(factor)) {
            let found = self.step * factor;
            return Err(ConfigError::Step { found });
        }
        let EncoderKind::Light { hidden, groups, .. } = self.encoder else {
            return Ok(());
        };
        let channels = self.activation.channels;
        let divides = |count: usize| groups != 0 && count != 0 && count.is_multiple_of(groups);
        if divides(hidden) && divides(channels) {
            return Ok(());
        }
        Err(ConfigError::Groups {
            groups,
            channels,
            hidden,
        })
    }

    /// Several tensors share out the channels of activation and latent, on one grid.
    fn check_scales(&self) -> Result<(), ConfigError> {
        let EncoderKind::Scales { list } = &self.encoder else {
            return Ok(());
        };
        if self.stride != 1 {
            return Err(ConfigError::Stride {
                stride: self.stride,
                height: self.activation.height,
                width: self.activation.width,
            });
        }
        let sum = |of: fn(&Scale) -> usize| {
            let parts = list.as_slice().iter().map(of);
            parts.fold(0, usize::saturating_add)
        };
        for (field, found, expected) in [
            (
                "activation channels",
                sum(|scale| scale.channels),
                self.activation.channels,
            ),
            (
                "latent channels",
                sum(|scale| scale.latent),
                self.latent_channels,
            ),
        ] {
            if found != expected {
                return Err(ConfigError::Scales {
                    field,
                    found,
                    expected,
                });
            }
        }
        let empty = |scale: &Scale| scale.channels == 0 || scale.latent == 0;
        if list.as_slice().iter().any(empty) {
            let field = "channels of a tensor";
            return Err(ConfigError::Zero { field });
        }
        Ok(())
    }

    pub(super) fn latent_size(&self) -> [usize; 2] {
        let sides = [self.activation.height, self.activation.width];
        let padding = match self.encoder {
            EncoderKind::Paper { padding } => padding,
            EncoderKind::Conv { .. } | EncoderKind::Light { .. } | EncoderKind::BottleNet => 1,
            EncoderKind::Patch | EncoderKind::Refined { .. } | EncoderKind::Scales { .. } => {
                return sides.map(|side| side / self.stride);
            }
            EncoderKind::Student { .. } => return sides.map(|side| side.saturating_sub(1)),
        };
        sides.map(|side| (side + 2 * padding - 3) / self.stride + 1)
    }
}

pub(super) fn product(factors: &[usize]) -> u64 {
    let wide = factors
        .iter()
        .map(|factor| u64::try_from(*factor).unwrap_or(u64::MAX));
    wide.fold(1, u64::saturating_mul)
}

fn sum<const N: usize>(parts: [u64; N]) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}

fn whole(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
