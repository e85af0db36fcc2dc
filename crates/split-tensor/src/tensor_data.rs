//! Tensors of Burn in and out, feature `burn`.
//!
//! Only data on the host passes here, so no backend is named: the caller moves tensors off
//! and onto its device (`tensor.into_data()`, `Tensor::from_data(data, &device)`).

use alloc::vec::Vec;

use burn::tensor::{DataError, TensorData};
use thiserror::Error;

use crate::error::ShapeError;
use crate::latent::{Latent, LatentShape};
use crate::symbols::Symbols;

/// Tensor data that is no latent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TensorDataError {
    /// Another number of sides than a latent or a batch of them has.
    #[error("{found} sides; a latent has 3, a batch of {allowed} has 4")]
    BadSides {
        /// Sides found.
        found: usize,
        /// Latents that the batch may hold, in words.
        allowed: &'static str,
    },
    /// A batch of another size than one, where one latent is wanted.
    #[error("a batch of {found} latents where {allowed} is wanted")]
    BadBatch {
        /// Latents found.
        found: usize,
        /// Latents wanted.
        allowed: usize,
    },
    /// Latents of different shapes, which make no batch.
    #[error("shape {found} in a batch of shape {allowed}")]
    MixedShapes {
        /// The first shape that differs.
        found: LatentShape,
        /// Shape of the first latent.
        allowed: LatentShape,
    },
    /// The sides are not allowed for a latent.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The elements are of another type, or out of reach.
    #[error(transparent)]
    Elements(#[from] DataError),
}

impl Latent {
    /// One latent from `f32` data.
    ///
    /// # Shapes
    /// - data: `[channels, height, width]` or `[1, channels, height, width]`
    ///
    /// # Errors
    /// [`TensorDataError`] for other shapes or elements.
    pub fn from_data(data: &TensorData) -> Result<Self, TensorDataError> {
        let shape = one_shape(data)?;
        Ok(Self::new(shape, data.as_slice::<f32>()?.to_vec())?)
    }

    /// Every latent of a batch of `f32` data.
    ///
    /// # Shapes
    /// - data: `[latents, channels, height, width]`
    ///
    /// # Errors
    /// [`TensorDataError`] for other shapes or elements.
    pub fn batch_from_data(data: &TensorData) -> Result<Vec<Self>, TensorDataError> {
        let &[_, channels, height, width] = &data.shape()[..] else {
            return Err(TensorDataError::BadSides {
                found: data.shape().len(),
                allowed: "any number",
            });
        };
        let shape = LatentShape::new(channels, height, width)?;
        let values = data.as_slice::<f32>()?;
        let latents = values.chunks_exact(shape.len());
        latents
            .map(|values| Ok(Self::new(shape, values.to_vec())?))
            .collect()
    }

    /// The latent as `f32` data, without a copy.
    ///
    /// # Shapes
    /// - data: `[1, channels, height, width]`
    #[must_use]
    pub fn into_data(self) -> TensorData {
        let sides = batch_sides(1, self.shape());
        TensorData::new(self.into_values(), sides)
    }

    /// Latents of one shape as one batch of `f32` data.
    ///
    /// # Shapes
    /// - data: `[latents, channels, height, width]`
    ///
    /// # Errors
    /// [`TensorDataError::BadBatch`] for no latents, [`TensorDataError::MixedShapes`] where
    /// their shapes differ.
    pub fn batch_into_data(latents: &[Self]) -> Result<TensorData, TensorDataError> {
        let Some(first) = latents.first() else {
            return Err(TensorDataError::BadBatch {
                found: 0,
                allowed: 1,
            });
        };
        let allowed = first.shape();
        let mut values = Vec::with_capacity(latents.len() * allowed.len());
        for latent in latents {
            if latent.shape() != allowed {
                return Err(TensorDataError::MixedShapes {
                    found: latent.shape(),
                    allowed,
                });
            }
            values.extend_from_slice(latent.values());
        }
        Ok(TensorData::new(values, batch_sides(latents.len(), allowed)))
    }
}

impl Symbols {
    /// Symbols from `i32` data.
    ///
    /// # Shapes
    /// - data: `[channels, height, width]` or `[1, channels, height, width]`
    ///
    /// # Errors
    /// [`TensorDataError`] for other shapes or elements, and for symbols beyond
    /// [`crate::MAX_SYMBOL`].
    pub fn from_data(data: &TensorData) -> Result<Self, TensorDataError> {
        let shape = one_shape(data)?;
        Ok(Self::new(shape, data.as_slice::<i32>()?.to_vec())?)
    }

