//! The tools' view of a log in files, whatever types its author used: [`info`] tells what it holds, [`dump`] shows every value,
//! [`verify`] checks every byte, [`salvage`] copies what is good. Owns their answers' shape and words. Writes nothing to the folder
//! that it looks at, takes no lock, and works beside a damaged or a living one.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use bytes::Bytes;
use duramen_journal::World;
use duramen_journal::disk::{Access, read_full_at};

use crate::SeqNo;
use crate::backend::file::FileBackend;
use crate::backend::file::survey::Survey;
use crate::backend::{Backend as _, Key, Op, Space, Urgency};
use crate::config::PersistentLogConfig;
use crate::digest::{algorithm_name, digest_of, hex};
use crate::error::{Damage, Error};
use crate::recovery::verdict;
use crate::values::DecisionHead;

/// Keys that are looked at together.
const KEYS_AT_ONCE: usize = 1024;

/// A checkpoint, as a tool sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointLook {
    /// It has every decision up to this one.
    pub seq_no: SeqNo,
    /// Bytes of its state, if its record can be read.
    pub bytes: Option<u64>,
    /// The digest of its manifest.
    pub root: Option<[u8; 32]>,
    /// Chunks of its state, and how many of them are missing or bad; `None`: its manifest is.
    pub chunks: Option<(u64, u64)>,
}

impl CheckpointLook {
    /// Whether it can be used.
    pub fn is_good(&self) -> bool {
        self.chunks.is_some_and(|(_, bad)| bad == 0)
    }
}

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// How the journal ends, in one word.
    pub end: String,
    /// What would be cut off at opening.
    pub cut: Option<String>,
    /// The digest's algorithm.
    pub digest: String,
    /// Nothing is kept up to this one.
    pub base: Option<SeqNo>,
    /// The first stored decision.
    pub first: Option<SeqNo>,
    /// Every decision is there up to this one.
    pub last_contiguous: Option<SeqNo>,
    /// The highest stored decision.
    pub last: Option<SeqNo>,
    /// Values of each space, in the spaces' order.
    pub counts: [u64; Space::ALL.len()],
    /// The published checkpoints.
    pub checkpoints: Vec<CheckpointLook>,
    /// What is, or may be, lost.
    pub damage: Option<Damage>,
    /// Segments of the journal.
    pub segments: u64,
    /// Bytes of the journal's commits and of the packs.
    pub bytes: u64,
}

/// Which backend a folder belongs to, by what it says of itself: `files`, or the name of a store. `None`: it says nothing.
pub fn backend_of(folder: impl AsRef<Path>, world: &World) -> Option<String> {
    let folder = folder.as_ref();
    let names = world.disk.list(folder).ok()?;
    if names.iter().any(|own| own.name == "IDENTITY") {
        return Some("files".into());
    }
    let mut bytes = [0; 64];
    let file = world.disk.open(&folder.join("BACKEND"), Access::Read).ok()?;
    let read = read_full_at(&*file, &mut bytes, 0).ok()?;
    let text = std::str::from_utf8(&bytes[..read]).ok()?;
    text.strip_prefix("duramen-decisions ")?.split_whitespace().next().map(str::to_string)
}

fn looks(survey: &Survey, thoroughly: bool) -> Vec<CheckpointLook> {
    let keys = survey.index.keys(Space::Checkpoint, 0..=u64::MAX, usize::MAX);
    let look = |key: &Key| {
        let (published, manifest) = survey.checkpoint(key.number);
        let bad = |own: &&([u8; 32], u32)| {
            if thoroughly { !survey.is_good(&own.0, own.1) } else { !survey.packs.lists(&own.0) }
        };
        CheckpointLook {
            seq_no: key.number,
            bytes: published.map(|own| own.bytes),
            root: published.map(|own| own.root),
            chunks: manifest.map(|own| (own.chunks.len() as u64, own.chunks.iter().filter(bad).count() as u64)),
        }
    };
    keys.iter().map(look).collect()
}

