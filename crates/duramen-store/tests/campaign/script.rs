//! A store's workload, and what must hold after a crash anywhere in it. Owns the model: which batches were issued, which were
//! acknowledged, and what their rows are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use duramen_journal::disk::sim::{History, Scenario, SimDisk};
use duramen_journal::{SyncPolicy, World};
use duramen_store::inspect::verify;
use duramen_store::{
    Batch, DOWNSAMPLE_LABEL, Durability, Error, Labels, Level, Options, Power, Query, Selector, Store,
};

use crate::aging::{self, Later};

const FOLDER: &str = "/data";
const BACKUP: &str = "/backup";
const KEY: &[u8] = b"source";
/// A source that says where it stands in the first batch only: that must outlive the batch's segment.
const QUIET_KEY: &[u8] = b"quiet source";
const DAY: i64 = 86_400_000_000_000;

/// One step of a workload.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// A batch of so many rows, waited for.
    Wait(usize),
    /// A batch of so many rows, left to the policy.
    Leave(usize),
    /// Rows become tables.
    Flush,
    /// Time passes.
    Pass(u64),
    /// The power changes.
    Supply(Power),
    /// The store is closed and opened again.
    Reopen,
    /// The store is backed up.
    BackUp,
    /// So many samples, one by one.
    Write(usize),
}

use Action::{BackUp, Flush, Leave, Pass, Reopen, Supply, Wait, Write};

/// A workload.
#[derive(Clone)]
pub struct Script {
    pub name: &'static str,
    pub actions: Vec<Action>,
    /// One fault at each call of the disk instead of crashes.
    pub sweep: bool,
    pub memtable_bytes: usize,
    pub fan_in: usize,
    /// Days over which rows are spread.
    pub days: i64,
    /// The manifest is lost with each crash.
    pub lose_manifest: bool,
    /// Bytes that the disk has left at the start.
    pub room: Option<u64>,
    /// Each row comes with a sample, and each batch writes one sample over that of the batch before.
    pub samples: bool,
    /// Samples in memory at which series with many are sealed.
    pub buffer_samples: usize,
    /// Segments of the journal at which all that is in memory is sealed.
    pub segments_max: usize,
    pub later: Later,
}

/// What the outside world was told or asked for. Batches have numbers from 1.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Event {
    Issued(usize, usize),
    /// So many samples were written one by one so far.
    Written(usize),
    /// The batch's receipt said that it is durable.
    Durable(usize),
    /// The append was refused: nothing of it may be there.
    Refused(usize),
    /// The clock went so far that samples are dropped from here on.
    Aged,
    /// The clock goes so far that all windows of the batches up to this one are over; what is issued later is late for its window.
    Over(usize),
    /// And they are made, durably.
    Made,
    /// A backup is complete, which has all batches up to this one.
    BackedUp(usize),
    /// After a crash these were there: from now on they must be.
    Served(Vec<usize>),
}

