//! How long an answer takes: computing on two ends, and a link between them.
//!
//! Plain means: no queue, no contention, no radio that wakes up. Packets that are lost are sent
//! again after a round trip.

use thiserror::Error;

/// Bytes of a packet that are ours; 1500 on Ethernet less the headers below and room for a tunnel.
pub const PACKET_PAYLOAD_BYTES: f64 = 1400.0;

/// IPv4 and TCP headers of a packet.
pub const PACKET_HEADER_BYTES: f64 = 40.0;

/// A link may lose at most this share of its packets; beyond it resending is no model of anything.
pub const LOSS_MAX: f64 = 0.5;

/// Rounds of resending that are summed up; at half of all packets lost the rest is below 1e-15.
const ROUNDS_MAX: u32 = 60;

/// A link between device and edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    kbit_s: f64,
    rtt_ms: f64,
    loss: f64,
}

/// Why figures make no link or no computer.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ProfileError {
    /// A figure is outside its range.
    #[error("{field} is {found}, allowed are {allowed}")]
    Range {
        /// Name of the figure, with its unit.
        field: &'static str,
        /// What was given.
        found: f64,
        /// What it may be.
        allowed: &'static str,
    },
}

impl Link {
    /// A link of `kbit_s` up, a round trip of `rtt_ms`, and a share `loss` of lost packets.
    ///
    /// # Errors
    /// [`ProfileError::Range`] where a rate is not above zero, a round trip is negative, or more
    /// than [`LOSS_MAX`] of the packets are lost.
    pub fn new(kbit_s: f64, rtt_ms: f64, loss: f64) -> Result<Self, ProfileError> {
        let range = |field, found: f64, allowed, ok: bool| {
            if ok && found.is_finite() {
                return Ok(());
            }
            Err(ProfileError::Range {
                field,
                found,
                allowed,
            })
        };
        range(
            "link rate (kbit/s)",
            kbit_s,
            "numbers above 0",
            kbit_s > 0.0,
        )?;
        range("round trip (ms)", rtt_ms, "numbers from 0", rtt_ms >= 0.0)?;
        let ok = (0.0..=LOSS_MAX).contains(&loss);
        range("share of lost packets", loss, "0 to 0.5", ok)?;
        Ok(Self {
            kbit_s,
            rtt_ms,
            loss,
        })
    }

    /// Kilobits a second, upwards.
    #[must_use]
    pub fn kbit_s(&self) -> f64 {
        self.kbit_s
    }

    /// Round trip, milliseconds.
    #[must_use]
    pub fn rtt_ms(&self) -> f64 {
        self.rtt_ms
    }

    /// Share of packets lost, 0 to 0.5.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// Mean time for `bytes` up and a small answer back: bits at the link's rate, one round trip,
    /// and one more for each round of resending.
    #[must_use]
    pub fn exchange_ms(&self, bytes: f64) -> f64 {
        self.fixed_ms(bytes) + self.kbits(bytes) / self.kbit_s * 1e3
    }

    /// The part of [`Self::exchange_ms`] that no faster link would save.
    pub(crate) fn fixed_ms(&self, bytes: f64) -> f64 {
        self.rtt_ms * (1.0 + self.resend_rounds(bytes))
    }

    /// Kilobits on the wire: headers and what is sent again included.
    pub(crate) fn kbits(&self, bytes: f64) -> f64 {
        let wire = bytes + packets(bytes) * PACKET_HEADER_BYTES;
        8.0 * wire / (1.0 - self.loss) / 1e3
    }

    /// Mean number of rounds after the first until the last packet is there: with `n` packets, the
    /// sum over `k` of the chance that some packet was lost `k` times.
    fn resend_rounds(&self, bytes: f64) -> f64 {
        let n = packets(bytes);
        (1..=ROUNDS_MAX)
            .map(|k| 1.0 - (1.0 - self.loss.powf(f64::from(k))).powf(n))
            .sum()
    }
}

fn packets(bytes: f64) -> f64 {
    (bytes / PACKET_PAYLOAD_BYTES).ceil().max(1.0)
}

/// A way to get an answer, as time over the rate of the link: `fixed_ms + kbits / rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Way {
    pub(crate) fixed_ms: f64,
    pub(crate) kbits: f64,
}

impl Way {
    pub(crate) fn ms(&self, kbit_s: f64) -> f64 {
        self.fixed_ms + self.kbits / kbit_s * 1e3
    }

    /// The rate, kbit/s, at which both take equally long; `None` where one is faster at every rate.
    /// Below it the way with fewer bits is faster.
    pub(crate) fn crossover(&self, other: &Self) -> Option<f64> {
        let kbit_s = 1e3 * (self.kbits - other.kbits) / (other.fixed_ms - self.fixed_ms);
        (kbit_s.is_finite() && kbit_s > 0.0).then_some(kbit_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn time_is_bits_over_rate_and_a_round_trip() {
        // 960 bytes and 40 of header are 8000 bits, at 100 kbit/s 80 ms.
        let link = Link::new(100.0, 20.0, 0.0).unwrap();
        close(link.exchange_ms(960.0), 100.0);
        // Two packets from 1401 bytes on.
        close(
            link.exchange_ms(1401.0) - link.exchange_ms(1400.0),
            41.0 * 0.08,
        );
    }

    #[test]
    fn lost_packets_cost_bits_and_round_trips() {
        // One packet, half of all lost: two sendings on average, so one round of resending.
        let link = Link::new(100.0, 20.0, 0.5).unwrap();
        close(link.exchange_ms(960.0), 160.0 + 20.0 + 20.0);
        // Two packets, each lost with 1/2: the larger of two geometric numbers, mean 8/3.
        let two = Link::new(1e12, 3.0, 0.5).unwrap();
        assert!((two.exchange_ms(2000.0) - 3.0 * 8.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn impossible_links_are_refused_by_name() {
        for (kbit_s, rtt_ms, loss, field) in [
            (0.0, 1.0, 0.0, "link rate"),
            (-5.0, 1.0, 0.0, "link rate"),
            (f64::INFINITY, 1.0, 0.0, "link rate"),
            (f64::NAN, 1.0, 0.0, "link rate"),
            (1.0, -1.0, 0.0, "round trip"),
            (1.0, f64::NAN, 0.0, "round trip"),
            (1.0, 1.0, -0.1, "lost packets"),
            (1.0, 1.0, 0.6, "lost packets"),
            (1.0, 1.0, f64::NAN, "lost packets"),
        ] {
            let error = Link::new(kbit_s, rtt_ms, loss).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn ways_cross_where_they_take_equally_long() {
        let small = Way {
            fixed_ms: 50.0,
            kbits: 1.0,
        };
        let large = Way {
            fixed_ms: 10.0,
            kbits: 9.0,
        };
        let rate = small.crossover(&large).unwrap();
        close(rate, 200.0);
        close(small.ms(rate), large.ms(rate));
        close(large.crossover(&small).unwrap(), rate);
        let worse = Way {
            fixed_ms: 60.0,
            kbits: 2.0,
        };
        assert_eq!(small.crossover(&worse), None);
        assert_eq!(small.crossover(&small), None);
    }
}
