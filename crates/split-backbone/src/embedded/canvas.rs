//! The supersampled picture in linear light, and the drawing of solids into it.

use super::draw::Draw;
use super::geometry::{Vec3, add, dot, length, normalize, scale, smoothstep, sub};
use super::solid::{Hit, Material, Solid};

/// Samples a side: 2 x 2 for every one of 64 x 64 pixels.
pub(super) const SIDE: usize = 128;
/// Cells a side of the shadow map.
const CELLS: usize = 32;

/// Linear light, `SIDE * SIDE` samples, top row first.
pub(super) struct Canvas {
    pub(super) samples: Vec<Vec3>,
}

/// Sun or lamp, sky and light from the ground.
pub(super) struct Lighting {
    /// Towards the lamp, on the screen (x right, y up, z to the viewer).
    pub(super) towards: Vec3,
    pub(super) lamp: Vec3,
    pub(super) sky: Vec3,
    pub(super) bounce: Vec3,
}

impl Lighting {
    pub(super) fn drawn(draw: &mut Draw) -> Self {
        let towards = [
            draw.within(-1.0, 1.0),
            draw.within(0.25, 1.2),
            draw.within(-0.15, 1.1),
        ];
        let warmth = draw.within(-0.15, 0.3);
        let strength = draw.within(0.4, 1.5);
        let lamp = scale([1.0 + warmth, 1.0, 1.0 - warmth], strength);
        let fill = draw.within(0.25, 0.6);
        let sky = scale(draw.tinted([0.92, 1.0, 1.12], 0.1), fill);
        Self {
            towards: normalize(towards),
            lamp,
            sky,
            bounce: scale(
                draw.tinted([1.0, 0.9, 0.75], 0.15),
                fill * draw.within(0.2, 0.7),
            ),
        }
    }
}

/// Solids of one object, seen, with the plane that it stands on.
pub(super) struct Layer<'a> {
    solids: Vec<Solid>,
    materials: &'a [Material],
    /// A point of the ground plane and its normal; nothing that floats casts a shadow.
    ground: Option<(Vec3, Vec3)>,
    /// Middle, half extents and radius of a ball about all solids.
    centre: Vec3,
    half: Vec3,
    radius: f32,
}

impl<'a> Layer<'a> {
    pub(super) fn new(
        solids: Vec<Solid>,
        materials: &'a [Material],
        ground: Option<(Vec3, Vec3)>,
    ) -> Self {
        let (low, high) = bounds(&solids);
        let half = scale(sub(high, low), 0.5);
        let centre = scale(add(low, high), 0.5);
        Self {
            solids,
            materials,
            ground,
            centre,
            half,
            radius: length(half),
        }
    }

    /// True if any solid lies between `from` and the lamp.
    fn blocks(&self, from: Vec3, towards: Vec3) -> bool {
        near_ray(self.centre, self.radius * self.radius, from, towards)
            && self.solids.iter().any(|solid| {
                near_ray(
                    solid.centre(),
                    dot(solid.extent, solid.extent),
                    from,
                    towards,
                ) && solid.meet(from, towards).is_some()
            })
    }
}

/// Corners of the box about all solids.
pub(super) fn bounds(solids: &[Solid]) -> (Vec3, Vec3) {
    let mut low = [f32::MAX; 3];
    let mut high = [f32::MIN; 3];
    for solid in solids {
        for k in 0..3 {
            low[k] = low[k].min(solid.centre()[k] - solid.extent[k]);
            high[k] = high[k].max(solid.centre()[k] + solid.extent[k]);
        }
    }
    (low, high)
}

/// True if the line passes within the root of `reach` of `centre`.
fn near_ray(centre: Vec3, reach: f32, from: Vec3, towards: Vec3) -> bool {
    let to = sub(centre, from);
    let along = dot(to, towards);
    dot(to, to) - along * along < reach
}

fn coordinate(i: usize) -> f32 {
    f32::from(u8::try_from(i).expect("the canvas has 128 rows")) + 0.5
}

