//! Lines as logs have them: the shipped sample's, with fresh times and numbers, always the same. A rare word stands in three of them.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use crate::Outcome;

const SAMPLE: &[u8] = include_bytes!("../../../../crates/duramen/samples/edge.log");

/// The word that stands in few lines.
pub const RARE: &str = "quebracho";
/// What few lines match.
pub const REGEX: &str = "quebr[a-z]+ [0-9]+$";

/// 2026-01-01 00:00 UTC in seconds.
const BEGIN: u64 = 1_767_225_600;
/// Lines in a second.
const PACE: u64 = 20;

/// Makes so many lines.
pub fn make(path: &Path, lines: u64) -> Outcome<()> {
    let text = String::from_utf8_lossy(SAMPLE);
    // Without their own times: everything behind the program's name.
    let bodies: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| !line.contains('\0'))
        .filter_map(|line| {
            let rest = line.get(16..)?;
            let (_host, rest) = rest.split_once(' ')?;
            let (program, body) = rest.split_once(": ")?;
            let program = program.split('[').next()?;
            let named = !program.is_empty() && program.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            named.then_some((program, body))
        })
        .collect();
    assert!(bodies.len() > 20, "the sample has lines of syslog's form");
    let mut out = BufWriter::new(std::fs::File::create_new(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for line in 0..lines {
        let (program, body) = bodies[random() as usize % bodies.len()];
        let seconds = BEGIN + line / PACE;
        let (day, rest) = (seconds / 86_400 - BEGIN / 86_400, seconds % 86_400);
        let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
        let month_day = day % 28 + 1;
        write!(
            out,
            "2026-01-{month_day:02}T{hour:02}:{minute:02}:{second:02}Z pump-{:02} {program}[{}]: ",
            random() % 8,
            random() % 30_000
        )?;
        for byte in body.bytes() {
            // Fresh digits, where digits were.
            let byte = if byte.is_ascii_digit() { b'0' + (random() >> 20) as u8 % 10 } else { byte };
            out.write_all(&[byte])?;
        }
        if line % (lines / 3).max(1) == lines / 7 {
            write!(out, " {RARE} {line}")?;
        }
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}
