//! Workloads in which tables go: by age, by size, and because the disk is full. Owns the model of what may be missing then: what the
//! rule names and nothing else, whole batches, and for good.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use duramen_journal::disk::sim::{History, Scenario, SimDisk};
use duramen_journal::{SyncPolicy, World};
use duramen_store::{Batch, DiskFull, Durability, Error, Labels, Level, Options, Query, Store};

const FOLDER: &str = "/data";
const KEY: &[u8] = b"source";
const START: i64 = 1_700_000_000_000_000_000;
const DAY: i64 = 86_400_000_000_000;
const DAY_SECONDS: u64 = 86_400;
/// Rows of each batch, of one stream and one day, so that a batch is in one table.
const ROWS: usize = 3;
/// Days that rows are kept, where they go by age.
const AGE_DAYS: u64 = 1;
/// Bytes of tables, where they go by size.
const BYTES_MAX: u64 = 8_000;
/// Batches that recoveries add are newer than all.
const DAY_OF_RECOVERY: i64 = 30;
/// Bytes of a disk that is too small for all.
const ROOM: u64 = 320 << 10;

/// One step of a workload.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A batch of this day, waited for.
    Wait(i64),
    /// A batch of this day, left to the policy.
    Leave(i64),
    /// A batch that is too old when it comes.
    Late,
    Flush,
    /// A day passes.
    Pass,
    Reopen,
    /// The answer of the open store counts as told.
    Look,
}

use Step::{Flush, Late, Leave, Look, Pass, Reopen, Wait};

/// Why tables go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Age,
    Bytes,
    /// With so many bytes on the disk at the start.
    DiskFull(u64),
}

/// A workload.
#[derive(Clone, Debug)]
pub struct Retention {
    pub name: &'static str,
    pub sweep: bool,
    rule: Rule,
    steps: Vec<Step>,
}

/// What the outside world was told or asked for. Batches have numbers from 1.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Event {
    /// A batch, and its day.
    Issued(usize, i64),
    Durable(usize),
    Refused(usize),
    /// So many days have passed, or are about to.
    Passed(u64),
    /// These were there; the others of those that were issued must not come back.
    Served(Vec<usize>),
}

/// All workloads.
pub fn all() -> Vec<Retention> {
    let day = |day: i64| [Leave(day), Wait(day), Wait(day), Flush, Wait(day), Pass];
    // What went is looked at while the journal still has it, as well as long afterwards.
    let looked = [Look, Reopen, Look];
    let aged: Vec<Step> = (0..3).flat_map(day).chain(looked).chain((3..8).flat_map(day)).chain([Late]).collect();
    let aged: Vec<Step> = aged.into_iter().chain(looked).collect();
    // Days of one table each: of a day that has others left the journal's rows do not come back. The first day is that of the store's
    // own events: merged with new ones its table must stay until the journal has given them up, and younger ones go before it.
    let small = |day: i64| [Leave(day), Wait(day), Flush];
    let sized: Vec<Step> = (1..6).flat_map(small).chain(looked).chain((6..15).flat_map(small)).chain(looked).collect();
    let script = |name, rule, steps: &[Step]| Retention { name, sweep: false, rule, steps: steps.to_vec() };
    vec![
        script("by-age", Rule::Age, &aged),
        script("by-size", Rule::Bytes, &sized),
        script("drop-oldest", Rule::DiskFull(ROOM), &sized),
        // A sweep runs the workload once for each call of the disk: a short one, which drops tables all the same.
        Retention { sweep: true, ..script("faults-by-size", Rule::Bytes, &sized[..18]) },
    ]
}

