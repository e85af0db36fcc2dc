//! Ten thousand peers that connect and then say nothing. Alone in its program: it would be in the way of
//! tests that look at times.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails it where it stands"
)]

#[allow(dead_code, reason = "tests of device and edge use what these leave")]
#[path = "programs/bank.rs"]
mod bank;
#[allow(dead_code, reason = "tests of device and edge use what these leave")]
#[path = "programs/processes.rs"]
mod processes;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use bank::{PICTURES, Rig};
use processes::{Edge, device, eventually, lines_of};

const IDLE: usize = 10_000;

/// Connections of one address, below what an edge allows.
const OF_ADDRESS: usize = 1_000;

/// Connections that are made before the edge is waited for: it refuses those that come faster than it can
/// greet them.
const AT_ONCE: usize = 100;

/// Files that a process opens beside its connections.
const OTHER_FILES: usize = 500;

/// Most memory of the edge that an idle connection may hold.
const KIB_EACH: usize = 48;

/// The preface of HTTP/2 and empty settings: what makes a connection one.
const OPENED: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// How many files a process that we start may open, and so may we.
fn files_max() -> usize {
    let output = Command::new("sh").args(["-c", "ulimit -n"]).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.trim().parse().unwrap_or(usize::MAX)
}

/// A connection from the `index`th address of this machine.
async fn connected(index: usize, to: SocketAddr) -> TcpStream {
    let last = u8::try_from(index + 2).unwrap();
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    stream.write_all(OPENED).await.unwrap();
    stream
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_leave_devices_their_answers() {
    let count = IDLE.min(files_max().saturating_sub(OTHER_FILES));
    if count < IDLE {
        // Straight to the stream: the test runner keeps what is printed.
        let _ = writeln!(
            std::io::stderr(),
            "only {count} idle connections: `ulimit -n` allows no more"
        );
    }
    let rig = Rig::new();
    let edge = Edge::start(&rig.models, &["--connections-max", "12000"]);
    let before = edge.resident_kib();
    let address = edge.address.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut idle = Vec::new();
    while idle.len() < count {
        for index in idle.len()..count.min(idle.len() + AT_ONCE) {
            idle.push(runtime.block_on(connected(index / OF_ADDRESS, address)));
        }
        eventually(|| (edge.metric("split_edge_connections") == idle.len()).then_some(()));
    }
    let each = edge.resident_kib().saturating_sub(before) / count.max(1);
    assert!(each <= KIB_EACH, "{each} KiB a connection");
    let mut command = device(&rig.model, &edge.address);
    command.args(["--json", "--fallback", "none"]);
    let lines = lines_of(command.arg(&rig.pictures));
    assert_eq!(lines.len(), PICTURES);
    assert!(lines.iter().all(|line| line["by"] == "edge"), "{lines:?}");
    drop(idle);
    eventually(|| (edge.metric("split_edge_connections") == 0).then_some(()));
    edge.drain();
}
