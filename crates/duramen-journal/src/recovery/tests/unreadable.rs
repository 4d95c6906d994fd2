//! The rows of what the device cannot read: S11 to S13, I3 to I5, E7. None of them may become damage, a cut, or a miss.

use super::*;

const UNREAD: HeaderFault = HeaderFault::Unreadable;

/// Writing is refused, because of these places alone, and nothing is claimed to be lost.
fn unread(facts: &mut [SegmentFacts], places: &[(u64, u64)]) -> Verdict {
    let (_, verdict) = verdict(facts);
    let told: Vec<_> = verdict.damage.iter().map(|damage| (damage.segment, damage.offset)).collect();
    assert_eq!(told, places, "{:?}", verdict.damage);
    assert!(verdict.damage.iter().all(|damage| damage.what.is_unreadable() && !damage.what.loses_records()));
    assert!(verdict.damage.iter().any(|damage| damage.what.refuses_writing()));
    assert_eq!((verdict.end, &verdict.cut), (End::Unreadable, &None));
    verdict
}

/// Told, and everything goes on.
fn made_up_for(facts: &mut [SegmentFacts], place: (u64, u64)) -> Verdict {
    let (_, verdict) = verdict(facts);
    let told: Vec<_> = verdict.damage.iter().map(|damage| (damage.what, damage.segment, damage.offset)).collect();
    assert_eq!(told, [(DamageKind::UnreadableCopy, place.0, place.1)]);
    assert!(!verdict.damage[0].what.refuses_writing());
    assert_eq!((verdict.cut.is_none(), verdict.next), (true, first_of(3) + COUNT));
    assert!(!matches!(verdict.end, End::Damaged | End::Unreadable));
    verdict
}

#[test]
fn s11_one_copy_unreadable() {
    for (number, copy) in [(1, 0), (1, 1), (2, 0), (3, 0), (3, 1)] {
        let mut facts = chain(3);
        facts[number as usize - 1].copies[copy] = Err(UNREAD);
        let verdict = made_up_for(&mut facts, (number, copy as u64 * 4096));
        assert_eq!(verdict.chain[number as usize - 1].other, OtherCopy::Unreadable(copy), "is mended");
    }
    // A file made ahead is made anew: not even told.
    let mut facts = chain(3);
    facts[3].copies[1] = Err(UNREAD);
    good(&mut facts, 3);
    // Unless one behind it says that it was in use.
    let mut facts = chain(3);
    facts[1].footer = Err(HeaderFault::Blank);
    facts[2].copies = [Ok(prepared_header(3)), Err(UNREAD)];
    unread(&mut facts, &[(3, 4096)]);
}

#[test]
fn s12_no_copy_good() {
    let strange = SegmentHeader { first_sequence: 1 << 63, ..header(2) };
    for other in [Err(UNREAD), Err(HeaderFault::Damaged), Err(HeaderFault::Blank), Ok(header(9)), Ok(strange)] {
        let mut facts = chain(3);
        facts[1].copies = [other, Err(UNREAD)];
        let places = [(2, 0), (2, 4096)];
        let verdict = unread(&mut facts, if other == Err(UNREAD) { &places } else { &places[1..] });
        assert_eq!(verdict.next, first_of(3) + COUNT, "what comes behind is known");
    }
    // The oldest: what it holds is not called released, nor missing.
    let mut facts = chain(3);
    facts[0].copies = [Err(UNREAD); 2];
    let verdict = unread(&mut facts, &[(1, 0), (1, 4096)]);
    assert_eq!((verdict.damage[0].first, verdict.damage[0].last), (Some(1), Some(first_of(2) - 1)));
    // The newest, with and without a footer before it, whatever the walk before it ends in: no miss, no cut.
    for footer in [Ok(footer(2)), Err(HeaderFault::Blank)] {
        let mut facts = chain(3);
        facts[1].footer = footer;
        facts[2].copies = [Err(UNREAD); 2];
        facts[1].scan = Some(ScanFacts { stop: Stop::Torn, nonzero_end: END + 100, ..walk(2) });
        unread(&mut facts, &[(3, 0), (3, 4096)]);
    }
    // Two in a row, and one of two: only that one is missing.
    let mut facts = chain(4);
    facts[1].copies = [Err(UNREAD); 2];
    facts[2].copies = [Err(UNREAD); 2];
    unread(&mut facts, &[(2, 0), (2, 4096), (3, 0), (3, 4096)]);
    facts.remove(2);
    let (_, verdict) = super::verdict(&mut facts);
    let unreadable = (DamageKind::Unreadable, 2);
    assert_eq!(kinds(&verdict), [(DamageKind::Missing, 3), unreadable, unreadable]);
    // All of them.
    let mut facts = chain(2);
    facts.iter_mut().for_each(|fact| fact.copies = [Err(UNREAD); 2]);
    facts.truncate(1);
    unread(&mut facts, &[(1, 0), (1, 4096)]);
}

