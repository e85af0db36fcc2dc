//! The one place that names backends.

use anyhow::{Result, bail};
use burn::tensor::Device;
use clap::ValueEnum;

/// Backend that runs the tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// CPU, Burn's own (default).
    Flex,
    /// CPU, ndarray.
    Ndarray,
    /// GPU through Vulkan, Metal, DirectX or WebGPU.
    Wgpu,
    /// NVIDIA GPU.
    Cuda,
}

impl Backend {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }

    /// What can compute for this backend here, a line each.
    pub(crate) fn adapters(self) -> Result<Vec<String>> {
        match self {
            Self::Flex | Self::Ndarray => {
                self.device()?;
                let threads = std::thread::available_parallelism().map_or(1, usize::from);
                Ok(vec![format!("CPU, {threads} threads")])
            }
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(wgpu_adapters()),
            other => Ok(vec![format!("{:?}", other.device()?)]),
        }
    }

    /// The device, or an error that names the missing cargo feature.
    pub(crate) fn device(self) -> Result<Device> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[expect(deprecated, reason = "kept as a second opinion on flex")]
            Self::Ndarray => Ok(Device::new(burn_ndarray::NdArrayDevice::Cpu)),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => wgpu_device(),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            #[allow(
                unreachable_patterns,
                reason = "all patterns are taken with all features"
            )]
            other => bail!(
                "this build has no backend {0}; build with `--features {0}` \
                 (`cargo xtask ... --backend {0}` does it)",
                other.name()
            ),
        }
    }
}

/// Every adapter that a graphics driver offers; Burn takes the fastest kind.
#[cfg(feature = "wgpu")]
fn wgpu_adapters() -> Vec<String> {
    use burn_wgpu::wgpu;
    let instance = wgpu::Instance::default();
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters
        .iter()
        .map(|adapter| {
            let info = adapter.get_info();
            format!(
                "{} ({:?}, {:?}, driver {} {})",
                info.name, info.device_type, info.backend, info.driver, info.driver_info
            )
        })
        .collect()
}

/// Burn panics without an adapter; that becomes an error which says what to install.
#[cfg(feature = "wgpu")]
fn wgpu_device() -> Result<Device> {
    use burn::tensor::Tensor;
    let attempt = std::panic::catch_unwind(|| {
        let device = Device::wgpu(Default::default());
        let probe: f32 = Tensor::<1>::ones([1], &device).into_scalar();
        assert_eq!(probe, 1.0, "the adapter computes");
        device
    });
    attempt.map_err(|_| {
        anyhow::anyhow!(
            "no graphics adapter answers; install a Vulkan driver (a software one will do: \
             Debian's `chromium` ships SwiftShader, set VK_DRIVER_FILES to its \
             vk_swiftshader_icd.json) or use `--backend flex`"
        )
    })
}