fn info_of(survey: &Survey, thoroughly: bool) -> Result<Info, Error> {
    let facts = survey.facts(thoroughly)?;
    let report = survey.report();
    Ok(Info {
        end: report.end.word().to_string(),
        cut: report.cut.as_ref().map(|cut| cut.to_string()),
        digest: survey.head.map_or("unknown".into(), |head| algorithm_name(head.algorithm)),
        base: facts.base,
        first: facts.first,
        last_contiguous: facts.frontier,
        last: facts.last,
        counts: Space::ALL.map(|space| survey.index.keys(space, 0..=u64::MAX, usize::MAX).len() as u64),
        checkpoints: looks(survey, thoroughly),
        damage: verdict(&facts),
        segments: report.segments,
        bytes: report.bytes + survey.packs.bytes(),
    })
}

/// Tells what a folder holds, as fast as opening it. Damage within sealed segments and within chunks is found by [`verify`] only.
///
/// # Errors
/// The folder cannot be read at all, or holds something else.
pub fn info(folder: impl AsRef<Path>, world: World) -> Result<Info, Error> {
    info_of(&Survey::of(folder.as_ref(), &world, false)?, false)
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its key.
    pub key: Key,
    /// The record of the journal that has it.
    pub sequence: u64,
    /// Its digest, if it is a decision.
    pub digest: Option<[u8; 32]>,
    /// When it was stored, in milliseconds since 1970, if it is a decision and the machine had a clock.
    pub millis: Option<u64>,
    /// The user's bytes, or why they cannot be read.
    pub bytes: Result<Bytes, String>,
}

/// Shows every value of some spaces, by space and number, until `visit` says `false`.
///
/// # Errors
/// The folder cannot be read at all, or holds something else; a damaged value is an item.
pub fn dump(
    folder: impl AsRef<Path>,
    world: World,
    spaces: &[Space],
    numbers: std::ops::RangeInclusive<u64>,
    visit: &mut dyn FnMut(&Item) -> bool,
) -> Result<(), Error> {
    let survey = Survey::of(folder.as_ref(), &world, false)?;
    for space in spaces {
        let mut from = Some(*numbers.start());
        while let Some(first) = from.filter(|first| first <= numbers.end()) {
            let keys = survey.index.keys(*space, first..=*numbers.end(), KEYS_AT_ONCE);
            // A number's parts may go on on the next page: it begins with the last number again.
            let whole = keys.len() < KEYS_AT_ONCE;
            let last = keys.last().map(|key| key.number);
            let cut = |key: &&Key| whole || Some(key.number) != last || keys.first().map(|key| key.number) == last;
            for key in keys.iter().filter(cut) {
                if !visit(&item(&survey, *key)) {
                    return Ok(());
                }
            }
            let goes_on = keys.first().map(|key| key.number) == last;
            from =
                if whole { None } else { last.and_then(|last| if goes_on { last.checked_add(1) } else { Some(last) }) };
        }
    }
    Ok(())
}

fn item(survey: &Survey, key: Key) -> Item {
    let sequence = survey.index.get(key).unwrap_or(0);
    let value = match survey.get(key) {
        Ok(value) => value.ok_or_else(|| "it is gone".to_string()),
        Err(error) => Err(error.to_string()),
    };
    let split = match (&value, key.space) {
        (Ok(value), Space::Decision) => DecisionHead::split(value),
        _ => None,
    };
    match split {
        Some((head, bytes)) => {
            let millis = Some(head.millis).filter(|&millis| millis > 0);
            Item { key, sequence, digest: Some(head.digest), millis, bytes: Ok(bytes) }
        }
        None if key.space == Space::Decision && value.is_ok() => {
            let reason = "it is shorter than what stands before a decision".to_string();
            Item { key, sequence, digest: None, millis: None, bytes: Err(reason) }
        }
        None => Item { key, sequence, digest: None, millis: None, bytes: value },
    }
}

