use burn::module::{Module, Param};
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Logistic components of each channel.
const COMPONENTS: usize = 2;

/// A density conditioned on decoded neighbours, the same four that the codec's contexts look at:
/// `2 W + 2 N + NW + NE`, with the codec's rules at the borders.
///
/// Location moves with the neighbours' mean and the log scale with the log of their mean
/// magnitude; the first symbol of a channel, which has no neighbours, has offsets of its own.
#[derive(Module, Debug)]
pub struct NeighbourRate {
    /// Unnormalised log weights, `[components, channels]`.
    weights: Param<Tensor<2>>,
    /// Locations without neighbours, in symbols, `[components, channels]`.
    locations: Param<Tensor<2>>,
    /// How far locations follow the neighbours' mean, `[components, channels]`.
    follows: Param<Tensor<2>>,
    /// Log scales among silent neighbours, `[components, channels]`.
    log_scales: Param<Tensor<2>>,
    /// How far log scales follow `ln(1 + mean magnitude)`, `[components, channels]`.
    spreads: Param<Tensor<2>>,
    /// Added to location and log scale of the first symbol, `[2, channels]`.
    first: Param<Tensor<2>>,
    #[module(skip)]
    rectified: bool,
}

impl NeighbourRate {
    /// A density that starts at each channel's mean and standard deviation and ignores neighbours.
    pub(super) fn with_moments(moments: &[(f32, f32)], rectified: bool, device: &Device) -> Self {
        let channels = moments.len();
        let parameter = |rows: usize, values: Vec<f32>| {
            Param::from_data(TensorData::new(values, [rows, channels]), device)
        };
        let (mut locations, mut log_scales) = (Vec::new(), Vec::new());
        for offset in [-0.5_f32, 0.5] {
            for (mean, deviation) in moments {
                let deviation = deviation.max(0.3);
                locations.push(mean + offset * deviation);
                log_scales.push((deviation * 0.5).ln());
            }
        }
        let silent = || vec![0.0; COMPONENTS * channels];
        Self {
            weights: parameter(COMPONENTS, silent()),
            locations: parameter(COMPONENTS, locations),
            follows: parameter(COMPONENTS, silent()),
            log_scales: parameter(COMPONENTS, log_scales),
            spreads: parameter(COMPONENTS, silent()),
            first: parameter(2, vec![0.0; 2 * channels]),
            rectified,
        }
    }

    /// Probability of the unit bin around each value, `[n, channels, height * width]`.
    pub(super) fn mass(&self, symbols: Tensor<4>) -> Tensor<3> {
        self.mass_with(symbols, None)
    }

    /// As [`Self::mass`] of whole symbols that are never negative: zero takes the lower tail.
    pub(super) fn rectified_mass(&self, symbols: Tensor<4>) -> Tensor<3> {
        let [n, channels, height, width] = symbols.dims();
        let zero = symbols.clone().equal_elem(0.0).float();
        let zero = zero.reshape([n, channels, height * width]);
        self.mass_with(symbols, Some(zero))
    }

    pub(super) fn is_rectified(&self) -> bool {
        self.rectified
    }

    /// With the lower tail added wherever `tail` is one.
    fn mass_with(&self, symbols: Tensor<4>, tail: Option<Tensor<3>>) -> Tensor<3> {
        let [n, channels, height, width] = symbols.dims();
        let x = symbols.reshape([n, channels, height * width]);
        let context = Context::new(height, width, &x.device());
        let mean = context.mean(x.clone());
        let liveliness = context.mean(x.clone().abs()).add_scalar(1.0).log();
        let row = |of: &Param<Tensor<2>>, index: usize| {
            let row = of.val().slice([index..index + 1, 0..channels]);
            row.reshape([1, channels, 1])
        };
        let weights = softmax(self.weights.val(), 0);
        let mut probability = x.zeros_like();
        for k in 0..COMPONENTS {
            let location = row(&self.locations, k)
                + row(&self.follows, k) * mean.clone()
                + row(&self.first, 0) * context.first.clone();
            let log_scale = row(&self.log_scales, k)
                + row(&self.spreads, k) * liveliness.clone()
                + row(&self.first, 1) * context.first.clone();
            let inverse = log_scale.neg().exp();
            let centred = x.clone() - location;
            let upper = sigmoid(centred.clone().add_scalar(0.5) * inverse.clone());
            let lower = sigmoid(centred.sub_scalar(0.5) * inverse);
            let lower = match &tail {
                Some(tail) => lower * tail.clone().neg().add_scalar(1.0),
                None => lower,
            };
            let weight = weights.clone().slice([k..k + 1, 0..channels]);
            probability = probability + (upper - lower) * weight.reshape([1, channels, 1]);
        }
        probability
    }
}

