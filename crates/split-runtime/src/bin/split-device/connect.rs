//! The way to an edge: connecting, and asking how long its answers take.

use std::time::Duration;

use anyhow::{Result, bail};
use burn::tensor::Device as Compute;
use split_runtime::grpc::{Device, DeviceOptions, OwnedRequest, Reply};

use crate::cuts::Cuts;
use crate::program::out;
use crate::program::picture::Form;
use crate::spans::Spans;

/// Frames of each model that the edge is timed with at the start, and the time for each.
const PROBES: usize = 5;
const PROBE_US: u64 = 1_000_000;

/// Starts to connect and waits for an edge, which says the models that it serves; goes on without one where
/// the device can answer itself.
pub(crate) async fn connected(
    options: DeviceOptions,
    within: Duration,
    falls_back: bool,
    spans: &Spans,
) -> Result<(Device, Option<Vec<u8>>)> {
    let named: Vec<String> = options
        .edges
        .iter()
        .map(|one| one.authority.clone())
        .collect();
    let named = named.join(", ");
    let device = spans.device(options)?;
    match device.opened(within).await {
        Ok(accepted) => Ok((device, Some(accepted))),
        Err(error) if falls_back => {
            out::log(&format!(
                "warning: edge {named}: {error}; pictures are answered here until it is there"
            ));
            Ok((device, None))
        }
        Err(error) => {
            bail!("edge {named}: {error}; start it, check the address, or allow --fallback local")
        }
    }
}

/// A frame to ask an edge with how long it takes.
pub(crate) struct Probe {
    /// Index of its contract.
    contract: u8,
    rung: u16,
    body: Vec<u8>,
}

/// The shortest frames of a grey picture for each of these models, and a picture of this form where they are
/// named too, behind the last model.
pub(crate) fn probes(
    cuts: &Cuts,
    accepted: &[u8],
    compute: &Compute,
    form: Option<Form>,
) -> Result<Vec<Probe>> {
    let mut probes = Vec::new();
    for &contract in accepted {
        let model = usize::from(contract);
        let (rung, body) = if model < cuts.len() {
            let Some(shortest) = cuts.get(model).shortest_frame(compute) else {
                continue;
            };
            shortest
        } else {
            let Some(form) = form else { continue };
            (0, cuts.picture_frame(form, &cuts.textured()?)?)
        };
        probes.push(Probe {
            contract,
            rung,
            body,
        });
    }
    Ok(probes)
}

/// What the edge takes for each of these, by its contract; nothing for those that it doesn't answer soon.
pub(crate) async fn ask_edge(
    device: &Device,
    cuts: &Cuts,
    probes: Vec<Probe>,
    deadline_us: u64,
) -> Vec<(usize, u64)> {
    let budget_us = u32::try_from(deadline_us.min(PROBE_US)).unwrap_or(u32::MAX);
    let mut found = Vec::new();
    for probe in probes {
        let index = usize::from(probe.contract);
        let mut times = Vec::new();
        for _ in 0..PROBES {
            let request = OwnedRequest {
                split: probe.contract,
                rung: probe.rung,
                budget_us,
                body: probe.body.clone(),
            };
            match device.request(request).await {
                Ok(Reply::Edge(answer)) => times.push(u64::from(answer.compute_us)),
                // One that is slow or stands still is not asked again before the first picture.
                _ => break,
            }
        }
        times.sort_unstable();
        match times.get(times.len() / 2) {
            Some(&median) => found.push((index, median)),
            None => out::log(&format!(
                "warning: the edge answered no frame of {} at the start; a time is assumed for it",
                cuts.name(index)
            )),
        }
    }
    found
}
