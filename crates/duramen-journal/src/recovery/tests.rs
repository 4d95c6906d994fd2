//! Every row of the table, on facts built by hand. A test is named after its row, and holds the fact beside its nearest
//! neighbour that must be judged otherwise: a rule that is dropped, or drawn too wide, fails its test.

use super::*;
use crate::scan::Later;

const ID: [u8; 16] = [7; 16];
const BYTES: u32 = 64 << 10;
/// Records in each segment of [`chain`], and bytes of its commits.
const COUNT: u64 = 10;
const END: u32 = DATA_OFFSET + 1000;

fn first_of(number: u64) -> Sequence {
    1 + (number - 1) * COUNT
}

/// The digest at the end of a segment.
fn digest_of(number: u64) -> u64 {
    1000 + number
}

fn header(number: u64) -> SegmentHeader {
    SegmentHeader {
        state: HeaderState::Begun,
        journal_id: ID,
        number,
        salt: 70 + number,
        first_sequence: first_of(number),
        predecessor_digest: if number == 1 { 0 } else { digest_of(number - 1) },
        released_below: 1,
        gap_first: 0,
        segment_bytes: BYTES,
        zeroed: true,
        growing: false,
    }
}

fn prepared_header(number: u64) -> SegmentHeader {
    let state = HeaderState::Prepared;
    SegmentHeader { state, first_sequence: 0, predecessor_digest: 0, released_below: 0, ..header(number) }
}

fn footer(number: u64) -> Footer {
    Footer {
        journal_id: ID,
        number,
        salt: 70 + number,
        first_sequence: first_of(number),
        count: COUNT,
        digest: digest_of(number),
        data_end: END,
        index_offset: 48 << 10,
        tables_offset: 52 << 10,
        logs: 1,
        summary_bytes: 0,
        summary_dropped: false,
        tables_check: 0,
        released_below: 1,
    }
}

/// A walk over a segment that ends cleanly behind a data commit that nothing witnesses.
fn walk(number: u64) -> ScanFacts {
    ScanFacts {
        end: END,
        next: first_of(number) + COUNT,
        digest: digest_of(number),
        commits: 2,
        durable_upto: first_of(number) + COUNT - 2,
        durable_end: DATA_OFFSET + 500,
        last: Some((CommitKind::Data, false)),
        last_offset: DATA_OFFSET + 500,
        released_below: 1,
        stop: Stop::Zero,
        witness: None,
        resume: None,
        last_seen: None,
        nonzero_end: END,
        nonzero_start: END,
        unreadable: None,
    }
}

fn file(header: SegmentHeader) -> SegmentFacts {
    SegmentFacts {
        number: header.number,
        file: crate::files::segment_name(header.number),
        file_bytes: u64::from(BYTES),
        copies: [Ok(header), Ok(header)],
        footer: Err(HeaderFault::Blank),
        scan: None,
        orphans: None,
        unreadable: Vec::new(),
    }
}

/// Segments 1 to `last` in use, sealed but for the last, and the next one made ahead.
fn chain(last: u64) -> Vec<SegmentFacts> {
    let mut facts: Vec<SegmentFacts> = (1..=last).map(|number| file(header(number))).collect();
    for fact in &mut facts {
        fact.footer = if fact.number < last { Ok(footer(fact.number)) } else { Err(HeaderFault::Blank) };
    }
    facts.push(file(prepared_header(last + 1)));
    facts
}

/// Arranges, lets everything that was asked for be walked as it should look, or as `facts` say already, and judges.
fn verdict(facts: &mut [SegmentFacts]) -> (Arrangement, Verdict) {
    let arrangement = arrange(facts, &ID);
    for &index in &arrangement.to_scan {
        let number = facts[index].number;
        facts[index].scan.get_or_insert_with(|| walk(number));
    }
    for (index, fact) in facts.iter_mut().enumerate() {
        if !arrangement.to_scan.contains(&index) {
            fact.scan = None;
        }
    }
    let verdict = judge(facts, &arrangement);
    (arrangement, verdict)
}

fn kinds(verdict: &Verdict) -> Vec<(DamageKind, u64)> {
    verdict.damage.iter().map(|damage| (damage.what, damage.segment)).collect()
}

