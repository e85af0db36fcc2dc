//! The answer of a classifier as bytes.

/// Most classes that a ranking holds.
pub const MAX_RANKED: usize = 255;

/// First byte of the bytes: their format.
const FORMAT: u8 = 1;

/// Bytes of a class and its score.
const ITEM_BYTES: usize = 6;

/// A class and what speaks for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Number of the class.
    pub class: u16,
    /// Its share of the softmax over all classes, 0 to 1.
    pub score: f32,
}

/// The best classes of a picture, best first: the answer that `split-edge` gives.
///
/// ```
/// use split_runtime::Ranking;
///
/// let ranking = Ranking::of_scores(&[0.1, 2.0, -1.0], 2);
/// assert_eq!(ranking.best().map(|best| best.class), Some(1));
/// assert_eq!(Ranking::parse(&ranking.to_bytes())?, ranking);
/// # Ok::<(), split_runtime::RankingError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking(Vec<Ranked>);

/// Why bytes are no ranking.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RankingError {
    /// Another format.
    #[error("answer of format {found}, this program reads {FORMAT}")]
    Format {
        /// The first byte.
        found: u8,
    },
    /// Too few or too many bytes for what they announce.
    #[error("an answer of {found} bytes that should have {expected}")]
    Length {
        /// How many there are.
        found: usize,
        /// How many were announced.
        expected: usize,
    },
}

impl Ranking {
    /// The `count` best of the scores before the softmax, at most [`MAX_RANKED`]; of equals the
    /// first. Scores that are no numbers come last.
    #[must_use]
    pub fn of_scores(scores: &[f32], count: usize) -> Self {
        let finite = scores.iter().copied().filter(|score| score.is_finite());
        let most = finite.clone().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = finite.map(|score| (score - most).exp()).sum();
        let value = |score: f32| {
            if score.is_finite() {
                score
            } else {
                f32::NEG_INFINITY
            }
        };
        let mut ranked: Vec<(u16, f32)> = (0..=u16::MAX).zip(scores.iter().copied()).collect();
        ranked.sort_by(|a, b| value(b.1).total_cmp(&value(a.1)));
        ranked.truncate(count.min(MAX_RANKED));
        let ranked = ranked.into_iter().map(|(class, score)| Ranked {
            class,
            score: if score.is_finite() {
                (score - most).exp() / total
            } else {
                0.0
            },
        });
        Self(ranked.collect())
    }

    /// The classes, best first.
    #[must_use]
    pub fn classes(&self) -> &[Ranked] {
        &self.0
    }

    /// The best class; nothing where there were no scores.
    #[must_use]
    pub fn best(&self) -> Option<Ranked> {
        self.0.first().copied()
    }

    /// One byte of format, one byte `k`, then `k` times a class (16 bits) and its score (32-bit
    /// float), lowest byte first.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = u8::try_from(self.0.len()).unwrap_or(u8::MAX);
        let mut bytes = vec![FORMAT, count];
        for ranked in self.0.iter().take(usize::from(count)) {
            bytes.extend(ranked.class.to_le_bytes());
            bytes.extend(ranked.score.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`RankingError`] for bytes of another format or length.
    pub fn parse(bytes: &[u8]) -> Result<Self, RankingError> {
        let &[format, count, ref items @ ..] = bytes else {
            let found = bytes.len();
            return Err(RankingError::Length { found, expected: 2 });
        };
        if format != FORMAT {
            return Err(RankingError::Format { found: format });
        }
        let expected = usize::from(count) * ITEM_BYTES;
        if items.len() != expected {
            let (found, expected) = (bytes.len(), expected + 2);
            return Err(RankingError::Length { found, expected });
        }
        let ranked = items.chunks_exact(ITEM_BYTES).map(|item| Ranked {
            class: u16::from_le_bytes([item[0], item[1]]),
            score: f32::from_le_bytes([item[2], item[3], item[4], item[5]]),
        });
        Ok(Self(ranked.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_ranked_and_of_equals_the_first_comes_first() {
        let ranking = Ranking::of_scores(&[1.0, f32::NAN, 3.0, 3.0], 9);
        let classes: Vec<u16> = ranking.classes().iter().map(|one| one.class).collect();
        assert_eq!(classes, [2, 3, 0, 1]);
        let total: f32 = ranking.classes().iter().map(|one| one.score).sum();
        assert!((total - 1.0).abs() < 1e-6, "{total}");
        assert_eq!(Ranking::of_scores(&[], 3).best(), None);
    }

    #[test]
    fn every_cut_and_every_other_format_is_refused() {
        let bytes = Ranking::of_scores(&[0.5, 0.25, 4.0], 3).to_bytes();
        for length in 0..bytes.len() {
            assert!(Ranking::parse(&bytes[..length]).is_err(), "{length}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Ranking::parse(&longer).is_err());
        let mut other = bytes;
        other[0] = 2;
        assert_eq!(
            Ranking::parse(&other),
            Err(RankingError::Format { found: 2 })
        );
    }
}
