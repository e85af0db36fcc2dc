//! The settings of the device.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use clap::{Args, Parser};
use serde::{Deserialize, Serialize};
use split_runtime::grpc::{DevicePem, EdgeAddress, TlsSource};

use crate::program::allowed::{Allowed, AllowedOf, BACKENDS, POLICIES, whole};
use crate::program::settings::{need, read_pem};

pub(crate) const PROGRAM: &str = "split-device";

/// Longest deadline in milliseconds; the protocol allows no longer budget.
const MAX_DEADLINE_MS: u64 = 60_000;

/// Most pictures under way: as many as an edge takes of one device, and activations are held meanwhile.
const MAX_IN_FLIGHT: u64 = 64;

/// What settings may hold, where their types allow more.
pub(crate) const ALLOWED: &AllowedOf = &[
    ("policy", Allowed::OneOf(&POLICIES)),
    ("deadline-ms", Allowed::Whole(1, MAX_DEADLINE_MS)),
    ("fallback", Allowed::OneOf(&FALLBACKS)),
    // Less than the deadline, which is looked at apart.
    ("fallback-ms", Allowed::Whole(0, MAX_DEADLINE_MS - 1)),
    ("connect-ms", Allowed::Whole(0, MAX_DEADLINE_MS)),
    ("backend", Allowed::OneOf(&BACKENDS)),
    ("video-fps", Allowed::AboveZero),
    ("in-flight", Allowed::Whole(1, MAX_IN_FLIGHT)),
];

/// What `fallback` takes.
const FALLBACKS: [&str; 2] = ["local", "none"];

/// Classify pictures with half of a network here and half on an edge.
///
/// Runs the head and a unit encoder of a model, sends a frame of some hundred bytes to `split-edge`,
/// and prints what it answers. Where no edge is reached, or its answer would come too late, the whole
/// network runs here. Each line says how the picture was answered, what was sent and where the time
/// went.
#[derive(Debug, Parser)]
#[command(
    name = "split-device",
    version,
    after_help = "Settings come from flags, then variables, then the file of --config, then defaults.\n\
        The exit code is 0 if every picture was answered (or the reader of the output has gone), else 1. SIGINT and SIGTERM finish what is\n\
        under way and end with 130 or 143; a second one ends at once.\n\n\
        Examples:\n  \
        split-device --model models/pets --edge edge.local:50051 photos/\n  \
        split-device --model models/pets --edge edge.local:50051 --policy own --deadline-ms 100 --json cat.png\n  \
        split-device --model models/pets --edge edge.local:50051 --policy own --picture-record out/train/results.json photos/\n  \
        split-device --model models/pets --edge edge.local:50051 --in-flight 8 photos/\n  \
        split-device --model models/early,models/late --edge edge.local:50051 --policy own photos/\n  \
        split-device --model models/pets --edge edge.local:50051 --video-fps 5 clip.mp4 /dev/video0\n  \
        camera-that-prints-paths | split-device --model models/pets --edge edge.local:50051 -"
)]
pub(crate) struct Cli {
    /// Pictures (JPEG, PNG, WebP), folders of them, videos (MP4, MKV, ...) and cameras (/dev/video0), which
    /// need ffmpeg, or `-` for paths on standard input, one a line.
    #[arg(value_name = "PICTURE", required_unless_present_any = ["print_config", "print_menu", "print_settings", "completions"])]
    pub(crate) pictures: Vec<PathBuf>,
    /// TOML file with settings; its keys are the names of the flags.
    #[arg(long, env = "SPLIT_DEVICE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print all settings as a file for --config and end.
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Measure the models here, and the edge where one is given, print the menu that policies choose from
    /// (`split-menu/1`) and end.
    #[arg(long)]
    pub(crate) print_menu: bool,
    /// Print all settings as a table for the guide and end.
    #[arg(long, hide = true)]
    pub(crate) print_settings: bool,
    /// Print the completion script for a shell and end.
    #[arg(long, value_name = "SHELL")]
    pub(crate) completions: Option<clap_complete::Shell>,
    #[command(flatten)]
    pub(crate) settings: DeviceSettings,
}