/// Nothing wrong, and everything there.
fn good(facts: &mut [SegmentFacts], last: u64) -> Verdict {
    let (_, verdict) = verdict(facts);
    assert_eq!(verdict.damage, [], "no damage");
    assert_eq!(verdict.cut, None);
    assert_eq!((verdict.chain.len() as u64, verdict.next), (last, first_of(last) + COUNT));
    verdict
}

/// Writing is refused, for this reason.
fn refused(facts: &mut [SegmentFacts], damage: &[(DamageKind, u64)]) -> Verdict {
    let (_, verdict) = verdict(facts);
    assert_eq!(kinds(&verdict), damage);
    assert_eq!(verdict.end, End::Damaged);
    assert!(damage.iter().any(|(what, _)| what.loses_records()));
    verdict
}

#[test]
fn s1_both_copies_begun() {
    let mut facts = chain(3);
    let verdict = good(&mut facts, 3);
    assert!(verdict.chain.iter().all(|link| link.other == OtherCopy::Same));
    assert_eq!(verdict.first, 1);
    assert_eq!(arrange(&facts, &ID).to_scan, [2], "sealed segments are not read");
}

#[test]
fn s2_one_copy_begun() {
    for (copy, behind) in [(0, 1), (1, 0)] {
        let mut facts = chain(2);
        facts[1].copies[behind] = Ok(prepared_header(2));
        assert_eq!(facts[1].condition(&ID), (Condition::Begun(header(2)), OtherCopy::Behind(behind)), "copy {copy}");
        let verdict = good(&mut facts, 2);
        assert_eq!(verdict.chain[1].other, OtherCopy::Behind(behind));
    }
}

/// The crash came within the switch and left one copy whole and one torn: a random sequence of operations met that, and
/// a pure crash was reported as damage.
#[test]
fn s2_one_copy_torn_in_the_switch() {
    let torn = |change: fn(&mut ScanFacts)| {
        let mut facts = ending(|scan| {
            (scan.durable_end, scan.durable_upto) = (DATA_OFFSET, first_of(2) - 1);
            change(scan);
        });
        facts[1].copies[1] = Err(HeaderFault::Damaged);
        let (_, verdict) = verdict(&mut facts);
        assert_eq!(verdict.chain[1].other, OtherCopy::Damaged(1), "mended either way");
        kinds(&verdict)
    };
    assert_eq!(torn(|_| {}), []);
    let copy = [(DamageKind::HeaderCopy, 2)];
    assert_eq!(torn(|scan| scan.durable_end += 8), copy);
    assert_eq!(torn(|scan| scan.durable_upto += 1), copy);
    let later: fn(&mut ScanFacts) =
        |scan| scan.witness = Some(Later { offset: END + 800, first: first_of(3) + 2, next: first_of(3) + 4 });
    assert_eq!(torn(later), [copy[0], (DamageKind::Commit, 2)]);
    // Not the last: what comes behind it was begun when it was durable.
    let mut facts = chain(3);
    facts[1].footer = Err(HeaderFault::Blank);
    facts[1].copies[1] = Err(HeaderFault::Damaged);
    facts[1].scan = Some(ScanFacts { durable_end: DATA_OFFSET, durable_upto: first_of(2) - 1, ..walk(2) });
    assert_eq!(kinds(&verdict(&mut facts).1), copy);
}

#[test]
fn s3_one_copy_good() {
    for (bad, fault) in [(0, HeaderFault::Damaged), (1, HeaderFault::Damaged), (0, HeaderFault::Blank)] {
        let mut facts = chain(2);
        facts[0].copies[bad] = Err(fault);
        let (_, verdict) = verdict(&mut facts);
        assert_eq!(kinds(&verdict), [(DamageKind::HeaderCopy, 1)]);
        assert_eq!(verdict.damage[0].offset, bad as u64 * 4096);
        assert_eq!((verdict.end, verdict.chain.len()), (End::Unmarked, 2), "a copy costs no record");
        assert_eq!(verdict.chain[0].other, OtherCopy::Damaged(bad));
    }
}

