//! Layouts of unit encoders as chains of convolutions.

use super::IntegerError;
use super::layer::FloatLayer;
use crate::bank::Rung;
use crate::error::StateError;
use crate::unit::{EncoderKind, UnitConfig};

/// The encoder as a sum of chains of convolutions, with folded batch norms.
pub(super) fn float_branches(rung: &Rung) -> Result<Vec<Vec<FloatLayer>>, IntegerError> {
    let config = &rung.config;
    let (channels, latent) = (config.activation.channels, config.latent_channels);
    let read = |kind: &str| Reader {
        rung,
        start: format!("encoder.{kind}"),
    };
    let first = |out: usize, padding: usize, groups: usize| FloatLayer {
        stride: config.stride,
        padding,
        groups,
        relu: true,
        ..FloatLayer::new([out, channels], 3)
    };
    let second = |hidden: usize| FloatLayer {
        padding: 1,
        ..FloatLayer::new([latent, hidden], 3)
    };
    let chain = match config.encoder {
        EncoderKind::Paper { padding } => {
            let narrow = FloatLayer {
                relu: true,
                ..FloatLayer::new([latent, channels], 1)
            };
            let wide = first(channels, padding, channels);
            let layers = [(wide, "conv2_2", "bn2_1"), (narrow, "conv2_3", "bn3_1")];
            read("Paper").chain(layers)?
        }
        EncoderKind::Conv { hidden } => read("Conv").chain([
            (first(hidden, 1, 1), "conv1", "bn1"),
            (second(hidden), "conv2", "bn2"),
        ])?,
        EncoderKind::Light {
            hidden,
            groups,
            gdn: false,
        } => read("Light").chain([
            (first(hidden, 1, groups), "conv1", "bn1"),
            (FloatLayer::new([latent, hidden], 1), "conv2", "bn2"),
        ])?,
        EncoderKind::Patch => vec![read("Patch").patch("map", config)?],
        EncoderKind::Refined { hidden } => {
            let read = read("Refined");
            let mut last = read.plain(second(hidden), "conv2")?;
            last.scale(&read.tensor("gain", &[latent])?);
            let added = vec![read.folded(first(hidden, 1, 1), "conv1", "bn1")?, last];
            return Ok(vec![vec![read.patch("straight.map", config)?], added]);
        }
        EncoderKind::Light { gdn: true, .. } => {
            let what = "divisive normalisation";
            return Err(IntegerError::Unsupported { what });
        }
        EncoderKind::Scales { .. } => {
            let what = "several tensors";
            return Err(IntegerError::Unsupported { what });
        }
        EncoderKind::BottleNet => return Err(IntegerError::Unsupported { what: "a sigmoid" }),
        EncoderKind::Student { .. } => {
            let what = "divisive normalisation";
            return Err(IntegerError::Unsupported { what });
        }
    };
    Ok(vec![chain])
}

/// Tensors of one encoder.
struct Reader<'a> {
    rung: &'a Rung,
    start: String,
}

/// What batch norms add to a variance, as Burn's default.
const EPSILON: f32 = 1e-5;

impl Reader<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, StateError> {
        let path = format!("{}.{name}", self.start);
        let Some(found) = self.rung.weights.get(&path) else {
            return Err(StateError::Missing { path });
        };
        if found.shape != shape {
            return Err(StateError::Shape {
                path,
                expected: shape.to_vec(),
                found: found.shape.clone(),
            });
        }
        Ok(found.values.clone())
    }

    fn plain(&self, layer: FloatLayer, conv: &str) -> Result<FloatLayer, StateError> {
        let weight = self.tensor(&format!("{conv}.weight"), &layer.weight_shape())?;
        let bias = vec![0.0; layer.outputs];
        Ok(FloatLayer {
            weight,
            bias,
            ..layer
        })
    }

    fn folded(&self, layer: FloatLayer, conv: &str, norm: &str) -> Result<FloatLayer, StateError> {
        let of_norm = |name: &str| self.tensor(&format!("{norm}.{name}"), &[layer.outputs]);
        let (gamma, beta) = (of_norm("gamma")?, of_norm("beta")?);
        let (mean, variance) = (of_norm("running_mean")?, of_norm("running_var")?);
        let mut layer = self.plain(layer, conv)?;
        let gains: Vec<f32> = gamma
            .iter()
            .zip(&variance)
            .map(|(gamma, variance)| gamma / (variance + EPSILON).sqrt())
            .collect();
        layer.scale(&gains);
        let shifts = beta.iter().zip(mean.iter().zip(&gains));
        layer.bias = shifts
            .map(|(beta, (mean, gain))| beta - mean * gain)
            .collect();
        Ok(layer)
    }

    fn chain(&self, layers: [(FloatLayer, &str, &str); 2]) -> Result<Vec<FloatLayer>, StateError> {
        let folded = layers.map(|(layer, conv, norm)| self.folded(layer, conv, norm));
        folded.into_iter().collect()
    }

    fn patch(&self, name: &str, config: &UnitConfig) -> Result<FloatLayer, StateError> {
        let channels = [config.latent_channels, config.activation.channels];
        let layer = FloatLayer {
            stride: config.stride,
            ..FloatLayer::new(channels, config.stride)
        };
        let layer = self.plain(layer, name)?;
        let bias = self.tensor(&format!("{name}.bias"), &[layer.outputs])?;
        Ok(FloatLayer { bias, ..layer })
    }
}
