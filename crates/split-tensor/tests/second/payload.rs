//! Sections 3 to 5 of docs/format.md: payloads, tables, escapes.

use super::mixing::{self, Mixing};
use super::{Bits, Bytes, Refused, unfold};

#[derive(Clone)]
pub(crate) struct Table {
    min: i64,
    frequencies: Vec<u64>,
}

#[derive(Clone)]
pub(crate) struct Classes {
    thresholds: Vec<i64>,
    tables: Vec<usize>,
    first: usize,
}

#[derive(Clone)]
pub(crate) enum Order {
    Shared,
    Channels(Vec<usize>),
    Neighbours {
        by_value: bool,
        channels: Vec<Classes>,
    },
}

#[derive(Clone)]
pub(crate) struct Set {
    pub(crate) tables: Vec<Table>,
    pub(crate) order: Order,
    pub(crate) mixing: Option<Mixing>,
}

impl Set {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let mut bytes = Bytes(bytes);
        if bytes.byte()? != 1 {
            return Err("another version of table sets");
        }
        let mut count = 1;
        let layout = bytes.byte()?;
        let order = match layout & !16 {
            0 => Order::Shared,
            1 => {
                let channels = bytes.count(1 << 14)?;
                count = bytes.count(4096)?;
                let indices = (0..channels).map(|_| bytes.count(4095));
                Order::Channels(indices.collect::<Result<_, _>>()?)
            }
            2 => {
                let channels = bytes.count(1 << 14)?;
                count = bytes.count(4096)?;
                let by_value = bytes.count(1)? == 1;
                let _millibits = bytes.count(64_000)?;
                let channels = (0..channels).map(|_| Classes::parse(&mut bytes));
                let channels = channels.collect::<Result<_, _>>()?;
                Order::Neighbours { by_value, channels }
            }
            _ => return Err("an unknown layout"),
        };
        let tables = (0..count).map(|_| Table::parse(&mut bytes));
        let tables = tables.collect::<Result<_, _>>()?;
        let mixing = if layout & 16 != 0 {
            Some(Mixing::parse(&mut bytes)?)
        } else {
            None
        };
        if bytes.0.is_empty() {
            Ok(Self {
                tables,
                order,
                mixing,
            })
        } else {
            Err("bytes after the tables")
        }
    }

    /// Symbols of a payload, channel by channel. `sides` are channels, height, width.
    pub(crate) fn decode(
        &self,
        sides: [usize; 3],
        descriptor: u8,
        body: &[u8],
    ) -> Result<Vec<i64>, Refused> {
        let picked: Vec<usize> = (0..sides[0]).collect();
        self.decode_segment(&picked, sides, descriptor, body)
    }

    /// The same for a segment with some of the channels.
    pub(crate) fn decode_segment(
        &self,
        picked: &[usize],
        sides: [usize; 3],
        descriptor: u8,
        body: &[u8],
    ) -> Result<Vec<i64>, Refused> {
        match (&self.mixing, descriptor) {
            (Some(mixing), 0) => mixing::decode(&mixing.of_channels(picked)?, sides, body),
            (Some(_), 1..=6 | 8..=14) => Err("a descriptor of sets that do not mix"),
            _ => {
                let order = self.of_channels(picked);
                decode(&self.tables, &order, sides, descriptor, body)
            }
        }
    }

    fn of_channels(&self, picked: &[usize]) -> Order {
        match &self.order {
            Order::Shared => Order::Shared,
            Order::Channels(tables) => {
                Order::Channels(picked.iter().map(|&channel| tables[channel]).collect())
            }
            Order::Neighbours { by_value, channels } => Order::Neighbours {
                by_value: *by_value,
                channels: picked.iter().map(|&at| channels[at].copy()).collect(),
            },
        }
    }
}

impl Classes {
    fn parse(bytes: &mut Bytes<'_>) -> Result<Self, Refused> {
        let count = bytes.count(15)?;
        let mut thresholds: Vec<i64> = Vec::new();
        for _ in 0..count {
            let next = match thresholds.last() {
                None => bytes.signed()?,
                Some(last) => {
                    last + i64::try_from(bytes.number()?).map_err(|_| "a threshold is too large")?
                }
            };
            thresholds.push(next);
        }
        let tables = (0..=count).map(|_| bytes.count(4095));
        let tables = tables.collect::<Result<_, _>>()?;
        Ok(Self {
            thresholds,
            tables,
            first: bytes.count(4095)?,
        })
    }

    fn copy(&self) -> Self {
        Self {
            thresholds: self.thresholds.clone(),
            tables: self.tables.clone(),
            first: self.first,
        }
    }
}