/// A device lost the write of one header page when the file was used again: the page shows the file's earlier life, in
/// use and intact. Taking it for the segment's header made the whole journal foreign.
#[test]
fn s3_a_copy_of_another_life() {
    for stale in [0, 1] {
        for mut life in [header(1), header(3)] {
            let mut facts = chain(3);
            life.journal_id = if life.number == 3 { [9; 16] } else { ID };
            facts[2].copies[stale] = Ok(life);
            let (_, verdict) = verdict(&mut facts);
            assert_eq!(kinds(&verdict), [(DamageKind::HeaderCopy, 3)]);
            assert_eq!(verdict.chain[2].header, header(3));
        }
    }
    // The file made ahead: what the other copy says was in use long ago.
    let mut facts = chain(3);
    facts[3].copies[1] = Ok(header(1));
    assert_eq!(good(&mut facts, 3).end, End::Unmarked);
    facts[3].copies = [Ok(header(1)), Ok(prepared_header(4))];
    assert_eq!(good(&mut facts, 3).end, End::Unmarked);
    let mut facts = chain(3);
    facts[2].copies[1] = Ok(SegmentHeader { salt: 1, ..header(3) });
    assert_eq!(facts[2].condition(&ID).1, OtherCopy::Damaged(1), "two lives of one number: the first copy decides");
}

#[test]
fn s4_prepared_only() {
    let mut facts = chain(2);
    let (arrangement, verdict) = verdict(&mut facts);
    assert_eq!(arrangement.prepared, [2]);
    assert_eq!(verdict.chain.len(), 2);
    facts[2].copies[1] = Err(HeaderFault::Damaged);
    assert_eq!(facts[2].condition(&ID).0, Condition::Prepared(prepared_header(3)));
    good(&mut facts, 2);
}

#[test]
fn s5_torn_switch() {
    let torn = |orphans| {
        let mut facts = chain(2);
        facts[1].footer = Err(HeaderFault::Blank);
        facts[2].copies = [Err(HeaderFault::Damaged); 2];
        facts[2].orphans = orphans;
        facts
    };
    // No commit, the switch's own, and those of the file's earlier life: none says that anything in it was durable.
    for orphans in [None, Some(first_of(3) - 1), Some(1)] {
        let mut facts = torn(orphans);
        let (arrangement, verdict) = verdict(&mut facts);
        assert_eq!(arrangement.torn_switch, Some(2));
        assert_eq!(verdict.damage, []);
        assert_eq!((verdict.end, verdict.next), (End::Torn, first_of(3)));
        let cut = verdict.cut.expect("a cut is reported");
        assert_eq!((cut.segment, cut.offset, cut.first, cut.uncertain), (3, 0, first_of(3), true));
    }
    refused(&mut torn(Some(first_of(3))), &[(DamageKind::Header, 3)]);
    let mut footed = torn(None);
    footed[1].footer = Ok(footer(2));
    refused(&mut footed, &[(DamageKind::Header, 3), (DamageKind::Missing, 3)]);
    for length in [u64::from(BYTES) - 4096, u64::from(BYTES) + 512] {
        let mut cut_off = torn(None);
        cut_off[2].file_bytes = length;
        refused(&mut cut_off, &[(DamageKind::Header, 3)]);
    }
    // Options may change from one opening to the next: a random sequence of operations met a torn switch to a longer
    // segment, and the journal was refused after a pure crash.
    let mut longer = torn(None);
    longer[2].file_bytes = 2 * u64::from(BYTES);
    assert_eq!(verdict(&mut longer).0.torn_switch, Some(2));
    let mut not_next = torn(None);
    not_next[2].number = 4;
    refused(&mut not_next, &[(DamageKind::Header, 4)]);
    let mut not_last = torn(None);
    not_last.push(file(prepared_header(4)));
    refused(&mut not_last, &[(DamageKind::Header, 3)]);
}

/// On a file system where files grow, the length says nothing.
#[test]
fn s5_torn_switch_of_a_growing_file() {
    let mut facts = chain(1);
    facts[0].copies = [Ok(SegmentHeader { growing: true, ..header(1) }); 2];
    facts[1].copies = [Err(HeaderFault::Damaged); 2];
    facts[1].file_bytes = 8192;
    assert_eq!(arrange(&facts, &ID).torn_switch, Some(1));
}

