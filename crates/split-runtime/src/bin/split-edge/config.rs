//! The settings of the edge.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Args, Parser};
use serde::{Deserialize, Serialize};
use split_runtime::grpc::{EdgeLimits, EdgePem, TlsSource};

use crate::program::settings::{need, read_pem};

const PROGRAM: &str = "split-edge";

/// Serve the tails of split networks.
///
/// Loads every model of a repository: a folder with one sub-folder a model, each with a manifest
/// `model.toml`, a bank as `cargo xtask train` writes it, and the weights of its backbone. Devices
/// connect with `split-device`, clients of Triton and KServe by the Open Inference Protocol.
///
/// At the start what is sound is served and what is broken is named; it ends if nothing is sound.
/// SIGHUP loads models and certificates again: what is sound is swapped in, what is broken is named
/// and what was served before stays. SIGINT and SIGTERM drain: frames under way are answered, within
/// `--drain-seconds`, after `--notice-seconds` for proxies. A second one ends at once.
#[derive(Debug, Parser)]
#[command(
    name = "split-edge",
    version,
    after_help = "Settings come from flags, then variables, then the file of --config, then defaults.\n\n\
        Examples:\n  \
        split-edge --models models\n  \
        split-edge --models models --listen 0.0.0.0:50051 --tls-cert edge.pem --tls-key edge.key --tls-device-roots devices.pem\n  \
        split-edge --models models --print-config > edge.toml && split-edge --config edge.toml\n  \
        curl http://127.0.0.1:9901/ready"
)]
pub(crate) struct Cli {
    /// TOML file with settings; its keys are the names of the flags.
    #[arg(long, env = "SPLIT_EDGE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print all settings as a file for --config and end.
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Print the completion script for a shell and end.
    #[arg(long, value_name = "SHELL")]
    pub(crate) completions: Option<clap_complete::Shell>,
    #[command(flatten)]
    pub(crate) settings: EdgeSettings,
}

/// One field is one setting: a flag, a variable and a key of the file.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct EdgeSettings {
    /// Repository: a folder with one sub-folder a model.
    #[arg(long, env = "SPLIT_EDGE_MODELS", value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
    /// Address for devices; port 0 takes a free one. The first line printed names it. Default: this
    /// machine alone, port 50051.
    #[arg(long, env = "SPLIT_EDGE_LISTEN", value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Address for `/live`, `/ready` and `/metrics` over plain HTTP, or `off`. Default: this machine
    /// alone, port 9901.
    #[arg(long, env = "SPLIT_EDGE_ADMIN", value_name = "HOST:PORT")]
    pub(crate) admin: Option<String>,
    /// Where tensors are computed: `flex` (CPU, the default) or, where it was built in, `wgpu`; of several
    /// graphics adapters `wgpu:1` takes the one with that number, and one that is not there gets the list.
    #[arg(long, env = "SPLIT_EDGE_BACKEND", value_name = "NAME")]
    pub(crate) backend: Option<String>,
    /// Certificate of the edge and those up to its root, PEM. With it everything is TLS 1.3.
    #[arg(long, env = "SPLIT_EDGE_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Key of the certificate, PEM.
    #[arg(long, env = "SPLIT_EDGE_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Roots of the devices' certificates, PEM; with it a device without a certificate is refused.
    #[arg(long, env = "SPLIT_EDGE_TLS_DEVICE_ROOTS", value_name = "FILE")]
    pub(crate) tls_device_roots: Option<PathBuf>,
    /// Classes that an answer names, best first, 1 to 255. Default 5.
    #[arg(long, env = "SPLIT_EDGE_TOP", value_name = "N")]
    pub(crate) top: Option<usize>,
    /// Most frames of a batch. Default 16.
    #[arg(long, env = "SPLIT_EDGE_BATCH_MAX", value_name = "N")]
    pub(crate) batch_max: Option<usize>,
    /// Most frames that wait; beyond them the edge refuses with a hint when to try again. Default 1024.
    #[arg(long, env = "SPLIT_EDGE_WAITING_MAX", value_name = "N")]
    pub(crate) waiting_max: Option<usize>,
    /// Most connections at a time. Default 4096.
    #[arg(long, env = "SPLIT_EDGE_CONNECTIONS_MAX", value_name = "N")]
    pub(crate) connections_max: Option<usize>,
    /// Longest that a drain waits for frames under way, in seconds. Default 10.
    #[arg(long, env = "SPLIT_EDGE_DRAIN_SECONDS", value_name = "S")]
    pub(crate) drain_seconds: Option<u64>,
    /// Seconds before a drain in which the edge still takes frames and already says that it isn't ready,
    /// so that a proxy sends new calls elsewhere. Default 0.
    #[arg(long, env = "SPLIT_EDGE_NOTICE_SECONDS", value_name = "S")]
    pub(crate) notice_seconds: Option<u64>,
    /// Look every so many seconds whether files of models or certificates changed, and load them; 0,
    /// the default, leaves that to SIGHUP.
    #[arg(long, env = "SPLIT_EDGE_POLL_SECONDS", value_name = "S")]
    pub(crate) poll_seconds: Option<u64>,
    /// Collector of OpenTelemetry that gets a span a frame: OTLP over gRPC in the clear, such as
    /// `http://127.0.0.1:4317`. Only where the feature `otel` was built in. Default: none.
    #[arg(long, env = "SPLIT_EDGE_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
}