/// First and one past the last sample of a span, within the canvas.
fn span(centre: f32, half: f32) -> std::ops::Range<usize> {
    let clamp = |x: f32| {
        let x = super::geometry::floor_to_int(x.clamp(0.0, 128.0));
        usize::try_from(x).expect("clamped to 0..=128")
    };
    clamp(centre - half)..clamp(centre + half + 1.0).min(SIDE)
}

impl Canvas {
    pub(super) fn new() -> Self {
        Self {
            samples: vec![[0.0; 3]; SIDE * SIDE],
        }
    }

    /// Sets every sample from its place, in fractions of the width and height.
    pub(super) fn fill(&mut self, colour: impl Fn(f32, f32) -> Vec3) {
        for (i, sample) in self.samples.iter_mut().enumerate() {
            *sample = colour(coordinate(i % SIDE) / 128.0, coordinate(i / SIDE) / 128.0);
        }
    }

    /// Darkens the ground where the lamp does not reach it. `edge` is the far end of the
    /// ground as a fraction of the height.
    pub(super) fn cast_shadow(&mut self, layer: &Layer<'_>, light: &Lighting, edge: f32) {
        let Some((foot, normal)) = layer.ground else {
            return;
        };
        let mut lit = vec![1.0f32; CELLS * CELLS];
        for (i, cell) in lit.iter_mut().enumerate() {
            let x = 4.0 * coordinate(i % CELLS);
            let y = 128.0 - 4.0 * coordinate(i / CELLS);
            let z = foot[2] - ((x - foot[0]) * normal[0] + (y - foot[1]) * normal[1]) / normal[2];
            if layer.blocks([x, y, z], light.towards) {
                *cell = 0.0;
            }
        }
        let lit = smooth_cells(&lit);
        let total = light.lamp[1] * light.towards[1].max(0.1) + light.sky[1];
        let dark = light.sky[1] * 0.8 / total;
        for (y, row) in self.samples.chunks_exact_mut(SIDE).enumerate() {
            let fade = smoothstep(edge - 0.02, edge + 0.1, coordinate(y) / 128.0);
            if fade > 0.0 {
                for (x, sample) in row.iter_mut().enumerate() {
                    let cell = between_cells(&lit, x, y);
                    *sample = scale(*sample, 1.0 - (1.0 - dark) * (1.0 - cell) * fade);
                }
            }
        }
    }

    /// Draws the solids of a layer, nearest first by depth.
    pub(super) fn draw(&mut self, layer: &Layer<'_>, light: &Lighting) {
        let mut seen = Seen::new(layer);
        for (index, solid) in layer.solids.iter().enumerate() {
            let (centre, half) = (solid.centre(), solid.extent);
            for row in span(128.0 - centre[1], half[1]) {
                for column in span(centre[0], half[0]) {
                    let eye = eye(column, row, seen.start);
                    let Some(hit) = solid.meet(eye, INWARD) else {
                        continue;
                    };
                    let at = seen.index(column, row);
                    if hit.along < seen.along[at] {
                        seen.along[at] = hit.along;
                        seen.owner[at] = u16::try_from(index).unwrap_or(NOTHING);
                    }
                }
            }
        }
        self.shade(layer, light, &seen);
    }

    /// One shadow ray for each 2 x 2 samples: a ray for each costs three times as much and
    /// cannot be told apart after the camera.
    fn shade(&mut self, layer: &Layer<'_>, light: &Lighting, seen: &Seen) {
        for row in seen.rows.clone().step_by(2) {
            for column in seen.columns.clone().step_by(2) {
                let mut shadow = None;
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    let (x, y) = (column + dx, row + dy);
                    let Some((solid, hit)) = seen.hit(layer, x, y) else {
                        continue;
                    };
                    let material = &layer.materials[solid.material];
                    let colour = material.colour(solid.object_point(&hit));
                    let normal = solid.normal(&hit);
                    let open = *shadow.get_or_insert_with(|| {
                        let p = add(eye(x, y, seen.start - hit.along), normal);
                        let facing = dot(normal, light.towards) > 0.0;
                        if facing && !layer.blocks(p, light.towards) {
                            1.0
                        } else {
                            0.0
                        }
                    });
                    self.samples[y * SIDE + x] = lit(colour, normal, material.gloss, light, open);
                }
            }
        }
    }
}

