//! The tools on whole and on damaged folders of the simulated disk: what they say is what the logs say, what is lost is
//! named, and what was salvaged opens.

use bytes::Bytes;
use duramen_journal::disk::sim::SimDisk;
use duramen_journal::{End, Error as WalError, Journal, Options, ReadOptions, Reader};
use duramen_raft::inspect::{self, Certainty, Fault, Item, Notation, Selection, Survey};
use duramen_raft::{Error, Plain, RaftLogs, Record};

use crate::simulated::{FOLDER, check, entry, fill, id, open, small, vote};

/// Three groups over several segments: one with everything, one that only votes, one with entries only.
fn written() -> SimDisk {
    let disk = SimDisk::new(3);
    let (logs, _) = open(&disk, &small());
    let rich = logs.group(1).expect("a group");
    rich.writer().save_vote(&vote(2, 3)).expect("votes");
    logs.group(2).expect("a group").writer().save_vote(&vote(9, 1)).expect("votes");
    fill(&rich, 1, 1..61, 2000);
    fill(&logs.group(300).expect("a group"), 4, 70..80, 100);
    rich.writer().commit(&id(1, 50)).expect("commits").wait_durable().expect("durable");
    rich.writer().truncate_after(Some(&id(1, 55))).expect("cuts").wait().expect("durable");
    fill(&rich, 2, 56..121, 2000);
    rich.writer().purge(&id(1, 4)).expect("purges").wait().expect("durable");
    rich.writer().save_user_data(&Bytes::from_static(b"mine")).expect("saves").wait_durable().expect("durable");
    logs.close().expect("closes");
    drop(rich);
    drop(logs);
    disk.kill()
}

fn survey(disk: &SimDisk) -> Survey {
    inspect::survey(FOLDER, disk.world()).expect("a folder of Raft logs")
}

/// Flips a bit in the payload of the record with this sequence, wherever it lies.
fn damage(disk: &SimDisk, text: &str) {
    let world = disk.world();
    let journal = std::path::Path::new(FOLDER).join("journal");
    for file in world.disk.list(&journal).expect("lists").into_iter().filter(|file| file.name.ends_with(".seg")) {
        let path = journal.join(&file.name);
        let opened = world.disk.open(&path, duramen_journal::disk::Access::Read).expect("opens");
        let mut bytes = vec![0; 64 << 10];
        duramen_journal::disk::read_full_at(&*opened, &mut bytes, 0).expect("reads");
        if let Some(at) = bytes.windows(text.len()).rposition(|window| window == text.as_bytes()) {
            let path = path.to_str().expect("a plain path");
            return disk.flip_durable_bit(path, at as u64, 3).expect("flips");
        }
    }
    panic!("{text} is nowhere");
}

fn lost_of(survey: &Survey, group: u32) -> Vec<(u64, Option<u64>, Certainty)> {
    let group = survey.group(group).expect("the group is told of");
    group.lost.iter().map(|lost| (lost.first, lost.last, lost.certainty)).collect()
}

#[test]
fn a_survey_says_what_the_logs_say() {
    let disk = written();
    let told = survey(&disk);
    assert_eq!(told.groups.iter().map(|group| group.group).collect::<Vec<_>>(), [1, 2, 300]);
    assert!(!told.is_damaged() && told.journal.end == End::Closed);
    let rich = told.group(1).expect("told");
    assert_eq!((rich.entries, rich.first_index), (116, Some(5)));
    let state = &rich.state;
    let plain = |id: &Option<inspect::RawLogId>| id.as_ref().map(|id| (id.leader.term(), id.index));
    assert_eq!(plain(&state.last), Some((Some(2), 120)));
    assert_eq!(plain(&state.committed), Some((Some(1), 50)));
    assert_eq!(plain(&state.purged), Some((Some(1), 4)));
    assert_eq!(state.vote.as_ref().and_then(|vote| vote.plain()), Some(vote(2, 3)));
    assert_eq!(state.user_data.as_deref(), Some(&b"mine"[..]));
    assert!(rich.segments >= 3 && rich.lost.is_empty() && !rich.vote_in_doubt);
    assert_eq!(told.group(2).expect("told").state.vote.as_ref().and_then(|vote| vote.plain()), Some(vote(9, 1)));
    assert_eq!(told.group(300).expect("told").first_index, Some(70));
    assert!(rich.to_string().contains("committed 50 of term 1"), "{rich}");
    assert!(told.to_json(Some(1)).contains("\"committed\":{\"index\":50,\"term\":1}"), "{}", told.to_json(Some(1)));
}

