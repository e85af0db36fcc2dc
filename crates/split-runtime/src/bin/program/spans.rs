//! Spans for a collector of OpenTelemetry, where the program was built with the feature `otel`.

use anyhow::Result;
use split_runtime::grpc::{
    Device, DeviceError, DeviceOptions, Edge, EdgeModel, EdgeOptions, StartError,
};

#[cfg(feature = "otel")]
pub(crate) use self::sent::Spans;
#[cfg(not(feature = "otel"))]
pub(crate) use self::unsent::Spans;

#[cfg(feature = "otel")]
mod sent {
    use std::time::Duration;

    use anyhow::Context as _;
    use split_runtime::grpc::{TraceOptions, Traces};

    use super::{
        Device, DeviceError, DeviceOptions, Edge, EdgeModel, EdgeOptions, Result, StartError,
    };
    use crate::program::out;

    /// How long the end may wait for the collector.
    const FAREWELL: Duration = Duration::from_millis(500);

    /// Where spans go, if anywhere.
    pub(crate) struct Spans(Option<Traces>);

    impl Spans {
        /// On the runtime that it is called on. The collector shows the program's name.
        pub(crate) fn start(endpoint: Option<&str>, program: &str) -> Result<Self> {
            let start = |endpoint| Traces::start(&TraceOptions::new(endpoint, program));
            let traces = endpoint.map(start).transpose();
            Ok(Self(traces.context("otlp-endpoint")?))
        }

        #[allow(dead_code, reason = "one of the programs is no edge")]
        pub(crate) async fn edge(
            &self,
            options: EdgeOptions,
            model: impl EdgeModel,
        ) -> Result<Edge, StartError> {
            match &self.0 {
                Some(traces) => Edge::start_traced(options, model, traces).await,
                None => Edge::start(options, model).await,
            }
        }

        #[allow(dead_code, reason = "one of the programs is no device")]
        pub(crate) fn device(&self, options: DeviceOptions) -> Result<Device, DeviceError> {
            match &self.0 {
                Some(traces) => Device::start_traced(options, traces),
                None => Device::start(options),
            }
        }

        /// Sends what waits.
        pub(crate) async fn close(self) {
            let Some(traces) = self.0 else {
                return;
            };
            let counts = traces.close(FAREWELL).await;
            let lost = counts.dropped + counts.failed;
            if lost > 0 {
                out::log(&format!("{lost} spans didn't reach the collector"));
            }
        }
    }
}

#[cfg(not(feature = "otel"))]
mod unsent {
    use anyhow::ensure;

    use super::{
        Device, DeviceError, DeviceOptions, Edge, EdgeModel, EdgeOptions, Result, StartError,
    };

    /// Spans go nowhere.
    pub(crate) struct Spans;

    impl Spans {
        pub(crate) fn start(endpoint: Option<&str>, program: &str) -> Result<Self> {
            ensure!(
                endpoint.is_none(),
                "otlp-endpoint is set, but this {program} was built without the feature `otel`; \
                 install it with --features bin,otel"
            );
            Ok(Self)
        }

        #[allow(dead_code, reason = "one of the programs is no edge")]
        pub(crate) async fn edge(
            &self,
            options: EdgeOptions,
            model: impl EdgeModel,
        ) -> Result<Edge, StartError> {
            Edge::start(options, model).await
        }

        #[allow(dead_code, reason = "one of the programs is no device")]
        pub(crate) fn device(&self, options: DeviceOptions) -> Result<Device, DeviceError> {
            Device::start(options)
        }

        pub(crate) async fn close(self) {}
    }
}
