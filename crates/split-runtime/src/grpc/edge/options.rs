use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;

use super::core::Placement;
use crate::proto::{ConfigError, check_range};
use crate::serving::HubConfig;

/// Bounds below the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeLimits {
    /// Most connections at a time.
    pub connections_max: usize,
    /// Most connections of one address.
    pub connections_per_address_max: usize,
    /// Most TLS handshakes under way at a time.
    pub handshakes_max: usize,
    /// Time for a TLS handshake, and again for the first bytes of HTTP/2.
    pub handshake_us_max: u64,
    /// Time without a call or a message after which a connection is cut.
    pub idle_us_max: u64,
    /// Most calls and streams of one connection at a time.
    pub calls_per_connection_max: u32,
    /// Longest unary request in bytes.
    pub call_bytes_max: usize,
    /// Most frames of one unary request.
    pub frames_per_call_max: usize,
    /// Budget of a unary request that names none.
    pub call_budget_us: u32,
    /// How often a silent connection is pinged, and how long the answer may take.
    pub ping_us: (u64, u64),
}

impl EdgeLimits {
    /// 4,096 connections, 1,024 of one address, 256 handshakes of at most 5 s, 90 s idle,
    /// 128 calls a connection of up to 1 MiB and 64 frames with 2 s, pings every 20 s.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            connections_max: 4096,
            connections_per_address_max: 1024,
            handshakes_max: 256,
            handshake_us_max: 5_000_000,
            idle_us_max: 90_000_000,
            calls_per_connection_max: 128,
            call_bytes_max: 1024 * 1024,
            frames_per_call_max: 64,
            call_budget_us: 2_000_000,
            ping_us: (20_000_000, 10_000_000),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let bounds = [
            ("connections_max", self.connections_max, 1 << 20),
            (
                "connections_per_address_max",
                self.connections_per_address_max,
                1 << 20,
            ),
            ("handshakes_max", self.handshakes_max, 1 << 16),
            ("call_bytes_max", self.call_bytes_max, 64 << 20),
            ("frames_per_call_max", self.frames_per_call_max, 4096),
        ];
        for (field, found, most) in bounds {
            check_range(field, found as u64, 1, most)?;
        }
        let hour = 3_600_000_000;
        check_range("handshake_us_max", self.handshake_us_max, 1_000, hour)?;
        check_range("idle_us_max", self.idle_us_max, 1_000, 24 * hour)?;
        check_range("ping_us.0", self.ping_us.0, 1_000, hour)?;
        check_range("ping_us.1", self.ping_us.1, 1_000, hour)?;
        let calls = u64::from(self.calls_per_connection_max);
        check_range("calls_per_connection_max", calls, 1, 1 << 20)?;
        check_range("call_budget_us", u64::from(self.call_budget_us), 1, hour)
    }
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// Settings of an [`Edge`](super::Edge).
#[derive(Clone, Debug)]
pub struct EdgeOptions {
    /// Where devices connect; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where `/live`, `/ready` and `/metrics` are answered over plain HTTP; `None` for nowhere.
    pub admin: Option<SocketAddr>,
    /// What is served and how much of it.
    pub hub: HubConfig,
    /// Bounds below the protocol.
    pub limits: EdgeLimits,
    /// TLS, from [`EdgePem::to_config`](crate::grpc::EdgePem::to_config); without it everything
    /// goes in the clear.
    pub tls: Option<Arc<ServerConfig>>,
    /// Where the model runs.
    pub placement: Placement,
}

impl EdgeOptions {
    /// Any free port of this machine alone, no TLS, no admin port, the model on its own thread.
    #[must_use]
    pub fn new(hub: HubConfig) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin: None,
            hub,
            limits: EdgeLimits::new(),
            tls: None,
            placement: Placement::Thread,
        }
    }
}
