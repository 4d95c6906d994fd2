//! Setting a damaged journal aside, crashed at every operation, and at every operation of what goes on with it: the good
//! records are there exactly once, the loss is told, what lies aside is what was damaged, byte for byte. Owns the kinds of
//! damage; scripts, model and bytes are its neighbours'.

use std::path::Path;

use duramen_journal::disk::sim::{History, Scenario, SimDisk};
use duramen_journal::disk::{Access, Disk, read_full_at};
use duramen_journal::inspect::verify;
use duramen_journal::{
    Append, Batch, Codec, End, Error, Gap, Journal, OnDamage, Options, Reader, Record, Report, Sequence, World,
};

use crate::checker::read_options;
use crate::damage::{build, open_ended, places, segment, several};
use crate::model::{Event, Model, payload};
use crate::script::{FOLDER, Script, Step, Then, accept_refusal, append, batch, one};

/// A damaged journal, and what must become of it.
pub struct Aside {
    pub name: &'static str,
    disk: SimDisk,
    model: Model,
    options: Options,
    /// What is lost.
    lost: Gap,
    /// The files of the damaged journal.
    damaged: Vec<(String, Vec<u8>)>,
    /// Faults are swept over it instead of crashes.
    pub sweep: bool,
    /// Crashes tried within one recovery.
    pub nested: u64,
    /// One of so many states of the campaign is this one's: such a recovery builds a journal anew.
    pub share: u64,
}

/// Records appended once the journal goes on.
const APPENDED: u64 = 3;
/// The tools look at one image in so many.
const LOOKED_AT_EVERY: u64 = 16;

/// Where the damage is.
enum Place {
    /// A bit of the body of the commit with this place among its segment's.
    Commit(u64, usize),
    /// The same in a segment that has no footer.
    Footless(u64, usize),
    /// Both header pages.
    Headers(u64),
    Missing(u64),
}

/// All cases.
pub fn all() -> Vec<Aside> {
    let lz4 = |mut script: Script| {
        script.options[0].codec = Codec::Lz4;
        script
    };
    let released = |mut script: Script| {
        script.steps.push(Step::ReleaseBut(9));
        script.steps.push(append(one(70), Then::Wait));
        script
    };
    // A flush that nobody waits for: its commit is torn too.
    let torn = |mut script: Script| {
        script.steps.extend([append(one(900), Then::Drop), Step::Flush]);
        script
    };
    let batches = |mut script: Script| {
        script.steps.extend([append(batch(3, 300, 2), Then::Wait), append(batch(2, 4_000, 2), Then::Wait)]);
        script
    };
    vec![
        Aside::new("aside-commit", open_ended(), Place::Commit(1, 4)).everywhere(),
        Aside::new("aside-first-commit", batches(open_ended()), Place::Commit(1, 0)),
        Aside::new("aside-lz4", lz4(open_ended()), Place::Commit(1, 5)),
        Aside::new("aside-several", several(), Place::Commit(4, 0)),
        Aside::new("aside-released", released(several()), Place::Footless(3, 1)),
        Aside::new("aside-footless", several(), Place::Footless(2, 2)),
        Aside::new("aside-headers", several(), Place::Headers(2)),
        Aside::new("aside-missing", torn(several()), Place::Missing(3)),
        Aside::new("aside-identity", several(), Place::Missing(2)).without_identity(),
        Aside::new("aside-faults", open_ended(), Place::Commit(1, 4)).swept(),
        Aside::new("aside-faults-missing", several(), Place::Missing(2)).swept(),
    ]
}

