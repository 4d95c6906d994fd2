//! What opening and verifying found, for people and as JSON. Owns the facts' shape and their words; finds nothing itself.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use crate::Sequence;

/// How the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum End {
    /// It was just created, or holds nothing yet.
    #[default]
    New,
    /// With a closing mark: nothing is missing.
    Closed,
    /// With an idle mark: every commit is witnessed.
    Idle,
    /// Cleanly, but nothing witnesses the last commit: later ones may be missing without a trace.
    Unmarked,
    /// With a torn write, which is or would be cut.
    Torn,
    /// In damage.
    Damaged,
    /// Nobody can tell how: the device could not read something that would say so.
    Unreadable,
    /// A writer is at work on it.
    Live,
}

impl End {
    /// One lower-case word.
    pub fn word(self) -> &'static str {
        match self {
            End::New => "new",
            End::Closed => "closed",
            End::Idle => "idle",
            End::Unmarked => "unmarked",
            End::Torn => "torn",
            End::Damaged => "damaged",
            End::Unreadable => "unreadable",
            End::Live => "live",
        }
    }
}

/// An unfinished write at the end that was, or would be, cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub segment: u64,
    /// Its file's name.
    pub file: String,
    /// Where the good data ends.
    pub offset: u32,
    /// Bytes from there to the last one that is not zero.
    pub bytes: u64,
    /// Records with this sequence and later ones were in it.
    pub first: Sequence,
    /// The last sequence that can be seen in it, if any can.
    pub last: Option<Sequence>,
    /// Nothing tells whether it was acknowledged: it can also be a damaged last commit.
    pub uncertain: bool,
}

/// What is wrong at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// A commit that later data says was durable does not verify.
    Commit,
    /// Bytes between commits, or behind the last one, that should be zero are not.
    Padding,
    /// One copy of a segment's header is bad; the other serves.
    HeaderCopy,
    /// Both copies of a segment's header are bad.
    Header,
    /// The footer or its index is bad; the segment's data may still be good.
    Footer,
    /// The chain of digests breaks: an old version of the data, or another segment's.
    Chain,
    /// A segment is missing.
    Missing,
    /// A file is shorter or longer than its header says.
    Length,
    /// A segment of another journal, or a file under a wrong name.
    Foreign,
    /// The identity file is bad.
    Identity,
    /// The device could not read it. That says nothing about the bytes: another try, or another machine, may read them.
    /// Writing is refused as long as it lasts, and nothing is cut or set aside because of it.
    Unreadable,
    /// The same, where the rest makes up for it: one copy of a header, or the footer of a segment that was walked instead.
    UnreadableCopy,
}

impl DamageKind {
    /// The kind in words.
    pub fn words(self) -> &'static str {
        match self {
            DamageKind::Commit => "damaged commit",
            DamageKind::Padding => "bytes that should be zero",
            DamageKind::HeaderCopy => "damaged header copy",
            DamageKind::Header => "damaged header",
            DamageKind::Footer => "damaged footer",
            DamageKind::Chain => "broken chain",
            DamageKind::Missing => "missing segment",
            DamageKind::Length => "wrong file length",
            DamageKind::Foreign => "foreign or misnamed segment",
            DamageKind::Identity => "damaged identity file",
            DamageKind::Unreadable => "unreadable",
            DamageKind::UnreadableCopy => "unreadable copy",
        }
    }

    /// Whether records may be lost by it, so that writing is refused. Never true of what could not be read.
    pub fn loses_records(self) -> bool {
        !self.is_unreadable()
            && !matches!(self, DamageKind::HeaderCopy | DamageKind::Footer | DamageKind::Identity | DamageKind::Padding)
    }

    /// Whether it is the device's failure to read, which is told of like damage, and is none.
    pub fn is_unreadable(self) -> bool {
        matches!(self, DamageKind::Unreadable | DamageKind::UnreadableCopy)
    }

    /// Whether writing is refused because of it: records may be lost, or cannot be seen.
    pub fn refuses_writing(self) -> bool {
        self.loses_records() || self == DamageKind::Unreadable
    }
}

/// A damaged place, or one that could not be read ([`DamageKind::is_unreadable`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: u64,
    /// Its file's name.
    pub file: String,
    /// Where the damage begins.
    pub offset: u64,
    /// How far it reaches, as far as can be told.
    pub bytes: u64,
    /// The first sequence that it touches, if known.
    pub first: Option<Sequence>,
    /// The last sequence that it touches, if known.
    pub last: Option<Sequence>,
    /// What is wrong.
    pub what: DamageKind,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} at offset {} ({} bytes)", self.what.words(), self.file, self.offset, self.bytes)?;
        match (self.first, self.last) {
            // Only the journal's own commits lie there.
            (Some(first), Some(last)) if first > last => Ok(()),
            (Some(first), Some(last)) if first == last => write!(f, ", record {first}"),
            (Some(first), Some(last)) => write!(f, ", records {first} to {last}"),
            (Some(first), None) => write!(f, ", records from {first}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "torn end in {} at offset {}, {} bytes, records from {}",
            self.file, self.offset, self.bytes, self.first
        )?;
        if let Some(last) = self.last {
            write!(f, " to {last}")?;
        }
        if self.uncertain { write!(f, "; nothing tells whether they were acknowledged") } else { Ok(()) }
    }
}