/// Digits that compress badly, so that tables have a size. A segment of the journal holds the batches of some five days: tables are
/// to go before it has given their rows up, and must not.
fn text(batch: usize, row: usize) -> String {
    let seed = (batch * ROWS + row) as u64 + 1;
    let noise = (1..65).map(|at| format!("{:016x}", (seed * 1_000 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    format!("batch {batch} row {row} {}", noise.collect::<String>())
}

fn time(batch: usize, row: usize, day: i64) -> i64 {
    START + day * DAY + (batch * 10 + row) as i64
}

#[derive(Debug, Default)]
struct Model {
    /// The day of each batch.
    issued: BTreeMap<usize, i64>,
    durable: BTreeSet<usize>,
    refused: BTreeSet<usize>,
    days_passed: u64,
    /// What the last look found, and the number of batches issued by then.
    served: Option<(BTreeSet<usize>, usize)>,
}

impl Model {
    fn of(history: &History<Event>) -> Model {
        let mut model = Model::default();
        history.for_each(|event| match event {
            Event::Issued(batch, day) => _ = model.issued.insert(*batch, *day),
            Event::Durable(batch) => _ = model.durable.insert(*batch),
            Event::Refused(batch) => _ = model.refused.insert(*batch),
            Event::Passed(days) => model.days_passed = *days,
            Event::Served(all) => model.served = Some((all.iter().copied().collect(), model.issued.len())),
        });
        model
    }

    /// Whether all of a day is older than is kept, at the latest time that any clock has shown.
    fn is_too_old(&self, day: i64) -> bool {
        // The machine's boots are 1,000 s apart, and there are few; a day ends 6,400 s after the time of the first boot.
        let now = START + (self.days_passed as i64) * DAY + 5_000_000_000_000;
        ((START / DAY) + day + 1) * DAY <= now - AGE_DAYS as i64 * DAY
    }
}

impl Retention {
    fn options(&self) -> Options {
        let small = Options::default();
        let plain = Options {
            journal: duramen_journal::Options {
                segment_bytes: 64 << 10,
                spares_max: 1,
                stock: false,
                policy: SyncPolicy::Interval(Duration::from_secs(1)),
                ..small.journal.clone()
            },
            memtable_bytes: 64 << 10,
            fan_in: 2,
            ..small
        };
        match self.rule {
            Rule::Age => Options { retention_age: Some(Duration::from_secs(AGE_DAYS * DAY_SECONDS)), ..plain },
            Rule::Bytes => Options { retention_bytes: Some(BYTES_MAX), ..plain },
            Rule::DiskFull(_) => Options { disk_full: DiskFull::DropOldest, free_bytes_min: 100 << 10, ..plain },
        }
    }

    fn open(&self, world: &World) -> Result<Store, Error> {
        Store::open_with(FOLDER, &self.options(), world.clone()).map(|opened| opened.0)
    }

    fn may_fail(&self) -> bool {
        self.sweep || matches!(self.rule, Rule::DiskFull(_))
    }

    fn batch(store: &Store, number: usize, day: i64) -> Result<Batch, Error> {
        let stream = store.stream(&Labels::new([("app", "a")])?)?;
        let mut batch = Batch::new();
        for row in 0..ROWS {
            batch.push(&stream, time(number, row, day), Level::Info, text(number, row).as_bytes(), &[]);
        }
        batch.set_position(KEY, &(number as u64).to_le_bytes());
        Ok(batch)
    }

    fn append(store: &Store, number: usize, day: i64, how: Durability, tell: &dyn Fn(Event)) -> Result<(), Error> {
        tell(Event::Issued(number, day));
        let appended = Retention::batch(store, number, day).and_then(|batch| store.append(batch, how));
        match appended {
            Ok(receipt) if how == Durability::Now => receipt.wait().map(|()| tell(Event::Durable(number))),
            Ok(receipt) => {
                drop(receipt);
                Ok(())
            }
            Err(error) => {
                tell(Event::Refused(number));
                Err(error)
            }
        }
    }

    /// A batch that the retention refuses is said to be refused.
    fn append_late(store: &Store) -> Result<(), Error> {
        let stream = store.stream(&Labels::new([("app", "a")])?)?;
        let mut batch = Batch::new();
        batch.push(&stream, START - 20 * DAY, Level::Info, b"batch 0 row 0", &[]);
        let receipt = store.append(batch, Durability::Now)?;
        assert_eq!(receipt.too_old().rows, 1, "it is too old");
        receipt.wait()
    }

    fn act(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        let tell = |event| history.push(event);
        let may_fail = self.may_fail();
        let opened = |store: Result<Store, Error>| match store {
            Ok(store) => Ok(Some(store)),
            Err(_) if may_fail => Ok(None),
            Err(error) => Err(format!("opening: {error}")),
        };
        let Some(mut store) = opened(self.open(world))? else { return Ok(()) };
        let (mut number, mut days) = (0, 0);
        for step in &self.steps {
            let result = match *step {
                Wait(day) | Leave(day) => {
                    number += 1;
                    let how = if matches!(step, Wait(_)) { Durability::Now } else { Durability::Policy };
                    Retention::append(&store, number, day, how, &tell)
                }
                Late => Retention::append_late(&store),
                Flush => store.flush(),
                Pass => {
                    days += 1;
                    tell(Event::Passed(days));
                    world.environment.wait(&Default::default(), 0, Some(Duration::from_secs(DAY_SECONDS)));
                    store.tick()
                }
                Reopen => {
                    let closed = store.close();
                    drop(store);
                    let Some(again) = opened(self.open(world))? else { return Ok(()) };
                    store = again;
                    closed
                }
                // After a fault nobody knows what the disk has of what is seen.
                Look if may_fail => Ok(()),
                Look => {
                    // What is not durable may be seen, and still go.
                    store.sync().map_err(|error| error.to_string())?;
                    tell(Event::Served(self.check(&store, &Model::of(history))?.into_iter().collect()));
                    Ok(())
                }
            };
            match result {
                Err(error) if !may_fail => return Err(format!("{step:?}: {error}")),
                _ => {}
            }
        }
        let model = Model::of(history);
        if !self.sweep && self.check(&store, &model)?.is_superset(&model.durable) {
            return Err("nothing went: this workload tries nothing".to_string());
        }
        match store.close() {
            Err(error) if !may_fail => Err(format!("closing: {error}")),
            _ => Ok(()),
        }
    }

    /// The batches that are there, each whole and once.
    fn served(&self, store: &Store, model: &Model) -> Result<BTreeSet<usize>, String> {
        let mut found: BTreeMap<usize, Vec<(i64, String)>> = BTreeMap::new();
        let query: Query = r#"{app="a"}"#.parse().expect("a good query");
        for row in store.query(query).map_err(|error| format!("asking: {error}"))? {
            let row = row.map_err(|error| format!("reading: {error}"))?;
            let text = String::from_utf8(row.text.clone()).map_err(|error| error.to_string())?;
            let number = text.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or("a foreign row")?;
            found.entry(number).or_default().push((row.time, text));
        }
        for (&number, rows) in &found {
            let day = *model.issued.get(&number).ok_or_else(|| format!("batch {number} was never issued"))?;
            let expected: Vec<_> = (0..ROWS).map(|row| (time(number, row, day), text(number, row))).collect();
            if *rows != expected {
                return Err(format!("batch {number} is there with {} of {ROWS} rows", rows.len()));
            }
        }
        Ok(found.into_keys().collect())
    }

    /// Whether what is missing may be: what the rule names, the oldest first, and where it is a loss it is told.
    fn check_missing(&self, store: &Store, model: &Model, served: &BTreeSet<usize>) -> Result<(), String> {
        let before = model.served.iter().flat_map(|(all, _)| all.iter().copied());
        let missing: BTreeSet<usize> =
            model.durable.iter().copied().chain(before).filter(|number| !served.contains(number)).collect();
        // What an earlier look did not find was judged then.
        let known = |number: &usize| model.served.as_ref().is_some_and(|(all, n)| number <= n && !all.contains(number));
        let fresh: Vec<usize> = missing.iter().copied().filter(|number| !known(number)).collect();
        let wrong = match self.rule {
            Rule::Age => fresh.iter().find(|number| !model.is_too_old(model.issued[*number])),
            Rule::Bytes | Rule::DiskFull(_) => fresh.iter().find(|number| served.first().is_some_and(|s| s < *number)),
        };
        if let Some(number) = wrong {
            return Err(format!("batch {number} is lost; there are {served:?}, {} days passed", model.days_passed));
        }
        match self.rule {
            Rule::Bytes if !fresh.is_empty() => {
                let stats = store.stats();
                let left = stats.table_bytes + stats.memory_bytes as u64;
                (left >= BYTES_MAX / 4).then_some(()).ok_or_else(|| format!("too much went: {left} bytes are left"))
            }
            Rule::DiskFull(_) => {
                let query: Query = r#"{duramen="events"} event=gap"#.parse().expect("a good query");
                let asked = store.query(query).map_err(|error| error.to_string())?;
                let totals = asked.filter_map(Result::ok).filter_map(|row| row.fields().get("total")?.parse().ok());
                let told: usize = totals.max().unwrap_or(0);
                let lost = missing.len() * ROWS;
                (told >= lost).then_some(()).ok_or_else(|| format!("{lost} rows went, and {told} are told"))
            }
            _ => Ok(()),
        }
    }

    fn check(&self, store: &Store, model: &Model) -> Result<BTreeSet<usize>, String> {
        let served = self.served(store, model)?;
        self.check_missing(store, model, &served)?;
        if let Some(revived) = model.refused.iter().find(|number| served.contains(number)) {
            return Err(format!("batch {revived} was refused and is there"));
        }
        if let Some((before, issued)) = &model.served
            && let Some(revived) = served.iter().find(|number| *number <= issued && !before.contains(number))
        {
            return Err(format!("batch {revived} was gone and is there again; before: {before:?}"));
        }
        let position = store.position(KEY).map(|value| u64::from_le_bytes(value.try_into().expect("eight bytes")));
        let newest = served.last().map(|&last| last as u64);
        if position < newest {
            return Err(format!("the position is {position:?}, and the last batch {newest:?}"));
        }
        Ok(served)
    }
}

impl Scenario for Retention {
    type Event = Event;

    fn prepare(&self, disk: &SimDisk) {
        if let Rule::DiskFull(room) = self.rule {
            disk.set_capacity(Some(room));
        }
    }

    fn run(&self, world: &World, history: &History<Event>) {
        self.act(world, history).unwrap_or_else(|error| panic!("{error}"));
    }

    fn recover(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        let model = Model::of(history);
        let store = match self.open(world) {
            Ok(store) => store,
            Err(error) if error.is_no_space() && model.durable.is_empty() => return Ok(()),
            Err(error) => return Err(format!("refused after a crash: {error}")),
        };
        let served = self.check(&store, &model)?;
        history.push(Event::Served(served.into_iter().collect()));
        if !history.count().is_multiple_of(3) || matches!(self.rule, Rule::DiskFull(_)) {
            return store.close().map_err(|error| format!("closing: {error}"));
        }
        // Goes on, which may drop more, and looks again.
        let number = model.issued.len() + 1;
        Retention::append(&store, number, DAY_OF_RECOVERY, Durability::Now, &|event| history.push(event))
            .and_then(|()| store.flush())
            .and_then(|()| store.tick())
            .and_then(|()| store.close())
            .map_err(|error| format!("going on: {error}"))?;
        drop(store);
        let store = self.open(world).map_err(|error| format!("opening a second time: {error}"))?;
        let served = self.check(&store, &Model::of(history))?;
        history.push(Event::Served(served.into_iter().collect()));
        store.close().map_err(|error| format!("closing: {error}"))
    }

    fn recover_refused(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        if let Ok(store) = self.open(world) {
            self.served(&store, &Model::of(history))?;
        }
        Ok(())
    }
}
