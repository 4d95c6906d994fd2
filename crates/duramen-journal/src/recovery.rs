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
//! | E7 | the device cannot read | damage: unreadable; never cut |

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
    /// The two copies of its header. A page that could not be read counts as damaged.
    pub copies: [Result<SegmentHeader, HeaderFault>; 2],
    /// The page at its end.
    pub footer: Result<Footer, HeaderFault>,
    /// Its walk, if it was asked for.
    pub scan: Option<ScanFacts>,
    /// Without a good header: what the commits that verify by their digest alone call durable at most. `None`: there
    /// are no such commits, or there is a header.
    pub orphans: Option<Sequence>,
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
}

impl SegmentFacts {
    /// Rows S1 to S10, but for what needs the neighbours.
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
        // No writer gives such a sequence. The bound keeps every sum of a sequence and a count from overflowing.
        if chosen.state == HeaderState::Begun && !(1..1 << 63).contains(&chosen.first_sequence) {
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

    fn damage(&self, what: DamageKind, offset: u64, bytes: u64) -> Damage {
        Damage { segment: self.number, file: self.file.clone(), offset, bytes, first: None, last: None, what }
    }
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

/// Rows S5 and S6.
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
        if last_of_all && (behind_last || only) {
            out.torn_switch = Some(index);
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
            out.damage.push(facts[before].damage(DamageKind::Chain, 0, u64::from(DATA_OFFSET)));
        }
        // What is wrong with it is told already.
        Some(_) => {}
    }
}

/// Rows C1 and C2, and the damaged header copies of row S3: cuts what was released off the front.
fn keep_chain(facts: &[SegmentFacts], begun: &[Link], verdict: &mut Verdict) {
    let mut start = 0;
    for place in (1..begun.len()).rev() {
        let (before, after) = (&facts[begun[place - 1].index], &facts[begun[place].index]);
        if before.number.checked_add(1) != Some(after.number) {
            if begun[place].header.first_sequence <= verdict.released_below {
                start = place;
                break;
            }
            if !planted::is(Bug::MissingSegmentAccepted) {
                verdict.damage.push(missing(before.number + 1, begun[place].header.first_sequence));
            }
        }
    }
    for (place, link) in begun.iter().enumerate() {
        if place < start {
            verdict.leftovers.push(link.index);
            continue;
        }
        if let OtherCopy::Damaged(copy) = link.other
            && !(place + 1 == begun.len() && unwitnessed(&facts[link.index], &link.header))
        {
            verdict.damage.push(facts[link.index].damage(DamageKind::HeaderCopy, copy as u64 * 4096, 4096));
        }
        verdict.chain.push(*link);
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
        let loss = verdict.damage.iter().any(|damage| damage.what.loses_records());
        verdict.end = if loss { End::Damaged } else { End::New };
        return verdict;
    };
    // The floor first: what is missing below it was released.
    let scanned = facts[last.index].scan.as_ref().map_or(0, |scan| scan.released_below);
    verdict.released_below = last.header.released_below.max(scanned).max(1);
    keep_chain(facts, &arrangement.begun, &mut verdict);
    let chain = std::mem::take(&mut verdict.chain);
    let first = chain[0];
    verdict.first = first.header.first_sequence;
    verdict.next = first.header.first_sequence;
    let mut digest = first.header.predecessor_digest;
    for (place, link) in chain.iter().enumerate() {
        let fact = &facts[link.index];
        check_link(fact, link, place == 0, &mut verdict, digest);
        if place + 1 == chain.len() {
            judge_end(fact, link, &mut verdict);
        } else {
            digest = judge_inner(fact, link, &chain[place + 1].header, &mut verdict);
        }
    }
    verdict.chain = chain;
    if continues(&first.header) > verdict.released_below && !planted::is(Bug::MissingOldestAccepted) {
        let number = facts[first.index].number.saturating_sub(1);
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
    if verdict.damage.iter().any(|damage| damage.what.loses_records()) {
        verdict.end = End::Damaged;
    }
    verdict
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
        .any(|damage| damage.what.loses_records() && damage.segment.checked_add(1) == Some(fact.number));
    if broken && !known && !planted::is(Bug::ChainNotChecked) {
        let mut damage = fact.damage(DamageKind::Chain, 0, u64::from(DATA_OFFSET));
        damage.first = Some(verdict.next);
        damage.last = header.first_sequence.checked_sub(1);
        verdict.damage.push(damage);
    }
    verdict.next = header.first_sequence;
}

/// A segment with a successor: its footer says where it ends, or its scan must arrive there (I1, I2). Returns the
/// digest that the successor must name.
fn judge_inner(fact: &SegmentFacts, link: &Link, successor: &SegmentHeader, verdict: &mut Verdict) -> u64 {
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
            if arrives || planted::is(Bug::SealedTailTruncated) {
                verdict.footers_due.push(link.index);
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

fn damage_at(fact: &SegmentFacts, scan: &ScanFacts) -> Damage {
    let until = scan.resume.map_or(scan.nonzero_end.max(scan.end), |later| later.offset);
    let what = match scan.stop {
        Stop::Unreadable => DamageKind::Unreadable,
        Stop::Chain => DamageKind::Chain,
        _ => DamageKind::Commit,
    };
    let mut damage = fact.damage(what, u64::from(scan.end), u64::from(until - scan.end));
    damage.first = Some(scan.next);
    damage.last = scan.resume.and_then(|later| later.first.checked_sub(1));
    damage
}

/// Rows C3 and E1 to E7.
fn judge_end(fact: &SegmentFacts, link: &Link, verdict: &mut Verdict) {
    let Some(scan) = &fact.scan else {
        verdict.end = End::Damaged;
        return;
    };
    verdict.next = scan.next;
    verdict.witnessed = verdict.witnessed.max(scan.durable_upto);
    verdict.opening_record = true;
    if fact.footer.is_ok() && !planted::is(Bug::MissingSegmentAccepted) {
        let mut damage = missing(fact.number.saturating_add(1), 0);
        damage.first = Some(scan.next);
        damage.last = None;
        // The file made ahead behind it (row C7) may have told of the same loss.
        verdict.damage.retain(|known| (known.what, known.segment) != (DamageKind::Missing, damage.segment));
        verdict.damage.push(damage);
        return;
    }
    if scan.witness.is_some() || scan.unreadable.is_some() {
        let mut damage = damage_at(fact, scan);
        if let Some(offset) = scan.unreadable {
            damage.what = DamageKind::Unreadable;
            damage.offset = u64::from(offset);
        }
        verdict.damage.push(damage);
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
