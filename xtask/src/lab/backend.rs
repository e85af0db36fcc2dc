//! The one place that names backends.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

#[cfg(any(feature = "wgpu", feature = "cuda"))]
use anyhow::ensure;
use anyhow::{Context as _, Result, bail};
use burn::tensor::Device;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use burn::tensor::{DeviceType, Devices};
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser, ValueParserFactory};
use records::{BACKENDS, BackendName, BackendNameError};

/// The way out where no graphics adapter answers.
pub(crate) const NO_ADAPTER: &str = "install a Vulkan driver (a software one will do: Debian's \
    `chromium` ships SwiftShader, set VK_DRIVER_FILES to its vk_swiftshader_icd.json)";

/// Backend that runs the tensors; of several devices the one with a number, as `--list-devices` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// CPU, Burn's own (default).
    Flex,
    /// CPU, ndarray.
    Ndarray,
    /// GPU through Vulkan, Metal, DirectX or WebGPU.
    Wgpu(Option<usize>),
    /// NVIDIA GPU.
    Cuda(Option<usize>),
}

/// What computes.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// Picks it.
    pub(crate) backend: Backend,
    /// Its name and driver.
    pub(crate) description: String,
    /// Whether the backend takes it where no number is given.
    pub(crate) is_default: bool,
}

impl Backend {
    pub(crate) fn name(self) -> &'static str {
        BackendName::from(self).name
    }

    /// Whether it computes on the processor.
    pub(crate) fn is_cpu(self) -> bool {
        matches!(self, Self::Flex | Self::Ndarray)
    }

    /// What can compute for this backend here, by their numbers.
    pub(crate) fn adapters(self) -> Result<Vec<Adapter>> {
        match self {
            #[cfg(feature = "wgpu")]
            Self::Wgpu(_) => Ok(wgpu_adapters()),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => cuda_devices().map(|devices| cuda_adapters(&devices)),
            other => {
                other.device()?;
                Ok(vec![Adapter {
                    backend: other,
                    description: format!("CPU, {} threads", rayon::current_num_threads()),
                    is_default: true,
                }])
            }
        }
    }

    /// What computes, as `--list-devices` names it.
    pub(crate) fn adapter(self) -> Result<String> {
        let adapters = self.adapters()?;
        let own = adapters
            .iter()
            .find(|adapter| adapter.backend == self)
            .or_else(|| adapters.iter().find(|adapter| adapter.is_default));
        own.map(|adapter| adapter.description.clone())
            .with_context(|| format!("{self}: {}", nothing_answers(self.name())))
    }

    /// The device, or an error that names the missing cargo feature or the devices that there are.
    pub(crate) fn device(self) -> Result<Device> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[expect(deprecated, reason = "kept as a second opinion on flex")]
            Self::Ndarray => Ok(Device::new(burn_ndarray::NdArrayDevice::Cpu)),
            #[cfg(feature = "wgpu")]
            Self::Wgpu(number) => self.opened(&wgpu_devices()?, number),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => self.opened(&cuda_devices()?, number),
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

    /// The device of that number, or the backend's own choice.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    fn opened(self, devices: &[Device], number: Option<usize>) -> Result<Device> {
        let device = match (self, number) {
            (_, Some(number)) => match devices.get(number) {
                Some(device) => device.clone(),
                None => bail!("there is no {self}; {}", listed(&self.adapters()?)),
            },
            #[cfg(feature = "wgpu")]
            (Self::Wgpu(_), None) => Device::wgpu(Default::default()),
            (_, None) => devices[0].clone(),
        };
        answering(device).with_context(|| {
            let way_out =
                "choose another of `cargo xtask bench --list-devices`, or use `--backend flex`";
            format!("{self} does not compute; {way_out}")
        })
    }
}

/// The names to choose from, each with what it is.
#[cfg(any(feature = "wgpu", feature = "cuda", test))]
fn listed(adapters: &[Adapter]) -> String {
    let all: Vec<String> = adapters
        .iter()
        .map(|adapter| format!("{}, {}", adapter.backend, adapter.description))
        .collect();
    format!("choose from:\n  {}", all.join("\n  "))
}

impl FromStr for Backend {
    type Err = BackendNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let BackendName { name, number } = text.parse()?;
        Ok(match name {
            "ndarray" => Self::Ndarray,
            "wgpu" => Self::Wgpu(number),
            "cuda" => Self::Cuda(number),
            _ => Self::Flex,
        })
    }
}

impl From<Backend> for BackendName {
    fn from(backend: Backend) -> Self {
        let (name, number) = match backend {
            Backend::Flex => ("flex", None),
            Backend::Ndarray => ("ndarray", None),
            Backend::Wgpu(number) => ("wgpu", number),
            Backend::Cuda(number) => ("cuda", number),
        };
        Self { name, number }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BackendName::from(*self).fmt(f)
    }
}

/// Names the backends in help and completions, and takes numbers behind them as well.
#[derive(Clone)]
pub(crate) struct BackendParser;

impl ValueParserFactory for Backend {
    type Parser = BackendParser;

    fn value_parser() -> BackendParser {
        BackendParser
    }
}

