//! An authority, an edge and a device for one run.

use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, ServerConfig};
use split_runtime::grpc::{DevicePem, EdgePem};

/// The name in the edge's certificate.
pub(crate) const EDGE_NAME: &str = "edge.test";

/// How both ends are protected.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

/// TLS with the edge's certificate, and with the device's too.
pub(crate) fn pairs() -> Result<[Pair; 2]> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let root = authority.pem().into_bytes();
    let signed = |name: &str| -> Result<(Vec<u8>, Vec<u8>)> {
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &authority)?;
        Ok((
            certificate.pem().into_bytes(),
            key.serialize_pem().into_bytes(),
        ))
    };
    let (edge, device) = (signed(EDGE_NAME)?, signed("device.test")?);
    let pair = |mutual: bool| -> Result<Pair> {
        let (chain, key) = edge.clone();
        let edge = EdgePem {
            chain,
            key,
            device_roots: mutual.then(|| root.clone()),
        };
        let device = DevicePem {
            edge_roots: root.clone(),
            identity: mutual.then(|| device.clone()),
        };
        Ok(Pair {
            server: edge.to_config()?,
            client: device.to_config()?,
        })
    };
    Ok([pair(false)?, pair(true)?])
}