/// The creation of a journal can be torn like any switch. But both header pages of a journal's only segment can also rot,
/// and then the switch's row must not let opening remove a file full of acknowledged records.
#[test]
fn s5_creation() {
    let mut facts = vec![file(header(1))];
    facts[0].copies = [Err(HeaderFault::Damaged), Err(HeaderFault::Blank)];
    let (arrangement, empty) = verdict(&mut facts);
    assert_eq!((arrangement.torn_switch, empty.end, empty.next), (Some(0), End::New, 1));
    for orphans in [0, 5] {
        facts[0].orphans = Some(orphans);
        let (arrangement, rotten) = verdict(&mut facts);
        assert_eq!((arrangement.torn_switch, kinds(&rotten)), (None, vec![(DamageKind::Header, 1)]));
        assert_eq!(rotten.end, End::Damaged);
    }
    facts[0].orphans = None;
    facts[0].number = 2;
    assert_eq!(kinds(&verdict(&mut facts).1), [(DamageKind::Header, 2)], "journals begin at 1");
}

#[test]
fn s6_no_copy_good() {
    let mut facts = chain(3);
    facts[1].copies = [Err(HeaderFault::Damaged), Err(HeaderFault::Blank)];
    let verdict = refused(&mut facts, &[(DamageKind::Header, 2), (DamageKind::Missing, 2)]);
    assert_eq!(verdict.damage[0].bytes, u64::from(DATA_OFFSET));
    assert_eq!(verdict.damage[1].last, Some(first_of(3) - 1));
}

/// A checksum can be right where the contents cannot: no sum of sequences may overflow on it.
#[test]
fn s6_impossible_sequence() {
    for first_sequence in [0, u64::MAX, 1 << 63] {
        let mut facts = chain(1);
        facts[0].copies = [Ok(SegmentHeader { first_sequence, ..header(1) }); 2];
        refused(&mut facts, &[(DamageKind::Header, 1)]);
    }
}

#[test]
fn s7_wrong_length() {
    for length in [u64::from(BYTES) - 512, u64::from(BYTES) + 512, 9000] {
        let mut facts = chain(3);
        facts[1].file_bytes = length;
        let verdict = refused(&mut facts, &[(DamageKind::Length, 2)]);
        assert_eq!(verdict.damage[0].first, Some(first_of(2)), "what it held is named");
        assert_eq!(verdict.damage[0].bytes, u64::from(BYTES).saturating_sub(length));
        assert_eq!(verdict.chain.len(), 3, "what is left of it is served");
    }
    for (length, fault) in [(0, HeaderFault::Blank), (100, HeaderFault::Damaged)] {
        let mut facts = chain(3);
        facts[2].file_bytes = length;
        facts[2].copies = [Err(fault); 2];
        refused(&mut facts, &[(DamageKind::Length, 3), (DamageKind::Missing, 3)]);
    }
    // The next segment too: an emptied file may be the one that was begun last.
    let mut facts = chain(1);
    facts[1].file_bytes = 0;
    facts[1].copies = [Err(HeaderFault::Blank); 2];
    refused(&mut facts, &[(DamageKind::Length, 2)]);
    // Growing files have any length.
    let mut facts = chain(1);
    facts[0].copies = [Ok(SegmentHeader { growing: true, ..header(1) }); 2];
    facts[0].file_bytes = 12288;
    good(&mut facts, 1);
}

#[test]
fn s8_of_another_journal() {
    let mut facts = chain(3);
    facts[1].copies = [Ok(SegmentHeader { journal_id: [8; 16], ..header(2) }); 2];
    refused(&mut facts, &[(DamageKind::Foreign, 2), (DamageKind::Missing, 2)]);
}

#[test]
fn s9_of_another_number() {
    // A copy of segment 2 behind the end, where the next one should be.
    let mut facts = chain(3);
    facts[3] = SegmentFacts { number: 4, ..file(header(2)) };
    refused(&mut facts, &[(DamageKind::Foreign, 4)]);
    // Two that were exchanged.
    let mut facts = chain(3);
    (facts[0].copies, facts[1].copies) = (facts[1].copies, facts[0].copies);
    let (_, verdict) = verdict(&mut facts);
    assert_eq!(kinds(&verdict)[..2], [(DamageKind::Foreign, 1), (DamageKind::Foreign, 2)]);
    assert_eq!(verdict.end, End::Damaged);
}

