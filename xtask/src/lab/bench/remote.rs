//! burn-remote beside the split: why not just send tensors.
//!
//! A server in this process runs Burn's operations on flex for a client that reaches it through a
//! relay on loopback, which counts the bytes of both directions. The weights go over once, before
//! anything is timed; then each call sends its input and fetches class scores.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use burn::tensor::remote::RemoteHost;
use burn::tensor::server::{RemoteServer, WebSocketTransport};
use burn::tensor::{Device, Tensor, TensorData};
use split_backbone::{Opened, ResNet, ResNetTail};
use split_bottleneck::Tail as _;

use super::peers::check_scores;
use super::steps::{Bench, Inputs};
use crate::backend::Backend;
use crate::rung::now;

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Sent {
    /// The activation at the split point; the tail runs there.
    Activation,
    /// The picture; the whole network runs there.
    Picture,
}

pub(super) const SENT: [Sent; 2] = [Sent::Activation, Sent::Picture];

impl Sent {
    /// As records call the peer.
    pub(super) fn name(self) -> String {
        let what = match self {
            Self::Activation => "activation",
            Self::Picture => "picture",
        };
        format!("burn-remote {}, {what} sent", crate::record::BURN)
    }
}

/// A network on the other side of burn-remote.
pub(super) struct Remote {
    device: Device,
    network: ResNet,
    tail: ResNetTail,
    activation: TensorData,
    picture: TensorData,
    wire: Arc<AtomicU64>,
}

/// What a call took.
pub(super) struct Call {
    pub(super) ms: f64,
    /// Bytes over the wire, both ways together.
    pub(super) bytes: u64,
}

impl Remote {
    /// Starts server and relay and sends the weights; `inputs` are what calls send.
    pub(super) fn start(bench: &Bench, inputs: &Inputs) -> Result<Self> {
        let server = TcpListener::bind("127.0.0.1:0").context("burn-remote: binding a port")?;
        let behind = server.local_addr().context("burn-remote: its port")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("burn-remote: starting its runtime")?;
        let host = RemoteServer::new([Backend::Flex.device()?]);
        std::thread::spawn(move || {
            let serving = host.serve_async(WebSocketTransport::from_listener(server));
            if let Err(error) = runtime.block_on(serving) {
                eprintln!("burn-remote: the server ended: {error}");
            }
        });
        let wire = Arc::new(AtomicU64::new(0));
        let front = relay(behind, Arc::clone(&wire)).context("burn-remote: starting the relay")?;
        let device = Device::remote_options(&RemoteHost::websocket(&format!("ws://{front}")))
            .init()
            .context("burn-remote: connecting")?;
        let note = &bench.setup.opened.note;
        let weights = bench.setup.args.weights.as_deref();
        let opened = Opened::load(&note.name, weights, &note.split, &device)?;
        Ok(Self {
            device,
            network: opened.network,
            tail: opened.tail,
            activation: inputs.activation.clone().into_data(),
            picture: inputs.input.clone().into_data(),
            wire,
        })
    }

    /// Runs both ways once and holds their class scores against ours; the first call also waits
    /// for the weights to be there.
    pub(super) fn check(&self, bench: &Bench, inputs: &Inputs, pictures: usize) -> Result<()> {
        let ours = inputs.scores(bench, pictures);
        for sent in SENT {
            let theirs = self.scores(sent);
            check_scores(&ours, &theirs[..ours.len()])
                .with_context(|| format!("{} computes something else", sent.name()))?;
        }
        Ok(())
    }

    /// One timed call: input on the host to class scores on the host.
    pub(super) fn call(&self, sent: Sent) -> Call {
        let before = self.wire.load(Ordering::Relaxed);
        let started = now();
        std::hint::black_box(self.scores(sent));
        let ms = started.elapsed().as_secs_f64() * 1e3;
        // Handles that were dropped meanwhile are told to the server without an answer; the sync
        // waits until their bytes have passed.
        self.device.sync().expect("the server answers");
        let bytes = self.wire.load(Ordering::Relaxed) - before;
        Call { ms, bytes }
    }

    fn scores(&self, sent: Sent) -> Vec<f32> {
        let sent_data = |data: &TensorData| Tensor::<4>::from_data(data.clone(), &self.device);
        let scores = match sent {
            Sent::Activation => self.tail.forward(sent_data(&self.activation)),
            Sent::Picture => self.network.forward(sent_data(&self.picture)),
        };
        let scores = scores.into_data().convert::<f32>().try_to_vec();
        scores.expect("converted to f32 above")
    }
}

/// Passes connections on to `behind` and counts what goes through; ends with the process.
fn relay(behind: SocketAddr, wire: Arc<AtomicU64>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let front = listener.local_addr()?;
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let both = near.and_then(|near| {
                let far = TcpStream::connect(behind)?;
                near.set_nodelay(true)?;
                far.set_nodelay(true)?;
                Ok([(near.try_clone()?, far.try_clone()?), (far, near)])
            });
            match both {
                Ok(both) => both.into_iter().for_each(|(from, to)| {
                    let wire = Arc::clone(&wire);
                    std::thread::spawn(move || pass_on(from, to, &wire));
                }),
                Err(error) => eprintln!("burn-remote: the relay lost a connection: {error}"),
            }
        }
    });
    Ok(front)
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, wire: &AtomicU64) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        wire.fetch_add(count as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // The other direction sees the end too; a socket that is closed already needs none.
    let _ = to.shutdown(Shutdown::Write);
}
