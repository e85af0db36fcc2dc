use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::breaker::Breaker;
use super::config::DispatcherConfig;
use super::latency::LatencyWindow;
use crate::proto::{Answer, ConfigError, Outcome, Status};
use crate::time::Time;

/// Names a request of a [`Dispatcher`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Names one attempt at a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptId(pub u64);

/// What the user of a [`Dispatcher`] has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the request to an endpoint and report how it went by [`Dispatcher::attempt_ended`].
    Send {
        /// Which request.
        request: RequestId,
        /// Name for the report.
        attempt: AttemptId,
        /// To which edge.
        endpoint: usize,
        /// Time left.
        budget_us: u64,
    },
    /// Answer the request on the device and call [`Dispatcher::fallback_done`].
    Fallback {
        /// Which request.
        request: RequestId,
    },
    /// The request ended; it comes up exactly once.
    Done {
        /// Which request.
        request: RequestId,
        /// How.
        ending: Ending,
    },
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// An edge answered in time.
    Answered(Answer),
    /// The device answered in time.
    Fallback,
    /// Nobody answered in time.
    Expired,
    /// It was refused and there was nothing left to try.
    Refused(Status),
    /// The connections were lost and there was nothing left to try.
    Lost,
}

impl Ending {
    /// A word for logs and labels.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::Fallback => "fallback",
            Self::Expired => "expired",
            Self::Refused(_) => "refused",
            Self::Lost => "lost",
        }
    }
}

/// What became of the requests. All but the last only rise, and
/// `submitted = answered + fallback + expired + refused + lost + open`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DispatcherCounts {
    /// Taken.
    pub submitted: u64,
    /// Answered by an edge.
    pub answered: u64,
    /// Answered by the device.
    pub fallback: u64,
    /// Not answered in time.
    pub expired: u64,
    /// Refused.
    pub refused: u64,
    /// Lost with their connections.
    pub lost: u64,
    /// Sent again.
    pub retries: u64,
    /// Doubled.
    pub hedges: u64,
    /// Open now.
    pub open: u64,
}

#[derive(Debug)]
struct Open {
    deadline: Time,
    attempts: u32,
    /// Attempts under way and where.
    under_way: BTreeMap<AttemptId, (usize, Time)>,
    last_endpoint: Option<usize>,
    falling_back: bool,
    /// How long the device needs to answer this one by itself, if it can.
    fallback_us: Option<u64>,
    /// What went wrong last.
    trouble: Option<Ending>,
    /// Timers that are set: at most one of each kind.
    timers: [Option<Time>; TIMERS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Deadline,
    Fallback,
    Retry,
    Hedge,
}

const TIMERS: usize = 4;

/// One thousandth of a retry is the unit of the retry budget.
const RETRY: u64 = 1_000;

/// Gives each request of a device its one ending: sends, retries within a budget, doubles slow
/// attempts, avoids edges that fail, and falls back to the device in time.
#[derive(Debug)]
pub struct Dispatcher {
    config: DispatcherConfig,
    now: Time,
    open: BTreeMap<RequestId, Open>,
    attempts: BTreeMap<AttemptId, RequestId>,
    timers: BTreeSet<(Time, RequestId, Timer)>,
    actions: VecDeque<Action>,
    endpoints: Vec<Endpoint>,
    latency: LatencyWindow,
    saved_retries: u64,
    next_request: u64,
    next_attempt: u64,
    next_endpoint: usize,
    random: u64,
    counts: DispatcherCounts,
}

#[derive(Debug)]
struct Endpoint {
    up: bool,
    breaker: Breaker,
}

impl Dispatcher {
    /// A dispatcher whose endpoints are all down.
    ///
    /// # Errors
    /// [`ConfigError`] where a field of `config` is out of range.
    pub fn new(config: DispatcherConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let endpoint = || Endpoint {
            up: false,
            breaker: Breaker::new(config.breaker),
        };
        Ok(Self {
            now: Time::ZERO,
            open: BTreeMap::new(),
            attempts: BTreeMap::new(),
            timers: BTreeSet::new(),
            actions: VecDeque::new(),
            endpoints: (0..config.endpoints).map(|_| endpoint()).collect(),
            latency: LatencyWindow::default(),
            saved_retries: u64::from(config.retries_saved_max) * RETRY,
            next_request: 0,
            next_attempt: 0,
            next_endpoint: 0,
            random: config.seed,
            counts: DispatcherCounts::default(),
            config,
        })
    }

