//! Facts to verdicts: what the segments of a journal mean together. Pure: knows the facts that `scan` and the headers
//! give, touches nothing, and is the same for opening, reading, verifying and salvaging.
//!
//! | row | facts | verdict |
//! |---|---|---|
//! | S1 | both header copies say *begun* | in use |
//! | S2 | one says *begun*, the other *prepared*; or is torn, in the last segment, of which no commit witnesses anything | in use; the crash came within the switch, the copy is mended |
//! | S3 | one is good, the other damaged, blank, or of another use of the file | the good one serves; damage to a header copy is reported |
//! | S4 | *prepared*, none *begun* | not in use: the next segment, made ahead |
//! | S5 | no copy good, last of all, of a whole segment's length, predecessor without footer, no commit in it tells of durable records | a torn switch: not in use, nothing in it was acknowledged |
//! | S6 | no copy good otherwise | damage: header |
//! | S7 | the file's length is not what the header says, or no length for a header | damage: length |
//! | S8 | of another journal | damage: foreign |
//! | S9 | of another number than its name | damage: foreign |
//! | S10 | of a newer format | refused, nothing touched |
//! | S11 | one copy could not be read, the other is good | the good one serves; told, no damage; the copy is mended |
//! | S12 | one or both could not be read, and no other is good | unreadable: neither damage nor a torn switch, no neighbour misses it; cleared away only below the release floor |
//! | S13 | as S5, but the search for commits, or the footer of the segment before, could not be read | unreadable |
//! | C1 | a number is missing, and all before it was released | what is left below is cleared away |
//! | C2 | a number is missing otherwise | damage: missing |
//! | C3 | the last segment in use has a footer | damage: its successor is missing |
//! | C4 | the first segment begins above the release floor | damage: missing (the oldest) |
//! | C5 | a segment does not continue its predecessor's sequences or digest | damage: chain |
//! | C6 | a segment declares a gap before it | a known loss |
//! | C7 | a file was made ahead for another place than behind the last in use | damage: missing; its predecessor was begun before it was made |
//! | I1 | no footer, successor in use, the scan arrives where the successor begins | good; its footer is written again |
//! | I2 | the same, and the scan ends before | damage: the successor's header is the witness |
//! | E1 | last segment ends cleanly with a closing mark | closed |
//! | E2 | ends cleanly, everything witnessed | idle |
//! | E3 | ends cleanly, the last commit is unwitnessed | unmarked: kept, made durable before it is served |
//! | E4 | holds no commit | as its predecessor ended, which its header witnesses |
//! | E5 | something unfinished at the end, no witness behind it, no mark before it that knew of it | cut, reported |
//! | E6 | the same, and a later commit says that it was durable | damage: commit |
//! | I3 | as I1, and the footer could not be read | as I1; told, no damage |
//! | I4 | as I2, and the scan ends where the device cannot read | unreadable; what comes behind is known |
//! | I5 | its successor's header could not be read | as far as the scan went; its end is not judged |
//! | E7 | the device cannot read something at the end or behind it: a commit, the footer's page, a successor's header | unreadable; never cut, never missing |
//!
//! *Unreadable* is told in the same list as damage and is none: writing is refused as long as it lasts, and no other verdict
//! is derived from what could not be seen.

use std::ops::Range;

use crate::Sequence;
use crate::format::{
    CommitKind, DATA_OFFSET, Footer, HeaderFault, HeaderState, PAGE_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    SegmentHeader,
};
use crate::planted::{self, Bug};
use crate::report::{Cut, Damage, DamageKind, End, Gap};
use crate::scan::{ScanFacts, Stop};

/// What one file says.
#[derive(Clone, Debug)]
pub struct SegmentFacts {
    /// The number in its name.
    pub number: u64,
    /// Its name.
    pub file: String,
    /// Its length.
    pub file_bytes: u64,
    /// The two copies of its header.
    pub copies: [Result<SegmentHeader, HeaderFault>; 2],
    /// The page at its end.
    pub footer: Result<Footer, HeaderFault>,
    /// Its walk, if it was asked for.
    pub scan: Option<ScanFacts>,
    /// Without a good header: what the commits that verify by their digest alone call durable at most. `None`: there
    /// are no such commits, or there is a header.
    pub orphans: Option<Sequence>,
    /// Parts behind the header pages that the device could not read, in order, as far as somebody tried.
    pub unreadable: Vec<Range<u64>>,
}

