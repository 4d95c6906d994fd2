//! A chart of series for a terminal, drawn with Braille dots: two across and four down in each character. Owns the scales; where a
//! series has no value, nothing is drawn.

use std::fmt::Write as _;

/// One series: times and values, sorted by time.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// What it is called.
    pub name: String,
    /// Milliseconds since 1970, and values.
    pub points: Vec<(i64, f64)>,
}

/// What is drawn how.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Characters across, with the scale.
    pub columns: usize,
    /// Characters down.
    pub rows: usize,
    /// The first and the last time.
    pub span: (i64, i64),
    /// A step further apart than this from the one before begins anew: a gap is a gap.
    pub gap_ms: i64,
    /// In colours, for a terminal.
    pub colours: bool,
}

/// Colours that can be told apart on light and dark grounds, by their number among the 256.
const COLOURS: [u8; 6] = [33, 208, 34, 162, 37, 136];
/// The bit of each dot of a character, across and down.
const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// The colour of a series.
pub fn colour(number: usize) -> u8 {
    COLOURS[number % COLOURS.len()]
}

/// Draws series; empty if there is nothing to draw.
pub fn draw(lines: &[Line], frame: Frame) -> String {
    let values =
        || lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).filter(|value| value.is_finite());
    let (Some(least), Some(most)) = (values().reduce(f64::min), values().reduce(f64::max)) else {
        return String::new();
    };
    let (low, high) = if least < most { (least, most) } else { around(least) };
    let scale: Vec<String> = [high, low / 2.0 + high / 2.0, low].iter().map(|value| short(*value)).collect();
    let margin = scale.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let columns = frame.columns.saturating_sub(margin + 2).max(10);
    let mut grid = vec![vec![(0_u8, 0_usize); columns]; frame.rows];
    let length = (frame.span.1 - frame.span.0).max(1) as f64;
    for (number, line) in lines.iter().enumerate() {
        let mut before: Option<(i64, f64, f64)> = None;
        for &(time, value) in &line.points {
            if !value.is_finite() {
                before = None;
                continue;
            }
            let x =
                ((time - frame.span.0) as f64 / length * (columns * 2 - 1) as f64).clamp(0.0, (columns * 2 - 1) as f64);
            let y = part(value, low, high) * (frame.rows * 4 - 1) as f64;
            match before.filter(|(last, ..)| time - last <= frame.gap_ms) {
                Some((_, from_x, from_y)) => stroke(&mut grid, number, (from_x, from_y), (x, y)),
                None => stroke(&mut grid, number, (x, y), (x, y)),
            }
            before = Some((time, x, y));
        }
    }
    let mut out = String::new();
    for (row, cells) in grid.iter().enumerate() {
        let label = match row {
            0 => &scale[0],
            row if row == frame.rows / 2 => &scale[1],
            row if row + 1 == frame.rows => &scale[2],
            _ => "",
        };
        let _ = write!(out, "{label:>margin$} │");
        for &(dots, number) in cells {
            let character = if dots == 0 { ' ' } else { char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' ') };
            if dots != 0 && frame.colours {
                let _ = write!(out, "\x1b[38;5;{}m{character}\x1b[0m", colour(number));
            } else {
                out.push(character);
            }
        }
        let kept = out.trim_end().len();
        out.truncate(kept);
        out.push('\n');
    }
    out
}

/// A span in whose middle a flat line stands, however far that is from what a number can hold exactly.
fn around(value: f64) -> (f64, f64) {
    let wide = (value.abs() * 1e-3).max(1.0);
    ((value - wide).max(f64::MIN), (value + wide).min(f64::MAX))
}

/// How far below the highest value one is, from 0 to 1. The whole may be more than a number can hold.
fn part(value: f64, low: f64, high: f64) -> f64 {
    let whole = high - low;
    if whole.is_finite() { (high - value) / whole } else { (high / 2.0 - value / 2.0) / (high / 2.0 - low / 2.0) }
}

