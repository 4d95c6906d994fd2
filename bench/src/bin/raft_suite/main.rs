//! The suite for Raft log stores (`duramen_raft::suite`) on ours, on raft-log and on openraft's memory store, all in folders of the
//! real disk, and what each passes as a table. Power cuts need a simulated disk, which only ours has: that is
//! `crates/duramen-raft/tests/suite`. Here they are not applicable, to anybody.

mod folder;
mod memory;
mod ours;
mod raft_log;

use std::panic::{AssertUnwindSafe, catch_unwind};

use duramen_raft::suite::{Outcome, Place, cases, run_case};

use folder::Folder;

/// What one store came to, case by case.
struct Column {
    name: &'static str,
    outcomes: Vec<Outcome>,
}

fn column<P: Place>(name: &'static str, new: impl Fn() -> P) -> Column {
    let run = |case: &(&'static str, &'static str)| {
        let caught = catch_unwind(AssertUnwindSafe(|| run_case(case.0, &new, 8, 1)));
        match caught {
            Ok(ran) => ran.map_or(Outcome::NotApplicable("no such case"), |ran| ran.outcome),
            Err(panic) => {
                let words = panic.downcast_ref::<String>().cloned();
                let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| words.to_string()));
                Outcome::Failed(format!("it panicked: {}", words.unwrap_or_default()))
            }
        }
    };
    Column { name, outcomes: cases::<P>().iter().map(run).collect() }
}

fn main() {
    // A panic is an outcome here; its words stand in the table.
    std::panic::set_hook(Box::new(|_| ()));
    let columns = [
        column("duramen-raft", || Folder::new(ours::open)),
        column("raft-log 0.4.6", || Folder::new(raft_log::open)),
        column("openraft-memstore", memory::Memory::new),
    ];
    let cases = cases::<Folder<ours::Ours>>();
    println!("| case | property | {} |", columns.each_ref().map(|column| column.name).join(" | "));
    println!("|---|---|{}", "---|".repeat(columns.len()));
    let mut notes = Vec::new();
    for (place, (case, property)) in cases.iter().enumerate() {
        let words = columns.each_ref().map(|column| match &column.outcomes[place] {
            Outcome::Passed => "passed".to_string(),
            Outcome::NotApplicable(_) => "-".to_string(),
            Outcome::Failed(why) => {
                notes.push(format!("- {}, `{case}`: {}", column.name, why.replace('\n', " ")));
                "**fails**".to_string()
            }
        });
        println!("| `{case}` | {property} | {} |", words.join(" | "));
    }
    println!();
    notes.iter().for_each(|note| println!("{note}"));
    let failed = columns[0].outcomes.iter().any(|outcome| matches!(outcome, Outcome::Failed(_)));
    std::process::exit(i32::from(failed));
}
