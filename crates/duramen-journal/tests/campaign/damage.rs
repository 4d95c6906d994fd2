//! Damage to what is durable, rows 3 to 10 of the fault table: it is refused with its place, or, where nothing can
//! witness it, cut and reported; never is anything silently short or wrong. Owns the cases; bytes are changed on the
//! simulated disk, and everything is read through the public interface.

use std::cell::RefCell;
use std::path::Path;

use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_journal::{Damage, End, Error, Journal, Options, Reader, Report, Sequence};

use crate::checker::read_options;
use crate::model::{Event, Model};
use crate::script::{FOLDER, Script, Session, Step, Then, append, batch, one, small};

pub const SEGMENT_1: &str = "/j/journal/0000000000000001.seg";
const SECTOR: usize = 512;

/// A journal on a disk, as its last process left it, and what it holds.
pub struct Built {
    pub disk: SimDisk,
    pub model: Model,
    pub options: Options,
}

/// Runs a script to its end and cuts the power; everything acknowledged is durable.
pub fn build(script: &Script, seed: u64) -> Built {
    let disk = SimDisk::new(seed);
    let events = RefCell::new(Vec::new());
    let room = |_| ();
    let mut session = Session::new(script, disk.world(), &room);
    let tell = |event: Event| events.borrow_mut().push(event);
    session.run(&script.setup, &tell);
    session.run(&script.steps, &tell);
    let after = disk.reboot(Crash::LoseAll);
    session.end();
    let mut model = Model::default();
    events.borrow().iter().for_each(|event| model.apply(event));
    Built { disk: after, model, options: script.options[0].clone() }
}

/// The path of a segment.
pub fn segment(number: u64) -> String {
    format!("/j/journal/{number:016x}.seg")
}

/// Where the commits of a segment begin and end, and their first sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: usize,
    pub end: usize,
    pub first: Sequence,
    pub records: u32,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Walks the commits by what their headers say: 40 bytes, the body, padding, 24 bytes.
pub fn places(bytes: &[u8]) -> Vec<Place> {
    let mut places = Vec::new();
    let mut offset = 8192;
    while offset + 40 < bytes.len() && &bytes[offset..offset + 4] == b"DCmt" {
        let padding = u16::from_le_bytes(bytes[offset + 36..offset + 38].try_into().expect("two bytes"));
        let end = offset + 64 + word(bytes, offset + 28) as usize + usize::from(padding);
        let first = u64::from_le_bytes(bytes[offset + 8..offset + 16].try_into().expect("eight bytes"));
        places.push(Place { offset, end, first, records: word(bytes, offset + 24) });
        offset = end;
    }
    places
}

/// What came of opening.
#[derive(Debug)]
pub enum Outcome {
    Refused(Box<Report>),
    Served(Box<Report>),
}

impl Built {
    pub fn bytes(&self, number: u64) -> Vec<u8> {
        self.disk.read_durable(&segment(number)).expect("the segment is there")
    }

    /// Opens for writing on a copy of a disk and reads everything that is served. Nothing served may be wrong.
    pub fn open(&self, disk: &SimDisk) -> Result<Outcome, String> {
        let disk = disk.kill();
        let opened = Journal::open_with(Path::new(FOLDER), &self.options, disk.world());
        let (journal, report) = match opened {
            Ok(opened) => opened,
            Err(Error::Damaged(report) | Error::Unreadable(report)) => {
                self.read_beside_damage(&disk)?;
                return Ok(Outcome::Refused(report));
            }
            Err(error) => return Err(format!("an unexpected error: {error}")),
        };
        if report.next > self.model.next() {
            return Err(format!("invented: {report}"));
        }
        let mut right = self.model.check_records(journal.scan(..), report.first, report.next);
        if right.as_ref().is_err_and(|wrong| wrong.contains("cannot be read")) {
            // A record of a sealed segment is verified when it is read.
            right = self.check_single(&journal, &report);
        }
        right.map(|()| Outcome::Served(Box::new(report)))
    }

