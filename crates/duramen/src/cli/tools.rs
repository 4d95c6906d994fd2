//! What was typed for the tools over a store's data folder. Owns no behaviour.

use std::path::PathBuf;

use clap::Args;

use super::store::Data;

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Where the data is
    #[command(flatten)]
    pub data: Data,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `salvage`.
#[derive(Debug, Args)]
pub struct Salvage {
    /// The new folder; it must not exist yet
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Where the damaged data is; it is only read
    #[command(flatten)]
    pub data: Data,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `dump`.
#[derive(Debug, Args)]
pub struct Dump {
    /// Where the data is
    #[command(flatten)]
    pub data: Data,
    /// Only this table
    #[arg(long, value_name = "NUMBER")]
    pub table: Option<u64>,
    /// Each block of the tables, too
    #[arg(long)]
    pub blocks: bool,
    /// Each row and sample, too
    #[arg(long)]
    pub rows: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub struct Backup {
    /// The folder of the backup; it must not exist, or be empty
    #[arg(value_name = "DIR")]
    pub to: PathBuf,
    /// Where the data is; a daemon that runs on it makes the backup itself
    #[command(flatten)]
    pub data: Data,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup; it is only read
    #[arg(value_name = "FROM")]
    pub from: PathBuf,
    /// Where the data is to be; the folder must not exist, or be empty
    #[command(flatten)]
    pub data: Data,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
