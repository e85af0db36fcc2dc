use std::sync::Arc;

use super::random::EntityRandom;
use super::trace::Trace;
use crate::proto::Transport;

/// How one direction of a link behaves.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Rate over time.
    pub trace: Arc<Trace>,
    /// The rate is the trace's times this, in thousandths.
    pub scale_permille: u32,
    /// Where in the trace the link starts.
    pub offset_ns: u64,
    /// Time of flight.
    pub propagation_ns: u64,
    /// Most that is added to it, drawn evenly for each transmission.
    pub jitter_ns: u64,
    /// Of a thousand packets, how many are lost.
    pub loss_permille: u32,
    /// Datagrams only: of a thousand, how many come twice.
    pub double_permille: u32,
    /// Streams only: how long it takes to notice and repair a loss.
    pub repair_ns: u64,
    /// Datagrams only: most bytes that wait for the link; what exceeds them is lost.
    pub queue_bytes_max: u64,
    /// What lies on top.
    pub transport: Transport,
}

impl LinkConfig {
    /// A stream at a constant rate without jitter or loss.
    #[must_use]
    pub fn constant(bit_per_s: u64, propagation_ns: u64) -> Self {
        Self {
            trace: Arc::new(Trace::constant(bit_per_s)),
            scale_permille: 1_000,
            offset_ns: 0,
            propagation_ns,
            jitter_ns: 0,
            loss_permille: 0,
            double_permille: 0,
            repair_ns: 200_000_000,
            queue_bytes_max: 256 * 1024,
            transport: Transport::Stream,
        }
    }
}

/// Bytes of a packet that carry messages: 1,500 less IPv4, TCP with timestamps, TLS and framing.
pub const PACKET_BYTES: u64 = 1_400;

/// Bytes that each packet takes besides.
pub const PACKET_HEADER_BYTES: u64 = 52;

/// One direction of a link: trace, time of flight, jitter, loss, bounded queue.
#[derive(Clone, Debug)]
pub struct SimLink {
    config: LinkConfig,
    random: EntityRandom,
    /// When the link has sent what it has.
    free_ns: u64,
    /// On a stream nothing arrives before this.
    last_arrival_ns: u64,
    blocked_until_ns: u64,
}

impl SimLink {
    /// An idle link.
    #[must_use]
    pub const fn new(config: LinkConfig, random: EntityRandom) -> Self {
        Self {
            config,
            random,
            free_ns: 0,
            last_arrival_ns: 0,
            blocked_until_ns: 0,
        }
    }

    /// Sends `bytes` as one transmission and says when it arrives: once on a stream; never, once
    /// or twice as a datagram.
    pub fn send(&mut self, now_ns: u64, bytes: u64) -> Vec<u64> {
        let datagram = self.config.transport == Transport::Datagram;
        if datagram && (now_ns < self.blocked_until_ns || self.is_full(now_ns)) {
            return Vec::new();
        }
        let packets = bytes.div_ceil(PACKET_BYTES).max(1);
        let bits = (bytes + packets * PACKET_HEADER_BYTES) * 8;
        let start = now_ns.max(self.free_ns).max(self.blocked_until_ns);
        let offset = self.config.offset_ns;
        let scale = self.config.scale_permille;
        self.free_ns = self
            .config
            .trace
            .transmit_end_ns(start + offset, bits, scale)
            - offset;
        // The same number of draws whatever happens: a lost packet must not shift the rest.
        let jitter = self.random.below(self.config.jitter_ns + 1);
        let jitter_twin = self.random.below(self.config.jitter_ns + 1);
        let lost = (0..packets).fold(0_u64, |lost, _| {
            lost + u64::from(self.random.happens(self.config.loss_permille))
        });
        let twice = self.random.happens(self.config.double_permille);
        let arrival = self.free_ns + self.config.propagation_ns + jitter;
        if !datagram {
            let repair = if lost > 0 { self.config.repair_ns } else { 0 };
            self.last_arrival_ns = self.last_arrival_ns.max(arrival + repair);
            return vec![self.last_arrival_ns];
        }
        match (lost > 0, twice) {
            (true, _) => Vec::new(),
            (false, false) => vec![arrival],
            (false, true) => vec![
                arrival,
                self.free_ns + self.config.propagation_ns + jitter_twin,
            ],
        }
    }

