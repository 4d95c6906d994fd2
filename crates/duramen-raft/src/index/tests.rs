use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Model = BTreeMap<u64, (Sequence, u8)>;

#[derive(Clone, Debug)]
enum Change {
    Push { count: u64, gap: u64, leader: u8 },
    Hole { skip: u64 },
    Truncate { keep: u64 },
    Purge { part: u64 },
    Move { from: u64, count: u64 },
    Clear,
    Undo,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (1..5u64, 0..3u64, 0..3u8).prop_map(|(count, gap, leader)| Change::Push { count, gap, leader }),
        3 => (1..200u64, Just(1u64), 0..2u8).prop_map(|(count, gap, leader)| Change::Push { count, gap, leader }),
        1 => (1..5u64).prop_map(|skip| Change::Hole { skip }),
        2 => (0..100u64).prop_map(|keep| Change::Truncate { keep }),
        2 => (0..100u64).prop_map(|part| Change::Purge { part }),
        1 => (0..100u64, 1..20u64).prop_map(|(from, count)| Change::Move { from, count }),
        1 => Just(Change::Clear),
        4 => Just(Change::Undo),
    ]
}

fn leader(number: u8) -> Bytes {
    Bytes::from(vec![number; 8])
}

fn check(index: &Index, model: &Model) {
    assert_eq!(index.len(), model.len() as u64);
    assert_eq!(index.is_empty(), model.is_empty());
    assert_eq!(index.first_index(), model.keys().next().copied());
    assert_eq!(index.end(), model.keys().next_back().map(|last| last + 1));
    for (&at, &(sequence, by)) in model {
        let (found, told) = index.get(at).expect("is there");
        assert_eq!((found, told), (sequence, &leader(by)), "entry {at}");
    }
    let last = model.keys().next_back().copied().unwrap_or(0);
    for at in 0..last + 3 {
        assert_eq!(index.get(at).is_some(), model.contains_key(&at), "entry {at}");
    }
    let told: Vec<u64> = index.runs(..).flat_map(|run| run.first_index..run.end()).collect();
    let known: Vec<u64> = model.keys().copied().collect();
    assert_eq!(told, known);
    assert_eq!(index.lowest_sequence(), model.values().map(|value| value.0).min());
    let part: Vec<u64> = index.runs(last / 3..last / 2).flat_map(|run| run.first_index..run.end()).collect();
    let known: Vec<u64> = model.range(last / 3..last / 2).map(|(&at, _)| at).collect();
    assert_eq!(part, known);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn an_index_says_what_a_map_says(changes in proptest::collection::vec(change(), 1..60)) {
        let (mut index, mut model) = (Index::default(), Model::new());
        let mut undo: Vec<(Removed, Model)> = Vec::new();
        let (mut sequence, mut next) = (1, 1);
        for change in changes {
            let before = model.clone();
            let span = |share: u64| {
                let first = before.keys().next().copied().unwrap_or(next);
                first + (next - first) * share / 100
            };
            let removed = match change {
                Change::Push { count, gap, leader: by } => {
                    // Runs of one each where there is a gap, so that chunks fill up.
                    let mut removed = Vec::new();
                    for _ in 0..count {
                        sequence += gap;
                        removed.push(index.push(next, sequence, &leader(by)));
                        model.insert(next, (sequence, by));
                        (sequence, next) = (sequence + 1, next + 1);
                    }
                    Some(removed.swap_remove(0))
                }
                Change::Hole { skip } => { next += skip; None }
                Change::Truncate { keep } => {
                    let from = span(keep);
                    model.split_off(&from);
                    next = next.min(from.max(1));
                    Some(index.truncate_from(from))
                }
                Change::Purge { part } => {
                    let upto = span(part);
                    model = model.split_off(&(upto + 1));
                    next = next.max(upto + 1);
                    Some(index.purge_upto(upto))
                }
                Change::Move { from, count } => {
                    let first = span(from);
                    let moved = Run { first_index: first, first_sequence: sequence, count, leader: leader(9) };
                    sequence += count;
                    (0..count).for_each(|at| {
                        model.insert(first + at, (moved.first_sequence + at, 9));
                    });
                    next = next.max(first + count);
                    let mut newer = Index::default();
                    newer.push_run(&moved);
                    Some(index.overlay(&newer))
                }
                Change::Clear => { model.clear(); Some(index.clear()) }
                Change::Undo => {
                    if let Some((removed, before)) = undo.pop() {
                        index.put_back(removed);
                        model = before;
                        next = model.keys().next_back().map_or(next, |last| last + 1);
                    }
                    None
                }
            };
            undo.extend(removed.map(|removed| (removed, before)));
            check(&index, &model);
        }
    }
}

#[test]
fn memory_in_the_usual_and_in_the_worst_case() {
    const ENTRIES: u64 = 1 << 20;
    let own = leader(1);
    let bytes = |gap: u64, per_run: u64| {
        let mut index = Index::default();
        let mut sequence = 1;
        for at in 0..ENTRIES {
            index.push(at + 1, sequence, &own);
            sequence += if (at + 1) % per_run == 0 { 1 + gap } else { 1 };
        }
        index.bytes() as f64 / ENTRIES as f64
    };
    assert!(bytes(0, 1) * (ENTRIES as f64) < 1000.0, "a log that has the journal for itself is one run");
    assert!(bytes(1, 64) < 0.1, "a commit record behind each batch of 64");
    assert!(bytes(1, 1) < 3.0, "a commit record behind each entry");
    assert!(bytes(10_000, 1) < 6.0, "ten thousand groups in turn");
    assert!(bytes(1 << 25, 1) < 8.0, "gaps of 32 million records");
}