#[test]
fn s10_newer_format() {
    for copy in [0, 1] {
        let mut facts = chain(2);
        facts[0].copies[copy] = Err(HeaderFault::Newer(9));
        assert_eq!(arrange(&facts, &ID).newer, Some((0, 9)));
    }
    assert_eq!(arrange(&chain(2), &ID).newer, None);
}

fn released(facts: &mut [SegmentFacts], below: Sequence) {
    let last = facts.iter().rposition(|fact| fact.copies[0].is_ok_and(|header| header.state == HeaderState::Begun));
    let fact = &mut facts[last.expect("one is in use")];
    fact.scan = Some(ScanFacts { released_below: below, ..walk(fact.number) });
}

#[test]
fn c1_holes_below_the_release_floor() {
    let mut facts = chain(5);
    facts.remove(1);
    released(&mut facts, first_of(3));
    let (_, verdict) = verdict(&mut facts);
    assert_eq!(verdict.damage, []);
    assert_eq!((verdict.leftovers.as_slice(), verdict.first), (&[0][..], first_of(3)));
    assert_eq!(verdict.chain.len(), 3);
    // The floor that the last segment's header carries counts as well.
    let mut facts = chain(5);
    facts.remove(1);
    facts[3].copies = [Ok(SegmentHeader { released_below: first_of(3), ..header(5) }); 2];
    assert_eq!(self::verdict(&mut facts).1.damage, []);
}

#[test]
fn c2_a_segment_is_missing() {
    for removed in [2, 3, 4] {
        let mut facts = chain(5);
        facts.remove(removed - 1);
        let verdict = refused(&mut facts, &[(DamageKind::Missing, removed as u64)]);
        assert_eq!(verdict.damage[0].last, Some(first_of(removed as u64 + 1) - 1));
    }
    // One sequence too few was released.
    let mut facts = chain(5);
    facts.remove(1);
    released(&mut facts, first_of(3) - 1);
    refused(&mut facts, &[(DamageKind::Missing, 2)]);
}

#[test]
fn c3_the_last_has_a_footer() {
    for ahead in [true, false] {
        let mut facts = chain(3);
        facts.remove(2);
        facts.truncate(if ahead { 3 } else { 2 });
        let verdict = refused(&mut facts, &[(DamageKind::Missing, 3)]);
        assert_eq!((verdict.damage[0].first, verdict.damage[0].last), (Some(first_of(3)), None));
        assert_eq!(facts[1].scan.as_ref().expect("the last is always read").next, first_of(3));
    }
}

#[test]
fn c4_the_oldest_is_missing() {
    let mut facts = chain(3);
    facts.remove(0);
    let verdict = refused(&mut facts, &[(DamageKind::Missing, 1)]);
    assert_eq!((verdict.damage[0].first, verdict.damage[0].last), (Some(1), Some(first_of(2) - 1)));
    released(&mut facts, first_of(2) - 1);
    refused(&mut facts, &[(DamageKind::Missing, 1)]);
    released(&mut facts, first_of(2));
    assert_eq!(self::verdict(&mut facts).1.damage, [], "released, and so not missing");
}

#[test]
fn c5_a_broken_chain() {
    let broken: [fn(&mut SegmentHeader); 3] = [
        |header| header.predecessor_digest += 1,
        |header| header.first_sequence += 1,
        |header| header.first_sequence -= 1,
    ];
    for (case, change) in broken.into_iter().enumerate() {
        let mut facts = chain(3);
        let mut changed = header(2);
        change(&mut changed);
        facts[1].copies = [Ok(changed); 2];
        let (_, verdict) = verdict(&mut facts);
        assert_eq!(kinds(&verdict)[0], (DamageKind::Chain, 2), "case {case}");
        assert_eq!(verdict.end, End::Damaged);
    }
    // That the segment before has lost a header copy explains nothing.
    let mut facts = chain(2);
    facts[0].copies[0] = Err(HeaderFault::Damaged);
    facts[1].copies = [Ok(SegmentHeader { predecessor_digest: 5, ..header(2) }); 2];
    refused(&mut facts, &[(DamageKind::HeaderCopy, 1), (DamageKind::Chain, 2)]);
}

