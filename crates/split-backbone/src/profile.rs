//! What a cut costs: shapes, bytes, multiply-adds, parameters, memory. Arithmetic only.

use split_bottleneck::ActivationShape;

use crate::cut::SplitPoint;
use crate::resnet::ResNetConfig;

/// A network's cost for one picture, as a whole and at every split point.
///
/// ```
/// use split_backbone::ResNetConfig;
///
/// let profile = ResNetConfig::named("resnet50")?.profile(224, 224);
/// assert_eq!(profile.macs, 4_089_184_256);
/// # Ok::<(), split_backbone::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Shape of the input.
    pub input: ActivationShape,
    /// Multiply-adds of all convolutions and the classifier.
    pub macs: u64,
    /// Trained values: weights, biases, scales and shifts; no running statistics.
    pub parameters: u64,
    /// Most bytes of activations alive at once, see [`CutProfile::head_peak_bytes`].
    pub peak_bytes: u64,
    /// One entry per split point, from the input on.
    pub cuts: Vec<CutProfile>,
}

/// What both sides of a cut pay for one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutProfile {
    /// Where.
    pub point: SplitPoint,
    /// Shape of the one tensor that crosses the cut.
    pub shape: ActivationShape,
    /// Its bytes as uncoded 32-bit floats.
    pub bytes: u64,
    /// Multiply-adds on the device.
    pub head_macs: u64,
    /// Multiply-adds on the edge.
    pub tail_macs: u64,
    /// Trained values on the device.
    pub head_parameters: u64,
    /// Trained values on the edge.
    pub tail_parameters: u64,
    /// Most bytes of activations alive at once on the device: what a layer reads and writes and
    /// what later layers still need. Norms and rectifiers work in place; a layer's own working
    /// space is not counted.
    pub head_peak_bytes: u64,
    /// The same on the edge.
    pub tail_peak_bytes: u64,
}

impl ResNetConfig {
    /// The cost of every split point for pictures of the given size, read off the
    /// [graph](Self::graph). Counts saturate.
    ///
    /// # Panics
    ///
    /// If a side is 0.
    #[must_use]
    pub fn profile(&self, height: usize, width: usize) -> Profile {
        let graph = self.graph(height, width);
        let all = graph.cuts();
        let cuts = self.split_points().into_iter().map(|point| {
            let name = point.to_string();
            let cut = all.iter().find(|cut| cut.after == name);
            let cut = cut.expect("the graph names its layers as split points are written");
            let [live] = cut.live.as_slice() else {
                unreachable!(
                    "one tensor crosses a split point, at {point} {:?} do",
                    cut.live
                );
            };
            CutProfile {
                point,
                shape: graph.layers()[*live].shape,
                bytes: cut.bytes,
                head_macs: cut.head_macs,
                tail_macs: cut.tail_macs,
                head_parameters: cut.head_parameters,
                tail_parameters: cut.tail_parameters,
                head_peak_bytes: cut.head_peak_bytes,
                tail_peak_bytes: cut.tail_peak_bytes,
            }
        });
        Profile {
            input: graph.layers()[0].shape,
            macs: graph.macs(),
            parameters: graph.parameters(),
            peak_bytes: graph.peak_bytes(),
            cuts: cuts.collect(),
        }
    }
}

/// A product that saturates.
pub(crate) fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1, |product: u64, &factor| {
        product.saturating_mul(u64::try_from(factor).unwrap_or(u64::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, side, multiply-adds, parameters.
    fn check(name: &str, side: usize, macs: u64, parameters: u64) {
        let profile = ResNetConfig::named(name).unwrap().profile(side, side);
        assert_eq!(
            (profile.macs, profile.parameters),
            (macs, parameters),
            "{name}"
        );
        for cut in &profile.cuts {
            assert_eq!(cut.head_macs + cut.tail_macs, macs, "{name} {}", cut.point);
            assert_eq!(cut.head_parameters + cut.tail_parameters, parameters);
            assert_eq!(
                profile.peak_bytes,
                cut.head_peak_bytes.max(cut.tail_peak_bytes)
            );
        }
    }

    #[test]
    fn cifar_networks_cost_what_their_author_counts() {
        check("resnet20", 32, 40_551_040, 269_722);
        check("resnet32", 32, 68_862_592, 464_154);
        check("resnet44", 32, 97_174_144, 658_586);
        check("resnet56", 32, 125_485_696, 853_018);
    }

    #[test]
    fn imagenet_networks_cost_what_torchvision_documents() {
        for (name, gmacs, parameters) in [
            ("resnet18", 1.814, 11_689_512),
            ("resnet34", 3.664, 21_797_672),
            ("resnet50", 4.089, 25_557_032),
            ("resnet101", 7.801, 44_549_160),
            ("resnet152", 11.514, 60_192_808),
            ("wide_resnet50_2", 11.398, 68_883_240),
            ("wide_resnet101_2", 22.753, 126_886_696),
            ("resnext50_32x4d", 4.230, 25_028_904),
            ("resnext101_32x8d", 16.414, 88_791_336),
            ("resnext101_64x4d", 15.460, 83_455_272),
        ] {
            let profile = ResNetConfig::named(name).unwrap().profile(224, 224);
            assert_eq!(profile.parameters, parameters, "{name}");
            let found = profile.macs as f64 / 1e9;
            assert!((found - gmacs).abs() <= 0.0005, "{name}: {found}");
        }
        check("resnet50", 224, 4_089_184_256, 25_557_032);
    }

    #[test]
    fn resnet50_cuts_have_the_published_device_costs() {
        let profile = ResNetConfig::named("resnet50").unwrap().profile(224, 224);
        let at = |text: &str| {
            let config = ResNetConfig::named("resnet50").unwrap();
            profile.cuts[config.locate(text.parse().unwrap()).unwrap()]
        };
        assert_eq!(at("layer4").head_macs, 4_087_136_256);
        assert_eq!(at("layer4.0").head_macs, 3_650_404_352);
        assert_eq!(at("layer3.4").head_macs, 3_059_531_776);
        let shape = at("layer3.4").shape;
        assert_eq!((shape.channels, shape.height, shape.width), (1024, 14, 14));
    }

    #[test]
    fn resnet56_cuts_have_the_published_device_costs() {
        let config = ResNetConfig::named("resnet56").unwrap();
        let profile = config.profile(32, 32);
        for (point, macs, bytes) in [
            ("stem", 442_368, 65_536),
            ("layer1.0", 5_160_960, 65_536),
            ("layer1", 42_909_696, 65_536),
            ("layer2", 84_197_376, 32_768),
            ("layer3", 125_485_056, 16_384),
            ("pool", 125_485_056, 256),
        ] {
            let cut = profile.cuts[config.locate(point.parse().unwrap()).unwrap()];
            assert_eq!((cut.head_macs, cut.bytes), (macs, bytes), "{point}");
            assert_eq!(cut.tail_macs, 125_485_696 - macs, "{point}");
        }
    }

    #[test]
    fn peak_memory_counts_what_a_block_keeps() {
        // Basic block at 16x32x32: input, first and second result are alive together.
        let profile = ResNetConfig::named("resnet20").unwrap().profile(32, 32);
        assert_eq!(profile.peak_bytes, 3 * 16 * 32 * 32 * 4);
        assert_eq!(profile.cuts[0].head_peak_bytes, (3 + 16) * 32 * 32 * 4);
    }
}
