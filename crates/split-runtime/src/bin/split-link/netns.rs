//! A link under the kernel's own TCP: two network namespaces with a TUN device each, whose IP packets this
//! process carries from one to the other.
//!
//! The devices are opened here and then moved into their namespaces; names hold the number of this process,
//! so that runs beside each other don't meet and what a killed one left behind can be told.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::runtime::Runtime;
use tokio_tun::Tun;

use crate::carrier::Carrier;
use crate::cells::Cell;
use crate::lane::Counts;
use crate::leftovers::{self, namespace};
use crate::link::End;
use crate::program::out;

/// Largest IP packet of the devices, Ethernet's.
const MTU_BYTES: usize = 1500;

/// Attempts to hand a packet to the kernel, which may be short of memory.
const SEND_ATTEMPTS: u32 = 3;

/// Nobody else lives in the namespaces, so any private network will do.
const fn address(end: End) -> &'static str {
    match end {
        End::Device => "10.77.0.1",
        End::Edge => "10.77.0.2",
    }
}

fn namespace_of(end: End) -> String {
    namespace(std::process::id(), end.name())
}

pub(crate) struct Netns {
    /// From the device, and from the edge.
    lanes: [Carrier; 2],
    /// Reads the devices; they are gone with it.
    runtime: Option<Runtime>,
}

impl Netns {
    /// Makes both namespaces and what is between them.
    ///
    /// # Errors
    /// Without root, `ip` or TUN; what was made until then is removed.
    pub(crate) fn open(cell: Cell, seed: u64) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_io()
            .build()
            .context("starting the threads of the link")?;
        let lanes = [0, 1].map(|number| Carrier::new(cell.shape(), seed, number));
        let netns = Self {
            lanes,
            runtime: Some(runtime),
        };
        netns.connect()?;
        Ok(netns)
    }

    fn connect(&self) -> Result<()> {
        let runtime = self.runtime.as_ref().context("the link was closed")?;
        let device = open_end(runtime, End::Device)?;
        let edge = open_end(runtime, End::Edge)?;
        let [up, down] = &self.lanes;
        carry(runtime, Arc::clone(&device), Arc::clone(&edge), up);
        carry(runtime, edge, device, down);
        Ok(())
    }

    /// A program at one end.
    pub(crate) fn command(&self, end: End, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace_of(end)]);
        command.arg(program);
        command
    }

    /// Where an edge listens.
    pub(crate) fn listen(&self) -> String {
        format!("{}:0", address(End::Edge))
    }

    /// Holds for both directions from now on.
    pub(crate) fn set(&self, cell: Cell) {
        for lane in &self.lanes {
            lane.reshape(cell.shape());
        }
    }

    /// What went up and down so far.
    pub(crate) fn counts(&self) -> [Counts; 2] {
        [self.lanes[0].counts(), self.lanes[1].counts()]
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.lanes.iter().for_each(Carrier::close);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        leftovers::remove_namespaces(std::process::id());
    }
}

/// A namespace with its device, address and way to the other end.
fn open_end(runtime: &Runtime, end: End) -> Result<Arc<Tun>> {
    let namespace = namespace_of(end);
    ip(&["netns", "add", &namespace])?;
    // At most 15 characters: a process has seven digits at most.
    let name = format!("sl{}{}", std::process::id(), &end.name()[..1]);
    let guard = runtime.enter();
    let tuns = Tun::builder().name(&name).build();
    drop(guard);
    let tuns = tuns.context("a TUN device; /dev/net/tun is needed, and the right to use it")?;
    let tun = tuns.into_iter().next().context("no TUN device was made")?;
    ip(&["link", "set", &name, "netns", &namespace])?;
    let inside = |args: &[&str]| ip(&[&["-n", &namespace], args].concat());
    // No packet of IPv6 uses the link by itself.
    inside(&["link", "set", &name, "addrgenmode", "none"])?;
    let mtu = MTU_BYTES.to_string();
    inside(&["link", "set", &name, "mtu", &mtu, "up"])?;
    inside(&["link", "set", "lo", "up"])?;
    let (own, peer) = (address(end), address(end.other()));
    inside(&["addr", "add", own, "peer", peer, "dev", &name])?;
    // What TCP learns on one link must not help it on the next.
    let forget = "echo 1 > /proc/sys/net/ipv4/tcp_no_metrics_save";
    ip(&["netns", "exec", &namespace, "sh", "-c", forget])?;
    Ok(Arc::new(tun))
}

/// Every packet that one device sends goes through the lane to the other.
fn carry(runtime: &Runtime, from: Arc<Tun>, to: Arc<Tun>, lane: &Carrier) {
    let taken = lane.clone();
    runtime.spawn(async move {
        let mut packet = [0; MTU_BYTES];
        loop {
            match from.recv(&mut packet).await {
                Ok(count) => taken.push(packet[..count].to_vec()),
                Err(error) => {
                    out::log(&format!("link: reading a packet: {error}"));
                    return;
                }
            }
        }
    });
    // A thread and not a timer of the runtime: those count in milliseconds.
    let lane = lane.clone();
    thread::spawn(move || lane.deliver(|packet| send(&to, packet)));
}

/// Hands a packet to the kernel. One that it doesn't take is lost, as it would be on a card without room.
fn send(to: &Tun, packet: &[u8]) -> bool {
    for _ in 0..SEND_ATTEMPTS {
        match to.try_send(packet) {
            Ok(_) => return true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_micros(50));
            }
            Err(error) => {
                out::log(&format!("link: writing a packet: {error}"));
                return true;
            }
        }
    }
    true
}

/// Runs `ip`, which has to go well.
fn ip(args: &[&str]) -> Result<()> {
    let shown = format!("ip {}", args.join(" "));
    let output = Command::new("ip").args(args).output();
    let output = output.with_context(|| format!("starting `{shown}`; install iproute2"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed: {}", said.trim());
    }
    Ok(())
}
