//! Takes connections: limits first, then TLS, each within its time.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::core::Core;
use super::guard::{Connections, GuardedIo, Place};
use super::options::EdgeLimits;

/// TLS settings that can be swapped while connections come in; those that are open keep theirs.
#[derive(Debug)]
pub(crate) struct TlsSlot(Mutex<Option<Arc<ServerConfig>>>);

impl TlsSlot {
    pub(crate) const fn new(config: Option<Arc<ServerConfig>>) -> Self {
        Self(Mutex::new(config))
    }

    pub(crate) fn get(&self) -> Option<Arc<ServerConfig>> {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.clone()
    }

    pub(crate) fn set(&self, config: Arc<ServerConfig>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(config);
    }
}

pub(crate) struct Acceptor {
    pub(crate) core: Arc<Core>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) tls: Arc<TlsSlot>,
    pub(crate) limits: EdgeLimits,
    pub(crate) ready: mpsc::Sender<io::Result<GuardedIo>>,
    pub(crate) handshakes: Arc<Semaphore>,
}

/// Wait after a failed accept: with no file handle left the next one fails at once, too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

impl Acceptor {
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.take(stream, peer),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn take(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let metrics = &self.core.metrics;
        let Ok(permit) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            metrics.connections_refused.one();
            return;
        };
        let Some(place) = self.connections.enter(peer) else {
            metrics.connections_refused.one();
            return;
        };
        metrics.connections_taken.one();
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let within = Duration::from_micros(this.limits.handshake_us_max);
            let ready = tokio::time::timeout(within, this.prepare(stream, place)).await;
            match ready {
                Ok(Ok(io)) => {
                    // The server ends before its acceptor only when all of it ends.
                    let _ = this.ready.send(Ok(io)).await;
                }
                Ok(Err(_)) => this.core.metrics.handshakes_failed.one(),
                Err(_) => this.core.metrics.handshakes_slow.one(),
            }
            drop(permit);
        });
    }

    async fn prepare(&self, stream: TcpStream, place: Place) -> io::Result<GuardedIo> {
        // Without it small answers wait for acknowledgements that the other side delays.
        stream.set_nodelay(true)?;
        let Some(config) = self.tls.get() else {
            return Ok(GuardedIo::plain(stream, place));
        };
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        if let Some(identity) = identity(&stream) {
            place.identify(&identity);
        }
        Ok(GuardedIo::tls(stream, place))
    }
}

/// The first DNS name of the peer's certificate, which outlives its renewal; else the certificate.
fn identity(stream: &TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let parsed = webpki::EndEntityCert::try_from(certificate);
    let name = parsed
        .ok()
        .and_then(|parsed| parsed.valid_dns_names().next().map(str::to_owned));
    Some(name.map_or_else(|| certificate.to_vec(), String::into_bytes))
}