    /// Takes a request that has to be answered within `budget_us`; `None` if too many are open.
    #[must_use]
    pub fn submit(&mut self, now: Time, budget_us: u64) -> Option<RequestId> {
        self.submit_with(now, budget_us, self.config.fallback_us)
    }

    /// Takes a request that the device can't answer by itself, whatever the config says.
    #[must_use]
    pub fn submit_without_fallback(&mut self, now: Time, budget_us: u64) -> Option<RequestId> {
        self.submit_with(now, budget_us, None)
    }

    /// Takes a request whose own fallback takes `fallback_us`, whatever the config says; `None` for one without.
    #[must_use]
    pub fn submit_with(
        &mut self,
        now: Time,
        budget_us: u64,
        fallback_us: Option<u64>,
    ) -> Option<RequestId> {
        self.advance(now);
        if self.open.len() >= self.config.open_max {
            return None;
        }
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let deadline = self.now.after(budget_us);
        let open = Open {
            deadline,
            attempts: 0,
            under_way: BTreeMap::new(),
            last_endpoint: None,
            falling_back: false,
            fallback_us,
            trouble: None,
            timers: [None; TIMERS],
        };
        self.open.insert(id, open);
        self.counts.submitted += 1;
        self.counts.open += 1;
        self.set_timer(id, Timer::Deadline, deadline);
        if let Some(fallback_us) = fallback_us {
            self.set_timer(id, Timer::Fallback, deadline.before(fallback_us));
        }
        self.send(id);
        Some(id)
    }

    /// A connection to an endpoint opened, or can't take requests any more.
    pub fn set_endpoint(&mut self, now: Time, endpoint: usize, up: bool) {
        self.advance(now);
        self.endpoints[endpoint].up = up;
        if !up {
            return;
        }
        // Requests that found no endpoint have waited for one.
        let stranded = self.open.iter().filter(|(_, open)| open.is_stranded());
        let stranded: Vec<RequestId> = stranded.map(|(&id, _)| id).collect();
        for id in stranded {
            self.send(id);
        }
    }

    /// Something came from an endpoint, if only a late answer: it is slow and not gone.
    pub fn endpoint_alive(&mut self, endpoint: usize) {
        self.endpoints[endpoint].breaker.succeeded();
    }

    /// The request of an attempt that is under way.
    #[must_use]
    pub fn request_of(&self, attempt: AttemptId) -> Option<RequestId> {
        self.attempts.get(&attempt).copied()
    }

    /// The device's own answer failed: the request goes on until its deadline.
    pub fn fallback_failed(&mut self, now: Time, request: RequestId) {
        self.advance(now);
        if let Some(open) = self.open.get_mut(&request) {
            open.falling_back = false;
            open.fallback_us = None;
            if open.is_stranded() {
                let trouble = open.trouble.clone().unwrap_or(Ending::Lost);
                self.end(request, trouble);
            }
        }
    }

    /// Reports how an attempt went. Reports of attempts that nobody waits for are ignored.
    pub fn attempt_ended(&mut self, now: Time, attempt: AttemptId, outcome: Outcome) {
        self.advance(now);
        let Some(id) = self.attempts.remove(&attempt) else {
            return;
        };
        let Some((endpoint, sent)) = self
            .open
            .get_mut(&id)
            .and_then(|open| open.under_way.remove(&attempt))
        else {
            return;
        };
        let breaker = &mut self.endpoints[endpoint].breaker;
        match outcome {
            Outcome::Answered { answer, .. } => {
                breaker.succeeded();
                self.latency.add(self.now.since(sent));
                let more = u64::from(self.config.retry_per_success_permille);
                let most = u64::from(self.config.retries_saved_max) * RETRY;
                self.saved_retries = (self.saved_retries + more).min(most);
                self.end(id, Ending::Answered(answer));
            }
            Outcome::Refused { answer, .. } => {
                // A refusal shows an edge that works and knows its limits; only faults count.
                if answer.status == Status::Failed {
                    breaker.failed(self.now);
                } else {
                    breaker.succeeded();
                }
                let retryable = answer.status.is_retryable();
                let wait_us = u64::from(answer.retry_after_ms) * 1_000;
                self.went_wrong(id, Ending::Refused(answer.status), retryable, wait_us);
            }
            Outcome::Expired => {
                breaker.failed(self.now);
                self.went_wrong(id, Ending::Expired, false, 0);
            }
            Outcome::Lost => {
                breaker.failed(self.now);
                self.went_wrong(id, Ending::Lost, true, 0);
            }
        }
    }

