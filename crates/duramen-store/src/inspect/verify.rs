//! Every byte of a store, and what its parts say of each other. Owns the order: the journal's bytes, its records, the manifest, then the
//! tables, partition by partition.
//!
//! Beside a living store tables come and go. Each partition's tables are open before any of them is read, so that they stay; one that
//! is gone by then makes the partition's list be read anew. Old partitions do not change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duramen_journal::inspect::{self as journal_inspect, Progress};
use duramen_journal::sync::AtomicU32;
use duramen_journal::{End, Sequence, World};

use super::finding::{Fault, Finding, Findings, Loss, Unit, boot_of};
use super::journal::{Contents, JournalCounts, Kinds, Names, PLACE, count, for_each_record};
use super::owed::{Share, Shelf, collect};
use super::tables::{Check, Counted, file_of, loss_of_table};
use super::{Folder, json_array, json_string};
use crate::catalog::{Look, LostTable};
use crate::chunk::StreamId;
use crate::covers::Covers;
use crate::error::Error;
use crate::format::manifest::TableEntry;
use crate::format::table::{Grain, Partition};
use crate::labels::Labels;
use crate::open::read_covers;
use crate::row::Nanoseconds;
use crate::table::Table;

/// The manifest's name.
const MANIFEST: &str = "MANIFEST";
/// How often a partition of a living store is looked at before a table that is gone counts as missing.
const LOOKS: u32 = 6;
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes between two calls of the progress.
const STEP_BYTES: u64 = 4 << 20;

/// What [`verify`] found.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The journal's bytes.
    pub journal: journal_inspect::Verification,
    /// What is wrong with the rest, the first thousand of it.
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub findings_more: u64,
    /// What a reader should know, and is not wrong.
    pub notes: Vec<String>,
    /// Records of the journal that were decoded.
    pub records: u64,
    /// Positions of sources among them.
    pub positions: u64,
    /// Streams that the journal defines.
    pub streams: u64,
    /// Rows that only the journal has.
    pub journal_rows: u64,
    /// Samples that only the journal has, each time that one was written.
    pub journal_samples: u64,
    /// Tables that were read.
    pub tables: u64,
    /// Blocks of them.
    pub blocks: u64,
    /// Rows in them.
    pub table_rows: u64,
    /// Samples in them; those of one time that stand in several tables count in each.
    pub table_samples: u64,
    /// Bytes of them.
    pub table_bytes: u64,
    /// How it ends: [`End::Damaged`] if anything at all is wrong, [`End::Unreadable`] if something cannot be read.
    pub end: End,
}

impl Verification {
    /// Whether nothing is wrong, however it ends.
    pub fn is_sound(&self) -> bool {
        !matches!(self.end, End::Damaged | End::Unreadable)
    }

    /// The whole as one JSON object.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"end\":\"{}\",\"tables\":{},\"blocks\":{},\"table_rows\":{},\"table_samples\":{},\"table_bytes\":{},\
             \"journal_rows\":{},\"journal_samples\":{},\"records\":{},\"positions\":{},\"streams\":{},\"findings\":{},\
             \"findings_more\":{},\"notes\":{},\"journal\":{}}}",
            self.end.word(),
            self.tables,
            self.blocks,
            self.table_rows,
            self.table_samples,
            self.table_bytes,
            self.journal_rows,
            self.journal_samples,
            self.records,
            self.positions,
            self.streams,
            json_array(self.findings.iter().map(Finding::to_json)),
            self.findings_more,
            json_array(self.notes.iter().map(|note| json_string(note))),
            self.journal.to_json()
        )
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.journal.report)?;
        writeln!(f, "rows      {} in tables, {} in the journal only", self.table_rows, self.journal_rows)?;
        if self.table_samples + self.journal_samples > 0 {
            let (tables, journal) = (self.table_samples, self.journal_samples);
            writeln!(f, "samples   {tables} in tables, {journal} in the journal only")?;
        }
        writeln!(f, "tables    {} ({} blocks, {} bytes)", self.tables, self.blocks, self.table_bytes)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note      {note}"))
    }
}

