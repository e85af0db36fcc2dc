//! Three replicas behind HAProxy, as `docs/deploy/haproxy` puts them there.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use split_runtime::Ranking;
use split_runtime::grpc::infer_of_frames;
use split_runtime::grpc::wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use super::bank::{PICTURES, Rig, SPLIT};
use super::processes::{Edge, Piped as _, Watched, device, eventually, now};

const REPLICAS: usize = 3;

/// Devices with a stream, and clients with calls, that load the replicas while they are restarted.
const STREAMS: usize = 3;
const CALLERS: usize = 2;

const WORKERS: usize = STREAMS + CALLERS;

/// How long they ask without a pause to find what the replicas can answer.
const MEASURED: Duration = Duration::from_secs(2);

/// Where Debian has it; it isn't on everybody's path.
const HAPROXY: [&str; 3] = ["haproxy", "/usr/sbin/haproxy", "/usr/local/sbin/haproxy"];

fn haproxy() -> Option<&'static str> {
    let works = |program: &&str| {
        let output = Command::new(program).arg("-v").output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = HAPROXY.into_iter().find(works);
    if found.is_none() {
        eprintln!("skipped: haproxy isn't installed");
    }
    found
}

/// A port of this machine that nobody listened on a moment ago, below those that connections of other tests
/// are given.
fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    loop {
        let tried = TAKEN.fetch_add(1, Ordering::Relaxed);
        assert!(tried < 20_000, "no port is free");
        let port = u16::try_from(10_000 + start.wrapping_add(tried) % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A replica and where it listens, before and after a restart.
struct Replica {
    edge: Option<Edge>,
    listen: String,
    admin: String,
}

impl Replica {
    fn start(rig: &Rig) -> Self {
        let [listen, admin] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
        let mut replica = Self {
            edge: None,
            listen,
            admin,
        };
        replica.run(rig);
        replica
    }

    fn run(&mut self, rig: &Rig) {
        // Behind a proxy all devices and callers are one client.
        let settings = [
            "--notice-seconds",
            "2",
            "--client-frames-per-second",
            "1000000",
        ];
        let edge = Edge::start_on(&rig.models, &self.listen, &self.admin, &settings);
        self.edge = Some(edge);
    }

    /// Frames that it answered since it runs.
    fn answered(&self) -> usize {
        let edge = self.edge.as_ref().unwrap();
        edge.metric("split_edge_jobs_total{outcome=\"done\"}")
    }

    fn restart(&mut self, rig: &Rig) {
        self.edge.take().unwrap().drain();
        self.run(rig);
    }
}

struct Proxy {
    child: Child,
    address: String,
    _folder: TempDir,
}

impl Proxy {
    /// Runs the proxy of the docs, with these replicas in the place of those it names.
    fn start(program: &str, replicas: &[Replica]) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/deploy/haproxy");
        let mut text = fs::read_to_string(file.join("haproxy.cfg")).unwrap();
        let mut fill_in = |what: &str, with: &str| {
            assert_eq!(text.matches(what).count(), 1, "{what} in\n{text}");
            text = text.replace(what, with);
        };
        let address = format!("127.0.0.1:{}", free_port());
        fill_in(
            "    bind :50051 proto",
            &format!("    bind {address} proto"),
        );
        for (replica, index) in replicas.iter().zip(1..) {
            let (_, admin) = replica.admin.rsplit_once(':').unwrap();
            fill_in(
                &format!("edge-{index} edge-{index}:50051"),
                &format!("edge-{index} {} port {admin}", replica.listen),
            );
        }
        let folder = TempDir::new().unwrap();
        let config: PathBuf = folder.path().join("haproxy.cfg");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.args(["-db", "-q", "-f"]).arg(&config);
        let mut proxy = Self {
            child: command.stdout(Stdio::null()).spawn().unwrap(),
            address,
            _folder: folder,
        };
        eventually(|| {
            assert_eq!(proxy.child.try_wait().unwrap(), None, "it ended");
            TcpStream::connect(&proxy.address).ok()
        });
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A device that nothing but an edge may answer for.
fn watched(rig: &Rig, proxy: &Proxy) -> Watched {
    let mut command = device(&rig.model, &proxy.address);
    command.args(["--json", "--fallback", "none", "-"]);
    command.piped()
}

/// A client of the Open Inference Protocol with a connection of its own.
struct Caller {
    runtime: tokio::runtime::Runtime,
    client: GrpcInferenceServiceClient<Channel>,
}

impl Caller {
    fn new(proxy: &Proxy) -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", proxy.address)).unwrap();
        let _entered = runtime.enter();
        let client = GrpcInferenceServiceClient::new(endpoint.connect_lazy());
        drop(_entered);
        Self { runtime, client }
    }

    /// The class of a frame.
    fn ask(&mut self, frame: &[u8]) -> Result<usize, String> {
        let request = infer_of_frames(SPLIT, &[frame.to_vec()]);
        let answer = self.runtime.block_on(self.client.model_infer(request));
        let answer = answer.map_err(|status| status.to_string())?.into_inner();
        // Four bytes of length stand before the one element.
        let ranking = Ranking::parse(&answer.raw_output_contents[0][4..]).unwrap();
        Ok(usize::from(ranking.best().unwrap().class))
    }
}

#[test]
fn a_proxy_spreads_devices_and_calls_and_all_are_answered_right() {
    let Some(program) = haproxy() else { return };
    let rig = Rig::new();
    let replicas = [(); REPLICAS].map(|()| Replica::start(&rig));
    let proxy = Proxy::start(program, &replicas);
    let expected = rig.predictions(0);
    // All stay connected, so that each has a stream of its own.
    let mut devices = [(); 2 * REPLICAS].map(|()| watched(&rig, &proxy));
    for device in &mut devices {
        for (file, class) in rig.files.iter().zip(&expected) {
            let line = device.ask(file);
            assert_eq!(
                (&line["by"], &line["class"]),
                (&"edge".into(), &(*class).into()),
                "{line}"
            );
        }
    }
    let by_stream = replicas.each_ref().map(Replica::answered);
    assert_eq!(by_stream.iter().sum::<usize>(), devices.len() * PICTURES);
    assert!(by_stream.iter().all(|&count| count > 0), "{by_stream:?}");
    let mut caller = Caller::new(&proxy);
    let frames = rig.frames(0);
    for (frame, class) in frames.iter().zip(&expected) {
        assert_eq!(caller.ask(frame), Ok(*class));
    }
    // One connection of a client, and still each call goes to whom it suits best.
    for (replica, before) in replicas.iter().zip(by_stream) {
        assert!(replica.answered() > before, "{before} as before");
    }
}

/// What the workers share.
#[derive(Default)]
struct Load {
    ended: AtomicBool,
    asked: AtomicUsize,
    /// Microseconds from one request of a worker to its next; none: as soon as it is answered.
    every_us: AtomicU64,
}

impl Load {
    fn pause(&self, pause: Duration) {
        let us = pause.as_micros().try_into().unwrap();
        self.every_us.store(us, Ordering::Relaxed);
    }

    /// Pictures over and over until the end, and what went wrong.
    fn run(&self, ask: &mut dyn FnMut(usize) -> Result<(), String>) -> Vec<String> {
        let mut failures = Vec::new();
        let mut picture = 0;
        while !self.ended.load(Ordering::Relaxed) {
            let due = now() + Duration::from_micros(self.every_us.load(Ordering::Relaxed));
            failures.extend(ask(picture % PICTURES).err());
            self.asked.fetch_add(1, Ordering::Relaxed);
            picture += 1;
            std::thread::sleep(due.saturating_duration_since(now()));
        }
        failures
    }
}

/// Requests since some moment.
struct Counted {
    before: usize,
    begun: Instant,
}

impl Counted {
    fn start(asked: &AtomicUsize) -> Self {
        Self {
            before: asked.load(Ordering::Relaxed),
            begun: now(),
        }
    }

    fn count(&self, asked: &AtomicUsize) -> usize {
        asked.load(Ordering::Relaxed) - self.before
    }

    fn per_second(&self, asked: &AtomicUsize) -> f64 {
        self.count(asked) as f64 / self.begun.elapsed().as_secs_f64()
    }
}

#[test]
fn replicas_behind_a_proxy_are_restarted_one_by_one_and_no_request_fails() {
    let Some(program) = haproxy() else { return };
    let rig = Rig::new();
    let mut replicas = [(); REPLICAS].map(|()| Replica::start(&rig));
    let proxy = Proxy::start(program, &replicas);
    let (expected, frames) = (rig.predictions(0), rig.frames(0));
    let load = Load::default();
    let by_stream = || {
        let mut device = watched(&rig, &proxy);
        load.run(&mut |picture| {
            let line = device.ask(&rig.files[picture]);
            let right = line["by"] == "edge" && line["class"] == expected[picture];
            right.then_some(()).ok_or_else(|| line.to_string())
        })
    };
    let by_call = || {
        let mut caller = Caller::new(&proxy);
        load.run(&mut |picture| {
            let class = caller.ask(&frames[picture])?;
            let right = class == expected[picture];
            right.then_some(()).ok_or_else(|| format!("class {class}"))
        })
    };
    let (failures, rolled) = std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..STREAMS {
            workers.push(scope.spawn(by_stream));
        }
        for _ in 0..CALLERS {
            workers.push(scope.spawn(by_call));
        }
        let all_serve = |replicas: &[Replica]| {
            for replica in replicas {
                eventually(|| (replica.answered() > 0).then_some(()));
            }
        };
        let rolled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            all_serve(&replicas);
            // What all replicas answer when nobody pauses, and then half of it.
            let full = Counted::start(&load.asked);
            std::thread::sleep(MEASURED);
            let capacity = full.per_second(&load.asked);
            let pause = Duration::from_secs_f64(WORKERS as f64 / (capacity / 2.0));
            load.pause(pause);
            let half = Counted::start(&load.asked);
            for index in 0..REPLICAS {
                replicas[index].restart(&rig);
                // The proxy has found it again.
                all_serve(&replicas[index..=index]);
            }
            let (answered, rate) = (half.count(&load.asked), half.per_second(&load.asked));
            eprintln!("{answered} requests in three restarts, {rate:.0} of {capacity:.0} a second");
            (answered, rate / capacity)
        }));
        load.ended.store(true, Ordering::Relaxed);
        let failures = workers.into_iter().map(|worker| worker.join().unwrap());
        let failures: Vec<String> = failures.flatten().collect();
        (failures, rolled.ok())
    });
    let (asked, count) = (load.asked.into_inner(), failures.len());
    let first = &failures[..count.min(3)];
    assert_eq!(count, 0, "failures of {asked}, the first: {first:?}");
    let (answered, share) = rolled.expect("every replica came back");
    assert!(answered > 100, "only {answered} requests in three restarts");
    // While a replica is away the others have its share to carry, on the same two cores.
    assert!((0.2..0.6).contains(&share), "{share} of the capacity");
}
