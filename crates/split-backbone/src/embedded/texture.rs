//! Noise: the library of tileable maps that surfaces read, and the three-dimensional noise
//! that colours objects.

use super::draw::{Draw, scramble};
use super::geometry::{Vec3, floor_to_int, fraction};

/// Side of the finest map in texels.
const SIDE: usize = 256;
/// Maps per kind: 256, 128, 64 and 32 texels a side.
const LEVELS: usize = 4;

/// What a map looks like. All have mean 0 and values of about -1 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    /// 1/f noise: plaster, clouds, soil, stains.
    Cloudy,
    /// Rougher, with most of its power in small detail: sand, asphalt, carpet.
    Gritty,
    /// Rounded cells with dark gaps: pebbles, leaves, fur of a bush.
    Cellular,
    /// Streaks along v: grass, wood, brushed cloth.
    Streaked,
}

/// All maps, made once for a call and shared by its threads.
pub(super) struct Textures {
    maps: [Vec<Vec<f32>>; 4],
}

impl Textures {
    pub(super) fn new() -> Self {
        let mut draw = Draw::new(0x7e47, 0xfeed, 0);
        let gains = [0.55f32, 0.95];
        let cloudy = fractal(&mut draw, gains[0], [4, 4]);
        let gritty = fractal(&mut draw, gains[1], [4, 4]);
        let cellular = cells(&mut draw, 1100);
        let streaked = fractal(&mut draw, 0.75, [32, 2]);
        Self {
            maps: [cloudy, gritty, cellular, streaked].map(pyramid),
        }
    }

    /// Value at `(u, v)`, one tile being 1 by 1. `footprint` is the size of a sample in tiles
    /// and picks the level, so that far ground does not flicker.
    pub(super) fn sample(&self, grain: Grain, u: f32, v: f32, footprint: f32) -> f32 {
        let texels = footprint * 256.0;
        let level = if texels < 1.5 {
            0
        } else if texels < 3.0 {
            1
        } else if texels < 6.0 {
            2
        } else {
            LEVELS - 1
        };
        bilinear(&self.maps[grain as usize][level], SIDE >> level, u, v)
    }
}

/// Bilinear look-up in a square map that repeats; `side` is a power of two.
fn bilinear(map: &[f32], side: usize, u: f32, v: f32) -> f32 {
    let size = f32::from(u16::try_from(side).expect("at most 256"));
    let (x, y) = (u * size, v * size);
    let (fx, fy) = (fraction(x), fraction(y));
    let mask = side - 1;
    let wrapped = |t: f32| (floor_to_int(t) & 0xff).unsigned_abs() as usize & mask;
    let (column, row) = (wrapped(x), wrapped(y));
    let (right, below) = ((column + 1) & mask, (row + 1) & mask);
    let at = |r: usize, c: usize| map[r * side + c];
    let top = at(row, column) * (1.0 - fx) + at(row, right) * fx;
    let bottom = at(below, column) * (1.0 - fx) + at(below, right) * fx;
    top * (1.0 - fy) + bottom * fy
}

/// Sum of value-noise octaves that start at `base` cells per side and double; `gain` is the
/// amplitude of an octave relative to the one before (0.5 is close to 1/f in amplitude).
fn fractal(draw: &mut Draw, gain: f32, base: [usize; 2]) -> Vec<f32> {
    let mut map = vec![0.0; SIDE * SIDE];
    let mut amplitude = 1.0;
    let mut cells = base;
    while cells[0] <= SIDE && cells[1] <= SIDE {
        let lattice: Vec<f32> = (0..cells[0] * cells[1]).map(|_| draw.bell()).collect();
        for (i, out) in map.iter_mut().enumerate() {
            *out += amplitude * lattice_value(&lattice, cells, i % SIDE, i / SIDE);
        }
        amplitude *= gain;
        cells = cells.map(|c| c * 2);
    }
    normalized(map)
}

/// Smooth interpolation of a repeating lattice at a texel.
fn lattice_value(lattice: &[f32], cells: [usize; 2], x: usize, y: usize) -> f32 {
    let axis = |p: usize, n: usize| {
        let (cell, rest) = (p * n / SIDE, p * n % SIDE);
        let t = f32::from(u16::try_from(rest).expect("below 256")) / 256.0;
        (cell, (cell + 1) % n, t * t * (3.0 - 2.0 * t))
    };
    let (x0, x1, fx) = axis(x, cells[0]);
    let (y0, y1, fy) = axis(y, cells[1]);
    let at = |cx: usize, cy: usize| lattice[cy * cells[0] + cx];
    let top = at(x0, y0) * (1.0 - fx) + at(x1, y0) * fx;
    let bottom = at(x0, y1) * (1.0 - fx) + at(x1, y1) * fx;
    top * (1.0 - fy) + bottom * fy
}