/// Checks every byte of a store, and that no row is lost or there twice, and no sample lost, as far as its parts tell. Reads only; beside a living store an
/// unfinished end is no damage.
///
/// `progress` is called every few megabytes, on the calling thread.
///
/// # Errors
/// The journal cannot be read at all, the folder holds something else, or it was written by a newer version. Damage is an answer.
pub fn verify(path: impl AsRef<Path>, world: World, progress: &mut dyn FnMut(Progress)) -> Result<Verification, Error> {
    let path = path.as_ref();
    let mut told = Progress::default();
    let table_bytes = |look: &Look| look.tables.iter().map(|entry| entry.bytes).sum::<u64>();
    // The tables before the journal: what a living store seals meanwhile is then still looked for in the journal.
    let folder = Folder::open(path, &world)?;
    let live = folder.is_live();
    let look = look_at(&folder, live)?;
    let bytes_total = table_bytes(&look);
    let journal = journal_inspect::verify(path, world.clone(), &mut |now: Progress| {
        told = Progress { bytes: now.bytes, bytes_total: now.bytes_total + bytes_total };
        progress(told);
    })?;
    // Opened anew: beside a living store the journal's beginning may have moved on.
    let folder = Folder::open(path, &world)?;
    let mut work = Work {
        covers: read_covers(&folder.catalog, &look.tables, folder.reader.first()),
        folder,
        live,
        journal_next: Some(journal.report.next).filter(|_| !live),
        findings: Findings::default(),
        notes: Vec::new(),
        counted: Counted::default(),
    };
    let names = Names::read(&work.folder.reader, &mut work.findings);
    let counts = count(&work.folder.reader, &names, &work.covers, &mut work.findings);
    if let Some(unread) = counts.unread.filter(|_| counts.gaps) {
        let (samples, first) = (Unit::Samples.count(unread.samples), unread.first);
        work.notes
            .push(format!("{samples} from record {first} on cannot be read: they build on records of a known loss"));
    }
    work.manifest(&look);
    work.lost_tables(&look, &names);
    work.journal_losses(&journal, &look, counts.kinds);
    let mut step = 0;
    let mut passed = |bytes: u64| {
        told.bytes = (told.bytes + bytes).min(told.bytes_total);
        step += bytes;
        if step >= STEP_BYTES {
            step = 0;
            progress(told);
        }
    };
    let sound = work.partitions(&look, &counts, &mut passed)?;
    work.samples_owed(&sound, &names, &counts);
    Ok(work.verification(journal, &names, &counts))
}

/// Looks at manifest and tables; beside a living store a few times, because a table can be replaced between two reads.
fn look_at(folder: &Folder, live: bool) -> Result<Look, Error> {
    let mut looks = 0;
    loop {
        looks += 1;
        let look = folder.catalog.look();
        let settled = matches!(&look, Ok(look) if look.lost.is_empty());
        if settled || !live || looks == LOOKS {
            return look;
        }
        folder.world.environment.wait(&AtomicU32::new(0), 0, Some(PAUSE));
    }
}

/// What checking one partition found.
struct Checked {
    findings: Findings,
    counted: Counted,
    tables: Vec<Arc<Table>>,
    /// How often its list was read.
    looks: u32,
}

/// Samples that no table has, though one says so.
#[derive(Default)]
struct Missing {
    samples: u64,
    times: Option<(Nanoseconds, Nanoseconds)>,
    /// Their series, if it is one.
    stream: Option<Option<Labels>>,
}

impl Missing {
    fn add(&mut self, labels: Labels, times: impl Iterator<Item = Nanoseconds>) {
        for time in times {
            self.samples += 1;
            self.times = self.times.map_or(Some((time, time)), |(from, to)| Some((from.min(time), to.max(time))));
        }
        self.stream = match self.stream.take() {
            None => Some(Some(labels)),
            Some(own) => Some(own.filter(|own| *own == labels)),
        };
    }
}

struct Work {
    folder: Folder,
    live: bool,
    journal_next: Option<Sequence>,
    covers: Covers,
    findings: Findings,
    notes: Vec<String>,
    counted: Counted,
}

impl Work {
    /// What the manifest is, and what else lies beside the tables.
    fn manifest(&mut self, look: &Look) {
        let file = MANIFEST.to_string();
        if let Some(reason) = &look.manifest_unreadable {
            let reason = reason.clone();
            self.findings.add(Finding { fault: Fault::Unreadable, file, offset: None, reason, loss: None });
        } else if let Some(reason) = &look.manifest_fault {
            let reason = format!("{reason}; opening rebuilds it from the tables, no row is lost by it");
            self.findings.add(Finding { fault: Fault::Damage, file, offset: None, reason, loss: None });
        } else if !look.has_manifest && !look.tables.is_empty() {
            let reason = "it is missing; opening rebuilds it from the tables, no row is lost by it".to_string();
            self.findings.add(Finding { fault: Fault::Damage, file, offset: None, reason, loss: None });
        }
        if self.live {
            return;
        }
        for &number in &look.dead {
            self.notes.push(format!("{} does not count any more; the next opening removes it", file_of(number)));
        }
        for name in &look.temporary {
            self.notes.push(format!("tables/{name} was never finished; the next opening removes it"));
        }
        for name in &look.foreign {
            self.notes.push(format!("tables/{name} is no table; nothing looks at it"));
        }
    }

