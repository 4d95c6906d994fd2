//! A shutdown that somebody has scheduled: `shutdown +1` leaves a note in `/run/systemd/shutdown/scheduled`. Owns the note's reading.
//! In its last seconds the machine is going; if it is called off, the note goes, and so does the word.

use std::path::Path;
use std::time::Duration;

use duramen_store::{Power, Signal};

use crate::power::Watch;
use crate::power::sources::Word;
use crate::stop::Stop;

/// How long before the shutdown the machine is going.
const NOTICE: i64 = 5_000_000;
/// How often the note is looked for, and how long its word lasts.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LASTS: Duration = Duration::from_secs(5);

/// Looks again and again until the daemon stops.
pub fn run(note: &Path, watch: &Watch, stop: &Stop) {
    while stop.signal().is_none() {
        let text = read(note).unwrap_or_default();
        if is_near(&text, crate::stamp::wall_clock() / 1_000) {
            let mut word = Word::new("shutdown", Signal::Is(Power::Going), "scheduled");
            word.lasts = Some(LASTS);
            watch.hear(word);
        }
        let _ = stop.pause(LOOK_EVERY);
    }
}

#[allow(clippy::disallowed_methods, reason = "systemd's note is no data")]
fn read(note: &Path) -> Option<String> {
    std::fs::read_to_string(note).ok()
}

/// Whether a note tells of a shutdown within the notice; `now` in microseconds since 1970.
fn is_near(note: &str, now: i64) -> bool {
    let value = |name: &str| note.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let at = value("USEC").and_then(|at| at.parse::<i64>().ok());
    let ends = value("MODE").is_none_or(|mode| !mode.starts_with("dry-"));
    ends && at.is_some_and(|at| at.saturating_sub(now) <= NOTICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_seconds_count() {
        let note = "USEC=1700000060000000\nWARN_WALL=1\nMODE=poweroff\n";
        assert!(!is_near(note, 1_700_000_000_000_000));
        assert!(is_near(note, 1_700_000_055_000_000));
        assert!(!is_near("USEC=1700000060000000\nMODE=dry-poweroff\n", 1_700_000_059_000_000));
        assert!(!is_near("", 0) && !is_near("USEC=soon\n", 0));
    }
}
