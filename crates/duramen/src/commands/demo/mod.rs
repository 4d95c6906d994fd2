//! `journal demo`: this host's log files go into a journal whose writer is killed with -9 again and again; each time it is
//! recovered and goes on, and in the end input and output are compared byte for byte. Owns the story and its table;
//! `material` gathers the input, `child` is the process that is killed.
//!
//! kill -9 leaves the kernel alive, so what this shows is that nothing acknowledged needs the dead process. Power cuts
//! are proven on the simulated disk, by the journal's own tests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use duramen_journal::disk::World;
use duramen_journal::{End, Journal, Options, Reader, inspect};

use crate::cli;
use crate::exit::Exit;
use crate::quantity::{show_bytes, show_count, show_counted, show_time};
use crate::scratch::TemporaryFolder;
use crate::stop::Stop;
use crate::text::{OpenLine, TextPrinter};

mod child;
pub mod material;

pub use child::writer;

use child::{Life, Writer};
use material::{Comparer, Material};

/// The parts of one demonstration.
struct Stage<'a> {
    world: World,
    journal: PathBuf,
    input: PathBuf,
    material: Material,
    stop: &'a Stop,
}

/// What a recovery found.
#[derive(Clone, Copy, Debug, Default)]
struct Recovered {
    lines: u64,
    bytes: u64,
    cut: u64,
}

/// A line of the table.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    acknowledged: u64,
    recovered: u64,
    cut: u64,
}

impl Row {
    fn lost(self) -> u64 {
        self.acknowledged.saturating_sub(self.recovered)
    }
}

/// The journal's options in the demo: segments small enough that the kills meet rotations, and a queue so short that
/// the child cannot run far ahead of its acknowledgements.
fn options() -> Options {
    Options { segment_bytes: 1 << 20, commit_bytes_max: 128 << 10, queue_bytes_max: 256 << 10, ..Options::default() }
}

/// Runs the demo.
///
/// # Errors
/// An acknowledged line was lost, the bytes differ (the folder then stays as evidence), or the demo cannot run here.
pub fn run(arguments: &cli::Demo, stop: &Stop) -> anyhow::Result<Exit> {
    let world = super::world();
    let begin = world.environment.now();
    let mut folder = TemporaryFolder::make(arguments.folder.as_deref(), "demo", &world)?;
    folder.keep = arguments.keep;
    let ended = perform(arguments, stop, &world, folder.path());
    let exit = match ended {
        // Ctrl-C reaches the child as well, whose death may look like a failure: the wish to stop decides.
        _ if stop.signal().is_some() => {
            let signal = stop.signal().unwrap_or_default();
            eprintln!(
                "duramen: stopped; the writer is gone{}",
                if folder.keep { "" } else { ", its folder is removed" }
            );
            return Ok(Exit::Signal(signal));
        }
        Err(error) => {
            folder.keep |= folder_has_evidence(&error);
            if folder.keep {
                eprintln!("duramen: the evidence stays in {}", folder.path().display());
            }
            return Err(error);
        }
        Ok(exit) => exit,
    };
    println!("time          {}", show_time(world.environment.now().saturating_sub(begin)));
    if folder.keep {
        println!("kept          {}; try `duramen journal stat` on its `journal`", folder.path().display());
    }
    Ok(exit)
}

/// A broken promise, as opposed to a demo that could not run.
#[derive(Debug)]
struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

fn folder_has_evidence(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Broken>().is_some()
}

fn perform(arguments: &cli::Demo, stop: &Stop, world: &World, folder: &Path) -> anyhow::Result<Exit> {
    let input = folder.join("input.log");
    let system = world.disk.file_system(folder).context("cannot tell the file system")?;
    let material = Material::gather(&input, system.free_bytes)?;
    println!("Log lines go into a journal; its writer is killed with -9; nothing acknowledged may be missing.\n");
    println!("input         {}", material.origin);
    println!("              {}, {}", show_bytes(material.bytes), show_counted(material.lines, "line"));
    let where_to = if system.volatile { " (memory: fine for kill -9, not for power cuts)" } else { "" };
    println!("journal       {} on {}{where_to}", folder.join("journal").display(), system.kind);
    println!("              policy always, segments of {}\n", show_bytes(options().segment_bytes.into()));
    println!("              acknowledged     recovered          lost           cut");
    let stage = Stage { world: world.clone(), journal: folder.join("journal"), input, material, stop };
    let mut rows = Vec::new();
    let mut recovered = Recovered::default();
    for kill in 1..=arguments.kills {
        let row = stage.kill_once(kill, arguments.kills, &mut recovered)?;
        if stop.signal().is_some() {
            return Ok(Exit::Failure);
        }
        print_row(&format!("kill -9 #{kill}"), row);
        rows.push(row);
    }
    let last = stage.finish(&mut recovered)?;
    if stop.signal().is_some() {
        return Ok(Exit::Failure);
    }
    print_row("to the end", last);
    rows.push(last);
    let lost: u64 = rows.iter().map(|row| row.lost()).sum();
    println!("              (recovered beyond acknowledged: stored, but killed before the word of it)");
    println!("\nlost          {}", if lost == 0 { "nothing".to_string() } else { show_counted(lost, "line") });
    stage.verify(recovered)?;
    if lost > 0 {
        return Err(Broken(format!("{} that had been acknowledged were lost", show_counted(lost, "line"))).into());
    }
    Ok(Exit::Complete)
}

