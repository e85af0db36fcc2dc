use crate::proto::Status;
use crate::time::Time;

/// Names a job: which connection it came over and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId {
    /// The connection, as the shell numbers them.
    pub connection: u64,
    /// The frame's number in it.
    pub seq: u32,
}

/// What jobs must share to be computed as one batch.
///
/// Rungs may mix, since they decode to the same latent shape; split points and shapes may not.
/// Padding a latent would change what convolutions see at its border.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchKey {
    /// Digest of the backbone.
    pub backbone: u64,
    /// Number of the split point on this edge.
    pub split: u16,
    /// Channels, height and width of the latent.
    pub shape: [u32; 3],
}

/// Expected time of a batch: `fixed_us + each_us * size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostGuess {
    /// What a batch takes whatever its size.
    pub fixed_us: u32,
    /// What each of its members adds.
    pub each_us: u32,
}

/// The key of a model's batches and what they cost at first, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedKey {
    /// What its batches share.
    pub key: BatchKey,
    /// Measured before the first batch, say by a warm-up; `None` takes what
    /// [`SchedulerConfig`](crate::SchedulerConfig) guesses for all keys.
    pub cost: Option<CostGuess>,
}

impl From<BatchKey> for ServedKey {
    fn from(key: BatchKey) -> Self {
        Self { key, cost: None }
    }
}

/// A frame to be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which.
    pub id: JobId,
    /// Whose, for fairness.
    pub client: u64,
    /// With what it can share a batch.
    pub key: BatchKey,
    /// Rung of the bank.
    pub rung: u16,
    /// When its answer becomes worthless.
    pub deadline: Time,
    /// The frame.
    pub body: Vec<u8>,
}

/// A job in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchMember {
    /// The job.
    pub job: Job,
    /// How long it waited.
    pub queue_us: u64,
}

/// Jobs to be computed at once, all of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Batch {
    /// What they share.
    pub key: BatchKey,
    /// The jobs, at least one.
    pub members: Vec<BatchMember>,
    /// When it was formed.
    pub formed: Time,
}

/// Why a job that was taken has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The frame can't be decoded; the device made it.
    #[error("bad frame: {0}")]
    BadFrame(String),
    /// The tail failed; the frame may be good.
    #[error("the tail failed")]
    Failed,
}

/// A job that will not be computed, to be answered at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The job.
    pub id: JobId,
    /// Why.
    pub status: Status,
    /// How long it waited.
    pub queue_us: u64,
    /// When another try may be worth it.
    pub retry_after_ms: u32,
}

/// Why a job wasn't taken; the answer to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: Status,
    /// When another try may be worth it.
    pub retry_after_ms: u32,
    /// Which bound it met, for people.
    pub detail: &'static str,
}

/// What became of the jobs so far. All but the last two only rise, and
/// `accepted = done + failed + expired + shed + drained + cancelled + waiting + running`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerCounts {
    /// Refused when they came.
    pub refused: u64,
    /// Taken.
    pub accepted: u64,
    /// Computed.
    pub done: u64,
    /// Computed in vain: the tail failed.
    pub failed: u64,
    /// Dropped because they would have been late.
    pub expired: u64,
    /// Dropped from a standing queue.
    pub shed: u64,
    /// Dropped by a drain.
    pub drained: u64,
    /// Given up by their connection.
    pub cancelled: u64,
    /// Waiting now.
    pub waiting: u64,
    /// Running now.
    pub running: u64,
}

impl SchedulerCounts {
    /// Whether every job that was taken is accounted for.
    #[must_use]
    pub const fn is_conserved(&self) -> bool {
        let ended = self.done + self.failed + self.expired + self.shed + self.drained;
        self.accepted == ended + self.cancelled + self.waiting + self.running
    }
}
