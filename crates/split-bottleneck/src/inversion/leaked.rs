use burn::tensor::{Device, Tensor, TensorData};

use super::{InversionError, Leak};
use crate::cache::{floats, gather};
use crate::fidelity::{psnr_db, ssim};
use crate::state::usize_to_f32;

/// What a picture counts at most: a plain one can be met exactly, and one infinite value would be the mean.
pub const PSNR_MAX_DB: f64 = 100.0;

/// Pictures in work at once when restoring.
const CHUNK: usize = 64;

/// Latents as a listener receives them, with the pictures they came from.
#[derive(Debug, Clone, Default)]
pub struct LeakedPictures {
    pub(super) latent: [usize; 3],
    pub(super) picture: [usize; 3],
    pub(super) latents: Vec<f32>,
    pictures: Vec<f32>,
}

impl LeakedPictures {
    /// Adds what was received for some pictures.
    ///
    /// # Shapes
    ///
    /// - `latents`: `[n, latent channels, height', width']`
    /// - `pictures`: `[n, channels, height, width]`, values from 0 to 1
    ///
    /// # Errors
    ///
    /// When there are not as many latents as pictures, or a shape differs from those before.
    pub fn push(&mut self, latents: Tensor<4>, pictures: Tensor<4>) -> Result<(), InversionError> {
        let [n, channels, height, width] = latents.dims();
        let latent = [channels, height, width];
        let [count, channels, height, width] = pictures.dims();
        let picture = [channels, height, width];
        if n != count {
            return Err(InversionError::Count {
                latents: n,
                pictures: count,
            });
        }
        if self.is_empty() {
            (self.latent, self.picture) = (latent, picture);
        }
        for (what, expected, found) in [
            ("latent", self.latent, latent),
            ("picture", self.picture, picture),
        ] {
            if expected != found {
                return Err(InversionError::Shape {
                    what,
                    expected,
                    found,
                });
            }
        }
        self.latents.extend(floats(latents));
        self.pictures.extend(floats(pictures));
        Ok(())
    }

    /// Number of pictures.
    #[must_use]
    pub fn len(&self) -> usize {
        let size = self.picture.iter().product::<usize>();
        self.pictures.len().checked_div(size).unwrap_or(0)
    }

    /// Whether there is no picture.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// What a listener gets right without any frame, by always guessing the mean of `training`.
    ///
    /// # Errors
    ///
    /// When a set is empty or their pictures differ in shape.
    pub fn leak_of_mean(&self, training: &Self) -> Result<Leak, InversionError> {
        training.need(1)?;
        self.same_pictures(training)?;
        let size = self.picture.iter().product();
        let mut sums = vec![0.0_f64; size];
        for picture in training.pictures.chunks_exact(size) {
            for (sum, value) in sums.iter_mut().zip(picture) {
                *sum += f64::from(*value);
            }
        }
        let count = f64::from(usize_to_f32(training.len()));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a mean of values from 0 to 1"
        )]
        let mean: Vec<f32> = sums.iter().map(|sum| (sum / count) as f32).collect();
        self.judge(|_| mean.repeat(CHUNK))
    }

    fn same_pictures(&self, other: &Self) -> Result<(), InversionError> {
        if self.picture == other.picture {
            return Ok(());
        }
        Err(InversionError::Shape {
            what: "picture",
            expected: other.picture,
            found: self.picture,
        })
    }

    pub(super) fn need(&self, needed: usize) -> Result<(), InversionError> {
        let found = self.len();
        if found < needed.max(1) {
            return Err(InversionError::TooFewPictures { found, needed });
        }
        Ok(())
    }

    pub(super) fn latents_on(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        on(&self.latents, self.latent, indices, device)
    }

    pub(super) fn pictures_on(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        on(&self.pictures, self.picture, indices, device)
    }

    /// Means over all pictures (PSNR of each at most [`PSNR_MAX_DB`]) of how well `restore` does on them; it may give more than was asked.
    pub(super) fn judge(
        &self,
        restore: impl Fn(&[usize]) -> Vec<f32>,
    ) -> Result<Leak, InversionError> {
        self.need(1)?;
        let size: usize = self.picture.iter().product();
        let (mut psnr, mut similarity) = (0.0, Some(0.0));
        let indices: Vec<usize> = (0..self.len()).collect();
        for chunk in indices.chunks(CHUNK) {
            let restored = restore(chunk);
            for (found, index) in restored.chunks_exact(size).zip(chunk) {
                let expected = &self.pictures[index * size..(index + 1) * size];
                psnr += psnr_db(found, expected).min(PSNR_MAX_DB);
                similarity = similarity
                    .zip(ssim(found, expected, self.picture))
                    .map(|(sum, one)| sum + one);
            }
        }
        let count = f64::from(usize_to_f32(self.len()));
        Ok(Leak {
            psnr_db: psnr / count,
            ssim: similarity.map(|sum| sum / count),
        })
    }
}

fn on(values: &[f32], [c, h, w]: [usize; 3], indices: &[usize], device: &Device) -> Tensor<4> {
    let data = gather(values, c * h * w, indices);
    Tensor::from_data(TensorData::new(data, [indices.len(), c, h, w]), device)
}
