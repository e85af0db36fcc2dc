//! The animals: cat, deer, dog and horse from one four-legged plan, and the bird.

use super::draw::Draw;
use super::geometry::{Vec3, add, mix, rotate_x, rotate_z, scale};
use super::solid::{Material, Model, Pattern, Shape};
use super::texture::salt;

/// Proportions of a four-legged animal, in units of about its own length.
struct Plan {
    body: Vec3,
    leg: f32,
    leg_thickness: f32,
    neck: Vec3,
    neck_thickness: f32,
    head: f32,
    snout: f32,
    sits: f32,
}

/// A coat: any colour of fur with any pattern, so that colour does not give the class away.
fn coat(draw: &mut Draw) -> Material {
    let furs: [Vec3; 7] = [
        [0.30, 0.17, 0.08],
        [0.45, 0.28, 0.13],
        [0.12, 0.08, 0.06],
        [0.60, 0.55, 0.48],
        [0.05, 0.05, 0.05],
        [0.28, 0.27, 0.26],
        [0.55, 0.38, 0.20],
    ];
    let base = furs[draw.below(furs.len())];
    let other = furs[draw.below(furs.len())];
    let pattern = match draw.below(7) {
        0 => Pattern::Spotted,
        1 => Pattern::Striped,
        2 => Pattern::Patched,
        3 | 4 => Pattern::Mottled,
        _ => Pattern::Plain,
    };
    Material {
        base: draw.tinted(base, 0.25),
        other: draw.tinted(other, 0.25),
        pattern,
        frequency: draw.within(4.0, 9.0),
        grain: draw.within(0.15, 0.5),
        gloss: draw.within(0.0, 0.15),
        salt: salt(draw),
    }
}

/// Materials of the animal that is being put together.
struct Skin {
    coat: usize,
    dark: usize,
    extra: usize,
}

fn skin(model: &mut Model, draw: &mut Draw) -> Skin {
    let fur = coat(draw);
    let shade = if draw.chance(0.5) {
        draw.within(0.25, 0.6)
    } else {
        draw.within(0.9, 1.8)
    };
    let coat = model.material(fur);
    let dark = model.material(Material::plain([0.02, 0.018, 0.015], 0.5, draw));
    let extra = Material {
        base: scale(fur.base, shade),
        pattern: Pattern::Plain,
        ..fur
    };
    let extra = model.material(extra);
    Skin { coat, dark, extra }
}

/// Body, legs and neck after the plan; gives the place of the head.
fn build_body(model: &mut Model, plan: &Plan, skin: &Skin, draw: &mut Draw) -> Vec3 {
    let [half_length, half_height, half_width] = plan.body;
    let middle = plan.leg + half_height * 0.8;
    let hip = [-half_length * 0.72, middle, 0.0];
    let shoulder = [half_length * 0.72, middle + draw.within(-0.02, 0.05), 0.0];
    let sits = draw.chance(plan.sits);
    model.ball(
        [0.0, middle, 0.0],
        [half_length, half_height, half_width],
        skin.coat,
    );
    let chest = [half_height * 1.15, half_height * 1.12, half_width * 1.08];
    model.ball(shoulder, chest, skin.coat);
    model.ball(
        hip,
        [half_height * 1.1, half_height * 1.05, half_width * 1.1],
        skin.coat,
    );
    let raised = if sits { draw.within(0.1, 0.15) } else { 0.0 };
    if sits {
        model.turn_from(0, &rotate_z(raised), hip);
    }
    let lift = rotate_z(raised);
    let shoulder = add(
        super::geometry::apply(&lift, super::geometry::sub(shoulder, hip)),
        hip,
    );
    for side in [-1.0, 1.0] {
        for (top, front) in [(shoulder, true), (hip, false)] {
            let start = add(top, [0.0, -half_height * 0.3, side * half_width * 0.62]);
            build_leg(model, plan, skin, (start, sits && !front), draw);
        }
    }
    if sits {
        let drop = [0.0, -plan.leg * 0.75, 0.0];
        for part in &mut model.parts[..3] {
            part.centre = add(part.centre, scale(drop, 0.55));
        }
    }
    let neck_root = add(shoulder, [half_height * 0.4, half_height * 0.5, 0.0]);
    let neck_root = if sits {
        add(neck_root, [0.0, -plan.leg * 0.3, 0.0])
    } else {
        neck_root
    };
    let head = add(neck_root, plan.neck);
    let radii = [plan.neck_thickness * 1.35, plan.neck_thickness];
    model.limb(neck_root, head, radii, skin.coat);
    head
}

