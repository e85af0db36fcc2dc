use std::ops::Range;

use burn::module::Module;
use burn::tensor::Device;
use rand_core::SeedableRng;
use rand_pcg::Pcg64;
use thiserror::Error;

use crate::cache::ActivationCache;
use crate::error::ConfigError;
use crate::state::{ModuleState, load_state, module_state};
use crate::train::{Objective, TrainConfig, WarmStart, symbol_moments};
use crate::unit::{ActivationShape, DecoderKind, EncoderKind, ScaleList, UnitConfig};

/// Most values of a patch; the covariance takes their square.
pub const MAX_PATCH_VALUES: usize = 1024;
/// Multiply-accumulates that the covariance may take; more patches are thinned out evenly.
const WORK_MAX: usize = 1 << 32;
/// Sweeps of the Jacobi method; it converges quadratically, usually within eight.
const SWEEPS_MAX: usize = 40;

/// The Karhunen-Loève transform of activation patches: principal components, found in closed form.
///
/// Patches are `stride` x `stride` pixels with all their channels and do not overlap. As a unit
/// with [`EncoderKind::Patch`] and [`DecoderKind::Patch`] it needs no training: the device
/// multiplies with the components, the edge with their transpose, one step for all.
#[derive(Debug, Clone)]
pub struct Klt {
    activation: ActivationShape,
    stride: usize,
    mean: Vec<f64>,
    /// Unit-length components, one row each, largest variance first.
    components: Vec<Vec<f64>>,
    variances: Vec<f64>,
    rectified: bool,
}

