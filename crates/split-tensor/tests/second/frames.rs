//! Sections 1, 2 and 6 of docs/format.md: quantizers, frames, files.

use super::payload::Set;
use super::{Bytes, Refused, crc32c};

/// What both ends know of one tensor.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) sides: [usize; 3],
    pub(crate) quantizer: Quantizer,
    pub(crate) set: Set,
    pub(crate) segments: Vec<usize>,
    pub(crate) order: Vec<usize>,
    pub(crate) fill: Vec<i64>,
}

#[derive(Clone)]
pub(crate) enum Quantizer {
    Steps(Vec<f32>),
    DeadZone([f32; 2], Vec<f32>),
    Affine(u32, Vec<(f32, i64)>),
    Levels(Vec<f32>),
}

impl Quantizer {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let mut bytes = Bytes(bytes);
        let found = match bytes.byte()? {
            0 => Self::Steps(steps(&mut bytes)?),
            1 => Self::DeadZone([bytes.float()?, bytes.float()?], steps(&mut bytes)?),
            2 => {
                let bits = u32::try_from(bytes.count(8)?).map_err(|_| "bits")?;
                let count = bytes.count(1 << 14)?.max(1);
                let entries = (0..count).map(|_| Ok((bytes.float()?, bytes.signed()?)));
                Self::Affine(bits, entries.collect::<Result<_, Refused>>()?)
            }
            3 => {
                let count = bytes.count(256)?;
                for _ in 1..count {
                    bytes.float()?;
                }
                let values = (0..count).map(|_| bytes.float());
                Self::Levels(values.collect::<Result<_, _>>()?)
            }
            _ => return Err("an unknown scheme"),
        };
        if bytes.0.is_empty() {
            Ok(found)
        } else {
            Err("bytes after the quantizer")
        }
    }

    pub(crate) fn value(&self, channel: usize, symbol: i64) -> Result<f32, Refused> {
        let s = symbol as f32;
        match self {
            Self::Steps(steps) => Ok(s * pick(steps, channel)),
            Self::DeadZone([_, restore], steps) => {
                let magnitude = (s.abs() + restore) * pick(steps, channel);
                Ok(match symbol {
                    0 => 0.0,
                    1.. => magnitude,
                    _ => -magnitude,
                })
            }
            Self::Affine(bits, entries) => {
                let half = 1i64 << (bits - 1);
                let (scale, zero) = pick(entries, channel);
                if symbol < -half || symbol >= half {
                    return Err("a symbol beyond the bits");
                }
                Ok((symbol - zero) as f32 * scale)
            }
            Self::Levels(values) => {
                let index = usize::try_from(symbol).map_err(|_| "no such level")?;
                values.get(index).copied().ok_or("no such level")
            }
        }
    }
}

fn steps(bytes: &mut Bytes<'_>) -> Result<Vec<f32>, Refused> {
    let count = bytes.count(1 << 14)?.max(1);
    (0..count).map(|_| bytes.float()).collect()
}

/// One entry serves all channels.
fn pick<T: Copy>(entries: &[T], channel: usize) -> T {
    entries[if entries.len() == 1 { 0 } else { channel }]
}

fn check(whole: &[u8], rest: &mut Bytes<'_>) -> Result<(), Refused> {
    let before = &whole[..whole.len() - rest.0.len()];
    if rest.u32()? == crc32c(before) {
        Ok(())
    } else {
        Err("the checksum differs")
    }
}

fn origin(bytes: &mut Bytes<'_>) -> Result<(u32, usize), Refused> {
    Ok((bytes.u32()?, bytes.count(65535)?))
}

fn sides(bytes: &mut Bytes<'_>) -> Result<[usize; 3], Refused> {
    Ok([
        bytes.count(1 << 14)?,
        bytes.count(1 << 24)?,
        bytes.count(1 << 24)?,
    ])
}

