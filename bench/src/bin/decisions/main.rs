//! A log of decisions under the workload of "On the Efficiency of Durable State Machine Replication" (Bessani and others, 2013), and
//! beside the journal that it stands on. Owns the order and the tables; [`service`] is the replicated map, [`works`] the log alone.
//!
//! ```text
//! cargo run --release --bin decisions -- --dir FOLDER
//! ```

mod service;
mod works;

use std::path::{Path, PathBuf};
use std::time::Duration;

use duramen_decisions::FileBasedLog;
use service::{Measured, Mode};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const HELP: &str = "\
Puts decisions into logs, executes them, and recovers.

Usage: decisions [OPTIONS]

  --dir PATH       measure in this folder (default: the system's folder for temporary files)
  --seconds N      how long each point of the service takes (default 3)
  --decisions N    decisions for recovery (default 200000)
  --quick          a moment each, to see that it works; the figures mean nothing
  --only PART      service, backends, checkpoints, log, recovery or state
  --help           show this text and stop";

struct Arguments {
    dir: PathBuf,
    time: Duration,
    decisions: u64,
    state_bytes: u64,
    clients: Vec<usize>,
    only: Option<String>,
}

fn arguments() -> Outcome<Option<Arguments>> {
    let mut own = Arguments {
        dir: std::env::temp_dir(),
        time: Duration::from_secs(3),
        decisions: 200_000,
        state_bytes: 1 << 30,
        clients: vec![1, 4, 16, 64, 256],
        only: None,
    };
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{argument} needs a value; see --help"));
        match argument.as_str() {
            "--dir" => own.dir = value()?.into(),
            "--seconds" => own.time = Duration::from_secs(value()?.parse()?),
            "--decisions" => own.decisions = value()?.parse()?,
            "--only" => own.only = Some(value()?),
            "--quick" => {
                own.time = Duration::from_millis(100);
                (own.decisions, own.state_bytes, own.clients) = (2_000, 8 << 20, vec![1, 16]);
            }
            "--help" => return Ok(None),
            other => return Err(format!("{other} is unknown; see --help").into()),
        }
    }
    Ok(Some(own))
}

fn main() -> Outcome<()> {
    let Some(arguments) = arguments()? else {
        println!("{HELP}");
        return Ok(());
    };
    let scratch = arguments.dir.join(format!("duramen-decisions-{}", std::process::id()));
    std::fs::create_dir(&scratch)?;
    let measured = measure(&arguments, &scratch);
    std::fs::remove_dir_all(&scratch)?;
    measured
}

fn measure(arguments: &Arguments, scratch: &Path) -> Outcome<()> {
    let wanted = |part: &str| arguments.only.as_ref().is_none_or(|only| only == part);
    let sync = works::raw_sync(scratch)?;
    println!("A sync of one page on this disk: {:.0} µs, median; {:.0} a second.\n", sync * 1e6, 1.0 / sync);
    if wanted("service") {
        serve(arguments, scratch)?;
    }
    if wanted("backends") {
        backends(arguments, scratch)?;
    }
    if wanted("checkpoints") {
        checkpoints(arguments, scratch)?;
    }
    if wanted("log") {
        works::log_beside_journal(scratch, arguments.time)?;
    }
    if wanted("recovery") {
        works::recovery(scratch, arguments.decisions)?;
    }
    if wanted("state") {
        works::large_state(scratch, arguments.state_bytes)?;
    }
    Ok(())
}

fn fresh(scratch: &Path) -> Outcome<PathBuf> {
    let folder = scratch.join("log");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(folder)
}

fn serve(arguments: &Arguments, scratch: &Path) -> Outcome<()> {
    println!("## A map service, puts of 4 kB, closed loop\n");
    println!("| clients | log | puts a second | p50, ms | p99, ms | of no log | syncs a put | device bytes a put |");
    println!("|---:|---|---:|---:|---:|---:|---:|---:|");
    for &clients in &arguments.clients {
        let mut without = 0.0;
        for mode in Mode::ALL {
            let Measured { per_second, p50, p99, puts, syncs, device_bytes, .. } =
                service::run(FileBasedLog::new, mode, clients, arguments.time, &fresh(scratch)?, None)?;
            if mode == Mode::None {
                without = per_second;
            }
            println!(
                "| {clients} | {} | {per_second:.0} | {:.2} | {:.2} | {:.2} | {:.3} | {:.0} |",
                mode.name(),
                p50 * 1e3,
                p99 * 1e3,
                per_second / without,
                syncs as f64 / puts as f64,
                device_bytes as f64 / puts as f64
            );
        }
    }
    println!();
    Ok(())
}

fn backends(arguments: &Arguments, scratch: &Path) -> Outcome<()> {
    println!("## The same by backend, 64 clients\n");
    println!("| backend | log | puts a second | p50, ms | p99, ms | syncs a put |");
    println!("|---|---|---:|---:|---:|---:|");
    for mode in [Mode::Async, Mode::Sync, Mode::Parallel] {
        let tell = |name: &str, own: Measured| {
            let (p50, p99, syncs) = (own.p50 * 1e3, own.p99 * 1e3, own.syncs as f64 / own.puts as f64);
            println!("| {name} | {} | {:.0} | {p50:.2} | {p99:.2} | {syncs:.3} |", mode.name(), own.per_second);
        };
        tell("files", service::run(FileBasedLog::new, mode, 64, arguments.time, &fresh(scratch)?, None)?);
        #[cfg(feature = "peers")]
        {
            use duramen_decisions::{FjallLog, RedbLog};
            tell("redb", service::run(RedbLog::new, mode, 64, arguments.time, &fresh(scratch)?, None)?);
            tell("fjall", service::run(FjallLog::new, mode, 64, arguments.time, &fresh(scratch)?, None)?);
        }
    }
    println!();
    Ok(())
}

fn checkpoints(arguments: &Arguments, scratch: &Path) -> Outcome<()> {
    println!("## Checkpoints of 100 MB during load, 64 clients\n");
    println!("| log | checkpoints | puts a second, all the time | worst 100 ms, puts a second | p99, ms |");
    println!("|---|---:|---:|---:|---:|");
    for mode in [Mode::None, Mode::Async, Mode::Parallel] {
        for every in [None, Some(arguments.time / 4)] {
            let measured = service::run(
                FileBasedLog::new,
                mode,
                64,
                arguments.time.max(Duration::from_secs(1)),
                &fresh(scratch)?,
                every,
            )?;
            if mode == Mode::None && every.is_some() {
                continue;
            }
            println!(
                "| {} | {} | {:.0} | {:.0} | {:.2} |",
                mode.name(),
                measured.checkpoints,
                measured.per_second,
                measured.worst_window * 10.0,
                measured.p99 * 1e3
            );
        }
    }
    println!();
    Ok(())
}
