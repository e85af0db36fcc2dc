//! Sections 3.4 and 4.2 of docs/format.md: mixed predictions.

#![allow(
    clippy::cast_sign_loss,
    reason = "ranks, probabilities and log-odds as the page has them"
)]

use super::{Bytes, Refused};

#[derive(Clone)]
struct Channel {
    centre: i64,
    references: Vec<Option<usize>>,
    a: Vec<i64>,
    b: Vec<i64>,
}

#[derive(Clone)]
pub(crate) struct Mixing {
    channels: Vec<Channel>,
    weights: Vec<i64>,
    cells: Vec<i64>,
}

const SHARED: usize = 356;
const OWN: usize = 64;

impl Mixing {
    pub(crate) fn parse(bytes: &mut Bytes<'_>) -> Result<Self, Refused> {
        let count = bytes.count(1024)?;
        let mut channels = Vec::new();
        for index in 0..count {
            let centre = bytes.signed()?;
            let references = bytes.count(8)?;
            let features = 7 + 2 * references;
            let references = (0..references).map(|_| Ok(Some(bytes.count(earlier(index)?)?)));
            let references = references.collect::<Result<_, Refused>>()?;
            let mut coefficients = || (0..features).map(|_| bytes.signed()).collect();
            let a: Result<Vec<i64>, Refused> = coefficients();
            channels.push(Channel {
                centre,
                references,
                a: a?,
                b: coefficients()?,
            });
        }
        let weights = (0..960).map(|_| Ok(256 * bytes.signed()?));
        let weights = weights.collect::<Result<_, Refused>>()?;
        let mut cells = Vec::new();
        let total = 12 * (SHARED + OWN * count);
        while cells.len() < total {
            let n = bytes.signed()?;
            let mut more = 1;
            if n == 0 {
                more += bytes.count((total - cells.len() - 1) as u64)?;
            }
            cells.extend(std::iter::repeat_n(1024 * (n + 2048) + 512, more));
        }
        Ok(Self {
            channels,
            weights,
            cells,
        })
    }

    /// What a payload with these channels starts with.
    pub(crate) fn of_channels(&self, picked: &[usize]) -> Result<Self, Refused> {
        let mut cells = self.cells[..12 * SHARED].to_vec();
        let mut channels = Vec::new();
        for (place, &name) in picked.iter().enumerate() {
            let own = self.channels.get(name).ok_or("no such channel")?;
            let begin = 12 * (SHARED + OWN * name);
            cells.extend(&self.cells[begin..begin + 12 * OWN]);
            let before = |reference: &Option<usize>| {
                picked[..place]
                    .iter()
                    .position(|&other| Some(other) == *reference)
            };
            channels.push(Channel {
                centre: own.centre,
                references: own.references.iter().map(before).collect(),
                a: own.a.clone(),
                b: own.b.clone(),
            });
        }
        Ok(Self {
            channels,
            weights: self.weights.clone(),
            cells,
        })
    }
}

/// The last channel before this one.
fn earlier(index: usize) -> Result<u64, Refused> {
    (index as u64)
        .checked_sub(1)
        .ok_or("a channel before the first")
}

fn rank(x: i64, steps: &[i64]) -> usize {
    steps.iter().filter(|&&step| step <= x).count()
}

fn side(x: i64, steps: &[i64]) -> usize {
    if x >= 0 {
        steps.len() + rank(x, steps)
    } else {
        steps.len() - rank(-x, steps)
    }
}

fn squash(z: i64) -> i64 {
    const T: [i64; 23] = [
        32768, 40793, 47911, 53581, 57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269, 65374,
        65438, 65476, 65500, 65514, 65523, 65528, 65531, 65533, 65534, 65535,
    ];
    if z < 0 {
        return 65536 - squash(-z);
    }
    let q = (z / 128) as usize;
    T[q] + (T[q + 1] - T[q]) * (z % 128) / 128
}

fn stretches() -> Vec<i64> {
    let mut z = -2815;
    let of = |i: i64| {
        while z < 2815 && squash(z) < 16 * i + 8 {
            z += 1;
        }
        z
    };
    (0..4096).map(of).collect()
}

