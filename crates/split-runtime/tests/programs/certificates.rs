//! An authority, an edge and a device, as files.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// The name in the edge's certificate.
const EDGE_NAME: &str = "edge.test";

pub(super) struct Files {
    /// Paths of them, as texts.
    root: String,
    /// The same root, as the edge trusts devices.
    device_root: String,
    edge: [String; 2],
    device: [String; 2],
    other_device: [String; 2],
    _folder: TempDir,
}

impl Files {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let write = |name: &str, text: &str| -> String {
            let path: PathBuf = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let identity = |name: &str| -> [String; 2] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap();
            [
                write(&format!("{name}.pem"), &certificate.pem()),
                write(&format!("{name}.key"), &key.serialize_pem()),
            ]
        };
        Self {
            root: write("root.pem", &authority.pem()),
            device_root: write("devices.pem", &authority.pem()),
            edge: identity(EDGE_NAME),
            device: identity("device.test"),
            other_device: identity("other.test"),
            _folder: folder,
        }
    }

    /// Takes the device's root away from those whom the edge trusts, as a renewal would.
    pub(super) fn forget_devices(&self) {
        let other = Self::new();
        let root = fs::read(&other.root).unwrap();
        fs::write(&self.device_root, root).unwrap();
    }

    pub(super) fn edge_args(&self) -> [&str; 6] {
        let [cert, key] = &self.edge;
        [
            "--tls-cert",
            cert,
            "--tls-key",
            key,
            "--tls-device-roots",
            &self.device_root,
        ]
    }

    /// Trust in the edge, and nothing to show.
    pub(super) fn trust_args(&self) -> [&str; 4] {
        ["--tls-roots", &self.root, "--tls-name", EDGE_NAME]
    }

    /// Trust in the edge, and a certificate to show.
    pub(super) fn device_args(&self) -> Vec<&str> {
        self.args_of(&self.device)
    }

    /// The same for a device of another name.
    pub(super) fn other_device_args(&self) -> Vec<&str> {
        self.args_of(&self.other_device)
    }

    fn args_of<'a>(&'a self, [cert, key]: &'a [String; 2]) -> Vec<&'a str> {
        let mut args = self.trust_args().to_vec();
        args.extend(["--tls-cert", cert, "--tls-key", key]);
        args
    }
}
