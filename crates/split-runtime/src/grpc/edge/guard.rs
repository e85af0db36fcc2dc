//! Connections below HTTP/2: how many there are, and the end of those that do nothing.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::metrics::Metrics;
use super::options::EdgeLimits;
use crate::grpc::clock::Clock;
use crate::time::Time;

/// Length of the bytes with which every HTTP/2 connection begins.
const PREFACE_BYTES: usize = 24;

/// All connections of an edge.
#[derive(Debug)]
pub(crate) struct Connections {
    clock: Clock,
    limits: EdgeLimits,
    living: Mutex<Living>,
}

#[derive(Debug, Default)]
struct Living {
    next: u64,
    all: BTreeMap<u64, Arc<Connection>>,
    by_address: BTreeMap<IpAddr, usize>,
}

/// One of them; handlers find it among the extensions of their requests.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    peer: SocketAddr,
    opened: Time,
    used_us: AtomicU64,
    bytes_read: AtomicUsize,
    client: AtomicU64,
    cut: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Connections {
    pub(crate) fn new(clock: Clock, limits: EdgeLimits) -> Arc<Self> {
        Arc::new(Self {
            clock,
            limits,
            living: Mutex::default(),
        })
    }

    /// Takes a place for a connection; `None` if all are taken, or all that one address may have.
    pub(crate) fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let now = self.clock.now();
        let mut living = self.lock();
        let of_address = living.by_address.get(&peer.ip()).copied().unwrap_or(0);
        let full = living.all.len() >= self.limits.connections_max;
        if full || of_address >= self.limits.connections_per_address_max {
            return None;
        }
        living.by_address.insert(peer.ip(), of_address + 1);
        let id = living.next;
        living.next += 1;
        let connection = Arc::new(Connection {
            id,
            peer,
            opened: now,
            used_us: AtomicU64::new(now.as_us()),
            bytes_read: AtomicUsize::new(0),
            client: AtomicU64::new(digest(&peer.ip())),
            cut: AtomicBool::new(false),
            reader: Mutex::default(),
        });
        living.all.insert(id, Arc::clone(&connection));
        Some(Place {
            connections: Arc::clone(self),
            connection,
        })
    }

    /// Cuts those that never began to speak, and those that nobody used for too long.
    pub(crate) fn sweep(&self, metrics: &Metrics) {
        let now = self.clock.now();
        let all: Vec<_> = self.lock().all.values().map(Arc::clone).collect();
        for connection in all {
            if connection.cut.load(Ordering::Relaxed) {
                continue;
            }
            let spoke = connection.bytes_read.load(Ordering::Relaxed) >= PREFACE_BYTES;
            let used = Time::from_us(connection.used_us.load(Ordering::Relaxed));
            if !spoke && now.since(connection.opened) >= self.limits.handshake_us_max {
                metrics.handshakes_slow.one();
                connection.cut();
            } else if now.since(used) >= self.limits.idle_us_max {
                metrics.connections_idle.one();
                connection.cut();
            }
        }
    }

    pub(crate) fn cut_all(&self) {
        let all: Vec<_> = self.lock().all.values().map(Arc::clone).collect();
        all.iter().for_each(|connection| connection.cut());
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().all.len()
    }

    fn leave(&self, connection: &Connection) {
        let mut living = self.lock();
        living.all.remove(&connection.id);
        let address = connection.peer.ip();
        if let Some(count) = living.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                living.by_address.remove(&address);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Living> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Whose it is: the name in its certificate, or else its address.
    pub(crate) fn client(&self) -> u64 {
        self.client.load(Ordering::Relaxed)
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        let reader = self.reader.lock();
        let waker = reader.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A place among the connections, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Place {
    /// The peer has shown who it is.
    pub(crate) fn identify(&self, identity: &[u8]) {
        let client = digest(&identity);
        self.connection.client.store(client, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.leave(&self.connection);
    }
}

/// What a handler knows about the connection of its request.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionUse {
    connection: Arc<Connection>,
    clock: Clock,
}

impl ConnectionUse {
    /// The connection is of use just now.
    pub(crate) fn touch(&self) {
        let now = self.clock.now().as_us();
        self.connection.used_us.store(now, Ordering::Relaxed);
    }

    pub(crate) fn client(&self) -> u64 {
        self.connection.client()
    }
}

/// Bytes of a connection, with or without TLS, until it is cut.
pub(crate) struct GuardedIo {
    io: Io,
    place: Place,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl GuardedIo {
    pub(crate) const fn plain(io: TcpStream, place: Place) -> Self {
        let io = Io::Plain(io);
        Self { io, place }
    }

    pub(crate) fn tls(io: TlsStream<TcpStream>, place: Place) -> Self {
        let io = Io::Tls(Box::new(io));
        Self { io, place }
    }

    fn check(&self) -> io::Result<()> {
        if self.place.connection.cut.load(Ordering::Acquire) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Connected for GuardedIo {
    type ConnectInfo = ConnectionUse;

    fn connect_info(&self) -> ConnectionUse {
        ConnectionUse {
            connection: Arc::clone(&self.place.connection),
            clock: self.place.connections.clock,
        }
    }
}

impl AsyncRead for GuardedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let connection = &this.place.connection;
        {
            // Before the check: a cut that comes in between finds the waker.
            let mut reader = connection
                .reader
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if !reader.as_ref().is_some_and(|old| old.will_wake(cx.waker())) {
                *reader = Some(cx.waker().clone());
            }
        }
        this.check()?;
        let before = buf.filled().len();
        let polled = match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        };
        let read = buf.filled().len() - before;
        let connection = &this.place.connection;
        connection.bytes_read.fetch_add(read, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // A peer that is cut gets no farewell: it might not take it.
        this.check()?;
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        match &mut this.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }
}

/// Clients are told apart, not protected, by it: a fixed hash will do.
fn digest(identity: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    identity.hash(&mut hasher);
    hasher.finish()
}