impl Table {
    fn parse(bytes: &mut Bytes<'_>) -> Result<Self, Refused> {
        let min = bytes.signed()?;
        let count = bytes.count(4095)?;
        let mut frequencies = Vec::new();
        for _ in 0..count {
            frequencies.push(bytes.number()?);
        }
        let sum: u64 = frequencies.iter().sum();
        if sum == 0 || sum >= 4096 {
            return Err("no slot is left for the escape, or all are");
        }
        Ok(Self { min, frequencies })
    }

    /// Symbol (nothing for the escape), frequency and start of the entry that has a slot.
    fn entry(&self, slot: u64) -> (Option<i64>, u64, u64) {
        let mut start = 0;
        for (symbol, &frequency) in (self.min..).zip(&self.frequencies) {
            if slot < start + frequency {
                return (Some(symbol), frequency, start);
            }
            start += frequency;
        }
        (None, 4096 - start, start)
    }

    fn max(&self) -> i64 {
        self.min + self.frequencies.len() as i64 - 1
    }

    fn lists(&self, symbol: i64) -> bool {
        let index = usize::try_from(symbol - self.min).ok();
        index.is_some_and(|index| self.frequencies.get(index).is_some_and(|&f| f > 0))
    }
}

/// Lanes, their words, and the values of escapes.
struct Coder<'a> {
    states: Vec<u64>,
    words: &'a [u8],
    decoded: usize,
    escapes: Bits<'a>,
    escaped: bool,
}

impl Coder<'_> {
    fn symbol(&mut self, table: &Table) -> Result<i64, Refused> {
        let lane = self.decoded % self.states.len();
        self.decoded += 1;
        let state = self.states[lane];
        let slot = state % 4096;
        let (symbol, frequency, start) = table.entry(slot);
        let mut next = frequency * (state / 4096) + slot - start;
        if next < 1 << 15 && !self.words.is_empty() {
            let (word, rest) = self.words.split_at_checked(2).ok_or("half a word")?;
            next = 65536 * next + u64::from(word[0]) + 256 * u64::from(word[1]);
            self.words = rest;
        }
        self.states[lane] = next;
        match symbol {
            Some(symbol) => Ok(symbol),
            None => self.escape(table),
        }
    }

    fn escape(&mut self, table: &Table) -> Result<i64, Refused> {
        self.escaped = true;
        let below = self.escapes.bit()? == 1;
        let mut zeros = 0;
        while self.escapes.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return Err("an escape is too long");
            }
        }
        let distance = ((1u64 << zeros) + self.escapes.bits(zeros)? - 1) as i64;
        let symbol = if below {
            table.max() - distance
        } else {
            table.max() + 1 + distance
        };
        if symbol.abs() > 1 << 24 || table.lists(symbol) {
            return Err("an escape has a slot or is too large");
        }
        Ok(symbol)
    }

    fn finish(self, with_escapes: bool) -> Result<(), Refused> {
        if !self.words.is_empty() {
            return Err("words are left");
        }
        let several = self.states.len() > 1;
        let ends =
            |&state: &u64| state == 0 || (several && state.is_power_of_two() && state <= 1 << 15);
        if !self.states.iter().all(ends) {
            return Err("a state does not end where an encoder starts");
        }
        let length = self.escapes.bytes.len();
        if self.escaped != with_escapes || self.escapes.finish()? != length {
            return Err("escape values are left over");
        }
        Ok(())
    }
}

fn decode(
    tables: &[Table],
    order: &Order,
    sides: [usize; 3],
    descriptor: u8,
    body: &[u8],
) -> Result<Vec<i64>, Refused> {
    let count = sides.iter().product();
    let mut rest = Bytes(body);
    match descriptor {
        0..=6 => coded(tables, order, sides, (descriptor, false), &[], rest.0),
        8..=14 => {
            let length = rest.count(1 << 26)?;
            let escapes = rest.take(length)?;
            coded(
                tables,
                order,
                sides,
                (descriptor - 8, true),
                escapes,
                rest.0,
            )
        }
        7 => raw(count, body),
        15 => {
            if rest.byte()? != 0 {
                return Err("an unknown extension");
            }
            let length = rest.count(1 << 26)?;
            let set = Set::parse(rest.take(length)?)?;
            let channels = match &set.order {
                Order::Shared => sides[0],
                Order::Channels(tables) => tables.len(),
                Order::Neighbours { .. } => return Err("own tables with neighbours"),
            };
            if set.mixing.is_some() {
                return Err("own tables that mix");
            }
            if set.tables.len() > 16 || channels != sides[0] {
                return Err("own tables for another shape, or too many");
            }
            let inner = rest.byte()?;
            if inner == 15 {
                return Err("own tables within own tables");
            }
            decode(&set.tables, &set.order, sides, inner, rest.0)
        }
        _ => Err("an unknown descriptor"),
    }
}

