//! What a cut costs: shapes, bytes, multiply-adds, parameters, memory. Arithmetic only.

use crate::cut::SplitPoint;
use crate::resnet::{BlockKind, BlockPlan, ResNetConfig, ShortcutKind};

/// Bytes of one 32-bit float.
const F32_BYTES: u64 = 4;

/// Channels, height and width of a tensor of one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationShape {
    /// Channels.
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

impl ActivationShape {
    /// Bytes as uncoded 32-bit floats.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        product(&[self.channels, self.height, self.width]).saturating_mul(F32_BYTES)
    }
}

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

/// What a run of layers costs.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) macs: u64,
    pub(crate) parameters: u64,
    pub(crate) peak_bytes: u64,
    pub(crate) output: ActivationShape,
}

impl ResNetConfig {
    /// Counts the network's cost for pictures of the given size. Counts saturate.
    #[must_use]
    pub fn profile(&self, height: usize, width: usize) -> Profile {
        let input = ActivationShape {
            channels: 3,
            height,
            width,
        };
        let stem = self.stem_cost(input);
        let mut activation = stem.output;
        let mut steps = vec![stem];
        for plan in self.plan().iter().flatten() {
            let block = block_cost(plan, activation);
            activation = block.output;
            steps.push(block);
        }
        let pooled = ActivationShape {
            channels: activation.channels,
            height: 1,
            width: 1,
        };
        steps.push(Cost {
            macs: 0,
            parameters: 0,
            peak_bytes: activation.bytes().saturating_add(pooled.bytes()),
            output: pooled,
        });
        let classifier = self.classifier_cost(pooled);

        let cuts = self.split_points().into_iter().enumerate();
        let cuts = cuts.map(|(index, point)| {
            let (head, tail) = steps.split_at(index + 1);
            let head = total(stem, &head[1..]);
            let tail = total(classifier, tail);
            let shape = steps[index].output;
            CutProfile {
                point,
                shape,
                bytes: shape.bytes(),
                head_macs: head.macs,
                tail_macs: tail.macs,
                head_parameters: head.parameters,
                tail_parameters: tail.parameters,
                head_peak_bytes: head.peak_bytes,
                tail_peak_bytes: tail.peak_bytes,
            }
        });
        let cuts = cuts.collect();
        let whole = total(classifier, &steps);
        Profile {
            input,
            macs: whole.macs,
            parameters: whole.parameters,
            peak_bytes: whole.peak_bytes,
            cuts,
        }
    }

    fn stem_cost(&self, input: ActivationShape) -> Cost {
        let stem = self.stem();
        let conv = Conv::spatial(stem.width, stem.kernel, stem.stride);
        let cost = conv.cost(input);
        if !stem.max_pool {
            return cost;
        }
        let output = ActivationShape {
            channels: stem.width,
            height: (cost.output.height - 1) / 2 + 1,
            width: (cost.output.width - 1) / 2 + 1,
        };
        let pooling = cost.output.bytes().saturating_add(output.bytes());
        Cost {
            peak_bytes: cost.peak_bytes.max(pooling),
            output,
            ..cost
        }
    }

    fn classifier_cost(&self, pooled: ActivationShape) -> Cost {
        let macs = product(&[pooled.channels, self.classes()]);
        let output = ActivationShape {
            channels: self.classes(),
            height: 1,
            width: 1,
        };
        Cost {
            macs,
            parameters: macs.saturating_add(product(&[self.classes()])),
            peak_bytes: pooled.bytes().saturating_add(output.bytes()),
            output,
        }
    }
}

/// A convolution with batch norm or bias.
#[derive(Clone, Copy)]
pub(crate) struct Conv {
    pub(crate) outputs: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
    pub(crate) groups: usize,
    /// Trained values per output channel besides the kernel: two of a norm, one of a bias.
    pub(crate) shifts: usize,
}

