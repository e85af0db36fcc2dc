//! One direction of a link as arithmetic: rate, delay, loss and a bounded queue. It is told the time and
//! gives back packets that are due, so that its tests need no clock.

use std::collections::VecDeque;

use split_runtime::sim::EntityRandom;

/// Packets that may wait for their turn; one more is dropped.
pub(crate) const QUEUE_PACKETS: usize = 256;

/// What a direction does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) kbit_s: u64,
    /// From the end of sending to arrival.
    pub(crate) delay_ns: u64,
    /// Share of packets that never arrive.
    pub(crate) loss: f64,
    /// Packets that may wait, the one being sent included.
    pub(crate) queue: usize,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Carried,
    /// Sent, and lost on the way.
    Lost,
    /// Never sent: the queue was full.
    Dropped,
}

/// What a direction carried so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Bytes that were sent, those lost on the way included.
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    pub(crate) lost: u64,
    pub(crate) dropped: u64,
}

/// Packets go out one after the other at the rate, and arrive in that order.
#[derive(Debug)]
pub(crate) struct Lane {
    shape: Shape,
    random: EntityRandom,
    /// When the packets ahead have been sent.
    free_ns: u64,
    /// When each packet that waits will have been sent.
    waiting: VecDeque<u64>,
    /// When each packet arrives; grows no further than rate times delay.
    coming: VecDeque<(u64, Vec<u8>)>,
    counts: Counts,
}

