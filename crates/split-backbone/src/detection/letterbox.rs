//! Pictures of any size on a square canvas.

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use thiserror::Error;

/// Value of the canvas where there is no picture.
pub(super) const PADDING: u8 = 114;
/// Steps between two pixels that interpolation tells apart.
const STEPS: i64 = 1 << 11;
/// Longest side of canvas and picture, in pixels.
const MAX_SIDE: u32 = 1 << 15;

/// The canvas is unusable.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LetterboxError {
    /// The side breaks a rule of the network.
    #[error("a canvas of {side} pixels; a multiple of 32 from 32 to 8192 is needed")]
    Side {
        /// The side that was asked for.
        side: u32,
    },
    /// The picture has no pixels or too many.
    #[error("a picture of {width}x{height}; sides from 1 to {MAX_SIDE} are taken")]
    Picture {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// A picture scaled to fit a square canvas, at its top left corner.
#[derive(Clone, Debug, PartialEq)]
pub struct Letterbox {
    canvas: RgbImage,
    /// Width and height of the picture on the canvas.
    content: (u32, u32),
    /// Canvas pixels per picture pixel.
    scale: f64,
}

impl Letterbox {
    /// Puts a picture on a canvas of `side` by `side` pixels, with bilinear interpolation between
    /// neighbouring pixels (not over areas), rounded to 8 bits.
    ///
    /// # Errors
    ///
    /// [`LetterboxError`] where canvas or picture have an unusable size.
    pub fn new(picture: &RgbImage, side: u32) -> Result<Self, LetterboxError> {
        check_side(side)?;
        let (width, height) = (picture.width(), picture.height());
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(LetterboxError::Picture { width, height });
        }
        let scale = f64::from(side) / f64::from(width.max(height));
        let content = (scaled(width, side, scale), scaled(height, side, scale));
        let mut canvas = RgbImage::from_pixel(side, side, image::Rgb([PADDING; 3]));
        resize_into(picture, content, &mut canvas);
        Ok(Self {
            canvas,
            content,
            scale,
        })
    }

    /// The canvas with the picture.
    #[must_use]
    pub fn canvas(&self) -> &RgbImage {
        &self.canvas
    }

    /// Width and height that the picture takes on the canvas.
    #[must_use]
    pub fn content(&self) -> (u32, u32) {
        self.content
    }

    /// Canvas pixels per picture pixel.
    #[must_use]
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Network input: blue, green and red planes with values 0 to 255.
    ///
    /// # Shapes
    ///
    /// - output: `[1, 3, side, side]`
    #[must_use]
    pub fn input(&self, device: &Device) -> Tensor<4> {
        canvas_input(std::slice::from_ref(&self.canvas), device)
    }

    /// The same letterbox with another picture of the same size in the place of its own: what a
    /// codec left of it.
    ///
    /// # Panics
    ///
    /// If the picture has another size than [`content`](Self::content).
    #[must_use]
    pub fn with_content(&self, picture: &RgbImage) -> Self {
        let size = (picture.width(), picture.height());
        assert_eq!(size, self.content, "the picture fills its part");
        let mut canvas = RgbImage::from_pixel(
            self.canvas.width(),
            self.canvas.height(),
            image::Rgb([PADDING; 3]),
        );
        image::imageops::replace(&mut canvas, picture, 0, 0);
        Self {
            canvas,
            ..self.clone()
        }
    }

    /// The picture on the canvas without the padding around it.
    #[must_use]
    pub fn content_picture(&self) -> RgbImage {
        let (width, height) = self.content;
        image::imageops::crop_imm(&self.canvas, 0, 0, width, height).to_image()
    }

    /// A canvas of nothing but padding.
    ///
    /// # Errors
    ///
    /// [`LetterboxError::Side`] for an unusable size.
    pub fn empty_canvas(side: u32) -> Result<RgbImage, LetterboxError> {
        check_side(side)?;
        Ok(RgbImage::from_pixel(side, side, image::Rgb([PADDING; 3])))
    }
}

