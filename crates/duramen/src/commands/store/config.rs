//! `config check` and `config example`. Owns no setting: [`crate::config`] does.

use std::io::Write as _;

use crate::cli::store::ConfigCommand;
use crate::config::{Config, EXAMPLE};
use crate::exit::Exit;

/// Runs it.
///
/// # Errors
/// The configuration is wrong, in words that name the place.
pub fn run(command: &ConfigCommand) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    match command {
        ConfigCommand::Example => out.write_all(EXAMPLE.as_bytes())?,
        ConfigCommand::Check { file } => {
            let config = Config::load(file.as_deref(), std::env::vars())?;
            out.write_all(toml::to_string(&config)?.as_bytes())?;
        }
    }
    Ok(Exit::Complete)
}