/// One field is one setting: a flag, a variable and a key of the file.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct DeviceSettings {
    /// Folder of the model: manifest, bank and weights, the same as on the edge. Several, separated by commas,
    /// are cuts of one network, each with its bank; policies then choose the split point too. A path that holds a
    /// comma stands in the list of the file.
    #[arg(
        long,
        env = "SPLIT_DEVICE_MODEL",
        value_name = "DIR",
        value_delimiter = ','
    )]
    #[serde(default, deserialize_with = "one_or_several")]
    pub(crate) model: Option<Vec<PathBuf>>,
    /// Edges, separated by commas; without one every picture is answered here.
    #[arg(
        long,
        env = "SPLIT_DEVICE_EDGE",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    pub(crate) edge: Option<Vec<String>>,
    /// Rung that `--policy fixed` sends, by name or place; `webp-q50`, `jpeg-420-q80`, `webp-lossless` or `png` send
    /// the picture itself, to an edge that takes pictures. Default 0.
    #[arg(long, env = "SPLIT_DEVICE_RUNG", value_name = "RUNG")]
    pub(crate) rung: Option<String>,
    /// What chooses the rung: `fixed` (the default), `own`, `throughput`, `neurosurgeon`,
    /// `dynamic-split`, or `device-only`, which sends nothing.
    #[arg(long, env = "SPLIT_DEVICE_POLICY", value_name = "NAME")]
    pub(crate) policy: Option<String>,
    /// Measured menu (`split-menu/1`) for policies, as it is; where left out it is made from what the bank says
    /// of its rungs and from times measured at the start.
    #[arg(long, env = "SPLIT_DEVICE_MENU", value_name = "FILE")]
    pub(crate) menu: Option<PathBuf>,
    /// Record (`split-ra/1`, such as the `results.json` that `cargo xtask train` writes) whose rows of JPEG and WebP
    /// join a menu that is made here, for edges that take pictures. Default: none.
    #[arg(long, env = "SPLIT_DEVICE_PICTURE_RECORD", value_name = "FILE")]
    pub(crate) picture_record: Option<PathBuf>,
    /// Time for an answer from the moment a picture's file was read, in milliseconds; an answer that is
    /// given here may come later and is then marked as late. Default 1000.
    #[arg(long, env = "SPLIT_DEVICE_DEADLINE_MS", value_name = "MS")]
    pub(crate) deadline_ms: Option<u64>,
    /// What is done without an edge in time: `local`, the default, runs the whole network here, `none`
    /// never does and leaves the picture unanswered.
    #[arg(long, env = "SPLIT_DEVICE_FALLBACK", value_name = "KIND")]
    pub(crate) fallback: Option<String>,
    /// Time kept for the answer that is computed here, in milliseconds; where left out, twice what the
    /// slowest run of the warm-up took and 5 ms.
    #[arg(long, env = "SPLIT_DEVICE_FALLBACK_MS", value_name = "MS")]
    pub(crate) fallback_ms: Option<u64>,
    /// Longest wait for an edge at the start, in milliseconds. Default 2000.
    #[arg(long, env = "SPLIT_DEVICE_CONNECT_MS", value_name = "MS")]
    pub(crate) connect_ms: Option<u64>,
    /// Send a frame to a second edge as well where the first takes longer than 95 % of the last answers
    /// did; the first answer counts. Needs two edges, and 20 answers to know what is slow; at most one frame
    /// in ten is doubled, after ten in advance. Default: false.
    #[arg(
        long,
        env = "SPLIT_DEVICE_HEDGE",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) hedge: Option<bool>,
    /// Pictures under way at a time: while the edge works on one, the head runs on the next. More of them give
    /// more answers a second, and each may wait for those before it. Default 1.
    #[arg(long, env = "SPLIT_DEVICE_IN_FLIGHT", value_name = "N")]
    pub(crate) in_flight: Option<u64>,
    /// Print answers as they come and not in the order of the pictures; makes a difference where several are
    /// under way. Default: false.
    #[arg(
        long,
        env = "SPLIT_DEVICE_AS_THEY_COME",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) as_they_come: Option<bool>,
    /// Where tensors are computed: `flex` (CPU, the default) or, where it was built in, `wgpu`; of several
    /// graphics adapters `wgpu:1` takes the one with that number, and one that is not there gets the list.
    #[arg(long, env = "SPLIT_DEVICE_BACKEND", value_name = "NAME")]
    pub(crate) backend: Option<String>,
    /// Roots of the edges' certificates, PEM; with it everything is TLS 1.3.
    #[arg(long, env = "SPLIT_DEVICE_TLS_ROOTS", value_name = "FILE")]
    pub(crate) tls_roots: Option<PathBuf>,
    /// Certificate of this device, PEM, for edges that ask for one.
    #[arg(long, env = "SPLIT_DEVICE_TLS_CERT", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Key of the certificate, PEM.
    #[arg(long, env = "SPLIT_DEVICE_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Name that the edge's certificate must hold, where it isn't the host's.
    #[arg(long, env = "SPLIT_DEVICE_TLS_NAME", value_name = "NAME")]
    pub(crate) tls_name: Option<String>,
    /// Most pictures of a video or camera, by the second of its time; where left out all of a file, and of
    /// a camera the newest whenever one was answered.
    #[arg(long, env = "SPLIT_DEVICE_VIDEO_FPS", value_name = "N")]
    pub(crate) video_fps: Option<f64>,
    /// Collector of OpenTelemetry that gets a span for each picture sent: OTLP over gRPC in the clear, such
    /// as `http://127.0.0.1:4317`. Only where the feature `otel` was built in. Default: none.
    #[arg(long, env = "SPLIT_DEVICE_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// One JSON object a picture instead of a line for people.
    #[arg(
        long,
        env = "SPLIT_DEVICE_JSON",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) json: Option<bool>,
}

