//! The things: car, chair, mushroom, teapot and truck.

use super::draw::Draw;
use super::geometry::{IDENTITY, Vec3, add, rotate_x, rotate_y_axis_to, rotate_z, scale, sin_cos};
use super::solid::{Material, Model, Pattern, Shape};
use super::texture::salt;

/// Lacquer or enamel of any colour.
fn paint(draw: &mut Draw) -> Material {
    let (saturation, value) = (draw.within(0.0, 0.95), draw.within(0.08, 0.75));
    let base = draw.colour(saturation, value);
    Material {
        base,
        other: draw.colour(saturation, value),
        pattern: Pattern::Plain,
        frequency: draw.within(2.0, 6.0),
        grain: draw.within(0.0, 0.12),
        gloss: draw.within(0.15, 0.8),
        salt: salt(draw),
    }
}

/// Paint, cloth or wood, with or without a pattern.
fn finish(draw: &mut Draw) -> Material {
    let mut material = paint(draw);
    match draw.below(5) {
        0 => {
            material.base = draw.tinted([0.35, 0.2, 0.1], 0.4);
            material.other = scale(material.base, 0.6);
            material.pattern = Pattern::Striped;
            material.frequency = draw.within(7.0, 14.0);
        }
        1 => material.pattern = Pattern::Mottled,
        2 => material.pattern = [Pattern::Spotted, Pattern::Striped][draw.below(2)],
        _ => {}
    }
    material
}

struct Vehicle {
    paint: usize,
    glass: usize,
    rubber: usize,
    metal: usize,
    lamp: usize,
}

fn vehicle(model: &mut Model, draw: &mut Draw) -> Vehicle {
    let body = paint(draw);
    Vehicle {
        paint: model.material(body),
        glass: model.material(Material::plain([0.03, 0.04, 0.05], 0.9, draw)),
        rubber: model.material(Material::plain([0.015; 3], 0.05, draw)),
        metal: model.material(Material::plain([0.4; 3], 0.6, draw)),
        lamp: model.material(Material::plain([0.85, 0.8, 0.6], 0.9, draw)),
    }
}

fn wheels(model: &mut Model, v: &Vehicle, at: &[f32], (radius, reach): (f32, f32)) {
    let upright = rotate_x(0.25);
    for side in [-1.0, 1.0] {
        for &x in at {
            let centre = [x, radius, side * reach];
            let cylinder = Shape::Cone { top: 1.0 };
            model.turned(cylinder, centre, [radius, 0.07, radius], &upright, v.rubber);
            let hub = [radius * 0.55, 0.078, radius * 0.55];
            model.turned(cylinder, centre, hub, &upright, v.metal);
        }
    }
}

pub(super) fn car(draw: &mut Draw) -> Model {
    let mut model = Model::default();
    let v = vehicle(&mut model, draw);
    let (half, width) = (draw.within(0.82, 1.0), draw.within(0.36, 0.42));
    let (radius, height) = (draw.within(0.15, 0.2), draw.within(0.13, 0.18));
    let deck = radius + height * 1.1;
    model.cuboid([0.0, deck, 0.0], [half * 0.96, height, width], v.paint);
    for end in [-1.0, 1.0] {
        model.ball(
            [end * half * 0.86, deck, 0.0],
            [0.2, height * 1.02, width],
            v.paint,
        );
        model.cuboid(
            [end * half * 1.02, deck - height * 0.6, 0.0],
            [0.05, 0.04, width * 0.95],
            v.metal,
        );
        for side in [-1.0, 1.0] {
            model.ball(
                [end * half * 1.0, deck + 0.03, side * width * 0.72],
                [0.05, 0.05, 0.08],
                v.lamp,
            );
        }
    }
    let (roof, cabin) = (draw.within(0.13, 0.2), draw.within(0.42, 0.56));
    let shift = draw.within(-0.18, 0.05);
    let middle = deck + height + roof;
    // A frustum with four sides would need another shape: a cone squashed in z comes close.
    let size = [cabin, roof, width * 0.95];
    model.turned(
        Shape::Cone {
            top: draw.within(0.6, 0.8),
        },
        [shift, middle - 0.01, 0.0],
        size,
        &IDENTITY,
        v.glass,
    );
    model.turned(
        Shape::Ball,
        [shift, middle + roof * 0.8, 0.0],
        [cabin * 0.78, 0.07, width * 0.8],
        &IDENTITY,
        v.paint,
    );
    for x in [-0.52, 0.0, 0.5] {
        for side in [-1.0, 1.0] {
            let foot = [shift + x * cabin * 1.7, deck + height, side * width * 0.82];
            let top = [
                shift + x * cabin * 1.1,
                middle + roof * 0.8,
                side * width * 0.66,
            ];
            model.limb(foot, top, [0.035, 0.035], v.paint);
        }
    }
    wheels(&mut model, &v, &[-half * 0.6, half * 0.62], (radius, width));
    model
}

