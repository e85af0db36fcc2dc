//! Messages of independent symbols.

use std::path::Path;

use anyhow::{Result, bail};

/// Symbols per round at least, so that no branch predictor learns one message.
const SYMBOLS_A_ROUND: usize = 131_072;
const MAX_MESSAGES: usize = 512;

/// Messages from a two-sided geometric source, cut at a largest magnitude.
pub(crate) struct Source {
    pub(crate) entropy: f64,
    /// Symbols per message.
    pub(crate) symbols: usize,
    pub(crate) messages: Vec<Vec<i32>>,
    /// Probabilities of `-limit..=limit`.
    pub(crate) probabilities: Vec<f64>,
    pub(crate) limit: i32,
    /// Ideal code length of all messages under the probabilities.
    pub(crate) ideal_bits: f64,
    /// What the messages are.
    pub(crate) data: String,
}

impl Source {
    pub(crate) fn new(entropy: f64, symbols: usize, seed: u64) -> Result<Self> {
        let limit = match entropy {
            ..0.5 => 7,
            ..2.0 => 15,
            ..3.0 => 31,
            _ => 63,
        };
        let probabilities = geometric(entropy, limit)?;
        let count = SYMBOLS_A_ROUND.div_ceil(symbols).clamp(1, MAX_MESSAGES);
        let mut draws = SplitMix(seed ^ entropy.to_bits() ^ symbols as u64);
        let mut ideal_bits = 0.0;
        let mut messages = Vec::new();
        for _ in 0..count {
            let mut message = Vec::with_capacity(symbols);
            for _ in 0..symbols {
                let index = draws.pick(&probabilities);
                ideal_bits -= probabilities[index].log2();
                message.push(i32::try_from(index)? - limit);
            }
            messages.push(message);
        }
        Ok(Self {
            entropy,
            symbols,
            messages,
            probabilities,
            limit,
            ideal_bits,
            data: "iid two-sided geometric".to_owned(),
        })
    }

    /// Given messages of one length; the probabilities are those of all symbols together.
    pub(crate) fn of(messages: Vec<Vec<i32>>, data: &str) -> Result<Self> {
        let limit = messages
            .iter()
            .flatten()
            .map(|symbol| symbol.abs())
            .max()
            .unwrap_or(0);
        let mut counts = vec![0.5; usize::try_from(2 * limit + 1)?];
        for &symbol in messages.iter().flatten() {
            counts[usize::try_from(symbol + limit)?] += 1.0;
        }
        let total: f64 = counts.iter().sum();
        let probabilities: Vec<f64> = counts.iter().map(|count| count / total).collect();
        let bits = |&symbol: &i32| -probabilities[(symbol + limit) as usize].log2();
        let ideal_bits: f64 = messages.iter().flatten().map(bits).sum();
        let symbols = messages.first().map_or(0, Vec::len);
        let entropy = ideal_bits / (symbols * messages.len()).max(1) as f64;
        let data = data.to_owned();
        Ok(Self {
            entropy,
            symbols,
            messages,
            probabilities,
            limit,
            ideal_bits,
            data,
        })
    }

    /// Keeps the messages for other programs: three 32-bit numbers (messages, symbols of each,
    /// bytes in use), a 64-bit float for each byte in use (its probability), the entropy and the
    /// ideal bytes of a message as such floats, then the messages, a byte a symbol. All lowest
    /// byte first.
    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        let mut shares = vec![0.0; 2 * self.limit.unsigned_abs() as usize + 1];
        for (symbol, probability) in (-self.limit..).zip(&self.probabilities) {
            shares[((symbol << 1) ^ (symbol >> 31)) as usize] += probability;
        }
        let mut bytes = Vec::new();
        for number in [self.messages.len(), self.symbols, shares.len()] {
            bytes.extend(u32::try_from(number)?.to_le_bytes());
        }
        let ideal_bytes = self.ideal_bits / 8.0 / self.messages.len() as f64;
        for share in shares.iter().chain([&self.entropy, &ideal_bytes]) {
            bytes.extend(share.to_le_bytes());
        }
        bytes.extend(self.zigzag().concat());
        std::fs::create_dir_all(folder)?;
        let name = self.data.replace([' ', '/'], "-");
        let name = format!("{name}-{:.2}-{}.messages", self.entropy, self.symbols);
        std::fs::write(folder.join(name), bytes)?;
        Ok(())
    }

    /// Messages as bytes: 0, -1, 1, -2 become 0, 1, 2, 3.
    pub(crate) fn zigzag(&self) -> Vec<Vec<u8>> {
        let byte = |&symbol: &i32| ((symbol << 1) ^ (symbol >> 31)) as u8;
        self.messages
            .iter()
            .map(|message| message.iter().map(byte).collect())
            .collect()
    }
}

/// Probabilities with the wanted entropy, by bisection over the ratio of neighbours.
fn geometric(entropy: f64, limit: i32) -> Result<Vec<f64>> {
    let of_ratio = |ratio: f64| {
        let weights: Vec<f64> = (-limit..=limit).map(|k| ratio.powi(k.abs())).collect();
        let total: f64 = weights.iter().sum();
        weights
            .iter()
            .map(|weight| weight / total)
            .collect::<Vec<f64>>()
    };
    let bits = |probabilities: &[f64]| -> f64 {
        probabilities
            .iter()
            .filter(|&&p| p > 0.0)
            .map(|&p| -p * p.log2())
            .sum()
    };
    let (mut low, mut high) = (1e-9, 1.0);
    if !(0.01..bits(&of_ratio(high))).contains(&entropy) {
        bail!("no source of {entropy} bits over {} symbols", 2 * limit + 1);
    }
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if bits(&of_ratio(middle)) < entropy {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(of_ratio(low))
}

/// SplitMix64: portable draws from a seed.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn pick(&mut self, probabilities: &[f64]) -> usize {
        let mut left = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        for (index, probability) in probabilities.iter().enumerate() {
            left -= probability;
            if left < 0.0 {
                return index;
            }
        }
        probabilities.len() / 2
    }
}
