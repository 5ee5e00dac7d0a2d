//! Sparklines of recent rates.

use crate::markup::{El, el};

/// Number of readings across the full width. With fewer, the left side stays empty.
const MAX_POINTS: usize = 30;

/// SVG polyline points in a `width` × `height` box: newest reading at the right edge, `top` at the upper edge.
fn polyline_points(rates: &[f64], top: f64, width: u32, height: u32) -> String {
    let shown = rates
        .get(rates.len().saturating_sub(MAX_POINTS)..)
        .unwrap_or_default();
    let last = shown.len().saturating_sub(1);
    let top = if top > 0.0 { top } else { 1.0 };
    let mut text = String::new();
    for (index, value) in shown.iter().enumerate() {
        let left = f64::from(width) - step(width) * to_f64(last - index);
        let part = (value / top).clamp(0.0, 1.0);
        // A margin of one unit keeps the stroke inside the box.
        let down = f64::from(height - 1) - part * f64::from(height - 2);
        if index > 0 {
            text.push(' ');
        }
        push_tenths(&mut text, left);
        text.push(',');
        push_tenths(&mut text, down);
    }
    text
}

fn step(width: u32) -> f64 {
    f64::from(width) / to_f64(MAX_POINTS - 1)
}

fn to_f64(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn push_tenths(text: &mut String, value: f64) {
    // Never negative: both coordinates are clamped to the box.
    let tenths = (value * 10.0 + 0.5) as u32;
    text.push_str(&(tenths / 10).to_string());
    if !tenths.is_multiple_of(10) {
        text.push('.');
        text.push_str(&(tenths % 10).to_string());
    }
}

/// The maximum of several series, so that their sparklines share a scale.
pub(crate) fn max_rate<'a>(lines: impl Iterator<Item = &'a [f64]>) -> f64 {
    lines
        .flatten()
        .copied()
        .filter(|rate| rate.is_finite())
        .fold(0.0, f64::max)
}

/// The sparkline, hidden from screen readers: the current rate is always printed next to it.
pub(crate) fn sparkline(rates: &[f64], top: f64, width: u32, height: u32) -> El {
    let (wide, high) = (width.to_string(), height.to_string());
    let floor = ["M0 ", &(height - 1).to_string(), "H", &wide].concat();
    el("svg")
        .class("spark")
        .attr("viewBox", ["0 0 ", &wide, " ", &high].concat())
        .attr("width", wide)
        .attr("height", high)
        .attr("aria-hidden", "true")
        .child(el("path").class("floor").attr("d", floor))
        .child(el("polyline").attr("points", polyline_points(rates, top, width, height)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_reading_is_at_the_right_edge() {
        assert_eq!(polyline_points(&[0.0, 10.0], 10.0, 58, 20), "56,19 58,1");
    }

    #[test]
    fn shows_no_more_than_fits() {
        let many: Vec<f64> = (0..100).map(f64::from).collect();
        let line = polyline_points(&many, 99.0, 58, 20);
        assert_eq!(line.split(' ').count(), MAX_POINTS);
        assert!(line.starts_with("0,"));
    }

    #[test]
    fn flat_and_empty_lines_stay_in_the_box() {
        assert_eq!(polyline_points(&[], 0.0, 58, 20), "");
        assert_eq!(polyline_points(&[0.0], 0.0, 58, 20), "58,19");
        assert_eq!(polyline_points(&[5.0], 1.0, 58, 20), "58,1");
    }

    #[test]
    fn maximum_over_all_series() {
        assert_eq!(
            max_rate([&[1.0, 3.0][..], &[2.0][..], &[f64::NAN][..]].into_iter()),
            3.0
        );
    }
}
