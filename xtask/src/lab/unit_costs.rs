//! `splits --units`: what each layout of unit costs on both sides of a cut, before anything is trained.

use anyhow::Result;
use burn::tensor::Device;
use clap::ValueEnum;
use rand_core::SeedableRng;
use rand_pcg::Pcg64;
use serde::Serialize;
use split_bottleneck::{ActivationShape, UnitConfig, parameter_count};

use crate::train::UnitKind;

/// Stride of a unit, as `train` takes it.
const STRIDE: usize = 2;

/// One layout at one cut. Peaks are the most bytes of activations alive at once.
#[derive(Serialize)]
pub(crate) struct UnitCosts {
    layout: String,
    device_macs: usize,
    edge_macs: usize,
    device_parameters: usize,
    edge_parameters: usize,
    device_peak_bytes: u64,
    edge_peak_bytes: u64,
}

impl UnitCosts {
    /// All layouts that the shape allows, with the sizes that `train` gives them.
    pub(crate) fn of_all([channels, height, width]: [usize; 3]) -> Result<Vec<Self>> {
        let shape = ActivationShape {
            channels,
            height,
            width,
        };
        let kinds = UnitKind::value_variants().iter();
        let fitting = kinds.filter_map(|kind| {
            let name = kind.to_possible_value()?.get_name().to_owned();
            let config = kind.unit(shape, None, STRIDE, None);
            config.latent_shape().is_ok().then_some((name, config))
        });
        fitting
            .map(|(name, config)| Self::new(name, &config))
            .collect()
    }

    fn new(layout: String, config: &UnitConfig) -> Result<Self> {
        let unit = config.init(&Device::flex(), &mut Pcg64::seed_from_u64(0))?;
        Ok(Self {
            layout,
            device_macs: config.encoder_macs(),
            edge_macs: config.decoder_macs(),
            device_parameters: parameter_count(&unit.encoder),
            edge_parameters: parameter_count(&unit.decoder),
            device_peak_bytes: config.encoder_peak_bytes(),
            edge_peak_bytes: config.decoder_peak_bytes(),
        })
    }

    pub(crate) fn print(all: &[Self], head_macs: u64) {
        say!(
            "{:<12} {:>12} {:>8} {:>12} {:>11} {:>11} {:>11} {:>11}",
            "layout",
            "device MACs",
            "of head",
            "edge MACs",
            "dev params",
            "edge params",
            "dev peak",
            "edge peak"
        );
        for one in all {
            #[expect(clippy::cast_precision_loss, reason = "for show")]
            let share = 100.0 * one.device_macs as f64 / head_macs.max(1) as f64;
            say!(
                "{:<12} {:>12} {:>7.1}% {:>12} {:>11} {:>11} {:>11} {:>11}",
                one.layout,
                one.device_macs,
                share,
                one.edge_macs,
                one.device_parameters,
                one.edge_parameters,
                one.device_peak_bytes,
                one.edge_peak_bytes
            );
        }
    }
}