/// What one file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// In use, with both copies of its header or with the named one missing or torn.
    Begun(SegmentHeader),
    /// Made ahead.
    Prepared(SegmentHeader),
    /// No good header.
    Destroyed,
    /// No good header, and one that could not be read.
    Unreadable,
    /// Another length than its header says.
    WrongLength(Option<SegmentHeader>),
    /// Of another journal or number.
    Foreign,
    /// Of a newer version.
    Newer(u16),
}

/// The state of the second copy, where the first decides (rows S1 to S3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherCopy {
    /// The same.
    Same,
    /// Torn in the switch: to be mended, no damage.
    Behind(usize),
    /// Damaged: to be mended and reported.
    Damaged(usize),
    /// Could not be read: the same.
    Unreadable(usize),
}

impl SegmentFacts {
    /// Rows S1 to S12, but for what needs the neighbours.
    pub fn condition(&self, journal_id: &[u8; 16]) -> (Condition, OtherCopy) {
        if let Some(version) = self.copies.iter().find_map(|copy| match copy {
            Err(HeaderFault::Newer(version)) => Some(*version),
            _ => None,
        }) {
            return (Condition::Newer(version), OtherCopy::Same);
        }
        let ours = |header: &SegmentHeader| header.journal_id == *journal_id && header.number == self.number;
        let (chosen, other) = match &self.copies {
            [Ok(a), Ok(b)] if a == b => (*a, OtherCopy::Same),
            // A write that the device lost when the file was used again: that copy tells of its life before.
            [Ok(a), Ok(b)] if ours(a) && !ours(b) => (*a, OtherCopy::Damaged(1)),
            [Ok(a), Ok(b)] if ours(b) && !ours(a) => (*b, OtherCopy::Damaged(0)),
            [Ok(a), Ok(b)] => match (a.state, b.state) {
                (HeaderState::Begun, HeaderState::Prepared) => (*a, OtherCopy::Behind(1)),
                (HeaderState::Prepared, HeaderState::Begun) => (*b, OtherCopy::Behind(0)),
                _ => (*a, OtherCopy::Damaged(1)),
            },
            [Ok(a), Err(HeaderFault::Unreadable)] if ours(a) && plausible(a) => (*a, OtherCopy::Unreadable(1)),
            [Err(HeaderFault::Unreadable), Ok(b)] if ours(b) && plausible(b) => (*b, OtherCopy::Unreadable(0)),
            [_, Err(HeaderFault::Unreadable)] | [Err(HeaderFault::Unreadable), _] => {
                return (Condition::Unreadable, OtherCopy::Same);
            }
            [Ok(a), Err(_)] => (*a, OtherCopy::Damaged(1)),
            [Err(_), Ok(b)] => (*b, OtherCopy::Damaged(0)),
            [Err(_), Err(_)] => {
                let short = self.file_bytes < u64::from(DATA_OFFSET);
                let blank = self.copies.iter().all(|copy| *copy == Err(HeaderFault::Blank));
                let condition = if short || blank { Condition::WrongLength(None) } else { Condition::Destroyed };
                return (condition, OtherCopy::Same);
            }
        };
        if !ours(&chosen) {
            return (Condition::Foreign, other);
        }
        if !plausible(&chosen) {
            return (Condition::Destroyed, OtherCopy::Same);
        }
        let length_bad = !chosen.growing && u64::from(chosen.segment_bytes) != self.file_bytes;
        if length_bad && !planted::is(Bug::ShortFileAccepted) {
            return (Condition::WrongLength(Some(chosen)), other);
        }
        match chosen.state {
            HeaderState::Begun => (Condition::Begun(chosen), other),
            HeaderState::Prepared => (Condition::Prepared(chosen), other),
        }
    }

    /// The parts that could not be read, as a report tells them.
    fn unreadable_places(&self) -> impl Iterator<Item = Damage> {
        let place = |range: &Range<u64>| self.damage(DamageKind::Unreadable, range.start, range.end - range.start);
        self.unreadable.iter().map(place)
    }

    fn damage(&self, what: DamageKind, offset: u64, bytes: u64) -> Damage {
        Damage { segment: self.number, file: self.file.clone(), offset, bytes, first: None, last: None, what }
    }
}

/// No writer gives another first sequence. The bound keeps every sum of a sequence and a count from overflowing.
fn plausible(header: &SegmentHeader) -> bool {
    header.state != HeaderState::Begun || (1..1 << 63).contains(&header.first_sequence)
}

