//! The demo's input: this host's readable log files, and the shipped sample where they are too few. Owns the copy that
//! everything is compared with, as live log files grow and rotate under the demo.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the host's log files and the demo's copy of them are ordinary files, outside any data folder"
)]

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::quantity::{show_bytes, show_counted};

/// Where logs are on Linux.
const LOG_FOLDER: &str = "/var/log";

/// The sample that ships with the program.
const SAMPLE: &[u8] = include_bytes!("../../../samples/edge.log");

/// The input, at most and at least: enough for several segments, little enough for a slow flash card in a minute.
const INPUT_BYTES_MAX: u64 = 24 << 20;
const INPUT_BYTES_MIN: u64 = 8 << 20;

/// One log file, at most.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Folders below the log folder.
const DEPTH_MAX: usize = 3;

/// What was gathered.
#[derive(Clone, Debug)]
pub struct Material {
    /// Where it came from, in words.
    pub origin: String,
    /// Its length.
    pub bytes: u64,
    /// Its lines; a last one without newline counts.
    pub lines: u64,
    newlines: u64,
}

impl Material {
    /// Copies log files into `input`, up to a share of the free space.
    ///
    /// # Errors
    /// The copy cannot be written. Log files that cannot be read are passed over.
    pub fn gather(input: &Path, free_bytes: u64) -> anyhow::Result<Material> {
        // The input, the journal and its prepared segments, and air.
        let bytes_max = INPUT_BYTES_MAX.min(free_bytes / 8);
        anyhow::ensure!(
            bytes_max >= 64 << 10,
            "only {} are free here: name a roomier place with --folder",
            show_bytes(free_bytes)
        );
        let what = || format!("cannot write {}", input.display());
        let mut out = Copy::new(BufWriter::new(File::create_new(input).with_context(what)?));
        let mut paths = Vec::new();
        list(Path::new(LOG_FOLDER), DEPTH_MAX, &mut paths);
        paths.sort();
        let mut files = 0;
        for path in &paths {
            let room = bytes_max.saturating_sub(out.bytes).min(FILE_BYTES_MAX);
            let Some(file) = File::open(path).ok().filter(|_| room > 0) else { continue };
            if looks_like_text(path) && copy(file.take(room), &mut out).with_context(what)? > 0 {
                files += 1;
            }
        }
        let host_bytes = out.bytes;
        let mut times = 0;
        while out.bytes < INPUT_BYTES_MIN.min(bytes_max) {
            out.write_all(SAMPLE).with_context(what)?;
            times += 1;
        }
        out.flush().with_context(what)?;
        let host = format!("{} of this host ({})", show_counted(files, "log file"), show_bytes(host_bytes));
        let sample = format!("the shipped sample, {}", show_counted(times, "time"));
        let origin = match (files, times) {
            (_, 0) => host,
            (0, _) => sample,
            _ => format!("{host}, then {sample}"),
        };
        let unended = u64::from(out.bytes > 0 && !out.ended);
        Ok(Material { origin, bytes: out.bytes, lines: out.newlines + unended, newlines: out.newlines })
    }

    /// How many lines of the input a comparison went through.
    pub fn lines_within(&self, compared: &Comparer) -> u64 {
        if compared.bytes == self.bytes { self.lines } else { compared.newlines.min(self.newlines) }
    }
}

/// Regular files below a folder; links are not followed, unreadable folders are passed over.
fn list(folder: &Path, depth: usize, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => list(&entry.path(), depth - 1, paths),
            Ok(kind) if kind.is_file() => paths.push(entry.path()),
            _ => {}
        }
    }
}

/// Whether a file begins as text does: without NUL bytes, which compressed and binary logs have early.
fn looks_like_text(path: &Path) -> bool {
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut begin));
    let compressed =
        path.extension().is_some_and(|ending| ["gz", "xz", "zst", "bz2"].iter().any(|known| ending == *known));
    read.is_ok() && !compressed && !begin.contains(&0)
}

/// Copies what can be read; a file that fails midway ends there, as only writing is an error.
fn copy(mut from: impl Read, to: &mut impl Write) -> io::Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        to.write_all(&buffer[..count])?;
        bytes += count as u64;
    }
    Ok(bytes)
}

/// Counts bytes and newlines on their way.
struct Copy<W> {
    out: W,
    bytes: u64,
    newlines: u64,
    ended: bool,
}

impl<W> Copy<W> {
    fn new(out: W) -> Copy<W> {
        Copy { out, bytes: 0, newlines: 0, ended: true }
    }
}

impl<W: Write> Write for Copy<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.out.write(buffer)?;
        self.bytes += count as u64;
        self.newlines += memchr::memchr_iter(b'\n', &buffer[..count]).count() as u64;
        self.ended = buffer[..count].last().map_or(self.ended, |last| *last == b'\n');
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A writer that stores nothing: it fails at the first byte that differs from the input.
#[derive(Debug)]
pub struct Comparer {
    input: BufReader<File>,
    expected: Vec<u8>,
    /// Equal bytes so far.
    pub bytes: u64,
    newlines: u64,
}

impl Comparer {
    /// A comparison with a file from its begin on.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn new(input: &Path) -> anyhow::Result<Comparer> {
        let file = File::open(input).with_context(|| format!("cannot read {}", input.display()))?;
        Ok(Comparer { input: BufReader::with_capacity(256 << 10, file), expected: Vec::new(), bytes: 0, newlines: 0 })
    }
}

impl Write for Comparer {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.expected.resize(buffer.len(), 0);
        let differs = |at: u64| io::Error::other(format!("output and input differ at byte {at}"));
        self.input.read_exact(&mut self.expected).map_err(|_| differs(self.bytes))?;
        if let Some(place) = buffer.iter().zip(&self.expected).position(|(stored, expected)| stored != expected) {
            return Err(differs(self.bytes + place as u64));
        }
        self.bytes += buffer.len() as u64;
        self.newlines += memchr::memchr_iter(b'\n', buffer).count() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_counts_lines_and_how_they_ended() {
        let mut copy = Copy::new(Vec::new());
        copy.write_all(b"a\nb").expect("a vector takes all bytes");
        assert_eq!((copy.bytes, copy.newlines, copy.ended), (3, 1, false));
        copy.write_all(b"\n").expect("a vector takes all bytes");
        assert_eq!((copy.newlines, copy.ended), (2, true));
    }

    #[test]
    fn the_sample_has_the_hard_cases() {
        assert_eq!(SAMPLE.last(), Some(&b'\n'));
        assert!(SAMPLE.contains(&0xff), "the sample should hold bytes that are no UTF-8");
        assert!(SAMPLE.contains(&0), "the sample should hold a NUL byte");
        assert!(SAMPLE.windows(2).any(|pair| pair == b"\n\n"), "the sample should hold an empty line");
    }
}
