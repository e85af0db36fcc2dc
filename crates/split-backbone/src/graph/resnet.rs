//! Residual networks as graphs.

use split_bottleneck::ActivationShape;

use super::conv::Conv;
use super::{Graph, Layer};
use crate::resnet::{BlockKind, BlockPlan, ResNetConfig, ShortcutKind};

impl ResNetConfig {
    /// The network as a graph of layers for pictures of the given size; norms and rectifiers
    /// count as part of the convolution in front of them.
    ///
    /// # Panics
    ///
    /// If a side is 0.
    #[must_use]
    pub fn graph(&self, height: usize, width: usize) -> Graph {
        assert!(height > 0 && width > 0, "a picture has pixels");
        let mut graph = Graph::new(ActivationShape {
            channels: 3,
            height,
            width,
        });
        let stem = self.stem();
        let conv = Conv::spatial(stem.width, stem.kernel, stem.stride);
        let mut last = graph.conv("stem".to_owned(), 0, conv);
        if stem.max_pool {
            let half = |size: usize| (size - 1) / 2 + 1;
            let full = graph.shape(last);
            graph.layers[last].name = "stem.conv".to_owned();
            let shape = ActivationShape {
                height: half(full.height),
                width: half(full.width),
                ..full
            };
            last = graph.plain("stem".to_owned(), vec![last], shape);
        }
        for (stage, blocks) in self.plan().iter().enumerate() {
            for (index, plan) in blocks.iter().enumerate() {
                let block = format!("layer{}.{index}", stage + 1);
                last = graph.block(&block, last, plan);
            }
            graph.layers[last].name = format!("layer{}", stage + 1);
        }
        let pooled = ActivationShape {
            height: 1,
            width: 1,
            ..graph.shape(last)
        };
        let pooled = graph.plain("pool".to_owned(), vec![last], pooled);
        let classifier = Conv {
            shifts: 1,
            ..Conv::spatial(self.classes(), 1, 1)
        };
        graph.conv("fc".to_owned(), pooled, classifier);
        graph
    }
}

impl Graph {
    /// Adds a convolution and gives its index.
    pub(super) fn conv(&mut self, name: String, input: usize, conv: Conv) -> usize {
        let cost = conv.cost(self.shape(input));
        self.push(Layer {
            name,
            inputs: vec![input],
            shape: cost.output,
            macs: cost.macs,
            parameters: cost.parameters,
            workspace_bytes: cost.workspace_bytes,
            in_place: false,
        })
    }

    /// Adds a sum of two results and gives its index.
    pub(super) fn sum(&mut self, name: String, inputs: [usize; 2]) -> usize {
        let shape = self.shape(inputs[0]);
        self.push(Layer {
            name,
            inputs: inputs.to_vec(),
            shape,
            macs: 0,
            parameters: 0,
            workspace_bytes: 0,
            in_place: true,
        })
    }

    fn block(&mut self, name: &str, input: usize, plan: &BlockPlan) -> usize {
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
        let mut last = input;
        for (index, conv) in convs.into_iter().enumerate() {
            last = self.conv(format!("{name}.conv{}", index + 1), last, conv);
        }
        let around = if !plan.reshapes() {
            input
        } else if plan.shortcut == ShortcutKind::Projection {
            let projection = pointwise(plan.outputs, plan.stride);
            self.conv(format!("{name}.downsample"), input, projection)
        } else {
            let shape = self.shape(last);
            self.plain(format!("{name}.downsample"), vec![input], shape)
        };
        self.sum(name.to_owned(), [last, around])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::SplitPoint;

    #[test]
    fn one_tensor_crosses_every_split_point_and_hardly_another_cut() {
        for name in ResNetConfig::NAMES {
            let config = ResNetConfig::named(name).unwrap();
            let graph = config.graph(65, 47);
            let cuts = graph.cuts().into_iter().filter(|cut| cut.live.len() == 1);
            let narrow: Vec<String> = cuts.map(|cut| cut.after).collect();
            let points = config.split_points();
            for point in &points {
                assert!(narrow.contains(&point.to_string()), "{name} {point}");
            }
            // The picture itself, and the stem in front of its pool: not fewer bytes than later.
            let others = narrow
                .iter()
                .filter(|name| name.parse::<SplitPoint>().is_err());
            for other in others {
                assert!(
                    ["input", "stem.conv"].contains(&other.as_str()),
                    "{name} {other}"
                );
            }
        }
    }

    #[test]
    fn sides_add_up_at_every_cut() {
        for name in ResNetConfig::NAMES {
            let graph = ResNetConfig::named(name).unwrap().graph(33, 50);
            for cut in graph.cuts() {
                assert_eq!(cut.head_macs + cut.tail_macs, graph.macs());
                let parameters = cut.head_parameters + cut.tail_parameters;
                assert_eq!(parameters, graph.parameters());
                let peak = cut.head_peak_bytes.max(cut.tail_peak_bytes);
                assert_eq!(peak, graph.peak_bytes());
                assert!(cut.bytes <= cut.tail_peak_bytes);
            }
        }
    }

    #[test]
    fn a_convolution_needs_a_copy_of_its_input_for_each_kernel_column() {
        let graph = ResNetConfig::named("resnext50_32x4d")
            .unwrap()
            .graph(224, 224);
        let at = |name: &str| {
            let layer = graph.layers().iter().find(|layer| layer.name == name);
            layer.unwrap().workspace_bytes
        };
        assert_eq!(at("input"), 0);
        assert_eq!(at("stem.conv"), 7 * 3 * 230 * 112 * 4);
        assert_eq!(at("layer1.0.conv1"), 64 * 56 * 56 * 4);
        // One of 32 groups at a time.
        assert_eq!(at("layer1.0.conv2"), 3 * 4 * 58 * 56 * 4);
        assert_eq!(at("layer1.0"), 0);
    }

    #[test]
    fn inside_a_block_two_tensors_are_live() {
        let graph = ResNetConfig::named("resnet20").unwrap().graph(32, 32);
        let cuts = graph.cuts();
        let at = |name: &str| cuts.iter().find(|cut| cut.after == name).unwrap();
        assert_eq!(at("layer1.1.conv1").live.len(), 2);
        assert_eq!(at("layer1.1.conv1").bytes, 2 * 16 * 32 * 32 * 4);
        assert_eq!(at("layer1.1").live.len(), 1);
    }
}