/// All workloads.
pub fn all() -> Vec<Script> {
    let script = |name, actions: &[Action]| Script {
        name,
        actions: actions.to_vec(),
        sweep: false,
        memtable_bytes: 64 << 10,
        fan_in: 8,
        days: 1,
        lose_manifest: false,
        room: None,
        samples: false,
        buffer_samples: 10_000,
        segments_max: Options::default().segments_max,
        later: Later::Stay,
    };
    let lines = [Wait(1), Leave(3), Wait(2), Pass(1_500), Leave(1), Wait(2)];
    let flushes = [Wait(3), Flush, Leave(2), Wait(1), Flush, Wait(2)];
    let many: Vec<Action> = (0..24).flat_map(|_| [Leave(20), Wait(9)]).collect();
    let backup = [Wait(3), Flush, Leave(2), Wait(1), BackUp, Wait(2), Flush];
    let backup_of_many: Vec<Action> = many[..12].iter().copied().chain([BackUp]).chain(many[..6].to_vec()).collect();
    let reopened = [Wait(4), Leave(2), Reopen, Wait(1), Flush, Reopen, Leave(3), Wait(2), Flush];
    let (battery, low, mains) = (Supply(Power::Battery), Supply(Power::Low), Supply(Power::Mains));
    let power = [
        Wait(3),
        Leave(5),
        battery,
        Leave(4),
        Wait(2),
        low,
        Leave(3),
        Flush,
        Wait(1),
        battery,
        Wait(2),
        mains,
        Wait(1),
    ];
    let mut all = vec![
        script("lines", &lines),
        script("power", &power),
        Script { days: 2, fan_in: 2, ..script("power-days", &power) },
        Script { sweep: true, ..script("faults-power", &power) },
        script("flushes", &flushes),
        Script { days: 3, ..script("days", &flushes) },
        Script { memtable_bytes: 4 << 10, ..script("small-memory", &many) },
        Script { memtable_bytes: 4 << 10, days: 2, ..script("small-days", &many) },
        script("reopened", &reopened),
        Script { memtable_bytes: 4 << 10, fan_in: 2, ..script("merges", &many[..24]) },
        Script { memtable_bytes: 4 << 10, fan_in: 3, days: 2, ..script("merges-days", &many) },
        Script { lose_manifest: true, memtable_bytes: 4 << 10, fan_in: 2, ..script("no-manifest", &many[..24]) },
        Script { sweep: true, memtable_bytes: 4 << 10, fan_in: 2, ..script("faults-merges", &many[..16]) },
        Script { sweep: true, ..script("faults", &flushes) },
        Script { sweep: true, days: 2, memtable_bytes: 4 << 10, ..script("faults-days", &many) },
        script("backup", &backup),
        Script { memtable_bytes: 4 << 10, fan_in: 2, days: 2, ..script("backup-days", &backup_of_many) },
        Script { sweep: true, ..script("faults-backup", &[Wait(2), Flush, Leave(1), BackUp, Wait(1)]) },
        Script { room: Some(400 << 10), memtable_bytes: 4 << 10, ..script("full", &many) },
    ];
    all.extend(of_samples(&script("", &[]), &power, &many, &reopened));
    all
}

/// Workloads with samples.
fn of_samples(plain: &Script, power: &[Action], many: &[Action], reopened: &[Action]) -> Vec<Script> {
    let measured =
        |name, actions: &[Action]| Script { name, actions: actions.to_vec(), samples: true, ..plain.clone() };
    let scrapes =
        [Wait(3), Write(5), Leave(2), Flush, Write(4), Wait(1), Pass(600), Write(1), Pass(1_500), Wait(2), Flush];
    let long: Vec<Action> = (0..12).flat_map(|_| [Leave(150), Write(7), Wait(9)]).collect();
    vec![
        measured("samples", &scrapes),
        Script { days: 2, fan_in: 2, ..measured("samples-days", &scrapes) },
        Script {
            sweep: true,
            fan_in: 2,
            ..measured("faults-samples", &[Wait(3), Leave(2), Flush, Wait(1), Flush, Wait(2)])
        },
        Script { buffer_samples: 300, fan_in: 2, ..measured("samples-merged", &long) },
        Script { buffer_samples: 300, fan_in: 2, lose_manifest: true, ..measured("samples-no-man", &long[..21]) },
        Script { memtable_bytes: 4 << 10, days: 2, ..measured("samples-power", power) },
        Script { room: Some(400 << 10), memtable_bytes: 4 << 10, ..measured("samples-full", many) },
        measured("samples-reopened", reopened),
        // Nothing but the number of segments has it sealed.
        Script { memtable_bytes: 1 << 30, segments_max: 2, ..measured("samples-segments", many) },
        Script { sweep: true, memtable_bytes: 1 << 30, segments_max: 2, ..measured("faults-segments", many) },
        Script { later: Later::Downsampled, fan_in: 2, ..measured("downsampled", &aging::WINDOWS) },
        Script { later: Later::Downsampled, fan_in: 2, sweep: true, ..measured("faults-windows", &aging::WINDOWS) },
        Script { later: Later::Dropped, ..measured("samples-dropped", &aging::dropped(many)) },
    ]
}

