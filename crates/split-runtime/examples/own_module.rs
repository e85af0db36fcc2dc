//! A network of your own on both ends of a real connection:
//! `cargo run -p split-runtime --features bin --example own_module`.
//!
//! Head and tail are plain Burn modules. The unit is the closed form that needs no training (principal
//! components of patches); a trained bank takes its place without another change.

#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;
use std::time::Duration;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device as Compute, Tensor, TensorData, activation::relu, s};
use rand_core::SeedableRng as _;
use rand_pcg::Pcg64;
use split_bottleneck::{
    ActivationCache, BackboneNote, Bank, Head, Klt, Rung, TablePictures, Tail, redraw,
};
use split_runtime::grpc::{
    Device, DeviceOptions, Edge, EdgeAddress, EdgeModel, EdgeOptions, OwnedRequest, Reply,
};
use split_runtime::stage::{DecodedFrame, DeviceStage, EdgeStage, contract_of};
use split_runtime::{
    BatchKey, DeviceConfig, DispatcherConfig, EdgeConfig, HubConfig, Job, JobError, Ranking,
    SchedulerConfig,
};

#[derive(Module, Debug)]
struct OwnNet {
    conv: Conv2d,
    score: Linear,
}

impl Head for OwnNet {
    fn forward(&self, picture: Tensor<4>) -> Tensor<4> {
        relu(self.conv.forward(picture))
    }
}

impl Tail for OwnNet {
    type Output = Tensor<2>;

    fn forward(&self, activation: Tensor<4>) -> Tensor<2> {
        let [n, channels, height, width] = activation.dims();
        let mean = activation
            .reshape([n, channels, height * width])
            .mean_dim(2);
        self.score.forward(mean.reshape([n, channels]))
    }
}

/// The edge's half: frames become latents one by one, unit decoder and tail run in batches.
struct Served(EdgeStage<OwnNet>);

impl EdgeModel for Served {
    type Input = DecodedFrame;

    fn decode(&mut self, job: &Job) -> Result<DecodedFrame, JobError> {
        self.0.decode(job.rung, &job.body)
    }

    fn run(&mut self, _: &BatchKey, inputs: Vec<DecodedFrame>) -> Vec<Result<Vec<u8>, JobError>> {
        let rankings = self.0.run(inputs);
        rankings.iter().map(|one| Ok(one.to_bytes())).collect()
    }
}

/// Drawn from seed 7; yours would be trained.
fn network(compute: &Compute) -> OwnNet {
    let network = OwnNet {
        conv: Conv2dConfig::new([3, 16], [4, 4])
            .with_stride([2, 2])
            .init(compute),
        score: LinearConfig::new(16, 10).init(compute),
    };
    redraw(network, &mut Pcg64::seed_from_u64(7))
}

/// Two rungs: fine steps and coarse ones.
fn bank(network: &OwnNet, pictures: &Tensor<4>, compute: &Compute) -> Result<Bank, Box<dyn Error>> {
    let count = pictures.dims()[0];
    let inputs = [(pictures.clone(), vec![0; count])];
    let cache = ActivationCache::build(network, network, inputs, 1 << 28)?;
    let klt = Klt::fit(&cache, 3, count)?;
    let tables = TablePictures {
        cache: &cache,
        limit: count,
        mixing: false,
        device: compute,
    };
    let mut rungs = Vec::new();
    for (name, step) in [("fine", 0.1), ("coarse", 0.5)] {
        let unit = klt.unit(16, step);
        let weights = klt.weights(&unit, 1, compute)?;
        rungs.push(Rung::fitted(name, "pca", &unit, &weights, tables)?);
    }
    let note = BackboneNote {
        name: "own".to_owned(),
        split: "conv".to_owned(),
        weights_sha256: "drawn from seed 7".to_owned(),
    };
    Ok(Bank::new(note, rungs)?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let compute = Compute::flex();
    let network = network(&compute);
    let pictures = waves(64, &compute);
    let bank = bank(&network, &pictures, &compute)?;

    let contract = contract_of(&bank)?;
    let latent = bank.rungs()[0].config.latent_shape()?;
    let [channels, height, width] =
        [latent.channels(), latent.height(), latent.width()].map(u32::try_from);
    let key = BatchKey {
        backbone: contract.backbone,
        split: 0,
        shape: [channels?, height?, width?],
    };
    let hub = HubConfig {
        connection: EdgeConfig::new(vec![contract.clone()]),
        scheduler: SchedulerConfig::new(50, 10),
        keys: vec![key.into()],
        connections_max: 4,
    };
    let stage = EdgeStage::open(&bank, network.clone(), 3, &compute)?;
    let edge = Edge::start(EdgeOptions::new(hub), Served(stage)).await?;

    // The device. On another machine the address is the only difference; the bank's file is the same.
    let stage = DeviceStage::open(&bank, network.clone(), &compute)?;
    let address = EdgeAddress::new(edge.address().to_string());
    let connection = DeviceConfig::new(vec![contract]);
    let options = DeviceOptions::new(vec![address], connection, DispatcherConfig::new(1));
    let device = Device::start(options)?;
    device.opened(Duration::from_secs(5)).await?;
    let picture = pictures.slice(s![0..1]);
    let whole = Tail::forward(&network, Head::forward(&network, picture.clone()));
    let whole = whole.argmax(1).into_scalar::<i32>();
    for (rung, kept) in (0..).zip(bank.rungs()) {
        let body = stage.frame(rung, stage.activation(picture.clone()))?;
        let bytes = body.len();
        let request = OwnedRequest {
            split: 0,
            rung,
            budget_us: 1_000_000,
            body,
        };
        let name = &kept.name;
        match device.request(request).await? {
            Reply::Edge(answer) => {
                let best = Ranking::parse(&answer.body)?.best();
                let class = best.map(|best| best.class);
                println!("{name}: {bytes} bytes, class {class:?}; unsplit says {whole}");
            }
            other => println!("{name}: {bytes} bytes, {other:?}"),
        }
    }
    Ok(())
}

/// Pictures `[count, 3, 32, 32]` of waves, each of its own frequency.
fn waves(count: u8, compute: &Compute) -> Tensor<4> {
    let values: Vec<f32> = (0..count)
        .flat_map(|picture| (0..3_u16 * 32 * 32).map(move |at| (picture, at)))
        .map(|(picture, at)| {
            let (x, y) = (f32::from(at % 32), f32::from(at / 32));
            (x * f32::from(picture + 1) / 40.0 + y / 9.0).sin()
        })
        .collect();
    let shape = [usize::from(count), 3, 32, 32];
    Tensor::from_data(TensorData::new(values, shape), compute)
}
