//! The structures that [`dump`](super::dump) shows, in words and as JSON. Owns only the words.

use std::fmt::{self, Write as _};

use bytes::Bytes;

use crate::format::{CommitKind, LogCounts};
use crate::report::{Damage, hex, json_string};
use crate::{Codec, LogNumber, Sequence};

/// Bytes of a payload shown to people.
const PREVIEW_BYTES: usize = 32;

/// One stored structure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// A segment's file, from its header.
    Segment {
        /// Its number.
        number: u64,
        /// Its file's name.
        file: String,
        /// The file's length.
        file_bytes: u64,
        /// `begun`, `prepared`, or what is wrong with it.
        state: &'static str,
        /// The sequence of its first record.
        first: Sequence,
        /// Not 0: the sequences from here to `first` are known to be lost.
        gap_first: Sequence,
        /// What was released when it began.
        released_below: Sequence,
        /// The salt of this use of the file.
        salt: u64,
        /// The chain's digest at its predecessor's end.
        predecessor_digest: u64,
        /// It held only zeros when it was prepared.
        zeroed: bool,
        /// It grows as it is written.
        growing: bool,
    },
    /// A good commit.
    Commit {
        /// The segment.
        segment: u64,
        /// Where it begins.
        offset: u32,
        /// What it carries.
        kind: CommitKind,
        /// The sequence of its first record, or of the next one to come.
        first: Sequence,
        /// Its records.
        count: u32,
        /// Bytes of its body as stored.
        stored_bytes: u32,
        /// Bytes of its body before compression.
        body_bytes: u32,
        /// Zeros between body and trailer.
        padding: u16,
        /// How the body is stored.
        codec: Codec,
        /// The digest that it chains to.
        previous_digest: u64,
        /// Its own.
        digest: u64,
        /// The highest sequence that was durable when it was written.
        durable_upto: Sequence,
        /// The offset below which the segment was durable when it was written.
        durable_end: u32,
    },
    /// A record of the commit before.
    Record {
        /// The segment.
        segment: u64,
        /// Its place in the index: of the record, or of the compressed block that it begins in.
        offset: u32,
        /// Its sequence.
        sequence: Sequence,
        /// Its log.
        log: LogNumber,
        /// The caller's kind.
        kind: u8,
        /// Whether the batch goes on.
        more: bool,
        /// The payload.
        payload: Bytes,
    },
    /// The body of one of the journal's own commits.
    Control {
        /// The segment.
        segment: u64,
        /// What it is.
        kind: CommitKind,
        /// Its bytes.
        body: Bytes,
    },
    /// A sealed segment's footer.
    Footer {
        /// The segment.
        segment: u64,
        /// Where its page begins.
        offset: u64,
        /// Records in the segment.
        count: u64,
        /// The chain's digest at its end.
        digest: u64,
        /// Where the commits end.
        data_end: u32,
        /// Where the index begins.
        index_offset: u32,
        /// Where the tables begin.
        tables_offset: u32,
        /// What was released when it was written.
        released_below: Sequence,
        /// Bytes of the caller's summary.
        summary_bytes: u32,
        /// The summary did not fit.
        summary_dropped: bool,
        /// The logs in the segment; empty also where the table is damaged.
        logs: Vec<LogCounts>,
    },
    /// A damaged place.
    Damage(Damage),
    /// Bytes behind the last commit.
    Free {
        /// The segment.
        segment: u64,
        /// Where they begin.
        offset: u64,
        /// How many.
        bytes: u64,
        /// Not all of them are zero: an unfinished write, or an earlier use of the file.
        used: bool,
    },
}

fn kind_word(kind: CommitKind) -> &'static str {
    match kind {
        CommitKind::Data => "data",
        CommitKind::Opening => "opening",
        CommitKind::Release => "release",
        CommitKind::IdleMark => "idle mark",
        CommitKind::ClosingMark => "closing mark",
        CommitKind::Checkpoint => "checkpoint",
    }
}

fn codec_word(codec: Codec) -> &'static str {
    match codec {
        Codec::None => "none",
        Codec::Lz4 => "lz4",
        Codec::Zstd(_) => "zstd",
    }
}