    /// When a transmission of `bytes` at `now_ns` would arrive; for oracles.
    #[must_use]
    pub fn foresee_ns(&self, now_ns: u64, bytes: u64) -> Option<u64> {
        self.clone().send(now_ns, bytes).first().copied()
    }

    /// Nothing passes until `until_ns`: datagrams are lost, streams wait.
    pub fn block(&mut self, until_ns: u64) {
        self.blocked_until_ns = self.blocked_until_ns.max(until_ns);
    }

    /// The other ends of a new stream know nothing of the old one.
    pub const fn restart(&mut self) {
        self.last_arrival_ns = 0;
    }

    /// Changes how the link behaves from now on.
    pub const fn config_mut(&mut self) -> &mut LinkConfig {
        &mut self.config
    }

    fn is_full(&self, now_ns: u64) -> bool {
        // What is left of the queue, at the rate of the trace: exact enough for a bound.
        let waiting_ns = self.free_ns.saturating_sub(now_ns);
        if waiting_ns == 0 {
            return false;
        }
        let (offset, scale) = (self.config.offset_ns, self.config.scale_permille);
        let bits = self.config.queue_bytes_max * 8;
        let trace = &self.config.trace;
        trace.transmit_end_ns(now_ns + offset, bits, scale) < self.free_ns + offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn link(change: impl FnOnce(&mut LinkConfig)) -> SimLink {
        let mut config = LinkConfig::constant(1_000_000, 10 * MS);
        change(&mut config);
        SimLink::new(config, EntityRandom::new(1, 1))
    }

    #[test]
    fn transmissions_queue_behind_each_other() {
        let mut link = link(|_| ());
        // 198 bytes and one header are 2,000 bits.
        assert_eq!(link.foresee_ns(0, 198), Some(12 * MS));
        assert_eq!(link.send(0, 198), [12 * MS]);
        assert_eq!(link.send(0, 198), [14 * MS]);
        assert_eq!(link.send(20 * MS, 198), [32 * MS]);
    }

    #[test]
    fn a_byte_over_a_packet_costs_a_packet() {
        let one = link(|_| ()).send(0, PACKET_BYTES)[0];
        let two = link(|_| ()).send(0, PACKET_BYTES + 1)[0];
        assert_eq!(two - one, (PACKET_HEADER_BYTES + 1) * 8 * 1_000);
    }

    #[test]
    fn streams_repair_losses_in_order_and_datagrams_lose_them() {
        let mut stream = link(|config| config.loss_permille = 300);
        let arrivals: Vec<u64> = (0..50).flat_map(|_| stream.send(0, 100)).collect();
        assert_eq!(arrivals.len(), 50);
        assert!(arrivals.is_sorted());
        let mut datagrams = link(|config| {
            config.loss_permille = 300;
            config.double_permille = 200;
            config.transport = Transport::Datagram;
        });
        let counts: Vec<usize> = (0..500).map(|_| datagrams.send(0, 10).len()).collect();
        assert!((0..3).all(|copies| counts.contains(&copies)));
    }

    #[test]
    fn datagrams_beyond_the_queue_are_lost() {
        let mut link = link(|config| {
            config.transport = Transport::Datagram;
            config.queue_bytes_max = 2_000;
        });
        let taken = (0..100).filter(|_| !link.send(0, 950).is_empty()).count();
        assert!((2..=4).contains(&taken), "{taken}");
        assert_eq!(link.send(100 * MS, 950).len(), 1);
    }

    #[test]
    fn a_blocked_stream_waits_and_a_blocked_datagram_is_lost() {
        let mut stream = link(|_| ());
        stream.block(50 * MS);
        assert_eq!(stream.send(0, 198), [62 * MS]);
        let mut datagram = link(|config| config.transport = Transport::Datagram);
        datagram.block(50 * MS);
        assert!(datagram.send(0, 198).is_empty());
        assert_eq!(datagram.send(50 * MS, 198).len(), 1);
    }
}
