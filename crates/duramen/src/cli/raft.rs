//! What was typed after `raft`. Owns no behaviour.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use duramen_raft::inspect::{Notation, Selection};

use crate::exit;

/// The commands on a folder of Raft logs.
#[derive(Debug, Subcommand)]
pub enum RaftCommand {
    /// Say what each group's log holds, and what of it is lost
    #[command(after_help = exit::HELP)]
    State(State),
    /// Show the records in the order in which they were written
    #[command(after_help = exit::HELP)]
    Dump(Dump),
    /// Check every byte, and replay the Raft rules over every record
    #[command(after_help = exit::HELP)]
    Verify(Verify),
    /// Copy what is good into a new folder, and list the entries and votes that may be lost
    #[command(after_help = exit::HELP)]
    Salvage(Salvage),
    /// Move sealed segments to a second directory, or bring them back
    ///
    /// Each is copied, read back and compared before it goes here; what stays of it tells where it is, so every command and
    /// every program reads through. If this folder is lost, `duramen raft salvage DIRECTORY NEW` makes a log of what was moved.
    #[command(after_help = exit::HELP)]
    Tier(Tier),
}

/// Arguments of `state`.
#[derive(Debug, Args)]
pub struct State {
    /// The logs' folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Only this group, with everything about it
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub group: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `dump`.
#[derive(Debug, Args)]
pub struct Dump {
    /// The logs' folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Only this group's records
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub group: Option<u32>,
    /// Start at this record of the journal
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0, hide_default_value = true)]
    pub from: u64,
    /// End with this record of the journal
    #[arg(long, value_name = "SEQUENCE", default_value_t = u64::MAX, hide_default_value = true)]
    pub to: u64,
    /// Only records that name an entry of this index or a later one
    #[arg(long, value_name = "INDEX")]
    pub first_index: Option<u64>,
    /// Only records that name an entry of this index or an earlier one
    #[arg(long, value_name = "INDEX")]
    pub last_index: Option<u64>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// The logs' folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// How terms and votes lie in the records: as the ready types store them, or in a way that only the writer knows; then
    /// their order is not checked
    #[arg(long, value_name = "HOW", default_value = "plain")]
    pub types: TypesChoice,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `salvage`.
#[derive(Debug, Args)]
pub struct Salvage {
    /// The damaged logs' folder; it is only read
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The new logs' folder; it must not exist yet
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `tier`.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Tier {
    /// The logs' folder; no program may have it open for writing
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The directory, of a larger or cheaper disk say; it belongs to these logs alone
    #[arg(long, value_name = "DIRECTORY", required_unless_present = "back", conflicts_with = "back")]
    pub to: Option<PathBuf>,
    /// Sealed segments that stay
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub keep: usize,
    /// Bring all segments back
    #[arg(long)]
    pub back: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The words for [`Notation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TypesChoice {
    /// Terms and votes of the ready set of types
    Plain,
    /// Bytes of which nothing is known
    Opaque,
}

impl TypesChoice {
    /// What it means to the library.
    pub fn notation(self) -> Notation {
        match self {
            TypesChoice::Plain => Notation::Plain,
            TypesChoice::Opaque => Notation::Opaque,
        }
    }
}

impl Dump {
    /// The records that are asked for; in words, if the two ends of a range are the wrong way round.
    pub fn selection(&self) -> Result<Selection, String> {
        let (first, last) = (self.first_index.unwrap_or(0), self.last_index.unwrap_or(u64::MAX));
        if self.from > self.to {
            return Err(format!("--from {} lies behind --to {}: nothing to show", self.from, self.to));
        }
        if first > last {
            return Err(format!("--first-index {first} lies behind --last-index {last}: nothing to show"));
        }
        let indexes = (self.first_index.is_some() || self.last_index.is_some()).then_some(first..=last);
        Ok(Selection { group: self.group, sequences: self.from..=self.to, indexes })
    }
}
