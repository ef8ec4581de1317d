//! Line plots as SVG.

use std::fmt::Write as _;

use super::html::escaped;

/// Size of the picture and of its margins, pixels.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 30.0;

/// Colours of the lines, told apart by people with any eyes.
pub(super) const COLOURS: [&str; 9] = [
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#7f6d00", "#8a8a8a",
    "#9467bd",
];

/// A line: its name, its colour, and its points; `None` breaks it.
pub(super) struct Line<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its colour.
    pub(super) colour: &'static str,
    /// Seconds, and how much.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// A plot over time, with what happened when. The scale is logarithmic: a page now
/// and then is to be seen beside thousands of them. `from` is where time begins.
pub(super) fn plot(
    lines: &[Line<'_>],
    marks: &[(f64, &str)],
    (from, until): (f64, f64),
    unit: &str,
) -> String {
    let values = lines.iter().flat_map(|line| line.points.iter().filter_map(|point| point.1));
    let decades = values.fold(1.0, f64::max).log10().ceil().max(1.0);
    let x = |at: f64| LEFT + (at - from) / (until - from).max(1.0) * (WIDTH - LEFT - RIGHT);
    let y =
        |value: f64| HEIGHT - BOTTOM - value.max(1.0).log10() / decades * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escaped(unit)
    );
    let mut value = 1.0;
    while value <= 10.0_f64.powf(decades) {
        let at = y(value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            if value > 1.0 { short(value) } else { "≤ 1".to_owned() }
        );
        value *= 10.0;
    }
    write_marks(&mut svg, marks, from, x);
    write_seconds(&mut svg, (from, until), x);
    for line in lines {
        let mut path = String::new();
        let mut pen_down = false;
        for (at, value) in &line.points {
            match value {
                Some(value) => {
                    let verb = if pen_down { 'L' } else { 'M' };
                    let _ = write!(path, "{verb}{:.1} {:.1}", x(*at), y(*value));
                    pen_down = true;
                }
                None => pen_down = false,
            }
        }
        let _ = write!(
            svg,
            "<path d=\"{path}\" stroke=\"{}\"><title>{}</title></path>",
            line.colour,
            escaped(line.name)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// What began when; names that would overlap take turns in height.
fn write_marks(svg: &mut String, marks: &[(f64, &str)], from: f64, x: impl Fn(f64) -> f64) {
    let mut last = f64::MIN;
    for (at, what) in marks.iter().filter(|(at, _)| *at >= from) {
        let place = x(*at);
        let low = place - last < 92.0;
        let _ = write!(
            svg,
            "<line class=\"mark\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text class=\"what\" x=\"{:.1}\" y=\"{}\">{}</text>",
            HEIGHT - BOTTOM,
            place + 3.0,
            if low { 25 } else { 12 },
            escaped(what)
        );
        last = if low { f64::MIN } else { place };
    }
}

/// The time below: every ten seconds, or twenty of a long run.
fn write_seconds(svg: &mut String, (from, until): (f64, f64), x: impl Fn(f64) -> f64) {
    let every = if until - from > 120.0 { 20 } else { 10 };
    let mut at = 0_u32;
    while f64::from(at) <= until {
        if f64::from(at) >= from {
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{at} s</text>",
                x(f64::from(at)),
                HEIGHT - 10.0
            );
        }
        at += every;
    }
}

/// `1000` as `1 k`.
fn short(value: f64) -> String {
    if value >= 1000.0 { format!("{} k", value / 1000.0) } else { format!("{value}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_the_next_power_of_ten() {
        let line = |top| Line { name: "lb", colour: COLOURS[0], points: vec![(1.0, Some(top))] };
        let svg = |top| plot(&[line(top)], &[], (0.0, 2.0), "packets/s");
        assert!(svg(4_800.0).contains(">10 k</text>") && !svg(4_800.0).contains(">100 k<"));
        assert!(svg(0.0).contains(">10</text>") && !svg(0.0).contains(">100<"));
        assert_eq!((short(10_000.0), short(100.0)), ("10 k".into(), "100".into()));
    }

    #[test]
    fn a_gap_lifts_the_pen() {
        let points = vec![(0.0, Some(1.0)), (1.0, Some(1.0)), (2.0, None), (3.0, Some(1.0))];
        let line = Line { name: "web1", colour: COLOURS[0], points };
        let svg = plot(&[line], &[(1.0, "load"), (-1.0, "before")], (0.0, 3.0), "packets/s");
        let path = svg.split("<path d=\"").nth(1).unwrap();
        assert_eq!(path.split('"').next().unwrap().matches('M').count(), 2);
        assert!(svg.contains(">load</text>") && !svg.contains("before"));
    }
}