/// The rows of a batch: stream, time, text.
fn rows(script: &Script, batch: usize, count: usize) -> Vec<(usize, i64, String)> {
    let row = |at: usize| {
        let time = 1_700_000_000_000_000_000 + (batch * 1_000 + at * 7 % 5) as i64 + at as i64 % script.days * DAY;
        (at % 3, time, format!("batch {batch} row {at} of {count}, and some text behind it"))
    };
    (0..count).map(row).collect()
}

/// The samples of a batch: series, time, value.
pub fn samples(script: &Script, batch: usize, count: usize) -> Vec<(usize, i64, f64)> {
    let sample = |at: usize| {
        let time = script.later.time(batch, at) + at as i64 % script.days * 40 * DAY;
        // Every third one is no decimal.
        let value = if at % 3 == 2 { (at as f64).sqrt() / 3.0 } else { (at * 7) as f64 / 100.0 };
        (at % 3, time, value)
    };
    (0..if script.samples { count } else { 0 }).map(sample).collect()
}

fn series(number: usize) -> Labels {
    Labels::new([("core", number.to_string())]).expect("good labels")
}

/// Written over by each batch.
const GAUGE: (usize, i64) = (7, 1_600_000_000_000_000_000);
/// Written one by one: sample `n` has this time and `n` more, and the value `n`.
const SINGLES: (usize, i64) = (8, 1_650_000_000_000_000_000);

fn write_singles(store: &Store, numbers: Range<usize>, tell: &dyn Fn(Event)) -> Result<(), Error> {
    let own = store.stream(&series(SINGLES.0))?;
    for number in numbers {
        tell(Event::Written(number + 1));
        store.write(&own, SINGLES.1 + number as i64 + 1, (number + 1) as f64)?;
    }
    Ok(())
}

fn labels(stream: usize) -> Labels {
    Labels::new([("app", format!("app{stream}"))]).expect("good labels")
}

/// All rows but the store's own.
fn rows_of_the_script() -> Query {
    r#"{app=~".+"}"#.parse().expect("a good query")
}

/// What must be there, and what may be.
#[derive(Debug, Default)]
struct Model {
    issued: BTreeMap<usize, usize>,
    durable: Vec<usize>,
    refused: Vec<usize>,
    /// The last recovery's answer, and the number of batches issued by then.
    served: Option<(Vec<usize>, usize)>,
    written: usize,
    /// Samples written one by one before each batch was issued: they are durable with it.
    written_before: BTreeMap<usize, usize>,
    /// Samples may have been dropped.
    aged: bool,
    /// All windows of the batches up to this one were over at one time; and whether they are made.
    over: Option<usize>,
    made: bool,
}

impl Model {
    fn of(history: &History<Event>) -> Model {
        let mut model = Model::default();
        history.for_each(|event| match event {
            Event::Issued(batch, count) => {
                model.issued.insert(*batch, *count);
                model.written_before.insert(*batch, model.written);
            }
            Event::Written(all) => model.written = *all,
            Event::Durable(batch) => model.durable.push(*batch),
            Event::Refused(batch) => model.refused.push(*batch),
            Event::BackedUp(_) => {}
            Event::Aged => model.aged = true,
            Event::Over(upto) => _ = model.over.get_or_insert(*upto),
            Event::Made => model.made = true,
            Event::Served(all) => model.served = Some((all.clone(), model.issued.len())),
        });
        model
    }

    /// The windows of the batches up to this one must be there.
    fn made_upto(&self) -> usize {
        self.over.filter(|_| self.made).unwrap_or(0)
    }
}