/// One segment in use.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Its place in the facts.
    pub index: usize,
    /// Its header.
    pub header: SegmentHeader,
    /// What its other header copy needs.
    pub other: OtherCopy,
}

/// How the files stand to each other: enough to know what must be scanned.
#[derive(Clone, Debug, Default)]
pub struct Arrangement {
    /// The segments in use, in order; holes among them are for [`judge`].
    pub begun: Vec<Link>,
    /// Files made ahead: the next one first.
    pub prepared: Vec<usize>,
    /// A torn switch to this file (row S5).
    pub torn_switch: Option<usize>,
    /// Files of which nobody can tell what they are (rows S12 and S13).
    pub unreadable: Vec<usize>,
    /// Places in the facts of the segments that must be scanned.
    pub to_scan: Vec<usize>,
    /// What is wrong already.
    pub damage: Vec<Damage>,
    /// A file of a newer version.
    pub newer: Option<(usize, u16)>,
}

/// Rows S and C: which files are in use. `facts` are sorted by number.
pub fn arrange(facts: &[SegmentFacts], journal_id: &[u8; 16]) -> Arrangement {
    let mut out = Arrangement::default();
    let mut begun: Vec<Link> = Vec::new();
    let mut destroyed: Vec<usize> = Vec::new();
    for (index, fact) in facts.iter().enumerate() {
        let (condition, other) = fact.condition(journal_id);
        match condition {
            Condition::Begun(header) => begun.push(Link { index, header, other }),
            Condition::Prepared(_) => out.prepared.push(index),
            Condition::Destroyed => destroyed.push(index),
            Condition::Unreadable => out.unreadable.push(index),
            Condition::Newer(version) => out.newer = out.newer.or(Some((index, version))),
            Condition::Foreign => out.damage.push(fact.damage(DamageKind::Foreign, 0, fact.file_bytes)),
            Condition::WrongLength(header) => {
                let expected = header.map_or(0, |header| u64::from(header.segment_bytes));
                let missing = expected.saturating_sub(fact.file_bytes);
                let mut damage = fact.damage(DamageKind::Length, fact.file_bytes, missing);
                damage.first = header.filter(|header| header.state == HeaderState::Begun).map(|h| h.first_sequence);
                out.damage.push(damage);
                if let Some(header) = header.filter(|header| header.state == HeaderState::Begun) {
                    begun.push(Link { index, header, other });
                }
            }
        }
    }
    settle_destroyed(facts, &begun, destroyed, &mut out);
    settle_prepared(facts, &begun, &mut out);
    for (place, link) in begun.iter().enumerate() {
        let last = place + 1 == begun.len();
        if last || facts[link.index].footer.is_err() {
            out.to_scan.push(link.index);
        }
    }
    out.begun = begun;
    out
}

/// Rows S5, S6 and S13.
fn settle_destroyed(facts: &[SegmentFacts], begun: &[Link], destroyed: Vec<usize>, out: &mut Arrangement) {
    for index in destroyed {
        let fact = &facts[index];
        // A file behind it was made when this one was in use, durably.
        let last_of_all = index + 1 == facts.len();
        let behind_last = begun.last().is_some_and(|last| {
            let before = &facts[last.index];
            before.number.checked_add(1) == Some(fact.number)
                && before.footer.is_err()
                && (last.header.growing || possible_length(fact.file_bytes))
        });
        // The first segment's header is durable before anything is written behind it.
        let only = begun.is_empty() && facts.len() == 1 && fact.number == 1 && fact.orphans.is_none();
        let unseen = begun.last().is_some_and(|last| facts[last.index].footer == Err(HeaderFault::Unreadable));
        if last_of_all && (behind_last || only) {
            if unseen || !fact.unreadable.is_empty() {
                out.unreadable.push(index);
            } else {
                out.torn_switch = Some(index);
            }
        } else {
            out.damage.push(fact.damage(DamageKind::Header, 0, u64::from(DATA_OFFSET)));
        }
    }
}

/// Whether a file that is made whole ahead of its use can have this length. Not the predecessor's: the option may have
/// changed since.
fn possible_length(bytes: u64) -> bool {
    (u64::from(SEGMENT_BYTES_MIN)..=u64::from(SEGMENT_BYTES_MAX)).contains(&bytes)
        && bytes.is_multiple_of(PAGE_BYTES as u64)
}

