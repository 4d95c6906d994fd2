//! The tools over a store with samples: what is whole verifies, every flipped byte is found, and salvage keeps the rest.

use std::collections::BTreeMap;

use duramen_journal::End;
use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_store::inspect::{self, Fault, Item, Selection, Unit};
use duramen_store::{Batch, Durability, Options, STALE, Store};

use crate::inspect::{NEW, files, flip, opened_new, place_of, salvage, serde_free, verify};
use crate::samples::{all, everything, series};
use crate::{DAY, FOLDER, SECOND, START, append, ask, open, open_with, options};

type Samples = BTreeMap<String, Vec<(i64, u64)>>;

fn count(samples: &Samples) -> u64 {
    samples.values().map(|own| own.len() as u64).sum()
}

/// Appends one scrape: the same time for each of some series.
fn scrape(store: &Store, time: i64, values: &[(u32, f64)]) {
    let mut batch = Batch::new();
    values.iter().for_each(|&(number, value)| batch.push_sample(&series(store, number), time, value));
    store.append(batch, Durability::Now).expect("appended").wait().expect("durable");
}

/// Two periods, series that share their times and one that does not, odd values, tables that were merged and not, samples in the journal
/// only, and a journal that still has all.
fn filled(disk: &SimDisk) -> Samples {
    let journal = duramen_journal::Options { segment_bytes: 4 << 20, ..options().journal };
    let (store, _) = open_with(disk, &Options { fan_in: 3, journal, ..options() });
    for step in 0..40i64 {
        let time = START + step % 2 * 40 * DAY + step * SECOND;
        let odd = [1.5, f64::NAN, STALE, f64::INFINITY, -0.0][step as usize % 5];
        scrape(&store, time, &[(1, step as f64), (2, step as f64 / 7.0), (3, odd)]);
        if step % 3 == 0 {
            // Again at a time that was there: the later one counts.
            scrape(&store, time, &[(2, -1.0)]);
            scrape(&store, START + step, &[(4, step as f64)]);
        }
        if step % 7 == 6 {
            store.flush().expect("flushed");
            store.compact().expect("merged");
        }
    }
    let samples = all(&store);
    store.close().expect("closed");
    samples
}

/// Samples that only the tables have: the journal has released them.
fn released(disk: &SimDisk) -> Samples {
    let journal = duramen_journal::Options { segment_bytes: 64 << 10, ..options().journal };
    let (store, _) = open_with(disk, &Options { journal, ..options() });
    for step in 0..6 {
        scrape(&store, START + step * SECOND, &[(1, step as f64), (2, 0.1 * step as f64), (3, 7.0)]);
        scrape(&store, START + step, &[(4, 1e-7 * step as f64)]);
    }
    store.flush().expect("flushed");
    for step in 0..20 {
        append(&store, "filler", START + step, &"x".repeat(9_000));
    }
    scrape(&store, START + 40 * DAY, &[(1, 1.0)]);
    store.flush().expect("flushed");
    let samples = all(&store);
    store.close().expect("closed");
    samples
}

/// The first table of samples.
fn sample_table(disk: &SimDisk) -> String {
    let mut number = None;
    inspect::dump(FOLDER, disk.world(), &Selection::default(), &mut |item| {
        if let Item::SampleTable(table) = item {
            number.get_or_insert(table.number);
        }
        true
    })
    .expect("dumped");
    let name = format!("{:016x}.table", number.expect("there is a table of samples"));
    files(disk, "/tables/").into_iter().find(|path| path.ends_with(&name)).expect("its file is there")
}

/// Samples of `left` that `all` has not, bit by bit.
fn foreign(left: &Samples, all: &Samples) -> usize {
    let own = |name: &String, sample| all.get(name).is_some_and(|known| known.contains(sample));
    left.iter().map(|(name, samples)| samples.iter().filter(|sample| !own(name, sample)).count()).sum()
}

#[test]
fn a_whole_store_verifies() {
    let disk = SimDisk::new(1);
    let samples = filled(&disk);
    let found = verify(disk.world());
    assert_eq!((found.end, &found.findings[..]), (End::Closed, &[][..]));
    assert!(found.table_samples > 0 && found.journal_samples > 0, "{found}");
    // What was written twice may stand twice.
    assert!(found.table_samples + found.journal_samples >= count(&samples), "{found}");
    assert_eq!((found.table_rows, found.journal_rows), (0, 0));
    assert_eq!(serde_free(&found.to_json()), None);
    assert!(found.to_string().contains("samples   "), "{found}");
}

