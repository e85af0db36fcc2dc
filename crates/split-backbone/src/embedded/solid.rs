//! Solid parts of objects: ellipsoids, boxes and cones under an affine map, met by parallel
//! rays.

use super::draw::Draw;
use super::geometry::{
    IDENTITY, Mat3, Vec3, add, apply, compose, dot, fraction, inverse, length, normalize,
    rotate_y_axis_to, scale, smoothstep, sub, transpose,
};
use super::texture::{noise3, salt};

/// A shape before it is scaled, turned and moved.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// Radius 1 about the origin.
    Ball,
    /// -1 to 1 on each axis.
    Cube,
    /// Axis y from -1 to 1, radius 1 at the bottom and `top` at the top.
    Cone { top: f32 },
}

/// How the colour of a material varies over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Plain,
    Mottled,
    Spotted,
    Striped,
    Patched,
}

/// Colour and reflection, in linear light.
#[derive(Clone, Copy, Debug)]
pub(super) struct Material {
    pub(super) base: Vec3,
    pub(super) other: Vec3,
    pub(super) pattern: Pattern,
    /// Features of the pattern per unit of the object.
    pub(super) frequency: f32,
    /// Strength of fine grain: 0 smooth, 0.5 furry.
    pub(super) grain: f32,
    /// Strength of the highlight, 0 to 1.
    pub(super) gloss: f32,
    pub(super) salt: u32,
}

impl Material {
    pub(super) fn plain(base: Vec3, gloss: f32, draw: &mut Draw) -> Self {
        let (grain, frequency) = (draw.within(0.05, 0.3), draw.within(4.0, 9.0));
        let salt = salt(draw);
        Self {
            base,
            other: base,
            pattern: Pattern::Plain,
            frequency,
            grain,
            gloss,
            salt,
        }
    }

    /// Colour at a point of the object.
    pub(super) fn colour(&self, p: Vec3) -> Vec3 {
        let q = scale(p, self.frequency);
        let t = match self.pattern {
            Pattern::Plain => 0.0,
            Pattern::Mottled => 0.5 + 0.5 * noise3(q, self.salt),
            Pattern::Spotted => smoothstep(0.25, 0.4, noise3(scale(q, 1.6), self.salt)),
            Pattern::Patched => smoothstep(-0.05, 0.08, noise3(scale(q, 0.5), self.salt)),
            Pattern::Striped => {
                let wobble = noise3(scale(q, 0.4), self.salt);
                let wave = q[0] + 0.4 * q[1] + 1.2 * wobble;
                smoothstep(0.18, 0.3, (fraction(wave) - 0.5).abs())
            }
        };
        let fine = if self.grain > 0.0 {
            let s = scale(p, 23.0);
            noise3([s[0], s[1] * 0.6, s[2]], self.salt ^ 0x55)
        } else {
            0.0
        };
        let k = 1.0 + self.grain * fine;
        [0, 1, 2].map(|i| (self.base[i] * (1.0 - t) + self.other[i] * t) * k)
    }
}

/// A part in object space: `y` up, the ground at 0, about 2 units in size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) shape: Shape,
    pub(super) turn: Mat3,
    pub(super) centre: Vec3,
    pub(super) material: usize,
}

/// Parts and their materials, as an object is put together.
#[derive(Default)]
pub(super) struct Model {
    pub(super) parts: Vec<Part>,
    pub(super) materials: Vec<Material>,
}

impl Model {
    pub(super) fn material(&mut self, material: Material) -> usize {
        self.materials.push(material);
        self.materials.len() - 1
    }

    pub(super) fn ball(&mut self, centre: Vec3, radii: Vec3, material: usize) {
        self.turned(Shape::Ball, centre, radii, &IDENTITY, material);
    }

    pub(super) fn cuboid(&mut self, centre: Vec3, halves: Vec3, material: usize) {
        self.turned(Shape::Cube, centre, halves, &IDENTITY, material);
    }

    /// Any shape, scaled along its own axes, then turned, then moved.
    pub(super) fn turned(
        &mut self,
        shape: Shape,
        centre: Vec3,
        radii: Vec3,
        rotation: &Mat3,
        material: usize,
    ) {
        let stretch = [
            [radii[0], 0.0, 0.0],
            [0.0, radii[1], 0.0],
            [0.0, 0.0, radii[2]],
        ];
        let turn = compose(rotation, &stretch);
        self.parts.push(Part {
            shape,
            turn,
            centre,
            material,
        });
    }

