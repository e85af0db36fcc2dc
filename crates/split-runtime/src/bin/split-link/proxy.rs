//! A link without rights: a TCP proxy in this process, with rate and delay between two connections over
//! loopback. Loss isn't offered: nothing is lost between two sockets.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::carrier::Carrier;
use crate::cells::Cell;
use crate::lane::{Counts, Shape};
use crate::program::out;

/// Most bytes that are taken at once; a packet's worth, so that a long message arrives in parts.
const CHUNK_BYTES: usize = 1400;

/// Time to reach the edge over loopback.
const CONNECT: Duration = Duration::from_secs(5);

pub(crate) struct Proxy {
    routes: Vec<Arc<Route>>,
    shape: Shape,
}

/// What is in front of an edge.
struct Route {
    edge: SocketAddr,
    shape: Mutex<Shape>,
    /// Both directions of the newest connection, and what those before it carried.
    newest: Mutex<Newest>,
}

#[derive(Default)]
struct Newest {
    lanes: Option<[Carrier; 2]>,
    before: [Counts; 2],
}

impl Proxy {
    pub(crate) fn new(cell: Cell) -> Self {
        Self {
            routes: Vec::new(),
            shape: cell.shape(),
        }
    }

    /// Listens in front of an edge; gives the address for devices.
    ///
    /// # Errors
    /// For an address that is none, and without a free port.
    pub(crate) fn route(&mut self, edge: &str) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a port for the proxy")?;
        let address = listener.local_addr().context("a port for the proxy")?;
        let route = Arc::new(Route {
            edge: edge.parse().context("the edge's address")?,
            shape: Mutex::new(self.shape),
            newest: Mutex::default(),
        });
        self.routes.push(Arc::clone(&route));
        thread::spawn(move || {
            for device in listener.incoming() {
                if let Err(error) = device.and_then(|device| route.carry(device)) {
                    out::log(&format!("proxy: {error}"));
                }
            }
        });
        Ok(address.to_string())
    }

    /// Holds for connections from now on.
    pub(crate) fn set(&mut self, cell: Cell) {
        self.shape = cell.shape();
        for route in &self.routes {
            *route.shape.lock().unwrap_or_else(PoisonError::into_inner) = self.shape;
        }
    }

    /// What went up and down so far.
    pub(crate) fn counts(&self) -> [Counts; 2] {
        let of = |route: &Arc<Route>| route.counts();
        let all = self.routes.iter().map(of);
        all.fold([Counts::default(); 2], |a, b| {
            [sum(a[0], b[0]), sum(a[1], b[1])]
        })
    }
}

impl Route {
    /// Carries a connection on threads of its own.
    fn carry(&self, device: TcpStream) -> std::io::Result<()> {
        let edge = TcpStream::connect_timeout(&self.edge, CONNECT)?;
        device.set_nodelay(true)?;
        edge.set_nodelay(true)?;
        let shape = *self.shape.lock().unwrap_or_else(PoisonError::into_inner);
        let lanes = [0, 1].map(|number| Carrier::new(shape, 0, number));
        {
            let before = self.counts();
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            newest.before = before;
            newest.lanes = Some(lanes.clone());
        }
        let [up, down] = lanes;
        one_way(device.try_clone()?, edge.try_clone()?, up);
        one_way(edge, device, down);
        Ok(())
    }

    fn counts(&self) -> [Counts; 2] {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let [up, down] = newest.before;
        match &newest.lanes {
            Some(lanes) => [sum(up, lanes[0].counts()), sum(down, lanes[1].counts())],
            None => [up, down],
        }
    }
}

/// Reads into the lane on one thread and writes out of it on another.
fn one_way(mut from: TcpStream, mut to: TcpStream, lane: Carrier) {
    let taken = lane.clone();
    thread::spawn(move || {
        let mut buffer = [0; CHUNK_BYTES];
        loop {
            match from.read(&mut buffer) {
                Ok(count) if count > 0 && taken.push_when_room(buffer[..count].to_vec()) => {}
                _ => break,
            }
        }
        taken.finish();
        let _ = from.shutdown(Shutdown::Read);
    });
    thread::spawn(move || {
        lane.deliver(|bytes| to.write_all(bytes).is_ok());
        // The other end learns of the end as it would without us.
        let _ = to.shutdown(Shutdown::Write);
    });
}

fn sum(a: Counts, b: Counts) -> Counts {
    Counts {
        bytes: a.bytes + b.bytes,
        packets: a.packets + b.packets,
        lost: a.lost + b.lost,
        dropped: a.dropped + b.dropped,
    }
}
