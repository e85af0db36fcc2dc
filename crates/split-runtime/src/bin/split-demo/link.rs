//! A link that is as slow as it is told to be: every byte between device and edge passes through it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::program::out;

/// Bytes that pass at a time: what fits a packet, so that a change of the rate is felt at once.
const PACKET: usize = 1_448;

/// Packets under way in one direction of a connection; what comes behind them waits with its sender.
const UNDER_WAY: usize = 4_096;

/// Timers are no finer; what is owed less than this is paid with the next packet.
const TICK: Duration = Duration::from_millis(1);

/// How the link is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct LinkState {
    /// Rate of each direction in kbit/s.
    pub(crate) kbit: u32,
    /// Round trip time in milliseconds; a direction takes half of it.
    pub(crate) rtt_ms: u32,
    /// A link that is down keeps what it holds and lets nothing pass, like a radio without reception.
    pub(crate) up: bool,
}

/// One direction, shared by all connections.
struct Lane {
    state: watch::Receiver<LinkState>,
    /// When what was sent so far has left.
    free: Mutex<Instant>,
}

impl Lane {
    fn new(state: watch::Receiver<LinkState>) -> Arc<Self> {
        Arc::new(Self {
            state,
            free: Mutex::new(out::now()),
        })
    }

    /// Waits until the link is up. An error says that nobody holds its state any more.
    async fn up(&self) -> io::Result<LinkState> {
        let mut state = self.state.clone();
        let state = state.wait_for(|state| state.up).await;
        state.map(|state| *state).map_err(|_| closed())
    }

    /// Waits until `bytes` have left; gives when they arrive.
    async fn send(&self, bytes: usize) -> io::Result<Instant> {
        let state = self.up().await?;
        let sending = Duration::from_secs_f64(bytes as f64 * 8e-3 / f64::from(state.kbit.max(1)));
        let left = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            *free = (*free).max(out::now()) + sending;
            *free
        };
        if left.saturating_duration_since(out::now()) >= TICK {
            tokio::time::sleep_until(left.into()).await;
        }
        Ok(left + Duration::from_millis(u64::from(state.rtt_ms)) / 2)
    }
}

/// Takes connections and carries each to `edge`; ends only with an error of the listener.
pub(crate) async fn run(
    listener: TcpListener,
    edge: SocketAddr,
    state: watch::Receiver<LinkState>,
) -> io::Result<()> {
    let (there, back) = (Lane::new(state.clone()), Lane::new(state));
    loop {
        let (near, _) = listener.accept().await?;
        let (there, back) = (Arc::clone(&there), Arc::clone(&back));
        // An end of the connection that breaks is seen by the other end.
        tokio::spawn(async move {
            let far = TcpStream::connect(edge).await?;
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
            tokio::select! {
                ended = carry(from_near, to_far, there) => ended,
                ended = carry(from_far, to_near, back) => ended,
            }
        });
    }
}

/// Carries one direction of a connection until it ends.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, lane: Arc<Lane>) -> io::Result<()> {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let send = async {
        loop {
            let mut packet = vec![0; PACKET];
            let count = from.read(&mut packet).await?;
            if count == 0 {
                drop(sender);
                return Ok(());
            }
            packet.truncate(count);
            let arrives = lane.send(count).await?;
            sender.send((arrives, packet)).await.map_err(|_| closed())?;
        }
    };
    let arrive = async {
        while let Some((at, packet)) = under_way.recv().await {
            tokio::time::sleep_until(at.into()).await;
            lane.up().await?;
            to.write_all(&packet).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(send, arrive).map(|((), ())| ())
}

fn closed() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: LinkState = LinkState {
        kbit: 800,
        rtt_ms: 100,
        up: true,
    };

    /// An echo behind a link, and the near end of a connection to it.
    async fn echo(state: LinkState) -> (watch::Sender<LinkState>, TcpStream) {
        let far = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let edge = far.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = far.accept().await.unwrap();
            let (mut from, mut to) = stream.into_split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
        });
        let near = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = near.local_addr().unwrap();
        let (sender, receiver) = watch::channel(state);
        tokio::spawn(run(near, edge, receiver));
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        (sender, stream)
    }

    /// Sends `bytes` and waits for all of them; the time that took.
    async fn there_and_back(stream: &mut TcpStream, bytes: usize) -> Duration {
        let start = out::now();
        let sent: Vec<u8> = (0..=250).cycle().take(bytes).collect();
        stream.write_all(&sent).await.unwrap();
        let mut back = vec![0; bytes];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, sent);
        start.elapsed()
    }

    #[tokio::test]
    async fn bytes_take_their_time_and_arrive_as_they_were() {
        let (_state, mut stream) = echo(STATE).await;
        // Two packets and a bit each way, at 100 bytes a millisecond: 30 ms on the way there, while the
        // way back is under way with the first packet already.
        let took = there_and_back(&mut stream, 3_000).await;
        let least = Duration::from_millis(100 + 30);
        assert!(took >= least, "{took:?}");
        let took = there_and_back(&mut stream, 1).await;
        assert!(took >= Duration::from_millis(100), "{took:?}");
    }

    #[tokio::test]
    async fn a_faster_link_is_felt_by_the_next_bytes() {
        let (state, mut stream) = echo(LinkState {
            rtt_ms: 2_000,
            ..STATE
        })
        .await;
        state.send_replace(LinkState {
            rtt_ms: 0,
            kbit: 100_000,
            up: true,
        });
        let took = there_and_back(&mut stream, 3_000).await;
        assert!(took < Duration::from_millis(1_500), "{took:?}");
    }

    #[tokio::test]
    async fn a_link_that_is_down_keeps_bytes_until_it_is_up() {
        let (state, mut stream) = echo(LinkState { up: false, ..STATE }).await;
        let waiting =
            tokio::time::timeout(Duration::from_millis(300), there_and_back(&mut stream, 100));
        assert!(waiting.await.is_err());
        state.send_replace(STATE);
        let mut back = [0; 100];
        stream.read_exact(&mut back).await.unwrap();
    }
}
