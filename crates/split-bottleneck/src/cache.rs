use burn::tensor::{Device, Int, Tensor, TensorData};
use thiserror::Error;

use crate::bank::{CodingError, RungCodec};
use crate::split::{Batch, Head, Tail};
use crate::unit::ActivationShape;

/// Pictures in work at once.
const RESTORED_AT_ONCE: usize = 64;

/// Activations of the frozen head and answers of the unsplit tail, computed once, so that a
/// training epoch costs unit and tail only.
#[derive(Debug, Clone)]
pub struct ActivationCache {
    shape: ActivationShape,
    classes: usize,
    activations: Vec<f32>,
    /// Shape and values of the pictures, where they are kept.
    pictures: Option<(ActivationShape, Vec<f32>)>,
    references: Vec<f32>,
    labels: Vec<i32>,
}

/// Why pictures cannot be added to a cache.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheError {
    /// The cache would need more memory than allowed.
    #[error(
        "cached activations would take {needed_bytes} bytes, the limit is {limit_bytes}; \
         use fewer pictures, a later split point or a higher limit"
    )]
    Limit {
        /// Bytes needed.
        needed_bytes: usize,
        /// Bytes allowed.
        limit_bytes: usize,
    },
    /// The head gave another shape than before.
    #[error("the head gave an activation of {found:?}, the cache holds {expected:?}")]
    Shape {
        /// Shape in the cache.
        expected: [usize; 3],
        /// Shape found.
        found: [usize; 3],
    },
    /// Labels and pictures differ in number.
    #[error("{labels} labels for {pictures} pictures")]
    Labels {
        /// Number of labels.
        labels: usize,
        /// Number of pictures.
        pictures: usize,
    },
}

impl ActivationCache {
    /// Runs head and tail over batches of inputs `[n, 3, height, width]` with their labels.
    ///
    /// # Errors
    ///
    /// When more than `limit_bytes` of memory would be needed, a batch has another number of
    /// labels than pictures, or the head's output changes its shape.
    pub fn build(
        head: &impl Head,
        tail: &impl Tail<Output = Tensor<2>>,
        inputs: impl IntoIterator<Item = (Tensor<4>, Vec<i32>)>,
        limit_bytes: usize,
    ) -> Result<Self, CacheError> {
        Self::filled(false, head, tail, inputs, limit_bytes)
    }

    /// The same, and keeps the pictures for unit encoders that take them in the place of activations
    /// ([`UnitConfig::takes_pictures`](crate::UnitConfig::takes_pictures)).
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn build_with_pictures(
        head: &impl Head,
        tail: &impl Tail<Output = Tensor<2>>,
        inputs: impl IntoIterator<Item = (Tensor<4>, Vec<i32>)>,
        limit_bytes: usize,
    ) -> Result<Self, CacheError> {
        Self::filled(true, head, tail, inputs, limit_bytes)
    }

    fn filled(
        keeps_pictures: bool,
        head: &impl Head,
        tail: &impl Tail<Output = Tensor<2>>,
        inputs: impl IntoIterator<Item = (Tensor<4>, Vec<i32>)>,
        limit_bytes: usize,
    ) -> Result<Self, CacheError> {
        let mut cache = Self::empty();
        for (input, labels) in inputs {
            let picture = keeps_pictures.then(|| input.clone());
            let activation = head.forward(input);
            let reference = tail.forward(activation.clone());
            cache.push(activation, picture, reference, labels, limit_bytes)?;
        }
        Ok(cache)
    }

    fn empty() -> Self {
        Self {
            shape: ActivationShape {
                channels: 0,
                height: 0,
                width: 0,
            },
            classes: 0,
            activations: Vec::new(),
            pictures: None,
            references: Vec::new(),
            labels: Vec::new(),
        }
    }

    fn push(
        &mut self,
        activation: Tensor<4>,
        picture: Option<Tensor<4>>,
        reference: Tensor<2>,
        labels: Vec<i32>,
        limit_bytes: usize,
    ) -> Result<(), CacheError> {
        let n = activation.dims()[0];
        let shape = shape_of(&activation);
        let picture = picture.map(|picture| (shape_of(&picture), picture));
        if self.labels.is_empty() {
            self.pictures = picture.as_ref().map(|(shape, _)| (*shape, Vec::new()));
            self.shape = shape;
            self.classes = reference.dims()[1];
        }
        if self.shape != shape {
            return Err(other_shape(self.shape, shape));
        }
        if let (Some((kept, _)), Some((found, _))) = (&self.pictures, &picture)
            && kept != found
        {
            return Err(other_shape(*kept, *found));
        }
        if labels.len() != n {
            return Err(CacheError::Labels {
                labels: labels.len(),
                pictures: n,
            });
        }
        let of_picture = picture.as_ref().map_or(0, |(shape, _)| shape.len());
        let needed_bytes =
            (self.labels.len() + n) * (shape.len() + of_picture + self.classes) * size_of::<f32>();
        if needed_bytes > limit_bytes {
            return Err(CacheError::Limit {
                needed_bytes,
                limit_bytes,
            });
        }
        self.activations.extend(floats(activation));
        if let (Some((_, kept)), Some((_, picture))) = (&mut self.pictures, picture) {
            kept.extend(floats(picture));
        }
        self.references.extend(floats(reference));
        self.labels.extend(labels);
        Ok(())
    }

