//! An edge with a tail that is a function, and what is needed to talk to it.

use std::future::Future;
use std::time::Duration;

use split_runtime::grpc::{
    Device, DeviceOptions, Edge, EdgeAddress, EdgeOptions, OwnedRequest, model_fn,
};
use split_runtime::{
    BatchKey, Contract, DeviceConfig, DispatcherConfig, EdgeConfig, HubConfig, JobError,
    SchedulerConfig,
};
use split_tensor::{Frame, FrameHeader};

pub(crate) const BANK: u32 = 7;

pub(crate) fn contract(split: &str) -> Contract {
    Contract {
        backbone: 0xb0b0,
        split: split.to_owned(),
        unit: 0x11,
        tables: 0x22,
        bank: BANK,
        rungs: 8,
    }
}

pub(crate) fn frame(rung: u16) -> Vec<u8> {
    frame_with(rung, vec![0, 1, 2, 3])
}

pub(crate) fn frame_with(rung: u16, payload: Vec<u8>) -> Vec<u8> {
    let header = FrameHeader {
        rung,
        bank: BANK,
        shape: None,
        checksum: true,
    };
    Frame::new(header, payload).unwrap().to_bytes()
}

pub(crate) fn hub(contracts: &[Contract]) -> HubConfig {
    let keys = (0..).zip(contracts).map(|(split, contract)| BatchKey {
        backbone: contract.backbone,
        split,
        shape: [4, 8, 8],
    });
    HubConfig {
        connection: EdgeConfig::new(contracts.to_vec()),
        scheduler: SchedulerConfig::new(50, 10),
        keys: keys.map(Into::into).collect(),
        connections_max: 64,
    }
}

/// Serves one split point, `layer1`; answers are the frame's payload backwards.
pub(crate) fn options() -> EdgeOptions {
    EdgeOptions::new(hub(&[contract("layer1")]))
}

/// The answer of the rig's tail.
pub(crate) fn answer_to(frame: &[u8]) -> Vec<u8> {
    let (frame, _) = Frame::parse(frame).unwrap();
    frame.payload().iter().rev().copied().collect()
}

pub(crate) async fn start(options: EdgeOptions) -> Edge {
    let tail = |bodies: Vec<Vec<u8>>| bodies.iter().map(|body| Ok(answer_to(body))).collect();
    Edge::start(options, model_fn(tail)).await.unwrap()
}

/// An edge whose tail takes `millis` a batch.
pub(crate) async fn start_slow(options: EdgeOptions, millis: u64) -> Edge {
    let tail = move |bodies: Vec<Vec<u8>>| -> Vec<Result<Vec<u8>, JobError>> {
        std::thread::sleep(Duration::from_millis(millis));
        bodies.iter().map(|body| Ok(answer_to(body))).collect()
    };
    Edge::start(options, model_fn(tail)).await.unwrap()
}

pub(crate) fn device_options(edge: &Edge, contracts: &[Contract]) -> DeviceOptions {
    let address = EdgeAddress::new(edge.address().to_string());
    let connection = DeviceConfig::new(contracts.to_vec());
    DeviceOptions::new(vec![address], connection, DispatcherConfig::new(1))
}

pub(crate) async fn device(edge: &Edge) -> Device {
    let device = Device::start(device_options(edge, &[contract("layer1")])).unwrap();
    device.opened(Duration::from_secs(5)).await.unwrap();
    device
}

pub(crate) fn request(rung: u16) -> OwnedRequest {
    OwnedRequest {
        split: 0,
        rung,
        budget_us: 2_000_000,
        body: frame(rung),
    }
}

/// Runs a test on a runtime of its own, for at most 20 s.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), test)
            .await
            .expect("the test took more than 20 s")
    })
}

/// Waits until `holds`, for at most `within`.
pub(crate) async fn eventually(within: Duration, holds: impl Fn() -> bool) -> bool {
    for _ in 0..within.as_millis() / 5 {
        if holds() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    holds()
}

/// A value of the edge's metrics.
pub(crate) fn metric(edge: &Edge, name: &str) -> u64 {
    let text = edge.metrics();
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(name));
    let value = line.and_then(|line| line.rsplit_once(' '));
    value
        .unwrap_or_else(|| panic!("no {name} in\n{text}"))
        .1
        .parse()
        .unwrap()
}