    fn check_single(&self, journal: &Journal, report: &Report) -> Result<(), String> {
        for sequence in report.first..report.next {
            if let Ok(record) = journal.read(sequence) {
                self.model.check_records(std::iter::once(Ok(record)), sequence, sequence + 1)?;
            }
        }
        Ok(())
    }

    /// The good prefix is served read-only.
    fn read_beside_damage(&self, disk: &SimDisk) -> Result<(), String> {
        let reader = match Reader::open_with(Path::new(FOLDER), &read_options(), disk.world()) {
            Ok(reader) => reader,
            Err(error) => return Err(format!("what is refused for writing must open for reading: {error}")),
        };
        let first = reader.first();
        let good: Vec<_> = reader.scan(..).take_while(|record| record.is_ok()).collect();
        let next = good.last().and_then(|record| record.as_ref().ok()).map_or(first, |record| record.sequence + 1);
        self.model.check_records(good.into_iter(), first, next)
    }

    /// Changes the bytes of a segment on a copy.
    pub fn changed(&self, number: u64, bytes: &[u8]) -> SimDisk {
        let disk = self.disk.kill();
        disk.put_durable(&segment(number), bytes).expect("room");
        disk
    }

    /// One change of bytes in the last, open segment: refused with its place, if a commit that is whole stands behind
    /// the first bad one; else cut there, with a word.
    fn check_change(&self, what: &str, before: &[u8], after: &[u8], number: u64) -> Result<(), String> {
        let wrong = |message: String| format!("{what}: {message}");
        let outcome = self.open(&self.changed(number, after)).map_err(wrong)?;
        let places = places(before);
        let differs = |place: &Place| before[place.offset..place.end] != after[place.offset..place.end];
        let Some(bad) = places.iter().position(differs) else {
            return match outcome {
                Outcome::Served(report) if report.next == self.model.next() => Ok(()),
                other => Err(wrong(format!("no commit was touched, and {other:?}"))),
            };
        };
        let first = places[bad];
        let witnessed = places[bad + 1..].iter().any(|place| !differs(place));
        match outcome {
            Outcome::Refused(report) if witnessed => {
                let there = report.damage.iter().any(|damage| covers(damage, number, first));
                if there { Ok(()) } else { Err(wrong(format!("{first:?} is not what the report names: {report}"))) }
            }
            Outcome::Served(report) if !witnessed => match (&report.cut, report.end) {
                // With the closing mark alone nothing is lost.
                (Some(cut), End::Torn) if cut.first == first.first && cut.uncertain => Ok(()),
                _ => Err(wrong(format!("silently short at {first:?}: {report}"))),
            },
            other => Err(wrong(format!("witnessed: {witnessed}, {first:?}: {other:?}"))),
        }
    }

    /// The journal must be refused, and the report must name this segment.
    pub fn check_refused(&self, what: &str, disk: &SimDisk, number: u64) -> Result<(), String> {
        match self.open(disk).map_err(|message| format!("{what}: {message}"))? {
            Outcome::Refused(report) if report.damage.iter().any(|damage| damage.segment == number) => Ok(()),
            other => Err(format!("{what}: segment {number} is not named: {other:?}")),
        }
    }
}

fn covers(damage: &Damage, segment: u64, place: Place) -> bool {
    let end = damage.offset + damage.bytes.max(1);
    damage.segment == segment && damage.offset <= place.offset as u64 && end > place.offset as u64
}

/// Twelve commits of many sizes, each durable before the next; no closing mark.
pub fn open_ended() -> Script {
    let sizes = [100, 700, 0, 3_000, 4_096, 511, 5_000, 12, 900, 2_048, 60];
    let mut steps: Vec<Step> = sizes.iter().map(|&bytes| append(one(bytes), Then::Wait)).collect();
    steps.push(append(batch(3, 200, 2), Then::Wait));
    Script::new("open-ended", small(), steps)
}

/// The same, closed.
pub fn closed() -> Script {
    let mut script = open_ended();
    script.steps.push(Step::Close);
    script
}

/// Four segments, the last one open.
pub fn several() -> Script {
    let options = Options { segment_records_max: 4, ..small() };
    let mut steps = Vec::new();
    for bytes in [300, 2_000, 40, 900, 5_000, 30, 600, 70, 10, 1_000, 200, 3_000, 80, 90] {
        steps.push(append(one(bytes), Then::Wait));
    }
    Script::new("several", options, steps)
}

