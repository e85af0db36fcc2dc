//! YOLOX detectors as graphs.

use split_bottleneck::ActivationShape;

use super::Graph;
use super::conv::Conv;
use crate::yolox::YoloxConfig;

impl YoloxConfig {
    /// The network as a graph of layers for letterboxed pictures of the given size. Activations
    /// count as part of the convolution in front of them, whose norm is folded.
    ///
    /// # Panics
    ///
    /// If a side is no multiple of 32 or is 0.
    #[must_use]
    pub fn graph(&self, height: usize, width: usize) -> Graph {
        for side in [height, width] {
            let fits = side > 0 && side.is_multiple_of(Self::SIDE_MULTIPLE);
            assert!(fits, "a side of {side} is no multiple of 32");
        }
        let mut graph = Graph::new(ActivationShape {
            channels: 3,
            height,
            width,
        });
        let mut builder = Builder {
            graph: &mut graph,
            config: self,
        };
        let (base, depth) = (self.base_channels(), self.base_depth());
        let folded = ActivationShape {
            channels: 12,
            height: height / 2,
            width: width / 2,
        };
        let folded = builder.graph.plain("fold".to_owned(), vec![0], folded);
        let stem = builder.dense("stem", folded, base, 3);
        let dark2 = builder.dark("dark2", stem, 2 * base, depth, true);
        let dark3 = builder.dark("dark3", dark2, 4 * base, 3 * depth, true);
        let dark4 = builder.dark("dark4", dark3, 8 * base, 3 * depth, true);
        let dark5 = builder.dark("dark5", dark4, 16 * base, depth, false);
        for (scale, input) in builder.neck([dark3, dark4, dark5]).into_iter().enumerate() {
            builder.head(scale, input);
        }
        graph
    }
}

struct Builder<'a> {
    graph: &'a mut Graph,
    config: &'a YoloxConfig,
}

