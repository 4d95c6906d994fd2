//! The bar or spinner on standard error. Owns its looks; draws nothing where standard error is no terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over so many bytes, or a spinner where the total is not known; hidden without a terminal, and where standard
/// output shares the terminal with it (`busy_output`), as the two would write over each other.
pub fn bytes(total: Option<u64>, busy_output: OutputUse) -> ProgressBar {
    let shared = busy_output == OutputUse::Lines && std::io::stdout().is_terminal();
    if shared || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = match total {
        Some(total) => ProgressBar::new(total).with_style(style(
            "{wide_bar:.green/black} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
        )),
        None => ProgressBar::new_spinner().with_style(style("{spinner} {binary_bytes} {binary_bytes_per_sec}")),
    };
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What a command does with standard output while the bar is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputUse {
    /// Nothing until the bar is gone.
    Quiet,
    /// Lines all the time.
    Lines,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
