//! What the activations inside a unit take.

use super::size::product;
use super::{ActivationShape, DecoderKind, EncoderKind, UnitConfig};

/// Values alive during a step: those that wait for a later one, those it reads, those it writes. Batch norms and
/// activations work in place.
type Step = [u64; 3];

impl UnitConfig {
    /// Most bytes of the encoder's activations that are alive at once for one picture, as 32-bit floats, its input and
    /// output included; what a convolution packs for itself is not counted.
    #[must_use]
    pub fn encoder_peak_bytes(&self) -> u64 {
        peak(&self.encoder_steps())
    }

    /// The same of the decoder.
    #[must_use]
    pub fn decoder_peak_bytes(&self) -> u64 {
        peak(&self.decoder_steps())
    }

    fn encoder_steps(&self) -> Vec<Step> {
        let input = self.encoder_input();
        let input = product(&[input.channels, input.height, input.width]);
        let pixels = product(&self.latent_size());
        let map = |channels: usize| product(&[channels]).saturating_mul(pixels);
        let latent = map(self.latent_channels);
        let two = |hidden: usize| {
            let hidden = map(hidden);
            vec![[0, input, hidden], [0, hidden, latent]]
        };
        match self.encoder {
            EncoderKind::Paper { .. } => two(self.activation.channels),
            EncoderKind::Conv { hidden } => two(hidden),
            EncoderKind::Patch | EncoderKind::Scales { .. } | EncoderKind::BottleNet => {
                vec![[0, input, latent]]
            }
            EncoderKind::Light { hidden, gdn, .. } => {
                let mut steps = two(hidden);
                steps.extend(gdn.then(|| normalised(map(hidden))));
                steps
            }
            EncoderKind::Refined { hidden } => vec![
                [0, input, map(hidden)],
                [input, map(hidden), latent],
                [latent, input, latent],
            ],
            EncoderKind::Student { layers } => {
                let [first, second] = layers.hidden;
                let ActivationShape { height, width, .. } = self.activation;
                let outer = layers.strides[1];
                let first = product(&[first, height, width, outer, outer]);
                let second = product(&[second, height, width]);
                student([input, first, second, latent])
            }
        }
    }

    fn decoder_steps(&self) -> Vec<Step> {
        let ActivationShape {
            channels,
            height,
            width,
        } = self.activation;
        let [rows, columns] = self.latent_size();
        let pixels = product(&[rows, columns]);
        let map = |channels: usize| product(&[channels]).saturating_mul(pixels);
        let latent = map(self.latent_channels);
        let output = product(&[channels, height, width]);
        let shuffled = [0, output, output];
        match self.decoder {
            DecoderKind::Paper {
                kernel,
                padding,
                output_padding,
            } => {
                let output = self.transposed(kernel, padding, output_padding);
                vec![[0, latent, map(channels)], [0, map(channels), output]]
            }
            DecoderKind::Conv { hidden, blocks } => {
                let hidden = map(hidden);
                let mut steps = vec![[0, latent, hidden], [0, hidden, output], shuffled];
                steps.extend((blocks > 0).then_some([hidden; 3]));
                steps
            }
            DecoderKind::Patch { .. } => vec![[0, latent, output], shuffled],
            DecoderKind::Refined {
                hidden,
                blocks,
                gdn,
                ..
            } => {
                let mut steps = self.refined_steps(map(hidden), blocks);
                let [waiting, read, written] = normalised(map(hidden));
                steps.extend(gdn.then_some([output.saturating_add(waiting), read, written]));
                steps
            }
            DecoderKind::Attentive {
                hidden,
                blocks,
                heads,
                ..
            } => {
                let hidden = map(hidden);
                let mut steps = self.refined_steps(hidden, blocks);
                let looks = product(&[heads]).saturating_mul(pixels.saturating_mul(pixels));
                // The shortcut, queries, keys and values; scores become weights.
                let waiting = output.saturating_add(hidden.saturating_mul(4));
                steps.push([waiting, looks, looks]);
                steps
            }
            DecoderKind::BottleNet { .. } => vec![[0, latent, output]],
            DecoderKind::Student { hidden } => {
                let [first, second] = hidden;
                let first = product(&[first, height, width]);
                let second = product(&[second, height.saturating_sub(1), width.saturating_sub(1)]);
                student([latent, first, second, output])
            }
        }
    }