/// Row C7. A file is made ahead only once the one before it is in use, durably: where that is missing, or looks as if it
/// had been made ahead too, its records are.
fn settle_prepared(facts: &[SegmentFacts], begun: &[Link], out: &mut Arrangement) {
    let last = begun.last().map_or(0, |last| facts[last.index].number);
    let astray = out.prepared.iter().find(|&&index| facts[index].number > last.saturating_add(1));
    let Some(&index) = astray.filter(|_| !planted::is(Bug::MissingSegmentAccepted)) else { return };
    let number = facts[index].number - 1;
    match facts.iter().position(|fact| fact.number == number) {
        None => out.damage.push(missing(number, 0)),
        Some(before) if out.prepared.contains(&before) => {
            if facts[before].copies.contains(&Err(HeaderFault::Unreadable)) {
                // That copy may say that it was in use.
                return out.unreadable.push(before);
            }
            out.damage.push(facts[before].damage(DamageKind::Chain, 0, u64::from(DATA_OFFSET)));
        }
        // What is wrong with it is told already.
        Some(_) => {}
    }
}

/// Rows C1 and C2, and the header copies of rows S3 and S11: cuts what was released off the front.
fn keep_chain(facts: &[SegmentFacts], arrangement: &Arrangement, verdict: &mut Verdict) {
    let begun = &arrangement.begun;
    let mut start = 0;
    for place in (1..begun.len()).rev() {
        let (before, after) = (&facts[begun[place - 1].index], &facts[begun[place].index]);
        if before.number.checked_add(1) != Some(after.number) {
            if begun[place].header.first_sequence <= verdict.released_below {
                start = place;
                break;
            }
            let unseen = |number: &u64| arrangement.unreadable.iter().any(|&index| facts[index].number == *number);
            let hole = (before.number.saturating_add(1)..after.number).find(|number| !unseen(number));
            if let Some(number) = hole.filter(|_| !planted::is(Bug::MissingSegmentAccepted)) {
                verdict.damage.push(missing(number, begun[place].header.first_sequence));
            }
        }
    }
    for (place, link) in begun.iter().enumerate() {
        if place < start {
            verdict.leftovers.push(link.index);
            continue;
        }
        if let OtherCopy::Unreadable(copy) = link.other {
            verdict.damage.push(facts[link.index].damage(DamageKind::UnreadableCopy, copy as u64 * 4096, 4096));
        }
        if let OtherCopy::Damaged(copy) = link.other
            && !(place + 1 == begun.len() && unwitnessed(&facts[link.index], &link.header))
        {
            verdict.damage.push(facts[link.index].damage(DamageKind::HeaderCopy, copy as u64 * 4096, 4096));
        }
        verdict.chain.push(*link);
    }
}

/// Row S12: a file below the floor goes, any other stands in the way of every verdict about what lies behind it.
fn tell_unreadable(facts: &[SegmentFacts], arrangement: &Arrangement, verdict: &mut Verdict) {
    let released_before = verdict
        .chain
        .first()
        .filter(|first| continues(&first.header) <= verdict.released_below)
        .map_or(0, |first| facts[first.index].number);
    for &index in &arrangement.unreadable {
        let fact = &facts[index];
        if fact.number < released_before {
            verdict.leftovers.push(index);
            continue;
        }
        for (copy, header) in fact.copies.iter().enumerate() {
            if *header == Err(HeaderFault::Unreadable) {
                let (offset, bytes) = ((copy * PAGE_BYTES) as u64, PAGE_BYTES as u64);
                verdict.damage.push(fact.damage(DamageKind::Unreadable, offset, bytes));
            }
        }
        verdict.damage.extend(fact.unreadable_places());
    }
}

/// Whether nothing tells that a segment's beginning was ever durable: then a crash within the switch tore the copy.
fn unwitnessed(fact: &SegmentFacts, header: &SegmentHeader) -> bool {
    fact.scan.as_ref().is_some_and(|scan| {
        scan.durable_end <= DATA_OFFSET && scan.durable_upto < header.first_sequence && scan.witness.is_none()
    })
}

/// A segment that is not there.
pub(crate) fn missing(number: u64, resume: Sequence) -> Damage {
    Damage {
        segment: number,
        file: crate::files::segment_name(number),
        offset: 0,
        bytes: 0,
        first: None,
        last: resume.checked_sub(1),
        what: DamageKind::Missing,
    }
}