impl TypedValueParser for BackendParser {
    type Value = Backend;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Backend, clap::Error> {
        let parser = StringValueParser::new().try_map(|text| text.parse::<Backend>());
        parser.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let help = |name| match name {
            "flex" => "CPU, Burn's own (default)",
            "ndarray" => "CPU, ndarray",
            "wgpu" => "GPU through Vulkan, Metal, DirectX or WebGPU",
            _ => "NVIDIA GPU",
        };
        let all = BACKENDS.into_iter();
        Some(Box::new(
            all.map(move |name| PossibleValue::new(name).help(help(name))),
        ))
    }
}

/// Why a backend has no device, and the way out.
fn nothing_answers(name: &str) -> String {
    match name {
        "cuda" => {
            "no NVIDIA GPU answers; install its driver and CUDA, or use `--backend wgpu`".to_owned()
        }
        _ => format!("no graphics adapter answers; {NO_ADAPTER} or use `--backend flex`"),
    }
}

/// The devices that have numbers, at least one. Burn would panic where there is none.
#[cfg(feature = "wgpu")]
fn wgpu_devices() -> Result<Devices> {
    let devices = Device::enumerate(DeviceType::Wgpu);
    ensure!(!devices.is_empty(), nothing_answers("wgpu"));
    Ok(devices)
}

/// The same of NVIDIA's.
#[cfg(feature = "cuda")]
fn cuda_devices() -> Result<Devices> {
    let devices = Device::enumerate(DeviceType::Cuda);
    ensure!(!devices.is_empty(), nothing_answers("cuda"));
    Ok(devices)
}

/// Names of Burn's devices, in its order: the adapters of the graphics API that it takes here.
#[cfg(feature = "wgpu")]
fn wgpu_adapters() -> Vec<Adapter> {
    use burn_wgpu::graphics::{AutoGraphicsApi, GraphicsApi as _};
    use burn_wgpu::wgpu;
    let api = AutoGraphicsApi::backend();
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: api.into(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let all = pollster::block_on(instance.enumerate_adapters(api.into()));
    let fastest = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    }));
    let fastest = fastest.map(|adapter| adapter.get_info()).ok();
    let mut infos: Vec<_> = all.iter().map(wgpu::Adapter::get_info).collect();
    // Burn opens the first of several that compute on the processor, and has no name for the others.
    let is_software = |info: &wgpu::AdapterInfo| info.device_type == wgpu::DeviceType::Cpu;
    let first = infos.iter().position(is_software);
    let mut place = 0..;
    infos.retain(|info| place.next() == first || !is_software(info));
    let one = |(number, info): (usize, &wgpu::AdapterInfo)| Adapter {
        backend: Backend::Wgpu(Some(number)),
        description: format!(
            "{} ({:?}, {:?}, driver {} {})",
            info.name, info.device_type, info.backend, info.driver, info.driver_info
        ),
        is_default: fastest.as_ref() == Some(info),
    };
    infos.iter().enumerate().map(one).collect()
}

/// NVIDIA's cards by Burn's numbers, which need not be those of NVIDIA's own tool; its driver serves all.
#[cfg(feature = "cuda")]
fn cuda_adapters(devices: &[Device]) -> Vec<Adapter> {
    let query = ["--query-gpu=driver_version", "--format=csv,noheader"];
    let output = std::process::Command::new("nvidia-smi")
        .args(query)
        .output();
    let text = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let driver = text
        .lines()
        .next()
        .map_or_else(String::new, |version| format!(", driver {version}"));
    let one = |(number, device): (usize, &Device)| {
        let identity = guarded(|| device.identity()).ok().flatten();
        Adapter {
            backend: Backend::Cuda(Some(number)),
            description: match identity {
                Some(identity) => format!("{} (CUDA{driver})", identity.name),
                None => format!("{device:?}"),
            },
            is_default: number == 0,
        }
    };
    devices.iter().enumerate().map(one).collect()
}

/// What Burn panics with becomes an error.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T> {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    result.map_err(|_| anyhow::anyhow!("Burn gave up, see above"))
}

/// The device if it computes.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn answering(device: Device) -> Result<Device> {
    use burn::tensor::Tensor;
    guarded(|| {
        let probe: f32 = Tensor::<1>::ones([1], &device).into_scalar();
        assert_eq!(probe, 1.0, "the adapter computes");
        device
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for (text, expected) in [
            ("flex", Backend::Flex),
            ("ndarray", Backend::Ndarray),
            ("wgpu", Backend::Wgpu(None)),
            ("wgpu:2", Backend::Wgpu(Some(2))),
            ("cuda:0", Backend::Cuda(Some(0))),
        ] {
            assert_eq!(text.parse(), Ok(expected));
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn help_and_completions_name_every_backend() {
        let values = BackendParser.possible_values().unwrap();
        let names: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
        assert_eq!(names, BACKENDS);
        for name in BACKENDS {
            assert_eq!(name.parse::<Backend>().unwrap().name(), name);
        }
    }

    #[test]
    fn a_list_names_what_picks_each_device() {
        let adapter = |number, description: &str| Adapter {
            backend: Backend::Wgpu(Some(number)),
            description: description.to_owned(),
            is_default: number == 1,
        };
        assert_eq!(
            listed(&[adapter(0, "one"), adapter(1, "two")]),
            "choose from:\n  wgpu:0, one\n  wgpu:1, two"
        );
    }
}
