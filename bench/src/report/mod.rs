//! The report: the same results as a table on a terminal, as Markdown, and as a chart. Pure: results in, text out.

mod chart;
mod markdown;
mod terminal;

pub use chart::chart;
pub use markdown::markdown;
pub use terminal::terminal;

use crate::works::{Better, Unit};

/// Three significant digits with a unit, for people.
pub fn value_text(value: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond => format!("{}/s", scaled(value)),
        Unit::MebibytesPerSecond => format!("{} MiB/s", plain(value)),
        Unit::Nanoseconds => format!("{} ns", plain(value)),
        Unit::Microseconds => format!("{} us", plain(value)),
        Unit::Milliseconds => format!("{} ms", plain(value)),
        Unit::Mebibytes => format!("{} MiB", plain(value)),
        Unit::Bytes => format!("{} B", plain(value)),
        Unit::Count => plain(value),
        Unit::Percent => format!("{} %", plain(value)),
    }
}

/// A ratio with two decimals, or fewer where it is large.
pub fn ratio_text(ratio: f64) -> String {
    match ratio {
        ratio if ratio >= 100.0 => format!("{ratio:.0}"),
        ratio if ratio >= 10.0 => format!("{ratio:.1}"),
        ratio => format!("{ratio:.2}"),
    }
}

fn direction(better: Better) -> &'static str {
    match better {
        Better::Higher => "higher is better",
        Better::Lower => "lower is better",
    }
}

fn scaled(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", plain(value / 1e6)),
        value if value >= 1e3 => format!("{}K", plain(value / 1e3)),
        value => plain(value),
    }
}

fn plain(value: f64) -> String {
    match value {
        value if value >= 1000.0 => grouped(value.round() as u64),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// Digits in groups of three.
fn grouped(value: u64) -> String {
    if value < 1000 { value.to_string() } else { format!("{},{:03}", grouped(value / 1000), value % 1000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_have_units() {
        assert_eq!(value_text(7_034_000.0, Unit::PerSecond), "7.03M/s");
        assert_eq!(value_text(560_400.0, Unit::PerSecond), "560K/s");
        assert_eq!(value_text(33_034.4, Unit::Bytes), "33,034 B");
        assert_eq!(value_text(0.0625, Unit::Milliseconds), "0.06 ms");
        assert_eq!(value_text(1_000_000.0, Unit::Count), "1,000,000");
        assert_eq!((ratio_text(0.953), ratio_text(23.44)), ("0.95".to_owned(), "23.4".to_owned()));
    }
}