/// What the whole means.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The segments in use, in order.
    pub chain: Vec<Link>,
    /// Files below the release floor that a crash left behind.
    pub leftovers: Vec<usize>,
    /// How it ends.
    pub end: End,
    /// What is to be cut.
    pub cut: Option<Cut>,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// Known losses.
    pub gaps: Vec<Gap>,
    /// The first stored sequence.
    pub first: Sequence,
    /// The next sequence.
    pub next: Sequence,
    /// The release floor.
    pub released_below: Sequence,
    /// The last sequence that some durable structure witnesses.
    pub witnessed: Sequence,
    /// An opening record must be made durable before anything else is written.
    pub opening_record: bool,
    /// Places in the facts of sealed segments whose footer must be written again.
    pub footers_due: Vec<usize>,
}

/// Rows C3 to E7: `facts` carry the scans that [`arrange`] asked for.
pub fn judge(facts: &[SegmentFacts], arrangement: &Arrangement) -> Verdict {
    let mut verdict =
        Verdict { damage: arrangement.damage.clone(), first: 1, next: 1, released_below: 1, ..Verdict::default() };
    let Some(last) = arrangement.begun.last() else {
        tell_unreadable(facts, arrangement, &mut verdict);
        verdict.end = end_of(&verdict.damage, End::New);
        return verdict;
    };
    // The floor first: what is missing below it was released.
    let scanned = facts[last.index].scan.as_ref().map_or(0, |scan| scan.released_below);
    verdict.released_below = last.header.released_below.max(scanned).max(1);
    keep_chain(facts, arrangement, &mut verdict);
    tell_unreadable(facts, arrangement, &mut verdict);
    let chain = std::mem::take(&mut verdict.chain);
    let unseen_behind = |number: u64| arrangement.unreadable.iter().any(|&index| facts[index].number > number);
    let first = chain[0];
    verdict.first = first.header.first_sequence;
    verdict.next = first.header.first_sequence;
    let mut digest = first.header.predecessor_digest;
    for (place, link) in chain.iter().enumerate() {
        let fact = &facts[link.index];
        check_link(fact, link, place == 0, &mut verdict, digest);
        match chain.get(place + 1) {
            None => judge_end(fact, link, unseen_behind(fact.number), &mut verdict),
            Some(next) => {
                let follows = fact.number.checked_add(1) == Some(facts[next.index].number);
                let unseen = !follows && unseen_behind(fact.number);
                digest = judge_inner(fact, link, &next.header, unseen, &mut verdict);
            }
        }
    }
    verdict.chain = chain;
    let number = facts[first.index].number.saturating_sub(1);
    let unseen = arrangement.unreadable.iter().any(|&index| facts[index].number == number);
    let short = continues(&first.header) > verdict.released_below;
    for damage in verdict.damage.iter_mut().filter(|damage| short && unseen && damage.segment == number) {
        (damage.first, damage.last) = (Some(verdict.released_below), continues(&first.header).checked_sub(1));
    }
    if short && !unseen && !planted::is(Bug::MissingOldestAccepted) {
        let mut damage = missing(number, continues(&first.header));
        damage.first = Some(verdict.released_below);
        verdict.damage.push(damage);
    }
    // Row S5's last condition needs the end of the segment before. What stands in a file that was used again tells of
    // sequences below that.
    let vouched = |index: usize| facts[index].orphans.is_some_and(|upto| upto >= verdict.next);
    if let Some(index) = arrangement.torn_switch.filter(|&index| vouched(index)) {
        let mut damage = facts[index].damage(DamageKind::Header, 0, u64::from(DATA_OFFSET));
        damage.first = Some(verdict.next);
        damage.last = facts[index].orphans;
        verdict.damage.push(damage);
    } else if let Some(index) = arrangement.torn_switch {
        verdict.cut.get_or_insert(Cut {
            segment: facts[index].number,
            file: facts[index].file.clone(),
            offset: 0,
            bytes: u64::from(DATA_OFFSET),
            first: verdict.next,
            last: None,
            uncertain: true,
        });
        if matches!(verdict.end, End::Closed | End::Idle | End::Unmarked) {
            verdict.end = End::Torn;
        }
    }
    if verdict.damage.iter().any(|damage| damage.what == DamageKind::Unreadable) {
        // A witness may lie there.
        verdict.cut = None;
    }
    verdict.end = end_of(&verdict.damage, verdict.end);
    verdict
}