impl Conv {
    /// A dense convolution with norm whose padding keeps the size at stride 1.
    pub(crate) fn spatial(outputs: usize, kernel: usize, stride: usize) -> Self {
        Self {
            outputs,
            kernel,
            stride,
            padding: kernel / 2,
            dilation: 1,
            groups: 1,
            shifts: 2,
        }
    }

    pub(crate) fn cost(self, input: ActivationShape) -> Cost {
        let side = |size: usize| {
            let reach = self.dilation * (self.kernel - 1) + 1;
            (size + 2 * self.padding - reach) / self.stride + 1
        };
        let output = ActivationShape {
            channels: self.outputs,
            height: side(input.height),
            width: side(input.width),
        };
        let fan_in = input.channels / self.groups;
        let weights = product(&[self.outputs, fan_in, self.kernel, self.kernel]);
        let pixels = product(&[output.height, output.width]);
        Cost {
            macs: weights.saturating_mul(pixels),
            parameters: weights.saturating_add(product(&[self.shifts, self.outputs])),
            peak_bytes: input.bytes().saturating_add(output.bytes()),
            output,
        }
    }
}

fn block_cost(plan: &BlockPlan, input: ActivationShape) -> Cost {
    let spatial = |outputs, stride| Conv {
        padding: plan.dilation,
        dilation: plan.dilation,
        groups: plan.groups,
        ..Conv::spatial(outputs, 3, stride)
    };
    let pointwise = |outputs, stride| Conv::spatial(outputs, 1, stride);
    let convs = match plan.kind {
        BlockKind::Basic => vec![spatial(plan.width, plan.stride), spatial(plan.outputs, 1)],
        BlockKind::Bottleneck => vec![
            pointwise(plan.width, 1),
            spatial(plan.width, plan.stride),
            pointwise(plan.outputs, 1),
        ],
    };
    let kept = input.bytes();
    let mut cost = Cost {
        macs: 0,
        parameters: 0,
        peak_bytes: 0,
        output: input,
    };
    for (index, conv) in convs.into_iter().enumerate() {
        let step = conv.cost(cost.output);
        // The block's input waits for the sum; the first convolution reads it anyway.
        let waiting = if index == 0 { 0 } else { kept };
        cost = Cost {
            macs: cost.macs.saturating_add(step.macs),
            parameters: cost.parameters.saturating_add(step.parameters),
            peak_bytes: cost.peak_bytes.max(step.peak_bytes.saturating_add(waiting)),
            output: step.output,
        };
    }
    if plan.reshapes() {
        let result = cost.output.bytes();
        let shortcut = result.saturating_add(kept).saturating_add(result);
        cost.peak_bytes = cost.peak_bytes.max(shortcut);
        if plan.shortcut == ShortcutKind::Projection {
            let projection = pointwise(plan.outputs, plan.stride).cost(input);
            cost.macs = cost.macs.saturating_add(projection.macs);
            cost.parameters = cost.parameters.saturating_add(projection.parameters);
        }
    }
    cost
}

/// Cost of `first` and `others` together; the output is that of `first`.
fn total(first: Cost, others: &[Cost]) -> Cost {
    others.iter().fold(first, |sum, step| Cost {
        macs: sum.macs.saturating_add(step.macs),
        parameters: sum.parameters.saturating_add(step.parameters),
        peak_bytes: sum.peak_bytes.max(step.peak_bytes),
        output: sum.output,
    })
}

fn product(factors: &[usize]) -> u64 {
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
    fn peak_memory_counts_what_a_block_keeps() {
        // Basic block at 16x32x32: input, first and second result are alive together.
        let profile = ResNetConfig::named("resnet20").unwrap().profile(32, 32);
        assert_eq!(profile.peak_bytes, 3 * 16 * 32 * 32 * 4);
        assert_eq!(profile.cuts[0].head_peak_bytes, (3 + 16) * 32 * 32 * 4);
    }
}