fn raw(count: usize, body: &[u8]) -> Result<Vec<i64>, Refused> {
    let (&width, packed) = body.split_first().ok_or("bytes are missing")?;
    if width > 26 {
        return Err("raw symbols that are too wide");
    }
    let mut bits = Bits {
        bytes: packed,
        read: 0,
    };
    let mut values = Vec::new();
    let mut widest = 0;
    for _ in 0..count {
        let value = bits.bits(u64::from(width))?;
        widest = widest.max(64 - value.leading_zeros());
        values.push(unfold(value)?);
    }
    let too_large = values.iter().any(|value| value.abs() > 1 << 24);
    if widest != u32::from(width) || bits.finish()? != packed.len() || too_large {
        return Err("raw symbols of another width");
    }
    Ok(values)
}

fn coded(
    tables: &[Table],
    order: &Order,
    [channels, height, width]: [usize; 3],
    (lane_code, with_escapes): (u8, bool),
    escapes: &[u8],
    body: &[u8],
) -> Result<Vec<i64>, Refused> {
    let (states, words) = if lane_code == 0 {
        one_state(body)?
    } else {
        several_states(1 << lane_code, body)?
    };
    let mut coder = Coder {
        states,
        words,
        decoded: 0,
        escapes: Bits {
            bytes: escapes,
            read: 0,
        },
        escaped: false,
    };
    let plane = height * width;
    let mut values = vec![0; channels * plane];
    match order {
        Order::Shared | Order::Channels(_) => {
            for channel in 0..channels {
                let table = match order {
                    Order::Channels(indices) => indices[channel],
                    _ => 0,
                };
                for value in &mut values[channel * plane..(channel + 1) * plane] {
                    *value = coder.symbol(&tables[table])?;
                }
            }
        }
        Order::Neighbours {
            by_value,
            channels: classes,
        } => {
            for at in 0..plane {
                for (channel, classes) in classes.iter().enumerate() {
                    let begin = channel * plane;
                    let sum = sum_at(&values[begin..begin + plane], width, at, *by_value);
                    let table = sum.map_or(classes.first, |sum| {
                        let reached = classes.thresholds.iter().filter(|&&t| t <= sum);
                        classes.tables[reached.count()]
                    });
                    values[begin + at] = coder.symbol(&tables[table])?;
                }
            }
        }
    }
    coder.finish(with_escapes)?;
    Ok(values)
}

/// The sum over the neighbours, which the first symbol of a channel does not have.
fn sum_at(plane: &[i64], width: usize, at: usize, by_value: bool) -> Option<i64> {
    let g = |at: usize| if by_value { plane[at] } else { plane[at].abs() };
    let (row, column) = (at / width, at % width);
    if row == 0 {
        return (column > 0).then(|| 6 * g(at - 1));
    }
    let north = g(at - width);
    let north_east = if column + 1 == width {
        north
    } else {
        g(at - width + 1)
    };
    if column == 0 {
        return Some(5 * north + north_east);
    }
    Some(2 * g(at - 1) + 2 * north + g(at - width - 1) + north_east)
}

fn one_state(body: &[u8]) -> Result<(Vec<u64>, &[u8]), Refused> {
    let (count, least) = match body.len() {
        short @ 0..=4 => (
            short,
            if short == 0 {
                0
            } else {
                1u64 << (8 * (short - 1))
            },
        ),
        long if long % 2 == 1 => (3, 1 << 15),
        _ => (4, 1 << 24),
    };
    let state = (0..count).map(|at| u64::from(body[at]) << (8 * at)).sum();
    if state < least || state >= 1 << 31 {
        return Err("the state is out of range");
    }
    Ok((vec![state], &body[count..]))
}

fn several_states(lanes: usize, body: &[u8]) -> Result<(Vec<u64>, &[u8]), Refused> {
    let mut bits = Bits {
        bytes: body,
        read: 0,
    };
    let mut states = Vec::new();
    for _ in 0..lanes {
        let length = bits.bits(4)? + 15;
        states.push((1 << length) + bits.bits(length)?);
    }
    let used = bits.finish()?;
    let fits = states.iter().all(|&state| state < 1 << 31);
    if fits {
        Ok((states, &body[used..]))
    } else {
        Err("the state is out of range")
    }
}
