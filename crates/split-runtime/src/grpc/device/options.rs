use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::proto::{ConfigError, DeviceConfig, check_range};
use crate::resilience::DispatcherConfig;

/// An edge to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeAddress {
    /// `host:port`; the host may be a name or an address.
    pub authority: String,
    /// The name that the edge's certificate must hold; `None` takes the host.
    pub certificate_name: Option<String>,
}

impl EdgeAddress {
    /// An edge whose certificate is for its host.
    #[must_use]
    pub fn new(authority: impl Into<String>) -> Self {
        Self {
            authority: authority.into(),
            certificate_name: None,
        }
    }

    /// What the certificate is checked against.
    pub(crate) fn server_name(&self) -> Option<ServerName<'static>> {
        let host = || {
            let (host, _) = self.authority.rsplit_once(':')?;
            Some(host.trim_matches(['[', ']']).to_owned())
        };
        let name = self.certificate_name.clone().or_else(host)?;
        ServerName::try_from(name).ok()
    }
}

/// Settings of a [`Device`](super::Device).
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    /// The edges; as many as [`DispatcherConfig::endpoints`].
    pub edges: Vec<EdgeAddress>,
    /// Settings of each connection: contracts, credit, patience.
    pub connection: DeviceConfig,
    /// Retries, hedges, fallback, breakers.
    pub dispatcher: DispatcherConfig,
    /// TLS, from [`DevicePem::to_config`](crate::grpc::DevicePem::to_config); without it everything
    /// goes in the clear.
    pub tls: Option<Arc<ClientConfig>>,
    /// Time for TCP and TLS.
    pub connect_us_max: u64,
    /// First and longest wait before an edge is tried again; the actual one is drawn evenly from
    /// half of it up.
    pub reconnect_us: (u64, u64),
    /// How often a silent connection is pinged by HTTP/2, and how long the answer may take.
    pub ping_us: (u64, u64),
}

impl DeviceOptions {
    /// 5 s to connect, tried again after 0.1 s to 5 s, no TLS.
    #[must_use]
    pub const fn new(
        edges: Vec<EdgeAddress>,
        connection: DeviceConfig,
        dispatcher: DispatcherConfig,
    ) -> Self {
        Self {
            edges,
            connection,
            dispatcher,
            tls: None,
            connect_us_max: 5_000_000,
            reconnect_us: (100_000, 5_000_000),
            ping_us: (20_000_000, 10_000_000),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let edges = self.edges.len() as u64;
        let endpoints = self.dispatcher.endpoints as u64;
        check_range("dispatcher.endpoints", endpoints, edges, edges)?;
        let hour = 3_600_000_000;
        check_range("connect_us_max", self.connect_us_max, 1_000, hour)?;
        check_range("reconnect_us.1", self.reconnect_us.1, 1_000, hour)?;
        check_range(
            "reconnect_us.0",
            self.reconnect_us.0,
            1_000,
            self.reconnect_us.1,
        )?;
        check_range("ping_us.0", self.ping_us.0, 1_000, hour)?;
        check_range("ping_us.1", self.ping_us.1, 1_000, hour)
    }
}
