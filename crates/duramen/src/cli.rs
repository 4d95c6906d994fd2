//! What was typed: the commands, their arguments and their help, as clap parses them. Owns no behaviour.

#[cfg(feature = "decisions")]
pub mod decisions;
#[cfg(feature = "raft")]
pub mod raft;
#[cfg(feature = "daemon")]
pub mod store;
#[cfg(feature = "daemon")]
pub mod tools;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use duramen_journal::{Codec, OnDamage, Options, SyncPolicy, TornTail};

use crate::{exit, quantity};

/// A durable log for machines that lose power.
#[derive(Debug, Parser)]
#[command(name = "duramen", version, about, max_term_width = 110, after_help = exit::HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The top-level commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Collect log lines, keep them through any power cut, answer questions: the daemon
    #[cfg(feature = "daemon")]
    #[command(after_help = exit::HELP)]
    Run(store::Run),
    /// Store files or standard input once
    #[cfg(feature = "daemon")]
    Ingest(store::Ingest),
    /// Store samples from files: CSV, JSON lines, InfluxDB lines, Prometheus text
    #[cfg(feature = "daemon")]
    Import(store::Import),
    /// Run a command and store what it prints
    #[cfg(feature = "daemon")]
    #[command(after_help = exit::HELP_OF_EXEC)]
    Exec(store::Exec),
    /// Ask for lines
    #[cfg(feature = "daemon")]
    #[command(alias = "logs")]
    Query(store::Ask),
    /// Ask for lines, and go on with new ones as they come
    #[cfg(feature = "daemon")]
    Tail(store::Ask),
    /// Say how the daemon is, what it holds, and what happened to it
    #[cfg(feature = "daemon")]
    Status(store::Look),
    /// Say what the last opening found and did
    #[cfg(feature = "daemon")]
    Report(store::Look),
    /// Say how the power is, tell the daemon of it, or rehearse its failing
    #[cfg(feature = "daemon")]
    Power(store::PowerArguments),
    /// Check a configuration, or show one with every default
    #[cfg(feature = "daemon")]
    #[command(subcommand)]
    Config(store::ConfigCommand),
    /// Check every byte of a store
    #[cfg(feature = "daemon")]
    #[command(after_help = exit::HELP)]
    Verify(tools::Verify),
    /// Copy what is good of a damaged store into a new folder and list what was lost
    #[cfg(feature = "daemon")]
    Salvage(tools::Salvage),
    /// Show what a store has stored: records of the journal, tables, blocks, rows
    #[cfg(feature = "daemon")]
    Dump(tools::Dump),
    /// Make a verified copy of a store, also while a daemon writes to it
    #[cfg(feature = "daemon")]
    Backup(tools::Backup),
    /// Put a backup back into a data folder
    #[cfg(feature = "daemon")]
    Restore(tools::Restore),
    /// Write, read, check and mend a journal
    #[command(subcommand, after_help = exit::HELP)]
    Journal(JournalCommand),
    /// Look at, check and mend Raft logs
    #[cfg(feature = "raft")]
    #[command(subcommand, after_help = exit::HELP)]
    Raft(raft::RaftCommand),
    /// Look at, check and mend a log of decisions
    #[cfg(feature = "decisions")]
    #[command(subcommand, after_help = exit::HELP)]
    Decisions(decisions::DecisionsCommand),
    /// Start the daemon on this host's logs, kill it with -9, start it again, and compare what it stored line by line
    #[cfg(feature = "daemon")]
    Demo(Demo),
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual, or write one page per command into a folder
    Man {
        /// The folder for the pages; it must exist
        folder: Option<PathBuf>,
    },
    /// The child of the journal's demo: appends the input from a line on and acknowledges on standard output
    #[command(hide = true)]
    DemoWriter(DemoWriter),
}

/// The commands on one journal.
#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Append files or standard input, line by line
    #[command(after_help = exit::HELP)]
    Append(Append),
    /// Print the lines exactly as they came in
    #[command(after_help = exit::HELP)]
    Cat(Cat),
    /// Print the lines, then wait for more beside a living writer, until a signal comes
    Follow(Follow),
    /// Say what the journal holds and how it ends
    Stat(Stat),
    /// Show the stored structures: segments, commits, records, footers
    Dump(Dump),
    /// Check every byte
    #[command(after_help = exit::HELP)]
    Verify(Verify),
    /// Copy what is good into a new folder and list what was lost
    Salvage(Salvage),
    /// Measure this disk for about five seconds, and say which sync policy suits it
    Bench(Bench),
    /// Put this host's log files into a journal, kill the writer with -9, recover, go on, compare byte for byte
    Demo(Demo),
}

/// Arguments of `append`.
#[derive(Debug, Args)]
pub struct Append {
    /// The journal's folder; created if it is missing
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The files to append, `-` for standard input, which is also the default
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print `durable N` each time more lines are durable: N counts the lines of this run
    #[arg(long)]
    pub ack: bool,
    /// Say nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
    /// How the journal is written
    #[command(flatten)]
    pub writing: Writing,
}

