//! The tools over a store's folder: what is whole verifies, every flipped byte is found, and salvage keeps the rest.

use std::collections::BTreeSet;

use duramen_journal::disk::sim::{Crash, SimDisk};
use duramen_journal::{End, World};
use duramen_store::inspect::{self, Fault, Item, Salvage, Selection, Verification};
use duramen_store::{Batch, Durability, Level, Options, Store};

use crate::{DAY, FOLDER, START, all, append, ask, open, open_with, options, stream};

pub(crate) const NEW: &str = "/new";

pub(crate) fn verify(world: World) -> Verification {
    inspect::verify(FOLDER, world, &mut |_| ()).expect("it can be looked at")
}

pub(crate) fn salvage(disk: &SimDisk) -> Salvage {
    inspect::salvage(FOLDER, NEW, disk.world(), &mut |_| ()).expect("salvaged")
}

pub(crate) fn opened_new(disk: &SimDisk) -> Store {
    Store::open_with(NEW, &options(), disk.world()).expect("what was salvaged opens").0
}

/// Files below the data folder whose path has this part.
pub(crate) fn files(disk: &SimDisk, part: &str) -> Vec<String> {
    let files = disk.list_files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.starts_with(FOLDER) && path.contains(part)).collect()
}

pub(crate) fn flip(disk: &SimDisk, file: &str, at: usize) {
    disk.flip_durable_bit(file, at as u64, (at % 8) as u8).expect("a byte of the file");
}

pub(crate) fn place_of(disk: &SimDisk, file: &str, text: &[u8]) -> usize {
    let bytes = disk.read_durable(file).expect("the file is there");
    bytes.windows(text.len()).position(|window| window == text).expect("it is stored as it is")
}

/// Two days, three streams, fields, tables that were merged and not, and rows in the journal only.
fn filled(disk: &SimDisk) -> Vec<String> {
    let (store, _) = open_with(disk, &Options { fan_in: 3, ..options() });
    for number in 0..24 {
        let mut batch = Batch::new();
        let name = ["a", "b", "c"][number % 3];
        let time = START + number as i64 % 2 * DAY + number as i64;
        let fields: &[(&str, &str)] = if number % 4 == 0 { &[("user", "ana")] } else { &[] };
        batch.push(&stream(&store, name), time, Level::Info, format!("row number {number}").as_bytes(), fields);
        batch.set_position(b"source", format!("{number}").as_bytes());
        store.append(batch, Durability::Now).expect("appended").wait().expect("durable");
        if number % 5 == 4 {
            store.flush().expect("flushed");
            store.compact().expect("merged");
        }
    }
    let rows = all(&store);
    store.close().expect("closed");
    rows
}

/// Rows that only the tables have: the journal has released them.
fn released(disk: &SimDisk) -> Vec<String> {
    let (store, _) = open(disk);
    for number in 0..6 {
        append(&store, ["a", "b", "c"][number as usize % 3], START + number, &format!("row {number}"));
    }
    store.flush().expect("flushed");
    for number in 0..200 {
        append(&store, "filler", START + DAY + number, &format!("{number} {}", "x".repeat(3_000)));
    }
    store.flush().expect("flushed");
    let rows = all(&store);
    store.close().expect("closed");
    rows
}

#[test]
fn a_whole_store_verifies() {
    let disk = SimDisk::new(1);
    let rows = filled(&disk);
    let found = verify(disk.world());
    assert_eq!((found.end, &found.findings[..]), (End::Closed, &[][..]));
    // The store's own event stands among the rows.
    let own = found.table_rows + found.journal_rows - rows.len() as u64;
    assert!(own == 0 && found.tables >= 2 && found.journal_rows > 0, "{found}");
    assert_eq!(serde_free(&found.to_json()), None);
}

/// A character that JSON does not take as it stands outside of strings.
pub(crate) fn serde_free(json: &str) -> Option<char> {
    let (mut inside, mut escaped, mut depth) = (false, false, 0);
    for character in json.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            '{' | '[' if !inside => depth += 1,
            '}' | ']' if !inside => depth -= 1,
            character if inside || character.is_ascii_alphanumeric() || ",:-_.".contains(character) => {}
            character => return Some(character),
        }
    }
    (depth != 0 || inside).then_some('"')
}