/// Lets time pass.
fn pass(world: &World, milliseconds: u64, tell: &dyn Fn(Event)) {
    if milliseconds > aging::DAY_MILLISECONDS {
        tell(Event::Aged);
    }
    world.environment.wait(&Default::default(), 0, Some(Duration::from_millis(milliseconds)));
}

impl Script {
    fn options(&self) -> Options {
        let small = Options::default();
        Options {
            journal: duramen_journal::Options {
                segment_bytes: 64 << 10,
                spares_max: 1,
                stock: false,
                policy: SyncPolicy::Interval(Duration::from_secs(1)),
                ..small.journal.clone()
            },
            memtable_bytes: self.memtable_bytes,
            buffer_bytes: self.memtable_bytes,
            buffer_samples: self.buffer_samples,
            fan_in: self.fan_in,
            // Two of the three streams of most batches.
            large_stream_bytes: 150,
            segments_max: self.segments_max,
            downsampling: self.later.rules(),
            retention_age: self.later.retention_age(),
            ..small
        }
    }

    /// Its time is long ago: where samples are dropped it would be refused.
    fn has_gauge(&self) -> bool {
        self.samples && self.later != Later::Dropped
    }

    pub fn open(&self, world: &World) -> Result<Store, Error> {
        Store::open_with(FOLDER, &self.options(), world.clone()).map(|opened| opened.0)
    }

    fn batch(&self, store: &Store, number: usize, count: usize) -> Result<Batch, Error> {
        let streams = (0..3).map(|at| store.stream(&labels(at))).collect::<Result<Vec<_>, _>>()?;
        let mut batch = Batch::new();
        for (stream, time, text) in rows(self, number, count) {
            batch.push(&streams[stream], time, Level::Info, text.as_bytes(), &[]);
        }
        for (own, time, value) in samples(self, number, count) {
            batch.push_sample(&store.stream(&series(own))?, time, value);
        }
        if self.has_gauge() {
            batch.push_sample(&store.stream(&series(GAUGE.0))?, GAUGE.1, number as f64);
        }
        batch.set_position(KEY, &(number as u64).to_le_bytes());
        if number == 1 {
            batch.set_position(QUIET_KEY, b"once");
        }
        Ok(batch)
    }

    /// Runs the actions. Only if `may_fail`, because the disk does, may any of them.
    pub fn act(&self, world: &World, tell: &dyn Fn(Event), may_fail: bool) -> Result<(), String> {
        let mut store = match self.open(world) {
            Ok(store) => store,
            Err(_) if may_fail => return Ok(()),
            Err(error) => return Err(format!("opening: {error}")),
        };
        let (mut number, mut written) = (0, 0);
        let mut waiting = Vec::new();
        for action in &self.actions {
            let result = match *action {
                Wait(count) | Leave(count) => {
                    number += 1;
                    tell(Event::Issued(number, count));
                    let how = if matches!(action, Wait(_)) { Durability::Now } else { Durability::Policy };
                    match self.batch(&store, number, count).and_then(|batch| store.append(batch, how)) {
                        Ok(receipt) if how == Durability::Now => receipt.wait().map(|()| tell(Event::Durable(number))),
                        Ok(receipt) => {
                            waiting.push((number, receipt));
                            Ok(())
                        }
                        Err(error) => {
                            tell(Event::Refused(number));
                            Err(error)
                        }
                    }
                }
                Flush => store.flush(),
                Write(count) => {
                    written += count;
                    write_singles(&store, written - count..written, tell)
                }
                BackUp => store.backup(BACKUP, &mut |_| ()).map(|_| tell(Event::BackedUp(number))),
                Supply(power) => store.set_power(power, "script").and_then(|()| store.tick()),
                Pass(milliseconds) => {
                    pass(world, milliseconds, tell);
                    store.tick()
                }
                Reopen => {
                    let closed = store.close();
                    drop(store);
                    store = match self.open(world) {
                        Ok(store) => store,
                        Err(_) if may_fail => return Ok(()),
                        Err(error) => return Err(format!("opening again: {error}")),
                    };
                    closed
                }
            };
            match result {
                Ok(()) => {}
                Err(_) if may_fail => {}
                Err(error) => return Err(format!("{action:?}: {error}")),
            }
            waiting.retain(|(number, receipt)| match receipt.level() {
                Ok(duramen_journal::Level::Durable) => {
                    tell(Event::Durable(*number));
                    false
                }
                Ok(_) => true,
                Err(error) => {
                    if error.is_no_space() {
                        tell(Event::Refused(*number));
                    }
                    false
                }
            });
        }
        match store.close() {
            Err(error) if !may_fail => Err(format!("closing: {error}")),
            _ => Ok(()),
        }
    }

