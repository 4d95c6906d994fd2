//! `run`: the daemon in the foreground. Owns what it is made of: the store's options, the inputs, the address.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;
use rustix::fs::FileType;

use crate::cli::store::Run;
use crate::config::Config;
use crate::daemon::{Daemon, leave_address};
use crate::exit::Exit;
use crate::input::Input;
use crate::input::file::{Files, Group};
use crate::input::journald::Journald;
use crate::input::stdin::Stdin;
use crate::input::syslog::{Address, Bounds, Syslog};
use crate::power;
use crate::server;
use crate::source::Source;
use crate::stop::Stop;

/// Where logs are on Linux.
const LOG_PATTERN: &str = "/var/log/**/*";

/// Runs it until a signal asks it to stop.
///
/// # Errors
/// The store cannot be opened, the address cannot be had, an input fails for good.
pub fn run(arguments: &Run, stop: Stop) -> anyhow::Result<Exit> {
    if arguments.with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .context("cannot follow the parent's death")?;
    }
    let stop = Arc::new(stop);
    let mut config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    if let Some(folder) = &arguments.data.folder {
        config.data.clone_from(folder);
    }
    if let Some(listen) = &arguments.listen {
        config.listen.clone_from(listen);
    }
    let folder = config.data.clone();
    let listener = server::bind(&config.listen)?;
    let address = listener.local_addr().context("the address is gone")?;
    let public = server::Public::of(&config.http)?;
    let options = config.store.options();
    let extra = other_inputs(arguments, &config)?;
    // Before the store is opened, which may take a while: unhandled, each of them ends the process.
    let signals = power::signals::install().context("cannot handle the power's signals")?;
    // Whoever asks after a power cut is answered while the journal is still being read; inputs start behind it.
    let mut serving = Err(anyhow::anyhow!("the store was not handed out"));
    let (_, report) = super::open_serving(&folder, &options, |store| {
        let daemon = Daemon::new(store.clone(), config, stop.clone());
        serving = start_http(daemon, listener, public);
        let left = leave_address(&folder, &address.to_string());
        if let Err(error) = left {
            eprintln!("duramen: cannot leave the address in the data folder: {error}");
        }
    })?;
    let mut daemon = serving?;
    daemon.opened(report);
    start_power(&mut daemon, arguments, signals)?;
    daemon.spawn("pace", {
        let shared = daemon.shared.clone();
        move || shared.keep_pace()
    })?;
    start_inputs(&mut daemon, arguments, extra)?;
    for scrape in daemon.shared.config.scrapes.clone() {
        let shared = daemon.shared.clone();
        daemon.spawn("scrape", move || {
            if let Err(error) = crate::scrape::run(scrape, &shared) {
                shared.fail(&format!("scrape: {error:#}"));
            }
        })?;
    }
    eprintln!("duramen: collecting into {}, http://{address}", folder.display());
    if arguments.ready {
        println!("ready {address}");
        std::io::stdout().flush()?;
    }
    daemon.spawn("health", {
        let shared = daemon.shared.clone();
        move || shared.watch_health()
    })?;
    daemon.end()?;
    Ok(match stop.signal() {
        // Being stopped is how a daemon ends.
        Some(_) | None => Exit::Complete,
    })
}

/// Answers from here on.
fn start_http(mut daemon: Daemon, listener: TcpListener, public: Option<server::Public>) -> anyhow::Result<Daemon> {
    if let Some(public) = &public {
        eprintln!("duramen: https://{} for other machines", public.address()?);
    }
    let shared = daemon.shared.clone();
    daemon.spawn("http", move || server::serve(listener, public, shared))?;
    Ok(daemon)
}