#[test]
fn beside_a_living_store_nothing_is_wrong() {
    let disk = SimDisk::new(1);
    let (store, _) = open_with(&disk, &Options { fan_in: 2, ..options() });
    for number in 0..40 {
        append(&store, "a", START + number % 3 * DAY + number, &format!("row {number}"));
        if number % 4 == 3 {
            store.flush().unwrap();
        }
        let found = verify(disk.world());
        assert_eq!((found.end, &found.findings[..]), (End::Live, &[][..]), "after row {number}");
        let rows = found.table_rows + found.journal_rows;
        assert!((number as u64..=number as u64 + 1).contains(&rows), "{rows} rows after {number}");
    }
}

#[test]
fn a_store_that_was_killed_ends_without_a_mark() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    append(&store, "a", START, "one");
    let disk = disk.reboot(Crash::LoseAll);
    drop(store);
    let found = verify(disk.world());
    assert!(matches!(found.end, End::Unmarked | End::Torn), "{}", found.end.word());
    assert!(found.is_sound() && found.journal_rows == 1, "{found}");
}

#[test]
fn every_flipped_byte_of_tables_and_manifest_is_found() {
    let disk = SimDisk::new(1);
    filled(&disk);
    let mut chosen = files(&disk, "/tables/");
    chosen.extend(files(&disk, "/MANIFEST"));
    assert!(chosen.len() >= 3, "{chosen:?}");
    let mut flipped = 0;
    for file in chosen {
        let bytes = disk.read_durable(&file).unwrap().len();
        for at in 0..bytes {
            flip(&disk, &file, at);
            let name = &file[FOLDER.len() + 1..];
            match inspect::verify(FOLDER, disk.world(), &mut |_| ()) {
                Ok(found) => {
                    assert_eq!(found.end, End::Damaged, "byte {at} of {file}");
                    assert!(found.findings.iter().any(|finding| finding.file == name), "{:?}", found.findings);
                }
                // The version's own bytes: that of a newer program is no damage.
                Err(error) => assert!(error.to_string().contains("version"), "byte {at} of {file}: {error}"),
            }
            flip(&disk, &file, at);
            flipped += 1;
        }
    }
    assert!(flipped > 1_500, "{flipped} bytes");
    assert_eq!(verify(disk.world()).end, End::Closed);
}