#[test]
fn verifying_a_whole_folder_finds_nothing() {
    let disk = written();
    let mut told = Vec::new();
    let verified = inspect::verify(FOLDER, disk.world(), Notation::Plain, &mut |progress| told.push(progress));
    let verified = verified.expect("verifies");
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    assert!(verified.summaries >= 3, "{} summaries", verified.summaries);
    // 60 + 10 + 65 entries, two votes, a commit, a truncation, a purge, user data.
    assert_eq!(verified.records, 141);
    assert!(told.iter().all(|progress| progress.bytes <= progress.bytes_total));
    assert_eq!(told.last().map(|progress| progress.bytes), told.last().map(|progress| progress.bytes_total));
}

#[test]
fn damage_within_a_sealed_segment_loses_entries_that_have_names() {
    let disk = written();
    damage(&disk, "entry 1-20 ");
    assert!(!survey(&disk).is_damaged(), "opening believes sealed segments");
    let verified = inspect::verify(FOLDER, disk.world(), Notation::Plain, &mut |_| ()).expect("verifies");
    assert_eq!(verified.journal.end, End::Damaged);
    assert_eq!(lost_of(&verified.survey, 1), [(20, Some(20), Certainty::Certain)]);
    let group = verified.survey.group(1).expect("told");
    assert_eq!((group.entries, group.vote_in_doubt), (115, false), "the summary has the vote");
    assert_eq!(group.lost[0].to_string(), "entry 20, of term 1");
    assert!(verified.findings.is_empty(), "a loss breaks no rule: {:?}", verified.findings);
}

/// A folder whose identity was damaged was salvaged as a plain journal, which no Raft log opens.
#[test]
fn a_damaged_identity_is_made_anew() {
    let disk = written();
    disk.flip_durable_bit(&format!("{FOLDER}/IDENTITY"), 3, 1).expect("flips");
    inspect::salvage(FOLDER, "/new", disk.world(), &mut |_| ()).expect("salvages");
    let config = duramen_raft::Config { dir: "/new".into(), ..small() };
    let (logs, _) = RaftLogs::<Plain>::open_with(config, disk.world()).expect("opens");
    assert_eq!(logs.group(1).expect("a group").reader().entry(120).expect("is there"), entry(2, 120, 2000));
}

#[test]
fn what_was_salvaged_opens_and_does_not_vote() {
    let disk = written();
    damage(&disk, "entry 1-20 ");
    damage(&disk, "entry 2-118 ");
    let salvaged = inspect::salvage(FOLDER, "/new", disk.world(), &mut |_| ()).expect("salvages");
    let lost = lost_of(&salvaged.survey, 1);
    for index in [20, 118] {
        assert!(lost.contains(&(index, Some(index), Certainty::Certain)), "{lost:?}");
    }
    assert_eq!(salvaged.votes_in_doubt().map(|group| group.group).collect::<Vec<_>>(), [1, 2, 300]);
    let config = duramen_raft::Config { dir: "/new".into(), ..small() };
    let (logs, opened) = RaftLogs::<Plain>::open_with(config, disk.world()).expect("opens");
    assert_eq!(opened.votes_in_doubt, [1, 2, 300]);
    let of = |certainty| {
        let losses = opened.losses.iter().filter(move |loss| loss.certainty == certainty);
        losses.map(|loss| (loss.group, loss.first, loss.last)).collect::<Vec<_>>()
    };
    assert_eq!(of(Certainty::Certain), [(1, 20, Some(20)), (1, 118, Some(118))]);
    assert_eq!(of(Certainty::Possible), [(300, 80, None)], "nothing of it is newer than the gap");
    let log = logs.group(1).expect("a group");
    assert!(matches!(log.writer().save_vote(&vote(8, 1)), Err(Error::VoteInDoubt { group: 1 })));
    assert!(matches!(log.reader().entry(20), Err(Error::Lost { first: 20, last: 20, .. })));
    assert_eq!(log.reader().entry(120).expect("behind the loss"), entry(2, 120, 2000));
    log.writer().accept_lost_vote();
    log.writer().save_vote(&vote(8, 1)).expect("votes once it is settled");
    fill(&log, 3, 121..123, 100);
    check(&logs.group(300).expect("a group"), &[(4, 70..80)], 100);
    drop((log, logs));
    // The vote is newer than every gap now.
    let told = inspect::survey("/new", disk.world()).expect("a folder of Raft logs");
    assert!(!told.group(1).expect("told").vote_in_doubt && told.group(2).expect("told").vote_in_doubt);
    let verified = inspect::verify("/new", disk.world(), Notation::Plain, &mut |_| ()).expect("verifies");
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    assert!(matches!(inspect::salvage(FOLDER, "/new", disk.world(), &mut |_| ()), Err(WalError::Exists { .. })));
}