/// One latent: bank, rung and symbols.
pub(crate) fn single(
    frame: &[u8],
    set: &Set,
    shape: [usize; 3],
) -> Result<(u32, usize, Vec<i64>), Refused> {
    let mut bytes = Bytes(frame);
    let first = bytes.byte()?;
    if first >> 6 != 1 {
        return Err("another kind");
    }
    let (bank, rung) = origin(&mut bytes)?;
    if first & 16 != 0 && sides(&mut bytes)? != shape {
        return Err("another shape");
    }
    let length = bytes.count(1 << 26)?;
    let body = bytes.take(length)?;
    if first & 32 != 0 {
        check(frame, &mut bytes)?;
    }
    if !bytes.0.is_empty() {
        return Err("bytes after the frame");
    }
    let symbols = set.decode(shape, first & 15, body)?;
    Ok((bank, rung, symbols))
}

/// Tensor and channels of every segment.
fn segments_of(plans: &[Plan]) -> Vec<(usize, Vec<usize>)> {
    let mut found = Vec::new();
    for round in 0..1024 {
        for (tensor, plan) in plans.iter().enumerate() {
            if let Some(&count) = plan.segments.get(round) {
                let begin: usize = plan.segments[..round].iter().sum();
                found.push((tensor, plan.order[begin..begin + count].to_vec()));
            }
        }
    }
    found
}

/// All symbols as their fill.
pub(crate) fn empty(plans: &[Plan]) -> Vec<Vec<i64>> {
    let of = |plan: &Plan| {
        let plane = plan.sides[1] * plan.sides[2];
        plan.fill
            .iter()
            .flat_map(|&fill| vec![fill; plane])
            .collect()
    };
    plans.iter().map(of).collect()
}

fn segment(
    plans: &[Plan],
    index: usize,
    descriptor: u8,
    body: &[u8],
    symbols: &mut [Vec<i64>],
) -> Result<(), Refused> {
    let (tensor, channels) = segments_of(plans).swap_remove(index);
    let plan = &plans[tensor];
    let [_, height, width] = plan.sides;
    let shape = [channels.len(), height, width];
    let values = plan
        .set
        .decode_segment(&channels, shape, descriptor, body)?;
    for (channel, plane) in channels.into_iter().zip(values.chunks(height * width)) {
        symbols[tensor][channel * plane.len()..][..plane.len()].copy_from_slice(plane);
    }
    Ok(())
}

/// Plans of the first rows and columns, in cells of the smallest tensor.
fn part_of(plans: &[Plan], [rows, columns]: [usize; 2]) -> Result<Vec<Plan>, Refused> {
    let least = |axis: usize| plans.iter().map(|plan| plan.sides[axis]).min();
    let (Some(height), Some(width)) = (least(1), least(2)) else {
        return Err("no tensors");
    };
    if rows == 0 || columns == 0 || rows > height || columns > width {
        return Err("no such part");
    }
    if (rows, columns) == (height, width) {
        return Err("the whole called a part");
    }
    let part = |plan: &Plan| {
        let [channels, own_height, own_width] = plan.sides;
        if own_height % height != 0 || own_width % width != 0 {
            return Err("cells that are cut");
        }
        Ok(Plan {
            sides: [
                channels,
                own_height / height * rows,
                own_width / width * columns,
            ],
            ..plan.clone()
        })
    };
    plans.iter().map(part).collect()
}

/// One frame with segments: symbols of each tensor, and what follows the frame. Where the
/// frame may be cut or damaged, segments that are left out keep their fill.
pub(crate) fn bundle<'a>(
    frame: &'a [u8],
    plans: &[Plan],
    partly: bool,
) -> Result<(Vec<Vec<i64>>, &'a [u8]), Refused> {
    let mut bytes = Bytes(frame);
    let first = bytes.byte()?;
    let checksums = first >> 4 & 3;
    if first >> 6 != 2 || first & 7 != 0 || checksums == 3 {
        return Err("another kind, or reserved bits");
    }
    origin(&mut bytes)?;
    let part = if first & 8 == 0 {
        None
    } else {
        let sides = [bytes.count(1 << 24)?, bytes.count(1 << 24)?];
        Some(part_of(plans, sides)?)
    };
    let plans = part.as_deref().unwrap_or(plans);
    let count = bytes.count(1024)?;
    if count != segments_of(plans).len() {
        return Err("another number of segments");
    }
    let mut index = Vec::new();
    for _ in 0..count {
        index.push((bytes.byte()?, bytes.count(1 << 26)?));
    }
    let header = &frame[..frame.len() - bytes.0.len()];
    let mut symbols = empty(plans);
    let mut left_out = 0;
    for (number, (descriptor, length)) in index.into_iter().enumerate() {
        let Ok(body) = bytes.take(length) else {
            left_out += 1;
            break;
        };
        if checksums == 2 {
            let computed = crc32c(&[header, body].concat());
            if bytes.u32().ok() != Some(computed) {
                left_out += 1;
                continue;
            }
        }
        segment(plans, number, descriptor, body, &mut symbols)?;
    }
    if left_out > 0 && (!partly || checksums == 1) {
        return Err("segments are cut or damaged");
    }
    if checksums == 1 {
        check(frame, &mut bytes)?;
    }
    Ok((symbols, bytes.0))
}

