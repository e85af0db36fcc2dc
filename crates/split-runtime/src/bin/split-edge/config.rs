//! The settings of the edge.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Parser};
use serde::{Deserialize, Serialize};
use split_runtime::ClientLimits;
use split_runtime::grpc::{EdgeLimits, EdgePem, TlsSource};

use crate::program::allowed::{Allowed, AllowedOf, BACKENDS, whole};
use crate::program::settings::{need, read_pem};

pub(crate) const PROGRAM: &str = "split-edge";

/// What settings may hold, where their types allow more.
pub(crate) const ALLOWED: &AllowedOf = &[
    ("backend", Allowed::OneOf(&BACKENDS)),
    ("top", Allowed::Whole(1, split_runtime::MAX_RANKED as u64)),
    ("batch-max", Allowed::Whole(1, 4096)),
    ("waiting-max", Allowed::Whole(1, 1 << 24)),
    ("connections-max", Allowed::Whole(1, 1 << 20)),
    ("client-in-flight-max", Allowed::Whole(1, 1 << 24)),
    ("client-frames-per-second", Allowed::Whole(0, 1_000_000)),
    ("client-bytes-per-second", Allowed::Whole(0, 1 << 40)),
    ("client-compute-percent", Allowed::Whole(0, 10_000)),
    ("client-burst-seconds", Allowed::Whole(1, 60)),
    // A drain has to end.
    ("drain-seconds", Allowed::Whole(0, 3600)),
    ("notice-seconds", Allowed::Whole(0, 3600)),
    ("poll-seconds", Allowed::Whole(0, 86_400)),
];

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
        split-edge --models models --pictures\n  \
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
    /// Print all settings as a table for the guide and end.
    #[arg(long, hide = true)]
    pub(crate) print_settings: bool,
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
    /// Take pictures too (JPEG, PNG or WebP files of a model's side), for devices whose policy finds that the
    /// whole network here is faster than half of it there. Default: false.
    #[arg(
        long,
        env = "SPLIT_EDGE_PICTURES",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) pictures: Option<bool>,
    /// Most frames of a batch. Default 16.
    #[arg(long, env = "SPLIT_EDGE_BATCH_MAX", value_name = "N")]
    pub(crate) batch_max: Option<usize>,
    /// Most frames that wait; beyond them the edge refuses with a hint when to try again. Default 1024.
    #[arg(long, env = "SPLIT_EDGE_WAITING_MAX", value_name = "N")]
    pub(crate) waiting_max: Option<usize>,
    /// Most connections at a time. Default 4096.
    #[arg(long, env = "SPLIT_EDGE_CONNECTIONS_MAX", value_name = "N")]
    pub(crate) connections_max: Option<usize>,
    /// Most frames of one client that wait or are computed; beyond them the edge refuses this client's
    /// alone. A client is the name in a device's certificate, or else the address that it connects from,
    /// so that all devices behind a proxy are one. Default 256, a quarter of what may wait.
    #[arg(long, env = "SPLIT_EDGE_CLIENT_IN_FLIGHT_MAX", value_name = "N")]
    pub(crate) client_in_flight_max: Option<u64>,
    /// Frames a second of one client, on average; 0 sets no limit. Default 2000.
    #[arg(long, env = "SPLIT_EDGE_CLIENT_FRAMES_PER_SECOND", value_name = "N")]
    pub(crate) client_frames_per_second: Option<u64>,
    /// Bytes of frames a second of one client, on average; 0 sets no limit. Default 16000000.
    #[arg(long, env = "SPLIT_EDGE_CLIENT_BYTES_PER_SECOND", value_name = "N")]
    pub(crate) client_bytes_per_second: Option<u64>,
    /// Computing time that frames of one client may take, in percent of the edge's, each counted as if it
    /// were computed alone; 0 sets no limit, since only the operator knows how many clients there will be
    /// and how much batches save. Default 0.
    #[arg(long, env = "SPLIT_EDGE_CLIENT_COMPUTE_PERCENT", value_name = "N")]
    pub(crate) client_compute_percent: Option<u64>,
    /// How many seconds of each of these rates a client that was silent may send at once. Default 5.
    #[arg(long, env = "SPLIT_EDGE_CLIENT_BURST_SECONDS", value_name = "S")]
    pub(crate) client_burst_seconds: Option<u64>,
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
            pictures: Some(false),
            batch_max: Some(16),
            waiting_max: Some(1024),
            connections_max: Some(EdgeLimits::new().connections_max),
            client_in_flight_max: Some(256),
            client_frames_per_second: Some(2000),
            client_bytes_per_second: Some(16_000_000),
            client_compute_percent: Some(0),
            client_burst_seconds: Some(5),
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

    /// Whether networks take pictures too.
    pub(crate) fn pictures(&self) -> Result<bool> {
        Ok(*need(&self.pictures, "pictures", PROGRAM)?)
    }

    pub(crate) fn top(&self) -> Result<usize> {
        size("top", &self.top)
    }

    /// Frames of a batch, frames that wait, connections: most of each.
    pub(crate) fn sizes(&self) -> Result<(usize, usize, usize)> {
        Ok((
            size("batch-max", &self.batch_max)?,
            size("waiting-max", &self.waiting_max)?,
            size("connections-max", &self.connections_max)?,
        ))
    }

    /// What one client may ask for.
    pub(crate) fn client(&self) -> Result<ClientLimits> {
        let none = ClientLimits::UNLIMITED;
        let rate = |name, value: &Option<u64>, unit: u64, unlimited: u64| match number(name, value)?
        {
            0 => Ok(unlimited),
            limit => anyhow::Ok(limit * unit),
        };
        let in_flight_max = number("client-in-flight-max", &self.client_in_flight_max)?;
        let (frames, bytes) = (
            &self.client_frames_per_second,
            &self.client_bytes_per_second,
        );
        let percent = &self.client_compute_percent;
        Ok(ClientLimits {
            in_flight_max: u32::try_from(in_flight_max)?,
            frames_per_s: rate("client-frames-per-second", frames, 1, none.frames_per_s)?,
            bytes_per_s: rate("client-bytes-per-second", bytes, 1, none.bytes_per_s)?,
            // A hundredth of a second a second.
            compute_us_per_s: rate(
                "client-compute-percent",
                percent,
                10_000,
                none.compute_us_per_s,
            )?,
            burst_s: number("client-burst-seconds", &self.client_burst_seconds)?,
        })
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

    pub(crate) fn drain(&self) -> Result<Duration> {
        number("drain-seconds", &self.drain_seconds).map(Duration::from_secs)
    }

    pub(crate) fn notice(&self) -> Result<Duration> {
        number("notice-seconds", &self.notice_seconds).map(Duration::from_secs)
    }

    pub(crate) fn poll(&self) -> Result<Option<Duration>> {
        let seconds = number("poll-seconds", &self.poll_seconds)?;
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

fn number(name: &str, value: &Option<u64>) -> Result<u64> {
    whole(ALLOWED, name, *need(value, name, PROGRAM)?)
}

fn size(name: &str, value: &Option<usize>) -> Result<usize> {
    let value = u64::try_from(*need(value, name, PROGRAM)?)?;
    Ok(usize::try_from(whole(ALLOWED, name, value)?)?)
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