#[test]
fn s12_below_the_floor() {
    let mut facts = chain(3);
    facts[0].copies = [Err(UNREAD); 2];
    facts[2].copies = [Ok(SegmentHeader { released_below: first_of(2), ..header(3) }); 2];
    let (_, verdict) = super::verdict(&mut facts);
    assert_eq!((verdict.damage.as_slice(), verdict.leftovers.as_slice(), verdict.chain.len()), (&[][..], &[0][..], 2));
}

#[test]
fn s13_a_torn_switch_or_not() {
    let torn = |footer, unreadable: Vec<Range<u64>>| {
        let mut facts = chain(3);
        facts.pop();
        facts[1].footer = footer;
        facts[2].copies = [Err(HeaderFault::Damaged); 2];
        facts[2].unreadable = unreadable;
        facts
    };
    let (arrangement, _) = verdict(&mut torn(Err(HeaderFault::Blank), Vec::new()));
    assert_eq!(arrangement.torn_switch, Some(2));
    let page = DATA_OFFSET.into()..u64::from(DATA_OFFSET) + 4096;
    unread(&mut torn(Err(HeaderFault::Blank), vec![page]), &[(3, DATA_OFFSET.into())]);
    unread(&mut torn(Err(UNREAD), Vec::new()), &[(2, u64::from(BYTES) - 4096)]);
}

#[test]
fn i3_the_footer_unreadable() {
    let mut facts = chain(3);
    facts[1].footer = Err(UNREAD);
    let verdict = made_up_for(&mut facts, (2, u64::from(BYTES) - 4096));
    assert_eq!(verdict.footers_due, [1], "is written again");
}

#[test]
fn i4_the_walk_cannot_go_on() {
    let mut facts = chain(3);
    facts[1].footer = Err(HeaderFault::Blank);
    let end = END - 200;
    let scan = ScanFacts { next: first_of(3) - 3, end, stop: Stop::Unreadable, unreadable: Some(end), ..walk(2) };
    facts[1].scan = Some(scan);
    facts[1].unreadable = vec![u64::from(end)..u64::from(END), 40_960..45_056];
    let verdict = unread(&mut facts, &[(2, end.into()), (2, 40_960)]);
    let damage = &verdict.damage[0];
    assert_eq!((damage.bytes, damage.first, damage.last), (200, Some(first_of(3) - 3), Some(first_of(3) - 1)));
    assert_eq!((verdict.footers_due.as_slice(), verdict.next), (&[][..], first_of(3) + COUNT));
    // What was read, and is bad, is damage, whatever else could not be read.
    facts[1].scan.as_mut().expect("set above").stop = Stop::Garbage;
    let (_, verdict) = super::verdict(&mut facts);
    assert_eq!((kinds(&verdict), verdict.end), (vec![(DamageKind::Commit, 2)], End::Damaged));
}

#[test]
fn i5_a_hole_that_could_not_be_read() {
    let mut facts = chain(3);
    facts[0].footer = Err(HeaderFault::Blank);
    facts[1].copies = [Err(UNREAD); 2];
    let verdict = unread(&mut facts, &[(2, 0), (2, 4096)]);
    assert_eq!(verdict.footers_due, [], "where it ends is not known");
}

#[test]
fn e7_unreadable() {
    let mut facts = ending(|scan| (scan.stop, scan.unreadable) = (Stop::Unreadable, Some(END)));
    let verdict = unread(&mut facts, &[(2, END.into())]);
    assert_eq!(verdict.damage[0].first, Some(first_of(3)));
    // Somewhere behind a torn end: what cannot be read may be the witness.
    let mut facts = ending(|scan| (scan.stop, scan.unreadable) = (Stop::Torn, Some(END + 8192)));
    let verdict = unread(&mut facts, &[(2, u64::from(END) + 8192)]);
    assert_eq!(verdict.damage[0].first, None, "nothing says that records lie there");
    // Behind an end with a closing mark, too.
    let mut facts = ending(|scan| {
        scan.last = Some((CommitKind::ClosingMark, true));
        scan.unreadable = Some(END + 8192);
    });
    unread(&mut facts, &[(2, u64::from(END) + 8192)]);
    // A footer there would say that the next segment is missing.
    let mut facts = chain(2);
    facts[1].footer = Err(UNREAD);
    unread(&mut facts, &[(2, u64::from(BYTES) - 4096)]);
    // With a witness behind it, what does not verify is damage, and what could not be read is told beside it.
    let later = Later { offset: END + 800, first: first_of(3) + 2, next: first_of(3) + 4 };
    let mut facts =
        ending(|scan| (scan.stop, scan.witness, scan.unreadable) = (Stop::Torn, Some(later), Some(END + 8192)));
    let (_, verdict) = super::verdict(&mut facts);
    assert_eq!(kinds(&verdict), [(DamageKind::Unreadable, 2), (DamageKind::Commit, 2)]);
    assert_eq!(verdict.end, End::Damaged);
    let mut facts = ending(|scan| {
        (scan.stop, scan.witness, scan.resume) = (Stop::Unreadable, Some(later), Some(later));
        scan.unreadable = Some(END);
    });
    let verdict = unread(&mut facts, &[(2, END.into())]);
    assert_eq!((verdict.damage[0].first, verdict.damage[0].last), (Some(first_of(3)), Some(first_of(3) + 1)));
}