impl DeviceSettings {
    pub(crate) fn defaults() -> Self {
        Self {
            rung: Some("0".to_owned()),
            policy: Some("fixed".to_owned()),
            deadline_ms: Some(1000),
            fallback: Some("local".to_owned()),
            connect_ms: Some(2000),
            hedge: Some(false),
            in_flight: Some(1),
            as_they_come: Some(false),
            backend: Some("flex".to_owned()),
            json: Some(false),
            ..Self::default()
        }
    }

    /// Folders of models, at least one.
    pub(crate) fn models(&self) -> Result<&[PathBuf]> {
        let models = need(&self.model, "model", PROGRAM)?;
        ensure!(
            !models.is_empty(),
            "model = [] names none; give the folder of one"
        );
        Ok(models)
    }

    pub(crate) fn rung(&self) -> Result<&str> {
        Ok(need(&self.rung, "rung", PROGRAM)?)
    }

    pub(crate) fn policy(&self) -> Result<&str> {
        Ok(need(&self.policy, "policy", PROGRAM)?)
    }

    pub(crate) fn backend(&self) -> Result<&str> {
        Ok(need(&self.backend, "backend", PROGRAM)?)
    }

    pub(crate) fn deadline_us(&self) -> Result<u64> {
        let ms = *need(&self.deadline_ms, "deadline-ms", PROGRAM)?;
        Ok(whole(ALLOWED, "deadline-ms", ms)? * 1000)
    }

    pub(crate) fn connect(&self) -> Result<Duration> {
        let ms = *need(&self.connect_ms, "connect-ms", PROGRAM)?;
        Ok(Duration::from_millis(whole(ALLOWED, "connect-ms", ms)?))
    }

    pub(crate) fn in_flight(&self) -> Result<usize> {
        let count = *need(&self.in_flight, "in-flight", PROGRAM)?;
        let count = whole(ALLOWED, "in-flight", count)?;
        Ok(usize::try_from(count)?)
    }

    pub(crate) fn as_they_come(&self) -> Result<bool> {
        Ok(*need(&self.as_they_come, "as-they-come", PROGRAM)?)
    }

    pub(crate) fn video_fps(&self) -> Result<Option<f64>> {
        if let Some(fps) = self.video_fps {
            ensure!(
                fps.is_finite() && fps > 0.0,
                "video-fps = {fps}, expected is a positive number"
            );
        }
        Ok(self.video_fps)
    }