/// Sets the dots between two points.
fn stroke(grid: &mut [Vec<(u8, usize)>], number: usize, from: (f64, f64), to: (f64, f64)) {
    let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0) as usize;
    for step in 0..=steps {
        let part = step as f64 / steps as f64;
        let x = (from.0 + (to.0 - from.0) * part).round() as usize;
        let y = (from.1 + (to.1 - from.1) * part).round() as usize;
        if let Some(cell) = grid.get_mut(y / 4).and_then(|row| row.get_mut(x / 2)) {
            *cell = (cell.0 | DOTS[x % 2][y % 4], number);
        }
    }
}

/// A value in few characters.
pub fn short(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let size = value.abs();
    if size >= 1e15 {
        return format!("{value:.1e}");
    }
    if let Some((unit, name)) = units.iter().find(|(unit, _)| size >= *unit) {
        return format!("{}{name}", rounded(value / unit));
    }
    if size > 0.0 && size < 1e-3 { format!("{value:.1e}") } else { rounded(value) }
}

/// Three digits that say something.
fn rounded(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame { columns: 24, rows: 4, span: (0, 1_000), gap_ms: 100, colours: false }
    }

    #[test]
    fn a_rising_line_goes_from_corner_to_corner_and_a_gap_stays_empty() {
        let rising = Line { name: "a".into(), points: (0..=10).map(|step| (step * 100, step as f64)).collect() };
        let drawn = draw(std::slice::from_ref(&rising), frame());
        let rows: Vec<&str> = drawn.lines().collect();
        assert_eq!(rows.len(), 4);
        assert!(rows[0].starts_with("10 │") && rows[3].trim_start().starts_with("0 │⣀"), "{drawn}");
        let holed = Line {
            points: rising.points.iter().copied().filter(|(time, _)| !(300..=700).contains(time)).collect(),
            ..rising
        };
        let empty = |drawn: &str| drawn.chars().filter(|c| *c as u32 > 0x2800).count();
        let (whole, with_hole) = (empty(&drawn), empty(&draw(&[holed], frame())));
        assert!(with_hole + 4 < whole, "{with_hole} of {whole}");
    }

    #[test]
    fn nothing_finite_draws_nothing_and_a_flat_line_is_in_the_middle() {
        let line = |value: f64| Line { name: String::new(), points: vec![(0, value), (50, value)] };
        assert_eq!(draw(&[line(f64::NAN)], frame()), "");
        let flat = draw(&[line(5.0)], frame());
        let drawn: Vec<usize> = flat
            .lines()
            .enumerate()
            .filter(|(_, row)| row.chars().any(|c| c as u32 > 0x2800))
            .map(|(at, _)| at)
            .collect();
        assert!(drawn == [1] || drawn == [2], "{flat}");
    }

    /// Labels of 300 characters, and no line: the span was more than a number can hold.
    #[test]
    fn the_largest_values_are_drawn() {
        let line = |values: &[f64]| {
            let points = values.iter().enumerate().map(|(at, value)| (at as i64 * 50, *value)).collect();
            draw(&[Line { name: String::new(), points }], frame())
        };
        for values in [&[1e308, -1e308][..], &[f64::MAX, f64::MIN, 0.0], &[1e308, 1e308], &[1e17, 1e17], &[f64::MAX]] {
            let drawn = line(values);
            assert!(drawn.lines().all(|row| row.chars().count() <= 24), "{drawn}");
            assert!(drawn.chars().any(|c| c as u32 > 0x2800), "{values:?}: {drawn}");
        }
        assert_eq!((part(0.0, f64::MIN, f64::MAX), part(1e308, -1e308, 1e308)), (0.5, 0.0));
        let flat = line(&[1e17, 1e17]);
        let on_line = |row: &str| row.contains("1.0e17") && row.chars().any(|c| c as u32 > 0x2800);
        assert!(flat.lines().nth(2).is_some_and(on_line), "{flat}");
    }

    #[test]
    fn values_are_short() {
        let told = [0.0, 1.5, 21.55, 1234.0, 5e6, -2.5e9, 0.0001, 123_456.0, 9.99e14, 1e15, -1.26e300].map(short);
        assert_eq!(told, ["0", "1.5", "21.6", "1.23k", "5M", "-2.5G", "1.0e-4", "123k", "999T", "1.0e15", "-1.3e300"]);
    }
}
