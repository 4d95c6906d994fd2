//! `replica-group`: one replica, a client, and what checks and tortures a group of them.

use std::io::Read as _;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use duramen_decisions::PersistentLogMode;
use replica_group::replica::{Settings, run};
use replica_group::torture::{Torture, torture};
use replica_group::{check, client};

#[derive(Parser)]
#[command(
    about = "Keys and values on four replicas, which may be killed at any time, and of which one may lose its folder"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Decisions are executed when they are durable.
    Strict,
    /// Decisions are executed at once; votes wait for the disk.
    Optimistic,
    /// Nothing waits for the disk.
    None,
}

impl From<Mode> for PersistentLogMode {
    fn from(mode: Mode) -> PersistentLogMode {
        match mode {
            Mode::Strict => PersistentLogMode::Strict,
            Mode::Optimistic => PersistentLogMode::Optimistic,
            Mode::None => PersistentLogMode::None,
        }
    }
}

#[derive(Subcommand)]
enum Verb {
    /// Runs a replica.
    Replica {
        /// Which one: 0 to 3.
        #[arg(long)]
        id: u8,
        /// Its folder.
        #[arg(long)]
        dir: PathBuf,
        /// The addresses of all four, in the order of their ids.
        #[arg(long, value_delimiter = ',', required = true)]
        peers: Vec<String>,
        /// When decisions are executed.
        #[arg(long, value_enum, default_value = "strict")]
        mode: Mode,
        /// A checkpoint after so many decisions.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        checkpoint_every: u64,
        /// The group begins now. Without this a replica with an empty folder asks the others what it may have voted on.
        #[arg(long)]
        new_group: bool,
        /// Ends when its input does, so that it does not outlive who started it.
        #[arg(long)]
        with_parent: bool,
    },
    /// Puts keys in a closed loop, and prints those that were acknowledged.
    Client {
        /// Its number, which no other client ever had.
        #[arg(long)]
        id: u64,
        /// The addresses of all four.
        #[arg(long, value_delimiter = ',', required = true)]
        peers: Vec<String>,
        /// So many, and no end otherwise.
        #[arg(long)]
        puts: Option<u64>,
    },
    /// Asks every replica for its last decision and its state's digest.
    Check {
        /// The addresses of all four.
        #[arg(long, value_delimiter = ',', required = true)]
        peers: Vec<String>,
    },
    /// Starts a group and clients, kills its replicas again and again, deletes a folder, and looks whether anything is missing.
    Torture {
        /// For so long.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// What decides who is killed when.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Clients.
        #[arg(long, default_value_t = 6)]
        clients: u64,
        /// When decisions are executed.
        #[arg(long, value_enum, default_value = "strict")]
        mode: Mode,
        /// A checkpoint after so many decisions.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        checkpoint_every: u64,
        /// Where the folders are made; they stay if something is wrong.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

fn end_with_parent() {
    std::thread::spawn(|| {
        _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().verb {
        Verb::Replica { id, dir, peers, mode, checkpoint_every, new_group, with_parent } => {
            if with_parent {
                end_with_parent();
            }
            run(Settings { id, dir, peers, mode: mode.into(), checkpoint_every, new_group })
        }
        Verb::Client { id, peers, puts } => client::run(id, &peers, puts),
        Verb::Check { peers } => check::run(&peers),
        Verb::Torture { seconds, seed, clients, mode, checkpoint_every, dir } => {
            let mode = mode.to_possible_value().map(|own| own.get_name().to_string()).unwrap_or_default();
            let line = torture(&Torture { seconds, seed, clients, mode, checkpoint_every, dir })?;
            println!("{line}");
            Ok(())
        }
    }
}
