//! What asks: one connection each, opened once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use split_runtime::grpc::wire::inference::ModelInferRequest;
use split_runtime::grpc::wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use split_runtime::grpc::wire::stream::Chunk;
use split_runtime::grpc::wire::stream::split_edge_client::SplitEdgeClient;
use split_runtime::grpc::{
    Device, DeviceOptions, EdgeAddress, OwnedRequest, Reply, infer_of_frames,
};
use split_runtime::{DeviceConfig, DispatcherConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::certificates::{EDGE_NAME, Pair, pairs};
use crate::servers::{ANSWER_BYTES, Duplex, Kind, contract, frame, start};

/// Bytes of each request.
pub(crate) const REQUEST_BYTES: usize = 300;

/// Numbers of requests under way at a time that are measured.
pub(crate) const IN_FLIGHT: [usize; 2] = [1, 64];

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Plain,
    Edge,
    Mutual,
}

/// When to stop asking.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Time(Duration),
    Count(usize),
}

/// Times of requests, and of all of them together.
#[derive(Debug, Default)]
pub(crate) struct Timed {
    pub(crate) each_ns: Vec<u64>,
    pub(crate) all: Duration,
}

pub(crate) struct Client {
    /// As in records.
    pub(crate) transport: &'static str,
    pub(crate) tls: Tls,
    how: How,
    runtime: Runtime,
}

enum How {
    Raw(TcpStream),
    Echo(UnboundedSender<Chunk>, tonic::Streaming<Chunk>),
    Stream(Rc<Device>, Vec<u8>),
    Unary(GrpcInferenceServiceClient<Channel>, ModelInferRequest),
}

/// All that are compared, connected.
pub(crate) fn all() -> Result<Vec<Client>> {
    let [edge, mutual] = pairs()?;
    let protected = [
        (Tls::Plain, None),
        (Tls::Edge, Some(edge)),
        (Tls::Mutual, Some(mutual)),
    ];
    let mut clients = vec![client("raw-tcp", Tls::Plain, Kind::RawTcp, None)?];
    for (tls, pair) in protected {
        clients.push(client("tonic-echo", tls, Kind::TonicEcho, pair.clone())?);
        clients.push(client("stream", tls, Kind::Ours, pair.clone())?);
        clients.push(client("unary", tls, Kind::Ours, pair)?);
    }
    Ok(clients)
}

fn client(transport: &'static str, tls: Tls, kind: Kind, pair: Option<Pair>) -> Result<Client> {
    let (server, client) = pair.map(|pair| (pair.server, pair.client)).unzip();
    let address = start(kind, server)?;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build()?;
    let how = runtime
        .block_on(async {
            anyhow::Ok(match transport {
                "raw-tcp" => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    How::Raw(stream)
                }
                "tonic-echo" => {
                    let (sender, chunks) = unbounded_channel();
                    let mut client = SplitEdgeClient::new(channel(address, client).await?);
                    let chunks = UnboundedReceiverStream::new(chunks);
                    let answers = client.connect(chunks).await?.into_inner();
                    How::Echo(sender, answers)
                }
                "stream" => How::Stream(
                    Rc::new(device(address, client).await?),
                    frame(REQUEST_BYTES)?,
                ),
                _ => {
                    let client = GrpcInferenceServiceClient::new(channel(address, client).await?);
                    How::Unary(
                        client,
                        infer_of_frames(&contract().split, &[frame(REQUEST_BYTES)?]),
                    )
                }
            })
        })
        .with_context(|| format!("connecting by {transport}"))?;
    Ok(Client {
        transport,
        tls,
        how,
        runtime,
    })
}

impl Client {
    /// Asks, with `in_flight` requests under way at a time; each has to be answered.
    pub(crate) fn ask(&mut self, in_flight: usize, until: Until) -> Result<Timed> {
        let local = LocalSet::new();
        let start = now();
        let each_ns = match &mut self.how {
            How::Raw(stream) => self.runtime.block_on(ask_raw(stream, in_flight, until))?,
            How::Echo(sender, answers) => self
                .runtime
                .block_on(ask_echo(sender, answers, in_flight, until))?,
            How::Stream(device, frame) => {
                let (device, frame) = (Rc::clone(device), frame.clone());
                let one = move || {
                    let (device, body) = (Rc::clone(&device), frame.clone());
                    async move { ask_device(&device, body).await }
                };
                local.block_on(&self.runtime, ask_tasks(one, in_flight, until))?
            }
            How::Unary(client, request) => {
                let (client, request) = (client.clone(), request.clone());
                let one = move || {
                    let (mut client, request) = (client.clone(), request.clone());
                    async move {
                        let answer = client.model_infer(request).await?.into_inner();
                        let bytes = answer
                            .raw_output_contents
                            .first()
                            .map_or(0, |raw| raw.len());
                        ensure!(bytes == 4 + ANSWER_BYTES, "{bytes} bytes came back");
                        Ok(())
                    }
                };
                local.block_on(&self.runtime, ask_tasks(one, in_flight, until))?
            }
        };
        Ok(Timed {
            each_ns,
            all: start.elapsed(),
        })
    }
}

