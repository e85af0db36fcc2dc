//! The one place of the programs that names backends.

use std::str::FromStr;

#[cfg(feature = "wgpu")]
use anyhow::ensure;
use anyhow::{Context as _, Error, Result, bail};
use burn::tensor::Device;
#[cfg(feature = "wgpu")]
use burn::tensor::{DeviceType, Tensor};

/// What the setting `backend` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    Flex,
    /// On the adapter with this number, or on the one that the driver prefers.
    Wgpu(Option<usize>),
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match (text, text.strip_prefix("wgpu:")) {
            ("flex", _) => Ok(Self::Flex),
            ("wgpu", _) => Ok(Self::Wgpu(None)),
            (_, Some(number)) => {
                let number = number.parse().with_context(|| {
                    format!("backend {text:?}: {number:?} is no number of an adapter, as in wgpu:0")
                })?;
                Ok(Self::Wgpu(Some(number)))
            }
            _ => bail!(
                "backend {text:?} is unknown; known are flex, wgpu, and wgpu:0, wgpu:1, ... for one of \
                 several adapters"
            ),
        }
    }
}

/// Where tensors are computed.
///
/// # Errors
/// For an unknown name, a backend that this build lacks, one without hardware or driver, and a number
/// that no adapter has.
pub(crate) fn open(name: &str) -> Result<Device> {
    match name.parse()? {
        Backend::Flex => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        Backend::Wgpu(number) => wgpu(number),
        #[cfg(not(feature = "wgpu"))]
        Backend::Wgpu(_) => bail!(
            "this build has no backend wgpu; install it with `--features bin,wgpu` or take \
             `--backend flex`"
        ),
    }
}

/// Burn panics without an adapter, so it is asked for them first.
#[cfg(feature = "wgpu")]
fn wgpu(number: Option<usize>) -> Result<Device> {
    let adapters = Device::enumerate(DeviceType::Wgpu);
    ensure!(
        !adapters.is_empty(),
        "no graphics adapter answers; install a Vulkan driver (a software one will do: Debian's `chromium` \
         ships SwiftShader, set VK_DRIVER_FILES to its vk_swiftshader_icd.json) or take `--backend flex`"
    );
    let device = match number {
        None => Device::wgpu(Default::default()),
        Some(number) => match adapters.get(number) {
            Some(device) => device.clone(),
            None => bail!(
                "there is no adapter wgpu:{number}; choose from {}",
                listed(&adapters)
            ),
        },
    };
    let probe = guarded(|| Tensor::<1>::ones([1], &device).into_scalar::<f32>());
    ensure!(
        probe == Some(1.0),
        "the graphics adapter does not compute; choose another of {}, or take `--backend flex`",
        listed(&adapters)
    );
    Ok(device)
}

/// The name of each adapter behind what picks it.
#[cfg(feature = "wgpu")]
fn listed(adapters: &[Device]) -> String {
    let one = |(number, device): (usize, &Device)| match guarded(|| device.identity()).flatten() {
        Some(identity) => format!("wgpu:{number} ({})", identity.name),
        None => format!("wgpu:{number}"),
    };
    let all: Vec<String> = adapters.iter().enumerate().map(one).collect();
    all.join(", ")
}

/// Nothing where Burn panics.
#[cfg(feature = "wgpu")]
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Backend, &str>) {
        let found = text.parse::<Backend>().map_err(|error| error.to_string());
        match expected {
            Ok(expected) => assert_eq!(found, Ok(expected), "{text}"),
            Err(words) => {
                let error = found.unwrap_err();
                assert!(error.contains(words), "{text}: {error}");
            }
        }
    }

    #[test]
    fn numbers_pick_adapters_and_other_words_are_refused() {
        check("flex", Ok(Backend::Flex));
        check("wgpu", Ok(Backend::Wgpu(None)));
        check("wgpu:3", Ok(Backend::Wgpu(Some(3))));
        check(
            "wgpu:",
            Err("\"\" is no number of an adapter, as in wgpu:0"),
        );
        check("wgpu:-1", Err("\"-1\" is no number of an adapter"));
        check(
            "flex:0",
            Err("backend \"flex:0\" is unknown; known are flex"),
        );
        check("tpu", Err("backend \"tpu\" is unknown; known are flex"));
    }
}