pub(super) fn truck(draw: &mut Draw) -> Model {
    let mut model = Model::default();
    let v = vehicle(&mut model, draw);
    let second = finish(draw);
    let load = model.material(second);
    let (radius, width) = (draw.within(0.14, 0.18), draw.within(0.32, 0.38));
    let (half, cab) = (draw.within(0.9, 1.05), draw.within(0.18, 0.24));
    let deck = radius * 1.5;
    model.cuboid([0.0, deck, 0.0], [half, 0.05, width * 0.8], v.rubber);
    let cab_height = draw.within(0.26, 0.36);
    let front = half - cab;
    model.cuboid(
        [front, deck + cab_height, 0.0],
        [cab, cab_height, width],
        v.paint,
    );
    let pane = deck + cab_height * 1.4;
    model.cuboid(
        [front + cab * 0.93, pane, 0.0],
        [0.03, cab_height * 0.36, width * 0.86],
        v.glass,
    );
    model.cuboid(
        [front + cab * 0.1, pane, 0.0],
        [cab * 0.6, cab_height * 0.33, width * 1.02],
        v.glass,
    );
    model.cuboid([half, deck + 0.04, 0.0], [0.04, 0.07, width], v.metal);
    for side in [-1.0, 1.0] {
        model.ball(
            [half + 0.02, deck + 0.16, side * width * 0.7],
            [0.04, 0.05, 0.06],
            v.lamp,
        );
    }
    let bed = front - cab - 0.05;
    let (length, middle) = ((bed + half) * 0.5, (bed - half) * 0.5);
    let tall = draw.within(0.26, 0.46);
    match draw.below(4) {
        0 => {
            let rotation = rotate_z(0.25);
            let size = [tall * 0.8, length, width * 0.95];
            let centre = [middle, deck + 0.05 + tall * 0.8, 0.0];
            model.turned(Shape::Cone { top: 1.0 }, centre, size, &rotation, load);
        }
        1 => {
            model.cuboid([middle, deck + 0.1, 0.0], [length, 0.06, width], load);
            for x in [-0.6, 0.0, 0.55] {
                let r = draw.within(0.14, 0.24);
                model.ball(
                    [middle + x * length, deck + 0.2 + r * 0.5, 0.0],
                    [length * 0.34, r, width * 0.8],
                    load,
                );
            }
        }
        _ => model.cuboid(
            [middle, deck + 0.05 + tall, 0.0],
            [length, tall, width * 1.02],
            load,
        ),
    }
    wheels(
        &mut model,
        &v,
        &[-half * 0.8, -half * 0.45, half * 0.72],
        (radius, width * 0.95),
    );
    model
}

#[expect(clippy::too_many_lines, reason = "one figure, part after part")]
pub(super) fn chair(draw: &mut Draw) -> Model {
    let mut model = Model::default();
    let (frame, cloth) = (finish(draw), finish(draw));
    let frame = model.material(frame);
    let cloth = if draw.chance(0.5) {
        frame
    } else {
        model.material(cloth)
    };
    let (seat, width) = (draw.within(0.55, 0.78), draw.within(0.34, 0.44));
    let (depth, thick) = (draw.within(0.34, 0.44), draw.within(0.035, 0.1));
    let leg = draw.within(0.03, 0.06);
    let splay = draw.within(0.0, 0.12);
    let rise = draw.within(0.55, 0.85);
    let recline = draw.within(0.03, 0.2);
    model.cuboid([0.0, seat, 0.0], [depth, thick, width], cloth);
    for side in [-1.0, 1.0] {
        for end in [-1.0, 1.0] {
            let top = [end * (depth - leg), seat, side * (width - leg)];
            let foot = [
                end * (depth - leg + splay),
                0.0,
                side * (width - leg + splay),
            ];
            model.limb(top, foot, [leg, leg * 0.8], frame);
        }
        let root = [-depth + leg, seat, side * (width - leg)];
        model.limb(
            root,
            add(root, [-recline, rise, 0.0]),
            [leg, leg * 0.9],
            frame,
        );
    }
    let back = |t: f32| [-depth + leg - recline * t, seat + rise * t, 0.0];
    match draw.below(3) {
        0 => {
            let at = back(0.6);
            let tilt = rotate_z(recline * 0.2);
            model.turned(
                Shape::Cube,
                at,
                [0.04, rise * 0.38, width * 0.95],
                &tilt,
                cloth,
            );
        }
        1 => {
            for t in [0.3, 0.6, 0.92] {
                model.cuboid(back(t), [0.03, 0.055, width], frame);
            }
        }
        _ => {
            model.cuboid(back(0.95), [0.035, 0.06, width], frame);
            for z in [-0.5, 0.0, 0.5] {
                let lean = |t: f32| add(back(t), [0.0, 0.0, z * width]);
                model.limb(lean(0.02), lean(0.95), [0.03, 0.03], frame);
            }
        }
    }
    if draw.chance(0.35) {
        for side in [-1.0, 1.0] {
            let rest = [0.0, seat + 0.3, side * width];
            model.cuboid(rest, [depth * 0.95, 0.03, 0.05], frame);
            model.limb(
                [depth * 0.8, seat, side * width],
                [depth * 0.8, seat + 0.3, side * width],
                [0.03, 0.03],
                frame,
            );
        }
    }
    model
}