    /// The batches that the store serves, each whole and once.
    fn served(&self, store: &Store, model: &Model) -> Result<Vec<usize>, String> {
        let mut found: BTreeMap<usize, Vec<(usize, i64, String)>> = BTreeMap::new();
        let mut before = i64::MIN;
        for row in store.query(rows_of_the_script()).map_err(|error| format!("asking: {error}"))? {
            let row = row.map_err(|error| format!("reading: {error}"))?;
            if row.time < before {
                return Err("rows are out of order".into());
            }
            before = row.time;
            let text = String::from_utf8(row.text.clone()).map_err(|error| error.to_string())?;
            let number = text.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or("a foreign row")?;
            let stream = (0..3).find(|&at| labels(at) == row.labels).ok_or("a foreign stream")?;
            found.entry(number).or_default().push((stream, row.time, text));
        }
        for (number, mut rows_found) in found.clone() {
            let count = *model.issued.get(&number).ok_or_else(|| format!("batch {number} was never issued"))?;
            let mut expected = rows(self, number, count);
            expected.sort();
            rows_found.sort();
            if rows_found != expected {
                let (is, was) = (rows_found.len(), expected.len());
                return Err(format!("batch {number} is there with {is} of {was} rows: {rows_found:?}"));
            }
        }
        if self.samples {
            self.check_samples(store, model, &found.keys().copied().collect::<Vec<_>>())?;
        }
        Ok(found.into_keys().collect())
    }

    /// The samples are those of the batches whose rows are there, every bit of them, and of those that were written one by one the
    /// first ones.
    fn check_samples(&self, store: &Store, model: &Model, served: &[usize]) -> Result<(), String> {
        let mut told: BTreeMap<String, BTreeMap<i64, u64>> = BTreeMap::new();
        let mut note = |own: usize, time: i64, value: f64| {
            told.entry(series(own).to_string()).or_default().insert(time, value.to_bits());
        };
        for &number in served {
            samples(self, number, model.issued[&number])
                .into_iter()
                .for_each(|(own, time, value)| note(own, time, value));
            if self.has_gauge() {
                note(GAUGE.0, GAUGE.1, number as f64);
            }
        }
        let asked =
            store.samples(&Selector::default(), i64::MIN, i64::MAX).map_err(|error| format!("asking: {error}"))?;
        let mut singles = 0;
        let mut found: BTreeMap<String, BTreeMap<i64, u64>> = BTreeMap::new();
        let mut made = Vec::new();
        for own in asked {
            let own = own.map_err(|error| format!("reading: {error}"))?;
            if own.labels.get(DOWNSAMPLE_LABEL).is_some() {
                made.push(own);
                continue;
            }
            let all = own.samples.iter().map(|sample| (sample.time, sample.value.to_bits())).collect();
            if own.labels == series(SINGLES.0) {
                singles = own.samples.len();
                let expected: BTreeMap<i64, u64> =
                    (1..=singles).map(|n| (SINGLES.1 + n as i64, (n as f64).to_bits())).collect();
                if all != expected {
                    return Err(format!("samples written one by one are not the first ones: {:?}", own.samples));
                }
                continue;
            }
            found.insert(own.labels.to_string(), all);
        }
        if model.aged {
            aging::forget_dropped(&mut told, &found);
        }
        let counted: Vec<_> = served.iter().map(|&number| (number, model.issued[&number])).collect();
        aging::check_made(self, &made, &counted, model.made_upto())?;
        if found != told {
            let flat = |all: &BTreeMap<String, BTreeMap<i64, u64>>| -> BTreeSet<(String, i64, u64)> {
                all.iter()
                    .flat_map(|(name, own)| own.iter().map(move |(time, value)| (name.clone(), *time, *value)))
                    .collect()
            };
            let (told, found) = (flat(&told), flat(&found));
            let missing: Vec<_> = told.difference(&found).take(5).collect();
            let foreign: Vec<_> = found.difference(&told).take(5).collect();
            return Err(format!(
                "of the samples of batches {served:?} are missing {missing:?}, and foreign {foreign:?}"
            ));
        }
        let due = model.durable.iter().filter_map(|batch| model.written_before.get(batch)).max();
        if due.is_some_and(|&due| singles < due) || singles > model.written {
            return Err(format!(
                "{singles} samples were written one by one; durable were {due:?} of {}",
                model.written
            ));
        }
        Ok(())
    }

