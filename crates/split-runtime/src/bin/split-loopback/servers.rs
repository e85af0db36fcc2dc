//! What answers, each on a thread of its own.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::task::{Context as Polled, Poll};

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use split_runtime::grpc::wire::stream::Chunk;
use split_runtime::grpc::wire::stream::split_edge_server::{SplitEdge, SplitEdgeServer};
use split_runtime::grpc::{Edge, EdgeOptions, Placement, model_fn};
use split_runtime::{BatchKey, Contract, EdgeConfig, HubConfig, JobError, SchedulerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, ReadBuf};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

/// Bytes of each answer.
pub(crate) const ANSWER_BYTES: usize = 40;

const BANK: u32 = 7;

/// What both ends of our own protocol agree on.
pub(crate) fn contract() -> Contract {
    Contract {
        backbone: 1,
        split: "none".to_owned(),
        unit: 2,
        tables: 3,
        bank: BANK,
        rungs: 1,
    }
}

/// A frame of so many bytes.
pub(crate) fn frame(bytes: usize) -> Result<Vec<u8>> {
    let header = split_tensor::FrameHeader {
        rung: 0,
        bank: BANK,
        shape: None,
        checksum: true,
    };
    let made = |payload: usize| -> Result<Vec<u8>> {
        // The first byte is a descriptor.
        let payload = vec![0; payload];
        Ok(split_tensor::Frame::new(header, payload)?.to_bytes())
    };
    let around = made(bytes)?.len() - bytes;
    made(bytes - around)
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    RawTcp,
    TonicEcho,
    Ours,
}

/// Starts a server on a thread with a runtime of its own, which lives as long as the process.
pub(crate) fn start(kind: Kind, tls: Option<Arc<ServerConfig>>) -> Result<SocketAddr> {
    let (sender, address) = sync_channel(1);
    let run = move || -> Result<()> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build()?;
        runtime.block_on(async {
            if kind == Kind::Ours {
                let edge = ours(tls).await?;
                sender.send(edge.address())?;
                return std::future::pending().await;
            }
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            sender.send(listener.local_addr()?)?;
            match kind {
                Kind::RawTcp => raw(listener).await,
                _ => tonic_echo(listener, tls).await,
            }
        })
    };
    std::thread::Builder::new()
        .name("server".to_owned())
        .spawn(move || {
            if let Err(error) = run() {
                eprintln!("error: the server ended: {error:#}");
            }
        })?;
    address.recv().context("a server didn't start")
}

/// Our edge with a model that computes nothing.
async fn ours(tls: Option<Arc<ServerConfig>>) -> Result<Edge> {
    let key = BatchKey {
        backbone: 1,
        split: 0,
        shape: [1, 1, 1],
    };
    let mut scheduler = SchedulerConfig::new(1, 1);
    scheduler.batch_max = 64;
    let hub = HubConfig {
        connection: EdgeConfig::new(vec![contract()]),
        scheduler,
        keys: vec![key.into()],
        connections_max: 64,
    };
    let mut options = EdgeOptions::new(hub);
    options.placement = Placement::Inline;
    options.tls = tls;
    let model = |bodies: Vec<Vec<u8>>| -> Vec<Result<Vec<u8>, JobError>> {
        bodies.iter().map(|_| Ok(vec![1; ANSWER_BYTES])).collect()
    };
    Ok(Edge::start(options, model_fn(model)).await?)
}

/// Four bytes of length, then so many bytes; answers are without a length.
async fn raw(listener: TcpListener) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let (read, mut write) = stream.into_split();
            let mut read = BufReader::with_capacity(64 * 1024, read);
            let mut body = Vec::new();
            // The client goes away at the end of the run.
            while let Ok(length) = read.read_u32().await {
                body.resize(length as usize, 0);
                if read.read_exact(&mut body).await.is_err()
                    || write.write_all(&[1; ANSWER_BYTES]).await.is_err()
                {
                    return;
                }
            }
        });
    }
}

/// A stream of gRPC messages, each answered by one, with the settings that tonic has by itself.
async fn tonic_echo(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Result<()> {
    let (sender, incoming) = tokio::sync::mpsc::channel::<std::io::Result<Wire>>(1);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let opened = async {
                stream.set_nodelay(true)?;
                let wire: Box<dyn Duplex> = match &tls {
                    Some(config) => {
                        Box::new(TlsAcceptor::from(Arc::clone(config)).accept(stream).await?)
                    }
                    None => Box::new(stream),
                };
                Ok(Wire(wire))
            };
            if sender.send(opened.await).await.is_err() {
                return;
            }
        }
    });
    let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
    let server = tonic::transport::Server::builder().add_service(SplitEdgeServer::new(Echo));
    Ok(server.serve_with_incoming(incoming).await?)
}

struct Echo;

#[tonic::async_trait]
impl SplitEdge for Echo {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<Chunk, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let answers = request.into_inner().map(|chunk| {
            let bytes = vec![1; ANSWER_BYTES].into();
            chunk.map(|_| Chunk { bytes })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection that tonic takes.
struct Wire(Box<dyn Duplex>);

impl Connected for Wire {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Polled<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Polled<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Polled<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Polled<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Polled<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
