//! Canonical Huffman: the coder of the paper, kept as the baseline of every report.
//!
//! One static code for all channels, symbol by symbol, and an end mark with a count of one,
//! as the authors' release has it. A symbol outside the code cannot be coded.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use thiserror::Error;

use crate::bits::{BitReader, BitWriter};
use crate::limits::{MAX_ALPHABET, small_i32};

/// Longest code word; counts that would need more are refused.
const MAX_LENGTH: u32 = 48;

/// A Huffman code that cannot be built or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HuffmanError {
    /// The alphabet is empty or too large.
    #[error("an alphabet of {found} symbols; a code has 1 to {allowed}")]
    BadAlphabet {
        /// Symbols found.
        found: usize,
        /// The limit, [`MAX_ALPHABET`].
        allowed: usize,
    },
    /// Every count is zero.
    #[error("all counts are zero")]
    NoCounts,
    /// A code word would be too long.
    #[error("a code word of {found} bits; at most {allowed}")]
    WordTooLong {
        /// Bits found.
        found: u32,
        /// The limit.
        allowed: u32,
    },
    /// A symbol was never counted, so it has no code word.
    #[error("symbol {found} has no code word")]
    UnknownSymbol {
        /// The symbol.
        found: i32,
    },
    /// The bits end before the end mark.
    #[error("the bits end before the end mark")]
    Truncated,
    /// More symbols than expected before the end mark, or fewer, or bytes after it.
    #[error("{found} symbols or more before the end mark, {allowed} expected")]
    WrongLength {
        /// Symbols found.
        found: usize,
        /// Symbols expected.
        allowed: usize,
    },
}

/// A canonical Huffman code over symbols `min, min + 1, ..` and an end mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Huffman {
    min: i32,
    /// Bits of each entry's word, the end mark last; zero where there is none.
    lengths: Vec<u32>,
    words: Vec<u64>,
    /// Entries by length, then index: the canonical order.
    order: Vec<usize>,
}

impl Huffman {
    /// The code for these counts; the end mark counts as one.
    ///
    /// # Errors
    /// [`HuffmanError`] for an empty or too large alphabet, for zero counts only, or where a
    /// word would exceed 48 bits.
    pub fn from_counts(min: i32, counts: &[u64]) -> Result<Self, HuffmanError> {
        if counts.is_empty() || counts.len() > MAX_ALPHABET {
            return Err(HuffmanError::BadAlphabet {
                found: counts.len(),
                allowed: MAX_ALPHABET,
            });
        }
        if counts.iter().all(|&count| count == 0) {
            return Err(HuffmanError::NoCounts);
        }
        let all: Vec<u64> = counts.iter().copied().chain([1]).collect();
        let lengths = word_lengths(&all);
        let longest = lengths.iter().copied().max().unwrap_or(0);
        if longest > MAX_LENGTH {
            return Err(HuffmanError::WordTooLong {
                found: longest,
                allowed: MAX_LENGTH,
            });
        }
        let mut order: Vec<usize> = (0..lengths.len()).filter(|&i| lengths[i] > 0).collect();
        order.sort_by_key(|&index| (lengths[index], index));
        let mut words = alloc::vec![0u64; lengths.len()];
        let (mut word, mut length) = (0u64, 0);
        for &index in &order {
            word <<= lengths[index] - length;
            length = lengths[index];
            words[index] = word;
            word += 1;
        }
        Ok(Self {
            min,
            lengths,
            words,
            order,
        })
    }

    /// Bits of a symbol's word; `None` where it has none.
    #[must_use]
    pub fn length_of(&self, symbol: i32) -> Option<u32> {
        let index = self.index_of(symbol)?;
        Some(self.lengths[index])
    }

    /// Bits of the end mark's word.
    #[must_use]
    pub fn end_mark_length(&self) -> u32 {
        self.lengths[self.lengths.len() - 1]
    }