#[test]
fn beside_a_living_store_nothing_is_wrong() {
    let disk = SimDisk::new(1);
    let (store, _) = open_with(&disk, &Options { fan_in: 2, buffer_samples: 150, ..options() });
    for step in 0..200 {
        scrape(&store, START + step * SECOND, &[(1, step as f64), (step as u32 % 5 + 2, 0.5)]);
        if step % 10 == 3 {
            store.tick().unwrap();
            store.compact().unwrap();
        }
        let found = verify(disk.world());
        assert_eq!((found.end, &found.findings[..]), (End::Live, &[][..]), "after step {step}");
        // The end of a journal that grows may not be seen yet.
        let (samples, written) = (found.table_samples + found.journal_samples, 2 * (step as u64 + 1));
        assert!((written - 2..=written).contains(&samples), "{found} after {step}");
    }
}

#[test]
fn every_flipped_byte_of_a_table_is_found_and_leaves_what_can_be_salvaged() {
    let disk = SimDisk::new(1);
    let samples = released(&disk);
    let table = sample_table(&disk);
    let bytes = disk.read_durable(&table).unwrap().len();
    let mut partly = 0;
    for at in 0..bytes {
        // The version's own bytes: that of a newer program is no damage.
        if (8..12).contains(&at) || (bytes - 56..bytes - 52).contains(&at) {
            continue;
        }
        flip(&disk, &table, at);
        let found = verify(disk.world());
        assert_eq!(found.end, End::Damaged, "byte {at}");
        let told: Vec<_> = found.findings.iter().filter(|finding| table.ends_with(&finding.file)).collect();
        let lost: u64 = told.iter().filter_map(|finding| finding.loss.as_ref()?.rows).sum();
        assert!(told.iter().all(|told| told.loss.as_ref().is_some_and(|loss| loss.unit == Unit::Samples)), "{told:?}");
        let damaged = (at % 23 == 0).then(|| disk.reboot(Crash::LoseAll));
        flip(&disk, &table, at);
        let Some(disk) = damaged else { continue };
        let salvaged = salvage(&disk);
        let store = opened_new(&disk);
        let left = all(&store);
        assert_eq!(foreign(&left, &samples), 0, "byte {at}: a sample that there was not");
        let lost_too: u64 = salvaged.lost.iter().filter_map(|lost| lost.loss.as_ref()?.rows).sum();
        assert_eq!((count(&left) + lost, lost), (count(&samples), lost_too), "byte {at}: {salvaged}");
        let gaps = ask(&store, r#"{duramen="events"} event=gap"#);
        let told: u64 = gaps.iter().filter_map(|gap| gap.fields().get("samples")?.parse::<u64>().ok()).sum();
        assert_eq!((gaps.len(), told), (salvaged.lost.len(), lost), "byte {at}");
        store.close().unwrap();
        assert_eq!(inspect::verify(NEW, disk.world(), &mut |_| ()).unwrap().end, End::Closed, "byte {at}");
        partly += usize::from(count(&left) > 1);
    }
    assert!(partly > 0, "{partly} places leave the rest of the table");
}

#[test]
fn damage_says_which_series_and_times_it_costs() {
    let disk = SimDisk::new(1);
    let samples = released(&disk);
    let table = sample_table(&disk);
    let mut blocks = Vec::new();
    inspect::dump(FOLDER, disk.world(), &Selection { blocks: true, ..Selection::default() }, &mut |item| {
        if let Item::SampleBlock(block) = item {
            blocks.push(block.clone());
        }
        true
    })
    .unwrap();
    // The first three series share their times.
    assert_eq!(blocks[0].times_offset, blocks[2].times_offset);
    assert_ne!(blocks[0].times_offset, blocks[3].times_offset);
    let lost = |disk: &SimDisk| -> Vec<_> {
        let found = verify(disk.world());
        assert!(found.findings.iter().all(|finding| finding.fault == Fault::Damage));
        let losses = found.findings.into_iter().filter_map(|finding| finding.loss);
        losses.map(|loss| (loss.stream.expect("one series").to_string(), loss.rows, loss.times)).collect()
    };
    let name = |number| format!(r#"{{__name__="load", core="{number}"}}"#);
    let span = Some((START, START + 5 * SECOND));
    flip(&disk, &table, blocks[1].offset as usize + 1);
    assert_eq!(lost(&disk), [(name(2), Some(6), span)]);
    flip(&disk, &table, blocks[1].offset as usize + 1);
    flip(&disk, &table, blocks[0].times_offset as usize + 1);
    assert_eq!(lost(&disk), [1, 2, 3].map(|number| (name(number), Some(6), span)));
    salvage(&disk);
    let store = opened_new(&disk);
    let mut left = samples;
    left.retain(|own, _| *own == name(4) || *own == name(1));
    left.get_mut(&name(1)).unwrap().retain(|(time, _)| *time > START + DAY);
    assert_eq!(all(&store), left);
}

/// Queries and merges that meet damage leave a note; the background tells it once.
#[test]
fn damage_that_a_query_meets_is_told_once() {
    for (shared, expected) in
        [(false, "6 samples of {__name__=\"load\", core=\"1\"}"), (true, "18 samples of 3 series")]
    {
        let disk = SimDisk::new(1);
        released(&disk);
        let table = sample_table(&disk);
        let mut place = None;
        inspect::dump(FOLDER, disk.world(), &Selection { blocks: true, ..Selection::default() }, &mut |item| {
            if let Item::SampleBlock(block) = item {
                place.get_or_insert(if shared { block.times_offset } else { block.offset });
            }
            true
        })
        .unwrap();
        flip(&disk, &table, place.unwrap() as usize);
        let gaps = |store: &Store| ask(store, r#"{duramen="events"} event=gap"#);
        let (store, _) = open(&disk);
        for _ in 0..3 {
            let mut asked = store.samples(&everything(), i64::MIN, i64::MAX).unwrap();
            let series = asked.by_ref().count();
            assert_eq!((series, asked.damaged().is_empty()), (4, false));
            store.tick().unwrap();
        }
        let told = gaps(&store);
        let [gap] = &told[..] else { panic!("{told:?}") };
        let text = String::from_utf8_lossy(&gap.text);
        assert!(text.contains(expected), "{text}");
        let field = |name| gap.fields().get(name).map(str::to_string);
        let samples = if shared { "18" } else { "6" };
        assert_eq!((field("samples").as_deref(), field("rows"), gap.time), (Some(samples), None, START + 5 * SECOND));
        assert_eq!((field("from"), field("to")), (Some(START.to_string()), Some((START + 5 * SECOND).to_string())));
        assert_eq!(field("stream").is_some(), !shared);
        store.close().unwrap();
        drop(store);
        let (store, _) = open(&disk);
        store.samples(&everything(), i64::MIN, i64::MAX).unwrap().count();
        store.tick().unwrap();
        assert_eq!(gaps(&store).len(), 1);
    }
}

#[test]
fn what_the_journal_still_has_of_lost_tables_is_found_again() {
    for way in ["block", "index", "missing"] {
        let disk = SimDisk::new(1);
        let samples = filled(&disk);
        let table = sample_table(&disk);
        match way {
            "block" => flip(&disk, &table, 66),
            "index" => {
                let bytes = disk.read_durable(&table).unwrap().len();
                flip(&disk, &table, bytes - 70);
            }
            _ => disk.remove_durable(&table).unwrap(),
        }
        assert_eq!(verify(disk.world()).end, End::Damaged, "{way}");
        let salvaged = salvage(&disk);
        assert!(salvaged.samples_found_again > 0, "{way}: {salvaged}");
        assert_eq!(salvaged.lost.len(), 0, "{way}: {salvaged}");
        assert_eq!(serde_free(&salvaged.to_json()), None);
        let store = opened_new(&disk);
        assert_eq!(all(&store), samples, "{way}");
        store.flush().unwrap();
        store.compact().unwrap();
        assert_eq!(all(&store), samples, "{way}, once more in tables");
        store.close().unwrap();
        let found = inspect::verify(NEW, disk.world(), &mut |_| ()).unwrap();
        assert_eq!((found.end, &found.findings[..]), (End::Closed, &[][..]), "{way}");
    }
}

/// Of two samples of one time in two tables the later one was lost with its block: the earlier one must not take its place.
#[test]
fn what_is_found_again_counts_as_it_did() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    for value in [1.0, 2.0] {
        scrape(&store, START, &[(1, value)]);
        scrape(&store, START + SECOND, &[(2, value)]);
        store.flush().unwrap();
    }
    scrape(&store, START + SECOND, &[(2, 3.0)]);
    let samples = all(&store);
    store.close().unwrap();
    drop(store);
    let second = files(&disk, "/tables/").remove(1);
    flip(&disk, &second, 64);
    let salvaged = salvage(&disk);
    assert!(salvaged.lost.is_empty() && salvaged.samples_found_again > 0, "{salvaged}");
    assert_eq!(all(&opened_new(&disk)), samples);
}

/// A table whose every byte is right, of a store that went another way.
#[test]
fn a_table_that_has_not_what_it_covers_is_found() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    scrape(&store, START, &[(1, 0.0), (2, 0.0)]);
    store.close().unwrap();
    drop(store);
    let other = disk.reboot(Crash::LoseAll);
    for (disk, series) in [(&disk, 1), (&other, 2)] {
        let (store, _) = open(disk);
        scrape(&store, START + SECOND, &[(series, 1.0)]);
        store.flush().unwrap();
        store.close().unwrap();
    }
    let table = sample_table(&disk);
    disk.put_durable(&table, &other.read_durable(&table).unwrap()).unwrap();
    let found = verify(disk.world());
    let told: Vec<_> = found.findings.iter().filter(|finding| finding.reason.contains("and have not")).collect();
    let [finding] = &told[..] else { panic!("{:?}", found.findings) };
    let loss = finding.loss.clone().unwrap();
    assert_eq!((finding.fault, loss.rows, loss.unit), (Fault::Rule, Some(1), Unit::Samples));
    assert_eq!(loss.times, Some((START + SECOND, START + SECOND)));
    assert!(loss.stream.unwrap().to_string().contains("core=\"1\""));
    let salvaged = salvage(&disk);
    assert_eq!(salvaged.samples_found_again, 1, "{salvaged}");
    // Nobody can tell that the other one is too many.
    assert_eq!(count(&all(&opened_new(&disk))), 4);
}

/// Samples whose record is good, but builds on one that is lost.
#[test]
fn samples_that_nobody_can_read_are_told() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    for step in 0..5 {
        scrape(&store, START + step * SECOND, &[(1, step as f64), (2, std::f64::consts::PI * step as f64)]);
    }
    store.close().unwrap();
    drop(store);
    let journal = files(&disk, "/journal/").into_iter().find(|file| file.ends_with(".seg")).unwrap();
    // The second record: its raw value stands as it is.
    let raw = (std::f64::consts::PI.to_bits()).to_le_bytes();
    flip(&disk, &journal, place_of(&disk, &journal, &raw));
    assert_eq!(verify(disk.world()).end, End::Damaged);
    let salvaged = salvage(&disk);
    let lost: Vec<_> = salvaged.lost.iter().filter_map(|lost| lost.loss.clone()).collect();
    let [loss] = &lost[..] else { panic!("{salvaged}") };
    assert_eq!((loss.rows, loss.unit), (Some(6), Unit::Samples));
    assert_eq!(loss.times, Some((START + 2 * SECOND, START + 4 * SECOND)));
    let store = opened_new(&disk);
    assert_eq!(count(&all(&store)), 2);
    // One for the record, one for those that build on it.
    assert_eq!(ask(&store, r#"{duramen="events"} event=gap"#).len(), 2);
    store.close().unwrap();
    drop(store);
    // What was told is known from then on.
    let found = inspect::verify(NEW, disk.world(), &mut |_| ()).unwrap();
    assert_eq!((found.end, found.journal_samples), (End::Closed, 2), "{:?}", found.findings);
    assert!(found.notes.iter().any(|note| note.contains("6 samples")), "{:?}", found.notes);
    let mut shown = Vec::new();
    inspect::dump(NEW, disk.world(), &Selection { rows: true, ..Selection::default() }, &mut |item| {
        match item {
            Item::Samples { readable, .. } => shown.push(*readable),
            Item::Sample { value, .. } => assert_eq!(value.is_some(), shown.last() == Some(&true)),
            _ => {}
        }
        true
    })
    .unwrap();
    assert_eq!(shown, [true, false, false, false]);
}

#[test]
fn a_dump_shows_everything_that_is_stored() {
    let disk = SimDisk::new(1);
    let samples = filled(&disk);
    let dumped = |selection: Selection| {
        let mut items = Vec::new();
        inspect::dump(FOLDER, disk.world(), &selection, &mut |item| {
            assert_eq!(serde_free(&item.to_json()), None, "{}", item.to_json());
            assert!(!item.to_string().is_empty());
            items.push(item.clone());
            true
        })
        .unwrap();
        items
    };
    let items = dumped(Selection { rows: true, ..Selection::default() });
    let mut found = Samples::new();
    for item in &items {
        if let Item::Sample { labels, time, value: Some(value), .. } = item {
            found.entry(labels.to_string()).or_default().push((*time, value.to_bits()));
        }
    }
    assert_eq!(foreign(&samples, &found), 0);
    assert!(!items.iter().any(|item| matches!(item, Item::Bad(_))));
    assert!(items.iter().any(|item| matches!(item, Item::Samples { begins: true, readable: true, boot: None, .. })));
    let number = items.iter().find_map(|item| match item {
        Item::SampleTable(table) => Some(table.number),
        _ => None,
    });
    let one = dumped(Selection { table: number, blocks: true, rows: false });
    assert!(matches!(&one[..], [Item::SampleTable(_), Item::TableSeries { .. }, Item::SampleBlock(_), ..]), "{one:?}");
    let mut shown = 0;
    inspect::dump(FOLDER, disk.world(), &Selection { rows: true, ..Selection::default() }, &mut |_| {
        shown += 1;
        shown < 40
    })
    .unwrap();
    assert_eq!(shown, 40, "whoever has seen enough sees no more");
}