fn build_leg(
    model: &mut Model,
    plan: &Plan,
    skin: &Skin,
    (start, folded): (Vec3, bool),
    draw: &mut Draw,
) {
    let swing = draw.within(-0.35, 0.35) * plan.leg;
    let t = plan.leg_thickness;
    if folded {
        let foot = [start[0] + plan.leg * 0.5, t, start[2] * 1.5];
        model.ball(
            [start[0], start[1] * 0.6, start[2] * 1.2],
            [t * 2.4, t * 2.8, t * 1.6],
            skin.coat,
        );
        model.limb([start[0], t, start[2] * 1.5], foot, [t, t], skin.coat);
        return;
    }
    let knee = [start[0] + swing * 0.35, start[1] * 0.48, start[2] * 1.05];
    let foot = [start[0] + swing, t * 0.6, start[2] * 1.05];
    model.limb(start, knee, [t * 1.5, t], skin.coat);
    let lower = if draw.chance(0.3) {
        skin.extra
    } else {
        skin.coat
    };
    model.limb(knee, foot, [t, t * 0.75], lower);
    model.ball(add(foot, [t * 0.5, 0.0, 0.0]), [t * 1.3, t * 0.8, t], lower);
}

/// Head with snout, nose and eyes; `tilt` turns the snout downwards.
fn build_head(
    model: &mut Model,
    plan: &Plan,
    skin: &Skin,
    (at, tilt): (Vec3, f32),
    draw: &mut Draw,
) {
    let r = plan.head;
    let first = model.parts.len();
    model.ball(at, [r * 1.1, r, r * 0.92], skin.coat);
    let tip = add(at, [r * 0.8 + plan.snout, -r * 0.3, 0.0]);
    let muzzle = if draw.chance(0.35) {
        skin.extra
    } else {
        skin.coat
    };
    model.limb(
        add(at, [r * 0.3, -r * 0.2, 0.0]),
        tip,
        [r * 0.68, r * 0.42],
        muzzle,
    );
    model.ball(
        add(tip, [r * 0.34, r * 0.08, 0.0]),
        [r * 0.17, r * 0.17, r * 0.2],
        skin.dark,
    );
    for side in [-1.0, 1.0] {
        let eye = add(at, [r * 0.72, r * 0.32, side * r * 0.56]);
        model.ball(eye, [r * 0.17; 3], skin.dark);
    }
    model.turn_from(first, &rotate_z(-tilt), at);
}

fn build_tail(model: &mut Model, root: Vec3, bends: &[Vec3], radii: [f32; 2], material: usize) {
    let mut at = root;
    let count = bends.len();
    for (i, bend) in bends.iter().enumerate() {
        let share = |k: usize| {
            let k = f32::from(u8::try_from(k).expect("a tail has few bends"));
            k / f32::from(u8::try_from(count).expect("a tail has few bends"))
        };
        let radius = |t: f32| radii[0] * (1.0 - t) + radii[1] * t;
        let next = add(at, *bend);
        model.limb(at, next, [radius(share(i)), radius(share(i + 1))], material);
        at = next;
    }
}

