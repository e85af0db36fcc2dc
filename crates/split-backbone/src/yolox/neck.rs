//! The feature pyramid and the decoupled heads.

use burn::module::Module;
use burn::tensor::Tensor;
use split_bottleneck::ops::{double_nearest, sigmoid};

use super::layers::{ConvAct, Csp, Scales, Spatial};
use crate::conv::ConvNorm;

/// Mixes three scales: from coarse to fine and back.
#[derive(Module, Debug)]
pub(super) struct Neck {
    lateral_conv0: ConvAct,
    c3_p4: Csp,
    reduce_conv1: ConvAct,
    c3_p3: Csp,
    bu_conv2: Spatial,
    c3_n3: Csp,
    bu_conv1: Spatial,
    c3_n4: Csp,
}

impl Neck {
    pub(super) fn new(scales: &mut Scales<'_>) -> Self {
        let base = scales.config.base_channels();
        let depth = scales.config.base_depth();
        let [fine, middle, coarse] = [4 * base, 8 * base, 16 * base];
        Self {
            lateral_conv0: scales.conv(coarse, middle, 1, 1),
            c3_p4: scales.csp(2 * middle, middle, depth, false),
            reduce_conv1: scales.conv(middle, fine, 1, 1),
            c3_p3: scales.csp(2 * fine, fine, depth, false),
            bu_conv2: scales.spatial(fine, fine, 2),
            c3_n3: scales.csp(2 * fine, middle, depth, false),
            bu_conv1: scales.spatial(middle, middle, 2),
            c3_n4: scales.csp(2 * middle, coarse, depth, false),
        }
    }

    pub(super) fn forward(&self, [fine, middle, coarse]: [Tensor<4>; 3]) -> [Tensor<4>; 3] {
        let join = |a, b| Tensor::cat(vec![a, b], 1);
        let coarse = self.lateral_conv0.forward(coarse);
        let middle = self
            .c3_p4
            .forward(join(double_nearest(coarse.clone()), middle));
        let middle = self.reduce_conv1.forward(middle);
        let fine = self
            .c3_p3
            .forward(join(double_nearest(middle.clone()), fine));
        let middle = join(self.bu_conv2.forward(fine.clone()), middle);
        let middle = self.c3_n3.forward(middle);
        let coarse = join(self.bu_conv1.forward(middle.clone()), coarse);
        let coarse = self.c3_n4.forward(coarse);
        [fine, middle, coarse]
    }

    pub(super) fn fold(&self) -> Self {
        Self {
            lateral_conv0: self.lateral_conv0.fold(),
            c3_p4: self.c3_p4.fold(),
            reduce_conv1: self.reduce_conv1.fold(),
            c3_p3: self.c3_p3.fold(),
            bu_conv2: self.bu_conv2.fold(),
            c3_n3: self.c3_n3.fold(),
            bu_conv1: self.bu_conv1.fold(),
            c3_n4: self.c3_n4.fold(),
        }
    }
}

/// One head per scale: classes on one branch, box and objectness on the other.
#[derive(Module, Debug)]
pub(super) struct Heads {
    stems: Vec<ConvAct>,
    cls_convs: Vec<Vec<Spatial>>,
    reg_convs: Vec<Vec<Spatial>>,
    cls_preds: Vec<ConvNorm>,
    reg_preds: Vec<ConvNorm>,
    obj_preds: Vec<ConvNorm>,
}

impl Heads {
    pub(super) fn new(scales: &mut Scales<'_>) -> Self {
        let base = scales.config.base_channels();
        let classes = scales.config.classes();
        let width = 4 * base;
        let branch = |scales: &mut Scales<'_>| {
            let two = |_| (0..2).map(|_| scales.spatial(width, width, 1)).collect();
            (0..3).map(two).collect()
        };
        Self {
            stems: [4, 8, 16]
                .map(|factor| scales.conv(factor * base, width, 1, 1))
                .into(),
            cls_convs: branch(scales),
            reg_convs: branch(scales),
            cls_preds: (0..3).map(|_| scales.prediction(width, classes)).collect(),
            reg_preds: (0..3).map(|_| scales.prediction(width, 4)).collect(),
            obj_preds: (0..3).map(|_| scales.prediction(width, 1)).collect(),
        }
    }

    pub(super) fn forward(&self, inputs: [Tensor<4>; 3]) -> Tensor<3> {
        self.rows(inputs, true)
    }

    /// As [`forward`](Self::forward), but with logits in the place of objectness and class
    /// scores.
    pub(super) fn logits(&self, inputs: [Tensor<4>; 3]) -> Tensor<3> {
        self.rows(inputs, false)
    }

    fn rows(&self, inputs: [Tensor<4>; 3], squash: bool) -> Tensor<3> {
        let outputs = inputs.into_iter().enumerate();
        let outputs = outputs.map(|(scale, input)| self.one(scale, input, squash));
        Tensor::cat(outputs.collect(), 1)
    }

    pub(super) fn fold(&self) -> Self {
        let convs = |branches: &[Vec<Spatial>]| {
            let fold = |branch: &Vec<Spatial>| branch.iter().map(Spatial::fold).collect();
            branches.iter().map(fold).collect()
        };
        Self {
            stems: self.stems.iter().map(ConvAct::fold).collect(),
            cls_convs: convs(&self.cls_convs),
            reg_convs: convs(&self.reg_convs),
            ..self.clone()
        }
    }

    /// Rows of one scale, `[n, height * width, 5 + classes]`.
    fn one(&self, scale: usize, input: Tensor<4>, squash: bool) -> Tensor<3> {
        let branch = |convs: &[Spatial], input| convs.iter().fold(input, |x, c| c.forward(x));
        let score = |logits| if squash { sigmoid(logits) } else { logits };
        let stem = self.stems[scale].forward(input);
        let class = branch(&self.cls_convs[scale], stem.clone());
        let class = score(self.cls_preds[scale].forward(class));
        let place = branch(&self.reg_convs[scale], stem);
        let object = score(self.obj_preds[scale].forward(place.clone()));
        let place = self.reg_preds[scale].forward(place);
        Tensor::cat(vec![place, object, class], 1)
            .flatten::<3>(2, 3)
            .swap_dims(1, 2)
    }
}