/// Starts what learns of the power.
fn start_power(daemon: &mut Daemon, arguments: &Run, signals: signal_hook::iterator::Signals) -> anyhow::Result<()> {
    let (watch, stop) = (daemon.shared.watch.clone(), daemon.shared.stop.clone());
    let settings = daemon.shared.config.power.clone();
    let handle = signals.handle();
    daemon.spawn("signals", {
        let watch = watch.clone();
        move || power::signals::serve(signals, &watch)
    })?;
    daemon.spawn("power", {
        let (watch, stop) = (watch.clone(), stop.clone());
        move || {
            watch.run(&stop);
            handle.close();
        }
    })?;
    if let Some(ups) = arguments.nut.as_deref().or(settings.nut.as_deref()) {
        let ups = power::nut::Ups::parse(ups)?;
        let (watch, stop) = (watch.clone(), stop.clone());
        daemon.spawn("nut", move || ups.run(&watch, &stop))?;
    }
    let kernel = power::supply::Kernel::at(&settings.kernel_class);
    if settings.kernel && kernel.is_there() {
        let (watch, stop) = (watch.clone(), stop.clone());
        daemon.spawn("supply", move || kernel.run(&watch, &stop))?;
    }
    daemon.spawn("shutdown", move || power::shutdown::run(&settings.shutdown_note, &watch, &stop))
}

/// Starts the inputs that were named; without any, standard input if something comes from there, else the system's logs.
fn start_inputs(daemon: &mut Daemon, arguments: &Run, others: Vec<Box<dyn Input>>) -> anyhow::Result<()> {
    let line_bytes_max = daemon.shared.store.row_bytes_max();
    let config = daemon.shared.config.clone();
    let none = BTreeMap::new();
    let mut groups: Vec<Group> = Vec::new();
    if !arguments.patterns.is_empty() {
        groups.push(Group { patterns: arguments.patterns.clone(), labels: labels(&config, &none), text_only: false });
    }
    groups.extend(config.files.iter().map(|group| Group {
        patterns: group.patterns.clone(),
        labels: labels(&config, &group.labels),
        text_only: false,
    }));
    // Whoever names inputs gets these and no others.
    let unnamed = groups.is_empty() && others.is_empty();
    if unnamed && is_piped() {
        let mut labels = labels(&config, &none);
        labels.push(("input".into(), "stdin".into()));
        let source = Source::open_all(&[])?.remove(0);
        return daemon.start(Box::new(Stdin::new(source, labels, line_bytes_max)));
    }
    if unnamed {
        groups.push(Group { patterns: vec![LOG_PATTERN.to_string()], labels: labels(&config, &none), text_only: true });
    }
    if !groups.is_empty() {
        daemon.start(Box::new(Files::new(groups, line_bytes_max)?))?;
    }
    others.into_iter().try_for_each(|input| daemon.start(input))
}

/// The labels of all rows, and those of an input.
fn labels(config: &Config, own: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut all = config.labels.clone();
    all.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
    all.into_iter().collect()
}

/// The inputs beside files that options and the configuration name: their addresses are taken before anything is opened.
fn other_inputs(arguments: &Run, config: &Config) -> anyhow::Result<Vec<Box<dyn Input>>> {
    let udp = arguments.syslog_udp.iter().chain(&config.syslog.udp).cloned().map(Address::Udp);
    let tcp = arguments.syslog_tcp.iter().chain(&config.syslog.tcp).cloned().map(Address::Tcp);
    let unix = arguments.syslog_unix.iter().chain(&config.syslog.unix).map(|text| Address::unix(text));
    let named = |input: &str, own: &BTreeMap<String, String>| {
        let mut labels = labels(config, own);
        labels.push(("input".into(), input.into()));
        labels
    };
    let mut inputs: Vec<Box<dyn Input>> = Vec::new();
    for address in udp.chain(tcp).chain(unix) {
        let syslog = Syslog::new(&address, named("syslog", &config.syslog.labels), Bounds::default())?;
        eprintln!("duramen: syslog {}", syslog.address());
        inputs.push(Box::new(syslog));
    }
    if arguments.journald || config.journald {
        inputs.push(Box::new(Journald::new(named("journald", &BTreeMap::new()))));
    }
    Ok(inputs)
}

/// Whether standard input is something to read: a pipe or a file, no terminal, no null device.
fn is_piped() -> bool {
    let stdin = std::io::stdin();
    let kind = rustix::fs::fstat(&stdin).map(|stat| FileType::from_raw_mode(stat.st_mode));
    !stdin.is_terminal() && kind.is_ok_and(|kind| matches!(kind, FileType::Fifo | FileType::RegularFile))
}