/// Away from the viewer.
const INWARD: Vec3 = [0.0, 0.0, -1.0];
/// Owner of a sample that shows the background.
const NOTHING: u16 = u16::MAX;

fn eye(column: usize, row: usize, z: f32) -> Vec3 {
    [coordinate(column), 128.0 - coordinate(row), z]
}

/// What each sample of a layer's outline shows.
struct Seen {
    columns: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
    /// Where the rays start: in front of all solids.
    start: f32,
    along: Vec<f32>,
    owner: Vec<u16>,
}

impl Seen {
    fn new(layer: &Layer<'_>) -> Self {
        let (centre, radius) = (layer.centre, layer.radius);
        let even = |r: std::ops::Range<usize>| r.start / 2 * 2..r.end.div_ceil(2) * 2;
        let columns = even(span(centre[0], layer.half[0]));
        let rows = even(span(128.0 - centre[1], layer.half[1]));
        let count = columns.len() * rows.len();
        let (along, owner) = (vec![f32::MAX; count], vec![NOTHING; count]);
        Self {
            columns,
            rows,
            start: centre[2] + radius + 8.0,
            along,
            owner,
        }
    }

    fn index(&self, column: usize, row: usize) -> usize {
        (row - self.rows.start) * self.columns.len() + column - self.columns.start
    }

    fn hit<'a>(&self, layer: &'a Layer<'_>, column: usize, row: usize) -> Option<(&'a Solid, Hit)> {
        let owner = self.owner[self.index(column, row)];
        let solid = layer.solids.get(usize::from(owner))?;
        Some((solid, solid.meet(eye(column, row, self.start), INWARD)?))
    }
}

/// Diffuse light of lamp, sky and ground, and a highlight.
fn lit(colour: Vec3, normal: Vec3, gloss: f32, light: &Lighting, shadow: f32) -> Vec3 {
    let up = 0.5 + 0.5 * normal[1];
    let direct = dot(normal, light.towards).max(0.0) * shadow;
    let halfway = normalize(add(light.towards, [0.0, 0.0, 1.0]));
    let mut shine = dot(normal, halfway).max(0.0);
    for _ in 0..5 {
        shine *= shine;
    }
    let mirror = (1.0 - normal[2].clamp(0.0, 1.0)) * gloss * 0.25 * up;
    [0, 1, 2].map(|i| {
        let diffuse = light.lamp[i] * direct + light.sky[i] * up + light.bounce[i] * (1.0 - up);
        colour[i] * diffuse + light.lamp[i] * gloss * shine * shadow * 0.7 + light.sky[i] * mirror
    })
}

fn smooth_cells(cells: &[f32]) -> Vec<f32> {
    let at = |x: usize, y: usize| cells[y.min(CELLS - 1) * CELLS + x.min(CELLS - 1)];
    (0..CELLS * CELLS)
        .map(|i| {
            let (x, y) = (i % CELLS, i / CELLS);
            let (left, up) = (x.saturating_sub(1), y.saturating_sub(1));
            let row = |y: usize| at(left, y) + 2.0 * at(x, y) + at(x + 1, y);
            (row(up) + 2.0 * row(y) + row(y + 1)) / 16.0
        })
        .collect()
}

/// The shadow map at a sample, bilinear between the middles of its cells.
fn between_cells(cells: &[f32], column: usize, row: usize) -> f32 {
    let axis = |i: usize| {
        let twice = (2 * i + 1).saturating_sub(4);
        let part = f32::from(u8::try_from(twice % 8).expect("below 8")) / 8.0;
        (twice / 8, (twice / 8 + 1).min(CELLS - 1), part)
    };
    let ((x0, x1, fx), (y0, y1, fy)) = (axis(column), axis(row));
    let at = |x: usize, y: usize| cells[y * CELLS + x];
    let top = at(x0, y0) * (1.0 - fx) + at(x1, y0) * fx;
    let bottom = at(x0, y1) * (1.0 - fx) + at(x1, y1) * fx;
    top * (1.0 - fy) + bottom * fy
}