struct Body<'a> {
    bytes: &'a [u8],
    taken: usize,
    code: u64,
    above: u64,
    range: u64,
}

impl Body<'_> {
    fn take(&mut self) -> Result<u64, Refused> {
        if self.taken == self.bytes.len() + 4 {
            return Err("bytes are missing");
        }
        let byte = u64::from(self.bytes.get(self.taken).copied().unwrap_or(0));
        self.taken += 1;
        self.code = (256 * self.code + byte) % (1 << 32);
        Ok(byte)
    }

    fn bit(&mut self, p: i64) -> Result<bool, Refused> {
        let ones = self.range * p as u64 / 65536;
        let bit = self.above < ones;
        if bit {
            self.range = ones;
        } else {
            self.above -= ones;
            self.range -= ones;
        }
        while self.range < 1 << 24 {
            self.range *= 256;
            self.above = 256 * self.above + self.take()?;
        }
        Ok(bit)
    }

    fn finish(self) -> Result<(), Refused> {
        let low = (self.code + (1 << 32) - self.above) % (1 << 32);
        let h = low + self.range - 1;
        let (code, length) = if low == 0 || h >= 1 << 32 {
            (0, self.taken - 4)
        } else {
            (h >> 24 << 24, self.taken - 3)
        };
        if self.code == code && self.bytes.len() == length {
            Ok(())
        } else {
            Err("the body does not end as it should")
        }
    }
}

struct Decoder<'a> {
    mixing: &'a Mixing,
    weights: Vec<i64>,
    cells: Vec<i64>,
    stretch: Vec<i64>,
    body: Body<'a>,
    sides: [usize; 3],
    symbols: Vec<i64>,
}

pub(crate) fn decode(
    mixing: &Mixing,
    sides: [usize; 3],
    bytes: &[u8],
) -> Result<Vec<i64>, Refused> {
    let mut body = Body {
        bytes,
        taken: 0,
        code: 0,
        above: 0,
        range: (1 << 32) - 1,
    };
    for _ in 0..4 {
        body.above = 256 * body.above + body.take()?;
    }
    let mut decoder = Decoder {
        mixing,
        weights: mixing.weights.clone(),
        cells: mixing.cells.clone(),
        stretch: stretches(),
        body,
        sides,
        symbols: vec![0; sides.iter().product()],
    };
    for channel in 0..sides[0] {
        for y in 0..sides[1] {
            for x in 0..sides[2] {
                let symbol = decoder.symbol(channel, y, x)?;
                decoder.symbols[(channel * sides[1] + y) * sides[2] + x] = symbol;
            }
        }
    }
    decoder.body.finish()?;
    Ok(decoder.symbols)
}