/// Rounded bumps of random height and size, laid over one another like leaves.
fn cells(draw: &mut Draw, count: usize) -> Vec<f32> {
    let mut map = vec![-1.5f32; SIDE * SIDE];
    for _ in 0..count {
        let (cx, cy) = (draw.below(SIDE), draw.below(SIDE));
        let (radius, lift, tilt) = (3 + draw.below(12), draw.within(-1.0, 1.0), draw.bell());
        let limit = f32::from(u16::try_from(radius * radius).expect("at most 324"));
        for dy in 0..=2 * radius {
            for dx in 0..=2 * radius {
                let x = f32::from(u16::try_from(dx).expect("at most 36"))
                    - f32::from(u16::try_from(radius).expect("at most 18"));
                let y = f32::from(u16::try_from(dy).expect("at most 36"))
                    - f32::from(u16::try_from(radius).expect("at most 18"));
                let d = (x * x + 1.6 * y * y) / limit;
                if d < 1.0 {
                    let texel =
                        (cy + SIDE + dy - radius) % SIDE * SIDE + (cx + SIDE + dx - radius) % SIDE;
                    let height = lift + (1.0 - d).sqrt() + 0.05 * tilt * x;
                    map[texel] = map[texel].max(height);
                }
            }
        }
    }
    normalized(map)
}

/// Mean 0, standard deviation 0.5.
fn normalized(mut map: Vec<f32>) -> Vec<f32> {
    let count = f32::from(u16::MAX) + 1.0;
    let mean = map.iter().sum::<f32>() / count;
    let variance = map.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / count;
    let k = 0.5 / variance.sqrt();
    for x in &mut map {
        *x = (*x - mean) * k;
    }
    map
}

/// The map and its halvings by 2x2 means.
fn pyramid(finest: Vec<f32>) -> Vec<Vec<f32>> {
    let mut levels = vec![finest];
    for level in 1..LEVELS {
        let side = SIDE >> level;
        let above = &levels[level - 1];
        let at = |x: usize, y: usize| above[y * side * 2 + x];
        let halved = (0..side * side)
            .map(|i| {
                let (x, y) = (i % side * 2, i / side * 2);
                0.25 * (at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1))
            })
            .collect();
        levels.push(halved);
    }
    levels
}

/// Smooth noise in space, about -1 to 1, one feature per unit length; `salt` picks another
/// field.
pub(super) fn noise3(p: Vec3, salt: u32) -> f32 {
    let f = p.map(|t| {
        let t = fraction(t);
        t * t * (3.0 - 2.0 * t)
    });
    let [x, y, z] = p.map(floor_to_int);
    let corner = |dx: i32, dy: i32, dz: i32| lattice3([x + dx, y + dy, z + dz], salt);
    let lerp = |a: f32, b: f32, t: f32| a + (b - a) * t;
    let near = lerp(
        lerp(corner(0, 0, 0), corner(1, 0, 0), f[0]),
        lerp(corner(0, 1, 0), corner(1, 1, 0), f[0]),
        f[1],
    );
    let far = lerp(
        lerp(corner(0, 0, 1), corner(1, 0, 1), f[0]),
        lerp(corner(0, 1, 1), corner(1, 1, 1), f[0]),
        f[1],
    );
    lerp(near, far, f[2])
}

fn lattice3(cell: [i32; 3], salt: u32) -> f32 {
    let [x, y, z] = cell.map(i32::cast_unsigned);
    let mut h = x.wrapping_mul(0x8da6_b343) ^ y.wrapping_mul(0xd816_3841);
    h ^= z.wrapping_mul(0xcb1a_b31f) ^ salt.wrapping_mul(0x9e37_79b1);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 13)).wrapping_mul(0x297a_2d39);
    let top = u16::try_from((h ^ (h >> 16)) >> 16).expect("16 bits are left");
    f32::from(top) / 32768.0 - 1.0
}

/// A 32-bit salt for [`noise3`].
pub(super) fn salt(draw: &mut Draw) -> u32 {
    u32::try_from(scramble(draw.bits()) >> 32).expect("32 bits are left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_repeat_without_a_seam() {
        let textures = Textures::new();
        for grain in [
            Grain::Cloudy,
            Grain::Gritty,
            Grain::Cellular,
            Grain::Streaked,
        ] {
            let inside = textures.sample(grain, 0.3, 0.7, 0.0);
            let outside = textures.sample(grain, 5.3, -2.3, 0.0);
            assert!((inside - outside).abs() < 1e-2, "{grain:?}");
        }
    }

    #[test]
    fn coarse_levels_are_smoother() {
        let textures = Textures::new();
        let roughness = |footprint: f32| -> f32 {
            (0..200u8)
                .map(|i| {
                    let u = f32::from(i) / 200.0;
                    let a = textures.sample(Grain::Gritty, u, 0.5, footprint);
                    (a - textures.sample(Grain::Gritty, u + 1.0 / 256.0, 0.5, footprint)).abs()
                })
                .sum()
        };
        assert!(roughness(0.1) < 0.6 * roughness(0.0));
    }

    #[test]
    fn space_noise_is_continuous_and_bounded() {
        for i in 0..500u16 {
            let t = f32::from(i) / 37.0;
            let here = noise3([t, -t * 0.7, t * 1.3], 9);
            let near = noise3([t + 1e-3, -t * 0.7, t * 1.3], 9);
            assert!(here.abs() <= 1.0);
            assert!((here - near).abs() < 0.01);
        }
    }
}
