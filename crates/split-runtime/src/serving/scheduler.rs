use std::collections::{BTreeMap, VecDeque};

use super::clients::{ClientRefusal, Clients, Rate};
use super::config::{DropRule, Order, SchedulerConfig};
use super::cost::BatchCost;
use super::job::{
    Batch, BatchKey, BatchMember, CostGuess, Dropped, Job, JobId, Refusal, SchedulerCounts,
    ServedKey,
};
use super::lane::{Lane, Waiting};
use super::standing::StandingQueue;
use crate::proto::{ConfigError, Status};
use crate::time::Time;

/// Most keys with waiting jobs; with more, costs of those that nobody needs are forgotten.
pub(crate) const MAX_KEYS: usize = 256;

/// Bounded queue, batcher and admission of an edge, for one worker.
///
/// The shell offers jobs as they come, takes a batch when its worker is free, says how long it
/// took, and answers what [`EdgeScheduler::poll_dropped`] gives.
#[derive(Debug)]
pub struct EdgeScheduler {
    config: SchedulerConfig,
    lanes: BTreeMap<BatchKey, Lane>,
    /// Where each waiting job is.
    places: BTreeMap<JobId, (BatchKey, u64)>,
    costs: BTreeMap<BatchKey, BatchCost>,
    /// First guesses of the keys that are served.
    guesses: BTreeMap<BatchKey, CostGuess>,
    clients: Clients,
    standing: StandingQueue,
    dropped: VecDeque<Dropped>,
    waiting_bytes: usize,
    tickets: u64,
    turns: u64,
    /// When the running batch should be done.
    busy_until: Option<Time>,
    running: usize,
    drain_until: Option<Time>,
    counts: SchedulerCounts,
}

