//! A collector that keeps what it gets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) trace: [u8; 16],
    pub(crate) id: [u8; 8],
    /// Zero for none.
    pub(crate) parent: [u8; 8],
    /// Nanoseconds since 1970.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) error: Option<String>,
    attributes: BTreeMap<String, Value>,
}

impl Seen {
    fn new(service: &str, span: Span) -> Self {
        let status = span.status.unwrap_or_default();
        let error = (status.code() == StatusCode::Error).then_some(status.message);
        Self {
            service: service.to_owned(),
            kind: SpanKind::try_from(span.kind).unwrap(),
            name: span.name,
            trace: span.trace_id.try_into().unwrap(),
            id: span.span_id.try_into().unwrap(),
            parent: span.parent_span_id.try_into().unwrap_or_default(),
            start: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
            error,
            attributes: values(span.attributes),
        }
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        self.attributes.keys().map(String::as_str).collect()
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        match &self.attributes[key] {
            Value::StringValue(text) => text,
            other => panic!("{key}: {other:?}"),
        }
    }

    pub(crate) fn number(&self, key: &str) -> i64 {
        match self.attributes[key] {
            Value::IntValue(number) => number,
            ref other => panic!("{key}: {other:?}"),
        }
    }
}

fn values(attributes: Vec<KeyValue>) -> BTreeMap<String, Value> {
    let value = |one: KeyValue| Some((one.key, one.value?.value?));
    attributes.into_iter().filter_map(value).collect()
}

pub(crate) struct Collector {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let service = TraceServiceServer::new(Service(Arc::clone(&seen)));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Self { address, seen }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans, once there are `count` of them.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Seen> {
        let seen = self.wait_until(|seen| seen.len() >= count).await;
        assert_eq!(seen.len(), count, "{seen:#?}");
        seen
    }

    /// All spans, once they are as they should be.
    pub(crate) async fn wait_until(&self, holds: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        for _ in 0..1000 {
            let seen = self.seen.lock().unwrap().clone();
            if holds(&seen) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("came: {:#?}", self.seen.lock().unwrap());
    }
}

struct Service(Arc<Mutex<Vec<Seen>>>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for group in request.into_inner().resource_spans {
            let resource = values(group.resource.unwrap_or_default().attributes);
            let Some(Value::StringValue(service)) = resource.get("service.name") else {
                return Err(Status::invalid_argument("no service.name"));
            };
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| Seen::new(service, span));
            self.0.lock().unwrap().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
