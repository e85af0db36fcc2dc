//! Shape and values of a latent.

use alloc::vec::Vec;
use core::fmt;

use crate::error::ShapeError;
use crate::limits::{MAX_CHANNELS, MAX_SYMBOLS};

/// Channels, height and width of one latent; the product never exceeds [`MAX_SYMBOLS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LatentShape {
    channels: u32,
    height: u32,
    width: u32,
}

impl LatentShape {
    /// Checks the sides and their product.
    ///
    /// # Errors
    /// [`ShapeError::Empty`] for a side of zero, [`ShapeError::TooManySymbols`] above
    /// [`MAX_SYMBOLS`] symbols or [`MAX_CHANNELS`] channels.
    pub fn new(channels: usize, height: usize, width: usize) -> Result<Self, ShapeError> {
        if channels == 0 || height == 0 || width == 0 {
            return Err(ShapeError::Empty {
                channels,
                height,
                width,
            });
        }
        let too_many = ShapeError::TooManySymbols {
            channels,
            height,
            width,
            allowed: MAX_SYMBOLS,
        };
        let count = channels
            .checked_mul(height)
            .and_then(|plane| plane.checked_mul(width))
            .ok_or(too_many)?;
        if count > MAX_SYMBOLS || channels > MAX_CHANNELS {
            return Err(too_many);
        }
        let side = |value: usize| u32::try_from(value).map_err(|_| too_many);
        Ok(Self {
            channels: side(channels)?,
            height: side(height)?,
            width: side(width)?,
        })
    }

    /// Number of channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels as usize
    }

    /// Rows of one channel.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height as usize
    }

    /// Columns of one channel.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width as usize
    }

    /// Symbols of one channel.
    #[must_use]
    pub fn plane(&self) -> usize {
        self.height() * self.width()
    }

    /// Symbols in all; never zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a shape is never empty")]
    pub fn len(&self) -> usize {
        self.channels() * self.plane()
    }

    pub(crate) fn sides(&self) -> [u32; 3] {
        [self.channels, self.height, self.width]
    }
}

impl fmt::Display for LatentShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// Float output of a unit encoder, in the order channel, row, column.
#[derive(Debug, Clone, PartialEq)]
pub struct Latent {
    shape: LatentShape,
    values: Vec<f32>,
}

impl Latent {
    /// Pairs values with their shape.
    ///
    /// # Errors
    /// [`ShapeError::WrongLength`] where their number differs from the shape's product.
    pub fn new(shape: LatentShape, values: Vec<f32>) -> Result<Self, ShapeError> {
        if values.len() != shape.len() {
            return Err(ShapeError::WrongLength {
                found: values.len(),
                allowed: shape.len(),
                shape,
            });
        }
        Ok(Self { shape, values })
    }

    /// Reads values of four bytes each, lowest byte first, as other programs hold them.
    ///
    /// # Errors
    /// [`ShapeError::WrongLength`] where they are not four bytes for each of the shape's values.
    pub fn from_le_bytes(shape: LatentShape, bytes: &[u8]) -> Result<Self, ShapeError> {
        let (fours, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() || fours.len() != shape.len() {
            return Err(ShapeError::WrongLength {
                found: bytes.len().div_ceil(4),
                allowed: shape.len(),
                shape,
            });
        }
        let mut values = alloc::vec![0.0; shape.len()];
        if cfg!(target_endian = "little") {
            // One copy of the whole; the bytes themselves need not be aligned.
            bytemuck::cast_slice_mut(&mut values).copy_from_slice(bytes);
        } else {
            for (value, &four) in values.iter_mut().zip(fours) {
                *value = f32::from_le_bytes(four);
            }
        }
        Ok(Self { shape, values })
    }

    /// Appends the values as four bytes each, lowest byte first.
    pub fn write_le_bytes(&self, out: &mut Vec<u8>) {
        if cfg!(target_endian = "little") {
            out.extend_from_slice(bytemuck::cast_slice(&self.values));
        } else {
            let bytes = self.values.iter().flat_map(|value| value.to_le_bytes());
            out.extend(bytes);
        }
    }

    /// For values whose number the caller has checked.
    pub(crate) fn from_checked(shape: LatentShape, values: Vec<f32>) -> Self {
        debug_assert_eq!(shape.len(), values.len());
        Self { shape, values }
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> LatentShape {
        self.shape
    }

    /// The values: channel, row, column.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values without a copy.
    #[must_use]
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_refuses_empty_sides_and_overflowing_products() {
        assert!(matches!(
            LatentShape::new(0, 1, 1),
            Err(ShapeError::Empty { .. })
        ));
        for (c, h, w) in [
            (2, usize::MAX, 2),
            (1, MAX_SYMBOLS, 2),
            (MAX_CHANNELS + 1, 1, 1),
        ] {
            assert!(matches!(
                LatentShape::new(c, h, w),
                Err(ShapeError::TooManySymbols { .. })
            ));
        }
        let shape = LatentShape::new(3, 4, 5).unwrap();
        assert_eq!((shape.len(), shape.plane()), (60, 20));
    }

    #[test]
    fn values_survive_as_bytes_wherever_these_lie() {
        let shape = LatentShape::new(1, 1, 3).unwrap();
        let latent = Latent::new(shape, alloc::vec![1.0, -0.5, f32::MAX]).unwrap();
        let mut bytes = alloc::vec![9];
        latent.write_le_bytes(&mut bytes);
        assert_eq!(bytes[1..5], [0, 0, 0x80, 0x3f]);
        // At an odd address, which a plain cast would refuse.
        assert_eq!(Latent::from_le_bytes(shape, &bytes[1..]), Ok(latent));
        for length in [0, 4, 11] {
            assert!(matches!(
                Latent::from_le_bytes(shape, &bytes[1..=length]),
                Err(ShapeError::WrongLength { allowed: 3, .. })
            ));
        }
    }

    #[test]
    fn latent_refuses_a_wrong_number_of_values() {
        let shape = LatentShape::new(1, 2, 2).unwrap();
        assert!(matches!(
            Latent::new(shape, alloc::vec![0.0; 3]),
            Err(ShapeError::WrongLength {
                found: 3,
                allowed: 4,
                ..
            })
        ));
    }
}
