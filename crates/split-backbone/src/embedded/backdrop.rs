//! What stands behind an object: landscapes, rooms and close-ups, made of textured surfaces.

use super::canvas::{Canvas, SIDE};
use super::draw::Draw;
use super::geometry::{Vec3, fraction, mix, scale, smoothstep};
use super::texture::{Grain, Textures};

/// Joints in a surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joints {
    None,
    Bricks,
    Planks,
    Tiles,
}

/// A flat textured material in linear light.
struct Surface {
    grain: Grain,
    dark: Vec3,
    light: Vec3,
    contrast: f32,
    /// Repeats of the map over the width of the picture.
    repeats: f32,
    grit: f32,
    joints: Joints,
    offset: [f32; 2],
}

impl Surface {
    fn new(grain: Grain, base: Vec3, spread: f32, draw: &mut Draw) -> Self {
        let base = scale(draw.tinted(base, 0.15), draw.within(0.6, 1.5));
        Self {
            grain,
            dark: scale(base, 1.0 - spread),
            light: scale(draw.tinted(base, 0.15), 1.0 + spread),
            contrast: draw.within(0.8, 1.7),
            repeats: draw.within(0.7, 2.4),
            grit: draw.within(0.2, 0.8),
            joints: Joints::None,
            offset: [draw.unit(), draw.unit()],
        }
    }

    /// Colour at `(u, v)` in picture widths; `footprint` is the size of a sample there.
    fn colour(&self, textures: &Textures, u: f32, v: f32, footprint: f32) -> Vec3 {
        let (mut tu, tv) = (
            u * self.repeats + self.offset[0],
            v * self.repeats + self.offset[1],
        );
        let size = footprint * self.repeats;
        let (gap, shade, shift) = self.joint(u, v);
        tu += shift;
        let coarse = textures.sample(self.grain, tu, tv, size);
        let stain = textures.sample(Grain::Cloudy, tu * 0.31, tv * 0.31, size * 0.31);
        let fine = textures.sample(Grain::Gritty, tu * 2.7, tv * 2.7, size * 2.7);
        let t = (0.5 + 0.5 * self.contrast * coarse + shade).clamp(0.0, 1.0);
        let k = (1.0 + self.grit * fine + 0.25 * stain) * gap;
        scale(mix(self.dark, self.light, t), k.max(0.02))
    }

    /// Darkening in the joint, shade and shift of the brick, plank or tile.
    fn joint(&self, u: f32, v: f32) -> (f32, f32, f32) {
        let (columns, rows, width) = match self.joints {
            Joints::None => return (1.0, 0.0, 0.0),
            Joints::Bricks => (5.0, 11.0, 0.09),
            Joints::Planks => (1.3, 7.0, 0.05),
            Joints::Tiles => (5.0, 5.0, 0.05),
        };
        let y = (v + self.offset[1]) * rows;
        let row = y - fraction(y);
        let stagger = if self.joints == Joints::Tiles {
            0.0
        } else {
            row * 0.37
        };
        let x = (u + self.offset[0]) * columns + stagger;
        let column = x - fraction(x);
        let near = |t: f32, w: f32| fraction(t).min(1.0 - fraction(t)) / w;
        let edge = near(y, width).min(near(x, width * columns / rows)).min(1.0);
        let mixed = (row * 12.9 + column * 78.2) * 0.317;
        let random = fraction(mixed);
        (0.45 + 0.55 * edge, 0.5 * (random - 0.5), random * 3.0)
    }
}

fn ground(draw: &mut Draw) -> Surface {
    let kinds: [(Grain, Vec3, f32); 7] = [
        (Grain::Streaked, [0.10, 0.17, 0.04], 0.7),
        (Grain::Cellular, [0.09, 0.14, 0.05], 0.75),
        (Grain::Gritty, [0.42, 0.34, 0.22], 0.3),
        (Grain::Cellular, [0.26, 0.24, 0.21], 0.5),
        (Grain::Gritty, [0.16, 0.16, 0.17], 0.4),
        (Grain::Cloudy, [0.22, 0.14, 0.08], 0.5),
        (Grain::Cellular, [0.24, 0.15, 0.06], 0.7),
    ];
    let (grain, base, spread) = kinds[draw.below(kinds.len())];
    Surface::new(grain, base, spread, draw)
}

fn wall(draw: &mut Draw) -> Surface {
    match draw.below(6) {
        0 => {
            let mut s = Surface::new(Grain::Gritty, [0.32, 0.14, 0.09], 0.35, draw);
            s.joints = Joints::Bricks;
            s
        }
        1 => {
            let mut s = Surface::new(Grain::Streaked, [0.30, 0.19, 0.10], 0.45, draw);
            s.joints = Joints::Planks;
            s
        }
        2 => {
            let base = draw.colour(0.35, 0.5);
            Surface::new(Grain::Cellular, base, 0.35, draw)
        }
        3 => Surface::new(Grain::Cellular, [0.07, 0.12, 0.04], 0.8, draw),
        4 => {
            let base = draw.colour(0.3, 0.45);
            let mut s = Surface::new(Grain::Cloudy, base, 0.12, draw);
            s.joints = Joints::Tiles;
            s
        }
        _ => {
            let base = draw.colour(0.25, 0.5);
            Surface::new(Grain::Cloudy, base, 0.2, draw)
        }
    }
}