impl EdgeSettings {
    pub(crate) fn defaults() -> Self {
        Self {
            listen: Some("127.0.0.1:50051".to_owned()),
            admin: Some("127.0.0.1:9901".to_owned()),
            backend: Some("flex".to_owned()),
            top: Some(5),
            batch_max: Some(16),
            waiting_max: Some(1024),
            connections_max: Some(EdgeLimits::new().connections_max),
            drain_seconds: Some(10),
            notice_seconds: Some(0),
            poll_seconds: Some(0),
            ..Self::default()
        }
    }

    pub(crate) fn models(&self) -> Result<&PathBuf> {
        need(&self.models, "models", PROGRAM)
    }

    pub(crate) fn backend(&self) -> Result<&str> {
        Ok(need(&self.backend, "backend", PROGRAM)?)
    }

    pub(crate) fn top(&self) -> Result<usize> {
        let top = *need(&self.top, "top", PROGRAM)?;
        ensure!(
            (1..=split_runtime::MAX_RANKED).contains(&top),
            "top = {top}, allowed are 1 to {}",
            split_runtime::MAX_RANKED
        );
        Ok(top)
    }

    /// Frames of a batch, frames that wait, connections: most of each.
    pub(crate) fn sizes(&self) -> Result<(usize, usize, usize)> {
        let size = |value: &Option<usize>, name: &str, most: usize| {
            let value = *need(value, name, PROGRAM)?;
            ensure!(
                (1..=most).contains(&value),
                "{name} = {value}, allowed are 1 to {most}"
            );
            Ok(value)
        };
        Ok((
            size(&self.batch_max, "batch-max", 4096)?,
            size(&self.waiting_max, "waiting-max", 1 << 24)?,
            size(&self.connections_max, "connections-max", 1 << 20)?,
        ))
    }

    pub(crate) fn listen(&self) -> Result<SocketAddr> {
        address("listen", need(&self.listen, "listen", PROGRAM)?)
    }

    pub(crate) fn admin(&self) -> Result<Option<SocketAddr>> {
        match need(&self.admin, "admin", PROGRAM)?.as_str() {
            "off" => Ok(None),
            text => address("admin", text).map(Some),
        }
    }

    /// At most an hour: a drain has to end.
    pub(crate) fn drain(&self) -> Result<Duration> {
        at_most_an_hour("drain-seconds", &self.drain_seconds)
    }

    pub(crate) fn notice(&self) -> Result<Duration> {
        at_most_an_hour("notice-seconds", &self.notice_seconds)
    }

    pub(crate) fn poll(&self) -> Result<Option<Duration>> {
        let seconds = *need(&self.poll_seconds, "poll-seconds", PROGRAM)?;
        ensure!(
            seconds <= 86_400,
            "poll-seconds = {seconds}, allowed are 0 to 86400"
        );
        Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
    }

    /// TLS from the files as they are now; nothing where none is named.
    pub(crate) fn tls(&self) -> Result<Option<Arc<rustls::ServerConfig>>> {
        let (cert, key) = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => (cert, key),
            (None, None) if self.tls_device_roots.is_none() => return Ok(None),
            (None, None) => bail!(
                "tls-device-roots is set without tls-cert and tls-key; devices are checked over \
                 TLS only"
            ),
            _ => bail!("tls-cert and tls-key belong together; give both or neither"),
        };
        let pem = EdgePem {
            chain: read_pem(cert)?,
            key: read_pem(key)?,
            device_roots: self.tls_device_roots.as_deref().map(read_pem).transpose()?,
        };
        let config = pem.to_config().map_err(|error| {
            let (name, path) = match error.about() {
                TlsSource::Roots => ("tls-device-roots", self.tls_device_roots.as_ref()),
                TlsSource::Key => ("tls-key", Some(key)),
                _ => ("tls-cert", Some(cert)),
            };
            let shown = path.map(|path| path.display().to_string());
            anyhow!(error).context(format!("{name} = {}", shown.unwrap_or_default()))
        })?;
        Ok(Some(config))
    }

    /// The files of TLS, to be watched.
    pub(crate) fn tls_files(&self) -> Vec<PathBuf> {
        let files = [&self.tls_cert, &self.tls_key, &self.tls_device_roots];
        files.into_iter().flatten().cloned().collect()
    }
}

fn at_most_an_hour(name: &'static str, seconds: &Option<u64>) -> Result<Duration> {
    let seconds = *need(seconds, name, PROGRAM)?;
    ensure!(seconds <= 3600, "{name} = {seconds}, allowed are 0 to 3600");
    Ok(Duration::from_secs(seconds))
}

fn address(name: &str, text: &str) -> Result<SocketAddr> {
    let found = text
        .to_socket_addrs()
        .with_context(|| format!("{name} = {text:?}, expected is HOST:PORT"))?;
    let mut found = found;
    found
        .next()
        .with_context(|| format!("{name} = {text:?} names no address"))
}
