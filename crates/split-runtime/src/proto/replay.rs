//! Which sequence numbers were seen.

use super::outbox::Transport;

const WORDS: usize = 16;
const WORD_BITS: u32 = u64::BITS;
/// Numbers that may arrive out of order on datagrams.
const WINDOW: u32 = WORD_BITS * 16;

/// Remembers numbers in fixed memory: all on a stream, where they only rise, and the newest
/// 1,024 on datagrams, where older ones count as seen.
#[derive(Debug)]
pub(crate) struct Replay {
    transport: Transport,
    /// One above the highest number seen.
    end: u32,
    seen: [u64; WORDS],
}

impl Replay {
    pub(crate) const fn new(transport: Transport) -> Self {
        Self {
            transport,
            end: 0,
            seen: [0; WORDS],
        }
    }

    /// Marks `seq` as seen; `false` if it was before or can't be told.
    pub(crate) fn insert(&mut self, seq: u32) -> bool {
        if seq == u32::MAX {
            // No device sends it: one above it would not fit.
            return false;
        }
        if seq >= self.end {
            self.forget(self.end, seq);
            self.end = seq + 1;
            self.mark(seq);
            return true;
        }
        if self.transport == Transport::Stream || self.end - seq > WINDOW || self.is_marked(seq) {
            return false;
        }
        self.mark(seq);
        true
    }

    pub(crate) const fn highest(&self) -> u32 {
        self.end.saturating_sub(1)
    }

    /// The places of `from..=to` are taken over by these numbers.
    fn forget(&mut self, from: u32, to: u32) {
        if to - from >= WINDOW {
            self.seen = [0; WORDS];
            return;
        }
        for seq in from..=to {
            let (word, bit) = place(seq);
            self.seen[word] &= !bit;
        }
    }

    fn mark(&mut self, seq: u32) {
        let (word, bit) = place(seq);
        self.seen[word] |= bit;
    }

    fn is_marked(&self, seq: u32) -> bool {
        let (word, bit) = place(seq);
        self.seen[word] & bit != 0
    }
}

fn place(seq: u32) -> (usize, u64) {
    let slot = seq % WINDOW;
    let word = usize::try_from(slot / WORD_BITS).expect("below the number of words");
    (word, 1 << (slot % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stream_takes_rising_numbers_only() {
        let mut replay = Replay::new(Transport::Stream);
        assert!(replay.insert(0));
        assert!(replay.insert(7));
        assert!(!replay.insert(7));
        assert!(!replay.insert(3));
        assert!(!replay.insert(u32::MAX));
        assert_eq!(replay.highest(), 7);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn datagrams_pass_once_within_the_window(steps in proptest::collection::vec(0..3000_u32, 1..200)) {
            let mut replay = Replay::new(Transport::Datagram);
            let mut seen = BTreeSet::new();
            let mut highest = 0;
            for (index, step) in steps.iter().enumerate() {
                let base = u32::try_from(index).unwrap() * 40;
                let seq = (base + step).saturating_sub(1500);
                let expected = !seen.contains(&seq) && (seen.is_empty() || seq > highest || highest - seq < WINDOW);
                prop_assert_eq!(replay.insert(seq), expected, "seq {} highest {}", seq, highest);
                if expected {
                    seen.insert(seq);
                    highest = highest.max(seq);
                }
            }
        }
    }
}
