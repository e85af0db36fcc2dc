use super::random::EntityRandom;
use super::world::WorldConfig;
use crate::proto::Transport;
use crate::sim::LinkConfig;

/// Something that goes wrong. Devices and edges are counted modulo how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes between two machines for a while.
    Partition {
        /// The device.
        device: usize,
        /// The edge.
        edge: usize,
        /// How long.
        for_ns: u64,
    },
    /// The transport between two machines ends and what is under way is lost.
    Reset {
        /// The device.
        device: usize,
        /// The edge.
        edge: usize,
    },
    /// An edge computes slower for a while.
    Slow {
        /// The edge.
        edge: usize,
        /// How many times slower.
        times: u64,
        /// How long.
        for_ns: u64,
    },
    /// An edge forgets everything and comes back later.
    Crash {
        /// The edge.
        edge: usize,
        /// How long it is away.
        for_ns: u64,
    },
    /// An edge is told to end in good order and comes back afterwards.
    Drain {
        /// The edge.
        edge: usize,
        /// How long it may take.
        within_us: u64,
    },
    /// A device's clock is set.
    DeviceClock {
        /// The device.
        device: usize,
        /// By how much; negative is back.
        forward_us: i64,
    },
    /// An edge's clock is set.
    EdgeClock {
        /// The edge.
        edge: usize,
        /// By how much; negative is back.
        forward_us: i64,
    },
}

/// What goes wrong and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// Times in nanoseconds from the start, and faults.
    pub list: Vec<(u64, Fault)>,
}

const MS: u64 = 1_000_000;

impl FaultPlan {
    /// Two to ten faults of all kinds within `active_ns`.
    #[must_use]
    pub fn from_seed(seed: u64, active_ns: u64) -> Self {
        let mut random = EntityRandom::new(seed, u64::MAX);
        let count = 2 + random.below(9);
        let list = (0..count)
            .map(|_| (random.below(active_ns), draw(&mut random)))
            .collect();
        Self { list }
    }
}

fn draw(random: &mut EntityRandom) -> Fault {
    let index = |random: &mut EntityRandom| usize::try_from(random.below(8)).unwrap_or(0);
    let (device, edge) = (index(random), index(random));
    let for_ns = MS + random.below(1_500 * MS);
    let forward_us = i64::try_from(random.below(4_000_000)).unwrap_or(0) - 1_000_000;
    match random.below(8) {
        0 | 1 => Fault::Partition {
            device,
            edge,
            for_ns,
        },
        2 => Fault::Reset { device, edge },
        3 => Fault::Slow {
            edge,
            times: 2 + random.below(50),
            for_ns,
        },
        4 => Fault::Crash { edge, for_ns },
        5 => Fault::Drain {
            edge,
            within_us: random.below(300_000),
        },
        6 => Fault::DeviceClock { device, forward_us },
        _ => Fault::EdgeClock { edge, forward_us },
    }
}

impl WorldConfig {
    /// A small world in which everything is drawn from the seed: how many machines, which
    /// transport, how bad the links, whether devices can answer themselves, what goes wrong.
    #[must_use]
    pub fn with_faults(seed: u64) -> Self {
        let mut random = EntityRandom::new(seed, u64::MAX - 1);
        let mut config = Self::new(seed);
        config.devices = 1 + usize::try_from(random.below(4)).unwrap_or(0);
        config.edges = 1 + usize::try_from(random.below(3)).unwrap_or(0);
        config.active_ns = 2_000 * MS;
        config.period_ns = (10 + random.below(60)) * MS;
        config.budget_us = 30_000 + random.below(200_000);
        config.frame_bytes = 20 + usize::try_from(random.below(3_000)).unwrap_or(0);
        config.link = LinkConfig {
            jitter_ns: random.below(30 * MS),
            loss_permille: u32::try_from(random.below(80)).unwrap_or(0),
            double_permille: u32::try_from(random.below(80)).unwrap_or(0),
            ..LinkConfig::constant(200_000 + random.below(20_000_000), random.below(30 * MS))
        };
        if random.happens(400) {
            config.link.transport = Transport::Datagram;
        }
        config.scheduler.waiting_max = 4 + usize::try_from(random.below(60)).unwrap_or(0);
        config.dispatcher.hedge = random.happens(300);
        if random.happens(500) {
            config.dispatcher.fallback_us = Some(5_000 + random.below(20_000));
        }
        config.faults = FaultPlan::from_seed(seed, config.active_ns);
        config
    }
}