async fn ask_raw(stream: &mut TcpStream, in_flight: usize, until: Until) -> Result<Vec<u64>> {
    let mut request = u32::try_from(REQUEST_BYTES)?.to_be_bytes().to_vec();
    request.resize(4 + REQUEST_BYTES, 0x5a);
    let mut asked = Asked::new(until);
    let mut answers = vec![0; ANSWER_BYTES * in_flight];
    let mut filled = 0;
    let burst = request.repeat(in_flight);
    for _ in 0..in_flight {
        asked.sent();
    }
    stream.write_all(&burst).await?;
    while asked.is_waiting() {
        let count = stream.read(&mut answers[filled..]).await?;
        ensure!(count > 0, "the connection ended");
        filled += count;
        let whole = filled / ANSWER_BYTES;
        filled -= whole * ANSWER_BYTES;
        let mut again = 0;
        for _ in 0..whole {
            again += usize::from(asked.came());
        }
        stream.write_all(&burst[..again * request.len()]).await?;
    }
    Ok(asked.each_ns)
}

async fn ask_echo(
    sender: &UnboundedSender<Chunk>,
    answers: &mut tonic::Streaming<Chunk>,
    in_flight: usize,
    until: Until,
) -> Result<Vec<u64>> {
    let chunk = Chunk {
        bytes: frame(REQUEST_BYTES)?.into(),
    };
    let mut asked = Asked::new(until);
    for _ in 0..in_flight {
        asked.sent();
        sender.send(chunk.clone())?;
    }
    while asked.is_waiting() {
        let answer = answers.message().await?.context("the stream ended")?;
        ensure!(answer.bytes.len() == ANSWER_BYTES, "a short answer");
        if asked.came() {
            sender.send(chunk.clone())?;
        }
    }
    Ok(asked.each_ns)
}

/// Requests of a connection that answers in order.
struct Asked {
    since: VecDeque<Instant>,
    each_ns: Vec<u64>,
    start: Instant,
    until: Until,
    count: usize,
}

impl Asked {
    fn new(until: Until) -> Self {
        Self {
            since: VecDeque::new(),
            each_ns: Vec::new(),
            start: now(),
            until,
            count: 0,
        }
    }

    fn sent(&mut self) {
        self.count += 1;
        self.since.push_back(now());
    }

    /// Whether another one is to be sent.
    fn came(&mut self) -> bool {
        if let Some(since) = self.since.pop_front() {
            self.each_ns.push(nanos(since.elapsed()));
        }
        let more = !self.until.is_over(self.start, self.count);
        if more {
            self.sent();
        }
        more
    }

    fn is_waiting(&self) -> bool {
        !self.since.is_empty()
    }
}

/// As many tasks as requests may be under way, each one after the other.
async fn ask_tasks<F>(
    one: impl Fn() -> F + Clone + 'static,
    in_flight: usize,
    until: Until,
) -> Result<Vec<u64>>
where
    F: Future<Output = Result<()>> + 'static,
{
    let each_ns = Rc::new(RefCell::new(Vec::new()));
    let start = now();
    if in_flight == 1 {
        // No task of its own: nobody else asks.
        let mut each_ns = Vec::new();
        while !until.is_over(start, each_ns.len()) {
            let since = now();
            one().await?;
            each_ns.push(nanos(since.elapsed()));
        }
        return Ok(each_ns);
    }
    let asked = Rc::new(std::cell::Cell::new(0));
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (one, each_ns, asked) = (one.clone(), Rc::clone(&each_ns), Rc::clone(&asked));
            tokio::task::spawn_local(async move {
                while !until.is_over(start, asked.get()) {
                    asked.set(asked.get() + 1);
                    let since = now();
                    one().await?;
                    each_ns.borrow_mut().push(nanos(since.elapsed()));
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(each_ns.take())
}

async fn ask_device(device: &Device, body: Vec<u8>) -> Result<()> {
    let request = OwnedRequest {
        split: 0,
        rung: 0,
        budget_us: 10_000_000,
        body,
    };
    match device.request(request).await? {
        Reply::Edge(answer) => ensure!(answer.body.len() == ANSWER_BYTES, "a short answer"),
        Reply::Device { why, .. } => anyhow::bail!("no edge answered: {why}"),
    }
    Ok(())
}

async fn device(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Result<Device> {
    let mut edge = EdgeAddress::new(address.to_string());
    edge.certificate_name = Some(EDGE_NAME.to_owned());
    let connection = DeviceConfig::new(vec![contract()]);
    let mut options = DeviceOptions::new(vec![edge], connection, DispatcherConfig::new(1));
    options.tls = tls;
    let device = Device::start(options)?;
    device.opened(Duration::from_secs(5)).await?;
    Ok(device)
}

async fn channel(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Result<Channel> {
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let tls = tls.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let wire: Box<dyn Duplex> = match tls {
                Some(config) => {
                    let name = ServerName::try_from(EDGE_NAME).map_err(std::io::Error::other)?;
                    Box::new(TlsConnector::from(config).connect(name, stream).await?)
                }
                None => Box::new(stream),
            };
            std::io::Result::Ok(hyper_util::rt::TokioIo::new(wire))
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.connect_with_connector(connector).await?)
}

impl Until {
    fn is_over(self, start: Instant, count: usize) -> bool {
        match self {
            Self::Time(within) => start.elapsed() >= within,
            Self::Count(most) => count >= most,
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn now() -> Instant {
    Instant::now()
}