pub(super) fn cat(draw: &mut Draw) -> Model {
    let mut model = Model::default();
    let skin = skin(&mut model, draw);
    let plump = draw.within(0.85, 1.2);
    let plan = Plan {
        body: [draw.within(0.5, 0.62), 0.21 * plump, 0.18 * plump],
        leg: draw.within(0.28, 0.42),
        leg_thickness: 0.06 * plump,
        neck: [draw.within(0.1, 0.22), draw.within(0.08, 0.24), 0.0],
        neck_thickness: 0.13,
        head: draw.within(0.23, 0.29),
        snout: draw.within(0.0, 0.05),
        sits: 0.3,
    };
    let head = build_body(&mut model, &plan, &skin, draw);
    build_head(
        &mut model,
        &plan,
        &skin,
        (head, draw.within(-0.02, 0.06)),
        draw,
    );
    let r = plan.head;
    for side in [-1.0, 1.0] {
        let root = add(head, [-r * 0.05, r * 0.7, side * r * 0.52]);
        let tip = add(
            root,
            [
                draw.within(-0.1, 0.1) * r,
                r * draw.within(0.7, 1.0),
                side * r * 0.2,
            ],
        );
        model.limb(root, tip, [r * 0.42, r * 0.05], skin.coat);
    }
    let root = [-plan.body[0] * 0.95, plan.leg + plan.body[1], 0.0];
    let (up, out) = (draw.within(0.05, 0.3), draw.within(-0.1, 0.1));
    let bends = [
        [-0.17, up * 0.3, out],
        [-0.14, up, out],
        [-0.06, up * 1.2 + 0.05, out],
        [0.06, 0.14, 0.0],
    ];
    build_tail(&mut model, root, &bends, [0.06, 0.045], skin.coat);
    model
}

pub(super) fn dog(draw: &mut Draw) -> Model {
    let mut model = Model::default();
    let skin = skin(&mut model, draw);
    let plump = draw.within(0.8, 1.25);
    let plan = Plan {
        body: [draw.within(0.48, 0.62), 0.22 * plump, 0.19 * plump],
        leg: draw.within(0.25, 0.5),
        leg_thickness: 0.065 * plump,
        neck: [draw.within(0.12, 0.26), draw.within(0.12, 0.3), 0.0],
        neck_thickness: 0.14,
        head: draw.within(0.2, 0.25),
        snout: draw.within(0.16, 0.28),
        sits: 0.25,
    };
    let head = build_body(&mut model, &plan, &skin, draw);
    build_head(
        &mut model,
        &plan,
        &skin,
        (head, draw.within(-0.02, 0.08)),
        draw,
    );
    let r = plan.head;
    let droop = draw.within(0.6, 1.0);
    for side in [-1.0, 1.0] {
        let root = add(head, [-r * 0.15, r * 0.2, side * r * 0.95]);
        let radii = [r * 0.42, r * 0.85 * droop, r * 0.2];
        model.turned(Shape::Ball, root, radii, &rotate_x(0.03 * side), skin.extra);
    }
    let root = [-plan.body[0] * 0.95, plan.leg + plan.body[1] * 1.1, 0.0];
    let up = draw.within(-0.08, 0.2);
    let bends = [
        [-0.12, up, 0.0],
        [-0.08, up + 0.05, draw.within(-0.06, 0.06)],
    ];
    build_tail(&mut model, root, &bends, [0.06, 0.035], skin.coat);
    model
}