#[test]
fn c6_a_declared_gap() {
    let with_gap = |gap_first| {
        let mut facts = chain(3);
        facts[1].footer = Ok(Footer { count: COUNT - 4, ..footer(2) });
        facts[2].copies = [Ok(SegmentHeader { gap_first, ..header(3) }); 2];
        facts
    };
    let mut facts = with_gap(first_of(3) - 4);
    let verdict = good(&mut facts, 3);
    assert_eq!(verdict.gaps, [Gap { first: first_of(3) - 4, end: first_of(3) }]);
    refused(&mut with_gap(first_of(3) - 3), &[(DamageKind::Chain, 3)]);
    refused(&mut with_gap(0), &[(DamageKind::Chain, 3)]);
}

/// What was set aside can have lost its very beginning: a declared gap, and no missing segment.
#[test]
fn c6_a_gap_before_the_first() {
    let with_gap = |gap_first| {
        let mut facts = chain(3);
        facts.remove(0);
        facts[0].copies = [Ok(SegmentHeader { gap_first, ..header(2) }); 2];
        facts
    };
    let mut facts = with_gap(1);
    let (_, verdict) = verdict(&mut facts);
    assert_eq!((verdict.damage.as_slice(), verdict.gaps.len()), (&[][..], 1));
    refused(&mut with_gap(2), &[(DamageKind::Missing, 1)]);
}

/// The newest segment is gone before its predecessor got the footer that would miss it: the file made ahead tells.
#[test]
fn c7_a_file_made_ahead_for_elsewhere() {
    let mut facts = chain(3);
    facts.remove(2);
    facts[1].footer = Err(HeaderFault::Blank);
    refused(&mut facts, &[(DamageKind::Missing, 3)]);
    // All are gone but the file made ahead.
    let mut facts = chain(3).split_off(3);
    let (_, verdict) = verdict(&mut facts);
    assert_eq!((kinds(&verdict), verdict.end), (vec![(DamageKind::Missing, 3)], End::Damaged));
    // A header whose last write was lost: it looks as if it had been made ahead, but so was one behind it.
    let mut facts = chain(3);
    facts[1].footer = Err(HeaderFault::Blank);
    facts[2].copies = [Ok(prepared_header(3)); 2];
    refused(&mut facts, &[(DamageKind::Chain, 3)]);
    // In a new journal, and behind the last, it is where it belongs.
    let mut facts = vec![file(prepared_header(1))];
    let (_, verdict) = self::verdict(&mut facts);
    assert_eq!((verdict.damage.as_slice(), verdict.end, verdict.next), (&[][..], End::New, 1));
}

#[test]
fn i1_the_walk_arrives() {
    let mut facts = chain(3);
    facts[1].footer = Err(HeaderFault::Damaged);
    let verdict = good(&mut facts, 3);
    assert_eq!(verdict.footers_due, [1]);
    assert_eq!(verdict.witnessed, first_of(3) + COUNT - 2);
}

#[test]
fn i2_the_walk_ends_before() {
    for scan in [
        ScanFacts { next: first_of(3) - 3, end: END - 200, stop: Stop::Garbage, nonzero_end: END, ..walk(2) },
        ScanFacts { next: first_of(3) - 3, end: END - 200, stop: Stop::Zero, nonzero_end: END - 200, ..walk(2) },
        // The sequences arrive, and the digest does not: an old version of the last commits.
        ScanFacts { digest: 5, ..walk(2) },
    ] {
        let mut facts = chain(3);
        facts[1].footer = Err(HeaderFault::Damaged);
        facts[1].scan = Some(scan.clone());
        let verdict = refused(&mut facts, &[(DamageKind::Commit, 2)]);
        let damage = &verdict.damage[0];
        assert_eq!(
            (damage.offset, damage.first, damage.last),
            (u64::from(scan.end), Some(scan.next), Some(first_of(3) - 1))
        );
        assert_eq!(verdict.footers_due, [], "a footer would vouch for the loss");
        assert_eq!(verdict.next, first_of(3) + COUNT, "what comes behind is known");
    }
}

