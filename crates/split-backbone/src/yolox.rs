//! YOLOX detectors as plain modules: backbone, feature pyramid, decoupled heads.

mod config;
mod cut;
mod distil;
mod layers;
mod neck;
mod order;

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, s};

pub use self::config::YoloxConfig;
pub use self::cut::{SILU_DEPTH, YoloxHead, YoloxPoint, YoloxTail, cut_yolox};
pub use self::distil::DetectorDistortion;
use self::layers::{ConvAct, Dark, Norms, Scales};
use self::neck::{Heads, Neck};
pub(crate) use self::order::steps;
use crate::conv::Weights;
use crate::weights::{WeightsError, WeightsFile, WeightsReport, YOLOX, YOLOX_FILES};

/// A YOLOX detector that can be [cut](cut_yolox).
///
/// The input is `[n, 3, height, width]` in the order blue, green, red with values 0 to 255, both
/// sides multiples of 32; [`Letterbox`](crate::Letterbox) makes it from a picture.
#[derive(Module, Debug)]
pub struct Yolox {
    stem: ConvAct,
    dark2: Dark,
    dark3: Dark,
    dark4: Dark,
    dark5: Dark,
    neck: Neck,
    head: Heads,
    #[module(skip)]
    config: YoloxConfig,
}

impl YoloxConfig {
    /// A network whose weights wait to be loaded.
    #[must_use]
    pub fn init(&self, device: &Device) -> Yolox {
        Yolox::build(self, Norms::Separate, &mut Weights::Zero, device)
    }

    /// A network with weights drawn on the host, for tests and for training from scratch.
    #[must_use]
    pub fn init_seeded(&self, seed: u64, device: &Device) -> Yolox {
        Yolox::build(self, Norms::Separate, &mut Weights::seeded(seed), device)
    }
}

impl Yolox {
    fn build(config: &YoloxConfig, norms: Norms, weights: &mut Weights, device: &Device) -> Self {
        let mut scales = Scales {
            config,
            norms,
            weights,
            device,
        };
        let base = config.base_channels();
        let depth = config.base_depth();
        Self {
            stem: scales.conv(12, base, 3, 1),
            dark2: scales.dark(base, depth, false),
            dark3: scales.dark(2 * base, 3 * depth, false),
            dark4: scales.dark(4 * base, 3 * depth, false),
            dark5: scales.dark(8 * base, depth, true),
            neck: Neck::new(&mut scales),
            head: Heads::new(&mut scales),
            config: *config,
        }
    }

    /// Builds the network and fills it from an official `.pth` or `.onnx` file, or from a
    /// safetensors file under the same names, with separate norms or with norms folded into the
    /// convolutions.
    ///
    /// Exporters to ONNX give folded convolutions numbers for names: these are named by their
    /// places among the convolutions of the graph, which must run as the network's do.
    ///
    /// The norms of the result are folded.
    ///
    /// # Errors
    ///
    /// [`WeightsError`]: which file, which tensors, both shapes, and what to do.
    pub fn load(
        config: &YoloxConfig,
        path: &Path,
        device: &Device,
    ) -> Result<(Self, WeightsReport), WeightsError> {
        let mut file = WeightsFile::read(path, YOLOX_FILES)?;
        file.name_convolutions(&steps(config))?;
        let norms = if file.has_norms() {
            Norms::Separate
        } else {
            Norms::Folded
        };
        let mut network = Self::build(config, norms, &mut Weights::Zero, device);
        let report = file.apply(&mut network, YOLOX)?;
        Ok((network.fold_batch_norm(), report))
    }

    /// The same network with every batch norm folded into its convolution.
    #[must_use]
    pub fn fold_batch_norm(&self) -> Self {
        Self {
            stem: self.stem.fold(),
            dark2: self.dark2.fold(),
            dark3: self.dark3.fold(),
            dark4: self.dark4.fold(),
            dark5: self.dark5.fold(),
            neck: self.neck.fold(),
            head: self.head.fold(),
            config: self.config,
        }
    }

    /// Raw predictions of letterboxed pictures.
    ///
    /// # Shapes
    ///
    /// - `input`: `[n, 3, height, width]`, both sides multiples of 32
    /// - output: `[n, cells, 5 + classes]`: the cells of stride 8, then 16, then 32, each grid row
    ///   by row; a row is x, y, width and height before [decoding](crate::decode), then
    ///   objectness and class scores between 0 and 1
    ///
    /// # Panics
    ///
    /// If a side of the input is no multiple of 32.
    #[must_use]
    pub fn forward(&self, input: Tensor<4>) -> Tensor<3> {
        self.from_pyramid(self.pyramid(input))
    }

    /// The outputs of `dark3`, `dark4` and `dark5`, which together carry everything.
    ///
    /// # Panics
    ///
    /// If a side of the input is no multiple of 32.
    #[must_use]
    pub fn pyramid(&self, input: Tensor<4>) -> [Tensor<4>; 3] {
        self.pyramid_from_dark3(self.dark3.forward(self.dark2.forward(self.stem(input))))
    }

    /// Raw predictions from the three tensors of [`pyramid`](Self::pyramid).
    #[must_use]
    pub fn from_pyramid(&self, pyramid: [Tensor<4>; 3]) -> Tensor<3> {
        self.head.forward(self.neck.forward(pyramid))
    }

    /// The three inputs of the heads, finest first, from the tensors of the pyramid.
    #[must_use]
    pub fn head_inputs(&self, pyramid: [Tensor<4>; 3]) -> [Tensor<4>; 3] {
        self.neck.forward(pyramid)
    }

    /// The numbers this network was built from.
    #[must_use]
    pub fn config(&self) -> &YoloxConfig {
        &self.config
    }

    fn pyramid_from_dark3(&self, fine: Tensor<4>) -> [Tensor<4>; 3] {
        let middle = self.dark4.forward(fine.clone());
        let coarse = self.dark5.forward(middle.clone());
        [fine, middle, coarse]
    }

    fn stem(&self, input: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = input.dims();
        assert!(
            height % 32 == 0,
            "a height of {height} is no multiple of 32"
        );
        assert!(width % 32 == 0, "a width of {width} is no multiple of 32");
        self.stem.forward(space_to_depth(input))
    }
}

/// Every 2x2 pixels become channels, in the order top left, bottom left, top right, bottom right.
fn space_to_depth(input: Tensor<4>) -> Tensor<4> {
    let corner = |row, column| input.clone().slice(s![.., .., row..;2, column..;2]);
    Tensor::cat(
        vec![corner(0, 0), corner(1, 0), corner(0, 1), corner(1, 1)],
        1,
    )
}