/// Rows 3, 4, 5, 8, 9: bytes within one segment.
pub fn bytes_in_a_segment() -> Result<u64, String> {
    let mut cases = 0;
    for (name, script) in [("open-ended", open_ended()), ("closed", closed())] {
        let built = build(&script, 1);
        let before = built.bytes(1);
        let places = places(&before);
        assert!(places.len() >= 12);
        for place in &places {
            // The magic, the check, every field of the header, the body, the trailer's fields.
            let head = [0, 5, 9, 17, 24, 28, 29, 33, 36, 38, 39].map(|at| place.offset + at);
            let tail = [24, 20, 16, 12, 8, 1].map(|at| place.end - at);
            let middle = [place.offset + 41, (place.offset + place.end) / 2];
            for at in head.into_iter().chain(tail).chain(middle) {
                let mut after = before.clone();
                after[at] ^= 1 << (at % 8);
                built.check_change(&format!("{name}: flip at {at}"), &before, &after, 1)?;
                cases += 1;
            }
        }
        let (first, end) = (8192 / SECTOR, places[places.len() - 1].end.div_ceil(SECTOR));
        for sector in first..end {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            let mut zeroed = before.clone();
            zeroed[range.clone()].fill(0);
            built.check_change(&format!("{name}: zero sector {sector}"), &before, &zeroed, 1)?;
            let other = (first + (sector * 7) % (end - first)) * SECTOR;
            let mut swapped = before.clone();
            swapped[range.clone()].copy_from_slice(&before[other..other + SECTOR]);
            swapped[other..other + SECTOR].copy_from_slice(&before[range.clone()]);
            built.check_change(
                &format!("{name}: swap sectors {sector} and {}", other / SECTOR),
                &before,
                &swapped,
                1,
            )?;
            let mut doubled = before.clone();
            doubled[range].copy_from_slice(&before[other..other + SECTOR]);
            built.check_change(&format!("{name}: {} over {sector}", other / SECTOR), &before, &doubled, 1)?;
            cases += 3;
        }
        cases += misdirected(&built, name, &before, &places)?;
    }
    Ok(cases)
}

/// Whole commits where others belong.
fn misdirected(built: &Built, name: &str, before: &[u8], places: &[Place]) -> Result<u64, String> {
    let mut cases = 0;
    for (from, source) in places.iter().enumerate() {
        for (to, target) in places.iter().enumerate() {
            if from == to {
                continue;
            }
            let length = (source.end - source.offset).min(before.len() - target.offset);
            let mut after = before.to_vec();
            after[target.offset..target.offset + length]
                .copy_from_slice(&before[source.offset..source.offset + length]);
            built.check_change(&format!("{name}: commit {from} over {to}"), before, &after, 1)?;
            cases += 1;
        }
    }
    Ok(cases)
}

/// A length that was changed and fits to the sector: row 3, "never believed unchecked".
pub fn bad_lengths() -> Result<u64, String> {
    let built = build(&open_ended(), 1);
    let before = built.bytes(1);
    let mut cases = 0;
    for place in places(&before) {
        for (at, value) in
            [(28, u32::MAX), (28, 0), (28, 40_000), (32, u32::MAX), (24, u32::MAX), (24, 0), (36, 0xffff)]
        {
            let mut after = before.clone();
            let at = place.offset + at;
            after[at..at + 2].copy_from_slice(&value.to_le_bytes()[..2]);
            if at != place.offset + 36 {
                after[at + 2..at + 4].copy_from_slice(&value.to_le_bytes()[2..]);
            }
            built.check_change(&format!("{value} at {at}"), &before, &after, 1)?;
            cases += 1;
        }
    }
    Ok(cases)
}