/// Why there is no transform.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum KltError {
    /// Patches do not tile the activation, or are too large.
    #[error(
        "patches of {stride} x {stride} with {channels} channels do not fit: they must tile \
         {height} x {width} and have at most {MAX_PATCH_VALUES} values"
    )]
    Patch {
        /// Side of a patch.
        stride: usize,
        /// Channels of the activation.
        channels: usize,
        /// Rows of the activation.
        height: usize,
        /// Columns of the activation.
        width: usize,
    },
    /// There is no picture.
    #[error("the cache holds no picture")]
    Empty,
    /// The components do not fit the unit.
    #[error(
        "{found} latent channels with stride {stride}, the transform has {components} components at stride {own_stride}"
    )]
    Layout {
        /// Channels of the unit's latent.
        found: usize,
        /// Stride of the unit.
        stride: usize,
        /// Components of the transform.
        components: usize,
        /// Stride of the transform.
        own_stride: usize,
    },
    /// The unit's configuration does not hold.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Klt {
    /// The transform of up to `limit` cached pictures, spread evenly over the cache.
    ///
    /// # Errors
    ///
    /// When patches do not tile the activation or are too large, or the cache is empty.
    pub fn fit(cache: &ActivationCache, stride: usize, limit: usize) -> Result<Self, KltError> {
        Self::fit_channels(cache, 0..cache.shape().channels, stride, limit)
    }

    /// The transform that the unit of `config` starts from: that of its stride or, with
    /// [`EncoderKind::Scales`], one for each tensor of the cut, of which the latent takes the first components.
    ///
    /// # Errors
    ///
    /// As [`fit`](Self::fit); [`KltError::Layout`] where a tensor has fewer components than latent channels.
    pub fn for_unit(
        cache: &ActivationCache,
        config: &UnitConfig,
        limit: usize,
    ) -> Result<Self, KltError> {
        let EncoderKind::Scales { list } = &config.encoder else {
            return Self::fit(cache, config.stride, limit);
        };
        config.latent_shape()?;
        let activation = cache.shape();
        let mut joined = Self {
            activation,
            stride: 1,
            mean: Vec::new(),
            components: Vec::new(),
            variances: Vec::new(),
            rectified: true,
        };
        for scale in list.as_slice() {
            let begin = joined.mean.len();
            let end = begin
                .saturating_add(scale.channels)
                .min(activation.channels);
            let own = Self::fit_channels(cache, begin..end, 1, limit)?;
            if own.components.len() < scale.latent {
                return Err(KltError::Layout {
                    found: scale.latent,
                    stride: config.stride,
                    components: own.components.len(),
                    own_stride: 1,
                });
            }
            let rows = own.components.into_iter().take(scale.latent).map(|own| {
                let mut row = vec![0.0; activation.channels];
                row[begin..end].copy_from_slice(&own);
                row
            });
            joined.components.extend(rows);
            joined.variances.extend(&own.variances[..scale.latent]);
            joined.mean.extend(own.mean);
            joined.rectified &= own.rectified;
        }
        Ok(joined)
    }

    /// The transform of some channels, whose rows and means are as long as their patches.
    fn fit_channels(
        cache: &ActivationCache,
        range: Range<usize>,
        stride: usize,
        limit: usize,
    ) -> Result<Self, KltError> {
        let activation = cache.shape();
        let ActivationShape { height, width, .. } = activation;
        let channels = range.len();
        let values = channels.saturating_mul(stride.saturating_mul(stride));
        let tiles = stride > 0 && height.is_multiple_of(stride) && width.is_multiple_of(stride);
        if !tiles || values == 0 || values > MAX_PATCH_VALUES {
            return Err(KltError::Patch {
                stride,
                channels,
                height,
                width,
            });
        }
        if cache.is_empty() || limit == 0 {
            return Err(KltError::Empty);
        }
        let pictures = cache.spread(limit);
        let places = (height / stride) * (width / stride);
        let patches = pictures.len() * places;
        let thin = (patches * values * values / 2).div_ceil(WORK_MAX).max(1);
        let mut moments = Moments::new(values);
        let mut rectified = true;
        let mut seen = 0;
        let mut patch = vec![0.0_f64; values];
        let part = ActivationShape {
            channels,
            ..activation
        };
        for picture in pictures {
            let plane = height * width;
            let picture = &cache.activation(picture)[range.start * plane..range.end * plane];
            rectified &= picture.iter().all(|value| *value >= 0.0);
            for place in 0..places {
                seen += 1;
                if seen % thin != 0 && patches > thin {
                    continue;
                }
                gather(picture, part, stride, place, &mut patch);
                moments.add(&patch);
            }
        }
        let (mean, covariance) = moments.finish();
        let (variances, components) = eigen(covariance);
        Ok(Self {
            activation,
            stride,
            mean,
            components,
            variances,
            rectified,
        })
    }

    /// Variance along each component, largest first, in squared units of the activation.
    #[must_use]
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }

    /// The untrained unit with `latent_channels` components and one step for all of them.
    #[must_use]
    pub fn unit(&self, latent_channels: usize, step: f32) -> UnitConfig {
        UnitConfig {
            decoder: DecoderKind::Patch {
                rectified: self.rectified,
            },
            ..UnitConfig::patch(self.activation, latent_channels, self.stride, step)
        }
    }

    /// Weights for a unit of `config`: drawn from `seed`, but for its linear maps of patches,
    /// which become the components on the device side and their transpose on the edge side.
    ///
    /// With patch layouts on both sides this is the whole unit; with
    /// [`DecoderKind::Refined`] it is where training starts.
    ///
    /// # Errors
    ///
    /// When stride or channels differ, or the configuration does not hold.
    pub fn weights(
        &self,
        config: &UnitConfig,
        seed: u64,
        device: &Device,
    ) -> Result<ModuleState, KltError> {
        let latent = config.latent_channels;
        let fits = config.activation == self.activation
            && config.stride == self.stride
            && latent <= self.components.len();
        if !fits {
            return Err(KltError::Layout {
                found: latent,
                stride: config.stride,
                components: self.components.len(),
                own_stride: self.stride,
            });
        }
        let fresh = config.init(device, &mut Pcg64::seed_from_u64(seed))?;
        let mut state = module_state(&fresh);
        if matches!(
            config.encoder,
            EncoderKind::Patch | EncoderKind::Refined { .. } | EncoderKind::Scales { .. }
        ) {
            match &config.encoder {
                EncoderKind::Scales { list } => self.write_scales(list, &mut state),
                _ => self.write_encoder(latent, &mut state),
            }
            // Without the components on the device the transpose would mean nothing.
            if matches!(
                config.decoder,
                DecoderKind::Patch { .. }
                    | DecoderKind::Refined { .. }
                    | DecoderKind::Attentive { .. }
            ) {
                self.write_decoder(latent, &mut state);
            }
        }
        Ok(state)
    }

    /// Where the training of a unit starts: [`weights`](Self::weights) and a rate model that
    /// begins at the moments of their symbols.
    ///
    /// # Errors
    ///
    /// As [`weights`](Self::weights), and when the cache has no picture.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the weights were read from a unit of this layout"
    )]
    pub fn warm_start(
        &self,
        config: &UnitConfig,
        train: &TrainConfig,
        cache: &ActivationCache,
        device: &Device,
    ) -> Result<WarmStart, KltError> {
        if cache.is_empty() {
            return Err(KltError::Empty);
        }
        let weights = self.weights(config, train.seed, device)?;
        let fresh = config.init(device, &mut Pcg64::seed_from_u64(0))?;
        let unit = load_state(fresh, &weights)
            .expect("the weights are those of this layout")
            .valid();
        let indices: Vec<usize> = (0..cache.len().min(train.batch_size.max(1))).collect();
        let moments = symbol_moments(&unit, config, cache.batch(&indices, device).activation);
        let rate = train.rate.init(&moments, config.is_rectified(), device);
        let lambda = match train.objective {
            Objective::Lambda(lambda) => lambda,
            Objective::TargetBits { start, .. } => start,
        };
        Ok(WarmStart {
            unit: weights,
            rate: module_state(&rate),
            lambda,
            coded_share: 1.0,
        })
    }

    /// One map for each tensor, in the order of their names.
    fn write_scales(&self, list: &ScaleList, state: &mut ModuleState) {
        let (mut channel, mut row) = (0, 0);
        for (index, scale) in list.as_slice().iter().enumerate() {
            let own = channel..channel + scale.channels;
            let rows = &self.components[row..row + scale.latent];
            let weight = rows.iter().flat_map(|row| &row[own.clone()]);
            let weight = weight.map(|value| to_f32(*value)).collect();
            let bias = rows.iter().map(|row| to_f32(-self.dot_mean(row))).collect();
            let name = |parameter: &str| format!(".maps.{index}.{parameter}");
            set(state, "encoder.", &name("weight"), weight);
            set(state, "encoder.", &name("bias"), bias);
            (channel, row) = (own.end, row + scale.latent);
        }
    }

    fn dot_mean(&self, row: &[f64]) -> f64 {
        row.iter().zip(&self.mean).map(|(a, b)| a * b).sum()
    }

    fn write_encoder(&self, latent: usize, state: &mut ModuleState) {
        let rows = &self.components[..latent];
        let weight = rows.iter().flatten().map(|value| to_f32(*value)).collect();
        let bias = rows.iter().map(|row| to_f32(-self.dot_mean(row))).collect();
        set(state, "encoder.", ".map.weight", weight);
        set(state, "encoder.", ".map.bias", bias);
    }

    fn write_decoder(&self, latent: usize, state: &mut ModuleState) {
        let values = self.mean.len();
        let rows = &self.components[..latent];
        let mut weight = Vec::with_capacity(values * latent);
        for value in 0..values {
            weight.extend(rows.iter().map(|row| to_f32(row[value])));
        }
        let mean = self.mean.iter().map(|value| to_f32(*value)).collect();
        set(state, "decoder.", ".map.weight", weight);
        set(state, "decoder.", ".map.bias", mean);
    }
}

