//! `completions` and `man`: both generated from the same definition that parses the command line. Owns where they go.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::exit::{self, Exit};

/// The command line as people should see it: clap_complete offers hidden commands too, so they are left out here.
fn shown() -> clap::Command {
    let whole = Cli::command();
    let commands = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    clap::Command::new("duramen")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .after_help(exit::HELP)
        .subcommands(commands)
}

/// Prints a shell's completion script.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(), "duramen", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Exit::Complete)
}

/// Prints the main page, or writes a page for each command into a folder.
///
/// # Errors
/// Standard output or the folder cannot be written.
pub fn man(folder: Option<&Path>) -> anyhow::Result<Exit> {
    match folder {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(shown()).render(&mut page).context("cannot make the page")?;
            io::stdout().lock().write_all(&page)?;
        }
        Some(folder) => clap_mangen::generate_to(shown(), folder)
            .with_context(|| format!("cannot write the pages into {}; make the folder first", folder.display()))?,
    }
    Ok(Exit::Complete)
}
