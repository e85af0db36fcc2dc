//! One picture: backdrop, clutter, the object, things in front of it, light, camera.

use super::animals::{bird, cat, deer, dog, horse};
use super::backdrop;
use super::camera;
use super::canvas::{Canvas, Layer, Lighting, bounds};
use super::draw::Draw;
use super::geometry::{
    IDENTITY, Mat3, add, apply, compose, rotate_x, rotate_y, rotate_z, scale, smoothstep,
};
use super::solid::{Material, Model, Pattern, Shape};
use super::texture::{Grain, Textures, salt};
use super::things::{car, chair, mushroom, teapot, truck};

/// Draws picture `index` of the set numbered `set` into `out` (64 x 64 RGB).
pub(super) fn render(class: usize, textures: &Textures, draw: &mut Draw, out: &mut [u8]) {
    let mut canvas = Canvas::new();
    let edge = backdrop::paint(&mut canvas, textures, draw);
    let light = Lighting::drawn(draw);
    let pitch = if edge == 0.0 {
        draw.within(0.05, 0.13)
    } else {
        draw.within(0.01, 0.07)
    };
    for _ in 0..1 + draw.below(5) {
        let model = clutter(draw);
        let size = draw.within(0.12, 0.38);
        let at = [draw.within(-0.05, 1.05), draw.within(edge.max(0.15), 0.95)];
        place(&mut canvas, &model, &light, (size, at, pitch, edge), draw);
    }
    for _ in 0..[0, 0, 0, 1, 1, 2][draw.below(6)] {
        camera::blur(&mut canvas);
    }
    let model = match class {
        0 => bird(draw),
        1 => car(draw),
        2 => cat(draw),
        3 => chair(draw),
        4 => deer(draw),
        5 => dog(draw),
        6 => horse(draw),
        7 => mushroom(draw),
        8 => teapot(draw),
        _ => truck(draw),
    };
    let size = draw.within(0.58, 1.0);
    let room = (1.0 - size).max(0.1);
    let at = [
        0.5 + room * draw.within(-0.5, 0.5),
        0.56 + room * draw.within(-0.4, 0.4),
    ];
    place(&mut canvas, &model, &light, (size, at, pitch, edge), draw);
    if draw.chance(0.3) {
        foreground(&mut canvas, &light, pitch, draw);
    }
    if draw.chance(0.3) {
        dapple(&mut canvas, textures, draw);
    }
    if draw.chance(0.25) {
        camera::blur(&mut canvas);
    }
    camera::expose(&canvas, draw, out);
}

/// Puts a model on the ground with the middle of its outline at `at` (fractions of the
/// picture), its larger side `size` of the picture.
fn place(
    canvas: &mut Canvas,
    model: &Model,
    light: &Lighting,
    (size, at, pitch, edge): (f32, [f32; 2], f32, f32),
    draw: &mut Draw,
) {
    let mirrored = if draw.chance(0.5) { 0.5 } else { 0.0 };
    let yaw = draw.within(-0.17, 0.17) + mirrored;
    let roll = draw.bell() * 0.008;
    let view = compose(&rotate_z(roll), &compose(&rotate_x(pitch), &rotate_y(yaw)));
    let (low, high) = bounds(&model.seen(&view, 1.0, [0.0; 3]));
    let zoom = size * 128.0 / (high[0] - low[0]).max(high[1] - low[1]);
    let middle = scale(add(low, high), 0.5 * zoom);
    let centre = [
        at[0] * 128.0 - middle[0],
        (1.0 - at[1]) * 128.0 - middle[1],
        0.0,
    ];
    let normal = apply(&view, [0.0, 1.0, 0.0]);
    let ground = (centre, [normal[0], normal[1], normal[2].max(0.05)]);
    let layer = Layer::new(
        model.seen(&view, zoom, centre),
        &model.materials,
        Some(ground),
    );
    canvas.cast_shadow(&layer, light, edge);
    canvas.draw(&layer, light);
}

fn matter(draw: &mut Draw) -> Material {
    let base = match draw.below(4) {
        0 => draw.tinted([0.3, 0.28, 0.25], 0.3),
        1 => draw.tinted([0.3, 0.18, 0.09], 0.4),
        2 => draw.tinted([0.08, 0.15, 0.04], 0.5),
        _ => {
            let value = draw.within(0.1, 0.7);
            draw.colour(0.7, value)
        }
    };
    Material {
        base,
        other: scale(base, draw.within(0.3, 1.4)),
        pattern: [
            Pattern::Mottled,
            Pattern::Plain,
            Pattern::Striped,
            Pattern::Spotted,
        ][draw.below(4)],
        frequency: draw.within(3.0, 10.0),
        grain: draw.within(0.1, 0.5),
        gloss: draw.within(0.0, 0.4),
        salt: salt(draw),
    }
}