#[test]
fn damage_says_what_it_costs_and_salvage_keeps_the_rest() {
    let disk = SimDisk::new(1);
    let rows = released(&disk);
    let table = files(&disk, "/tables/").remove(0);
    flip(&disk, &table, place_of(&disk, &table, b"row 1"));
    let before = disk.list_files();
    let found = verify(disk.world());
    let [finding] = &found.findings[..] else { panic!("{:?}", found.findings) };
    let loss = finding.loss.clone().expect("rows are lost");
    assert_eq!((finding.fault, loss.rows, loss.times), (Fault::Damage, Some(2), Some((START + 1, START + 4))));
    assert_eq!(loss.stream.map(|stream| stream.to_string()).as_deref(), Some(r#"{app="b"}"#));
    let salvaged = salvage(&disk);
    assert_eq!((salvaged.lost.len(), salvaged.found_again, salvaged.table_rows), (1, 0, rows.len() as u64 - 2));
    assert_eq!(disk.list_files().iter().filter(|file| before.contains(file)).count(), before.len(), "only read");
    let store = opened_new(&disk);
    let left: Vec<String> = rows.into_iter().filter(|row| row != "row 1" && row != "row 4").collect();
    assert_eq!(all(&store), left);
    let gaps = ask(&store, r#"{duramen="events"} event=gap"#);
    let told: Vec<_> =
        gaps.iter().map(|gap| (gap.time, gap.fields().get("rows"), gap.fields().get("stream"))).collect();
    assert_eq!(told, [(START + 1, Some("2"), Some(r#"{app="b"}"#))]);
    store.close().unwrap();
    assert_eq!(inspect::verify(NEW, disk.world(), &mut |_| ()).unwrap().end, End::Closed);
}

#[test]
fn what_the_journal_still_has_of_lost_tables_is_found_again() {
    for (way, expected) in [("block", 0), ("index", 0), ("missing", 0)] {
        let disk = SimDisk::new(1);
        let rows = filled(&disk);
        // The oldest table of its day: later ones say that they cover its rows.
        let table = files(&disk, "/tables/").remove(0);
        match way {
            "block" => flip(&disk, &table, 70),
            "index" => {
                let bytes = disk.read_durable(&table).unwrap().len();
                flip(&disk, &table, bytes - 70);
            }
            _ => {
                disk.world().disk.remove(table.as_ref()).unwrap();
                disk.world().disk.sync_dir("/data/tables".as_ref()).unwrap();
            }
        }
        assert_eq!(verify(disk.world()).end, End::Damaged, "{way}");
        let salvaged = salvage(&disk);
        assert!(salvaged.found_again > 0, "{way}: {salvaged}");
        assert_eq!(salvaged.lost.len(), expected, "{way}: {salvaged}");
        let store = opened_new(&disk);
        assert_eq!(all(&store), rows, "{way}");
        assert_eq!(store.position(b"source").as_deref(), Some(&b"23"[..]));
        let mut ids: Vec<_> = ask(&store, r#"{app=~".+"}"#).iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), rows.len(), "{way}: each row once");
        store.close().unwrap();
        let found = inspect::verify(NEW, disk.world(), &mut |_| ()).unwrap();
        assert_eq!((found.end, &found.findings[..]), (End::Closed, &[][..]), "{way}");
    }
}

#[test]
fn every_flipped_byte_of_a_table_leaves_what_can_be_salvaged() {
    let disk = SimDisk::new(1);
    let rows: BTreeSet<String> = released(&disk).into_iter().collect();
    let table = files(&disk, "/tables/").remove(0);
    let bytes = disk.read_durable(&table).unwrap().len();
    for at in (0..bytes).step_by(7) {
        // The version's own bytes are another program's business.
        if (8..12).contains(&at) || (bytes - 56..bytes - 52).contains(&at) {
            continue;
        }
        let disk = disk.reboot(Crash::LoseAll);
        flip(&disk, &table, at);
        let salvaged = salvage(&disk);
        let store = opened_new(&disk);
        let left: Vec<String> = all(&store);
        assert!(left.iter().all(|row| rows.contains(row)), "byte {at}: a row that there was not");
        let lost: u64 = salvaged.lost.iter().filter_map(|lost| lost.loss.as_ref()?.rows).sum();
        assert_eq!(left.len() as u64 + lost, rows.len() as u64, "byte {at}: {salvaged}");
    }
}

#[test]
fn damage_of_the_journal_costs_only_what_no_table_has() {
    let disk = SimDisk::new(1);
    filled(&disk);
    let journal = files(&disk, "/journal/").into_iter().find(|file| file.ends_with(".seg")).unwrap();
    flip(&disk, &journal, place_of(&disk, &journal, b"row number 3"));
    let found = verify(disk.world());
    assert_eq!(found.end, End::Damaged);
    let told: Vec<_> = found.findings.iter().filter(|finding| finding.file.starts_with("journal/")).collect();
    assert!(told.iter().any(|finding| finding.loss.is_none() && finding.reason.contains("in tables")), "{told:?}");
    let salvaged = salvage(&disk);
    assert!(!salvaged.journal.lost.is_empty());
    assert_eq!(all(&opened_new(&disk)).len(), 24, "the tables have it");
}

#[test]
fn a_table_that_is_there_twice_is_found() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk);
    append(&store, "a", START, "one");
    store.flush().unwrap();
    store.close().unwrap();
    drop(store);
    let table = files(&disk, "/tables/").remove(0);
    let bytes = disk.read_durable(&table).unwrap();
    // Under another number its checksums are wrong.
    let copy = "/data/tables/00000000000000ff.table";
    let file = disk.world().disk.open(copy.as_ref(), duramen_journal::disk::Access::Create).unwrap();
    duramen_journal::disk::write_all_at(&*file, &bytes, 0).unwrap();
    let found = verify(disk.world());
    assert_eq!(found.end, End::Damaged);
    assert!(found.findings.iter().any(|finding| finding.file.contains("ff.table")), "{:?}", found.findings);
}

#[test]
fn a_dump_shows_everything_that_is_stored() {
    let disk = SimDisk::new(1);
    let rows = filled(&disk);
    let dumped = |selection: Selection| {
        let mut items = Vec::new();
        inspect::dump(FOLDER, disk.world(), &selection, &mut |item| {
            assert_eq!(serde_free(&item.to_json()), None, "{}", item.to_json());
            items.push(item.clone());
            true
        })
        .unwrap();
        items
    };
    let items = dumped(Selection { rows: true, ..Selection::default() });
    let texts: BTreeSet<Vec<u8>> = items
        .iter()
        .filter_map(|item| if let Item::Row { text, .. } = item { Some(text.clone()) } else { None })
        .collect();
    assert!(rows.iter().all(|row| texts.contains(row.as_bytes())));
    assert!(!items.iter().any(|item| matches!(item, Item::Bad(_))));
    let count = |test: fn(&Item) -> bool| items.iter().filter(|item| test(item)).count();
    assert!(count(|item| matches!(item, Item::Stream { .. })) >= 3);
    assert!(count(|item| matches!(item, Item::Position { .. })) >= 24);
    assert_eq!(count(|item| matches!(item, Item::Manifest { .. })), 1);
    let number = items.iter().find_map(|item| if let Item::Table(table) = item { Some(table.number) } else { None });
    let one = dumped(Selection { table: number, blocks: true, rows: false });
    assert!(matches!(&one[..], [Item::Table(_), Item::TableStream { .. }, Item::Block { .. }, ..]), "{one:?}");
    assert!(matches!(&dumped(Selection { table: Some(999), ..Selection::default() })[..], [Item::Bad(_)]));
    let mut shown = 0;
    inspect::dump(FOLDER, disk.world(), &Selection::default(), &mut |_| {
        shown += 1;
        shown < 3
    })
    .unwrap();
    assert_eq!(shown, 3, "whoever has seen enough sees no more");
}

#[test]
fn damage_of_every_kind_is_found_and_the_rest_is_kept() {
    type Harm = fn(&SimDisk, &str);
    let kinds: [(&str, Harm); 6] = [
        ("zeroed", |disk, file| disk.zero_durable_sector(file, 0).unwrap()),
        ("cut short", |disk, file| {
            let bytes = disk.read_durable(file).unwrap();
            disk.put_durable(file, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("grown", |disk, file| {
            let bytes = disk.read_durable(file).unwrap();
            disk.put_durable(file, &[bytes, vec![0; 100]].concat()).unwrap();
        }),
        ("empty", |disk, file| disk.put_durable(file, &[]).unwrap()),
        ("gone", |disk, file| disk.remove_durable(file).unwrap()),
        ("another's", |disk, file| {
            let other = files(disk, "/tables/").into_iter().find(|other| other != file).unwrap();
            disk.put_durable(file, &disk.read_durable(&other).unwrap()).unwrap();
        }),
    ];
    for (kind, harm) in kinds {
        let disk = SimDisk::new(1);
        let rows = released(&disk);
        let disk = disk.reboot(Crash::LoseAll);
        let table = files(&disk, "/tables/").remove(0);
        harm(&disk, &table);
        let found = verify(disk.world());
        assert_eq!(found.end, End::Damaged, "{kind}");
        let told = found.findings.iter().find(|finding| table.ends_with(&finding.file));
        assert_eq!(told.and_then(|told| told.loss.as_ref()?.rows), Some(6), "{kind}: {:?}", found.findings);
        let salvaged = salvage(&disk);
        let store = opened_new(&disk);
        assert_eq!(all(&store).len(), rows.len() - 6, "{kind}: {salvaged}");
        assert_eq!(ask(&store, r#"{duramen="events"} event=gap"#).len(), 1, "{kind}");
        let mut items = 0;
        inspect::dump(FOLDER, disk.world(), &Selection { rows: true, ..Selection::default() }, &mut |item| {
            items += usize::from(matches!(item, Item::Bad(_)));
            true
        })
        .unwrap();
        assert_eq!(items, 1, "{kind}");
    }
}

#[test]
fn what_the_device_cannot_read_is_no_damage() {
    let disk = SimDisk::new(1);
    let rows = released(&disk);
    let table = files(&disk, "/tables/").remove(0);
    disk.fail_reads(&table, 64..70);
    let found = verify(disk.world());
    assert_eq!(found.end, End::Unreadable, "{:?}", found.findings);
    assert!(found.findings.iter().all(|finding| finding.fault == Fault::Unreadable && finding.loss.is_some()));
    let salvaged = salvage(&disk);
    assert_eq!(
        all(&opened_new(&disk)).len() as u64 + salvaged.lost[0].loss.clone().unwrap().rows.unwrap(),
        rows.len() as u64
    );
    disk.heal_reads();
    assert_eq!(verify(disk.world()).end, End::Closed, "another try may read it");
}

#[test]
fn a_lost_identity_or_manifest_costs_no_row() {
    for (file, harm) in [("/data/IDENTITY", 3), ("/data/MANIFEST", 50)] {
        let disk = SimDisk::new(1);
        let rows = filled(&disk);
        flip(&disk, file, harm);
        let found = verify(disk.world());
        assert_eq!(found.end, End::Damaged, "{file}");
        assert!(found.findings.iter().all(|finding| finding.loss.is_none()), "{file}: {:?}", found.findings);
        salvage(&disk);
        assert_eq!(all(&opened_new(&disk)), rows, "{file}");
    }
}