/// Packets one after another, all of one group.
pub(crate) fn packets(mut stream: &[u8], plans: &[Plan]) -> Result<Vec<Vec<i64>>, Refused> {
    let mut symbols = empty(plans);
    while !stream.is_empty() {
        let mut bytes = Bytes(stream);
        let first = bytes.byte()?;
        if first >> 6 != 3 || first & 16 != 0 {
            return Err("another kind, or reserved bits");
        }
        origin(&mut bytes)?;
        let _group = bytes.count(65535)?;
        let number = bytes.count(1023)?;
        let length = bytes.count(1 << 26)?;
        let body = bytes.take(length)?;
        if first & 32 != 0 {
            check(stream, &mut bytes)?;
        }
        segment(plans, number, first & 15, body, &mut symbols)?;
        stream = bytes.0;
    }
    Ok(symbols)
}

/// A whole file: plans, and symbols of each tensor of each frame.
#[expect(clippy::type_complexity, reason = "frames of tensors of symbols")]
pub(crate) fn file(whole: &[u8]) -> Result<(Vec<Plan>, Vec<Vec<Vec<i64>>>), Refused> {
    let mut bytes = Bytes(whole);
    if bytes.take(8)? != [0x93, 0x53, 0x50, 0x4c, 0x54, 0x0d, 0x0a, 1] {
        return Err("not a file of this version");
    }
    let length = bytes.count(1 << 24)?;
    let mut plans = Bytes(bytes.take(length)?);
    check(whole, &mut bytes)?;
    origin(&mut plans)?;
    let frame_count = plans.count(1 << 28)?;
    let tensor_count = plans.count(64)?;
    let tensors = (0..tensor_count).map(|_| plan(&mut plans));
    let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
    let mut frames = Vec::new();
    for _ in 0..frame_count {
        let (symbols, rest) = bundle(bytes.0, &tensors, false)?;
        frames.push(symbols);
        bytes.0 = rest;
    }
    if plans.0.is_empty() && bytes.0.is_empty() {
        Ok((tensors, frames))
    } else {
        Err("bytes are left")
    }
}

fn plan(bytes: &mut Bytes<'_>) -> Result<Plan, Refused> {
    let sides = sides(bytes)?;
    let length = bytes.count(1 << 24)?;
    let quantizer = Quantizer::parse(bytes.take(length)?)?;
    let length = bytes.count(1 << 24)?;
    let set = Set::parse(bytes.take(length)?)?;
    let count = bytes.count(1024)?;
    let segments = (0..count).map(|_| bytes.count(1 << 14));
    let segments = segments.collect::<Result<_, _>>()?;
    let order = if bytes.byte()? == 0 {
        (0..sides[0]).collect()
    } else {
        let order = (0..sides[0]).map(|_| bytes.count(1 << 14));
        order.collect::<Result<_, _>>()?
    };
    let fill = if bytes.byte()? == 0 {
        vec![0; sides[0]]
    } else {
        let fill = (0..sides[0]).map(|_| bytes.signed());
        fill.collect::<Result<_, _>>()?
    };
    Ok(Plan {
        sides,
        quantizer,
        set,
        segments,
        order,
        fill,
    })
}