impl Lane {
    pub(crate) fn new(shape: Shape, random: EntityRandom) -> Self {
        Self {
            shape,
            random,
            free_ns: 0,
            waiting: VecDeque::new(),
            coming: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Another rate, delay and loss for packets from now on.
    pub(crate) fn reshape(&mut self, shape: Shape) {
        self.shape = shape;
    }

    /// Takes a packet that is to be sent at `now_ns`.
    pub(crate) fn push(&mut self, now_ns: u64, packet: Vec<u8>) -> Fate {
        if self.is_full(now_ns) {
            self.counts.dropped += 1;
            return Fate::Dropped;
        }
        let sent_ns = self.free_ns.max(now_ns) + self.sending_ns(packet.len());
        self.free_ns = sent_ns;
        self.waiting.push_back(sent_ns);
        self.counts.packets += 1;
        self.counts.bytes += packet.len() as u64;
        // A lost packet took its time on the link all the same.
        if self.random.unit() < self.shape.loss {
            self.counts.lost += 1;
            return Fate::Lost;
        }
        // After a change of shape nothing overtakes what is on the way.
        let last_ns = self.coming.back().map_or(0, |(due_ns, _)| *due_ns);
        let due_ns = (sent_ns + self.shape.delay_ns).max(last_ns);
        self.coming.push_back((due_ns, packet));
        Fate::Carried
    }

    /// Whether the next packet would be dropped.
    pub(crate) fn is_full(&mut self, now_ns: u64) -> bool {
        while self.waiting.front().is_some_and(|sent| *sent <= now_ns) {
            self.waiting.pop_front();
        }
        self.waiting.len() >= self.shape.queue
    }

    /// When the next packet arrives.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        self.coming.front().map(|(due_ns, _)| *due_ns)
    }

    /// A packet that has arrived.
    pub(crate) fn pop(&mut self, now_ns: u64) -> Option<Vec<u8>> {
        let arrived = self.due_ns().is_some_and(|due_ns| due_ns <= now_ns);
        let packet = arrived.then(|| self.coming.pop_front()).flatten();
        packet.map(|(_, packet)| packet)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    fn sending_ns(&self, bytes: usize) -> u64 {
        // A kilobit a second is a bit a millisecond.
        (bytes as u64 * 8 * 1_000_000).div_ceil(self.shape.kbit_s.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn lane(kbit_s: u64, delay_ms: u64, loss: f64, queue: usize) -> Lane {
        let shape = Shape {
            kbit_s,
            delay_ns: delay_ms * MS,
            loss,
            queue,
        };
        Lane::new(shape, EntityRandom::new(7, 0))
    }

    /// Everything that arrives, with its time.
    fn arrivals(lane: &mut Lane) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        while let Some(due_ns) = lane.due_ns() {
            assert_eq!(lane.pop(due_ns - 1), None, "not before its time");
            found.push((due_ns, lane.pop(due_ns).unwrap()));
        }
        found
    }

    #[test]
    fn packets_take_their_bits_over_the_rate_and_then_the_delay() {
        let mut lane = lane(100, 10, 0.0, 9);
        // 125 bytes are 1000 bits: 10 ms at 100 kbit/s.
        lane.push(0, vec![1; 125]);
        lane.push(3 * MS, vec![2; 250]);
        // The link is idle by now.
        lane.push(100 * MS, vec![3; 125]);
        let at: Vec<u64> = arrivals(&mut lane).iter().map(|(due, _)| *due).collect();
        assert_eq!(at, [20 * MS, 40 * MS, 120 * MS]);
    }

    #[test]
    fn a_second_of_packets_carries_what_the_rate_says() {
        for kbit_s in [100, 2_000, 100_000] {
            let mut lane = lane(kbit_s, 50, 0.0, usize::MAX);
            while lane.free_ns < 1_000 * MS {
                lane.push(0, vec![0; 1_000]);
            }
            let bits = lane.counts().bytes * 8;
            let expected = kbit_s * 1_000;
            assert!(bits.abs_diff(expected) <= 8_000, "{bits} of {expected}");
        }
    }

    #[test]
    fn packets_stay_in_order_also_when_the_delay_shrinks() {
        let mut lane = lane(1_000, 50, 0.0, 99);
        for index in 0..10 {
            lane.push(u64::from(index) * MS, vec![index; 40]);
        }
        let shape = Shape {
            delay_ns: 0,
            ..lane.shape
        };
        lane.reshape(shape);
        for index in 10..20 {
            lane.push(u64::from(index) * MS, vec![index; 40]);
        }
        let order: Vec<u8> = arrivals(&mut lane).iter().map(|(_, one)| one[0]).collect();
        assert_eq!(order, (0..20).collect::<Vec<u8>>());
    }

    #[test]
    fn the_share_of_lost_packets_is_that_of_the_link_and_repeats_with_the_seed() {
        for loss in [0.0, 0.01, 0.05] {
            let fates = |seed: u64| -> Vec<Fate> {
                let mut lane = lane(100_000, 0, loss, usize::MAX);
                lane.random = EntityRandom::new(seed, 1);
                (0..20_000).map(|_| lane.push(0, vec![0; 40])).collect()
            };
            let lost = fates(1).iter().filter(|fate| **fate == Fate::Lost).count();
            let share = lost as f64 / 20_000.0;
            assert!((share - loss).abs() < 0.005, "{share} of {loss}");
            assert_eq!(fates(1), fates(1));
            assert!(loss == 0.0 || fates(1) != fates(2));
        }
    }

    #[test]
    fn a_lost_packet_takes_its_time_on_the_link() {
        let mut lane = lane(100, 0, 1.0, 9);
        assert_eq!(lane.push(0, vec![0; 125]), Fate::Lost);
        lane.shape.loss = 0.0;
        lane.push(0, vec![1; 125]);
        assert_eq!(arrivals(&mut lane), [(20 * MS, vec![1; 125])]);
    }

    #[test]
    fn a_full_queue_drops_the_newest_until_there_is_room() {
        let mut lane = lane(100, 500, 0.0, 2);
        let fates: Vec<Fate> = (0..4).map(|i| lane.push(0, vec![i; 125])).collect();
        let [carried, dropped] = [Fate::Carried, Fate::Dropped];
        assert_eq!(fates, [carried, carried, dropped, dropped]);
        // The first has been sent after 10 ms, however long it flies.
        assert!(lane.is_full(10 * MS - 1));
        assert_eq!(lane.push(10 * MS, vec![9; 125]), carried);
        let order: Vec<u8> = arrivals(&mut lane).iter().map(|(_, one)| one[0]).collect();
        assert_eq!(order, [0, 1, 9]);
        let counts = Counts {
            bytes: 375,
            packets: 3,
            lost: 0,
            dropped: 2,
        };
        assert_eq!(lane.counts(), counts);
    }
}