    /// Values that the paper's decoder gives: released units may give back other sides than the activation's.
    fn transposed(&self, kernel: usize, padding: usize, output_padding: [usize; 2]) -> u64 {
        let [rows, columns] = self.latent_size();
        let side = |latent: usize, more: usize| {
            let restored = latent.saturating_sub(1).saturating_mul(self.stride);
            let restored = restored.saturating_add(kernel).saturating_add(more);
            restored.saturating_sub(padding.saturating_mul(2))
        };
        let [more_rows, more_columns] = output_padding;
        product(&[
            self.activation.channels,
            side(rows, more_rows),
            side(columns, more_columns),
        ])
    }

    /// Steps of a decoder whose linear map waits for what residual blocks add to it.
    fn refined_steps(&self, hidden: u64, blocks: usize) -> Vec<Step> {
        let ActivationShape {
            channels,
            height,
            width,
        } = self.activation;
        let output = product(&[channels, height, width]);
        let latent = product(&self.latent_size());
        let latent = latent.saturating_mul(product(&[self.latent_channels]));
        let mut steps = vec![
            [0, latent, output],
            [output, latent, hidden],
            [output, hidden, output],
            [0, output, output],
        ];
        let block = [output.saturating_add(hidden), hidden, hidden];
        steps.extend((blocks > 0).then_some(block));
        steps
    }
}

/// Three convolutions between maps of these sizes, with normalisations between them.
fn student([input, first, second, output]: [u64; 4]) -> Vec<Step> {
    vec![
        [0, input, first],
        normalised(first),
        [0, first, second],
        normalised(second),
        [0, second, output],
    ]
}

/// Divisive normalisation: the map waits while its squares become energies.
fn normalised(map: u64) -> Step {
    [map; 3]
}

fn peak(steps: &[Step]) -> u64 {
    let alive = steps.iter().map(|step| {
        step.iter()
            .fold(0_u64, |sum, part| sum.saturating_add(*part))
    });
    alive.max().unwrap_or(0).saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ActivationShape = ActivationShape {
        channels: 32,
        height: 16,
        width: 16,
    };

    #[test]
    fn peaks_are_counted_by_hand() {
        // Activation 32x16x16 = 8192 values; stride 2 leaves 64 pixels.
        let paper = UnitConfig::paper(SHAPE, 16, 2, 0.25);
        assert_eq!(paper.encoder_peak_bytes(), 4 * (8192 + 32 * 64));
        assert_eq!(paper.decoder_peak_bytes(), 4 * (32 * 64 + 8192));
        let conv = UnitConfig::conv(SHAPE, 24, 2, 0.5);
        assert_eq!(conv.encoder_peak_bytes(), 4 * (8192 + 48 * 64));
        assert_eq!(conv.decoder_peak_bytes(), 4 * (3 * 96 * 64));
        let refined = UnitConfig::refined(SHAPE, 24, 2, 0.5, 2);
        assert_eq!(refined.encoder_peak_bytes(), 4 * (8192 + 24 * 64 + 24 * 64));
        assert_eq!(refined.decoder_peak_bytes(), 4 * (8192 + 3 * 96 * 64));
        let attentive = UnitConfig::attentive(SHAPE, 24, 2, 0.5, 2);
        let looks = 2 * 4 * 64 * 64;
        assert_eq!(
            attentive.decoder_peak_bytes(),
            4 * (8192 + 4 * 96 * 64 + looks)
        );
        let pca = UnitConfig::patch(SHAPE, 128, 2, 0.25);
        assert_eq!(pca.encoder_peak_bytes(), 4 * (8192 + 128 * 64));
    }

    #[test]
    fn released_units_that_give_back_other_sides_count_those() {
        let wide = UnitConfig {
            decoder: DecoderKind::Paper {
                kernel: 5,
                padding: 0,
                output_padding: [0, 0],
            },
            ..UnitConfig::paper(SHAPE, 16, 2, 0.25)
        };
        // Eight pixels a side become 7 * 2 + 5.
        assert_eq!(wide.decoder_peak_bytes(), 4 * (32 * 64 + 32 * 19 * 19));
    }
}
