//! Bytes that leave by a gRPC stream: pushed by whoever holds the state machine, pulled by the
//! transport when it has room.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use prost::bytes::Bytes;
use tokio_stream::Stream;
use tonic::Status;

use super::pb::stream::Chunk;
use crate::proto::MAX_TRANSMIT_BYTES;

/// Most bytes of a chunk: what is pushed while the transport is busy leaves in one message up to
/// this size.
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// Longest gRPC message of the compact stream: a chunk, its tag and its length.
pub(crate) const MAX_CHUNK_MESSAGE_BYTES: usize = MAX_CHUNK_BYTES + 16;

#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    waker: Option<Waker>,
    end: Option<Option<Status>>,
}

impl Outgoing {
    /// Takes bytes; `false` if the peer reads so slowly that too many wait already.
    pub(crate) fn push(&self, bytes: &[u8]) -> bool {
        let mut inner = self.lock();
        if inner.bytes.len() + bytes.len() > MAX_TRANSMIT_BYTES {
            return false;
        }
        inner.bytes.extend_from_slice(bytes);
        wake(inner);
        true
    }

    /// Ends the stream once all bytes have left; without a status it ended as it should.
    pub(crate) fn finish(&self, status: Option<Status>) {
        let mut inner = self.lock();
        inner.end.get_or_insert(status);
        wake(inner);
    }

    /// Ends the stream without what still waits.
    pub(crate) fn abandon(&self) {
        let mut inner = self.lock();
        inner.bytes.clear();
        inner.end.get_or_insert(None);
        wake(inner);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().bytes.is_empty()
    }

    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Result<Chunk, Status>>> {
        let mut inner = self.lock();
        if !inner.bytes.is_empty() {
            let bytes = if inner.bytes.len() <= MAX_CHUNK_BYTES {
                std::mem::take(&mut inner.bytes)
            } else {
                inner.bytes.drain(..MAX_CHUNK_BYTES).collect()
            };
            let bytes = Bytes::from(bytes);
            return Poll::Ready(Some(Ok(Chunk { bytes })));
        }
        match &mut inner.end {
            Some(status) => Poll::Ready(status.take().map(Err)),
            None => {
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the transport after the lock is gone, so that it doesn't run into it.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The request stream of a device.
#[derive(Debug)]
pub(crate) struct OutgoingChunks(pub(crate) Arc<Outgoing>);

impl Stream for OutgoingChunks {
    type Item = Chunk;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Chunk>> {
        self.0
            .poll_next(cx)
            .map(|next| next.and_then(|chunk| chunk.ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(outgoing: &Outgoing) -> Poll<Option<Result<Chunk, Status>>> {
        outgoing.poll_next(&Context::from_waker(Waker::noop()))
    }

    fn length(polled: Poll<Option<Result<Chunk, Status>>>) -> usize {
        match polled {
            Poll::Ready(Some(Ok(chunk))) => chunk.bytes.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn chunks_are_bounded_and_the_end_comes_after_them() {
        let outgoing = Outgoing::default();
        assert!(next(&outgoing).is_pending());
        assert!(outgoing.push(&[1; 10]));
        assert!(outgoing.push(&vec![2; MAX_CHUNK_BYTES]));
        outgoing.finish(Some(Status::aborted("why")));
        assert_eq!(length(next(&outgoing)), MAX_CHUNK_BYTES);
        assert_eq!(length(next(&outgoing)), 10);
        assert!(matches!(next(&outgoing), Poll::Ready(Some(Err(_)))));
        assert!(matches!(next(&outgoing), Poll::Ready(None)));
    }

    #[test]
    fn a_peer_that_does_not_read_fills_it_up_to_the_bound() {
        let outgoing = Outgoing::default();
        let mut taken = 0;
        while outgoing.push(&[0; 1000]) {
            taken += 1;
        }
        assert_eq!(taken, MAX_TRANSMIT_BYTES / 1000);
        outgoing.abandon();
        assert!(matches!(next(&outgoing), Poll::Ready(None)));
    }
}