impl EdgeScheduler {
    /// An empty scheduler.
    ///
    /// # Errors
    /// [`ConfigError`] where a field of `config` is out of range.
    pub fn new(config: SchedulerConfig, now: Time) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            lanes: BTreeMap::new(),
            places: BTreeMap::new(),
            costs: BTreeMap::new(),
            guesses: BTreeMap::new(),
            clients: Clients::new(config.client),
            standing: StandingQueue::new(
                config.standing_target_us,
                config.standing_interval_us,
                now,
            ),
            dropped: VecDeque::new(),
            waiting_bytes: 0,
            tickets: 0,
            turns: 0,
            busy_until: None,
            running: 0,
            drain_until: None,
            counts: SchedulerCounts::default(),
            config,
        })
    }

    /// Takes a job to be computed, or says at once why not.
    ///
    /// # Errors
    /// [`Refusal`], with what to answer; the job is not in the queue then.
    pub fn offer(&mut self, now: Time, job: Job) -> Result<(), Refusal> {
        let refusal = self.find_refusal(now, &job);
        if let Some(refusal) = refusal {
            self.counts.refused += 1;
            return Err(refusal);
        }
        self.counts.accepted += 1;
        self.counts.waiting += 1;
        self.waiting_bytes += job.body.len();
        self.tickets += 1;
        self.places.insert(job.id, (job.key, self.tickets));
        let turns = self.turns;
        let lane = self
            .lanes
            .entry(job.key)
            .or_insert_with(|| Lane::new(turns));
        let arrived = now;
        lane.push(self.tickets, Waiting { job, arrived });
        Ok(())
    }

    /// Forms a batch for a free worker from what waits; nothing is held back to wait for more.
    ///
    /// # Panics
    /// If the batch before wasn't reported by [`Self::batch_done`].
    pub fn next_batch(&mut self, now: Time) -> Option<Batch> {
        assert!(self.busy_until.is_none(), "one batch at a time");
        if self.config.drop_rule != DropRule::Never {
            self.drop_expired(now);
        }
        self.shed_old(now);
        while let Some(key) = self.next_key() {
            let members = self.take_members(now, key);
            if members.is_empty() {
                continue;
            }
            let size = members.len();
            self.turns += 1;
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.served = self.turns;
            }
            self.running = size;
            self.counts.running = size as u64;
            self.busy_until = Some(now.after(self.cost_us(&key, size)));
            return Some(Batch {
                key,
                members,
                formed: now,
            });
        }
        None
    }

    /// Takes members out of a batch that got late after it was formed, say by slow decoding.
    ///
    /// Call it before the tail runs; what is left may be empty.
    pub fn drop_late(&mut self, now: Time, batch: &mut Batch) {
        let cost_us = self.cost_us(&batch.key, batch.members.len());
        let (kept, late): (Vec<_>, Vec<_>) = std::mem::take(&mut batch.members)
            .into_iter()
            .partition(|member| now.after(cost_us) <= member.job.deadline);
        batch.members = kept;
        for member in late {
            self.running -= 1;
            self.counts.running -= 1;
            self.counts.expired += 1;
            self.clients.leave(member.job.client);
            let queue_us = member.queue_us + now.since(batch.formed);
            self.push_dropped(member.job.id, Status::Expired, queue_us, 0);
        }
    }

    /// The worker is free again; `failed` members gave no answer.
    pub fn batch_done(&mut self, batch: &Batch, compute_us: u64, failed: usize) {
        let size = batch.members.len();
        let failed = failed.min(size);
        self.busy_until = None;
        self.counts.running -= self.running as u64;
        self.running = 0;
        self.counts.failed += failed as u64;
        self.counts.done += (size - failed) as u64;
        for member in &batch.members {
            self.clients.leave(member.job.client);
        }
        if size > 0 {
            self.learn(batch.key, size, compute_us);
        }
    }

    /// These keys are served from here on. What a batch costs is learned for each; that of keys
    /// which are gone is forgotten once nothing of theirs waits.
    pub fn set_keys(&mut self, keys: impl IntoIterator<Item = ServedKey>) {
        let default = self.default_guess();
        let guess = |served: ServedKey| (served.key, served.cost.unwrap_or(default));
        self.guesses = keys.into_iter().map(guess).collect();
        self.forget_costs();
    }

    /// Forgets a waiting job for which nobody waits any more; `false` if it doesn't wait here.
    pub fn cancel(&mut self, id: JobId) -> bool {
        let Some(&(key, ticket)) = self.places.get(&id) else {
            return false;
        };
        let Some(waiting) = self.take_out(key, |lane| lane.remove(ticket)) else {
            return false;
        };
        self.clients.leave(waiting.job.client);
        self.counts.cancelled += 1;
        true
    }

    /// Forgets all waiting jobs of a connection that ended.
    pub fn cancel_connection(&mut self, connection: u64) {
        let first = JobId { connection, seq: 0 };
        let last = JobId {
            connection,
            seq: u32::MAX,
        };
        let ids: Vec<JobId> = self.places.range(first..=last).map(|(&id, _)| id).collect();
        for id in ids {
            self.cancel(id);
        }
    }

    /// A job that will not be computed, to be answered at once.
    pub fn poll_dropped(&mut self) -> Option<Dropped> {
        self.dropped.pop_front()
    }

    /// When [`Self::handle_timeout`] has to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let deadline = match self.config.drop_rule {
            DropRule::Never => None,
            _ => self
                .lanes
                .values()
                .filter_map(Lane::earliest_deadline)
                .min(),
        };
        let drain = self.drain_until.filter(|_| self.counts.waiting > 0);
        [deadline, drain].into_iter().flatten().min()
    }

    /// Drops what expired, also while the worker is busy.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.config.drop_rule != DropRule::Never {
            self.drop_expired(now);
        }
        if self.drain_until.is_some_and(|until| now >= until) {
            self.drop_all(now);
        }
    }

    /// Takes no more jobs, and drops what still waits after `within_us`.
    pub fn drain(&mut self, now: Time, within_us: u64) {
        self.drain_until.get_or_insert(now.after(within_us));
    }

    /// Whether a drain has nothing left to do.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        self.drain_until.is_some() && self.counts.waiting == 0 && self.running == 0
    }

    /// Whether the queue never got short lately.
    #[must_use]
    pub const fn is_standing(&self) -> bool {
        self.standing.is_standing()
    }

    /// What became of the jobs.
    #[must_use]
    pub const fn counts(&self) -> SchedulerCounts {
        self.counts
    }

    /// Bytes of the frames that wait.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// How long the oldest job has waited.
    #[must_use]
    pub fn oldest_us(&self, now: Time) -> u64 {
        let oldest = self.lanes.values().filter_map(Lane::oldest_arrival).min();
        oldest.map_or(0, |arrived| now.since(arrived))
    }

    /// Expected time of a batch of `size` under `key`.
    #[must_use]
    pub fn cost_us(&self, key: &BatchKey, size: usize) -> u64 {
        match self.costs.get(key) {
            Some(cost) => cost.predict_us(size),
            None => self.first_cost(key).predict_us(size),
        }
    }

    fn learn(&mut self, key: BatchKey, size: usize, compute_us: u64) {
        if self.costs.len() >= MAX_KEYS && !self.costs.contains_key(&key) {
            self.forget_costs();
        }
        let first = self.first_cost(&key);
        self.costs
            .entry(key)
            .or_insert(first)
            .learn(size, compute_us);
    }

    /// Keys that are neither served nor waited for: else the newest ones could never be learned.
    fn forget_costs(&mut self) {
        let (guesses, lanes) = (&self.guesses, &self.lanes);
        self.costs
            .retain(|key, _| guesses.contains_key(key) || lanes.contains_key(key));
    }

    fn first_cost(&self, key: &BatchKey) -> BatchCost {
        let guess = self.guesses.get(key).copied();
        let CostGuess { fixed_us, each_us } = guess.unwrap_or(self.default_guess());
        BatchCost::new(fixed_us, each_us)
    }

    const fn default_guess(&self) -> CostGuess {
        CostGuess {
            fixed_us: self.config.fixed_us,
            each_us: self.config.each_us,
        }
    }

    fn find_refusal(&mut self, now: Time, job: &Job) -> Option<Refusal> {
        let refuse = |status, retry_after_us: u64, detail| {
            let ms = retry_after_us.div_ceil(1000);
            Some(Refusal {
                status,
                retry_after_ms: u32::try_from(ms).unwrap_or(u32::MAX),
                detail,
            })
        };
        if self.drain_until.is_some() {
            return refuse(Status::Draining, 0, "the edge drains");
        }
        let ahead_us = self.work_ahead_us(now, &job.key);
        let full = self.counts.waiting >= self.config.waiting_max as u64;
        if full || (self.lanes.len() >= MAX_KEYS && !self.lanes.contains_key(&job.key)) {
            return refuse(Status::Overloaded, ahead_us, "as many jobs wait as may");
        }
        if job.body.len() > self.config.waiting_bytes_max - self.waiting_bytes {
            return refuse(Status::Overloaded, ahead_us, "as many bytes wait as may");
        }
        let own_us = self.cost_us(&job.key, 1);
        let budget_us = job.deadline.since(now);
        if self.config.admission && ahead_us + own_us > budget_us {
            // The queue has to shrink to what the budget leaves, at one second a second.
            let excess_us = ahead_us.saturating_sub(budget_us.saturating_sub(own_us));
            return refuse(
                Status::Overloaded,
                excess_us,
                "the work ahead takes longer than the budget",
            );
        }
        match self
            .clients
            .enter(now, job.client, job.body.len() as u64, own_us)
        {
            Ok(()) => None,
            Err(ClientRefusal::InFlight) => refuse(
                Status::CreditExceeded,
                own_us,
                "as many jobs of this client wait as may",
            ),
            Err(ClientRefusal::Rate { retry_after_us, of }) => {
                let detail = match of {
                    Rate::Frames => "this client's rate of frames is spent",
                    Rate::Bytes => "this client's rate of bytes is spent",
                    Rate::Compute => "this client's share of computing time is spent",
                };
                refuse(Status::Overloaded, retry_after_us, detail)
            }
            Err(ClientRefusal::TooManyClients) => refuse(
                Status::Overloaded,
                1_000_000,
                "as many clients are served as may",
            ),
        }
    }

    /// Time until a job that comes now could start, if nothing ahead is dropped.
    fn work_ahead_us(&self, now: Time, key: &BatchKey) -> u64 {
        let running_us = self.busy_until.map_or(0, |until| until.since(now));
        let batch_max = self.config.batch_max;
        let mut ahead_us = running_us;
        for (lane_key, lane) in &self.lanes {
            let mut count = lane.len();
            if lane_key == key {
                // It joins the last batch of its own lane.
                count -= count % batch_max;
            }
            let full = (count / batch_max) as u64 * self.cost_us(lane_key, batch_max);
            let rest = count % batch_max;
            ahead_us += full;
            if rest > 0 {
                ahead_us += self.cost_us(lane_key, rest);
            }
        }
        ahead_us
    }

    /// The lane that was served longest ago, so that a rare key can't starve.
    fn next_key(&self) -> Option<BatchKey> {
        let lanes = self.lanes.iter();
        lanes
            .min_by_key(|(_, lane)| (lane.served, lane.earliest_deadline()))
            .map(|(&key, _)| key)
    }

    fn take_members(&mut self, now: Time, key: BatchKey) -> Vec<BatchMember> {
        let order = self.current_order();
        let waiting = self.lanes.get(&key).map_or(0, Lane::len);
        let final_size = waiting.min(self.config.batch_max);
        let final_cost_us = self.cost_us(&key, final_size);
        let mut members: Vec<BatchMember> = Vec::with_capacity(final_size);
        while members.len() < self.config.batch_max {
            let Some(taken) = self.take_out(key, |lane| lane.take_first(order)) else {
                break;
            };
            let queue_us = now.since(taken.arrived);
            let cost_us = match self.config.drop_rule {
                DropRule::Never => None,
                DropRule::AtCurrentSize => Some(self.cost_us(&key, members.len() + 1)),
                DropRule::AtFinalSize => Some(final_cost_us),
            };
            self.note_wait(now, queue_us);
            if cost_us.is_some_and(|cost_us| now.after(cost_us) > taken.job.deadline) {
                self.counts.expired += 1;
                self.clients.leave(taken.job.client);
                let hint = self.retry_hint_ms(now, &key);
                self.push_dropped(taken.job.id, Status::Expired, queue_us, hint);
                continue;
            }
            let job = taken.job;
            members.push(BatchMember { job, queue_us });
        }
        members
    }

    fn note_wait(&mut self, now: Time, queue_us: u64) {
        if self.counts.waiting == 0 {
            self.standing.emptied(now);
        } else {
            self.standing.left(now, queue_us);
        }
    }

    fn current_order(&self) -> Order {
        if self.is_controlled() {
            return Order::NewestFirst;
        }
        self.config.order
    }

    fn is_controlled(&self) -> bool {
        self.config.standing_target_us > 0 && self.standing.is_standing()
    }

    /// While the queue stands, nothing older than an interval is worth its place in it.
    fn shed_old(&mut self, now: Time) {
        if !self.is_controlled() {
            return;
        }
        let limit = now.before(self.config.standing_interval_us);
        let keys: Vec<BatchKey> = self.lanes.keys().copied().collect();
        for key in keys {
            while let Some(old) = self.take_out(key, |lane| lane.take_older_than(limit)) {
                self.counts.shed += 1;
                self.clients.leave(old.job.client);
                let hint = self.retry_hint_ms(now, &key);
                let queue_us = now.since(old.arrived);
                self.push_dropped(old.job.id, Status::Overloaded, queue_us, hint);
            }
        }
    }

    fn drop_expired(&mut self, now: Time) {
        let keys: Vec<BatchKey> = self.lanes.keys().copied().collect();
        for key in keys {
            while let Some(expired) = self.take_out(key, |lane| lane.take_expired(now)) {
                self.counts.expired += 1;
                self.clients.leave(expired.job.client);
                let queue_us = now.since(expired.arrived);
                let hint = self.retry_hint_ms(now, &key);
                self.push_dropped(expired.job.id, Status::Expired, queue_us, hint);
            }
        }
    }

    fn drop_all(&mut self, now: Time) {
        while let Some(key) = self.next_key() {
            while let Some(waiting) = self.take_out(key, |lane| lane.take_first(Order::Fifo)) {
                self.counts.drained += 1;
                self.clients.leave(waiting.job.client);
                let queue_us = now.since(waiting.arrived);
                self.push_dropped(waiting.job.id, Status::Draining, queue_us, 0);
            }
        }
    }

    /// Takes a job out of a lane and keeps the counts and the list of lanes right.
    fn take_out(
        &mut self,
        key: BatchKey,
        take: impl FnOnce(&mut Lane) -> Option<Waiting>,
    ) -> Option<Waiting> {
        let lane = self.lanes.get_mut(&key)?;
        let taken = take(lane);
        if let Some(waiting) = &taken {
            self.counts.waiting -= 1;
            self.waiting_bytes -= waiting.job.body.len();
            self.places.remove(&waiting.job.id);
        }
        if lane.len() == 0 {
            self.lanes.remove(&key);
        }
        taken
    }

    fn retry_hint_ms(&self, now: Time, key: &BatchKey) -> u32 {
        let ms = self.work_ahead_us(now, key).div_ceil(1000);
        u32::try_from(ms).unwrap_or(u32::MAX)
    }

    fn push_dropped(&mut self, id: JobId, status: Status, queue_us: u64, retry_after_ms: u32) {
        self.dropped.push_back(Dropped {
            id,
            status,
            queue_us,
            retry_after_ms,
        });
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
