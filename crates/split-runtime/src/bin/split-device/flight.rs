//! Frames under way, and what becomes of them.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use burn::tensor::Tensor;
use split_backbone::{Head as _, ResNetHead, ResNetTail, Tail as _};
use split_runtime::grpc::{Device, Fallback, OwnedRequest, Reply};
use split_runtime::stage::rank;
use split_runtime::{AnswerSeen, Ranking, Time};

use crate::answer::{How, Outcome};
use crate::program::out;

/// Classes that a local answer names, as many as the edge's by default.
const RANKED: usize = 5;

/// Said of a tail that gave nothing.
const NO_SCORES: &str = "the tail gave no scores";

/// A frame and who answers it.
pub(crate) struct Ask {
    pub(crate) device: Arc<Device>,
    pub(crate) request: OwnedRequest,
    /// How the policy calls what was chosen.
    pub(crate) entry: usize,
    /// What the device needs to answer itself, where it may.
    pub(crate) own: Option<Own>,
}

/// A picture whose frame is on its way.
pub(crate) struct Flight {
    pub(crate) ask: Ask,
    pub(crate) sent: Time,
    pub(crate) outcome: Outcome,
    pub(crate) clock: Clock,
}

/// What is left of the whole network, and the time to keep for it.
#[derive(Clone)]
pub(crate) struct Own {
    pub(crate) left: Left,
    pub(crate) tail: ResNetTail,
    pub(crate) kept_us: u64,
}

/// How far the network has come.
#[derive(Clone)]
pub(crate) enum Left {
    /// The head has given this.
    Activation(Tensor<4>),
    /// Not even the head has run on this.
    Input(Box<ResNetHead>, Tensor<4>),
}

/// From when times are counted.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    /// The program's begin, for the policy.
    pub(crate) program: Instant,
    /// The picture in memory.
    pub(crate) picture: Instant,
    pub(crate) deadline_us: u64,
}

impl Clock {
    pub(crate) fn now(&self) -> Time {
        Time::from_us(out::us_since(self.program))
    }

    /// The outcome with its whole time.
    pub(crate) fn stop(&self, outcome: Outcome, how: How) -> Outcome {
        let mut outcome = Outcome { how, ..outcome };
        outcome.parts.total_us = out::us_since(self.picture);
        outcome.late = outcome.is_answered() && outcome.parts.total_us > self.deadline_us;
        outcome
    }
}

/// What came of a frame.
pub(crate) struct Landed {
    pub(crate) outcome: Outcome,
    /// What it tells about link and edge.
    pub(crate) seen: AnswerSeen,
}

/// An answer of the tail here and the time that it took.
pub(crate) struct Local {
    ranking: Ranking,
    us: u64,
}

impl Flight {
    /// Has the frame answered by the edge. The tail here begins when only its own time is left, and where
    /// the edge gives nothing to read.
    pub(crate) async fn land(self) -> Landed {
        let Self {
            ask,
            sent,
            mut outcome,
            clock,
        } = self;
        let Ask {
            device,
            request,
            entry,
            own,
        } = ask;
        let bytes = u32::try_from(request.body.len()).unwrap_or(u32::MAX);
        let (begun, reply) = match &own {
            Some(own) => {
                let (fallback, begun) = fallback(own.clone());
                let reply = device.request_or_in(request, fallback, own.kept_us);
                (Some(begun), reply.await)
            }
            None => (None, device.request(request).await),
        };
        let mut seen = AnswerSeen {
            entry,
            bytes,
            sent,
            arrived: clock.now(),
            came: false,
            queue_us: 0,
            compute_us: 0,
            batch: 1,
        };
        let answered = match reply {
            Ok(Reply::Edge(answer)) => {
                seen.came = true;
                seen.queue_us = u64::from(answer.queue_us);
                seen.compute_us = u64::from(answer.compute_us);
                seen.batch = u32::from(answer.batch);
                outcome.parts.network_us = Some(seen.network_us());
                outcome.parts.queue_us = Some(seen.queue_us);
                outcome.parts.edge_us = Some(seen.compute_us);
                Ranking::parse(&answer.body)
                    .map_err(|error| format!("the edge's answer can't be read: {error}"))
            }
            Ok(Reply::Device { why, .. }) => Err(why.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let how = match (answered, own) {
            (Ok(ranking), _) => How::Edge(ranking),
            (Err(why), None) => How::Unanswered(why),
            (Err(why), Some(own)) => {
                // Waits for a tail that has begun; one that never did has hung up.
                let local = move || {
                    let begun = begun.and_then(|begun| begun.recv().ok());
                    begun.or_else(|| own.answer())
                };
                let local = tokio::task::spawn_blocking(local).await;
                how_here(local.ok().flatten(), why, &mut outcome)
            }
        };
        Landed {
            outcome: clock.stop(outcome, how),
            seen,
        }
    }
}

impl Own {
    /// The whole network here. Later than the deadline it is an answer still.
    pub(crate) fn answer(self) -> Option<Local> {
        let start = out::now();
        let activation = match self.left {
            Left::Activation(activation) => activation,
            Left::Input(head, input) => head.forward(input),
        };
        let ranking = finish(&self.tail, activation)?;
        let us = out::us_since(start);
        Some(Local { ranking, us })
    }
}

/// How a picture is answered that the edge didn't answer, and `why` not.
pub(crate) fn how_here(local: Option<Local>, why: String, outcome: &mut Outcome) -> How {
    match local {
        Some(local) => {
            outcome.parts.local_us = Some(local.us);
            How::Device(local.ranking, why)
        }
        None => How::Unanswered(NO_SCORES.to_owned()),
    }
}

/// The tail as what a device does when no edge answers in time, and where its answer comes out.
fn fallback(own: Own) -> (Fallback, mpsc::Receiver<Local>) {
    let (sender, receiver) = mpsc::channel();
    let fallback = Box::new(move || {
        let local = own.answer()?;
        let body = local.ranking.to_bytes();
        // Nobody waits where the edge was faster after all.
        let _ = sender.send(local);
        Some(body)
    });
    (fallback, receiver)
}

pub(crate) fn finish(tail: &ResNetTail, activation: Tensor<4>) -> Option<Ranking> {
    rank(tail.forward(activation), RANKED).pop()
}