/// How a journal ends in which these places are bad, and which would end so without them.
fn end_of(damage: &[Damage], otherwise: End) -> End {
    if damage.iter().any(|damage| damage.what.loses_records()) {
        End::Damaged
    } else if damage.iter().any(|damage| damage.what == DamageKind::Unreadable) {
        End::Unreadable
    } else {
        otherwise
    }
}

/// The sequence that a segment's predecessor must end before: its own first, or that of the gap which it declares.
fn continues(header: &SegmentHeader) -> Sequence {
    if header.gap_first != 0 { header.gap_first } else { header.first_sequence }
}

/// Rows C5 and C6.
fn check_link(fact: &SegmentFacts, link: &Link, first: bool, verdict: &mut Verdict, digest: u64) {
    let header = &link.header;
    if header.gap_first != 0 && header.gap_first < header.first_sequence {
        verdict.gaps.push(Gap { first: header.gap_first, end: header.first_sequence });
    }
    if first {
        return;
    }
    let broken = continues(header) != verdict.next || header.predecessor_digest != digest;
    // A predecessor whose own damage is known already explains the break.
    let known = verdict
        .damage
        .iter()
        .any(|damage| damage.what.refuses_writing() && damage.segment.checked_add(1) == Some(fact.number));
    if broken && !known && !planted::is(Bug::ChainNotChecked) {
        let mut damage = fact.damage(DamageKind::Chain, 0, u64::from(DATA_OFFSET));
        damage.first = Some(verdict.next);
        damage.last = header.first_sequence.checked_sub(1);
        verdict.damage.push(damage);
    }
    verdict.next = header.first_sequence;
}

/// A segment with a successor: its footer says where it ends, or its scan must arrive there (I1 to I5). `unseen`: files
/// between the two could not be read. Returns the digest that the successor must name.
fn judge_inner(
    fact: &SegmentFacts,
    link: &Link,
    successor: &SegmentHeader,
    unseen: bool,
    verdict: &mut Verdict,
) -> u64 {
    let continues = continues(successor);
    match (&fact.footer, &fact.scan) {
        (Ok(footer), _) => {
            verdict.next = footer.first_sequence + footer.count;
            verdict.witnessed = verdict.next.saturating_sub(1);
            footer.digest
        }
        (Err(_), Some(scan)) => {
            let arrives = scan.next == continues && scan.digest == successor.predecessor_digest;
            verdict.next = continues;
            verdict.witnessed = continues.saturating_sub(1);
            if fact.footer == Err(HeaderFault::Unreadable) {
                verdict.damage.push(footer_page(fact, link, DamageKind::UnreadableCopy));
            }
            if unseen {
                verdict.damage.extend(fact.unreadable_places());
            } else if arrives || planted::is(Bug::SealedTailTruncated) {
                verdict.footers_due.push(link.index);
            } else if scan.stop == Stop::Unreadable {
                verdict.damage.extend(unreadable_at(fact, scan, continues.checked_sub(1)));
            } else {
                let mut damage = damage_at(fact, scan);
                damage.last = damage.last.or(continues.checked_sub(1));
                verdict.damage.push(damage);
            }
            successor.predecessor_digest
        }
        (Err(_), None) => successor.predecessor_digest,
    }
}

/// The page where a segment's footer is, or will be.
fn footer_page(fact: &SegmentFacts, link: &Link, what: DamageKind) -> Damage {
    let bytes = PAGE_BYTES as u64;
    fact.damage(what, u64::from(link.header.segment_bytes).saturating_sub(bytes), bytes)
}

/// The parts that a walk could not read. Where it ended in one of them, that one touches the records that come next, the
/// last of which is `last`, if nothing behind it says otherwise.
fn unreadable_at(fact: &SegmentFacts, scan: &ScanFacts, last: Option<Sequence>) -> Vec<Damage> {
    let mut places: Vec<Damage> = fact.unreadable_places().collect();
    if let Some(offset) = scan.unreadable.filter(|_| places.is_empty()) {
        places.push(fact.damage(DamageKind::Unreadable, u64::from(offset), 0));
    }
    if let Some(place) = places.first_mut().filter(|_| scan.stop == Stop::Unreadable) {
        place.first = Some(scan.next);
        place.last = scan.resume.and_then(|later| later.first.checked_sub(1)).or(last);
    }
    places
}