    /// The connection didn't take an attempt: the endpoint is full or gone.
    pub fn attempt_refused(&mut self, now: Time, attempt: AttemptId) {
        self.advance(now);
        if let Some(id) = self.attempts.remove(&attempt)
            && let Some(open) = self.open.get_mut(&id)
        {
            open.under_way.remove(&attempt);
            self.went_wrong(id, Ending::Refused(Status::CreditExceeded), true, 0);
        }
    }

    /// The device has its own answer.
    pub fn fallback_done(&mut self, now: Time, request: RequestId) {
        self.advance(now);
        if self
            .open
            .get(&request)
            .is_some_and(|open| open.falling_back)
        {
            self.end(request, Ending::Fallback);
        }
    }

    /// The next thing to do, if there is one.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] has to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.first().map(|&(at, _, _)| at)
    }

    /// Does what is due at `now`; harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        while let Some(&(at, id, timer)) = self.timers.first() {
            if at > self.now {
                return;
            }
            self.clear_timer(id, timer);
            match timer {
                Timer::Deadline => self.end(id, Ending::Expired),
                Timer::Fallback => self.fall_back(id),
                Timer::Retry => self.send(id),
                Timer::Hedge => self.hedge(id),
            }
        }
    }

    /// What became of the requests.
    #[must_use]
    pub const fn counts(&self) -> DispatcherCounts {
        self.counts
    }

    fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// Sends an attempt, or leaves the request waiting for an endpoint.
    fn send(&mut self, id: RequestId) {
        let Some(open) = self.open.get(&id) else {
            return;
        };
        let budget_us = open.deadline.since(self.now);
        let Some(endpoint) = self.pick_endpoint(open.last_endpoint) else {
            self.wait_for_endpoint(id);
            return;
        };
        let attempt = AttemptId(self.next_attempt);
        self.next_attempt += 1;
        self.endpoints[endpoint].breaker.sent(self.now);
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        open.attempts += 1;
        open.last_endpoint = Some(endpoint);
        open.under_way.insert(attempt, (endpoint, self.now));
        let may_hedge = self.config.hedge && open.under_way.len() == 1;
        self.attempts.insert(attempt, id);
        self.actions.push_back(Action::Send {
            request: id,
            attempt,
            endpoint,
            budget_us,
        });
        if may_hedge && let Some(p95_us) = self.latency.p95_us() {
            self.set_timer(id, Timer::Hedge, self.now.after(p95_us));
        }
    }

    /// With no endpoint in sight the device answers at once if it can, else it waits for one.
    fn wait_for_endpoint(&mut self, id: RequestId) {
        if self
            .open
            .get(&id)
            .is_some_and(|open| open.fallback_us.is_some())
        {
            self.fall_back(id);
            return;
        }
        let reopens = self.endpoints.iter().filter(|endpoint| endpoint.up);
        let reopens = reopens
            .filter_map(|endpoint| endpoint.breaker.reopens())
            .min();
        if let Some(at) = reopens {
            self.set_timer(id, Timer::Retry, at.max(self.now.after(1)));
        }
    }

    /// Round robin over the endpoints that are up and trusted, not the last one if there is
    /// another.
    fn pick_endpoint(&mut self, last: Option<usize>) -> Option<usize> {
        let count = self.endpoints.len();
        let usable: Vec<usize> = (0..count)
            .map(|step| (self.next_endpoint + step) % count)
            .filter(|&index| {
                let endpoint = &self.endpoints[index];
                endpoint.up && endpoint.breaker.allows(self.now)
            })
            .collect();
        let fresh = usable.iter().find(|&&index| Some(index) != last);
        let picked = *fresh.or(usable.first())?;
        self.next_endpoint = (picked + 1) % count;
        Some(picked)
    }

    fn went_wrong(&mut self, id: RequestId, trouble: Ending, retryable: bool, wait_us: u64) {
        let attempts_max = self.config.attempts_max;
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        open.trouble = Some(trouble.clone());
        if open.falling_back || !open.under_way.is_empty() {
            return;
        }
        let step = open.attempts.min(20);
        let may_retry = retryable && open.attempts < attempts_max && self.saved_retries >= RETRY;
        let left_us = open.deadline.since(self.now);
        let fallback_us = open.fallback_us;
        if may_retry {
            let longest_us = (self.config.backoff_us.0 << step).min(self.config.backoff_us.1);
            let pause_us = wait_us.max(self.draw() % (longest_us + 1));
            let reserve_us = self.config.retry_least_us + fallback_us.unwrap_or(0);
            if pause_us + reserve_us <= left_us {
                self.saved_retries -= RETRY;
                self.counts.retries += 1;
                self.set_timer(id, Timer::Retry, self.now.after(pause_us));
                return;
            }
        }
        if fallback_us.is_some_and(|needed_us| needed_us <= left_us) {
            self.fall_back(id);
        } else {
            self.end(id, trouble);
        }
    }

    fn hedge(&mut self, id: RequestId) {
        let Some(open) = self.open.get(&id) else {
            return;
        };
        let Some(&(busy, _)) = open.under_way.values().next() else {
            return;
        };
        let attempts_left = open.attempts < self.config.attempts_max;
        let other = (0..self.endpoints.len()).any(|index| {
            let endpoint = &self.endpoints[index];
            index != busy && endpoint.up && endpoint.breaker.allows(self.now)
        });
        let waiting_us = self.config.retry_least_us;
        let worth_it = open.deadline.since(self.now) > waiting_us;
        if attempts_left && other && worth_it && self.saved_retries >= RETRY {
            self.saved_retries -= RETRY;
            self.counts.hedges += 1;
            self.send(id);
        }
    }

    fn fall_back(&mut self, id: RequestId) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        if !open.falling_back {
            open.falling_back = true;
            self.actions.push_back(Action::Fallback { request: id });
        }
        self.clear_timer(id, Timer::Fallback);
        self.clear_timer(id, Timer::Retry);
    }

    fn end(&mut self, id: RequestId, ending: Ending) {
        for timer in [Timer::Deadline, Timer::Fallback, Timer::Retry, Timer::Hedge] {
            self.clear_timer(id, timer);
        }
        let Some(open) = self.open.remove(&id) else {
            return;
        };
        for attempt in open.under_way.keys() {
            self.attempts.remove(attempt);
        }
        // A deadline says little; what went wrong before says why nobody answered.
        let ending = match (ending, open.trouble) {
            (Ending::Expired, Some(trouble)) => trouble,
            (ending, _) => ending,
        };
        let count = match ending {
            Ending::Answered(_) => &mut self.counts.answered,
            Ending::Fallback => &mut self.counts.fallback,
            Ending::Expired => &mut self.counts.expired,
            Ending::Refused(_) => &mut self.counts.refused,
            Ending::Lost => &mut self.counts.lost,
        };
        *count += 1;
        self.counts.open -= 1;
        let request = id;
        self.actions.push_back(Action::Done { request, ending });
    }

    fn set_timer(&mut self, id: RequestId, timer: Timer, at: Time) {
        self.clear_timer(id, timer);
        if let Some(open) = self.open.get_mut(&id) {
            open.timers[timer as usize] = Some(at);
            self.timers.insert((at, id, timer));
        }
    }

    fn clear_timer(&mut self, id: RequestId, timer: Timer) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        if let Some(at) = open.timers[timer as usize].take() {
            self.timers.remove(&(at, id, timer));
        }
    }

    /// SplitMix64: enough for jitter, and no dependency.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Open {
    /// Not sent, not waiting for a retry, not answered by the device.
    fn is_stranded(&self) -> bool {
        let retrying = self.timers[Timer::Retry as usize].is_some();
        self.under_way.is_empty() && !self.falling_back && !retrying
    }
}

#[cfg(test)]
#[path = "dispatcher_tests.rs"]
mod tests;