fn floor(draw: &mut Draw) -> Surface {
    match draw.below(4) {
        0 => {
            let mut s = Surface::new(Grain::Streaked, [0.32, 0.19, 0.10], 0.4, draw);
            s.joints = Joints::Planks;
            s
        }
        1 => {
            let base = draw.colour(0.25, 0.45);
            let mut s = Surface::new(Grain::Cloudy, base, 0.2, draw);
            s.joints = Joints::Tiles;
            s
        }
        2 => {
            let base = draw.colour(0.5, 0.35);
            Surface::new(Grain::Gritty, base, 0.35, draw)
        }
        _ => {
            let base = draw.colour(0.5, 0.3);
            let mut s = Surface::new(Grain::Cellular, base, 0.5, draw);
            s.repeats *= 1.6;
            s
        }
    }
}

/// Where the ground ends, as a fraction of the height from the top; 0 if it fills the picture.
pub(super) fn paint(canvas: &mut Canvas, textures: &Textures, draw: &mut Draw) -> f32 {
    match draw.below(9) {
        0..=3 => landscape(canvas, textures, draw),
        4..=6 => room(canvas, textures, draw),
        _ => close_up(canvas, textures, draw),
    }
}

/// Perspective: picture widths on the ground seen at `(x, y)` and the footprint of a sample.
fn on_ground(x: f32, y: f32, horizon: f32) -> (f32, f32, f32) {
    let depth = 0.55 / (y - horizon + 0.09);
    (
        (x - 0.5) * depth,
        depth,
        depth / f32::from(u8::try_from(SIDE).expect("128")),
    )
}

fn landscape(canvas: &mut Canvas, textures: &Textures, draw: &mut Draw) -> f32 {
    let horizon = draw.within(0.2, 0.6);
    let near = ground(draw);
    let trees = Surface::new(Grain::Cellular, [0.06, 0.10, 0.04], 0.75, draw);
    let hills = Surface::new(Grain::Cloudy, [0.16, 0.2, 0.2], 0.35, draw);
    let (tree_height, ridge) = (draw.within(-0.05, 0.35), draw.within(0.02, 0.22));
    let haze = draw.within(0.0, 0.5);
    let zenith = draw.tinted([0.16, 0.3, 0.62], 0.3);
    let low = draw.tinted([0.62, 0.66, 0.7], 0.25);
    let cloud = draw.within(0.0, 1.0);
    let shift = [draw.unit(), draw.unit()];
    let step = 1.0 / f32::from(u8::try_from(SIDE).expect("128"));
    canvas.fill(|x, y| {
        if y > horizon {
            let (u, v, footprint) = on_ground(x, y, horizon);
            return near.colour(textures, u, v, footprint);
        }
        let rise = horizon - y;
        let profile = textures.sample(Grain::Cloudy, x * 0.5 + shift[0], shift[1], 0.0);
        let ragged = textures.sample(Grain::Cellular, x * 0.9 + shift[1], shift[0], 0.0);
        let air = mix(low, zenith, (rise * 1.6).min(1.0));
        if rise < tree_height * (0.6 + 0.5 * profile) + 0.05 * ragged {
            return mix(trees.colour(textures, x, y, step), low, haze * 0.5);
        }
        if rise < ridge * (1.0 - 1.2 * profile) {
            return mix(hills.colour(textures, x, y, step), low, haze);
        }
        let puff = textures.sample(Grain::Cloudy, x * 0.4 + shift[1], y * 0.8 + shift[0], step);
        mix(
            air,
            [0.9, 0.9, 0.92],
            smoothstep(0.1, 0.9, puff + cloud - 0.5) * 0.8,
        )
    });
    horizon
}

fn room(canvas: &mut Canvas, textures: &Textures, draw: &mut Draw) -> f32 {
    let edge = draw.within(0.3, 0.75);
    let slope = draw.within(-0.15, 0.15);
    let (back, base) = (wall(draw), floor(draw));
    let skirting = if draw.chance(0.5) {
        draw.within(0.02, 0.06)
    } else {
        0.0
    };
    let board = draw.colour(0.2, 0.6);
    let (glow_x, glow) = (draw.unit(), draw.within(0.0, 0.7));
    let step = 1.0 / f32::from(u8::try_from(SIDE).expect("128"));
    canvas.fill(|x, y| {
        let line = edge + slope * (x - 0.5);
        let d = (x - glow_x) * (x - glow_x) + (y - 0.2) * (y - 0.2);
        let k = 1.0 - glow * (1.2 * d).min(0.8);
        if y > line {
            let (u, v, footprint) = on_ground(x, y, line - 0.25);
            return scale(base.colour(textures, u, v, footprint), k);
        }
        if y > line - skirting {
            return scale(board, k);
        }
        scale(back.colour(textures, x, y, step), k)
    });
    edge
}

fn close_up(canvas: &mut Canvas, textures: &Textures, draw: &mut Draw) -> f32 {
    let surface = if draw.chance(0.65) {
        ground(draw)
    } else {
        floor(draw)
    };
    let tilt = draw.within(0.2, 1.2);
    canvas.fill(|x, y| {
        let (u, v, footprint) = on_ground(x, y, -tilt);
        surface.colour(textures, u * 1.5, v * 2.5, footprint * 1.5)
    });
    0.0
}