impl Aside {
    fn new(name: &'static str, script: Script, place: Place) -> Aside {
        let built = build(&script, 1);
        let disk = built.disk;
        let (number, lost) = match place {
            Place::Commit(number, commit) | Place::Footless(number, commit) => {
                let found = places(&disk.read_durable(&segment(number)).expect("is there"))[commit];
                // Behind the commit's and the record's, or the block's, header.
                let at = found.offset as u64 + 40 + 24 + 2;
                disk.flip_durable_bit(&segment(number), at, 3).expect("flips");
                (number, Gap { first: found.first, end: found.first + u64::from(found.records) })
            }
            Place::Headers(number) | Place::Missing(number) => {
                let bytes = disk.read_durable(&segment(number)).expect("is there");
                let whole = places(&bytes);
                let (first, last) = (whole[0], whole[whole.len() - 1]);
                (number, Gap { first: first.first, end: last.first + u64::from(last.records) })
            }
        };
        match place {
            Place::Commit(..) => {}
            Place::Footless(..) => {
                let bytes = disk.read_durable(&segment(number)).expect("is there").len() as u64;
                disk.write_durable(&segment(number), bytes - 4096, &[0; 4096]).expect("overwrites");
            }
            Place::Headers(_) => disk.write_durable(&segment(number), 0, &[0x5a; 8192]).expect("overwrites"),
            Place::Missing(_) => disk.remove_durable(&segment(number)).expect("was there"),
        }
        let options = Options { on_damage: OnDamage::SetAside, ..built.options };
        let damaged = files_in(&*disk.world().disk, "/j/journal").expect("lists");
        Aside { name, disk, model: built.model, options, lost, damaged, sweep: false, nested: 24, share: 800 }
    }

    /// The identity is damaged too.
    fn without_identity(self) -> Aside {
        self.disk.flip_durable_bit("/j/IDENTITY", 20, 1).expect("flips");
        self
    }

    /// It is small enough to be crashed between any two operations of a recovery: two renames lie side by side.
    fn everywhere(mut self) -> Aside {
        (self.nested, self.share) = (120, 200);
        self
    }

    fn swept(mut self) -> Aside {
        self.sweep = true;
        self
    }

    fn open(&self, world: &World) -> Result<(Journal, Report), Error> {
        Journal::open_with(Path::new(FOLDER), &self.options, world.clone())
    }

    /// The original model, and what came since.
    fn model(&self, history: &History<Event>) -> Model {
        let mut model = self.model.clone();
        history.for_each(|event| model.apply(event));
        model
    }

    /// What was durable before the damage is there but for what was lost, and what was acknowledged since.
    fn check_served(&self, journal: &Journal, report: &Report, model: &Model, floor: Sequence) -> Result<(), String> {
        if report.gaps != [self.lost] {
            return Err(format!("{:?} are lost, and the report says: {report}", self.lost));
        }
        if report.next <= floor || report.next > model.next() {
            return Err(format!("{floor} was acknowledged, {} is next to be issued: {report}", model.next()));
        }
        let mut expected = report.first.max(journal.first());
        match journal.read(self.lost.first) {
            Err(Error::InGap { resume, .. }) if resume == self.lost.end => {}
            other => return Err(format!("what is lost is told as {other:?}")),
        }
        if expected == self.lost.end && self.lost.first == 1 {
            // The oldest is lost, and the first that is stored comes behind it.
        } else if expected > model.release_asked.max(1) {
            return Err(format!("released too much: {report}"));
        }
        for record in journal.scan(..) {
            if expected == self.lost.first {
                match record {
                    Err(Error::InGap { resume, .. }) if resume == self.lost.end => expected = resume,
                    other => return Err(format!("a gap was expected at {expected}: {other:?}")),
                }
                continue;
            }
            let record = record.map_err(|error| format!("record {expected} cannot be read: {error}"))?;
            model.check_records(std::iter::once(Ok(record)), expected, expected + 1)?;
            expected += 1;
        }
        if expected != report.next {
            return Err(format!("the scan ended before {expected}, {floor}: {report}"));
        }
        Ok(())
    }

    /// The damaged journal lies aside, once and untouched.
    fn check_aside(&self, world: &World) -> Result<(), String> {
        let list = world.disk.list(Path::new("/j/aside")).map_err(|error| format!("nothing lies aside: {error}"))?;
        if list.len() != 1 || list[0].name != "1" {
            return Err(format!("set aside more than once: {list:?}"));
        }
        let aside = files_in(&*world.disk, "/j/aside/1").map_err(|error| error.to_string())?;
        if aside != self.damaged {
            return Err("what lies aside is not what was damaged".to_owned());
        }
        let rebuilt = world.disk.list(Path::new("/j/rebuilt.tmp"));
        if rebuilt.is_ok_and(|entries| !entries.is_empty()) {
            return Err("a half-built journal was left".to_owned());
        }
        Ok(())
    }

