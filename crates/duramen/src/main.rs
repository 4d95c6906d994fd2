//! The `duramen` binary: parses the command line, runs one command, and turns its end into one line and an exit code.
//! Knows no journal.

#[cfg(feature = "daemon")]
mod answer;
#[cfg(feature = "daemon")]
mod chart;
mod cli;
#[cfg(feature = "daemon")]
mod client;
mod commands;
#[cfg(feature = "daemon")]
mod config;
#[cfg(feature = "daemon")]
mod daemon;
mod exit;
#[cfg(feature = "daemon")]
mod import;
#[cfg(feature = "daemon")]
mod input;
#[cfg(feature = "daemon")]
mod intake;
#[cfg(feature = "daemon")]
mod pace;
#[cfg(feature = "daemon")]
mod power;
mod progress;
mod quantity;
#[cfg(feature = "daemon")]
mod samples;
#[cfg(feature = "daemon")]
mod scrape;
mod scratch;
#[cfg(feature = "daemon")]
mod server;
mod source;
#[cfg(feature = "daemon")]
mod stamp;
mod stop;
mod text;
mod writer;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

#[cfg(feature = "decisions")]
use crate::cli::decisions::DecisionsCommand;
#[cfg(feature = "raft")]
use crate::cli::raft::RaftCommand;
use crate::cli::{Cli, Command, JournalCommand};
use crate::exit::Exit;
use crate::stop::Stop;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version arrive as errors too; they go to standard output and are none.
            let _ = answer.print();
            return ExitCode::from(if answer.use_stderr() { Exit::Usage } else { Exit::Complete }.code());
        }
    };
    let exit = run(&cli.command).unwrap_or_else(|error| {
        let exit = Exit::of(&error);
        // Whoever closed the pipe knows; everyone else gets one line.
        if exit != Exit::BrokenPipe {
            eprintln!("duramen: {}", words(&error));
        }
        exit
    });
    ExitCode::from(exit.code())
}

fn run(command: &Command) -> anyhow::Result<Exit> {
    // The child of the demo must die at the first signal, like any process that is killed.
    if let Command::DemoWriter(arguments) = command {
        return commands::demo::writer(arguments);
    }
    // It passes signals on to its command.
    #[cfg(feature = "daemon")]
    if let Command::Exec(arguments) = command {
        return commands::store::exec::run(arguments);
    }
    let stop = Stop::install().context("cannot handle signals")?;
    match command {
        Command::Journal(JournalCommand::Append(arguments)) => commands::append::run(arguments, &stop),
        Command::Journal(JournalCommand::Cat(arguments)) => commands::cat::run(arguments, &stop),
        Command::Journal(JournalCommand::Follow(arguments)) => commands::follow::run(arguments, &stop),
        Command::Journal(JournalCommand::Stat(arguments)) => commands::stat::run(arguments),
        Command::Journal(JournalCommand::Dump(arguments)) => commands::dump::run(arguments, &stop),
        Command::Journal(JournalCommand::Verify(arguments)) => commands::verify::run(arguments, &stop),
        Command::Journal(JournalCommand::Salvage(arguments)) => commands::salvage::run(arguments, &stop),
        Command::Journal(JournalCommand::Bench(arguments)) => commands::bench::run(arguments, &stop),
        Command::Journal(JournalCommand::Demo(arguments)) => commands::demo::run(arguments, &stop),
        #[cfg(feature = "raft")]
        Command::Raft(command) => run_raft(command, &stop),
        #[cfg(feature = "decisions")]
        Command::Decisions(command) => run_decisions(command, &stop),
        #[cfg(feature = "daemon")]
        Command::Run(arguments) => commands::store::run::run(arguments, stop),
        #[cfg(feature = "daemon")]
        Command::Ingest(arguments) => commands::store::ingest::run(arguments, stop),
        #[cfg(feature = "daemon")]
        Command::Import(arguments) => commands::store::import::run(arguments, &stop),
        #[cfg(feature = "daemon")]
        Command::Query(arguments) => commands::store::ask::run(arguments, &stop),
        #[cfg(feature = "daemon")]
        Command::Tail(arguments) => commands::store::ask::tail(arguments, &stop),
        #[cfg(feature = "daemon")]
        Command::Status(arguments) => commands::store::status::run(arguments),
        #[cfg(feature = "daemon")]
        Command::Report(arguments) => commands::store::status::report(arguments),
        #[cfg(feature = "daemon")]
        Command::Power(arguments) => commands::store::power::run(arguments, &stop),
        #[cfg(feature = "daemon")]
        Command::Config(command) => commands::store::config::run(command),
        #[cfg(feature = "daemon")]
        Command::Demo(arguments) => commands::store::demo::run(arguments, &stop),
        #[cfg(feature = "daemon")]
        Command::Verify(arguments) => commands::store::verify::run(arguments, &stop),
        #[cfg(feature = "daemon")]
        Command::Salvage(arguments) => commands::store::salvage::run(arguments, &stop),
        #[cfg(feature = "daemon")]
        Command::Dump(arguments) => commands::store::dump::run(arguments, &stop),
        #[cfg(feature = "daemon")]
        Command::Backup(arguments) => commands::store::backup::run(arguments, &stop),
        #[cfg(feature = "daemon")]
        Command::Restore(arguments) => commands::store::backup::restore(arguments, &stop),
        Command::Completions { shell } => commands::manual::completions(*shell),
        Command::Man { folder } => commands::manual::man(folder.as_deref()),
        #[cfg(feature = "daemon")]
        Command::Exec(_) => unreachable!("answered above"),
        Command::DemoWriter(_) => unreachable!("answered above"),
    }
}

#[cfg(feature = "decisions")]
fn run_decisions(command: &DecisionsCommand, stop: &Stop) -> anyhow::Result<Exit> {
    match command {
        DecisionsCommand::Info(arguments) => commands::decisions::info(arguments),
        DecisionsCommand::Dump(arguments) => commands::decisions::dump(arguments, stop),
        DecisionsCommand::Verify(arguments) => commands::decisions::verify(arguments),
        DecisionsCommand::Salvage(arguments) => commands::decisions::salvage(arguments),
        DecisionsCommand::Migrate(arguments) => commands::decisions::migrate(arguments),
    }
}

#[cfg(feature = "raft")]
fn run_raft(command: &RaftCommand, stop: &Stop) -> anyhow::Result<Exit> {
    match command {
        RaftCommand::State(arguments) => commands::raft::state::run(arguments),
        RaftCommand::Dump(arguments) => commands::raft::dump::run(arguments, stop),
        RaftCommand::Verify(arguments) => commands::raft::verify::run(arguments, stop),
        RaftCommand::Salvage(arguments) => commands::raft::salvage::run(arguments, stop),
        RaftCommand::Tier(arguments) => commands::raft::tier::run(arguments),
    }
}

/// What is said of an error: one line, but for a query, where a second and a third point at the place.
fn words(error: &anyhow::Error) -> String {
    #[cfg(feature = "daemon")]
    if let Some(error) = error.downcast_ref::<duramen_store::ParseError>() {
        return error.to_string();
    }
    #[cfg(feature = "daemon")]
    if let Some(error) = error.downcast_ref::<duramen_store::promql::Error>() {
        return error.to_string();
    }
    #[cfg(feature = "daemon")]
    if let Some(error) = error.downcast_ref::<commands::store::promql::Refused>() {
        return error.to_string();
    }
    one_line(error)
}

/// An error and its causes in one line. The journal's errors already quote their cause, so a cause is left out when
/// what stands before it has said it.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.replace('\n', " ")
}