    /// A tapering rod from `a` to `b`, with a ball at `b` so that joints close.
    pub(super) fn limb(&mut self, a: Vec3, b: Vec3, radii: [f32; 2], material: usize) {
        let along = sub(b, a);
        let half = 0.5 * length(along);
        let rotation = rotate_y_axis_to(normalize(along));
        let centre = scale(add(a, b), 0.5);
        let top = radii[1] / radii[0];
        let size = [radii[0], half, radii[0]];
        self.turned(Shape::Cone { top }, centre, size, &rotation, material);
        self.ball(b, [radii[1]; 3], material);
    }

    /// Turns parts from `first` on by `rotation` about `pivot`.
    pub(super) fn turn_from(&mut self, first: usize, rotation: &Mat3, pivot: Vec3) {
        for part in &mut self.parts[first..] {
            part.turn = compose(rotation, &part.turn);
            part.centre = add(apply(rotation, sub(part.centre, pivot)), pivot);
        }
    }

    /// The model as seen: `view` rotates, then `zoom` and `centre` take it to the screen (x
    /// right, y up, z to the viewer, in pixels).
    pub(super) fn seen(&self, view: &Mat3, zoom: f32, centre: Vec3) -> Vec<Solid> {
        self.parts
            .iter()
            .map(|part| {
                let turn = compose(view, &part.turn);
                let turn = turn.map(|row| scale(row, zoom));
                let at = add(scale(apply(view, part.centre), zoom), centre);
                Solid::new(part, &turn, at)
            })
            .collect()
    }
}

/// A part on the screen.
pub(super) struct Solid {
    shape: Shape,
    to_local: Mat3,
    normals: Mat3,
    centre: Vec3,
    /// Half extents on the screen.
    pub(super) extent: Vec3,
    /// Back to object space, for patterns.
    object_turn: Mat3,
    object_centre: Vec3,
    pub(super) material: usize,
}

/// Where a ray met a solid.
pub(super) struct Hit {
    /// Distance along the ray.
    pub(super) along: f32,
    /// In the solid's own space.
    pub(super) local: Vec3,
    local_normal: Vec3,
}

impl Solid {
    fn new(part: &Part, turn: &Mat3, centre: Vec3) -> Self {
        let to_local = inverse(turn);
        let extent = match part.shape {
            Shape::Ball => turn.map(length),
            Shape::Cube | Shape::Cone { .. } => {
                turn.map(|row| row[0].abs() + row[1].abs() + row[2].abs())
            }
        };
        Self {
            shape: part.shape,
            to_local,
            normals: transpose(&to_local),
            centre,
            extent,
            object_turn: part.turn,
            object_centre: part.centre,
            material: part.material,
        }
    }

    pub(super) fn centre(&self) -> Vec3 {
        self.centre
    }

    /// First meeting of the ray `origin + along * direction`, `along > 0`.
    pub(super) fn meet(&self, origin: Vec3, direction: Vec3) -> Option<Hit> {
        let o = apply(&self.to_local, sub(origin, self.centre));
        let d = apply(&self.to_local, direction);
        match self.shape {
            Shape::Ball => meet_ball(o, d),
            Shape::Cube => meet_cube(o, d),
            Shape::Cone { top } => meet_cone(o, d, top),
        }
    }

    pub(super) fn normal(&self, hit: &Hit) -> Vec3 {
        normalize(apply(&self.normals, hit.local_normal))
    }

    /// The hit in object space, where patterns live.
    pub(super) fn object_point(&self, hit: &Hit) -> Vec3 {
        add(apply(&self.object_turn, hit.local), self.object_centre)
    }
}

fn along_ray(o: Vec3, d: Vec3, t: f32) -> Vec3 {
    add(o, scale(d, t))
}

/// Nearer positive root of `a t^2 + 2 b t + c`, if any.
fn roots(a: f32, b: f32, c: f32) -> Option<(f32, f32)> {
    let disc = b * b - a * c;
    if disc <= 0.0 || a.abs() < 1e-12 {
        return None;
    }
    let root = disc.sqrt();
    let (t0, t1) = ((-b - root) / a, (-b + root) / a);
    Some(if t0 < t1 { (t0, t1) } else { (t1, t0) })
}

fn meet_ball(o: Vec3, d: Vec3) -> Option<Hit> {
    let (t0, t1) = roots(dot(d, d), dot(o, d), dot(o, o) - 1.0)?;
    let t = if t0 > 1e-3 { t0 } else { t1 };
    let p = along_ray(o, d, t);
    (t > 1e-3).then_some(Hit {
        along: t,
        local: p,
        local_normal: p,
    })
}