fn damage_at(fact: &SegmentFacts, scan: &ScanFacts) -> Damage {
    let until = scan.resume.map_or(scan.nonzero_end.max(scan.end), |later| later.offset);
    let what = if scan.stop == Stop::Chain { DamageKind::Chain } else { DamageKind::Commit };
    let mut damage = fact.damage(what, u64::from(scan.end), u64::from(until - scan.end));
    damage.first = Some(scan.next);
    damage.last = scan.resume.and_then(|later| later.first.checked_sub(1));
    damage
}

/// Row E7. `true`: something could not be read, and nothing more can be said of the end.
fn end_unseen(fact: &SegmentFacts, link: &Link, scan: &ScanFacts, unseen_behind: bool, verdict: &mut Verdict) -> bool {
    let mut places = unreadable_at(fact, scan, None);
    let page = footer_page(fact, link, DamageKind::Unreadable);
    let known = places.iter().any(|place| place.offset + place.bytes > page.offset);
    if fact.footer == Err(HeaderFault::Unreadable) && !known {
        places.push(page);
    }
    let unseen = unseen_behind || !places.is_empty();
    verdict.damage.append(&mut places);
    unseen
}

/// Rows C3 and E1 to E7.
fn judge_end(fact: &SegmentFacts, link: &Link, unseen_behind: bool, verdict: &mut Verdict) {
    let Some(scan) = &fact.scan else {
        verdict.end = End::Damaged;
        return;
    };
    verdict.next = scan.next;
    verdict.witnessed = verdict.witnessed.max(scan.durable_upto);
    verdict.opening_record = true;
    let unseen = end_unseen(fact, link, scan, unseen_behind, verdict);
    if fact.footer.is_ok() && !unseen_behind && !planted::is(Bug::MissingSegmentAccepted) {
        let mut damage = missing(fact.number.saturating_add(1), 0);
        damage.first = Some(scan.next);
        damage.last = None;
        // The file made ahead behind it (row C7) may have told of the same loss.
        verdict.damage.retain(|known| (known.what, known.segment) != (DamageKind::Missing, damage.segment));
        verdict.damage.push(damage);
        return;
    }
    // What was read there, and does not verify, is damage whatever else could not be read.
    if scan.witness.is_some() && scan.stop != Stop::Unreadable {
        verdict.damage.push(damage_at(fact, scan));
        return;
    }
    if unseen {
        verdict.end = End::Unreadable;
        return;
    }
    // Stale bytes of an earlier use of the file are no torn write: only a file that began as zeros, or a header that
    // belongs here, tells that somebody was writing. Bytes in the rest of the last page were written with it.
    let page_end = scan.end.next_multiple_of(4096).min(fact.file_bytes.min(u64::from(u32::MAX)) as u32);
    let begun = matches!(scan.stop, Stop::Torn | Stop::Chain) || scan.resume.is_some();
    let dirty = scan.nonzero_end > scan.end && (link.header.zeroed || scan.nonzero_start < page_end);
    // A mark that does not vouch for zeros was written in front of what an earlier cut, or an earlier use, left behind.
    // After a closing mark nothing is written, after an idle mark a commit may have been begun.
    let explained = match scan.last {
        _ if planted::is(Bug::CutReportedAgain) => false,
        Some((CommitKind::ClosingMark, zero_tail)) => !zero_tail,
        Some((CommitKind::IdleMark, zero_tail)) => !zero_tail && !matches!(scan.stop, Stop::Torn | Stop::Chain),
        _ => false,
    };
    if (begun || dirty) && !explained {
        verdict.end = End::Torn;
        if !planted::is(Bug::CutNotReported) {
            verdict.cut = Some(Cut {
                segment: fact.number,
                file: fact.file.clone(),
                offset: scan.end,
                bytes: u64::from(scan.nonzero_end - scan.end),
                first: scan.next,
                last: scan.last_seen,
                uncertain: scan.resume.is_none(),
            });
        }
        return;
    }
    verdict.opening_record = !link.header.zeroed || scan.nonzero_end > scan.end;
    let witnessed = scan.durable_end >= scan.last_offset && scan.durable_upto + 1 >= scan.next;
    verdict.end = match scan.last {
        Some((CommitKind::ClosingMark, _)) => End::Closed,
        None => End::Idle,
        Some(_) if witnessed => End::Idle,
        Some(_) => End::Unmarked,
    };
}

#[cfg(test)]
mod tests;