/// Overwrites the linear map of one side; the name of the layout stands between both.
fn set(state: &mut ModuleState, side: &str, parameter: &str, values: Vec<f32>) {
    let own = |path: &&String| path.starts_with(side) && path.ends_with(parameter);
    let path = state
        .keys()
        .find(own)
        .expect("patch layouts have these parameters")
        .clone();
    let tensor = state.get_mut(&path).expect("found above");
    assert_eq!(tensor.values.len(), values.len(), "{path} has its size");
    tensor.values = values;
}

/// One patch in the order channel, row, column: that of a convolution's weight.
fn gather(picture: &[f32], shape: ActivationShape, stride: usize, place: usize, out: &mut [f64]) {
    let across = shape.width / stride;
    let (top, left) = (place / across * stride, place % across * stride);
    let mut target = out.iter_mut();
    for channel in 0..shape.channels {
        for row in 0..stride {
            let start = (channel * shape.height + top + row) * shape.width + left;
            for (value, out) in picture[start..start + stride].iter().zip(&mut target) {
                *out = f64::from(*value);
            }
        }
    }
}

/// Sums for a mean and a covariance.
struct Moments {
    count: f64,
    sum: Vec<f64>,
    /// Lower triangle of the sum of products, row by row.
    products: Vec<f64>,
}

impl Moments {
    fn new(values: usize) -> Self {
        Self {
            count: 0.0,
            sum: vec![0.0; values],
            products: vec![0.0; values * (values + 1) / 2],
        }
    }

    fn add(&mut self, patch: &[f64]) {
        self.count += 1.0;
        let mut rest = self.products.as_mut_slice();
        for (row, value) in patch.iter().enumerate() {
            self.sum[row] += value;
            let (own, after) = rest.split_at_mut(row + 1);
            rest = after;
            if *value == 0.0 {
                continue;
            }
            for (product, other) in own.iter_mut().zip(patch) {
                *product += value * other;
            }
        }
    }

