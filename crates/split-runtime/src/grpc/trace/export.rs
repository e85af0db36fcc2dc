use std::sync::Arc;
use std::time::Duration;

use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Uri;

use super::span::{Counts, Note, Tracer};
use crate::proto::{ConfigError, check_range};

/// Where spans go, and how many of them.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// The collector: OTLP over gRPC in the clear, such as `http://127.0.0.1:4317`.
    pub endpoint: String,
    /// What the collector shows as `service.name`.
    pub service: String,
    /// Share of the requests without a caller's trace that are recorded, 0 to 1. With one the caller's
    /// own choice holds.
    pub share: f64,
    /// Most notes that wait to be sent; those beyond are dropped and counted. A frame is one note, and
    /// up to four spans.
    pub waiting_max: usize,
    /// Most notes that are sent at once.
    pub batch_max: usize,
    /// How long a note may wait for others to be sent with.
    pub every_us: u64,
    /// Time that sending may take; what isn't sent by then is lost.
    pub export_us_max: u64,
}

impl TraceOptions {
    /// Every request, 2,048 notes that wait, 512 at once or what came within a second, 5 s to send.
    #[must_use]
    pub fn new(endpoint: impl Into<String>, service: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            service: service.into(),
            share: 1.0,
            waiting_max: 2048,
            batch_max: 512,
            every_us: 1_000_000,
            export_us_max: 5_000_000,
        }
    }

    fn check(&self) -> Result<(), TraceError> {
        let bad = |reason: &str| TraceError::Endpoint {
            endpoint: self.endpoint.clone(),
            reason: reason.to_owned(),
        };
        let uri: Uri = self
            .endpoint
            .parse()
            .map_err(|_| bad("expected is http://HOST:PORT"))?;
        match uri.scheme_str() {
            Some("http") if uri.authority().is_some() => {}
            Some("https") => {
                return Err(bad(
                    "TLS isn't spoken here; put a collector on this machine",
                ));
            }
            _ => return Err(bad("expected is http://HOST:PORT")),
        }
        if !(0.0..=1.0).contains(&self.share) {
            return Err(TraceError::Share { found: self.share });
        }
        check_range("waiting_max", self.waiting_max as u64, 1, 1 << 20)?;
        check_range("batch_max", self.batch_max as u64, 1, 1 << 16)?;
        let hour = 3_600_000_000;
        check_range("every_us", self.every_us, 1, hour)?;
        check_range("export_us_max", self.export_us_max, 1_000, hour)?;
        Ok(())
    }
}

/// Why there are no traces.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A share is a number from 0 to 1.
    #[error("share = {found}, allowed is 0 to 1")]
    Share {
        /// What was found.
        found: f64,
    },
    /// No collector can be reached under this name.
    #[error("`{endpoint}`: {reason}")]
    Endpoint {
        /// The name.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What became of the spans so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// The collector took them.
    pub exported: u64,
    /// Too many waited.
    pub dropped: u64,
    /// The collector was away, too slow, or refused them.
    pub failed: u64,
}

/// Sends the spans of edges and devices to one collector, until it is closed or dropped.
///
/// It runs on the tokio runtime that it was started on. The exporter reads the variables of
/// OpenTelemetry that add headers (`OTEL_EXPORTER_OTLP_HEADERS`); where spans go is up to the options.
#[derive(Debug)]
pub struct Traces {
    tracer: Tracer,
    /// Tells the task to send what there is and to end.
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Traces {
    /// Starts to send; a collector that isn't there is no error, now or later.
    ///
    /// # Errors
    /// [`TraceError`] where a setting is out of range.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(options: &TraceOptions) -> Result<Self, TraceError> {
        options.check()?;
        let within = Duration::from_micros(options.export_us_max);
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&options.endpoint)
            .with_timeout(within)
            .build();
        let mut exporter = exporter.map_err(|error| TraceError::Endpoint {
            endpoint: options.endpoint.clone(),
            reason: error.to_string(),
        })?;
        let resource = Resource::builder_empty()
            .with_service_name(options.service.clone())
            .build();
        exporter.set_resource(&resource);
        let (sender, notes) = mpsc::channel(options.waiting_max);
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = oneshot::channel();
        let sending = Sending {
            notes,
            stopped,
            exporter,
            counts: Arc::clone(&counts),
            batch_max: options.batch_max,
            every: Duration::from_micros(options.every_us),
            within,
        };
        Ok(Self {
            tracer: Tracer::new(sender, counts, options.share),
            stop: Some(stop),
            task: tokio::spawn(sending.run()),
        })
    }

    /// What became of the spans so far.
    #[must_use]
    pub fn counts(&self) -> TraceCounts {
        self.tracer.counts()
    }

    /// Sends what waits and ends, after `within` at the latest. Spans of edges and devices that still
    /// run are dropped from here on.
    pub async fn close(mut self, within: Duration) -> TraceCounts {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if tokio::time::timeout(within, &mut self.task).await.is_err() {
            self.task.abort();
        }
        self.tracer.counts_at_end()
    }

    pub(crate) fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Sending {
    notes: mpsc::Receiver<Note>,
    stopped: oneshot::Receiver<()>,
    exporter: SpanExporter,
    counts: Arc<Counts>,
    batch_max: usize,
    every: Duration,
    within: Duration,
}

impl Sending {
    async fn run(mut self) {
        loop {
            let notes = self.next_batch().await;
            if notes.is_empty() {
                return;
            }
            let spans: Vec<_> = notes.into_iter().flat_map(Note::into_spans).collect();
            let count = spans.len() as u64;
            let sent = tokio::time::timeout(self.within, self.exporter.export(spans)).await;
            self.counts.sent(count, matches!(sent, Ok(Ok(()))));
        }
    }

    /// What came within a while after the first note; nothing at the end.
    async fn next_batch(&mut self) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut until: Option<Instant> = None;
        while notes.len() < self.batch_max {
            let room = self.batch_max - notes.len();
            let over = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                count = self.notes.recv_many(&mut notes, room) => {
                    if count == 0 {
                        break;
                    }
                    until.get_or_insert(Instant::now() + self.every);
                }
                () = over => break,
                // What waits is sent, and nothing more is taken.
                _ = &mut self.stopped, if !self.notes.is_closed() => self.notes.close(),
            }
        }
        notes
    }
}