pub(super) fn mushroom(draw: &mut Draw) -> Model {
    let mut model = Model::default();
    let flesh = draw.tinted([0.62, 0.55, 0.42], 0.3);
    let stem = model.material(Material {
        pattern: Pattern::Mottled,
        other: scale(flesh, 0.6),
        ..Material::plain(flesh, 0.1, draw)
    });
    let mut skin = finish(draw);
    if draw.chance(0.6) {
        skin.base = draw.tinted([0.34, 0.18, 0.09], 0.6);
    }
    if draw.chance(0.4) {
        skin.pattern = Pattern::Spotted;
        skin.other = [0.75, 0.7, 0.6];
    }
    let skin = model.material(skin);
    let gills = model.material(Material::plain(scale(flesh, 0.45), 0.0, draw));
    let count = 1 + draw.below(3);
    for i in 0..count {
        let size = if i == 0 { 1.0 } else { draw.within(0.4, 0.75) };
        let side = if i == 1 { 1.0 } else { -1.0 };
        let offset = if i == 0 {
            0.0
        } else {
            draw.within(0.4, 0.7) * side
        };
        let root = [offset, 0.0, draw.within(-0.2, 0.2)];
        let lean = [
            draw.within(-0.2, 0.2),
            draw.within(0.6, 1.0),
            draw.within(-0.1, 0.1),
        ];
        let top = add(root, scale(lean, size));
        let thick = draw.within(0.1, 0.2) * size;
        model.limb(root, top, [thick * 1.25, thick], stem);
        let axis = rotate_y_axis_to(super::geometry::normalize(add(lean, [0.0, 0.6, 0.0])));
        let (wide, high) = (
            draw.within(0.38, 0.6) * size,
            draw.within(0.16, 0.42) * size,
        );
        if draw.chance(0.3) {
            let cone = [wide, high * 1.3, wide];
            model.turned(
                Shape::Cone { top: 0.15 },
                add(top, [0.0, high * 0.4, 0.0]),
                cone,
                &axis,
                skin,
            );
        } else {
            model.turned(Shape::Ball, top, [wide, high, wide], &axis, skin);
        }
        let under = add(top, [0.0, -high * 0.45, 0.0]);
        model.turned(
            Shape::Ball,
            under,
            [wide * 0.9, high * 0.6, wide * 0.9],
            &axis,
            gills,
        );
    }
    model
}

pub(super) fn teapot(draw: &mut Draw) -> Model {
    let mut model = Model::default();
    let glaze = finish(draw);
    let trim = paint(draw);
    let glaze = model.material(Material {
        gloss: draw.within(0.3, 1.0),
        ..glaze
    });
    let trim = if draw.chance(0.6) {
        glaze
    } else {
        model.material(trim)
    };
    let (wide, high) = (draw.within(0.4, 0.56), draw.within(0.34, 0.55));
    let middle = high * 0.95;
    if draw.chance(0.3) {
        model.turned(
            Shape::Cone {
                top: draw.within(0.6, 0.9),
            },
            [0.0, middle, 0.0],
            [wide, high, wide],
            &IDENTITY,
            glaze,
        );
    } else {
        model.ball([0.0, middle, 0.0], [wide, high, wide], glaze);
    }
    model.turned(
        Shape::Cone { top: 0.8 },
        [0.0, 0.05, 0.0],
        [wide * 0.65, 0.06, wide * 0.65],
        &IDENTITY,
        trim,
    );
    model.ball(
        [0.0, middle + high * 0.88, 0.0],
        [wide * 0.5, high * 0.22, wide * 0.5],
        trim,
    );
    model.ball([0.0, middle + high * 1.16, 0.0], [0.07, 0.08, 0.07], trim);
    let (reach, rise) = (draw.within(0.28, 0.42), draw.within(0.3, 0.6));
    let root = [wide * 0.8, middle - high * 0.2, 0.0];
    let bend = add(root, [reach * 0.6, rise * 0.35, 0.0]);
    model.limb(root, bend, [0.13, 0.085], glaze);
    model.limb(
        bend,
        add(bend, [reach * 0.5, rise * 0.65, 0.0]),
        [0.085, 0.055],
        glaze,
    );
    handle(
        &mut model,
        [-wide * 0.85, middle, 0.0],
        (draw.within(0.24, 0.36), high * 0.62),
        trim,
    );
    model
}

/// Half a ring behind the pot.
fn handle(model: &mut Model, at: Vec3, (reach, half_height): (f32, f32), material: usize) {
    let point = |turn: f32| {
        let (s, c) = sin_cos(turn);
        add(at, [-reach * c, half_height * s, 0.0])
    };
    let mut from = point(-0.25);
    for step in 1..=6u8 {
        let to = point(-0.25 + f32::from(step) / 12.0);
        model.limb(from, to, [0.05, 0.05], material);
        from = to;
    }
}
