//! Four replicas under load, killed with -9 again and again, one of them with its folder: then every put that a client was told of
//! is in all of them, and their states are equal, as they say it and as their logs do.
//!
//! `REPLICA_GROUP_SECONDS` says for how long (default 15), `REPLICA_GROUP_SEED` who is killed when (a run prints its own). The
//! schedule is replayed by the seed, the timing is not. A kill leaves the kernel alive: that power cuts lose nothing either is
//! shown on the simulated disk.

use std::process::{Command, Output};
use std::time::SystemTime;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// The line that a run printed.
fn torture(seconds: u64, seed: u64, mode: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replica-group"));
    command.args(["torture", "--seconds", &seconds.to_string(), "--seed", &seed.to_string(), "--mode", mode]);
    let Output { status, stdout, stderr } = command.output().expect("starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{stdout}{stderr}");
    println!("{stdout}");
    stdout.trim().to_string()
}

#[test]
fn nothing_acknowledged_is_lost_and_all_agree() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let seed = number("REPLICA_GROUP_SEED").unwrap_or(now % 100_000);
    let line = torture(number("REPLICA_GROUP_SECONDS").unwrap_or(15), seed, "strict");
    let told = ["all in 4 replicas", "4 equal states", "the folder of replica"];
    assert!(told.iter().all(|words| line.contains(words)), "{line}");
}