    fn go_on(&self, journal: &Journal, next: Sequence, history: &History<Event>) -> Result<(), Error> {
        for first in next..next + APPENDED {
            let (content, shape) = (7_000 + (first - next) as u32, one(600));
            history.push(Event::Issued { first, content, shape });
            let mut batch = Batch::new();
            batch.push(shape.log_of(0), shape.kind, payload(content, 0, shape.bytes));
            let ticket = journal.append_batch(&batch, Append::default())?;
            assert_eq!(ticket.first(), first, "no sequence is given twice");
            history.push(Event::Durable(ticket.wait()?));
        }
        Ok(())
    }

    fn check(&self, world: &World, history: &History<Event>, floor: Sequence) -> Result<(), String> {
        let model = self.model(history);
        let (journal, report) = self.open(world).map_err(|error| format!("refused after a crash: {error}"))?;
        self.check_served(&journal, &report, &model, floor)?;
        self.check_aside(world)?;
        history.push(Event::Served { first: report.first, next: report.next });
        self.go_on(&journal, report.next, history).map_err(|error| format!("going on: {error}"))?;
        journal.close().map_err(|error| format!("closing: {error}"))?;
        drop(journal);
        let model = self.model(history);
        let (journal, report) = self.open(world).map_err(|error| format!("opening again: {error}"))?;
        self.check_served(&journal, &report, &model, model.durable)?;
        if report.end != End::Closed || report.set_aside.is_some() {
            return Err(format!("set aside, closed, and not whole: {report}"));
        }
        self.check_aside(world)
    }
}

/// The files of a folder and their bytes.
fn files_in(disk: &dyn Disk, folder: &str) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in disk.list(Path::new(folder))? {
        let file = disk.open(&Path::new(folder).join(&entry.name), Access::Read)?;
        let mut bytes = vec![0; entry.bytes as usize];
        read_full_at(&*file, &mut bytes, 0)?;
        files.push((entry.name, bytes));
    }
    Ok(files)
}

impl Scenario for Aside {
    type Event = Event;

    fn prepare(&self, disk: &SimDisk) {
        for (path, _) in self.disk.list_files() {
            disk.put_durable(&path, &self.disk.read_durable(&path).expect("listed")).expect("room");
        }
    }

    fn run(&self, world: &World, history: &History<Event>) {
        let result = self.open(world).and_then(|(journal, report)| {
            history.push(Event::Served { first: report.first, next: report.next });
            self.go_on(&journal, report.next, history)?;
            journal.close()
        });
        match result {
            Err(error) if self.sweep => accept_refusal(&error).expect("a fault has a typed error"),
            other => other.expect("sets aside"),
        }
    }

    /// Whoever reads meanwhile sees the damaged journal or the new one, and every good record of it that stands before
    /// the damage.
    fn inspect(&self, world: &World, history: &History<Event>, key: u64) -> Result<(), String> {
        if !key.is_multiple_of(LOOKED_AT_EVERY) {
            return Ok(());
        }
        let verification = verify(FOLDER, world.clone(), &mut |_| ()).map_err(|error| format!("verify: {error}"))?;
        let reader = Reader::open_with(Path::new(FOLDER), &read_options(), world.clone())
            .map_err(|error| format!("reading: {error}"))?;
        let model = self.model(history);
        let stands_before =
            |record: &Result<Record, Error>| record.as_ref().is_ok_and(|record| record.sequence < self.lost.first);
        let before = reader.scan(..).take_while(stands_before);
        model.check_records(before, reader.first().min(self.lost.first), self.lost.first)?;
        let gaps = verification.report.gaps == [self.lost];
        if gaps || !verification.damage.is_empty() { Ok(()) } else { Err(format!("no loss is told: {verification}")) }
    }

    fn recover(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        let floor = self.model(history).durable;
        self.check(world, history, floor)
    }

    fn recover_refused(&self, world: &World, history: &History<Event>) -> Result<(), String> {
        match self.open(world) {
            Ok((journal, report)) => self.check_served(&journal, &report, &self.model(history), 0),
            Err(error) => accept_refusal(&error),
        }
    }
}