pub(super) fn horse(draw: &mut Draw) -> Model {
    let mut model = Model::default();
    let skin = skin(&mut model, draw);
    let grazing = draw.chance(0.15);
    let plan = Plan {
        body: [
            draw.within(0.52, 0.6),
            draw.within(0.24, 0.29),
            draw.within(0.19, 0.23),
        ],
        leg: draw.within(0.52, 0.66),
        leg_thickness: draw.within(0.055, 0.075),
        neck: if grazing {
            [0.4, -0.4, 0.0]
        } else {
            [draw.within(0.26, 0.4), draw.within(0.3, 0.46), 0.0]
        },
        neck_thickness: draw.within(0.13, 0.16),
        head: draw.within(0.14, 0.17),
        snout: draw.within(0.26, 0.33),
        sits: 0.0,
    };
    let head = build_body(&mut model, &plan, &skin, draw);
    build_head(
        &mut model,
        &plan,
        &skin,
        (head, draw.within(0.08, 0.14)),
        draw,
    );
    let r = plan.head;
    for side in [-1.0, 1.0] {
        let root = add(head, [-r * 0.3, r * 0.75, side * r * 0.45]);
        model.limb(
            root,
            add(root, [0.0, r * 0.75, 0.0]),
            [r * 0.24, r * 0.06],
            skin.coat,
        );
    }
    let mane = model.material(Material {
        grain: 0.6,
        ..Material::plain(draw.colour(0.15, 0.12), 0.05, draw)
    });
    let (behind, root) = ([-plan.neck_thickness, 0.04, 0.0], scale(plan.neck, -1.0));
    for t in [0.0, 0.25, 0.5, 0.75] {
        let at = add(add(head, scale(root, t)), behind);
        model.ball(at, [0.11, 0.15, 0.08], mane);
    }
    let root = [-plan.body[0] * 1.05, plan.leg + plan.body[1] * 1.1, 0.0];
    let bends = [
        [-0.12, -0.06, 0.0],
        [-0.05, -0.22, 0.0],
        [0.0, -0.25, draw.within(-0.05, 0.05)],
    ];
    build_tail(&mut model, root, &bends, [0.07, 0.1], mane);
    model
}

pub(super) fn deer(draw: &mut Draw) -> Model {
    let mut model = Model::default();
    let skin = skin(&mut model, draw);
    let grazing = draw.chance(0.12);
    let plan = Plan {
        body: [
            draw.within(0.46, 0.56),
            draw.within(0.18, 0.22),
            draw.within(0.14, 0.18),
        ],
        leg: draw.within(0.5, 0.66),
        leg_thickness: draw.within(0.04, 0.055),
        neck: if grazing {
            [0.36, -0.34, 0.0]
        } else {
            [draw.within(0.16, 0.3), draw.within(0.28, 0.44), 0.0]
        },
        neck_thickness: draw.within(0.08, 0.11),
        head: draw.within(0.12, 0.15),
        snout: draw.within(0.1, 0.18),
        sits: 0.0,
    };
    let head = build_body(&mut model, &plan, &skin, draw);
    build_head(
        &mut model,
        &plan,
        &skin,
        (head, draw.within(0.03, 0.1)),
        draw,
    );
    let r = plan.head;
    for side in [-1.0, 1.0] {
        let root = add(head, [-r * 0.35, r * 0.5, side * r * 0.9]);
        let tip = add(root, [-r * 0.4, r * 0.5, side * r * 1.1]);
        model.limb(root, tip, [r * 0.4, r * 0.1], skin.coat);
    }
    if draw.chance(0.9) {
        let bone = model.material(Material::plain([0.38, 0.3, 0.2], 0.2, draw));
        build_antlers(&mut model, head, r, bone, draw);
    }
    let rump = model.material(Material::plain([0.7, 0.66, 0.6], 0.0, draw));
    let root = [-plan.body[0] * 1.15, plan.leg + plan.body[1] * 0.9, 0.0];
    model.ball(root, [0.07, 0.11, 0.06], rump);
    model
}

