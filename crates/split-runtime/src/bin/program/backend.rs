//! The one place of the programs that names backends.

use anyhow::{Result, bail};
use burn::tensor::Device;

/// Names that the setting `backend` takes.
pub(crate) const NAMES: [&str; 2] = ["flex", "wgpu"];

/// Where tensors are computed.
///
/// # Errors
/// For an unknown name, a backend that this build lacks, and one without hardware or driver.
pub(crate) fn open(name: &str) -> Result<Device> {
    match name {
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => wgpu(),
        #[cfg(not(feature = "wgpu"))]
        "wgpu" => bail!(
            "this build has no backend wgpu; install it with `--features bin,wgpu` or take \
             `--backend flex`"
        ),
        other => bail!(
            "backend {other:?} is unknown; known are {}",
            NAMES.join(", ")
        ),
    }
}

/// Burn panics without an adapter; that becomes an error which says what to do.
#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Device> {
    use burn::tensor::Tensor;
    let attempt = std::panic::catch_unwind(|| {
        let device = Device::wgpu(Default::default());
        let probe: f32 = Tensor::<1>::ones([1], &device).into_scalar();
        assert_eq!(probe, 1.0, "the adapter computes");
        device
    });
    attempt.map_err(|_| {
        anyhow::anyhow!(
            "no graphics adapter answers; install a Vulkan driver or take `--backend flex`"
        )
    })
}