/// What [`verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// What the folder holds; each checkpoint's chunks were read.
    pub info: Info,
    /// Values that were read.
    pub values: u64,
    /// Bytes that were read, of journal and chunks.
    pub bytes: u64,
    /// Everything that is wrong, in words.
    pub findings: Vec<String>,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.info.damage.is_none()
    }
}

/// Reads every byte: the journal's structures, every value, every decision against its digest, every chunk of every checkpoint.
///
/// # Errors
/// The folder cannot be read at all, or holds something else; damage is a finding.
pub fn verify(folder: impl AsRef<Path>, world: World) -> Result<Verification, Error> {
    let folder = folder.as_ref();
    let survey = Survey::of(folder, &world, true)?;
    let journal = duramen_journal::inspect::verify(folder, world, &mut |_| ())?;
    let mut findings: Vec<String> = journal.damage.iter().map(|damage| damage.to_string()).collect();
    findings.extend(survey.lost.iter().map(|key| format!("{key} cannot be read")));
    findings.extend(
        survey.foreign.iter().map(|sequence| format!("record {sequence} is of no kind that a log of decisions has")),
    );
    if survey.head.is_none() && survey.index.last(Space::Decision, u64::MAX).is_some() {
        findings.push("nothing says which digest the log has".into());
    }
    let mut values = 0;
    for space in Space::ALL {
        for key in survey.index.keys(space, 0..=u64::MAX, usize::MAX) {
            values += 1;
            let own = item(&survey, key);
            match (&own.bytes, own.digest) {
                (Err(reason), _) => findings.push(format!("{key}: {reason}")),
                (Ok(bytes), Some(digest)) if digest_of(survey.algorithm(), bytes).is_some_and(|own| own != digest) => {
                    findings.push(format!("{key} is not what its digest says"));
                }
                _ => {}
            }
        }
    }
    let info = info_of(&survey, true)?;
    for own in info.checkpoints.iter().filter(|own| !own.is_good()) {
        findings.push(match own.chunks {
            None => format!("the manifest of checkpoint {} is missing or damaged", own.seq_no),
            Some((all, bad)) => format!("{bad} of {all} chunks of checkpoint {} are missing or damaged", own.seq_no),
        });
    }
    let chunks: u64 = info.checkpoints.iter().filter_map(|own| own.bytes).sum();
    Ok(Verification { info, values, bytes: journal.bytes + chunks, findings })
}

/// What [`salvage`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// Values that were copied.
    pub values: u64,
    /// Chunks that were copied.
    pub chunks: u64,
    /// What was lost, in words.
    pub lost: Vec<String>,
    /// What that means to the replica.
    pub damage: Option<Damage>,
}

