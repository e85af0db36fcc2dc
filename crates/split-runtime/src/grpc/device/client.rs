use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::connect::keep_connected;
use super::core::{Core, DeviceError, Fallback, LinkState, OwnedRequest, Reply};
use super::options::DeviceOptions;
#[cfg(feature = "otel")]
use crate::grpc::trace::Traces;
use crate::grpc::trace::{RequestSpan, Tracer};
use crate::resilience::{Dispatcher, DispatcherCounts};

/// A device that keeps streams to its edges open and gives each request one ending.
///
/// It runs on the tokio runtime that it was started on. Dropping it ends its streams.
pub struct Device {
    core: Arc<Core>,
    tasks: Vec<JoinHandle<()>>,
    tracer: Option<Tracer>,
}

impl Device {
    /// Starts to connect; returns at once.
    ///
    /// # Errors
    /// [`DeviceError::Config`] where a setting is out of range.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(options: DeviceOptions) -> Result<Self, DeviceError> {
        Self::launch(options, None)
    }

    /// As [`Self::start`], with a span for each request, from asking to its ending. It lies below the span of
    /// OpenTelemetry that is current where the request is first polled. The edge's spans are of other traces:
    /// a frame carries none.
    ///
    /// # Errors
    /// As [`Self::start`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[cfg(feature = "otel")]
    pub fn start_traced(options: DeviceOptions, traces: &Traces) -> Result<Self, DeviceError> {
        Self::launch(options, Some(traces.tracer()))
    }

    /// Waits until any edge accepted a contract; gives the accepted ones by index.
    ///
    /// # Errors
    /// [`DeviceError::NotConnected`] with what was last wrong, such as the list of served contracts.
    pub async fn opened(&self, within: Duration) -> Result<Vec<u8>, DeviceError> {
        let mut links = self.core.links();
        let is_open = |link: &LinkState| matches!(link, LinkState::Open(_));
        let any = links.wait_for(|links| links.iter().any(is_open));
        let found = match tokio::time::timeout(within, any).await {
            Ok(Ok(links)) => links.clone(),
            _ => self.core.links().borrow().clone(),
        };
        let mut detail = String::new();
        for link in found {
            match link {
                LinkState::Open(accepted) => return Ok(accepted),
                LinkState::Down(why) if !why.is_empty() => detail = why,
                LinkState::Down(_) => {}
            }
        }
        Err(DeviceError::NotConnected { detail })
    }

    /// Contracts that an edge takes frames of at this moment, by index; nothing while no connection is open.
    #[must_use]
    pub fn accepted(&self) -> Option<Vec<u8>> {
        let links = self.core.links();
        let links = links.borrow();
        let mut accepted: Vec<u8> = Vec::new();
        let mut any = false;
        for link in links.iter() {
            if let LinkState::Open(contracts) = link {
                any = true;
                accepted.extend(contracts);
            }
        }
        accepted.sort_unstable();
        accepted.dedup();
        any.then_some(accepted)
    }

    /// Has a frame answered by an edge.
    ///
    /// # Errors
    /// [`DeviceError`] with how the request ended, at its deadline at the latest.
    pub async fn request(&self, request: OwnedRequest) -> Result<Reply, DeviceError> {
        self.answered(request, None, None).await
    }

    /// Has a frame answered by an edge, or by `fallback` where that would be too late. Needs
    /// [`DispatcherConfig::fallback_us`](crate::DispatcherConfig::fallback_us), the time that it takes.
    ///
    /// # Errors
    /// [`DeviceError`] with how the request ended, at its deadline at the latest.
    pub async fn request_or(
        &self,
        request: OwnedRequest,
        fallback: Fallback,
    ) -> Result<Reply, DeviceError> {
        self.answered(request, Some(fallback), None).await
    }

    /// As [`request_or`](Self::request_or), with a fallback that takes `fallback_us` microseconds and not what
    /// the config says: requests may have more or less left to compute.
    ///
    /// # Errors
    /// [`DeviceError`] with how the request ended, at its deadline at the latest.
    pub async fn request_or_in(
        &self,
        request: OwnedRequest,
        fallback: Fallback,
        fallback_us: u64,
    ) -> Result<Reply, DeviceError> {
        self.answered(request, Some(fallback), Some(fallback_us))
            .await
    }

    /// What became of the requests.
    #[must_use]
    pub fn counts(&self) -> DispatcherCounts {
        self.core.counts()
    }

    /// Ends the streams; open requests end with [`DeviceError::Closed`].
    pub fn close(self) {
        drop(self);
    }

    fn launch(options: DeviceOptions, tracer: Option<Tracer>) -> Result<Self, DeviceError> {
        options.check()?;
        let dispatcher = Dispatcher::new(options.dispatcher.clone())?;
        let edges = options.edges.len();
        let core = Arc::new(Core::new(dispatcher, options.connection.clone(), edges)?);
        let options = Arc::new(options);
        let mut tasks: Vec<JoinHandle<()>> = (0..edges)
            .map(|link| {
                let (core, options) = (Arc::clone(&core), Arc::clone(&options));
                tokio::spawn(keep_connected(core, options, link))
            })
            .collect();
        tasks.push(tokio::spawn(Arc::clone(&core).keep_time()));
        Ok(Self {
            core,
            tasks,
            tracer,
        })
    }

    async fn answered(
        &self,
        request: OwnedRequest,
        fallback: Option<Fallback>,
        fallback_us: Option<u64>,
    ) -> Result<Reply, DeviceError> {
        let split = self.core.split_name(request.split);
        let span = RequestSpan::begin(self.tracer.as_ref(), split, &request);
        let result = match self.core.submit(request, fallback, fallback_us) {
            Ok(receiver) => receiver.await.unwrap_or(Err(DeviceError::Closed)),
            Err(error) => Err(error),
        };
        span.end(&result);
        result
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.core.close();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
