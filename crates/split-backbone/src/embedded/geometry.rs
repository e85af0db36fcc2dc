//! Vectors, rotations and the few curved functions that the pictures need.
//!
//! Only `+ - * /`, `sqrt`, `floor` and comparisons are used: IEEE 754 fixes their results to
//! the last bit, while `sin` or `powf` differ between C libraries. So a picture is the same
//! everywhere.

/// A point or direction.
pub(super) type Vec3 = [f32; 3];

/// Rows of a linear map.
pub(super) type Mat3 = [[f32; 3]; 3];

pub(super) const IDENTITY: Mat3 = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

pub(super) fn add(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(super) fn sub(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn scale(a: Vec3, k: f32) -> Vec3 {
    [a[0] * k, a[1] * k, a[2] * k]
}

pub(super) fn mix(a: Vec3, b: Vec3, t: f32) -> Vec3 {
    add(scale(a, 1.0 - t), scale(b, t))
}

pub(super) fn dot(a: Vec3, b: Vec3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

pub(super) fn length(a: Vec3) -> f32 {
    dot(a, a).sqrt()
}

/// Unit vector along `a`; a zero vector stays as it is.
pub(super) fn normalize(a: Vec3) -> Vec3 {
    let len = length(a);
    if len > 0.0 { scale(a, 1.0 / len) } else { a }
}

pub(super) fn apply(m: &Mat3, v: Vec3) -> Vec3 {
    [dot(m[0], v), dot(m[1], v), dot(m[2], v)]
}

pub(super) fn transpose(m: &Mat3) -> Mat3 {
    [
        [m[0][0], m[1][0], m[2][0]],
        [m[0][1], m[1][1], m[2][1]],
        [m[0][2], m[1][2], m[2][2]],
    ]
}

pub(super) fn compose(a: &Mat3, b: &Mat3) -> Mat3 {
    let columns = transpose(b);
    let row = |r: Vec3| [dot(r, columns[0]), dot(r, columns[1]), dot(r, columns[2])];
    [row(a[0]), row(a[1]), row(a[2])]
}

/// Inverse by the adjugate. The maps here are rotations times positive scales, so the
/// determinant is never zero.
pub(super) fn inverse(m: &Mat3) -> Mat3 {
    let columns = transpose(m);
    let adjugate = [
        cross(columns[1], columns[2]),
        cross(columns[2], columns[0]),
        cross(columns[0], columns[1]),
    ];
    let k = 1.0 / dot(columns[0], adjugate[0]);
    [
        scale(adjugate[0], k),
        scale(adjugate[1], k),
        scale(adjugate[2], k),
    ]
}

/// Rotation about x by `turn` (fraction of a full turn).
pub(super) fn rotate_x(turn: f32) -> Mat3 {
    let (s, c) = sin_cos(turn);
    [[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]]
}

/// Rotation about y by `turn` (fraction of a full turn).
pub(super) fn rotate_y(turn: f32) -> Mat3 {
    let (s, c) = sin_cos(turn);
    [[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]
}

/// Rotation about z by `turn` (fraction of a full turn).
pub(super) fn rotate_z(turn: f32) -> Mat3 {
    let (s, c) = sin_cos(turn);
    [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]
}

/// Rotation that takes the y axis to the unit vector `to`.
pub(super) fn rotate_y_axis_to(to: Vec3) -> Mat3 {
    let helper = if to[0] * to[0] < 0.5 {
        [1.0, 0.0, 0.0]
    } else {
        [0.0, 0.0, 1.0]
    };
    let z = normalize(cross(helper, to));
    let x = cross(to, z);
    transpose(&[x, to, z])
}

/// Sine and cosine of a fraction of a full turn, to about 1e-5: the Taylor series after
/// reduction to an eighth of a turn either side of a quarter.
pub(super) fn sin_cos(turn: f32) -> (f32, f32) {
    let shifted = turn * 4.0 + 0.5;
    let quarters = shifted - fraction(shifted);
    let x = (turn - quarters * 0.25) * core::f32::consts::TAU;
    let x2 = x * x;
    let s = x * (1.0 - x2 * (1.0 / 6.0 - x2 * (1.0 / 120.0 - x2 / 5040.0)));
    let c = 1.0 - x2 * (0.5 - x2 * (1.0 / 24.0 - x2 / 720.0));
    match floor_to_int(quarters) & 3 {
        0 => (s, c),
        1 => (c, -s),
        2 => (-s, -c),
        _ => (-c, s),
    }
}

/// Largest integer not above `x`. Several times faster than `f32::floor`, which is a call into
/// the C library where SSE4.1 may not be assumed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "callers stay within a few thousand; the cast saturates beyond"
)]
pub(super) fn floor_to_int(x: f32) -> i32 {
    let toward_zero = x as i32;
    toward_zero - i32::from(x < toward_zero as f32)
}

/// `x` less its largest integer below, in `[0, 1)`.
#[expect(
    clippy::cast_precision_loss,
    reason = "callers stay within a few thousand"
)]
pub(super) fn fraction(x: f32) -> f32 {
    x - floor_to_int(x) as f32
}

/// 0 below `lo`, 1 above `hi`, smooth between.
pub(super) fn smoothstep(lo: f32, hi: f32, x: f32) -> f32 {
    let t = ((x - lo) / (hi - lo)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_and_cosine_are_near_the_exact_ones() {
        for i in -200..=200i16 {
            let turn = f32::from(i) / 100.0;
            let (s, c) = sin_cos(turn);
            let exact = f64::from(turn) * core::f64::consts::TAU;
            assert!((f64::from(s) - exact.sin()).abs() < 5e-5, "sine at {turn}");
            assert!(
                (f64::from(c) - exact.cos()).abs() < 5e-5,
                "cosine at {turn}"
            );
        }
    }

    #[test]
    fn inverse_undoes_a_scaled_rotation() {
        let rotation = compose(&rotate_x(0.1), &compose(&rotate_y(0.3), &rotate_z(0.7)));
        let m = compose(
            &rotation,
            &[[2.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 3.0]],
        );
        let product = compose(&m, &inverse(&m));
        for (row, expected) in product.iter().zip(IDENTITY) {
            for (x, e) in row.iter().zip(expected) {
                assert!((x - e).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn y_axis_is_taken_to_the_given_direction() {
        for to in [
            [0.0, 1.0, 0.0],
            [1.0, 0.0, 0.0],
            [0.6, 0.0, -0.8],
            [0.0, -1.0, 0.0],
        ] {
            let image = apply(&rotate_y_axis_to(to), [0.0, 1.0, 0.0]);
            assert!(length(sub(image, to)) < 1e-6);
        }
    }
}
