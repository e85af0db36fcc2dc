//! The compact stream: one state machine, one task, both directions.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::core::Core;
use super::guard::ConnectionUse;
use crate::grpc::outgoing::Outgoing;
use crate::grpc::pb::stream::Chunk;
use crate::grpc::pb::stream::split_edge_server::SplitEdge;
use crate::grpc::trace::Parent;

pub(crate) struct StreamService {
    pub(crate) core: Arc<Core>,
}

#[tonic::async_trait]
impl SplitEdge for StreamService {
    type ConnectStream = ConnectStream;

    async fn connect(
        &self,
        request: Request<Streaming<Chunk>>,
    ) -> Result<Response<ConnectStream>, Status> {
        let connection = request.extensions().get::<ConnectionUse>().cloned();
        let client = connection.as_ref().map_or(0, ConnectionUse::client);
        let parent = Parent::of_stream(self.core.tracer.as_ref(), request.metadata());
        let Some((id, outgoing)) = self.core.open_stream(client, parent) else {
            return Err(Status::unavailable("the edge takes no more streams"));
        };
        Ok(Response::new(ConnectStream {
            core: Arc::clone(&self.core),
            inbound: request.into_inner(),
            inbound_ended: false,
            outgoing,
            id,
            connection,
        }))
    }
}

/// Reads what comes and gives what has to leave, both when the transport asks for more: a peer
/// that reads nothing is not read from either.
pub(crate) struct ConnectStream {
    core: Arc<Core>,
    inbound: Streaming<Chunk>,
    inbound_ended: bool,
    outgoing: Arc<Outgoing>,
    id: u64,
    connection: Option<ConnectionUse>,
}

/// Chunks read before the transport gets its turn again.
const CHUNKS_PER_TURN: usize = 64;

impl ConnectStream {
    fn read(&mut self, cx: &mut Context<'_>) {
        for _ in 0..CHUNKS_PER_TURN {
            if self.inbound_ended {
                return;
            }
            match Pin::new(&mut self.inbound).poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    if let Some(connection) = &self.connection {
                        connection.touch();
                    }
                    self.core.receive(self.id, &chunk.bytes);
                }
                Poll::Ready(Some(Err(status))) => self.inbound_ended(Some(status)),
                Poll::Ready(None) => self.inbound_ended(None),
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }

    /// What was wrong with the last chunk is said, if the device still listens.
    fn inbound_ended(&mut self, status: Option<Status>) {
        self.inbound_ended = true;
        if status.is_some() {
            self.outgoing.finish(status);
        }
        self.core.stream_lost(self.id);
    }
}

impl Stream for ConnectStream {
    type Item = Result<Chunk, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Chunk, Status>>> {
        self.read(cx);
        self.outgoing.poll_next(cx)
    }
}

impl Drop for ConnectStream {
    fn drop(&mut self) {
        self.core.stream_lost(self.id);
    }
}
