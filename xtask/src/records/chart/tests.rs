//! What charts promise whatever they are given.

use super::*;

fn chart() -> Chart {
    let dots = |y: f64| -> Vec<Dot> {
        [10.0, 100.0, 1000.0]
            .into_iter()
            .map(|x| Dot {
                x,
                y,
                title: format!("{x} & {y}"),
                note: Some("1.0 M".to_owned()),
                hollow: false,
            })
            .collect()
    };
    Chart {
        label: "a \"label\"".to_owned(),
        heading: None,
        x: Axis::log("bytes", [10.0, 1000.0].into_iter()),
        y: Axis::linear("value", [50.0, 90.0].into_iter(), 1.0),
        series: vec![
            Series {
                name: "unit".to_owned(),
                look: 0,
                dots: dots(80.0),
                line: vec![(10.0, 80.0), (1000.0, 80.0)],
            },
            Series {
                name: "webp <q>".to_owned(),
                look: 9,
                dots: dots(20.0),
                line: vec![(10.0, 20.0), (1000.0, 90.0)],
            },
        ],
        levels: vec![Level {
            name: "unsplit".to_owned(),
            y: 85.0,
        }],
    }
}

#[test]
fn every_point_inside_has_a_mark_with_its_figures_and_none_lies_outside() {
    let svg = chart().svg();
    assert_eq!(svg.matches("class=\"mark s0\"").count(), 3, "{svg}");
    assert!(svg.contains("<title>100 &amp; 80</title>"), "{svg}");
    // The second series lies below the axis: no marks, and its line begins on the limit.
    assert_eq!(svg.matches("class=\"mark s1\"").count(), 0, "{svg}");
    assert!(svg.contains("<polyline class=\"line s1 d1\""), "{svg}");
}

#[test]
fn names_and_labels_are_escaped_and_all_series_are_in_the_legend() {
    let svg = chart().svg();
    assert!(svg.contains("aria-label=\"a &quot;label&quot;\""), "{svg}");
    assert!(svg.contains(">webp &lt;q&gt;</text>"), "{svg}");
    assert!(svg.contains(">unsplit</text>"), "{svg}");
    assert!(svg.contains("role=\"img\""), "{svg}");
}

#[test]
fn notes_never_lie_upon_each_other() {
    let mut crowded = chart();
    crowded.series[0].dots = (0..40)
        .map(|i| Dot {
            x: 100.0 + f64::from(i),
            y: 80.0,
            title: String::new(),
            note: Some("10.4 M".to_owned()),
            hollow: false,
        })
        .collect();
    let notes = crowded.svg().matches("class=\"note\"").count();
    assert!((1..40).contains(&notes), "{notes}");
}

#[test]
fn line_is_cut_off_where_it_leaves_the_axis() {
    let axis = Axis {
        min: 0.0,
        max: 10.0,
        ..Axis::default()
    };
    let line = clipped(&[(0.0, -10.0), (2.0, 10.0), (3.0, 30.0)], &axis);
    assert!(line.contains(&(1.0, 0.0)), "{line:?}");
}

#[test]
fn picture_alone_brings_its_colours() {
    let picture = chart().picture();
    assert!(picture.contains("<style>"), "{picture}");
    assert!(picture.contains("prefers-color-scheme: dark"));
    assert!(!chart().svg().contains("<style>"));
}

#[test]
fn bars_are_as_many_as_given_and_long_names_are_cut_off() {
    let bars = BarChart {
        label: "speed".to_owned(),
        unit: "ms".to_owned(),
        log: true,
        groups: vec![(
            "group".to_owned(),
            vec![
                Bar {
                    name: "n".repeat(80),
                    value: 0.01,
                    spread: Some((0.009, 0.02)),
                    ..Bar::default()
                },
                Bar {
                    name: "b".to_owned(),
                    value: 120.0,
                    ..Bar::default()
                },
            ],
        )],
    };
    let svg = bars.svg();
    assert_eq!(svg.matches("<rect ").count(), 2, "{svg}");
    assert_eq!(svg.matches("whisker").count(), 1, "{svg}");
    assert!(
        svg.contains('\u{2026}') && svg.contains(">120</text>"),
        "{svg}"
    );
    assert!(!svg.contains("NaN"), "{svg}");
}

#[test]
fn sixty_four_looks_differ_in_colour_or_shape() {
    let looks: std::collections::BTreeSet<(usize, String)> = (0..64)
        .map(|look| (look % LOOKS, shape(look, 0.0, 0.0)))
        .collect();
    assert_eq!(looks.len(), 64);
}
