//! The table of docs/decision-backends.md: what each backend lacks, as the tests find it, and the page that must say the same.

use duramen_decisions::suite::cases;

use crate::folders::Memory;

/// What a folder of the real disk cannot do: its power cannot be cut, nor anything of it be made to fail.
pub const FOLDER: &[&str] = &[
    "completion_of_failure",
    "acknowledged_survives",
    "prefix_survives",
    "atomic_survives",
    "chunks_survive",
    "compaction_survives",
    "random_history",
    "disk_full",
    "failed_write",
    "failed_sync",
    "failed_read",
];

/// The same of a store that overwrites its pages in steps.
pub const REDB: &[&str] = &[
    "completion_of_failure",
    "acknowledged_survives",
    "prefix_survives",
    "atomic_survives",
    "chunks_survive",
    "compaction_survives",
    "random_history",
    "torn_tail",
    "disk_full",
    "failed_write",
    "failed_sync",
    "failed_read",
];

/// A simulated disk has no process to kill.
pub const SIMULATED: &[&str] = &["killed_process"];

/// The same of redb.
pub const REDB_SIMULATED: &[&str] = &["killed_process", "torn_tail"];

/// Nothing outlives the process.
pub const MEMORY: &[&str] = &[
    "reopen",
    "one_opener",
    "completion_of_failure",
    "killed",
    "killed_process",
    "acknowledged_survives",
    "prefix_survives",
    "atomic_survives",
    "chunks_survive",
    "compaction_survives",
    "random_history",
    "torn_tail",
    "disk_full",
    "failed_write",
    "failed_sync",
    "failed_read",
    "rot",
    "rot_after_kill",
];

const COLUMNS: [(&str, &[&str]); 7] = [
    ("files", SIMULATED),
    ("files, real disk", FOLDER),
    ("redb", REDB_SIMULATED),
    ("redb, real disk", REDB),
    ("fjall, real disk", FOLDER),
    ("memory", MEMORY),
    ("the example's, real disk", FOLDER),
];

fn table() -> String {
    let mut lines = vec![
        format!("| case | property | {} |", COLUMNS.map(|(name, _)| name).join(" | ")),
        format!("|{}", "---|".repeat(COLUMNS.len() + 2)),
    ];
    for (case, property) in cases::<Memory>() {
        let cell = |(_, lacking): (&str, &[&str])| if lacking.contains(&case) { "-" } else { "passed" };
        lines.push(format!("| `{case}` | {property} | {} |", COLUMNS.map(cell).join(" | ")));
    }
    lines.join("\n")
}

/// The other tests see that each backend lacks just what stands here, and fails nothing.
#[test]
fn the_page_has_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/decision-backends.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("| case |").expect("the table begins");
    let (_, after) = rest.split_once("\n\n").expect("the table ends");
    let wanted = format!("{before}{}\n\n{after}", table());
    if std::env::var("DURAMEN_SUITE_TABLE").is_ok_and(|what| what == "write") {
        std::fs::write(path, wanted).unwrap();
        return;
    }
    assert!(page == wanted, "docs/decision-backends.md has another table: DURAMEN_SUITE_TABLE=write mends it");
}
