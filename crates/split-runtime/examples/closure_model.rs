//! An edge whose tail is a closure, and a device that sends it frames over gRPC:
//! `cargo run -p split-runtime --features grpc --example closure_model`.
//!
//! The closure decodes real frames of `split-tensor`. Any tail fits there: another tensor library,
//! a lookup, a call to another server.

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;
use std::time::Duration;

use split_runtime::grpc::{
    Device, DeviceOptions, Edge, EdgeAddress, EdgeOptions, OwnedRequest, Reply, model_fn,
};
use split_runtime::{
    BatchKey, Contract, DeviceConfig, DispatcherConfig, EdgeConfig, HubConfig, JobError,
    SchedulerConfig,
};
use split_tensor::{Codec, FreqTable, Latent, LatentShape, Quantizer, TableSet};

/// Digest of what both ends must have in common; a real one comes from the bank's file.
const BANK: u32 = 0xfeed_beef;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shape = LatentShape::new(4, 2, 2)?;
    let tables = TableSet::shared(FreqTable::from_counts(0, &[70, 20, 8, 2])?);
    let codec = Codec::new(Quantizer::uniform(0.5)?, tables, shape, 0, BANK)?;
    let contract = Contract {
        backbone: 0x5eed,
        split: "layer2".to_owned(),
        unit: 0x0123,
        tables: 0x4567,
        bank: BANK,
        rungs: 1,
    };
    let key = BatchKey {
        backbone: contract.backbone,
        split: 0,
        shape: [4, 2, 2],
    };

    // The edge. The closure gets a batch of frames and gives an answer for each.
    let decoder = codec.clone();
    let tail = move |frames: Vec<Vec<u8>>| {
        let strongest = |frame: &Vec<u8>| -> Result<Vec<u8>, JobError> {
            let latent = decoder.decode(frame);
            let latent = latent.map_err(|error| JobError::BadFrame(error.to_string()))?;
            let sums = latent.values().chunks(4).map(|plane| plane.iter().sum());
            let best = (0_u8..)
                .zip(sums)
                .max_by(|a: &(_, f32), b| a.1.total_cmp(&b.1));
            Ok(best.map(|(channel, _)| channel).into_iter().collect())
        };
        frames.iter().map(strongest).collect()
    };
    let hub = HubConfig {
        connection: EdgeConfig::new(vec![contract.clone()]),
        scheduler: SchedulerConfig::new(50, 10),
        keys: vec![key.into()],
        connections_max: 4,
    };
    let edge = Edge::start(EdgeOptions::new(hub), model_fn(tail)).await?;

    // The device. On another machine the address is the only difference.
    let address = EdgeAddress::new(edge.address().to_string());
    let connection = DeviceConfig::new(vec![contract]);
    let options = DeviceOptions::new(vec![address], connection, DispatcherConfig::new(1));
    let device = Device::start(options)?;
    device.opened(Duration::from_secs(5)).await?;
    for channel in 0..4 {
        let mut values = vec![0.1; shape.len()];
        values[4 * channel + 1] = 1.4;
        let body = codec.encode(&Latent::new(shape, values)?)?;
        let bytes = body.len();
        let request = OwnedRequest {
            split: 0,
            rung: 0,
            budget_us: 1_000_000,
            body,
        };
        match device.request(request).await? {
            Reply::Edge(answer) => {
                println!("{bytes} bytes: channel {:?} is strongest", answer.body)
            }
            other => println!("{bytes} bytes: {other:?}"),
        }
    }
    Ok(())
}
