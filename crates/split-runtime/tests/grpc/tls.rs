//! Certificates: who is let in, who isn't, and how they change while the edge runs.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use split_runtime::grpc::{
    Device, DeviceError, DeviceOptions, DevicePem, Edge, EdgePem, Reply, TlsError, TlsSource,
};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::rig::*;

/// An authority that signs for edges and devices.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Chain and key as PEM.
type Identity = (Vec<u8>, Vec<u8>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (
            certificate.pem().into_bytes(),
            key.serialize_pem().into_bytes(),
        )
    }

    fn identity(&self, name: &str) -> Identity {
        self.sign(&CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    fn expired(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(&params)
    }
}

fn edge_pem((chain, key): Identity, device_roots: Option<Vec<u8>>) -> EdgePem {
    EdgePem {
        chain,
        key,
        device_roots,
    }
}

async fn start_tls(pem: &EdgePem) -> Edge {
    let mut options = options();
    options.tls = Some(pem.to_config().unwrap());
    start(options).await
}

fn settings(edge: &Edge, edge_roots: Vec<u8>, identity: Option<Identity>) -> DeviceOptions {
    let mut settings = device_options(edge, &[contract("layer1")]);
    settings.edges[0].certificate_name = Some("edge.test".to_owned());
    let pem = DevicePem {
        edge_roots,
        identity,
    };
    settings.tls = Some(pem.to_config().unwrap());
    settings
}

async fn ask(settings: DeviceOptions) -> Result<Reply, DeviceError> {
    let device = Device::start(settings)?;
    device.opened(Duration::from_millis(800)).await?;
    device.request(request(1)).await
}

fn refused_with(result: Result<Reply, DeviceError>, expected: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(expected), "`{expected}` is not in `{error}`");
}

#[test]
fn frames_are_answered_over_tls_and_over_mutual_tls() {
    run(async {
        let authority = Authority::new();
        let identity = authority.identity("edge.test");
        let edge = start_tls(&edge_pem(identity.clone(), None)).await;
        ask(settings(&edge, authority.root(), None)).await.unwrap();
        let edge = start_tls(&edge_pem(identity, Some(authority.root()))).await;
        let device = authority.identity("device-1.test");
        ask(settings(&edge, authority.root(), Some(device)))
            .await
            .unwrap();
    });
}

#[test]
fn a_device_trusts_no_edge_of_another_authority_or_name_or_past_its_end() {
    run(async {
        let (ours, other) = (Authority::new(), Authority::new());
        let edge = start_tls(&edge_pem(other.identity("edge.test"), None)).await;
        refused_with(
            ask(settings(&edge, ours.root(), None)).await,
            "invalid peer certificate",
        );
        let edge = start_tls(&edge_pem(ours.identity("another.test"), None)).await;
        refused_with(ask(settings(&edge, ours.root(), None)).await, "edge.test");
        let edge = start_tls(&edge_pem(ours.expired("edge.test"), None)).await;
        refused_with(ask(settings(&edge, ours.root(), None)).await, "expired");
    });
}

#[test]
fn an_edge_lets_in_no_device_without_a_certificate_of_its_authority() {
    run(async {
        let (ours, other) = (Authority::new(), Authority::new());
        let pem = edge_pem(ours.identity("edge.test"), Some(ours.root()));
        let edge = start_tls(&pem).await;
        let strangers = [
            (None, "CertificateRequired"),
            (Some(other.identity("device-1.test")), "DecryptError"),
            (Some(ours.expired("device-1.test")), "CertificateExpired"),
        ];
        for (identity, expected) in strangers {
            let result = ask(settings(&edge, ours.root(), identity)).await;
            assert!(
                matches!(result, Err(DeviceError::NotConnected { .. })),
                "{expected}: {result:?}"
            );
        }
        assert!(metric(&edge, "split_edge_handshakes_failed_total") >= 3);
        assert_eq!(metric(&edge, "split_edge_frames_total"), 0);
        let device = ours.identity("device-1.test");
        ask(settings(&edge, ours.root(), Some(device)))
            .await
            .unwrap();
    });
}

#[test]
fn tls_1_2_is_refused() {
    run(async {
        let authority = Authority::new();
        let edge = start_tls(&edge_pem(authority.identity("edge.test"), None)).await;
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).unwrap();
        for (version, accepted) in [
            (&rustls::version::TLS12, false),
            (&rustls::version::TLS13, true),
        ] {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = vec![b"h2".to_vec()];
            let stream = tokio::net::TcpStream::connect(edge.address())
                .await
                .unwrap();
            let name = "edge.test".try_into().unwrap();
            let result = TlsConnector::from(Arc::new(config))
                .connect(name, stream)
                .await;
            assert_eq!(result.is_ok(), accepted, "{version:?}: {:?}", result.err());
        }
        let counted = eventually(Duration::from_secs(2), || {
            metric(&edge, "split_edge_handshakes_failed_total") == 1
        });
        assert!(counted.await);
    });
}

#[test]
fn a_certificate_is_replaced_while_open_connections_go_on() {
    run(async {
        let (old, new) = (Authority::new(), Authority::new());
        let edge = start_tls(&edge_pem(old.identity("edge.test"), None)).await;
        let device = Device::start(settings(&edge, old.root(), None)).unwrap();
        device.opened(Duration::from_secs(5)).await.unwrap();
        edge.reload_tls(
            edge_pem(new.identity("edge.test"), None)
                .to_config()
                .unwrap(),
        );
        device.request(request(1)).await.unwrap();
        ask(settings(&edge, new.root(), None)).await.unwrap();
        refused_with(
            ask(settings(&edge, old.root(), None)).await,
            "invalid peer certificate",
        );
        assert_eq!(metric(&edge, "split_edge_tls_reloads_total"), 1);
    });
}

#[test]
fn pem_texts_that_are_none_are_named() {
    let authority = Authority::new();
    let (chain, key) = authority.identity("edge.test");
    let nothing = edge_pem((Vec::new(), key.clone()), None).to_config();
    assert!(matches!(
        nothing,
        Err(TlsError::Empty {
            what: TlsSource::Chain
        })
    ));
    let no_key = edge_pem((chain.clone(), b"nothing".to_vec()), None).to_config();
    assert!(matches!(
        no_key,
        Err(TlsError::Pem {
            what: TlsSource::Key,
            ..
        })
    ));
    let (_, foreign) = authority.identity("edge.test");
    let mixed = edge_pem((chain.clone(), foreign), None).to_config();
    assert!(matches!(
        mixed,
        Err(TlsError::Refused {
            what: TlsSource::Key,
            ..
        })
    ));
    let no_roots = edge_pem((chain, key), Some(b"-----BEGIN".to_vec())).to_config();
    assert!(no_roots.is_err());
}