    /// Whole bytes for `symbols` and the end mark.
    ///
    /// # Errors
    /// [`HuffmanError::UnknownSymbol`] for a symbol that was never counted.
    pub fn encoded_bytes(&self, symbols: &[i32]) -> Result<usize, HuffmanError> {
        let mut bits = u64::from(self.end_mark_length());
        for &symbol in symbols {
            let length = self
                .length_of(symbol)
                .ok_or(HuffmanError::UnknownSymbol { found: symbol })?;
            bits += u64::from(length);
        }
        Ok(usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX))
    }

    /// The code words of `symbols`, the end mark, and zero bits up to a whole byte.
    ///
    /// # Errors
    /// [`HuffmanError::UnknownSymbol`] for a symbol that was never counted.
    pub fn encode(&self, symbols: &[i32]) -> Result<Vec<u8>, HuffmanError> {
        let mut out = Vec::new();
        let mut bits = BitWriter::new(&mut out);
        let mut put = |index: usize| {
            // First bit first, so that the decoder can grow a word bit by bit.
            for shift in (0..self.lengths[index]).rev() {
                bits.put(u32::from(self.words[index] >> shift & 1 == 1), 1);
            }
        };
        for &symbol in symbols {
            put(self
                .index_of(symbol)
                .ok_or(HuffmanError::UnknownSymbol { found: symbol })?);
        }
        put(self.lengths.len() - 1);
        bits.finish();
        Ok(out)
    }

    /// Reads `count` symbols and the end mark.
    ///
    /// # Errors
    /// [`HuffmanError::Truncated`] or [`HuffmanError::WrongLength`].
    pub fn decode(&self, bytes: &[u8], count: usize) -> Result<Vec<i32>, HuffmanError> {
        let mut bits = BitReader::new(bytes);
        let mut symbols = Vec::new();
        loop {
            let index = self.read_entry(&mut bits).ok_or(HuffmanError::Truncated)?;
            let end = index + 1 == self.lengths.len();
            if end != (symbols.len() == count) {
                return Err(HuffmanError::WrongLength {
                    found: symbols.len(),
                    allowed: count,
                });
            }
            if end {
                break;
            }
            symbols.push(self.min + small_i32(index));
        }
        match bits.finish() {
            Some([]) => Ok(symbols),
            _ => Err(HuffmanError::WrongLength {
                found: count,
                allowed: count,
            }),
        }
    }

    fn index_of(&self, symbol: i32) -> Option<usize> {
        let index = usize::try_from(i64::from(symbol) - i64::from(self.min)).ok()?;
        (index + 1 < self.lengths.len() && self.lengths[index] > 0).then_some(index)
    }

    fn read_entry(&self, bits: &mut BitReader<'_>) -> Option<usize> {
        let (mut word, mut length) = (0u64, 0);
        let mut at = 0;
        while at < self.order.len() {
            word = word << 1 | u64::from(bits.get(1)?);
            length += 1;
            while at < self.order.len() && self.lengths[self.order[at]] == length {
                if self.words[self.order[at]] == word {
                    return Some(self.order[at]);
                }
                at += 1;
            }
        }
        None
    }
}

/// Word lengths by merging the two lightest nodes; ties go to the node made first.
fn word_lengths(counts: &[u64]) -> Vec<u32> {
    let mut heap = BinaryHeap::new();
    let mut parents: Vec<usize> = alloc::vec![usize::MAX; counts.len()];
    for (node, &count) in counts.iter().enumerate() {
        if count > 0 {
            heap.push(Reverse((u128::from(count), node)));
        }
    }
    while heap.len() > 1 {
        let (Some(Reverse((a, left))), Some(Reverse((b, right)))) = (heap.pop(), heap.pop()) else {
            unreachable!("two nodes were counted");
        };
        let parent = parents.len();
        parents.push(usize::MAX);
        parents[left] = parent;
        parents[right] = parent;
        heap.push(Reverse((a + b, parent)));
    }
    // Parents come after their children, so depths are known from the end.
    let mut depths = alloc::vec![0u32; parents.len()];
    for node in (0..parents.len()).rev() {
        if parents[node] != usize::MAX {
            depths[node] = depths[parents[node]] + 1;
        }
    }
    depths.truncate(counts.len());
    depths
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_follow_the_counts() {
        let code = Huffman::from_counts(0, &[8, 4, 2, 1]).unwrap();
        let lengths: Vec<_> = (0..4)
            .map(|symbol| code.length_of(symbol).unwrap())
            .collect();
        assert_eq!(lengths, [1, 2, 3, 4]);
        assert_eq!(code.end_mark_length(), 4);
        assert_eq!(code.encoded_bytes(&[0, 0, 0, 1]), Ok(2));
        assert_eq!(
            code.encode(&[9]),
            Err(HuffmanError::UnknownSymbol { found: 9 })
        );
    }

    proptest! {
        #[test]
        fn huffman_round_trips_and_its_length_is_exact(
            counts in prop::collection::vec(1u64..10_000, 1..40),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        ) {
            let code = Huffman::from_counts(-5, &counts).unwrap();
            let symbols: Vec<i32> = picks
                .iter()
                .map(|pick| i32::try_from(pick.index(counts.len())).unwrap() - 5)
                .collect();
            let bytes = code.encode(&symbols).unwrap();
            prop_assert_eq!(code.encoded_bytes(&symbols), Ok(bytes.len()));
            prop_assert_eq!(code.decode(&bytes, symbols.len()), Ok(symbols.clone()));
            let cut = &bytes[..bytes.len() - 1];
            prop_assert!(code.decode(cut, symbols.len()).is_err());
        }
    }
}