/// Where each point of a channel finds its neighbours.
struct Context {
    /// Points W, N, NW, NE of each point, after the codec's replacements.
    taps: [Tensor<1, Int>; 4],
    /// One at the first point, zero elsewhere, `[1, 1, points]`.
    first: Tensor<3>,
}

impl Context {
    fn new(height: usize, width: usize, device: &Device) -> Self {
        let points = height * width;
        let mut taps = [(); 4].map(|()| Vec::with_capacity(points));
        for point in 0..points {
            for (tap, at) in taps.iter_mut().zip(neighbours(point, width)) {
                tap.push(i32::try_from(at).expect("a latent has fewer points"));
            }
        }
        let mut first = vec![0.0_f32; points];
        first[0] = 1.0;
        Self {
            taps: taps.map(|tap| Tensor::from_data(TensorData::new(tap, [points]), device)),
            first: Tensor::from_data(TensorData::new(first, [1, 1, points]), device),
        }
    }

    /// Weighted mean of the neighbours, zero at the first point, `[n, channels, points]`.
    fn mean(&self, x: Tensor<3>) -> Tensor<3> {
        let [west, north, corner, right] = self.taps.clone().map(|tap| x.clone().select(2, tap));
        let sum = (west + north).mul_scalar(2.0) + corner + right;
        sum.div_scalar(6.0) * self.first.clone().neg().add_scalar(1.0)
    }
}

/// W, N, NW and NE of a point; what lies outside is replaced as the codec does: in the first row
/// all by W, in the first column W and NW by N, in the last column NE by N. The first point
/// names itself.
fn neighbours(point: usize, width: usize) -> [usize; 4] {
    let (row, column) = (point / width, point % width);
    if row == 0 {
        return [point.saturating_sub(1); 4];
    }
    let north = point - width;
    let (west, corner) = if column == 0 {
        (north, north)
    } else {
        (point - 1, north - 1)
    };
    let right = if column + 1 < width { north + 1 } else { north };
    [west, north, corner, right]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codec's own sums on a 3 x 3 channel with values 1, -2, 3 and 4 to 9 (split-tensor,
    /// `table/context.rs`).
    #[test]
    fn neighbour_means_are_the_codecs_sums_over_six() {
        let device = Device::flex();
        let values = [1.0_f32, -2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let x = Tensor::<3>::from_data(TensorData::new(values.to_vec(), [1, 1, 9]), &device);
        let context = Context::new(3, 3, &device);
        let sums: Vec<f32> = context.mean(x.abs()).into_data().try_to_vec().unwrap();
        let at = |row: usize, column: usize| (6.0 * sums[row * 3 + column]).round();
        assert_eq!(at(0, 0), 0.0);
        assert_eq!(at(0, 1), 6.0);
        assert_eq!(at(0, 2), 12.0);
        assert_eq!(at(1, 0), 7.0);
        assert_eq!(at(1, 1), 16.0);
        assert_eq!(at(1, 2), 21.0);
    }

    #[test]
    fn a_single_column_looks_up_only() {
        assert_eq!(neighbours(4, 1), [3; 4]);
    }
}
