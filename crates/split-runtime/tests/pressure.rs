//! An edge under more load than it can bear, as a process with a real network behind it: what it still answers
//! and how much memory it holds. Alone in its program: it would be in the way of tests that look at times.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails it where it stands"
)]

#[allow(dead_code, reason = "tests of device and edge use what these leave")]
#[path = "programs/bank.rs"]
mod bank;
#[allow(dead_code, reason = "tests of device and edge use what these leave")]
#[path = "programs/processes.rs"]
mod processes;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use split_runtime::grpc::wire::stream::Chunk;
use split_runtime::grpc::wire::stream::split_edge_client::SplitEdgeClient;
use split_runtime::grpc::{
    Device, DeviceOptions, EdgeAddress, MAX_CHUNK_BYTES, OwnedRequest, Reply,
};
use split_runtime::{DeviceConfig, DeviceConnection, DispatcherConfig, Time};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;

use bank::{PICTURES, Rig};
use processes::{Edge, device, lines_of};

/// How long an edge is put under pressure.
const LASTS: Duration = Duration::from_secs(4);

/// Most memory that it may hold more than before.
const GROWN_KIB: usize = 96 << 10;

/// Streams that flood, from another address than the device that is to be answered.
const FLOODS: usize = 6;

/// Devices that put an edge under load, and frames that each keeps under way to find its capacity.
const DEVICES: usize = 4;
const UNDER_WAY: usize = 32;

/// Time for an answer.
const BUDGET_US: u32 = 150_000;

/// One test at a time: each of them wants the machine.
static ALONE: Mutex<()> = Mutex::new(());

#[expect(clippy::disallowed_methods, reason = "the test measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// A hello, then frames of a few bytes without end: as many as the connection takes.
async fn flood(address: String, hello: Vec<u8>, until: Instant) {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let Ok(channel) = endpoint.local_address(Some(from)).connect().await else {
        return;
    };
    let mut client = SplitEdgeClient::new(channel);
    let mut seq = 0_u32;
    let mut first = Some(hello);
    let chunks = std::iter::from_fn(move || {
        (now() < until).then(|| {
            let mut bytes = first.take().unwrap_or_default();
            while bytes.len() < MAX_CHUNK_BYTES / 2 {
                let mut message = vec![4];
                number(&mut message, seq);
                // Split, rung, a budget of 16,383 us, and a body that is no frame.
                message.extend([0, 0, 0xff, 0x7f, 1, 2, 3]);
                number(&mut bytes, u32::try_from(message.len()).unwrap());
                bytes.extend(message);
                seq += 1;
            }
            Chunk {
                bytes: bytes.into(),
            }
        })
    });
    let Ok(answers) = client.connect(tokio_stream::iter(chunks)).await else {
        return;
    };
    let mut answers = answers.into_inner();
    while let Some(Ok(_)) = answers.next().await {}
}

/// A number as messages have it, lowest seven bits first.
fn number(bytes: &mut Vec<u8>, value: u32) {
    let mut left = value;
    while left > 0x7f {
        bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    bytes.push(u8::try_from(left).unwrap());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// A floods' worth of frames that are none, faster than an edge can say so: it holds no more memory, and a
/// device gets its answers meanwhile.
#[test]
fn floods_of_tiny_frames_leave_a_device_its_answers_and_no_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &[]);
    let before = edge.peak_kib();
    let config = DeviceConfig::new(vec![rig.contract()]);
    let mut hello = Vec::new();
    assert!(
        DeviceConnection::new(config, Time::ZERO)
            .unwrap()
            .poll_transmit(&mut hello)
    );
    let runtime = runtime();
    let until = now() + LASTS;
    let mut floods = JoinSet::new();
    for _ in 0..FLOODS {
        floods.spawn_on(
            flood(edge.address.clone(), hello.clone(), until),
            runtime.handle(),
        );
    }
    let mut answered = 0;
    while now() < until {
        let mut command = device(&rig.model, &edge.address);
        command.args(["--json", "--fallback", "none"]);
        let lines = lines_of(command.arg(&rig.pictures));
        answered += lines.iter().filter(|line| line["by"] == "edge").count();
        assert_eq!(answered % PICTURES, 0, "{lines:?}");
    }
    runtime.block_on(async { while floods.join_next().await.is_some() {} });
    assert!(answered > 0);
    let refused = edge.metric("split_edge_frames_refused_total");
    assert!(refused > 10_000, "only {refused} frames were refused");
    let grown = edge.peak_kib().saturating_sub(before);
    assert!(grown < GROWN_KIB, "the edge grew by {grown} KiB");
    edge.drain();
}