/// Copies every good value, and the checkpoints that are whole, into a new folder, which then opens as a log. The source is not
/// changed.
///
/// # Errors
/// The source cannot be read at all; the target is not empty, or cannot be written.
pub fn salvage(folder: impl AsRef<Path>, to: impl AsRef<Path>, world: World) -> Result<Salvaged, Error> {
    let survey = Survey::of(folder.as_ref(), &world, true)?;
    let found = verify(&folder, world.clone())?;
    let to = to.as_ref();
    if world.disk.list(to).is_ok_and(|entries| !entries.is_empty()) {
        return Err(Error::Foreign { path: to.to_path_buf(), reason: "it is not empty".into() });
    }
    let target = FileBackend::open(&PersistentLogConfig { world, ..PersistentLogConfig::new(to) })?;
    let mut done = Salvaged { values: 0, chunks: 0, lost: found.findings, damage: found.info.damage };
    let mut chunks: BTreeSet<([u8; 32], Option<u32>)> = BTreeSet::new();
    for own in found.info.checkpoints.iter().filter(|own| own.is_good()) {
        let (published, manifest) = survey.checkpoint(own.seq_no);
        chunks.extend(published.map(|own| (own.root, None)));
        chunks.extend(manifest.iter().flat_map(|own| own.chunks.iter().map(|(digest, bytes)| (*digest, Some(*bytes)))));
    }
    for (digest, _) in &chunks {
        if let Some(bytes) = survey.packs.get(digest)? {
            target.put_chunk(digest, &bytes)?;
            done.chunks += 1;
        }
    }
    target.sync_chunks()?;
    let good: BTreeSet<SeqNo> =
        found.info.checkpoints.iter().filter(|own| own.is_good()).map(|own| own.seq_no).collect();
    for space in Space::ALL {
        for key in survey.index.keys(space, 0..=u64::MAX, usize::MAX) {
            if space == Space::Checkpoint && !good.contains(&key.number) {
                continue;
            }
            let own = item(&survey, key);
            let sound = match (&own.bytes, own.digest) {
                (Ok(bytes), Some(digest)) => digest_of(survey.algorithm(), bytes).is_none_or(|own| own == digest),
                (bytes, _) => bytes.is_ok(),
            };
            if let Some(value) = survey.get(key).ok().flatten().filter(|_| sound) {
                drop(target.write(&[Op::Put(key, value)], Urgency::Policy)?);
                done.values += 1;
            }
        }
    }
    target.close()?;
    Ok(done)
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "end         {}", self.end)?;
        self.cut.iter().try_for_each(|cut| writeln!(f, "cut         {cut}"))?;
        writeln!(f, "digest      {}", self.digest)?;
        writeln!(f, "compacted   {}", self.base.map_or("nothing".into(), |base| format!("up to {base}")))?;
        match (self.first, self.last_contiguous) {
            (Some(first), Some(last)) if first <= last => writeln!(f, "decisions   {first} to {last}")?,
            _ => writeln!(f, "decisions   none")?,
        }
        if let Some(last) = self.last.filter(|last| Some(*last) > self.last_contiguous) {
            writeln!(f, "last        {last}, with others missing before it")?;
        }
        let words = Space::ALL.iter().zip(self.counts).filter(|(_, count)| *count > 0);
        let words: Vec<String> = words.map(|(space, count)| format!("{count} {}", plural(*space, count))).collect();
        writeln!(f, "values      {}", words.join(", "))?;
        for own in &self.checkpoints {
            let root = own.root.map_or("?".into(), |root| hex(&root[..8]));
            let bytes = own.bytes.map_or("?".into(), |bytes| bytes.to_string());
            match own.chunks {
                None => writeln!(f, "checkpoint  {}: {bytes} bytes, {root}: its manifest is missing", own.seq_no)?,
                Some((all, 0)) => writeln!(f, "checkpoint  {}: {bytes} bytes in {all} chunks, {root}", own.seq_no)?,
                Some((all, bad)) => {
                    writeln!(f, "checkpoint  {}: {bytes} bytes, {bad} of {all} chunks are bad", own.seq_no)?
                }
            }
        }
        writeln!(f, "on disk     {} bytes, {} segments", self.bytes, self.segments)?;
        self.damage.iter().try_for_each(|damage| writeln!(f, "damage      {damage}"))
    }
}

fn plural(space: Space, count: u64) -> String {
    let word = space.word();
    match space {
        _ if count == 1 => word.to_string(),
        Space::Recovery => "values of recovery information".to_string(),
        _ => format!("{word}s"),
    }
}

/// Values as JSON: numbers, `null`, and texts that need no escape but those that are named.
mod json {
    use super::{CheckpointLook, Damage, Info, Item, Salvaged, Verification, hex};
    use crate::backend::Space;
    use crate::error::Certainty;

    fn text(text: &str) -> String {
        let mut out = String::from("\"");
        for character in text.chars() {
            match character {
                '"' | '\\' => out.extend(['\\', character]),
                control if control < ' ' => out.push_str(&format!("\\u{:04x}", control as u32)),
                plain => out.push(plain),
            }
        }
        out.push('"');
        out
    }

    fn number(number: Option<u64>) -> String {
        number.map_or("null".into(), |number| number.to_string())
    }

