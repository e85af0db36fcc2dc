//! A direction of a link in real time: whoever has packets puts them in, and a thread hands them out
//! when they are due.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use split_runtime::sim::EntityRandom;

use crate::lane::{Counts, Lane, Shape};
use crate::program::out;

/// Longest sleep while a sender waits for room.
const ROOM_WAIT: Duration = Duration::from_millis(5);

/// A lane that threads share. Clones are the same lane.
#[derive(Clone)]
pub(crate) struct Carrier {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    start: Instant,
}

struct State {
    lane: Lane,
    is_open: bool,
}

impl Carrier {
    /// `number` tells the directions' random draws apart.
    pub(crate) fn new(shape: Shape, seed: u64, number: u64) -> Self {
        let state = State {
            lane: Lane::new(shape, EntityRandom::new(seed, number)),
            is_open: true,
        };
        let shared = Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            start: out::now(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    pub(crate) fn reshape(&self, shape: Shape) {
        self.state().lane.reshape(shape);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().lane.counts()
    }

    /// Takes a packet; one more than the queue holds is gone.
    pub(crate) fn push(&self, packet: Vec<u8>) {
        self.state().lane.push(self.now_ns(), packet);
        self.shared.changed.notify_all();
    }

    /// Takes bytes as soon as the queue has room: what comes from a socket can't be dropped. Says whether
    /// they were taken, which they aren't once the lane is closed.
    pub(crate) fn push_when_room(&self, bytes: Vec<u8>) -> bool {
        let mut state = self.state();
        while state.is_open && state.lane.is_full(self.now_ns()) {
            state = self.wait(state, ROOM_WAIT);
        }
        if !state.is_open {
            return false;
        }
        state.lane.push(self.now_ns(), bytes);
        drop(state);
        self.shared.changed.notify_all();
        true
    }

    /// Hands packets out as they are due, until the lane is closed or `deliver` wants no more.
    pub(crate) fn deliver(&self, mut deliver: impl FnMut(&[u8]) -> bool) {
        while let Some(packet) = self.next() {
            if !deliver(&packet) {
                self.close();
            }
        }
    }

    /// No packet is handed out from now on.
    pub(crate) fn close(&self) {
        self.state().is_open = false;
        self.shared.changed.notify_all();
    }

    /// No packet is taken from now on; those under way still arrive.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        while state.is_open && state.lane.due_ns().is_some() {
            state = self.wait(state, ROOM_WAIT);
        }
        drop(state);
        self.close();
    }

    /// Waits for the next packet; nothing once the lane is closed.
    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        loop {
            if !state.is_open {
                return None;
            }
            let now_ns = self.now_ns();
            if let Some(packet) = state.lane.pop(now_ns) {
                return Some(packet);
            }
            // Without a packet under way only a new one can change something.
            let due_ns = state.lane.due_ns();
            let wait = due_ns.map_or(Duration::from_secs(60), |due_ns| {
                Duration::from_nanos(due_ns.saturating_sub(now_ns))
            });
            state = self.wait(state, wait);
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, within: Duration) -> MutexGuard<'a, State> {
        let waited = self.shared.changed.wait_timeout(state, within);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        // A lane is whole after each of its calls, whatever the caller did then.
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.shared.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
