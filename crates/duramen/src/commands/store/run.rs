//! `run`: the daemon in the foreground. Owns what it is made of: the store's options, the inputs, the address.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use anyhow::Context as _;
use rustix::fs::FileType;

use crate::cli::store::Run;
use crate::daemon::{Daemon, leave_address};
use crate::exit::Exit;
use crate::input::Input;
use crate::input::file::Files;
use crate::input::journald::Journald;
use crate::input::stdin::Stdin;
use crate::input::syslog::{Address, Bounds, Syslog};
use crate::power;
use crate::server;
use crate::source::Source;
use crate::stop::Stop;

/// Where logs are on Linux.
const LOG_PATTERN: &str = "/var/log/**/*";
/// The address without any word about it.
const LISTEN: &str = "127.0.0.1:7420";

/// Runs it until a signal asks it to stop.
///
/// # Errors
/// The store cannot be opened, the address cannot be had, an input fails for good.
pub fn run(arguments: &Run, stop: Stop) -> anyhow::Result<Exit> {
    let stop = Arc::new(stop);
    let folder = arguments.data.folder.clone().unwrap_or_else(|| "./duramen-data".into());
    let listen = arguments.listen.as_deref().unwrap_or(LISTEN);
    let listener = server::bind(listen)?;
    let options = duramen_store::Options::default();
    let line_bytes_max = options.row_bytes_max;
    let extra = other_inputs(arguments)?;
    let (store, report) = super::open(&folder, &options)?;
    let signals = power::signals::install().context("cannot handle the power's signals")?;
    let handle = signals.handle();
    let mut daemon = Daemon::new(store, report, stop.clone());
    let watch = daemon.shared.watch.clone();
    daemon.spawn("signals", {
        let watch = watch.clone();
        move || power::signals::serve(signals, &watch)
    })?;
    daemon.spawn("power", {
        let stop = stop.clone();
        move || {
            watch.run(&stop);
            handle.close();
        }
    })?;
    if !arguments.patterns.is_empty() {
        daemon.start(Box::new(Files::new(&arguments.patterns, Vec::new(), line_bytes_max, false)?))?;
    } else if !extra.is_empty() {
        // Whoever names inputs gets these and no others.
    } else if is_piped() {
        let source = Source::open_all(&[])?.remove(0);
        daemon.start(Box::new(Stdin::new(source, vec![("input".into(), "stdin".into())], line_bytes_max)))?;
    } else {
        daemon.start(Box::new(Files::new(&[LOG_PATTERN.to_string()], Vec::new(), line_bytes_max, true)?))?;
    }
    for input in extra {
        daemon.start(input)?;
    }
    let address = listener.local_addr().context("the address is gone")?;
    let shared = daemon.shared.clone();
    daemon.spawn("http", move || server::serve(listener, shared))?;
    leave_address(&folder, &address.to_string()).context("cannot leave the address in the data folder")?;
    eprintln!("duramen: collecting into {}, http://{address}", folder.display());
    if arguments.ready {
        println!("ready {address}");
        std::io::stdout().flush()?;
    }
    daemon.end()?;
    Ok(match stop.signal() {
        // Being stopped is how a daemon ends.
        Some(_) | None => Exit::Complete,
    })
}

/// The inputs that options name, beside files: their addresses are taken before anything is opened.
fn other_inputs(arguments: &Run) -> anyhow::Result<Vec<Box<dyn Input>>> {
    let udp = arguments.syslog_udp.iter().cloned().map(Address::Udp);
    let tcp = arguments.syslog_tcp.iter().cloned().map(Address::Tcp);
    let unix = arguments.syslog_unix.iter().map(|text| Address::unix(text));
    let mut inputs: Vec<Box<dyn Input>> = Vec::new();
    for address in udp.chain(tcp).chain(unix) {
        let syslog = Syslog::new(&address, vec![("input".into(), "syslog".into())], Bounds::default())?;
        eprintln!("duramen: syslog {}", syslog.address());
        inputs.push(Box::new(syslog));
    }
    if arguments.journald {
        inputs.push(Box::new(Journald::new(vec![("input".into(), "journald".into())])));
    }
    Ok(inputs)
}

/// Whether standard input is something to read: a pipe or a file, no terminal, no null device.
fn is_piped() -> bool {
    let stdin = std::io::stdin();
    let kind = rustix::fs::fstat(&stdin).map(|stat| FileType::from_raw_mode(stat.st_mode));
    !stdin.is_terminal() && kind.is_ok_and(|kind| matches!(kind, FileType::Fifo | FileType::RegularFile))
}