    /// How many samples are there that were written one by one.
    fn singles(&self, store: &Store) -> Result<usize, String> {
        let asked =
            store.samples(&Selector::default(), SINGLES.1, SINGLES.1 + DAY).map_err(|error| error.to_string())?;
        asked.map(|own| own.map(|own| own.samples.len()).map_err(|error| error.to_string())).sum()
    }

    /// What bears a backup's name is one: whole, and with everything that was there when it was begun.
    fn check_backup(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        let mut promised = None;
        history.for_each(|event| {
            if let Event::BackedUp(upto) = event {
                promised = Some(*upto);
            }
        });
        if world.disk.list(BACKUP.as_ref()).is_err() {
            return promised.map_or(Ok(()), |_| Err("a complete backup is gone".to_string()));
        }
        let found = verify(BACKUP, world.clone(), &mut |_| ()).map_err(|error| format!("the backup: {error}"))?;
        // A recovery that was cut before this one may have opened it.
        if !found.is_sound() {
            return Err(format!("the backup is damaged: {:?} {found}", found.findings));
        }
        let (store, report) = Store::open_with(BACKUP, &self.options(), world.clone())
            .map_err(|error| format!("the backup does not open: {error}"))?;
        let model = Model::of(history);
        let served = self.served(&store, &model)?;
        // Without faults a batch is there only if all before it are; with them it is if somebody was told so.
        let whole = self.sweep || served.iter().copied().eq(1..=served.len());
        let promises = |number: usize| promised.is_some_and(|upto| number <= upto);
        let due = if self.sweep { model.durable.clone() } else { model.issued.keys().copied().collect() };
        if !whole || due.iter().any(|&number| promises(number) && !served.contains(&number)) {
            return Err(format!("the backup was to have {promised:?} and has {served:?}: {report}"));
        }
        store.close().map_err(|error| format!("closing the backup: {error}"))
    }