/// How a journal is written.
#[derive(Clone, Debug, Args)]
pub struct Writing {
    /// When to sync: always, never (only at segment ends and at the end), interval:TIME, batch:RECORDS,TIME
    #[arg(long, value_name = "POLICY", value_parser = quantity::parse_policy)]
    pub policy: Option<SyncPolicy>,
    /// Compression: none, lz4, zstd, zstd:LEVEL
    #[arg(long, value_name = "CODEC", value_parser = quantity::parse_codec)]
    pub codec: Option<Codec>,
    /// Size of new segment files: 64K to just under 4G
    #[arg(long, value_name = "SIZE", value_parser = quantity::parse_segment_bytes)]
    pub segment_bytes: Option<u32>,
    /// After so much idle time, a mark says that the last lines are durable; only then does a reader beside the living
    /// writer know, unless more lines come [default: 1s, with --edge 10s]
    #[arg(long, value_name = "TIME", value_parser = quantity::parse_time)]
    pub idle_mark: Option<Duration>,
    /// Start from the settings for a device with a flash card: 16 MiB segments, LZ4, no shared pages
    #[arg(long)]
    pub edge: bool,
    /// What to do with an unfinished write at the end
    #[arg(long, value_name = "HOW", default_value = "cut")]
    pub torn_tail: TornTailChoice,
    /// What to do if durable data is damaged: refuse, or set the journal aside and go on in a new one
    #[arg(long, value_name = "HOW", default_value = "refuse")]
    pub on_damage: OnDamageChoice,
}

/// The words for [`TornTail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TornTailChoice {
    /// Cut it off and say so
    Cut,
    /// Change nothing and fail
    Refuse,
}

/// The words for [`OnDamage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnDamageChoice {
    /// Change nothing and fail
    Refuse,
    /// Move the damaged files into `aside/` and start from the good records
    SetAside,
}

impl Writing {
    /// The journal's options for these arguments.
    pub fn options(&self) -> Options {
        let mut options = if self.edge { Options::edge() } else { Options::default() };
        // A person who follows a journal should not wait 10 s for the last line; a flash card should not pay for that.
        let idle_mark = self.idle_mark.or((!self.edge).then_some(Duration::from_secs(1)));
        options.idle_mark = idle_mark.or(options.idle_mark);
        options.policy = self.policy.unwrap_or(options.policy);
        options.codec = self.codec.unwrap_or(options.codec);
        options.segment_bytes = self.segment_bytes.unwrap_or(options.segment_bytes);
        options.torn_tail = match self.torn_tail {
            TornTailChoice::Cut => TornTail::Cut,
            TornTailChoice::Refuse => TornTail::Refuse,
        };
        // Always as typed, also with `--edge`: a person at a terminal wants to hear of damage first.
        options.on_damage = match self.on_damage {
            OnDamageChoice::Refuse => OnDamage::Refuse,
            OnDamageChoice::SetAside => OnDamage::SetAside,
        };
        options
    }
}

/// Arguments of `cat`.
#[derive(Debug, Args)]
pub struct Cat {
    /// The journal's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Start at this record
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0, hide_default_value = true)]
    pub from: u64,
}

/// Arguments of `follow`.
#[derive(Debug, Args)]
pub struct Follow {
    /// The journal's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Start at this record; without it, at the first one
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0, hide_default_value = true)]
    pub from: u64,
    /// How often to look for more
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = quantity::parse_time)]
    pub every: Duration,
}

/// Arguments of `stat`.
#[derive(Debug, Args)]
pub struct Stat {
    /// The journal's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `dump`.
#[derive(Debug, Args)]
pub struct Dump {
    /// The journal's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The journal's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `salvage`.
#[derive(Debug, Args)]
pub struct Salvage {
    /// The damaged journal's folder; it is only read
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The new journal's folder; it must not exist yet
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// A folder on the disk to measure; a temporary folder in it is made and removed [default: the system's]
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// How long to measure, in all
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = quantity::parse_time)]
    pub time: Duration,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Leave everything, to look at it: the folder, and the daemon if there is one
    #[arg(long)]
    pub keep: bool,
    /// How many times to kill it
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub kills: u32,
    /// Where the temporary folder is made [default: the system's place for temporary files]
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// Arguments of the demo's child.
#[derive(Debug, Args)]
pub struct DemoWriter {
    /// The journal's folder
    pub folder: PathBuf,
    /// The input
    pub input: PathBuf,
    /// The byte of the input to start from
    pub offset: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_become_options() {
        let parse = |words: &[&str]| match Cli::try_parse_from(words).expect("a correct line").command {
            Command::Journal(JournalCommand::Append(append)) => append,
            other => panic!("{other:?}"),
        };
        let append = parse(&["duramen", "journal", "append", "d", "--edge", "--policy", "interval:1s"]);
        let options = append.writing.options();
        assert_eq!(options.policy, SyncPolicy::Interval(Duration::from_secs(1)));
        assert_eq!((options.segment_bytes, options.on_damage), (16 << 20, OnDamage::Refuse));
        let append = parse(&["duramen", "journal", "append", "d", "a", "-", "--on-damage", "set-aside"]);
        assert_eq!((append.files.len(), append.writing.options().on_damage), (2, OnDamage::SetAside));
    }

    #[test]
    fn wrong_lines_are_refused() {
        for words in [
            &["duramen"][..],
            &["duramen", "journal", "append"],
            &["duramen", "journal", "append", "d", "--segment-bytes", "9G"],
            &["duramen", "journal", "append", "d", "--policy", "maybe"],
            &["duramen", "journal", "salvage", "d"],
        ] {
            assert!(Cli::try_parse_from(words).is_err(), "{words:?}");
        }
    }
}