#[test]
fn a_dump_shows_what_was_written_and_can_be_narrowed() {
    let disk = written();
    let all = |selection: &Selection| {
        let mut items = Vec::new();
        inspect::dump(FOLDER, disk.world(), selection, &mut |item| {
            items.push(item.clone());
            true
        })
        .expect("dumps");
        items
    };
    let whole = all(&Selection::default());
    assert_eq!(whole.len(), 141);
    let sequences: Vec<u64> = whole
        .iter()
        .map(|item| match item {
            Item::Record { sequence, .. } => *sequence,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(sequences, (1..=141).collect::<Vec<_>>());
    let group = all(&Selection { group: Some(300), ..Selection::default() });
    assert_eq!(group.len(), 10);
    let indexes = all(&Selection { group: Some(1), indexes: Some(55..=56), ..Selection::default() });
    let shown: Vec<String> = indexes.iter().map(|item| item.to_string()).collect();
    assert_eq!(indexes.len(), 4, "{shown:?}: both entries, the truncation, and the new entry");
    assert!(matches!(&indexes[0], Item::Record { record: Record::Append(at, _), .. } if at.index == 55));
    assert!(all(&Selection { sequences: 500..=u64::MAX, ..Selection::default() }).is_empty());
    assert!(indexes[0].to_json().contains("\"index\":55,\"term\":1,\"bytes\":2000"), "{}", indexes[0].to_json());
}

#[test]
fn a_journal_of_another_kind_is_refused() {
    let disk = SimDisk::new(1);
    let (journal, _) = Journal::open_with(FOLDER, &Options::default(), disk.world()).expect("opens");
    journal.close().expect("closes");
    drop(journal);
    let error = inspect::survey(FOLDER, disk.world()).expect_err("it is no Raft log");
    assert!(error.to_string().contains("it holds a journal, not Raft logs"), "{error}");
    assert!(inspect::verify(FOLDER, disk.world(), Notation::Plain, &mut |_| ()).is_err());
    assert!(inspect::salvage(FOLDER, "/new", disk.world(), &mut |_| ()).is_err());
    assert!(matches!(inspect::survey("/nowhere", disk.world()), Err(WalError::Missing { .. })));
}

#[test]
fn foreign_records_and_broken_rules_are_found() {
    let disk = written();
    let options = Options { kind: *b"raft\0\0\0\0", segment_bytes: 64 << 10, ..small().journal };
    let (journal, _) = Journal::open_with(FOLDER, &options, disk.world()).expect("opens");
    // An entry that leaves a hole, and something that no Raft log writes.
    let mut payload = 130u64.to_le_bytes().to_vec();
    payload.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
    journal.append(1, 2, &payload).expect("appends").wait().expect("durable");
    journal.append(5, 99, b"what is this").expect("appends").wait().expect("durable");
    journal.close().expect("closes");
    drop(journal);
    let reader = Reader::open_with(FOLDER, &ReadOptions::default(), disk.world()).expect("opens");
    assert_eq!(reader.last(), 143);
    let verified = inspect::verify(FOLDER, disk.world(), Notation::Plain, &mut |_| ()).expect("verifies");
    let places: Vec<u64> = verified.findings.iter().map(|finding| finding.sequence).collect();
    assert_eq!(places, [142, 143], "{:?}", verified.findings);
    assert!(matches!(verified.findings[1].what, Fault::Foreign(_)));
    assert!(verified.survey.is_damaged());
    assert_eq!(lost_of(&verified.survey, 1), [(121, Some(129), Certainty::Certain)]);
}
