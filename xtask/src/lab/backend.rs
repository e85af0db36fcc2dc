//! The one place that names backends.

use anyhow::{Result, bail};
use burn::tensor::Device;
use clap::ValueEnum;

/// The way out where no graphics adapter answers.
pub(crate) const NO_ADAPTER: &str = "install a Vulkan driver (a software one will do: Debian's \
    `chromium` ships SwiftShader, set VK_DRIVER_FILES to its vk_swiftshader_icd.json)";

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

    /// Whether it computes on the processor.
    pub(crate) fn is_cpu(self) -> bool {
        matches!(self, Self::Flex | Self::Ndarray)
    }

    /// What can compute for this backend here, a line each, first what Burn takes.
    pub(crate) fn adapters(self) -> Result<Vec<String>> {
        match self {
            Self::Flex | Self::Ndarray => {
                self.device()?;
                Ok(vec![format!(
                    "CPU, {} threads",
                    rayon::current_num_threads()
                )])
            }
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(wgpu_adapters()),
            #[cfg(feature = "cuda")]
            Self::Cuda => self.device().map(|device| cuda_adapters(&device)),
            #[allow(
                unreachable_patterns,
                reason = "all patterns are taken with all features"
            )]
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
            Self::Cuda => probed(|| Device::cuda(0)).map_err(|_| {
                anyhow::anyhow!(
                    "no NVIDIA GPU answers; install its driver and CUDA, or use `--backend wgpu`"
                )
            }),
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

/// Every adapter that a graphics driver offers, first the one that it hands out to those who ask for
/// speed, as Burn does.
#[cfg(feature = "wgpu")]
fn wgpu_adapters() -> Vec<String> {
    use burn_wgpu::wgpu;
    let instance = wgpu::Instance::default();
    let all = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let fastest = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    }));
    let mut infos: Vec<_> = all.iter().map(wgpu::Adapter::get_info).collect();
    if let Ok(first) = fastest.map(|adapter| adapter.get_info()) {
        infos.sort_by_key(|info| *info != first);
    }
    infos
        .iter()
        .map(|info| {
            format!(
                "{} ({:?}, {:?}, driver {} {})",
                info.name, info.device_type, info.backend, info.driver, info.driver_info
            )
        })
        .collect()
}

/// NVIDIA's cards with their drivers, in the order of their numbers, from NVIDIA's own tool.
#[cfg(feature = "cuda")]
fn cuda_adapters(device: &Device) -> Vec<String> {
    let query = ["--query-gpu=name,driver_version", "--format=csv,noheader"];
    let output = std::process::Command::new("nvidia-smi")
        .args(query)
        .output();
    let text = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let cards: Vec<String> = text
        .lines()
        .map(|line| match line.split_once(", ") {
            Some((name, driver)) => format!("{name} (CUDA, driver {driver})"),
            None => line.to_owned(),
        })
        .collect();
    if cards.is_empty() {
        return vec![format!("{device:?}")];
    }
    cards
}

/// The device if it computes; Burn panics where there is none.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn probed(open: impl FnOnce() -> Device + std::panic::UnwindSafe) -> std::thread::Result<Device> {
    use burn::tensor::Tensor;
    std::panic::catch_unwind(|| {
        let device = open();
        let probe: f32 = Tensor::<1>::ones([1], &device).into_scalar();
        assert_eq!(probe, 1.0, "the adapter computes");
        device
    })
}

/// An error that says what to install instead of Burn's panic.
#[cfg(feature = "wgpu")]
fn wgpu_device() -> Result<Device> {
    probed(|| Device::wgpu(Default::default())).map_err(|_| {
        anyhow::anyhow!("no graphics adapter answers; {NO_ADAPTER} or use `--backend flex`")
    })
}