fn build_antlers(model: &mut Model, head: Vec3, r: f32, bone: usize, draw: &mut Draw) {
    let (height, lean) = (draw.within(0.36, 0.55), draw.within(-0.2, 0.06));
    for side in [-1.0, 1.0] {
        let root = add(head, [-r * 0.1, r * 0.8, side * r * 0.4]);
        let tip = add(root, [lean, height, side * height * 0.5]);
        let bow = add(mix(root, tip, 0.5), [-0.06, 0.0, side * 0.08]);
        model.limb(root, bow, [0.045, 0.04], bone);
        model.limb(bow, tip, [0.04, 0.028], bone);
        for t in [0.25, 0.9] {
            let fork = mix(root, bow, t);
            model.limb(
                fork,
                add(fork, [0.17, 0.15, side * 0.02]),
                [0.036, 0.024],
                bone,
            );
        }
        model.limb(
            mix(bow, tip, 0.4),
            add(mix(bow, tip, 0.4), [-0.12, 0.16, 0.0]),
            [0.036, 0.024],
            bone,
        );
    }
}

#[expect(clippy::too_many_lines, reason = "one figure, part after part")]
pub(super) fn bird(draw: &mut Draw) -> Model {
    let mut model = Model::default();
    let mut plumage = coat(draw);
    if draw.chance(0.5) {
        plumage.base = draw.colour(0.8, 0.5);
    }
    let other = if draw.chance(0.5) {
        plumage.other
    } else {
        draw.colour(0.7, 0.5)
    };
    let body = model.material(plumage);
    let wing = model.material(Material {
        base: other,
        other: scale(other, 0.4),
        ..plumage
    });
    let horn = model.material(Material::plain([0.5, 0.3, 0.06], 0.3, draw));
    let dark = model.material(Material::plain([0.02; 3], 0.6, draw));
    let (length, girth) = (draw.within(0.4, 0.52), draw.within(0.22, 0.3));
    let tilt = draw.within(0.0, 0.14);
    let leg = if draw.chance(0.25) {
        draw.within(0.5, 0.7)
    } else {
        draw.within(0.15, 0.32)
    };
    model.ball([0.0, 0.0, 0.0], [length, girth, girth * 0.92], body);
    for side in [-1.0, 1.0] {
        let at = [-0.1, 0.05, side * girth * 0.72];
        model.turned(
            Shape::Ball,
            at,
            [length * 0.85, girth * 0.6, 0.1],
            &rotate_z(-0.03),
            wing,
        );
    }
    let tail = draw.within(0.25, 0.5);
    let size = [tail, 0.035, 0.11];
    model.turned(
        Shape::Cube,
        [-length - tail * 0.6, 0.02, 0.0],
        size,
        &rotate_z(0.02),
        wing,
    );
    let neck = draw.within(0.0, 0.25) + leg * 0.3;
    let r = draw.within(0.15, 0.2);
    let head = [length * 0.85 + neck * 0.15, girth * 0.75 + neck, 0.0];
    model.limb(
        [length * 0.6, girth * 0.3, 0.0],
        head,
        [0.15, r * 0.8],
        body,
    );
    model.ball(
        head,
        [r * 1.08, r, r * 0.95],
        if draw.chance(0.4) { wing } else { body },
    );
    let beak = add(head, [r * draw.within(1.7, 3.0), -r * 0.15, 0.0]);
    model.limb(
        add(head, [r * 0.6, 0.0, 0.0]),
        beak,
        [r * 0.38, r * 0.05],
        horn,
    );
    for side in [-1.0, 1.0] {
        model.ball(
            add(head, [r * 0.55, r * 0.25, side * r * 0.72]),
            [r * 0.17; 3],
            dark,
        );
    }
    model.turn_from(0, &rotate_z(tilt), [0.0; 3]);
    let lift = leg + girth * 0.9;
    for part in &mut model.parts {
        part.centre[1] += lift;
    }
    for side in [-1.0, 1.0] {
        let (top, stride) = (
            [0.0, lift - girth * 0.7, side * 0.1],
            draw.within(-0.12, 0.12),
        );
        let foot = [stride, 0.02, side * 0.1];
        model.limb(top, foot, [0.035, 0.025], horn);
        model.limb(foot, add(foot, [0.14, 0.0, 0.0]), [0.025, 0.015], horn);
    }
    model
}