fn ending(change: impl FnOnce(&mut ScanFacts)) -> Vec<SegmentFacts> {
    let mut facts = chain(2);
    let mut scan = walk(2);
    change(&mut scan);
    facts[1].scan = Some(scan);
    facts
}

#[test]
fn e1_closed() {
    let verdict = good(&mut ending(|scan| scan.last = Some((CommitKind::ClosingMark, true))), 2);
    assert_eq!((verdict.end, verdict.opening_record), (End::Closed, false));
}

#[test]
fn e2_idle() {
    let witnessed = |scan: &mut ScanFacts| {
        scan.last = Some((CommitKind::IdleMark, true));
        scan.durable_upto = scan.next - 1;
        scan.durable_end = scan.last_offset;
    };
    assert_eq!(good(&mut ending(witnessed), 2).end, End::Idle);
    let sequences_only =
        |scan: &mut ScanFacts| (scan.durable_upto, scan.durable_end) = (scan.next - 1, scan.last_offset - 8);
    assert_eq!(good(&mut ending(sequences_only), 2).end, End::Unmarked, "a release before the mark is unwitnessed");
}

#[test]
fn e3_unmarked() {
    let verdict = good(&mut ending(|_| {}), 2);
    assert_eq!((verdict.end, verdict.opening_record), (End::Unmarked, false));
    assert_eq!(verdict.witnessed, first_of(3) - 2);
    // Behind the end of a file that was used before anything can stand: an opening record ends the chain there.
    let mut facts = ending(|_| {});
    facts[1].copies = [Ok(SegmentHeader { zeroed: false, ..header(2) }); 2];
    assert!(good(&mut facts, 2).opening_record);
}

#[test]
fn e4_no_commit() {
    let mut facts = ending(|scan| {
        let first = first_of(2);
        *scan = ScanFacts {
            end: DATA_OFFSET,
            next: first,
            commits: 0,
            last: None,
            last_offset: DATA_OFFSET,
            durable_upto: first - 1,
            durable_end: DATA_OFFSET,
            nonzero_end: DATA_OFFSET,
            nonzero_start: DATA_OFFSET,
            ..scan.clone()
        };
    });
    let (_, verdict) = verdict(&mut facts);
    assert_eq!((verdict.end, verdict.next, verdict.cut), (End::Idle, first_of(2), None));
}

#[test]
fn e5_torn() {
    let later = Later { offset: END + 800, first: first_of(3) + 2, next: first_of(3) + 4 };
    type Case = (fn(&mut ScanFacts), bool, u64);
    let ends: [Case; 6] = [
        (|scan| (scan.stop, scan.nonzero_end) = (Stop::Torn, END + 100), true, 100),
        (|scan| scan.stop = Stop::Torn, true, 0),
        (|scan| (scan.stop, scan.nonzero_start, scan.nonzero_end) = (Stop::Garbage, END, END + 9), true, 9),
        // The first sector of a commit is missing, a later one is there.
        (|scan| (scan.nonzero_start, scan.nonzero_end) = (END + 512, END + 1024), true, 1024),
        // The same, pages behind the end: in a file that was zero nobody else wrote there.
        (|scan| (scan.nonzero_start, scan.nonzero_end) = (END + 8192, END + 8200), true, 8200),
        (|scan| (scan.stop, scan.nonzero_end) = (Stop::Chain, END + 100), true, 100),
    ];
    for (case, (change, uncertain, bytes)) in ends.into_iter().enumerate() {
        let mut facts = ending(change);
        let (_, verdict) = verdict(&mut facts);
        assert_eq!((verdict.damage.as_slice(), verdict.end), (&[][..], End::Torn), "case {case}");
        assert!(verdict.opening_record, "nothing behind the cut may ever continue the chain");
        let cut = verdict.cut.expect("reported");
        assert_eq!((cut.segment, cut.offset, cut.bytes), (2, END, bytes), "case {case}");
        assert_eq!((cut.first, cut.last, cut.uncertain), (first_of(3), None, uncertain), "case {case}");
    }
    // A later commit that verifies and witnesses nothing: what was torn was never acknowledged.
    let mut facts = ending(|scan| {
        (scan.stop, scan.resume, scan.last_seen) = (Stop::Garbage, Some(later), Some(first_of(3) + 3));
        (scan.nonzero_start, scan.nonzero_end) = (END, END + 1000);
    });
    let (_, verdict) = verdict(&mut facts);
    let cut = verdict.cut.expect("reported");
    assert_eq!((cut.last, cut.uncertain), (Some(first_of(3) + 3), false));
}