/// Frames of a model as many devices would send them.
struct Load {
    devices: Vec<Arc<Device>>,
    frames: Vec<Vec<u8>>,
}

impl Load {
    fn new(rig: &Rig, edge: &Edge) -> Self {
        let device = |seed: usize| {
            let connection = DeviceConfig::new(vec![rig.contract()]);
            let mut dispatcher = DispatcherConfig::new(u64::try_from(seed).unwrap());
            dispatcher.open_max = 10_000;
            let address = EdgeAddress::new(&edge.address);
            let device = Device::start(DeviceOptions::new(vec![address], connection, dispatcher));
            Arc::new(device.unwrap())
        };
        Self {
            devices: (0..DEVICES).map(device).collect(),
            frames: rig.frames(0),
        }
    }

    async fn opened(&self) {
        for device in &self.devices {
            device.opened(Duration::from_secs(10)).await.unwrap();
        }
    }

    /// Sends frame number `index` and says whether it was answered in time.
    fn ask(&self, index: usize, budget_us: u32) -> impl Future<Output = bool> + use<> {
        let device = Arc::clone(&self.devices[index % DEVICES]);
        let request = OwnedRequest {
            split: 0,
            rung: 0,
            budget_us,
            body: self.frames[index % self.frames.len()].clone(),
        };
        async move { matches!(device.request(request).await, Ok(Reply::Edge(_))) }
    }

    /// Answers a second where each device sends the next frame when one was answered.
    async fn capacity(self: &Arc<Self>) -> f64 {
        let start = now();
        let answered = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for first in 0..DEVICES * UNDER_WAY {
            let (load, answered) = (Arc::clone(self), Arc::clone(&answered));
            tasks.spawn(async move {
                let mut index = first;
                while start.elapsed() < LASTS / 2 {
                    if load.ask(index, 5_000_000).await {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    index += 1;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
        count(answered.load(Ordering::Relaxed)) / start.elapsed().as_secs_f64()
    }

    /// Frames sent and those answered in time a second, where frames come at this rate whatever becomes of them.
    async fn offered(self: &Arc<Self>, per_s: f64) -> (f64, f64) {
        let start = now();
        let mut tasks = JoinSet::new();
        let mut sent = 0;
        while start.elapsed() < LASTS {
            while count(sent) < start.elapsed().as_secs_f64() * per_s {
                tasks.spawn(self.ask(sent, BUDGET_US));
                sent += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        let mut answered = 0;
        while let Some(done) = tasks.join_next().await {
            answered += usize::from(done.unwrap());
        }
        (count(sent) / seconds, count(answered) / seconds)
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

/// Twice what the edge can bear: nearly as many answers in time as it has at its best, no more memory.
///
/// Both programs share a machine here, and refusals cost time on both sides; the bound is what remains on a
/// busy machine of two cores. In virtual time, where only the edge's own time counts, it is nine tenths
/// (`tests/overload.rs`).
#[test]
fn twice_the_capacity_of_a_real_edge_leaves_most_answers_in_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let rig = Rig::new();
    let more = [
        "--client-in-flight-max",
        "1024",
        "--client-frames-per-second",
        "0",
    ];
    let edge = Edge::start(&rig.models, &more);
    let runtime = runtime();
    let before = edge.peak_kib();
    let (capacity, (sent, answered)) = runtime.block_on(async {
        let load = Arc::new(Load::new(&rig, &edge));
        load.opened().await;
        let capacity = load.capacity().await;
        (capacity, load.offered(2.0 * capacity).await)
    });
    let shown = format!("{capacity:.0} a second at best, {sent:.0} sent, {answered:.0} in time");
    // Straight to the stream: the test runner keeps what is printed.
    let _ = writeln!(std::io::stderr(), "{shown}");
    assert!(sent > 1.6 * capacity, "{shown}");
    assert!(answered > 0.6 * capacity, "{shown}");
    let grown = edge.peak_kib().saturating_sub(before);
    assert!(grown < GROWN_KIB, "the edge grew by {grown} KiB");
    edge.drain();
}