/// The first bytes, in hexadecimal and as characters.
fn preview(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(PREVIEW_BYTES)];
    let more = if shown.len() < bytes.len() { "…" } else { "" };
    let printable = |&byte: &u8| if (0x20..0x7f).contains(&byte) { byte as char } else { '.' };
    let text: String = shown.iter().map(printable).collect();
    format!("{}{more} |{text}{more}|", hex(shown))
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Segment { number, file, file_bytes, state, first, gap_first, released_below, salt, .. } => {
                write!(f, "segment {number} in {file}, {file_bytes} bytes, {state}")?;
                if *state == "begun" {
                    write!(f, ", first record {first}, released below {released_below}")?;
                }
                if *gap_first != 0 {
                    write!(f, ", records {gap_first} to {} are known to be lost", first.saturating_sub(1))?;
                }
                write!(f, ", salt {salt:016x}")
            }
            Item::Commit {
                offset, kind, first, count, stored_bytes, codec, digest, durable_upto, durable_end, ..
            } => {
                write!(f, "  {offset:>10}  {} commit, {count} records from {first}", kind_word(*kind))?;
                write!(f, ", {stored_bytes} bytes")?;
                if *codec != Codec::None {
                    write!(f, " of {}", codec_word(*codec))?;
                }
                write!(f, ", durable up to {durable_upto} and offset {durable_end}, digest {digest:016x}")
            }
            Item::Record { offset, sequence, log, kind, more, payload, .. } => {
                let more = if *more { ", batch goes on" } else { "" };
                write!(
                    f,
                    "  {offset:>10}    record {sequence}, log {log}, kind {kind}{more}, {} bytes",
                    payload.len()
                )?;
                if payload.is_empty() { Ok(()) } else { write!(f, "  {}", preview(payload)) }
            }
            Item::Control { kind, body, .. } => {
                write!(f, "                {} of {} bytes  {}", kind_word(*kind), body.len(), preview(body))
            }
            Item::Footer { offset, count, data_end, index_offset, summary_bytes, logs, .. } => {
                write!(
                    f,
                    "  {offset:>10}  footer: {count} records, commits end at {data_end}, index at {index_offset}"
                )?;
                write!(f, ", {} logs, summary of {summary_bytes} bytes", logs.len())
            }
            Item::Damage(damage) => {
                let word = if damage.what.is_unreadable() { "DISK" } else { "DAMAGE" };
                write!(f, "  {:>10}  {word}: {damage}", damage.offset)
            }
            Item::Free { offset, bytes, used, .. } => {
                let what = if *used { "not in use, not all zero" } else { "free" };
                write!(f, "  {offset:>10}  {what}, {bytes} bytes")
            }
        }
    }
}

impl Item {
    /// The item as one JSON object on one line. Digests and salts are hexadecimal strings, as JSON's numbers lose bits.
    pub fn to_json(&self) -> String {
        match self {
            Item::Segment {
                number,
                file,
                file_bytes,
                state,
                first,
                gap_first,
                released_below,
                salt,
                predecessor_digest,
                zeroed,
                growing,
            } => format!(
                "{{\"item\":\"segment\",\"number\":{number},\"file\":{},\"file_bytes\":{file_bytes},\"state\":\"{state}\",\
                 \"first\":{first},\"gap_first\":{gap_first},\"released_below\":{released_below},\"salt\":\"{salt:016x}\",\
                 \"predecessor_digest\":\"{predecessor_digest:016x}\",\"zeroed\":{zeroed},\"growing\":{growing}}}",
                json_string(file)
            ),
            Item::Commit { .. } => self.commit_json(),
            Item::Record { segment, offset, sequence, log, kind, more, payload } => format!(
                "{{\"item\":\"record\",\"segment\":{segment},\"offset\":{offset},\"sequence\":{sequence},\"log\":{log},\
                 \"kind\":{kind},\"more\":{more},\"bytes\":{},{}}}",
                payload.len(),
                payload_json(payload)
            ),
            Item::Control { segment, kind, body } => format!(
                "{{\"item\":\"control\",\"segment\":{segment},\"kind\":\"{}\",\"bytes\":{},{}}}",
                kind_word(*kind),
                body.len(),
                payload_json(body)
            ),
            Item::Footer { .. } => self.footer_json(),
            Item::Damage(damage) => format!("{{\"item\":\"damage\",\"damage\":{}}}", damage.to_json()),
            Item::Free { segment, offset, bytes, used } => format!(
                "{{\"item\":\"free\",\"segment\":{segment},\"offset\":{offset},\"bytes\":{bytes},\"used\":{used}}}"
            ),
        }
    }

    fn commit_json(&self) -> String {
        let Item::Commit {
            segment,
            offset,
            kind,
            first,
            count,
            stored_bytes,
            body_bytes,
            padding,
            codec,
            previous_digest,
            digest,
            durable_upto,
            durable_end,
        } = self
        else {
            return String::new();
        };
        format!(
            "{{\"item\":\"commit\",\"segment\":{segment},\"offset\":{offset},\"kind\":\"{}\",\"first\":{first},\
             \"count\":{count},\"stored_bytes\":{stored_bytes},\"body_bytes\":{body_bytes},\"padding\":{padding},\
             \"codec\":\"{}\",\"previous_digest\":\"{previous_digest:016x}\",\"digest\":\"{digest:016x}\",\
             \"durable_upto\":{durable_upto},\"durable_end\":{durable_end}}}",
            kind_word(*kind),
            codec_word(*codec)
        )
    }

    fn footer_json(&self) -> String {
        let Item::Footer {
            segment,
            offset,
            count,
            digest,
            data_end,
            index_offset,
            tables_offset,
            released_below,
            summary_bytes,
            summary_dropped,
            logs,
        } = self
        else {
            return String::new();
        };
        let mut out = format!(
            "{{\"item\":\"footer\",\"segment\":{segment},\"offset\":{offset},\"count\":{count},\"digest\":\"{digest:016x}\",\
             \"data_end\":{data_end},\"index_offset\":{index_offset},\"tables_offset\":{tables_offset},\
             \"released_below\":{released_below},\"summary_bytes\":{summary_bytes},\"summary_dropped\":{summary_dropped},\
             \"logs\":["
        );
        for (place, entry) in logs.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let LogCounts { log, count, first, last } = entry;
            let _ = write!(out, "{comma}{{\"log\":{log},\"count\":{count},\"first\":{first},\"last\":{last}}}");
        }
        out.push_str("]}");
        out
    }
}

/// Bytes in hexadecimal, and as text where they are text.
fn payload_json(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).map_or_else(|_| "null".to_string(), json_string);
    format!("\"hex\":\"{}\",\"text\":{text}", hex(bytes))
}
