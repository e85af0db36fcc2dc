//! Weights that are packed once and kept beside the network.

#[cfg(feature = "flex")]
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "flex")]
use burn::backend::flex::FlexTensor;

/// The weights of one convolution as the kernels read them: packed at their first use, kept for as long as the
/// weights stay what they were, for as much memory again. Belongs into the layer that holds the weights;
/// clones share it. Other backends, training and depthwise convolutions leave it empty.
#[derive(Clone, Debug, Default)]
pub struct PackedWeights {
    #[cfg(feature = "flex")]
    kept: Arc<Mutex<Option<Kept>>>,
}

#[cfg(feature = "flex")]
#[derive(Debug)]
struct Kept {
    /// Held so that nobody can write to these values in place: other weights lie elsewhere.
    weight: FlexTensor,
    panels: Panels,
}

/// The left operand of each group.
#[cfg(feature = "flex")]
pub(super) type Panels = Arc<Vec<Vec<f32>>>;

#[cfg(feature = "flex")]
impl PackedWeights {
    /// The panels of `weight`, from `pack` where these are other weights than last time. `None` where the tensor
    /// is a view whose values do not lie in a row.
    pub(super) fn of(
        &self,
        weight: &FlexTensor,
        pack: impl FnOnce(&[f32]) -> Vec<Vec<f32>>,
    ) -> Option<Panels> {
        let floats = weight.as_slice::<f32>()?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |kept: &Kept| {
            kept.weight
                .as_slice::<f32>()
                .is_some_and(|own| std::ptr::eq(own, floats))
        };
        if let Some(kept) = kept.as_ref().filter(|kept| same(kept)) {
            return Some(Arc::clone(&kept.panels));
        }
        let panels = Arc::new(pack(floats));
        *kept = Some(Kept {
            weight: weight.clone(),
            panels: Arc::clone(&panels),
        });
        Some(panels)
    }
}
