//! Integers after quantizing.

use alloc::vec::Vec;

use crate::error::ShapeError;
use crate::latent::LatentShape;
use crate::limits::MAX_SYMBOL;

/// Quantized latent: integers in the order channel, row, column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbols {
    shape: LatentShape,
    values: Vec<i32>,
}

impl Symbols {
    /// Pairs symbols with their shape.
    ///
    /// # Errors
    /// [`ShapeError::WrongLength`] where their number differs from the shape's product,
    /// [`ShapeError::SymbolTooLarge`] where a magnitude exceeds [`MAX_SYMBOL`].
    pub fn new(shape: LatentShape, values: Vec<i32>) -> Result<Self, ShapeError> {
        if values.len() != shape.len() {
            return Err(ShapeError::WrongLength {
                found: values.len(),
                allowed: shape.len(),
                shape,
            });
        }
        if let Some(index) = values
            .iter()
            .position(|v| v.unsigned_abs() > MAX_SYMBOL.unsigned_abs())
        {
            return Err(ShapeError::SymbolTooLarge {
                found: values[index],
                index,
                allowed: MAX_SYMBOL,
            });
        }
        Ok(Self { shape, values })
    }

    /// For values whose range and number the caller has checked.
    pub(crate) fn from_checked(shape: LatentShape, values: Vec<i32>) -> Self {
        debug_assert_eq!(shape.len(), values.len());
        Self { shape, values }
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> LatentShape {
        self.shape
    }

    /// The symbols: channel, row, column.
    #[must_use]
    pub fn values(&self) -> &[i32] {
        &self.values
    }

    /// The symbols without a copy.
    #[must_use]
    pub fn into_values(self) -> Vec<i32> {
        self.values
    }
}