    /// Time kept for a local answer, where it isn't measured.
    pub(crate) fn fallback_us(&self) -> Result<Option<u64>> {
        let Some(ms) = self.fallback_ms else {
            return Ok(None);
        };
        let deadline_ms = self.deadline_us()? / 1000;
        ensure!(
            ms < deadline_ms,
            "fallback-ms = {ms} leaves the edge no time of deadline-ms = {deadline_ms}"
        );
        Ok(Some(ms * 1000))
    }

    /// Whether the whole network may run here.
    pub(crate) fn falls_back(&self) -> Result<bool> {
        match need(&self.fallback, "fallback", PROGRAM)?.as_str() {
            "local" => Ok(true),
            "none" => Ok(false),
            other => bail!(
                "fallback = {other:?}, allowed are {}",
                FALLBACKS.join(" and ")
            ),
        }
    }

    /// Whether a frame that is slow is sent to a second one of so many edges.
    pub(crate) fn hedges(&self, edges: usize) -> Result<bool> {
        let hedges = *need(&self.hedge, "hedge", PROGRAM)?;
        ensure!(
            !hedges || edges > 1,
            "hedge = true and {edges} edges: a second one has to answer where the first is slow; give \
             --edge HOST:PORT,HOST:PORT or leave --hedge out"
        );
        Ok(hedges)
    }

    pub(crate) fn edges(&self) -> Result<Vec<EdgeAddress>> {
        let edges = self.edge.iter().flatten();
        edges
            .map(|text| {
                let authority = text.trim();
                ensure!(
                    is_host_and_port(authority),
                    "edge = {text:?}, expected is HOST:PORT, as in edge.local:50051 or [::1]:50051"
                );
                Ok(EdgeAddress {
                    certificate_name: self.tls_name.clone(),
                    ..EdgeAddress::new(authority)
                })
            })
            .collect()
    }

    pub(crate) fn tls(&self) -> Result<Option<Arc<rustls::ClientConfig>>> {
        let Some(roots) = &self.tls_roots else {
            let others = [&self.tls_cert, &self.tls_key];
            ensure!(
                others.iter().all(|one| one.is_none()) && self.tls_name.is_none(),
                "TLS settings without tls-roots; give the roots of the edges' certificates"
            );
            return Ok(None);
        };
        let identity = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some((read_pem(cert)?, read_pem(key)?)),
            (None, None) => None,
            _ => bail!("tls-cert and tls-key belong together; give both or neither"),
        };
        let pem = DevicePem {
            edge_roots: read_pem(roots)?,
            identity,
        };
        let config = pem.to_config().map_err(|error| {
            let (name, path) = match (error.about(), &self.tls_cert, &self.tls_key) {
                (TlsSource::Chain, Some(cert), _) => ("tls-cert", cert),
                (TlsSource::Key, _, Some(key)) => ("tls-key", key),
                _ => ("tls-roots", roots),
            };
            anyhow!(error).context(format!("{name} = {}", path.display()))
        })?;
        Ok(Some(config))
    }
}

/// A path, or a list of them.
fn one_or_several<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<PathBuf>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Paths {
        One(PathBuf),
        Several(Vec<PathBuf>),
    }
    Ok(Some(match Paths::deserialize(deserializer)? {
        Paths::One(path) => vec![path],
        Paths::Several(paths) => paths,
    }))
}

/// Whether a text is a host and a port, and nothing around them. The host may be a name that can't
/// be looked up yet.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host_fits = match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let of_name = |letter: char| letter.is_alphanumeric() || ".-_".contains(letter);
            !host.is_empty() && host.chars().all(of_name)
        }
    };
    host_fits && port.parse().is_ok_and(|port: u16| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_a_host_and_a_port_and_nothing_else() {
        for text in [
            "edge.local:50051",
            "10.0.0.1:1",
            "[::1]:50051",
            "a_b-c:65535",
        ] {
            assert!(is_host_and_port(text), "{text}");
        }
        for text in [
            "",
            ":",
            "edge",
            "edge:",
            ":50051",
            "edge:0",
            "edge:65536",
            "edge:x",
            "::1:50051",
            "[::1]",
            "[edge]:1",
            "http://edge:50051",
            "edge:50051/",
            "a edge:1",
        ] {
            assert!(!is_host_and_port(text), "{text}");
        }
    }
}
