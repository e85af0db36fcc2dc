use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::acceptor::{Acceptor, TlsSlot};
use super::admin;
use super::core::{Core, Placement};
use super::guard::{Connections, GuardedIo};
use super::inference::InferenceService;
use super::model::{EdgeModel, Runner, Staged};
use super::options::{EdgeLimits, EdgeOptions};
use super::stream::StreamService;
use crate::grpc::clock::Clock;
use crate::grpc::outgoing::MAX_CHUNK_MESSAGE_BYTES;
use crate::grpc::pb::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::grpc::pb::stream::split_edge_server::SplitEdgeServer;
use crate::grpc::trace::Tracer;
#[cfg(feature = "otel")]
use crate::grpc::trace::Traces;
use crate::proto::{ConfigError, Contract, MAX_BUDGET_US};
use crate::serving::{EdgeHub, ServedKey};

/// Why an edge didn't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address can't be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No thread for the model.
    #[error("starting the model's thread: {0}")]
    Thread(io::Error),
}

/// Names under which gRPC health answers, beside the empty one for the whole edge.
const SERVICES: [&str; 3] = [
    "",
    "inference.GRPCInferenceService",
    "split.runtime.v1.SplitEdge",
];

/// Most bytes of all headers of a request.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// Receive windows of a stream and a connection: what a peer may send before it is read.
const WINDOW_BYTES: (u32, u32) = (64 * 1024, 512 * 1024);

/// How long an answered connection may take to read the end of its streams in a drain.
const FAREWELL: Duration = Duration::from_millis(500);

/// An edge that serves devices until it is drained or dropped.
///
/// It runs on the tokio runtime that it was started on. Dropping it cuts every connection.
pub struct Edge {
    core: Arc<Core>,
    connections: Arc<Connections>,
    tls: Arc<TlsSlot>,
    address: SocketAddr,
    admin_address: Option<SocketAddr>,
    health: HealthReporter,
    /// Tells the server to take nothing new.
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

impl Edge {
    /// Listens, warms the model up and serves.
    ///
    /// # Errors
    /// [`StartError`] where a setting is out of range or an address is taken.
    pub async fn start(options: EdgeOptions, model: impl EdgeModel) -> Result<Self, StartError> {
        Self::launch(options, model, None).await
    }

    /// As [`Self::start`], with a span for each frame and for each unary request. A unary request lies below
    /// the caller's span (`traceparent` in its metadata) and its frames below it; the frames of a stream
    /// lie below what the metadata named that opened it, or each begins a trace of its own.
    ///
    /// # Errors
    /// As [`Self::start`].
    #[cfg(feature = "otel")]
    pub async fn start_traced(
        options: EdgeOptions,
        model: impl EdgeModel,
        traces: &Traces,
    ) -> Result<Self, StartError> {
        Self::launch(options, model, Some(traces.tracer())).await
    }

    /// Where devices connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin port listens, if there is one.
    #[must_use]
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// All counts and gauges as Prometheus text, as `/metrics` gives them.
    #[must_use]
    pub fn metrics(&self) -> String {
        let snapshot = self.core.snapshot(self.connections.count() as u64);
        self.core.metrics.to_text(&snapshot)
    }

    /// Open connections, those that still shake hands included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.count()
    }

    /// New connections get these settings; those that are open keep theirs. An edge that was started
    /// without TLS has it from here on.
    pub fn reload_tls(&self, config: Arc<ServerConfig>) {
        self.tls.set(config);
        self.core.metrics.reloads.one();
    }

    /// Serves these contracts from here on, each with the key under which the model gets its
    /// frames and what its batches cost at first; the model has to know them before. Devices whose contracts are all served again don't
    /// notice; streams of the others are answered and end within `within`.
    ///
    /// # Errors
    /// [`StartError::Config`] where the contracts are out of range; what was served stays then.
    pub fn set_contracts(
        &self,
        served: &[(Contract, ServedKey)],
        within: Duration,
    ) -> Result<(), StartError> {
        let within_us = crate::grpc::clock::whole_us(within);
        self.core.set_contracts(served, within_us)?;
        self.core.metrics.model_reloads.one();
        Ok(())
    }

    /// Says that it isn't ready, by gRPC health, the Open Inference Protocol and `/ready`, and serves on:
    /// whoever spreads calls over edges learns that this one will [drain](Self::drain).
    pub async fn give_notice(&self) {
        self.core.set_ready(false);
        set_health(&self.health, ServingStatus::NotServing).await;
    }