fn meet_cube(o: Vec3, d: Vec3) -> Option<Hit> {
    let (mut enter, mut leave, mut axis) = (f32::MIN, f32::MAX, 0);
    for i in 0..3 {
        if d[i].abs() < 1e-9 {
            if o[i].abs() > 1.0 {
                return None;
            }
            continue;
        }
        let (a, b) = ((-1.0 - o[i]) / d[i], (1.0 - o[i]) / d[i]);
        let (near, far) = if a < b { (a, b) } else { (b, a) };
        if near > enter {
            (enter, axis) = (near, i);
        }
        leave = leave.min(far);
    }
    if enter > leave || enter <= 1e-3 {
        return None;
    }
    let local = along_ray(o, d, enter);
    let mut local_normal = [0.0; 3];
    local_normal[axis] = if d[axis] > 0.0 { -1.0 } else { 1.0 };
    Some(Hit {
        along: enter,
        local,
        local_normal,
    })
}

fn meet_cone(o: Vec3, d: Vec3, top: f32) -> Option<Hit> {
    let (mid, slope) = (0.5 * (1.0 + top), 0.5 * (top - 1.0));
    let (ro, rd) = (mid + slope * o[1], slope * d[1]);
    let mut best: Option<Hit> = None;
    let a = d[0] * d[0] + d[2] * d[2] - rd * rd;
    let b = o[0] * d[0] + o[2] * d[2] - ro * rd;
    let c = o[0] * o[0] + o[2] * o[2] - ro * ro;
    if let Some((t0, t1)) = roots(a, b, c) {
        for t in [t0, t1] {
            let p = along_ray(o, d, t);
            if t > 1e-3 && p[1].abs() <= 1.0 && mid + slope * p[1] >= 0.0 {
                let local_normal = [p[0], -slope * (mid + slope * p[1]), p[2]];
                best = Some(Hit {
                    along: t,
                    local: p,
                    local_normal,
                });
                break;
            }
        }
    }
    if d[1].abs() > 1e-9 {
        for (y, radius) in [(-1.0f32, 1.0f32), (1.0, top)] {
            let t = (y - o[1]) / d[1];
            let p = along_ray(o, d, t);
            let inside = p[0] * p[0] + p[2] * p[2] < radius * radius;
            if t > 1e-3 && inside && best.as_ref().is_none_or(|hit| t < hit.along) {
                best = Some(Hit {
                    along: t,
                    local: p,
                    local_normal: [0.0, y, 0.0],
                });
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: Shape, origin: Vec3, expected: Option<(f32, Vec3)>) {
        let part = Part {
            shape,
            turn: IDENTITY,
            centre: [0.0; 3],
            material: 0,
        };
        let solid = Solid::new(&part, &IDENTITY, [0.0; 3]);
        let hit = solid.meet(origin, [0.0, 0.0, -1.0]);
        assert_eq!(
            hit.is_some(),
            expected.is_some(),
            "{shape:?} from {origin:?}"
        );
        if let (Some(hit), Some((along, normal))) = (hit, expected) {
            assert!((hit.along - along).abs() < 1e-4, "{shape:?}: {}", hit.along);
            assert!(
                dot(solid.normal(&hit), normal) > 0.999,
                "{shape:?}: {normal:?}"
            );
        }
    }

    #[test]
    fn rays_meet_the_near_side_with_an_outward_normal() {
        let front = [0.0, 0.0, 1.0];
        check(Shape::Ball, [0.0, 0.0, 5.0], Some((4.0, front)));
        check(Shape::Cube, [0.5, 0.5, 5.0], Some((4.0, front)));
        check(
            Shape::Cone { top: 1.0 },
            [0.0, 0.5, 5.0],
            Some((4.0, front)),
        );
        check(
            Shape::Cone { top: 0.5 },
            [0.0, 1.0 - 1e-6, 5.0],
            Some((4.5, [0.0, 0.2425, 0.970])),
        );
    }

    #[test]
    fn rays_beside_a_shape_miss_it() {
        check(Shape::Ball, [0.8, 0.8, 5.0], None);
        check(Shape::Cube, [1.1, 0.0, 5.0], None);
        check(Shape::Cone { top: 0.5 }, [0.9, 0.5, 5.0], None);
        check(Shape::Ball, [0.0, 0.0, -5.0], None);
    }

    #[test]
    fn extent_holds_the_whole_turned_shape() {
        let mut model = Model::default();
        model.limb([0.0, 0.0, 0.0], [1.0, 2.0, 0.5], [0.3, 0.1], 0);
        let solid = &model.seen(&IDENTITY, 1.0, [0.0; 3])[0];
        assert!(solid.extent[1] >= 1.0 && solid.extent[0] >= 0.5);
    }
}