    /// The same pictures, labels and answers, with the activations that a rung restores from its frames.
    ///
    /// # Errors
    ///
    /// [`CodingError`] where a picture can't be coded or its frame not decoded.
    pub fn restored(&self, rung: &RungCodec, device: &Device) -> Result<Self, CodingError> {
        let mut activations = Vec::with_capacity(self.activations.len());
        let indices: Vec<usize> = (0..self.len()).collect();
        for chunk in indices.chunks(RESTORED_AT_ONCE) {
            let frames = rung.encode(rung.input(self.batch(chunk, device)))?;
            activations.extend(floats(rung.decode(&frames)?));
        }
        Ok(Self {
            activations,
            pictures: self.pictures.clone(),
            shape: self.shape,
            classes: self.classes,
            references: self.references.clone(),
            labels: self.labels.clone(),
        })
    }

    /// Indices of up to `limit` pictures, at least one where there are any, spread evenly.
    pub(crate) fn spread(&self, limit: usize) -> Vec<usize> {
        let every = self.len().div_ceil(limit.max(1)).max(1);
        (0..self.len()).step_by(every).collect()
    }

    /// Number of pictures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether the cache holds no picture.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Shape of one activation.
    #[must_use]
    pub fn shape(&self) -> ActivationShape {
        self.shape
    }

    /// Shape of one picture, where they are kept.
    #[must_use]
    pub fn picture_shape(&self) -> Option<ActivationShape> {
        self.pictures.as_ref().map(|(shape, _)| *shape)
    }

    /// Class of each picture.
    #[must_use]
    pub fn labels(&self) -> &[i32] {
        &self.labels
    }

    /// The activation of one picture: channel, row, column.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`len`](Self::len).
    #[must_use]
    pub fn activation(&self, index: usize) -> &[f32] {
        let size = self.shape.len();
        &self.activations[index * size..(index + 1) * size]
    }

    /// Class that the unsplit backbone gives to each picture.
    #[must_use]
    pub fn predictions(&self) -> Vec<i32> {
        self.references
            .chunks_exact(self.classes.max(1))
            .map(argmax)
            .collect()
    }

    /// The named pictures as a batch on `device`.
    ///
    /// # Panics
    ///
    /// When an index is not below [`len`](Self::len).
    #[must_use]
    pub fn batch(&self, indices: &[usize], device: &Device) -> Batch {
        let n = indices.len();
        let maps = |shape: ActivationShape, values: &[f32]| {
            let ActivationShape {
                channels,
                height,
                width,
            } = shape;
            let rows = gather(values, shape.len(), indices);
            Tensor::from_data(TensorData::new(rows, [n, channels, height, width]), device)
        };
        let activation = maps(self.shape, &self.activations);
        let pictures = self.pictures.as_ref();
        let pictures = pictures.map(|(shape, values)| maps(*shape, values));
        let reference = gather(&self.references, self.classes, indices);
        let labels: Vec<i32> = indices.iter().map(|index| self.labels[*index]).collect();
        Batch {
            activation,
            pictures,
            reference: Tensor::from_data(TensorData::new(reference, [n, self.classes]), device),
            labels: Tensor::<1, Int>::from_data(TensorData::new(labels, [n]), device),
        }
    }
}

fn shape_of(maps: &Tensor<4>) -> ActivationShape {
    let [_, channels, height, width] = maps.dims();
    ActivationShape {
        channels,
        height,
        width,
    }
}

fn other_shape(expected: ActivationShape, found: ActivationShape) -> CacheError {
    let sides = |shape: ActivationShape| [shape.channels, shape.height, shape.width];
    CacheError::Shape {
        expected: sides(expected),
        found: sides(found),
    }
}

/// Index of the largest value, the first of equals.
pub(crate) fn argmax(values: &[f32]) -> i32 {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    i32::try_from(best).unwrap_or(i32::MAX)
}

pub(crate) fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_to_vec()
        .expect("converted to f32 above")
}

pub(crate) fn gather(values: &[f32], row: usize, indices: &[usize]) -> Vec<f32> {
    let mut out = Vec::with_capacity(indices.len() * row);
    for index in indices {
        out.extend_from_slice(&values[index * row..(index + 1) * row]);
    }
    out
}