    /// Tables that cannot be had, less what the journal still has of their rows.
    fn lost_tables(&mut self, look: &Look, names: &Names) {
        if look.lost.is_empty() {
            return;
        }
        let mut lost = look.lost.clone();
        let covers = &self.covers;
        for_each_record(
            &self.folder.reader,
            |_, _| (),
            |base, contents, sequence| {
                let (streams, times): (&[StreamId], &[Nanoseconds]) = match contents {
                    Contents::Rows(chunk) => (&chunk.streams, &chunk.times),
                    Contents::Samples(record) if record.readable => (&record.chunk.streams, &record.chunk.times),
                    Contents::Samples(_) => (&[], &[]),
                };
                for (&stream, &time) in streams.iter().zip(times) {
                    let partition = match contents {
                        Contents::Rows(_) => Partition::of(base, time),
                        Contents::Samples(_) => Partition::of_sample(base, time, Grain::of(&names.of(stream))),
                    };
                    if covers.holds(partition, names.of(stream).as_bytes(), sequence) {
                        continue;
                    }
                    for LostTable { entry, replayed, .. } in &mut lost {
                        let own = entry.as_ref();
                        let own = own.is_some_and(|e| e.partition == partition && sequence < e.covers_upto());
                        *replayed += u64::from(own);
                    }
                }
            },
        );
        for LostTable { number, reason, entry, replayed, unreadable } in lost {
            let fault = if unreadable { Fault::Unreadable } else { Fault::Damage };
            let mut loss = loss_of_table(entry.as_ref());
            loss.rows = loss.rows.map(|rows| rows.saturating_sub(replayed));
            let reason = match loss.rows {
                Some(0) => format!("{reason}; the journal still has all its {}", loss.unit.field()),
                _ => reason,
            };
            let loss = Some(loss).filter(|loss| loss.rows != Some(0));
            self.findings.add(Finding { fault, file: file_of(number), offset: None, reason, loss });
        }
    }

    /// What damage of the journal costs: rows and samples that were handed over to tables are there.
    fn journal_losses(&mut self, journal: &journal_inspect::Verification, look: &Look, kinds: Kinds) {
        let lost = look.lost.iter().filter_map(|lost| lost.entry.as_ref());
        let all: Vec<&TableEntry> = look.tables.iter().chain(lost).collect();
        // A sealing takes all of one kind. A kind of which nothing was ever seen does not count: nobody would ever seal it.
        let sealed = |samples: bool, seen: bool| {
            let own = all.iter().filter(|entry| entry.partition.is_of_samples() == samples);
            let below = own.clone().map(|entry| entry.covers).max();
            below.or(Some(0).filter(|_| seen))
        };
        let sealed = [sealed(false, kinds.rows), sealed(true, kinds.samples)];
        let sealed_below = sealed.into_iter().flatten().min().unwrap_or(0);
        let any_below = sealed.into_iter().flatten().max().unwrap_or(0);
        for damage in journal.report.damage.iter().filter(|damage| damage.what.refuses_writing()) {
            let fault = if damage.what.is_unreadable() { Fault::Unreadable } else { Fault::Damage };
            let (loss, words) = match (damage.first, damage.last) {
                (_, Some(last)) if last < sealed_below => (None, "all rows of it are in tables"),
                (Some(first), _) if first < any_below => {
                    (Some(Loss::default()), "a part of its rows is in tables, the rest only stood here")
                }
                _ => (Some(Loss::default()), "its rows only stood here"),
            };
            let (file, offset) = (format!("{PLACE}/{}", damage.file), Some(damage.offset));
            let reason = format!("{damage}; {words}");
            self.findings.add(Finding { fault, file, offset, reason, loss });
        }
    }

    /// All tables, partition by partition. Returns those of samples that can be held against the journal.
    fn partitions(
        &mut self,
        look: &Look,
        counts: &JournalCounts,
        passed: &mut dyn FnMut(u64),
    ) -> Result<BTreeMap<Partition, Vec<Arc<Table>>>, Error> {
        let mut partitions: BTreeMap<Partition, Vec<TableEntry>> = BTreeMap::new();
        for entry in &look.tables {
            partitions.entry(entry.partition).or_default().push(entry.clone());
        }
        let all: BTreeSet<Partition> = partitions.keys().chain(counts.covered.keys()).copied().collect();
        let mut sound = BTreeMap::new();
        for partition in all {
            let entries = partitions.remove(&partition).unwrap_or_default();
            let Checked { findings, counted, tables, looks } = self.partition(partition, entries, counts, passed)?;
            let covered = counts.covered.get(&partition).copied().unwrap_or(0);
            // Who looked twice has another list of tables than the one that the journal was held against.
            let comparable = looks == 1 && !counted.holes && !counts.holes && !self.moved_on(counts);
            let missing = covered.saturating_sub(counted.rows_in_journal);
            if comparable && missing > 0 {
                let reason = format!("tables say that they have {missing} rows of the journal, and have not");
                let loss = Some(Loss { rows: Some(missing), ..Loss::default() });
                let file = crate::table::FOLDER.to_string();
                self.findings.add(Finding { fault: Fault::Rule, file, offset: None, reason, loss });
            }
            if counts.samples_covered.contains_key(&partition) && !counted.holes {
                sound.insert(partition, tables);
            }
            self.findings.extend(findings);
            self.counted.tables += counted.tables;
            self.counted.blocks += counted.blocks;
            self.counted.rows += counted.rows;
            self.counted.samples += counted.samples;
            self.counted.bytes += counted.bytes;
        }
        Ok(sound)
    }