/// Sequences that a gap skips where nobody knows how many records were lost at the end: more than there can have been, so that
/// none is given a second time.
pub(crate) const OPEN_GAP: u64 = 1 << 32;

/// Sequences that are known to be lost: half-open. Where a journal's end was lost, and nobody knows how many records that were, the
/// gap skips 2³² sequences: see [`Gap::is_open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first lost one.
    pub first: Sequence,
    /// The first that is there again.
    pub end: Sequence,
}

impl Gap {
    /// Whether it stands for an end of unknown length.
    pub fn is_open(&self) -> bool {
        self.end.saturating_sub(self.first) >= OPEN_GAP
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_open() {
            write!(f, "records from {} on, nobody knows how many; sequences go on at {}", self.first, self.end)
        } else {
            write!(f, "records {} to {}", self.first, self.end.saturating_sub(1))
        }
    }
}

/// What opening found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The journal's id.
    pub journal_id: [u8; 16],
    /// The first sequence that is stored (or the next, when none is).
    pub first: Sequence,
    /// The sequence that the next append gets.
    pub next: Sequence,
    /// Segments in use.
    pub segments: u64,
    /// Records stored.
    pub records: u64,
    /// Bytes of commits stored.
    pub bytes: u64,
    /// How it ended.
    pub end: End,
    /// What was cut, or would be.
    pub cut: Option<Cut>,
    /// Damaged places, and those that could not be read.
    pub damage: Vec<Damage>,
    /// Known losses.
    pub gaps: Vec<Gap>,
    /// What was mended or noticed on the way.
    pub notes: Vec<String>,
    /// Where the damaged journal went, if it was set aside.
    pub set_aside: Option<PathBuf>,
}

impl Report {
    /// Whether writing would be refused.
    pub fn refuses_writing(&self) -> bool {
        self.damage.iter().any(|damage| damage.what.refuses_writing())
    }

    /// Whether something that decides over records could not be read: no verdict about them holds until it can.
    pub fn is_unreadable(&self) -> bool {
        self.damage.iter().any(|damage| damage.what == DamageKind::Unreadable)
    }

    /// The report as one JSON object.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{");
        let _ = write!(out, "\"journal_id\":\"{}\"", hex(&self.journal_id));
        let _ = write!(
            out,
            ",\"first\":{},\"next\":{},\"segments\":{},\"records\":{},\"bytes\":{},\"end\":\"{}\"",
            self.first,
            self.next,
            self.segments,
            self.records,
            self.bytes,
            self.end.word()
        );
        out.push_str(",\"cut\":");
        match &self.cut {
            None => out.push_str("null"),
            Some(cut) => {
                let _ = write!(
                    out,
                    "{{\"segment\":{},\"file\":{},\"offset\":{},\"bytes\":{},\"first\":{},\"last\":{},\"uncertain\":{}}}",
                    cut.segment,
                    json_string(&cut.file),
                    cut.offset,
                    cut.bytes,
                    cut.first,
                    json_number(cut.last),
                    cut.uncertain
                );
            }
        }
        out.push_str(",\"damage\":[");
        push_joined(&mut out, self.damage.iter().map(Damage::to_json));
        out.push_str("],\"gaps\":[");
        push_joined(&mut out, self.gaps.iter().map(|gap| format!("{{\"first\":{},\"end\":{}}}", gap.first, gap.end)));
        out.push_str("],\"notes\":[");
        push_joined(&mut out, self.notes.iter().map(|note| json_string(note)));
        out.push_str("],\"set_aside\":");
        match &self.set_aside {
            None => out.push_str("null"),
            Some(path) => out.push_str(&json_string(&path.to_string_lossy())),
        }
        out.push('}');
        out
    }
}

impl Damage {
    /// The place as one JSON object.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"what\":{},\"segment\":{},\"file\":{},\"offset\":{},\"bytes\":{},\"first\":{},\"last\":{}}}",
            json_string(self.what.words()),
            self.segment,
            json_string(&self.file),
            self.offset,
            self.bytes,
            json_number(self.first),
            json_number(self.last)
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "journal   {}", hex(&self.journal_id))?;
        if self.records == 0 {
            writeln!(f, "records   none; the next is {}", self.next)?;
        } else {
            writeln!(f, "records   {} ({} to {})", self.records, self.first, self.next - 1)?;
        }
        writeln!(f, "segments  {} ({} bytes of commits)", self.segments, self.bytes)?;
        writeln!(f, "end       {}", self.end.word())?;
        self.cut.iter().try_for_each(|cut| writeln!(f, "cut       {cut}"))?;
        for damage in &self.damage {
            let word = if damage.what.is_unreadable() { "disk" } else { "damage" };
            writeln!(f, "{word:9} {damage}")?;
        }
        self.gaps
            .iter()
            .try_for_each(|gap| writeln!(f, "gap       records {} to {} are lost", gap.first, gap.end - 1))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note      {note}"))?;
        self.set_aside.iter().try_for_each(|path| writeln!(f, "aside     {}", path.display()))
    }
}

pub(crate) fn push_joined(out: &mut String, items: impl Iterator<Item = String>) {
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&item);
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn json_number(number: Option<u64>) -> String {
    number.map_or_else(|| "null".to_string(), |number| number.to_string())
}

/// A string as JSON writes it.
pub(crate) fn json_string(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            character if (character as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", character as u32);
            }
            character => out.push(character),
        }
    }
    out.push('"');
    out
}