    /// The symbols as `i32` data, without a copy.
    ///
    /// # Shapes
    /// - data: `[1, channels, height, width]`
    #[must_use]
    pub fn into_data(self) -> TensorData {
        let sides = batch_sides(1, self.shape());
        TensorData::new(self.into_values(), sides)
    }
}

fn batch_sides(count: usize, shape: LatentShape) -> [usize; 4] {
    [count, shape.channels(), shape.height(), shape.width()]
}

/// The shape of data that holds one latent.
fn one_shape(data: &TensorData) -> Result<LatentShape, TensorDataError> {
    match data.shape()[..] {
        [channels, height, width] | [1, channels, height, width] => {
            Ok(LatentShape::new(channels, height, width)?)
        }
        [found, _, _, _] => Err(TensorDataError::BadBatch { found, allowed: 1 }),
        _ => Err(TensorDataError::BadSides {
            found: data.shape().len(),
            allowed: "one",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: u8) -> Vec<f32> {
        (0..count).map(|at| f32::from(at) * 0.5).collect()
    }

    #[test]
    fn latents_and_batches_survive_the_way_through_tensor_data() {
        let data = TensorData::new(values(24), [2, 3, 2, 2]);
        let latents = Latent::batch_from_data(&data).unwrap();
        assert_eq!(latents.len(), 2);
        assert_eq!(latents[1].values(), &values(24)[12..]);
        assert_eq!(Latent::batch_into_data(&latents).unwrap(), data);
        let one = latents[0].clone().into_data();
        assert_eq!(one.shape()[..], [1, 3, 2, 2]);
        assert_eq!(Latent::from_data(&one).unwrap(), latents[0]);
        let flat = TensorData::new(values(12), [3, 2, 2]);
        assert_eq!(Latent::from_data(&flat).unwrap(), latents[0]);
    }

    #[test]
    fn errors_stay_small_enough_to_return_by_value() {
        let found = size_of::<TensorDataError>();
        assert!(found < 128, "{found} bytes");
    }

    #[test]
    fn symbols_survive_the_way_through_tensor_data() {
        let data = TensorData::new(alloc::vec![1i32, -2, 3, 0], [1, 1, 2, 2]);
        let symbols = Symbols::from_data(&data).unwrap();
        assert_eq!(symbols.values(), [1, -2, 3, 0]);
        assert_eq!(symbols.into_data(), data);
    }

    #[test]
    fn other_shapes_and_elements_are_refused() {
        let batch = TensorData::new(values(24), [2, 3, 2, 2]);
        assert!(matches!(
            Latent::from_data(&batch),
            Err(TensorDataError::BadBatch {
                found: 2,
                allowed: 1
            })
        ));
        let flat = TensorData::new(values(24), [4, 6]);
        for fault in [
            Latent::from_data(&flat).unwrap_err(),
            Latent::batch_from_data(&flat).unwrap_err(),
        ] {
            assert!(matches!(fault, TensorDataError::BadSides { found: 2, .. }));
        }
        let doubles = TensorData::new(alloc::vec![0.0f64; 4], [1, 2, 2]);
        assert!(matches!(
            Latent::from_data(&doubles),
            Err(TensorDataError::Elements(_))
        ));
        let large = TensorData::new(alloc::vec![i32::MAX], [1, 1, 1]);
        assert!(matches!(
            Symbols::from_data(&large),
            Err(TensorDataError::Shape(ShapeError::SymbolTooLarge { .. }))
        ));
        let empty = TensorData::new(Vec::<f32>::new(), [0, 2, 2]);
        assert!(matches!(
            Latent::from_data(&empty),
            Err(TensorDataError::Shape(ShapeError::Empty { .. }))
        ));
        assert!(Latent::batch_into_data(&[]).is_err());
        let shape = |width| LatentShape::new(1, 1, width).unwrap();
        let mixed = [1, 2].map(|width| Latent::new(shape(width), alloc::vec![0.0; width]).unwrap());
        assert!(matches!(
            Latent::batch_into_data(&mixed),
            Err(TensorDataError::MixedShapes { .. })
        ));
    }
}