/// Stale bytes of the file's earlier life are no torn write; bytes in the page of the end are.
#[test]
fn e5_in_a_file_used_before() {
    let used = |start: u32, end: u32| {
        let mut facts = ending(|scan| {
            (scan.stop, scan.nonzero_start, scan.nonzero_end) = (Stop::Garbage, start, end);
        });
        facts[1].copies = [Ok(SegmentHeader { zeroed: false, ..header(2) }); 2];
        facts
    };
    let page = END.next_multiple_of(4096);
    assert_eq!(good(&mut used(page, BYTES), 2).end, End::Unmarked);
    let (_, torn) = verdict(&mut used(page - 1, BYTES));
    assert_eq!((torn.end, torn.cut.is_some()), (End::Torn, true));
    // A header that passes at its place is of this life, wherever it stands.
    for stop in [Stop::Chain, Stop::Torn] {
        let mut facts = used(page, BYTES);
        facts[1].scan.as_mut().expect("walked").stop = stop;
        assert_eq!(verdict(&mut facts).1.end, End::Torn);
    }
}

/// What an earlier cut left behind was reported then: a mark that does not vouch for zeros says that it knew. The next
/// opening must not report the same cut again; nor may it overlook one that is new.
#[test]
fn e5_behind_a_mark() {
    let behind = |kind: CommitKind, zero_tail: bool, stop: Stop| {
        let mut facts = ending(|scan| {
            scan.last = Some((kind, zero_tail));
            (scan.durable_upto, scan.durable_end) = (scan.next - 1, scan.last_offset);
            (scan.stop, scan.nonzero_start, scan.nonzero_end) = (stop, END + 8, END + 600);
        });
        let (_, verdict) = verdict(&mut facts);
        assert_eq!(verdict.cut.is_some(), verdict.end == End::Torn);
        assert!(verdict.opening_record, "it is there all the same, and must not be revived");
        verdict.end
    };
    assert_eq!(behind(CommitKind::ClosingMark, false, Stop::Garbage), End::Closed);
    assert_eq!(behind(CommitKind::ClosingMark, true, Stop::Garbage), End::Torn);
    assert_eq!(behind(CommitKind::IdleMark, false, Stop::Garbage), End::Idle);
    assert_eq!(behind(CommitKind::IdleMark, true, Stop::Garbage), End::Torn);
    for stop in [Stop::Torn, Stop::Chain] {
        assert_eq!(behind(CommitKind::IdleMark, false, stop), End::Torn, "a commit was begun behind it");
    }
    assert_eq!(behind(CommitKind::Data, false, Stop::Garbage), End::Torn);
}

#[test]
fn e6_witnessed() {
    let later = Later { offset: END + 800, first: first_of(3) + 2, next: first_of(3) + 4 };
    for (stop, what) in [
        (Stop::Garbage, DamageKind::Commit),
        (Stop::Torn, DamageKind::Commit),
        (Stop::Zero, DamageKind::Commit),
        (Stop::Chain, DamageKind::Chain),
    ] {
        let mut facts = ending(|scan| {
            (scan.stop, scan.witness, scan.resume) = (stop, Some(later), Some(later));
            (scan.nonzero_start, scan.nonzero_end) = (END, END + 1000);
        });
        let verdict = refused(&mut facts, &[(what, 2)]);
        assert_eq!(verdict.cut, None, "never cut");
        let damage = &verdict.damage[0];
        assert_eq!((damage.offset, damage.bytes), (u64::from(END), 800));
        assert_eq!((damage.first, damage.last), (Some(first_of(3)), Some(first_of(3) + 1)));
    }
}

mod unreadable;
