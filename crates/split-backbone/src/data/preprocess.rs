//! From pixels to network input, and from class scores to answers.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};

use super::Pictures;

/// How pixel values become network input: `(value / 255 - mean) / deviation` per channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocess {
    /// Mean of red, green and blue, on a scale from 0 to 1.
    pub mean: [f32; 3],
    /// Deviation of red, green and blue, on a scale from 0 to 1.
    pub std: [f32; 3],
}

impl Preprocess {
    /// ImageNet's figures, which torchvision's and the CIFAR networks were trained with.
    pub const IMAGENET: Self = Self {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };

    /// Network input for consecutive pictures.
    ///
    /// # Shapes
    ///
    /// - output: `[range.len(), 3, height, width]`
    ///
    /// # Panics
    ///
    /// If the range ends past the set.
    #[must_use]
    pub fn input(&self, pictures: &Pictures, range: Range<usize>, device: &Device) -> Tensor<4> {
        let indices: Vec<usize> = range.collect();
        self.select(pictures, &indices, device)
    }

    /// Network input for some pictures in the given order.
    ///
    /// # Shapes
    ///
    /// - output: `[indices.len(), 3, height, width]`
    ///
    /// # Panics
    ///
    /// If an index is past the set.
    #[must_use]
    pub fn select(&self, pictures: &Pictures, indices: &[usize], device: &Device) -> Tensor<4> {
        let (width, height) = (pictures.width(), pictures.height());
        let plane = width * height;
        let tables = [0, 1, 2].map(|channel| self.table(channel));
        let mut values = vec![0.0; indices.len() * 3 * plane];
        for (&index, output) in indices.iter().zip(values.chunks_exact_mut(3 * plane)) {
            for (pixel, rgb) in pictures.rgb8(index).chunks_exact(3).enumerate() {
                for (channel, &value) in rgb.iter().enumerate() {
                    output[channel * plane + pixel] = tables[channel][usize::from(value)];
                }
            }
        }
        let shape = [indices.len(), 3, height, width];
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// Network input of every pixel value in one channel.
    fn table(&self, channel: usize) -> Vec<f32> {
        (0..=u8::MAX)
            .map(|value| (f32::from(value) / 255.0 - self.mean[channel]) / self.std[channel])
            .collect()
    }
}

/// The best class of each row of scores `[n, classes]`; the first of equals.
///
/// # Panics
///
/// If the scores are no 32-bit floats.
#[must_use]
pub fn top1(logits: Tensor<2>) -> Vec<usize> {
    topk(logits, 1).into_iter().map(|best| best[0]).collect()
}

/// The `k` best classes of each row of scores `[n, classes]`, best first; of equals the first.
///
/// # Panics
///
/// If the scores are no 32-bit floats, or `k` is not between 1 and the number of classes.
#[must_use]
pub fn topk(logits: Tensor<2>, k: usize) -> Vec<Vec<usize>> {
    let [_, classes] = logits.dims();
    assert!((1..=classes).contains(&k), "k is between 1 and {classes}");
    let data = logits.into_data();
    let scores = data.as_slice::<f32>().expect("scores are 32-bit floats");
    scores
        .chunks_exact(classes)
        .map(|row| {
            let mut order: Vec<usize> = (0..classes).collect();
            // The sort is stable, so equal scores stay in order of their class.
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            order.truncate(k);
            order
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_planar_and_normalised() {
        let pixels = vec![0, 255, 51, 102, 0, 255];
        let set = Pictures::new((2, 1), pixels, vec![0], vec!["a".into()]).unwrap();
        let preprocess = Preprocess {
            mean: [0.0, 0.5, 0.2],
            std: [1.0, 0.5, 0.1],
        };
        let input = preprocess.input(&set, 0..1, &Device::flex());
        assert_eq!(input.dims(), [1, 3, 1, 2]);
        let values = input.into_data().try_to_vec::<f32>().unwrap();
        let expected = [0.0, 0.4, 1.0, -1.0, 0.0, 8.0];
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{values:?}");
        }
    }

    #[test]
    fn the_first_of_equal_scores_wins() {
        let logits = Tensor::from_floats([[1.0, 3.0, 3.0], [0.0, -1.0, -2.0]], &Device::flex());
        assert_eq!(topk(logits.clone(), 2), [vec![1, 2], vec![0, 1]]);
        assert_eq!(top1(logits), [1, 0]);
    }
}