impl Decoder<'_> {
    /// The cut value at a place, if there is such a place.
    fn u(&self, channel: usize, y: i64, x: i64) -> Option<i64> {
        let [_, height, width] = self.sides;
        let (y, x) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
        let inside = y < height && x < width;
        let symbol = self.symbols.get((channel * height + y) * width + x)?;
        let centre = self.mixing.channels[channel].centre;
        inside.then(|| (symbol - centre).clamp(-20, 20))
    }

    fn features(&self, channel: usize, y: usize, x: usize) -> Result<Vec<i64>, Refused> {
        let own = &self.mixing.channels[channel];
        let (r, c) = (y as i64, x as i64);
        let u = |dy: i64, dx: i64| self.u(channel, r + dy, c + dx);
        let n = u(-1, 0).or(u(0, -1)).unwrap_or(0);
        let w = u(0, -1).unwrap_or(n);
        let nw = u(-1, -1).unwrap_or(if y > 0 { n } else { w });
        let ne = u(-1, 1).unwrap_or(n);
        let mut f = vec![
            w,
            n,
            nw,
            ne,
            u(0, -2).unwrap_or(w),
            u(-2, 0).unwrap_or(n),
            1,
        ];
        for reference in &own.references {
            let Some(reference) = *reference else {
                f.extend([0, 0]);
                continue;
            };
            let here = self.u(reference, r, c).ok_or("no such place")?;
            let around = [(0, -1), (0, 1), (-1, 0), (1, 0)];
            let around = around.map(|(dy, dx)| self.u(reference, r + dy, c + dx).unwrap_or(here));
            f.extend([here, around.iter().sum()]);
        }
        Ok(f)
    }

    fn symbol(&mut self, channel: usize, y: usize, x: usize) -> Result<i64, Refused> {
        let own = &self.mixing.channels[channel];
        let f = self.features(channel, y, x)?;
        let [w, n, nw, ne] = [f[0], f[1], f[2], f[3]];
        let v = own.a.iter().zip(&f).map(|(a, f)| a * f).sum::<i64>() >> 8;
        let m = own.b.iter().zip(&f).map(|(b, f)| b * f.abs()).sum::<i64>() >> 8;
        let s = 2 * w + 2 * n + nw + ne;
        let l = 2 * w.abs() + 2 * n.abs() + nw.abs() + ne.abs();
        let r1 = f.get(7).copied().unwrap_or(0);
        let fine: Vec<i64> = [1]
            .into_iter()
            .chain((2..=16).step_by(2))
            .chain((20..=48).step_by(4))
            .chain((64..=400).step_by(16))
            .collect();
        let fine = rank(m, &fine);
        let coarse = rank(m, &[1, 2, 6, 12, 18, 24, 30, 56, 80, 104, 128, 152]);
        let c = SHARED + OWN * channel;
        let area = 4 * (4 * y / self.sides[1]) + 4 * x / self.sides[2];
        let groups = [
            17 * side(r1, &[1, 2, 3]) + side(s, &[1, 2, 4, 7, 11, 16, 24, 40]),
            119 + 3 * fine + (v.signum() + 1) as usize,
            239 + 9 * coarse + side(v, &[6, 24, 60, 140]),
            c + if y + x == 0 {
                9
            } else {
                side(s, &[1, 4, 10, 22])
            },
            c + 10 + area,
            c + 26 + 5 * side(w, &[1, 2]) + side(n, &[1, 2]),
            c + 51 + coarse,
        ];
        let set = rank(l, &[1, 2, 3, 4, 6, 8, 11, 16, 24]);
        let centre = own.centre;
        if !self.decision(&groups, set, 0)? {
            return Ok(centre);
        }
        let below = self.decision(&groups, set, 1)?;
        let mut d = 1;
        while d < 20 {
            let node = d.min(5) + if below { 6 } else { 1 };
            if !self.decision(&groups, set, node)? {
                break;
            }
            d += 1;
        }
        let mut d = d as i64;
        if d == 20 {
            d += self.exp_golomb()?;
        }
        let symbol = if below { centre - d } else { centre + d };
        if symbol.abs() > 1 << 24 {
            return Err("a symbol is too large");
        }
        Ok(symbol)
    }

    fn decision(&mut self, groups: &[usize; 7], set: usize, node: usize) -> Result<bool, Refused> {
        let mut odds: Vec<i64> = Vec::new();
        for group in groups {
            let p = self.cells[12 * group + node];
            odds.push(self.stretch[(p >> 10) as usize]);
        }
        odds.push(256);
        let weights = &mut self.weights[8 * (12 * set + node)..][..8];
        let sum: i64 = odds.iter().zip(&*weights).map(|(o, w)| o * w).sum();
        let one = squash((sum >> 16).clamp(-2815, 2815));
        let bit = self.body.bit(one)?;
        let error = 65536 * i64::from(bit) - one;
        for (weight, odds) in weights.iter_mut().zip(&odds) {
            let moved = *weight + ((odds * error + (1 << 17)) >> 18);
            *weight = moved.clamp(-(1 << 22), 1 << 22);
        }
        for group in groups {
            let p = &mut self.cells[12 * group + node];
            let target = if bit { (1 << 22) - 1 } else { 0 };
            *p += (target - *p) >> 9;
        }
        Ok(bit)
    }

    fn exp_golomb(&mut self) -> Result<i64, Refused> {
        let mut k = 0;
        while !self.body.bit(32768)? {
            k += 1;
            if k > 25 {
                return Err("a symbol is too large");
            }
        }
        let mut e = 1;
        for _ in 0..k {
            e = 2 * e + i64::from(self.body.bit(32768)?);
        }
        Ok(e - 1)
    }
}
