//! The benchmark of the journal: the works of TARGETS against the raw bound of the disk and against the peers.
//!
//! A human runs it with one command; nothing in it asserts a time. The way of a figure: `arguments` say what to do,
//! `works` do it with the `engine`s (`raw`, `duramen`, `peers`), `results` hold the values, `goals` compare, `report`
//! writes. `host` is the only module that looks at the machine.

mod arguments;
#[cfg(feature = "duramen")]
mod duramen;
mod engine;
mod goals;
mod host;
#[cfg(feature = "peers")]
mod peers;
mod pool;
#[cfg(feature = "duramen")]
mod raft;
mod raw;
mod report;
mod results;
mod run;
mod works;

use std::process::ExitCode;

use arguments::Command;
use engine::Outcome;

fn main() -> ExitCode {
    match run_command() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("duramen-bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn run_command() -> Outcome<ExitCode> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = given.split_first()
        && first == works::stored::CHILD_FLAG
    {
        // The parent reads a broken result from the output; the probe is not repeated here, only reads are timed.
        works::stored::child_main(rest, &run::systems(raw::probe::SyncMethod::DataSync))?;
        return Ok(ExitCode::SUCCESS);
    }
    match arguments::parse(given)? {
        Command::Help => println!("{}", arguments::HELP),
        Command::List => run::list(),
        Command::Run(arguments) => return run::run(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}
