//! Opens a stream to one edge, again and again.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use super::core::{Core, LinkLife, LinkState};
use super::options::{DeviceOptions, EdgeAddress};
use crate::grpc::outgoing::{MAX_CHUNK_MESSAGE_BYTES, OutgoingChunks};
use crate::grpc::pb::stream::split_edge_client::SplitEdgeClient;

/// Receive windows of a stream and a connection.
const WINDOW_BYTES: (u32, u32) = (64 * 1024, 128 * 1024);

/// Keeps a stream to the edge of this index open until the device closes.
pub(crate) async fn keep_connected(core: Arc<Core>, options: Arc<DeviceOptions>, link: usize) {
    let mut failures = 0;
    let mut jitter = Jitter(options.dispatcher.seed ^ (link as u64 + 1));
    while !core.is_closed() {
        let opened = run_once(&core, &options, link).await;
        failures = if opened { 0 } else { failures + 1 };
        let (first_us, longest_us) = options.reconnect_us;
        let pause_us = first_us
            .saturating_mul(1 << failures.min(20))
            .min(longest_us);
        // Devices that lost the same edge must not come back at the same moment.
        let pause_us = pause_us / 2 + jitter.below(pause_us / 2 + 1);
        tokio::time::sleep(Duration::from_micros(pause_us)).await;
    }
}

/// One connection from start to end; whether the edge accepted it.
async fn run_once(core: &Arc<Core>, options: &DeviceOptions, link: usize) -> bool {
    let channel = match channel(options, &options.edges[link]).await {
        Ok(channel) => channel,
        Err(error) => {
            core.set_link(link, LinkState::Down(error));
            return false;
        }
    };
    let Some(LinkLife {
        life,
        outgoing,
        ended,
    }) = core.connected(link)
    else {
        return false;
    };
    let mut client =
        SplitEdgeClient::new(channel).max_decoding_message_size(MAX_CHUNK_MESSAGE_BYTES);
    let within = Duration::from_micros(options.connect_us_max);
    let connecting = client.connect(OutgoingChunks(outgoing));
    let mut inbound = match tokio::time::timeout(within, connecting).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => {
            core.disconnected(link, life, describe(&status));
            return false;
        }
        Err(_) => {
            core.disconnected(link, life, "the edge doesn't answer".to_owned());
            return false;
        }
    };
    let mut opened = false;
    let why = loop {
        // A peer that says nothing more must not keep the device from connecting anew.
        let next = tokio::select! {
            biased;
            next = inbound.message() => next,
            () = ended.notified() => break String::new(),
        };
        match next {
            Ok(Some(chunk)) => {
                core.receive(link, life, &chunk.bytes);
                opened |= matches!(core.links().borrow()[link], LinkState::Open(_));
            }
            Ok(None) => break String::new(),
            Err(status) => break describe(&status),
        }
    };
    core.disconnected(link, life, why);
    opened
}

fn describe(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), causes(status))
}

async fn channel(options: &DeviceOptions, edge: &EdgeAddress) -> Result<Channel, String> {
    let (interval, within) = options.ping_us;
    let endpoint = Endpoint::from_shared(format!("http://{}", edge.authority))
        .map_err(|error| format!("`{}`: {error}", edge.authority))?
        .connect_timeout(Duration::from_micros(options.connect_us_max))
        .initial_stream_window_size(WINDOW_BYTES.0)
        .initial_connection_window_size(WINDOW_BYTES.1)
        .http2_keep_alive_interval(Duration::from_micros(interval))
        .keep_alive_timeout(Duration::from_micros(within))
        .keep_alive_while_idle(true);
    let (tls, edge) = (options.tls.clone(), edge.clone());
    let connector = tower::service_fn(move |_: Uri| {
        let (tls, edge) = (tls.clone(), edge.clone());
        async move { open(tls, &edge).await.map(TokioIo::new) }
    });
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| causes(&error))
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Wrappers often say what they wrap.
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

/// Bytes to an edge, with or without TLS.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn open(
    tls: Option<Arc<ClientConfig>>,
    edge: &EdgeAddress,
) -> std::io::Result<Box<dyn Duplex>> {
    let stream = TcpStream::connect(&edge.authority).await?;
    // Without it a frame waits for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    let Some(config) = tls else {
        return Ok(Box::new(stream));
    };
    let name = edge.server_name().ok_or_else(|| {
        std::io::Error::other(format!("`{}` is no name of a certificate", edge.authority))
    })?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    Ok(Box::new(stream))
}

/// SplitMix64, as in the dispatcher.
struct Jitter(u64);

impl Jitter {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}