    /// Takes no more frames, answers those it has, and ends within `within` and half a second, whatever
    /// its peers do. `true` if every frame was answered.
    pub async fn drain(mut self, within: Duration) -> bool {
        set_health(&self.health, ServingStatus::NotServing).await;
        let within_us = crate::grpc::clock::whole_us(within);
        self.core.drain(within_us);
        let deadline = tokio::time::sleep(within);
        tokio::pin!(deadline);
        let mut drained = self.core.is_drained();
        while !drained {
            tokio::select! {
                () = &mut deadline => break,
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
            drained = self.core.is_drained();
        }
        // The last refusals of the hub leave with the end of their streams.
        drained = drained || self.core.is_drained();
        self.core.stop();
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        // It waits for peers that still read, and not for those that don't.
        let _ = tokio::time::timeout(FAREWELL, &mut self.server).await;
        drained
    }

    async fn launch(
        options: EdgeOptions,
        model: impl EdgeModel,
        tracer: Option<Tracer>,
    ) -> Result<Self, StartError> {
        options.limits.check()?;
        let clock = Clock::start();
        let hub = EdgeHub::new(options.hub.clone(), clock.now())?;
        let listener = listen(options.listen).await?;
        let address = local(&listener, options.listen)?;
        let admin = match options.admin {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let admin_address = match (&admin, options.admin) {
            (Some(listener), Some(asked)) => Some(local(listener, asked)?),
            _ => None,
        };
        let staged: Box<dyn Runner> = Box::new(Staged::new(model));
        let core = place(options.placement, staged, |inline| {
            Arc::new(Core::new(hub, clock, inline, tracer))
        })
        .await?;
        let connections = Connections::new(clock, options.limits.clone());
        let tls = Arc::new(TlsSlot::new(options.tls));
        let (ready, incoming) = mpsc::channel(64);
        let acceptor = Arc::new(Acceptor {
            core: Arc::clone(&core),
            connections: Arc::clone(&connections),
            tls: Arc::clone(&tls),
            limits: options.limits.clone(),
            ready,
            handshakes: Arc::new(Semaphore::new(options.limits.handshakes_max)),
        });
        let (health, health_service) = tonic_health::server::health_reporter();
        let router = server(&options.limits).add_service(health_service);
        let router = add_services(router, &core, &options.limits);
        let (stop, stopped) = oneshot::channel();
        let incoming: ReceiverStream<io::Result<GuardedIo>> = ReceiverStream::new(incoming);
        let server = tokio::spawn(async move {
            let until = async {
                // A sender that is gone stops it as well.
                let _ = stopped.await;
            };
            // It ends by `until` alone; errors of single connections don't come up here.
            let _ = router.serve_with_incoming_shutdown(incoming, until).await;
        });
        let timed = Arc::clone(&core);
        let mut tasks = vec![
            tokio::spawn(acceptor.run(listener)),
            tokio::spawn(async move { timed.keep_time().await }),
            tokio::spawn(sweep(
                Arc::clone(&core),
                Arc::clone(&connections),
                options.limits,
            )),
        ];
        if let Some(listener) = admin {
            let (core, connections) = (Arc::clone(&core), Arc::clone(&connections));
            tasks.push(tokio::spawn(admin::run(listener, core, connections)));
        }
        core.set_ready(true);
        set_health(&health, ServingStatus::Serving).await;
        Ok(Self {
            core,
            connections,
            tls,
            address,
            admin_address,
            health,
            stop: Some(stop),
            server,
            tasks,
        })
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.core.stop();
        self.tasks.iter().for_each(JoinHandle::abort);
        self.server.abort();
        self.connections.cut_all();
    }
}

/// Warms the model up and gives it its place, which keeps it from then on.
async fn place(
    placement: Placement,
    mut runner: Box<dyn Runner>,
    make: impl FnOnce(Option<Box<dyn Runner>>) -> Arc<Core>,
) -> Result<Arc<Core>, StartError> {
    match placement {
        Placement::Inline => {
            runner.warm_up();
            Ok(make(Some(runner)))
        }
        Placement::Thread => {
            let core = make(None);
            let (warm, is_warm) = oneshot::channel();
            let worked = Arc::clone(&core);
            std::thread::Builder::new()
                .name("split-edge-model".to_owned())
                .spawn(move || {
                    runner.warm_up();
                    let _ = warm.send(());
                    worked.work(runner.as_mut());
                })
                .map_err(StartError::Thread)?;
            is_warm
                .await
                .map_err(|_| StartError::Thread(io::Error::other("the warm-up failed")))?;
            Ok(core)
        }
    }
}

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}

fn add_services(router: Router, core: &Arc<Core>, limits: &EdgeLimits) -> Router {
    let stream = SplitEdgeServer::new(StreamService {
        core: Arc::clone(core),
    });
    let inference = GrpcInferenceServiceServer::new(InferenceService {
        core: Arc::clone(core),
        limits: limits.clone(),
    });
    router
        .add_service(stream.max_decoding_message_size(MAX_CHUNK_MESSAGE_BYTES))
        .add_service(inference.max_decoding_message_size(limits.call_bytes_max))
}

fn server(limits: &EdgeLimits) -> Server {
    let (interval, within) = limits.ping_us;
    let longest = Duration::from_micros(u64::from(MAX_BUDGET_US)) + Duration::from_secs(1);
    Server::builder()
        .max_concurrent_streams(limits.calls_per_connection_max)
        .initial_stream_window_size(WINDOW_BYTES.0)
        .initial_connection_window_size(WINDOW_BYTES.1)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(Duration::from_micros(interval)))
        .http2_keepalive_timeout(Some(Duration::from_micros(within)))
        .timeout(longest)
}

async fn sweep(core: Arc<Core>, connections: Arc<Connections>, limits: EdgeLimits) {
    let shortest_us = limits.handshake_us_max.min(limits.idle_us_max);
    let every = Duration::from_micros((shortest_us / 8).clamp(1_000, 250_000));
    loop {
        tokio::time::sleep(every).await;
        connections.sweep(&core.metrics);
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

fn local(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen {
        address: asked,
        source,
    })
}