/// Row 8: old bytes remain. Two futures of one journal, mixed.
pub fn lost_writes() -> Result<u64, String> {
    let sizes = |last: u32| {
        let mut steps: Vec<Step> = (0..4).map(|_| append(one(440), Then::Wait)).collect();
        steps.extend([append(one(last), Then::Wait), append(one(440), Then::Wait), append(one(440), Then::Wait)]);
        Script::new("lost", small(), steps)
    };
    let (this, other) = (build(&sizes(952), 1), build(&sizes(952), 1));
    let before = this.bytes(1);
    if before != other.bytes(1) {
        return Err("the same work gives the same bytes".to_owned());
    }
    let mut cases = 0;
    // The other future differs in one record's kind.
    let mut steps = sizes(952).steps;
    let Step::Append { shape, .. } = &mut steps[4] else { unreachable!("an append") };
    shape.kind = 99;
    let other = build(&Script::new("other", small(), steps), 1).bytes(1);
    for place in &places(&before)[5..] {
        let mut after = before.clone();
        after[place.offset..place.end].copy_from_slice(&other[place.offset..place.end]);
        let outcome = this.open(&this.changed(1, &after))?;
        let last = place.end == places(&before).last().expect("commits").end;
        match outcome {
            Outcome::Refused(_) if !last => {}
            Outcome::Served(report) if last && report.cut.is_some() => {}
            other => return Err(format!("a lost write at {place:?}: {other:?}")),
        }
        cases += 1;
    }
    Ok(cases)
}

/// Rows 6 and 18: files that are too short.
pub fn truncations() -> Result<u64, String> {
    let mut cases = 0;
    for script in [open_ended(), closed()] {
        let built = build(&script, 1);
        let before = built.bytes(1);
        let places = places(&before);
        let ends = places.iter().map(|place| place.end).chain([0, 1, 4096, 8191, 8192, 9000, before.len() - 1]);
        for end in ends.chain([before.len() - 4096, before.len() + 4096]) {
            let mut after = before.clone();
            after.resize(end, 0);
            built.check_refused(&format!("a file of {end} bytes"), &built.changed(1, &after), 1)?;
            cases += 1;
        }
    }
    Ok(cases)
}

/// Row 7: whole files.
pub fn segments() -> Result<u64, String> {
    let built = build(&several(), 1);
    let mut cases = 0;
    for number in 1..=4 {
        let disk = built.disk.kill();
        disk.remove_durable(&segment(number)).map_err(|error| error.to_string())?;
        built.check_refused(&format!("segment {number} is missing"), &disk, number)?;
        let disk = built.changed(number, &[]);
        built.check_refused(&format!("segment {number} is empty"), &disk, number)?;
        let length = built.bytes(number).len();
        let disk = built.changed(number, &vec![0; length]);
        built.check_refused(&format!("segment {number} is blank"), &disk, number)?;
        for other in (1..=4).filter(|&other| other != number) {
            let disk = built.changed(number, &built.bytes(other));
            built.check_refused(&format!("segment {number} is a copy of {other}"), &disk, number)?;
        }
        let disk = built.changed(number, &build(&several(), 2).bytes(number));
        built.check_refused(&format!("segment {number} is another journal's"), &disk, number)?;
        cases += 7;
    }
    // A copy behind the end, and one far behind it.
    for (number, copy) in [(5, 4), (5, 1), (9, 4)] {
        let disk = built.changed(number, &built.bytes(copy));
        built.check_refused(&format!("a copy of {copy} as {number}"), &disk, number)?;
        cases += 1;
    }
    Ok(cases)
}

/// Damage in a sealed segment that lost its footer too: its successor is the witness (row 3).
pub fn unsealed_inner() -> Result<u64, String> {
    let built = build(&several(), 1);
    let mut cases = 0;
    for number in 1..=3 {
        let before = built.bytes(number);
        let footer = before.len() - 4096;
        let mut footless = before.clone();
        footless[footer..].fill(0);
        for place in places(&before) {
            let mut after = footless.clone();
            after[place.offset + 44] ^= 1;
            let what = format!("segment {number} without footer, {place:?}");
            built.check_refused(&what, &built.changed(number, &after), number)?;
            let mut after = footless.clone();
            after[place.offset..footer].fill(0);
            built.check_refused(&what, &built.changed(number, &after), number)?;
            cases += 2;
        }
    }
    Ok(cases)
}

