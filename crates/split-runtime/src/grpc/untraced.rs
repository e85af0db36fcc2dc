//! What stands for traces where the feature `otel` is off: a tracer that cannot exist, so that nothing of
//! all this is compiled in.

use tonic::metadata::MetadataMap;

use super::device::{DeviceError, OwnedRequest, Reply};
use crate::proto::{Answer, Contract, FrameRecord};
use crate::serving::{Batch, Call};
use crate::time::Time;

#[derive(Clone, Debug)]
pub(crate) enum Tracer {}

impl Tracer {
    pub(crate) const fn counts(&self) -> TraceCounts {
        match *self {}
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceCounts {
    pub(crate) exported: u64,
    pub(crate) dropped: u64,
    pub(crate) failed: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Parent;

impl Parent {
    pub(crate) const fn of_stream(_: Option<&Tracer>, _: &MetadataMap) -> Self {
        Self
    }
}

pub(crate) enum Recorder {}

impl Recorder {
    pub(crate) const fn new(tracer: Tracer) -> Self {
        match tracer {}
    }

    pub(crate) fn stream_opened(&mut self, _: u64, _: Parent) {
        match *self {}
    }

    pub(crate) fn stream_closed(&mut self, _: u64) {
        match *self {}
    }

    pub(crate) fn call(&self, _: Time, _: &Contract, _: &Call, _: &Parent) -> Self {
        match *self {}
    }

    pub(crate) fn call_begun(&mut self, _: Time, _: Self, _: Result<u32, &Answer>) {
        match *self {}
    }

    pub(crate) fn call_ended(&mut self, _: Time, _: u32, _: Option<&Answer>) {
        match *self {}
    }

    pub(crate) fn frame_ended(&self, _: Time, _: u64, _: FrameRecord) {
        match *self {}
    }

    pub(crate) fn batch_ran(&mut self, _: &Batch, _: Time, _: Time, _: Time) {
        match *self {}
    }

    pub(crate) fn batch_answered(&mut self) {
        match *self {}
    }
}

pub(crate) struct InferSpan;

impl InferSpan {
    pub(crate) const fn begin(_: Option<&Tracer>, _: &MetadataMap) -> Self {
        Self
    }

    pub(crate) const fn as_parent(&self) -> Parent {
        Parent
    }

    pub(crate) const fn end<T>(self, _: &Result<T, tonic::Status>) {}
}

pub(crate) struct RequestSpan;

impl RequestSpan {
    pub(crate) const fn begin(_: Option<&Tracer>, _: Option<&str>, _: &OwnedRequest) -> Self {
        Self
    }

    pub(crate) const fn end(self, _: &Result<Reply, DeviceError>) {}
}
