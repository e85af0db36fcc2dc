//! What each client may ask for, and has.

use std::collections::BTreeMap;

use super::bucket::TokenBucket;
use crate::proto::{ConfigError, check_range};
use crate::time::Time;

/// Limits of one client. A client is whatever the shell takes for one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Most jobs of the client that wait or run.
    pub in_flight_max: u32,
    /// Frames a second, on average.
    pub frames_per_s: u64,
    /// Bytes a second, on average.
    pub bytes_per_s: u64,
    /// Compute time a second, on average: a frame of 20 bytes may cost a whole tail.
    pub compute_us_per_s: u64,
    /// How many seconds of each rate may come at once.
    pub burst_s: u64,
}

impl ClientLimits {
    /// No limit: for one trusted client.
    pub const UNLIMITED: Self = Self {
        in_flight_max: u32::MAX,
        frames_per_s: u64::MAX / 4_000_000,
        bytes_per_s: u64::MAX / 4_000_000,
        compute_us_per_s: u64::MAX / 4_000_000,
        burst_s: 1,
    };

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let most = u64::MAX / 4_000_000;
        check_range(
            "in_flight_max",
            u64::from(self.in_flight_max),
            1,
            u64::from(u32::MAX),
        )?;
        check_range("frames_per_s", self.frames_per_s, 1, most)?;
        check_range("bytes_per_s", self.bytes_per_s, 1, most)?;
        check_range("compute_us_per_s", self.compute_us_per_s, 1, most)?;
        check_range("burst_s", self.burst_s, 1, 60)
    }
}

/// Most clients that are remembered at a time.
pub(crate) const MAX_CLIENTS: usize = 65_536;

#[derive(Debug)]
struct Client {
    in_flight: u32,
    frames: TokenBucket,
    bytes: TokenBucket,
    compute: TokenBucket,
}

/// Why a client may not have another job now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientRefusal {
    InFlight,
    Rate { retry_after_us: u64, of: Rate },
    TooManyClients,
}

/// Which of a client's rates is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    Frames,
    Bytes,
    Compute,
}

#[derive(Debug)]
pub(crate) struct Clients {
    limits: ClientLimits,
    clients: BTreeMap<u64, Client>,
    /// When idle ones may be looked for again: a flood of strangers must not make it a habit.
    prune_at: Time,
}

const PRUNE_EVERY_US: u64 = 1_000_000;

impl Clients {
    pub(crate) const fn new(limits: ClientLimits) -> Self {
        Self {
            limits,
            clients: BTreeMap::new(),
            prune_at: Time::ZERO,
        }
    }

    pub(crate) fn enter(
        &mut self,
        now: Time,
        id: u64,
        bytes: u64,
        compute_us: u64,
    ) -> Result<(), ClientRefusal> {
        if !self.clients.contains_key(&id) && !self.make_room(now) {
            return Err(ClientRefusal::TooManyClients);
        }
        let limits = self.limits;
        let client = self
            .clients
            .entry(id)
            .or_insert_with(|| Client::new(&limits, now));
        if client.in_flight >= limits.in_flight_max {
            return Err(ClientRefusal::InFlight);
        }
        let spent = |of, retry_after_us| ClientRefusal::Rate { retry_after_us, of };
        let frames = client.frames.take(now, 1);
        frames.map_err(|wait| spent(Rate::Frames, wait))?;
        if let Err(wait) = client.bytes.take(now, bytes) {
            client.frames.put_back(1);
            return Err(spent(Rate::Bytes, wait));
        }
        if let Err(wait) = client.compute.take(now, compute_us) {
            client.frames.put_back(1);
            client.bytes.put_back(bytes);
            return Err(spent(Rate::Compute, wait));
        }
        client.in_flight += 1;
        Ok(())
    }

    pub(crate) fn leave(&mut self, id: u64) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.in_flight = client.in_flight.saturating_sub(1);
        }
    }

    /// Forgets clients that have nothing and would get everything: they lose nothing by it.
    fn make_room(&mut self, now: Time) -> bool {
        if self.clients.len() < MAX_CLIENTS {
            return true;
        }
        if now < self.prune_at {
            return false;
        }
        self.prune_at = now.after(PRUNE_EVERY_US);
        self.clients.retain(|_, client| !client.is_idle(now));
        self.clients.len() < MAX_CLIENTS
    }
}

impl Client {
    fn new(limits: &ClientLimits, now: Time) -> Self {
        let bucket = |per_s: u64| TokenBucket::new(per_s, per_s * limits.burst_s, now);
        Self {
            in_flight: 0,
            frames: bucket(limits.frames_per_s),
            bytes: bucket(limits.bytes_per_s),
            compute: bucket(limits.compute_us_per_s),
        }
    }

    fn is_idle(&mut self, now: Time) -> bool {
        self.in_flight == 0
            && self.frames.is_full(now)
            && self.bytes.is_full(now)
            && self.compute.is_full(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ClientLimits = ClientLimits {
        in_flight_max: 2,
        frames_per_s: 10,
        bytes_per_s: 1_000,
        compute_us_per_s: 100_000,
        burst_s: 1,
    };

    #[test]
    fn one_client_is_bounded_and_another_is_not_touched_by_it() {
        let mut clients = Clients::new(LIMITS);
        let now = Time::ZERO;
        assert_eq!(clients.enter(now, 1, 100, 100), Ok(()));
        assert_eq!(clients.enter(now, 1, 100, 100), Ok(()));
        assert_eq!(
            clients.enter(now, 1, 100, 100),
            Err(ClientRefusal::InFlight)
        );
        clients.leave(1);
        let refused = clients.enter(now, 1, 900, 100);
        assert_eq!(
            refused,
            Err(ClientRefusal::Rate {
                retry_after_us: 100_000,
                of: Rate::Bytes,
            })
        );
        let refused = clients.enter(now, 1, 0, 99_900);
        assert_eq!(
            refused,
            Err(ClientRefusal::Rate {
                retry_after_us: 1_000,
                of: Rate::Compute,
            })
        );
        assert_eq!(clients.enter(now, 2, 1_000, 100_000), Ok(()));
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut clients = Clients::new(LIMITS);
        for id in 0..MAX_CLIENTS as u64 {
            assert_eq!(clients.enter(Time::ZERO, id, 1, 1), Ok(()));
        }
        let refused = clients.enter(Time::ZERO, u64::MAX, 1, 1);
        assert_eq!(refused, Err(ClientRefusal::TooManyClients));
        (0..100).for_each(|id| clients.leave(id));
        let later = Time::from_us(10_000_000);
        assert_eq!(clients.enter(later, u64::MAX, 1, 1), Ok(()));
        assert_eq!(clients.clients.len(), MAX_CLIENTS - 99);
    }
}