    /// The tables of one partition; beside a living store its list is read anew until all of them can be opened.
    fn partition(
        &self,
        partition: Partition,
        mut entries: Vec<TableEntry>,
        counts: &JournalCounts,
        passed: &mut dyn FnMut(u64),
    ) -> Result<Checked, Error> {
        let (mut looks, mut covers) = (0, self.covers.clone());
        loop {
            looks += 1;
            let mut check = Check {
                partition,
                covers: &covers,
                journal_first: counts.first,
                journal_next: self.journal_next,
                findings: Findings::default(),
                counted: Counted::default(),
            };
            match check.open(&self.folder.catalog, &entries, self.live && looks < LOOKS) {
                Ok(tables) => {
                    check.run(&tables, passed);
                    let Check { findings, counted, .. } = check;
                    return Ok(Checked { findings, counted, tables, looks });
                }
                Err(()) => {
                    let look = look_at(&self.folder, true)?;
                    covers = Covers::of(&look.tables);
                    entries = look.tables.into_iter().filter(|entry| entry.partition == partition).collect();
                }
            }
        }
    }

    /// Samples of the journal that tables say they have.
    fn samples_owed(&mut self, sound: &BTreeMap<Partition, Vec<Arc<Table>>>, names: &Names, counts: &JournalCounts) {
        let of = |partition: &Partition| counts.samples_covered.get(partition).copied().unwrap_or(0);
        let total = sound.keys().map(of).sum();
        let mut all: BTreeMap<Partition, Missing> = BTreeMap::new();
        for share in Share::all(total) {
            let walk = (&self.folder.reader, names, &self.covers);
            let owed =
                collect(walk, share, |partition, covers, sequence| sequence < covers && sound.contains_key(&partition));
            for (partition, series) in owed {
                let mut shelf = Shelf::new(sound.get(&partition).map_or(&[], Vec::as_slice));
                for (labels, mut samples) in series {
                    // What could be read a moment ago, and cannot now, is the device's trouble: nothing is said of it here.
                    if shelf.remove_known(&labels, &mut samples).is_ok() && !samples.is_empty() {
                        all.entry(partition).or_default().add(labels, samples.iter().map(|sample| sample.time));
                    }
                }
            }
        }
        if all.is_empty() || self.moved_on(counts) {
            return;
        }
        for (partition, Missing { samples, times, stream }) in all {
            let reason = format!("tables say that they have {samples} samples of the journal, and have not");
            let (boot, stream) = (boot_of(partition), stream.flatten());
            let loss = Some(Loss { rows: Some(samples), unit: Unit::Samples, times, boot, stream });
            let file = crate::table::FOLDER.to_string();
            self.findings.add(Finding { fault: Fault::Rule, file, offset: None, reason, loss });
        }
    }

    /// Whether a living store has released a part of the journal since it was read.
    fn moved_on(&self, counts: &JournalCounts) -> bool {
        self.live
            && Folder::open(&self.folder.path, &self.folder.world).is_ok_and(|now| now.reader.first() != counts.first)
    }

    fn verification(
        self,
        journal: journal_inspect::Verification,
        names: &Names,
        counts: &JournalCounts,
    ) -> Verification {
        let Work { mut findings, notes, counted, .. } = self;
        findings.kept.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
        let end = match journal.end {
            End::Damaged => End::Damaged,
            _ if findings.damage => End::Damaged,
            End::Unreadable => End::Unreadable,
            _ if findings.unreadable => End::Unreadable,
            end => end,
        };
        Verification {
            end,
            findings: findings.kept,
            findings_more: findings.more,
            notes,
            records: names.records,
            positions: names.positions,
            streams: names.streams.len() as u64,
            journal_rows: counts.uncovered,
            journal_samples: counts.samples_uncovered,
            tables: counted.tables,
            blocks: counted.blocks,
            table_rows: counted.rows,
            table_samples: counted.samples,
            table_bytes: counted.bytes,
            journal,
        }
    }
}
