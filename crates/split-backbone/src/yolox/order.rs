//! The convolutions of a detector in the order in which the official code runs them.

use super::YoloxConfig;
use crate::weights::{Places, Step};

/// Every convolution by its official name, with those that its input comes from.
pub(crate) fn steps(config: &YoloxConfig) -> Vec<Step> {
    let depth = config.base_depth();
    let mut walk = Walk {
        steps: Vec::new(),
        depthwise: config.depthwise(),
    };
    let stem = walk.conv("backbone.backbone.stem.conv", Places::default());
    let dark2 = walk.dark("dark2", depth, stem);
    let fine = walk.dark("dark3", 3 * depth, dark2);
    let middle = walk.dark("dark4", 3 * depth, fine);
    let down = walk.spatial("backbone.backbone.dark5.0", middle);
    let narrow = walk.conv("backbone.backbone.dark5.1.conv1", down);
    let pooled = walk.conv("backbone.backbone.dark5.1.conv2", narrow);
    let coarse = walk.csp("backbone.backbone.dark5.2", depth, false, pooled);

    let lateral = walk.conv("backbone.lateral_conv0", coarse);
    let middle = walk.csp("backbone.C3_p4", depth, false, lateral | middle);
    let reduced = walk.conv("backbone.reduce_conv1", middle);
    let fine = walk.csp("backbone.C3_p3", depth, false, reduced | fine);
    let down = walk.spatial("backbone.bu_conv2", fine);
    let middle = walk.csp("backbone.C3_n3", depth, false, down | reduced);
    let down = walk.spatial("backbone.bu_conv1", middle);
    let coarse = walk.csp("backbone.C3_n4", depth, false, down | lateral);

    for (scale, input) in [fine, middle, coarse].into_iter().enumerate() {
        let stem = walk.conv(&format!("head.stems.{scale}"), input);
        let class = walk.branch(&format!("head.cls_convs.{scale}"), stem);
        walk.push(format!("head.cls_preds.{scale}"), class);
        let place = walk.branch(&format!("head.reg_convs.{scale}"), stem);
        walk.push(format!("head.reg_preds.{scale}"), place);
        walk.push(format!("head.obj_preds.{scale}"), place);
    }
    walk.steps
}

struct Walk {
    steps: Vec<Step>,
    depthwise: bool,
}

impl Walk {
    fn push(&mut self, name: String, after: Places) -> Places {
        let place = self.steps.len();
        self.steps.push(Step { name, after });
        Places::only(place)
    }

    fn conv(&mut self, name: &str, after: Places) -> Places {
        self.push(format!("{name}.conv"), after)
    }

    fn spatial(&mut self, name: &str, after: Places) -> Places {
        if !self.depthwise {
            return self.conv(name, after);
        }
        let after = self.conv(&format!("{name}.dconv"), after);
        self.conv(&format!("{name}.pconv"), after)
    }

    fn dark(&mut self, name: &str, depth: usize, after: Places) -> Places {
        let name = format!("backbone.backbone.{name}");
        let down = self.spatial(&format!("{name}.0"), after);
        self.csp(&format!("{name}.1"), depth, true, down)
    }

    fn csp(&mut self, name: &str, depth: usize, shortcut: bool, after: Places) -> Places {
        let mut through = self.conv(&format!("{name}.conv1"), after);
        let around = self.conv(&format!("{name}.conv2"), after);
        for layer in 0..depth {
            let inner = self.conv(&format!("{name}.m.{layer}.conv1"), through);
            let output = self.spatial(&format!("{name}.m.{layer}.conv2"), inner);
            through = if shortcut { output | through } else { output };
        }
        self.conv(&format!("{name}.conv3"), through | around)
    }

    fn branch(&mut self, name: &str, after: Places) -> Places {
        let first = self.spatial(&format!("{name}.0"), after);
        self.spatial(&format!("{name}.1"), first)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use burn::tensor::Device;

    use super::*;
    use crate::weights::{YOLOX, wanted};

    #[test]
    fn every_convolution_of_every_size_has_its_step() {
        for name in YoloxConfig::NAMES {
            // Narrow: only names are compared.
            let config = YoloxConfig::named(name).unwrap();
            let config = config.with_base_channels(2).unwrap();
            let network = config.init(&Device::flex()).fold_batch_norm();
            let expected: BTreeSet<String> = wanted(&network, YOLOX)
                .into_keys()
                .filter_map(|name| name.strip_suffix(".weight").map(str::to_owned))
                .collect();
            let steps = steps(&config);
            let found: BTreeSet<String> = steps.iter().map(|step| step.name.clone()).collect();
            assert_eq!(found, expected, "{name}");
            assert_eq!(steps.len(), found.len(), "{name}: a step is there twice");
        }
    }
}
