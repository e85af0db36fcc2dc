use std::collections::{BTreeMap, VecDeque};

use super::message::{Answer, FrameHead, Status};
use crate::time::Time;

/// What became of a frame, for logs and traces. It holds nothing of what the frame or its answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameRecord {
    /// The frame's number in its connection.
    pub seq: u32,
    /// Name of the split point; `None` where the frame named none of its connection.
    pub split: Option<String>,
    /// Rung as the frame named it.
    pub rung: u16,
    /// Length of the frame.
    pub frame_bytes: usize,
    /// When it came.
    pub received: Time,
    /// When it was answered, or its connection ended.
    pub ended: Time,
    /// How it was answered; `None` where its connection ended first.
    pub status: Option<Status>,
    /// How long it waited, as the answer says it.
    pub queue_us: u32,
    /// Frames of its batch; 0 where it was in none.
    pub batch: u16,
    /// Length of the prediction.
    pub answer_bytes: usize,
}

/// Records of one connection, once somebody asked for them.
#[derive(Debug, Default)]
pub(crate) struct Records {
    kept: bool,
    open: BTreeMap<u32, FrameRecord>,
    ended: VecDeque<FrameRecord>,
}

impl Records {
    pub(crate) const fn keep(&mut self) {
        self.kept = true;
    }

    pub(crate) fn begin(
        &mut self,
        now: Time,
        head: &FrameHead,
        split: Option<&str>,
        frame_bytes: usize,
    ) {
        if !self.kept {
            return;
        }
        let record = FrameRecord {
            seq: head.seq,
            split: split.map(ToOwned::to_owned),
            rung: head.rung,
            frame_bytes,
            received: now,
            ended: now,
            status: None,
            queue_us: 0,
            batch: 0,
            answer_bytes: 0,
        };
        self.open.insert(head.seq, record);
    }

    pub(crate) fn end(&mut self, now: Time, seq: u32, answer: &Answer) {
        if let Some(mut record) = self.open.remove(&seq) {
            record.ended = now;
            record.status = Some(answer.status);
            record.queue_us = answer.queue_us;
            record.batch = answer.batch;
            record.answer_bytes = answer.body.len();
            self.ended.push_back(record);
        }
    }

    /// The connection ended: nothing that is open will be answered.
    pub(crate) fn lose(&mut self, now: Time) {
        for mut record in std::mem::take(&mut self.open).into_values() {
            record.ended = now;
            self.ended.push_back(record);
        }
    }

    pub(crate) fn poll(&mut self) -> Option<FrameRecord> {
        self.ended.pop_front()
    }
}