/// Rocks, crates, posts, bushes, jars: things of no class.
fn clutter(draw: &mut Draw) -> Model {
    let mut model = Model::default();
    let stuff = matter(draw);
    let stuff = model.material(stuff);
    match draw.below(6) {
        0 => {
            for _ in 0..3 {
                let at = [draw.within(-0.6, 0.6), 0.15, draw.within(-0.4, 0.4)];
                let radii = [
                    draw.within(0.2, 0.5),
                    draw.within(0.15, 0.4),
                    draw.within(0.2, 0.5),
                ];
                model.turned(Shape::Ball, at, radii, &rotate_z(draw.unit()), stuff);
            }
        }
        1 => {
            let halves = [
                draw.within(0.25, 0.6),
                draw.within(0.2, 0.5),
                draw.within(0.25, 0.5),
            ];
            model.cuboid([0.0, halves[1], 0.0], halves, stuff);
        }
        2 => {
            for x in [-0.6, 0.0, 0.6] {
                let top = [x + draw.within(-0.1, 0.1), draw.within(0.7, 1.2), 0.0];
                model.limb([x, 0.0, 0.0], top, [0.07, 0.06], stuff);
            }
            if draw.chance(0.6) {
                model.cuboid([0.0, 0.55, 0.0], [0.8, 0.06, 0.03], stuff);
            }
        }
        3 => {
            for _ in 0..14 {
                let at = [
                    draw.bell() * 0.35,
                    0.35 + draw.bell().abs() * 0.25,
                    draw.bell() * 0.3,
                ];
                model.ball(at, [draw.within(0.08, 0.22); 3], stuff);
            }
        }
        4 => {
            let (wide, tall) = (draw.within(0.15, 0.4), draw.within(0.3, 0.6));
            let shape = Shape::Cone {
                top: draw.within(0.5, 1.3),
            };
            model.turned(
                shape,
                [0.0, tall, 0.0],
                [wide, tall, wide],
                &IDENTITY,
                stuff,
            );
        }
        _ => {
            let r = draw.within(0.2, 0.4);
            model.ball([0.0, r, 0.0], [r; 3], stuff);
            model.limb([0.1, 0.08, 0.3], [1.2, 0.08, 0.1], [0.1, 0.08], stuff);
        }
    }
    model
}

/// Blades, twigs or a post between the camera and the object.
fn foreground(canvas: &mut Canvas, light: &Lighting, pitch: f32, draw: &mut Draw) {
    let mut model = Model::default();
    let stuff = matter(draw);
    let stuff = model.material(stuff);
    let view: Mat3 = rotate_x(pitch * 0.3);
    if draw.chance(0.7) {
        let middle = draw.within(0.0, 128.0);
        for _ in 0..3 + draw.below(14) {
            let root = middle + draw.bell() * 30.0;
            let tip = [root + draw.bell() * 14.0, draw.within(14.0, 52.0), 0.0];
            model.limb([root, -6.0, 0.0], tip, [draw.within(1.2, 2.6), 0.5], stuff);
        }
    } else {
        let (from, slant) = (draw.within(6.0, 122.0), draw.bell() * 25.0);
        let width = draw.within(1.5, 5.0);
        model.limb(
            [from, -8.0, 0.0],
            [from + slant, 140.0, 0.0],
            [width, width * 0.8],
            stuff,
        );
    }
    let solids = model.seen(&view, 1.0, [0.0; 3]);
    canvas.draw(&Layer::new(solids, &model.materials, None), light);
}

/// Light broken by leaves or clouds over the whole picture.
fn dapple(canvas: &mut Canvas, textures: &Textures, draw: &mut Draw) {
    let (size, depth) = (draw.within(0.15, 0.6), draw.within(0.3, 0.65));
    let (u, v, level) = (draw.unit(), draw.unit(), draw.within(-0.3, 0.3));
    let before = canvas.samples.clone();
    canvas.fill(|x, y| {
        let at = textures.sample(Grain::Cloudy, x * size + u, y * size + v, 0.0);
        [smoothstep(level - 0.15, level + 0.15, at), 0.0, 0.0]
    });
    for (sample, original) in canvas.samples.iter_mut().zip(before) {
        *sample = scale(original, 1.0 - depth * sample[0]);
    }
}