fn print_row(name: &str, row: Row) {
    let cut = if row.cut == 0 { "-".to_string() } else { show_bytes(row.cut) };
    let (acknowledged, recovered, lost) = (row.acknowledged, row.recovered, row.lost());
    println!(
        "{name:<12}  {:>12}  {:>12}  {:>12}  {cut:>12}",
        show_count(acknowledged),
        show_count(recovered),
        show_count(lost)
    );
}

impl Stage<'_> {
    /// Lets a writer go on, kills it at a random moment, recovers.
    fn kill_once(&self, kill: u32, kills: u32, recovered: &mut Recovered) -> anyhow::Result<Row> {
        let before = *recovered;
        // Somewhere in this kill's share of the way, plus up to 2 ms, so that it strikes within a write.
        let share = self.material.lines.saturating_sub(before.lines) / u64::from(kills - kill + 2);
        let goal = self.random(share.max(1))?;
        let linger = Duration::from_micros(self.random(2_000)?);
        let mut writer = Writer::start(&self.journal, &self.input, before.bytes)?;
        writer.wait_for(goal, self.stop)?;
        writer.linger(linger, self.stop)?;
        let life = writer.kill()?;
        if self.stop.signal().is_some() {
            return Ok(Row::default());
        }
        self.account(before, life, recovered)
    }

    /// Lets the last writer finish.
    fn finish(&self, recovered: &mut Recovered) -> anyhow::Result<Row> {
        let before = *recovered;
        let mut writer = Writer::start(&self.journal, &self.input, before.bytes)?;
        writer.wait_for(u64::MAX, self.stop)?;
        let life = if self.stop.signal().is_some() { writer.kill()? } else { writer.join()? };
        if self.stop.signal().is_some() {
            return Ok(Row::default());
        }
        self.account(before, life, recovered)
    }

    fn account(&self, before: Recovered, life: Life, recovered: &mut Recovered) -> anyhow::Result<Row> {
        *recovered = self.recover()?;
        Ok(Row { acknowledged: before.lines + life.acknowledged, recovered: recovered.lines, cut: recovered.cut })
    }

    /// Opens the journal as any restart would, and compares its text with the beginning of the input.
    fn recover(&self) -> anyhow::Result<Recovered> {
        let (journal, report) = Journal::open_with(&self.journal, &options(), self.world.clone())
            .map_err(|error| Broken(format!("the journal does not open again: {error}")))?;
        journal.close()?;
        let compared = self.compare()?;
        Ok(Recovered {
            lines: self.material.lines_within(&compared),
            bytes: compared.bytes,
            cut: report.cut.map_or(0, |cut| cut.bytes),
        })
    }

    fn compare(&self) -> anyhow::Result<Comparer> {
        let reader = Reader::open(&self.journal)?;
        let mut comparer = Comparer::new(&self.input)?;
        let mut printer = TextPrinter::new(&mut comparer);
        // A line whose end is missing is left out: the next writer abandons it and sends it again.
        printer.print(&reader, 0, OpenLine::Wait, self.stop, |_| ()).map_err(|error| Broken(error.to_string()))?;
        match printer.errors.first() {
            Some(error) => Err(Broken(format!("a stored record is unreadable: {error}")).into()),
            None => Ok(comparer),
        }
    }

    /// The proof at the end: every byte of the journal checks, it is closed, and its text is the whole input.
    fn verify(&self, recovered: Recovered) -> anyhow::Result<()> {
        if recovered.bytes != self.material.bytes {
            let (had, want) = (recovered.bytes, self.material.bytes);
            return Err(Broken(format!("the output has {had} bytes, the input {want}")).into());
        }
        println!("compared      input and output byte for byte: equal, {} bytes", show_count(recovered.bytes));
        let verification = inspect::verify(&self.journal, self.world.clone(), &mut |_| ())?;
        if verification.end != End::Closed || !verification.damage.is_empty() {
            let report = verification.report;
            return Err(Broken(format!("the finished journal does not verify: {report}")).into());
        }
        let what = show_counted(verification.report.segments, "segment");
        println!("verified      every byte of {what}; the journal ends in a closing mark");
        Ok(())
    }

    /// A random number below `bound`, which is at least 1.
    fn random(&self, bound: u64) -> anyhow::Result<u64> {
        let mut bytes = [0; 8];
        self.world.environment.entropy(&mut bytes).context("the system gives no random bytes")?;
        Ok(u64::from_le_bytes(bytes) % bound)
    }
}
