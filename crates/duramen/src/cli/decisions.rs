//! What was typed after `decisions`. Owns no behaviour.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use duramen_decisions::backend::Space;

use crate::exit;

/// The commands on a folder with a log of decisions.
#[derive(Debug, Subcommand)]
pub enum DecisionsCommand {
    /// Say what the log holds, its checkpoints, and what of it is lost
    #[command(after_help = exit::HELP)]
    Info(Look),
    /// Show values: decisions, proofs, messages, memberships, checkpoints, safety record
    #[command(after_help = exit::HELP)]
    Dump(Dump),
    /// Check every byte: journal, values, decisions against their digests, chunks of checkpoints
    #[command(after_help = exit::HELP)]
    Verify(Look),
    /// Copy what is good into a new folder, and list what was lost
    #[command(after_help = exit::HELP)]
    Salvage(Salvage),
    /// Copy a log to another backend, and compare the two; the source is only read
    #[command(after_help = exit::HELP)]
    Migrate(Migrate),
}

/// Arguments of `info` and `verify`.
#[derive(Debug, Args)]
#[group(id = "look_at_decisions")]
pub struct Look {
    /// The log's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `dump`.
#[derive(Debug, Args)]
#[group(id = "dump_decisions")]
pub struct Dump {
    /// The log's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Only values of this kind; may come several times
    #[arg(long, value_name = "KIND")]
    pub only: Vec<Kind>,
    /// Start with this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub from: u64,
    /// End with this number
    #[arg(long, value_name = "NUMBER", default_value_t = u64::MAX, hide_default_value = true)]
    pub to: u64,
    /// Print one JSON object a line, with the whole value in hexadecimal digits
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `salvage`.
#[derive(Debug, Args)]
#[group(id = "salvage_decisions")]
pub struct Salvage {
    /// The damaged log's folder; it is only read
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The new log's folder; it must be empty, or not exist yet
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `migrate`.
#[derive(Debug, Args)]
#[group(id = "migrate_decisions")]
pub struct Migrate {
    /// The log's folder, whatever backend it is of; no program may have it open
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The new log's folder; it must be empty, or not exist yet
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// The new log's backend
    #[arg(long, value_name = "BACKEND")]
    pub to: Store,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The words for backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// Segmented files on the journal
    Files,
    /// redb (in builds with the feature `decisions-stores`)
    Redb,
    /// fjall (in builds with the feature `decisions-stores`)
    Fjall,
}

/// The words for kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The log's own records
    Own,
    /// The safety record
    Safety,
    /// Memberships
    Membership,
    /// Published checkpoints
    Checkpoint,
    /// Decisions
    Decision,
    /// Proofs
    Proof,
    /// Messages of instances
    Message,
    /// The protocol's recovery information
    Recovery,
}

impl Dump {
    /// The kinds that are asked for.
    pub fn spaces(&self) -> Vec<Space> {
        let asked = |space: &Space| self.only.is_empty() || self.only.iter().any(|kind| *kind as u8 == *space as u8);
        Space::ALL.into_iter().filter(asked).collect()
    }

    /// The numbers that are asked for; in words, if the ends are the wrong way round.
    pub fn numbers(&self) -> Result<RangeInclusive<u64>, String> {
        if self.from > self.to {
            return Err(format!("--from {} lies behind --to {}: nothing to show", self.from, self.to));
        }
        Ok(self.from..=self.to)
    }
}