/// Rows 3 and 9 in a sealed segment, which opening trusts: reading must not give wrong records.
pub fn sealed_records() -> Result<u64, String> {
    let options = Options { segment_records_max: 6, ..small() };
    let steps = (0..14).map(|_| append(one(500), Then::Wait)).collect();
    let built = build(&Script::new("sealed", options, steps), 1);
    let before = built.bytes(1);
    let places = places(&before);
    let mut cases = 0;
    for source in &places {
        for target in &places {
            if source == target || source.end - source.offset != target.end - target.offset {
                continue;
            }
            let mut after = before.clone();
            after[target.offset..target.end].copy_from_slice(&before[source.offset..source.end]);
            let disk = built.changed(1, &after);
            built.open(&disk).map_err(|message| format!("{source:?} over {target:?}: {message}"))?;
            cases += 1;
        }
        let mut after = before.clone();
        after[source.offset + 70] ^= 4;
        let outcome = built.open(&built.changed(1, &after))?;
        let disk = built.changed(1, &after);
        let journal = Journal::open_with(Path::new(FOLDER), &built.options, disk.world());
        let read = journal.map(|(journal, _)| journal.read(source.first).map(drop));
        if !matches!(read, Ok(Err(Error::DamagedRecord(_)))) {
            return Err(format!("a damaged record of a sealed segment: {read:?}, {outcome:?}"));
        }
        cases += 1;
    }
    Ok(cases)
}

/// Row 28: another version is refused, and nothing is touched.
pub fn newer_format() -> Result<u64, String> {
    let built = build(&closed(), 1);
    let mut cases = 0;
    for (path, page) in [(SEGMENT_1, 4096), ("/j/IDENTITY", 64)] {
        let mut bytes = built.disk.read_durable(path).map_err(|error| error.to_string())?;
        let pages = if page == 4096 { 2 } else { 1 };
        for page in bytes.chunks_mut(page).take(pages) {
            page[8] += 1;
            let body = page.len() - 4;
            let check = crc_fast::crc32_iscsi(&page[..body]);
            page[body..].copy_from_slice(&check.to_le_bytes());
        }
        let disk = built.disk.kill();
        disk.put_durable(path, &bytes).expect("room");
        let before: Vec<_> = disk.list_files();
        match Journal::open_with(Path::new(FOLDER), &built.options, disk.world()) {
            Err(Error::NewerFormat { .. }) => {}
            other => return Err(format!("a newer {path}: {other:?}")),
        }
        if before != disk.list_files() || disk.read_durable(path).ok().as_ref() != Some(&bytes) {
            return Err(format!("a newer {path} was touched"));
        }
        cases += 1;
    }
    Ok(cases)
}

/// Row 16: a range that cannot be read is named and never cut.
pub fn unreadable() -> Result<u64, String> {
    let built = build(&open_ended(), 1);
    let mut cases = 0;
    for place in places(&built.bytes(1)) {
        let disk = built.disk.kill();
        let from = place.offset as u64 / 512 * 512;
        disk.fail_reads("0000000000000001.seg", from..from + 512);
        let what = format!("unreadable at {from}");
        built.check_refused(&what, &disk, 1)?;
        let opened = Journal::open_with(Path::new(FOLDER), &built.options, disk.world());
        let Err(Error::Unreadable(report)) = opened else { return Err(format!("{what} is told as {opened:?}")) };
        if report.damage.iter().any(|damage| damage.what.loses_records()) {
            return Err(format!("{what}: a read error is no loss: {report}"));
        }
        cases += 1;
    }
    Ok(cases)
}

/// A kind of damage: its name, and its cases, which returns how many there were.
pub type Cases = (&'static str, fn() -> Result<u64, String>);

/// All of them.
pub const ALL: &[Cases] = &[
    ("bytes-in-a-segment", bytes_in_a_segment),
    ("bad-lengths", bad_lengths),
    ("lost-writes", lost_writes),
    ("truncations", truncations),
    ("segments", segments),
    ("unsealed-inner", unsealed_inner),
    ("sealed-records", sealed_records),
    ("newer-format", newer_format),
    ("unreadable", unreadable),
];