    fn list(all: impl Iterator<Item = String>) -> String {
        format!("[{}]", all.collect::<Vec<_>>().join(","))
    }

    impl Damage {
        /// As one JSON object.
        pub fn to_json(&self) -> String {
            let range = |own: &crate::error::LostRange| {
                let certainty = if own.certainty == Certainty::Lost { "lost" } else { "possible" };
                format!("{{\"first\":{},\"last\":{},\"certainty\":\"{certainty}\"}}", own.first, number(own.last))
            };
            format!(
                "{{\"decisions\":{},\"last_safe\":{},\"safety\":{},\"messages\":{},\"membership\":{},\"checkpoints\":{},\"places\":{}}}",
                list(self.decisions.iter().map(range)),
                number(self.last_safe),
                self.safety,
                self.messages,
                self.membership,
                list(self.checkpoints.iter().map(u64::to_string)),
                list(self.places.iter().map(|place| text(place)))
            )
        }
    }

    impl CheckpointLook {
        fn to_json(&self) -> String {
            format!(
                "{{\"seq_no\":{},\"bytes\":{},\"root\":{},\"chunks\":{},\"bad\":{}}}",
                self.seq_no,
                number(self.bytes),
                self.root.map_or("null".into(), |root| text(&hex(&root))),
                number(self.chunks.map(|own| own.0)),
                number(self.chunks.map(|own| own.1))
            )
        }
    }

    impl Info {
        /// As one JSON object.
        pub fn to_json(&self) -> String {
            let counts = Space::ALL.iter().zip(self.counts);
            let counts = counts.map(|(space, count)| format!("{}:{count}", text(&space.word().replace(' ', "_"))));
            format!(
                "{{\"end\":{},\"cut\":{},\"digest\":{},\"base\":{},\"first\":{},\"last_contiguous\":{},\"last\":{},\
                 \"values\":{{{}}},\"checkpoints\":{},\"segments\":{},\"bytes\":{},\"damage\":{}}}",
                text(&self.end),
                self.cut.as_ref().map_or("null".into(), |cut| text(cut)),
                text(&self.digest),
                number(self.base),
                number(self.first),
                number(self.last_contiguous),
                number(self.last),
                counts.collect::<Vec<_>>().join(","),
                list(self.checkpoints.iter().map(CheckpointLook::to_json)),
                self.segments,
                self.bytes,
                self.damage.as_ref().map_or("null".into(), Damage::to_json)
            )
        }
    }

    impl Item {
        /// As one JSON object; bytes in hexadecimal digits.
        pub fn to_json(&self) -> String {
            let (bytes, error) = match &self.bytes {
                Ok(bytes) => (text(&hex(bytes)), "null".into()),
                Err(error) => ("null".into(), text(error)),
            };
            format!(
                "{{\"what\":{},\"number\":{},\"part\":{},\"sequence\":{},\"digest\":{},\"millis\":{},\"bytes\":{bytes},\"error\":{error}}}",
                text(self.key.space.word()),
                self.key.number,
                self.key.part,
                self.sequence,
                self.digest.map_or("null".into(), |digest| text(&hex(&digest))),
                number(self.millis)
            )
        }
    }

    impl Verification {
        /// As one JSON object.
        pub fn to_json(&self) -> String {
            format!(
                "{{\"sound\":{},\"values\":{},\"bytes\":{},\"findings\":{},\"info\":{}}}",
                self.is_sound(),
                self.values,
                self.bytes,
                list(self.findings.iter().map(|finding| text(finding))),
                self.info.to_json()
            )
        }
    }

    impl Salvaged {
        /// As one JSON object.
        pub fn to_json(&self) -> String {
            format!(
                "{{\"values\":{},\"chunks\":{},\"lost\":{},\"damage\":{}}}",
                self.values,
                self.chunks,
                list(self.lost.iter().map(|lost| text(lost))),
                self.damage.as_ref().map_or("null".into(), Damage::to_json)
            )
        }
    }
}