    fn check(&self, store: &Store, model: &Model, faulty: bool) -> Result<Vec<usize>, String> {
        let served = self.served(store, model)?;
        if let Some(lost) = model.durable.iter().find(|number| !served.contains(number)) {
            return Err(format!("batch {lost} was acknowledged and is lost; there are {served:?}"));
        }
        if let Some(revived) = model.refused.iter().find(|number| served.contains(number)) {
            return Err(format!("batch {revived} was refused and is there"));
        }
        if let Some((before, issued)) = &model.served {
            let still: Vec<usize> = served.iter().copied().filter(|number| number <= issued).collect();
            if still != *before {
                return Err(format!("served before: {before:?}, now {still:?}"));
            }
        }
        // One ordered path: without faults a batch is there only if all before it are.
        let settled = model.served.as_ref().map_or(0, |(_, issued)| *issued);
        let later = served.iter().filter(|&&number| number > settled);
        let gapless = later.enumerate().all(|(at, &number)| number == settled + at + 1);
        if !faulty && !gapless {
            return Err(format!("there is a hole: {served:?}"));
        }
        let position = store.position(KEY).map(|value| u64::from_le_bytes(value.try_into().expect("eight bytes")));
        let last = served.iter().max().map(|&last| last as u64);
        if position != last {
            return Err(format!("the position is {position:?}, and the last batch {last:?}"));
        }
        if store.position(QUIET_KEY).is_some() != served.contains(&1) {
            return Err("the position of a quiet source is lost, or comes from nowhere".into());
        }
        Ok(served)
    }
}

impl Scenario for Script {
    type Event = Event;

    fn prepare(&self, disk: &SimDisk) {
        if let Some(room) = self.room {
            disk.set_capacity(Some(room));
        }
    }

    fn run(&self, world: &World, history: &History<Event>) {
        let faulty = self.sweep || self.room.is_some();
        self.act(world, &|event| history.push(event), faulty).unwrap_or_else(|error| panic!("{error}"));
    }

    fn recover(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        let model = Model::of(history);
        let faulty = self.sweep || self.room.is_some();
        if self.lose_manifest {
            let lost = world.disk.remove("/data/MANIFEST".as_ref());
            // Whoever removes it makes that durable: otherwise it may come back older than the tables.
            let _ = lost.and_then(|()| world.disk.sync_dir(FOLDER.as_ref()));
        }
        self.check_backup(world, history)?;
        let store = match self.open(world) {
            Ok(store) => store,
            Err(error) if error.is_no_space() && model.durable.is_empty() => return Ok(()),
            Err(error) => return Err(format!("refused after a crash: {error}")),
        };
        let served = self.check(&store, &model, faulty)?;
        history.push(Event::Served(served.clone()));
        if !history.count().is_multiple_of(3) || self.room.is_some() {
            return store.close().map_err(|error| format!("closing: {error}"));
        }
        // Goes on, makes tables, and looks again.
        let number = model.issued.len() + 1;
        // Of those that were written one by one, the others are lost, and were not promised.
        history.push(Event::Written(self.singles(&store)?));
        history.push(Event::Issued(number, 4));
        let batch = self.batch(&store, number, 4).map_err(|error| error.to_string())?;
        let appended = store.append(batch, Durability::Now).and_then(|receipt| receipt.wait());
        appended.map_err(|error| format!("going on: {error}"))?;
        history.push(Event::Durable(number));
        store.flush().map_err(|error| format!("flushing: {error}"))?;
        store.close().map_err(|error| format!("closing: {error}"))?;
        drop(store);
        let store = self.open(world).map_err(|error| format!("opening a second time: {error}"))?;
        // What was lost leaves holes behind which the store goes on.
        let served = self.check(&store, &Model::of(history), true)?;
        history.push(Event::Served(served));
        if self.later != Later::Downsampled {
            return store.close().map_err(|error| format!("closing: {error}"));
        }
        history.push(Event::Over(number));
        pass(world, 3_600_000, &|event| history.push(event));
        store.tick().map_err(|error| format!("making windows: {error}"))?;
        store.close().map_err(|error| format!("closing: {error}"))?;
        history.push(Event::Made);
        drop(store);
        let store = self.open(world).map_err(|error| format!("opening a third time: {error}"))?;
        self.check(&store, &Model::of(history), true)?;
        store.close().map_err(|error| format!("closing: {error}"))
    }

    fn recover_refused(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        if let Ok(store) = self.open(world) {
            self.check(&store, &Model::of(history), true)?;
        }
        Ok(())
    }
}