    fn finish(self) -> (Vec<f64>, Vec<Vec<f64>>) {
        let values = self.sum.len();
        let mean: Vec<f64> = self.sum.iter().map(|sum| sum / self.count).collect();
        let mut covariance = vec![vec![0.0; values]; values];
        let mut products = self.products.iter();
        for row in 0..values {
            for column in 0..=row {
                let product = products.next().copied().unwrap_or(0.0) / self.count;
                let value = product - mean[row] * mean[column];
                covariance[row][column] = value;
                covariance[column][row] = value;
            }
        }
        (mean, covariance)
    }
}

/// Eigenvalues, largest first, and unit eigenvectors as rows of a symmetric matrix: the cyclic
/// Jacobi method (Golub and Van Loan, section 8.5).
fn eigen(mut matrix: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let size = matrix.len();
    let mut vectors: Vec<Vec<f64>> = (0..size)
        .map(|row| {
            let mut unit = vec![0.0; size];
            unit[row] = 1.0;
            unit
        })
        .collect();
    let norm = |matrix: &[Vec<f64>]| -> f64 { matrix.iter().flatten().map(|v| v * v).sum() };
    let limit = norm(&matrix) * 1e-22;
    for _ in 0..SWEEPS_MAX {
        let off: f64 = (0..size)
            .flat_map(|row| (0..row).map(move |column| (row, column)))
            .map(|(row, column)| matrix[row][column] * matrix[row][column])
            .sum();
        if off <= limit {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                rotate(&mut matrix, &mut vectors, p, q);
            }
        }
    }
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| matrix[*b][*b].total_cmp(&matrix[*a][*a]));
    let values = order.iter().map(|i| matrix[*i][*i].max(0.0)).collect();
    let rows = order.iter().map(|i| signed(vectors[*i].clone())).collect();
    (values, rows)
}

/// Zeroes one pair of off-diagonal entries; `vectors` holds eigenvectors as rows.
fn rotate(matrix: &mut [Vec<f64>], vectors: &mut [Vec<f64>], p: usize, q: usize) {
    let between = matrix[p][q];
    if between == 0.0 {
        return;
    }
    let tau = (matrix[q][q] - matrix[p][p]) / (2.0 * between);
    let tangent = tau.signum() / (tau.abs() + (1.0 + tau * tau).sqrt());
    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
    let sine = tangent * cosine;
    for row in matrix.iter_mut() {
        let (a, b) = (row[p], row[q]);
        row[p] = cosine * a - sine * b;
        row[q] = sine * a + cosine * b;
    }
    for rows in [matrix, vectors] {
        let (above, below) = rows.split_at_mut(q);
        for (a, b) in above[p].iter_mut().zip(below[0].iter_mut()) {
            (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
        }
    }
}

/// The vector or its negative, so that its largest entry is positive on every machine.
fn signed(vector: Vec<f64>) -> Vec<f64> {
    let largest = vector.iter().copied().fold(
        0.0_f64,
        |best, v| if v.abs() > best.abs() { v } else { best },
    );
    if largest < 0.0 {
        vector.into_iter().map(|value| -value).collect()
    } else {
        vector
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "weights are single precision"
)]
fn to_f32(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_of_a_known_matrix_come_largest_first() {
        // Eigenvalues 3 and 1 along (1, 1) and (1, -1).
        let (values, rows) = eigen(vec![vec![2.0, 1.0], vec![1.0, 2.0]]);
        let half = 0.5_f64.sqrt();
        for (found, expected) in values.iter().zip([3.0, 1.0]) {
            assert!((found - expected).abs() < 1e-12, "{found}");
        }
        for (found, expected) in rows[0].iter().zip([half, half]) {
            assert!((found - expected).abs() < 1e-12, "{rows:?}");
        }
        assert!((rows[1][0] * rows[1][1] + 0.5).abs() < 1e-12, "{rows:?}");
    }

    #[test]
    fn decomposition_gives_the_matrix_back() {
        let size = 12;
        let entry = |i: usize, j: usize| ((i * j + i + j) % 7) as f64 - 3.0;
        let matrix: Vec<Vec<f64>> = (0..size)
            .map(|i| (0..size).map(|j| entry(i, j)).collect())
            .collect();
        let squared: Vec<Vec<f64>> = (0..size)
            .map(|i| {
                let cell = |j: usize| (0..size).map(|k| matrix[i][k] * matrix[j][k]).sum();
                (0..size).map(cell).collect()
            })
            .collect();
        let (values, rows) = eigen(squared.clone());
        for i in 0..size {
            for j in 0..size {
                let found: f64 = (0..size).map(|k| values[k] * rows[k][i] * rows[k][j]).sum();
                assert!((found - squared[i][j]).abs() < 1e-9, "{i} {j}: {found}");
                let dot: f64 = rows[i].iter().zip(&rows[j]).map(|(a, b)| a * b).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-10);
            }
        }
    }
}