impl Builder<'_> {
    fn dense(&mut self, name: &str, input: usize, outputs: usize, kernel: usize) -> usize {
        let conv = Conv {
            shifts: 1,
            ..Conv::spatial(outputs, kernel, 1)
        };
        self.graph.conv(name.to_owned(), input, conv)
    }

    fn spatial(&mut self, name: &str, input: usize, outputs: usize, stride: usize) -> usize {
        let conv = Conv {
            shifts: 1,
            ..Conv::spatial(outputs, 3, stride)
        };
        if !self.config.depthwise() {
            return self.graph.conv(name.to_owned(), input, conv);
        }
        let channels = self.graph.shape(input).channels;
        let depthwise = Conv {
            outputs: channels,
            groups: channels,
            ..conv
        };
        let middle = self.graph.conv(format!("{name}.dconv"), input, depthwise);
        self.dense(name, middle, outputs, 1)
    }

    /// A cross-stage partial layer; its last convolution carries `name`.
    fn csp(
        &mut self,
        name: &str,
        input: usize,
        outputs: usize,
        (depth, sums): (usize, bool),
    ) -> usize {
        let hidden = outputs / 2;
        let around = self.dense(&format!("{name}.conv2"), input, hidden, 1);
        let mut through = self.dense(&format!("{name}.conv1"), input, hidden, 1);
        for index in 0..depth {
            let layer = format!("{name}.m.{index}");
            let first = self.dense(&format!("{layer}.conv1"), through, hidden, 1);
            let second = self.spatial(&format!("{layer}.conv2"), first, hidden, 1);
            through = if sums {
                self.graph.sum(layer, [second, through])
            } else {
                second
            };
        }
        let joined = self.join(&format!("{name}.join"), &[through, around]);
        self.dense(name, joined, outputs, 1)
    }

    fn dark(
        &mut self,
        name: &str,
        input: usize,
        outputs: usize,
        depth: usize,
        sums: bool,
    ) -> usize {
        let mut last = self.spatial(&format!("{name}.down"), input, outputs, 2);
        if !sums {
            let narrow = self.dense(&format!("{name}.spp.conv1"), last, outputs / 2, 1);
            let shape = self.graph.shape(narrow);
            let mut pools = vec![narrow];
            for size in [5, 9, 13] {
                let before = *pools.last().unwrap_or(&narrow);
                let pool = format!("{name}.spp.pool{size}");
                pools.push(self.graph.plain(pool, vec![before], shape));
            }
            let joined = self.join(&format!("{name}.spp.join"), &pools);
            last = self.dense(&format!("{name}.spp"), joined, outputs, 1);
        }
        self.csp(name, last, outputs, (depth, sums))
    }

    fn neck(&mut self, [fine, middle, coarse]: [usize; 3]) -> [usize; 3] {
        let depth = (self.config.base_depth(), false);
        let [narrow, medium, wide] = [fine, middle, coarse].map(|l| self.graph.shape(l).channels);
        let lateral = self.dense("lateral_conv0", coarse, medium, 1);
        let doubled = self.double("lateral_conv0.double", lateral);
        let joined = self.join("p4.join", &[doubled, middle]);
        let p4 = self.csp("C3_p4", joined, medium, depth);
        let reduced = self.dense("reduce_conv1", p4, narrow, 1);
        let doubled = self.double("reduce_conv1.double", reduced);
        let joined = self.join("p3.join", &[doubled, fine]);
        let p3 = self.csp("C3_p3", joined, narrow, depth);
        let down = self.spatial("bu_conv2", p3, narrow, 2);
        let joined = self.join("n3.join", &[down, reduced]);
        let n3 = self.csp("C3_n3", joined, medium, depth);
        let down = self.spatial("bu_conv1", n3, medium, 2);
        let joined = self.join("n4.join", &[down, lateral]);
        [p3, n3, self.csp("C3_n4", joined, wide, depth)]
    }

    fn head(&mut self, scale: usize, input: usize) {
        let width = 4 * self.config.base_channels();
        let stem = self.dense(&format!("stems.{scale}"), input, width, 1);
        let mut branch = |kind: &str| {
            (0..2).fold(stem, |last, index| {
                self.spatial(&format!("{kind}_convs.{scale}.{index}"), last, width, 1)
            })
        };
        let class = branch("cls");
        let place = branch("reg");
        for (kind, input, outputs) in [
            ("cls", class, self.config.classes()),
            ("reg", place, 4),
            ("obj", place, 1),
        ] {
            self.dense(&format!("{kind}_preds.{scale}"), input, outputs, 1);
        }
    }

    fn join(&mut self, name: &str, inputs: &[usize]) -> usize {
        let channels = inputs.iter().map(|&input| self.graph.shape(input).channels);
        let shape = ActivationShape {
            channels: channels.sum(),
            ..self.graph.shape(inputs[0])
        };
        self.graph.plain(name.to_owned(), inputs.to_vec(), shape)
    }

    fn double(&mut self, name: &str, input: usize) -> usize {
        let shape = self.graph.shape(input);
        let shape = ActivationShape {
            height: 2 * shape.height,
            width: 2 * shape.width,
            ..shape
        };
        self.graph.plain(name.to_owned(), vec![input], shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yolox_nano_costs_what_its_files_say() {
        let graph = YoloxConfig::named("yolox_nano").unwrap().graph(416, 416);
        assert_eq!(graph.parameters(), 904_463);
        let millions = |macs: u64| (macs as f64 / 1e5).round() / 10.0;
        assert_eq!(millions(graph.macs()), 522.6);
        let cuts = graph.cuts();
        let at = |name: &str| cuts.iter().find(|cut| cut.after == name).unwrap();
        assert_eq!(millions(at("dark2").head_macs), 111.1);
        assert_eq!(millions(at("dark3").head_macs), 158.5);
        assert_eq!(at("dark3").bytes, 64 * 52 * 52 * 4);
        let live = |name: &str| -> Vec<_> {
            let layers = at(name).live.iter();
            layers
                .map(|&layer| graph.layers()[layer].name.as_str())
                .collect()
        };
        assert_eq!(live("stem"), ["stem"]);
        assert_eq!(live("dark4"), ["dark3", "dark4"]);
        assert_eq!(live("dark5"), ["dark3", "dark4", "dark5"]);
    }

    #[test]
    fn sides_add_up_at_every_cut() {
        for name in YoloxConfig::NAMES {
            let graph = YoloxConfig::named(name).unwrap().graph(64, 96);
            for cut in graph.cuts() {
                assert_eq!(cut.head_macs + cut.tail_macs, graph.macs());
                assert_eq!(
                    cut.head_parameters + cut.tail_parameters,
                    graph.parameters()
                );
                assert!(cut.head_peak_bytes <= graph.peak_bytes());
                assert!(cut.tail_peak_bytes <= graph.peak_bytes());
                assert!(cut.bytes <= cut.tail_peak_bytes);
            }
        }
    }
}