/// Network input of square canvases of one size: blue, green and red planes with values 0 to 255.
///
/// # Shapes
///
/// - output: `[n, 3, side, side]`
///
/// # Panics
///
/// If the canvases differ in size.
#[must_use]
pub fn canvas_input(canvases: &[RgbImage], device: &Device) -> Tensor<4> {
    let size = canvases.first().map_or((0, 0), RgbImage::dimensions);
    let same = canvases.iter().all(|canvas| canvas.dimensions() == size);
    assert!(same, "canvases of one batch have one size");
    let values: Vec<f32> = canvases
        .iter()
        .flat_map(|canvas| {
            [2, 1, 0].into_iter().flat_map(move |channel| {
                let pixels = canvas.pixels();
                pixels.map(move |pixel| f32::from(pixel.0[channel]))
            })
        })
        .collect();
    let [width, height] = [size.0, size.1].map(|side| usize::try_from(side).unwrap_or(usize::MAX));
    let shape = [canvases.len(), 3, height, width];
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn check_side(side: u32) -> Result<(), LetterboxError> {
    if side == 0 || !side.is_multiple_of(32) || side > 8192 {
        return Err(LetterboxError::Side { side });
    }
    Ok(())
}

/// A side on the canvas: cut to whole pixels, at least one.
fn scaled(length: u32, side: u32, scale: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 8192"
    )]
    let cut = (f64::from(length) * scale) as u32;
    cut.clamp(1, side)
}

/// Where a target pixel lies between two source pixels.
#[derive(Clone, Copy)]
struct Between {
    near: u32,
    far: u32,
    /// Share of `far` in [`STEPS`].
    share: i64,
}

/// Positions of all target pixels of one axis.
fn positions(source: u32, target: u32) -> Vec<Between> {
    let ratio = f64::from(source) / f64::from(target);
    (0..target)
        .map(|index| {
            let place = ((f64::from(index) + 0.5) * ratio - 0.5).clamp(0.0, f64::from(source - 1));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to the picture, and a share of at most STEPS"
            )]
            let (near, share) = (
                place as u32,
                ((place - place.floor()) * STEPS as f64).round() as i64,
            );
            Between {
                near,
                far: (near + 1).min(source - 1),
                share,
            }
        })
        .collect()
}

/// Scales a picture onto the top left corner of a canvas, bilinear between neighbouring pixels.
pub(super) fn resize_into(picture: &RgbImage, (width, height): (u32, u32), canvas: &mut RgbImage) {
    let columns = positions(picture.width(), width);
    let rows = positions(picture.height(), height);
    for (y, row) in (0..height).zip(&rows) {
        for (x, column) in (0..width).zip(&columns) {
            let corner = |x, y| picture.get_pixel(x, y).0.map(i64::from);
            let corners = [
                corner(column.near, row.near),
                corner(column.far, row.near),
                corner(column.near, row.far),
                corner(column.far, row.far),
            ];
            let target = canvas.get_pixel_mut(x, y);
            for channel in 0..3 {
                let [a, b, c, d] = corners.map(|corner| corner[channel]);
                let upper = a * (STEPS - column.share) + b * column.share;
                let lower = c * (STEPS - column.share) + d * column.share;
                let sum = upper * (STEPS - row.share) + lower * row.share;
                let value = (sum + STEPS * STEPS / 2) / (STEPS * STEPS);
                target.0[channel] = u8::try_from(value).unwrap_or(u8::MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn the_picture_lies_top_left_on_grey() {
        let picture = RgbImage::from_pixel(20, 10, Rgb([1, 2, 3]));
        let letterbox = Letterbox::new(&picture, 64).unwrap();
        assert_eq!(letterbox.content(), (64, 32));
        assert_eq!(letterbox.canvas().get_pixel(63, 31).0, [1, 2, 3]);
        assert_eq!(letterbox.canvas().get_pixel(0, 32).0, [PADDING; 3]);
        let input = letterbox.input(&Device::flex());
        assert_eq!(input.dims(), [1, 3, 64, 64]);
        let first = input.slice([0..1, 0..3, 0..1, 0..1]);
        assert_eq!(
            first.into_data().try_to_vec::<f32>().unwrap(),
            [3.0, 2.0, 1.0]
        );
    }

    #[test]
    fn interpolation_is_linear_between_pixel_centres() {
        let picture = RgbImage::from_fn(2, 1, |x, _| Rgb([if x == 0 { 0 } else { 200 }; 3]));
        let letterbox = Letterbox::new(&picture, 32).unwrap();
        let at = |x| letterbox.canvas().get_pixel(x, 0).0[0];
        assert_eq!(
            [at(0), at(7), at(8), at(15), at(16), at(24), at(31)],
            [0, 0, 6, 94, 106, 200, 200]
        );
    }

    #[test]
    fn unusable_sizes_are_refused() {
        let picture = RgbImage::from_pixel(2, 2, Rgb([0; 3]));
        for side in [0, 31, 33, 8224] {
            assert!(Letterbox::new(&picture, side).is_err(), "{side}");
        }
        assert!(Letterbox::new(&RgbImage::new(0, 3), 32).is_err());
    }
}
