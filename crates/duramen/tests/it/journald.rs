//! systemd's journal as an input, behind a `journalctl` that the test wrote: it knows `--after-cursor`, and its journal grows.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::collector::{Collector, rows, texts, wait_for};
use crate::harness::{Folder, Random, setting};

const JOURNAL: &str = r#"{input="journald"}"#;

/// Prints the entries of the file `entries` behind the cursor, one file a number, and waits for more; `stop` makes it end.
const FAKE: &str = r#"#!/bin/sh
at=0
for word in "$@"; do
    case "$word" in --after-cursor=*) at="${word#--after-cursor=}" ;; esac
done
echo "$*" >> "$JOURNAL_FOLDER/calls"
while :; do
    next=$((at + 1))
    if [ -f "$JOURNAL_FOLDER/$next" ]; then cat "$JOURNAL_FOLDER/$next" || exit 1; at=$next
    elif [ -f "$JOURNAL_FOLDER/stop" ]; then rm "$JOURNAL_FOLDER/stop"; exit 1
    else sleep 0.02; fi
done
"#;

fn entry(folder: &Path, number: u64, more: &[u8]) {
    let head = format!(
        "__CURSOR={number}\n__REALTIME_TIMESTAMP={}\n_BOOT_ID=b00\n_HOSTNAME=device\n",
        1_795_723_200_000_000 + number
    );
    let path = folder.join("new");
    fs::write(&path, [head.as_bytes(), more, b"\n"].concat()).expect("a file");
    fs::rename(path, folder.join(number.to_string())).expect("it is ours");
}

fn start(folder: &Folder, words: &[&str]) -> Collector {
    start_with(folder, words, |_| {})
}

fn start_with(folder: &Folder, words: &[&str], change: impl FnOnce(&mut std::process::Command)) -> Collector {
    let data = folder.join("data");
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Collector::command(&data, words);
    command.env("PATH", path).env("JOURNAL_FOLDER", folder.path());
    change(&mut command);
    Collector::of(&data, &mut command)
}

fn with_fake() -> Folder {
    let folder = Folder::fast();
    fs::create_dir(folder.join("bin")).expect("a folder");
    let program = folder.join("bin").join("journalctl");
    fs::write(&program, FAKE).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    folder
}

#[test]
fn entries_become_rows() {
    let folder = with_fake();
    entry(
        folder.path(),
        1,
        b"MESSAGE=started\nPRIORITY=3\nSYSLOG_IDENTIFIER=app\n_SYSTEMD_UNIT=app.service\n_PID=42\n",
    );
    let text = b"two\nlines \xff\n";
    let binary = [b"MESSAGE\n".as_slice(), &(text.len() as u64).to_le_bytes(), text, b"\n_COMM=tool\n"].concat();
    entry(folder.path(), 2, &binary);
    let collector = start(&folder, &["--journald"]);
    let found = collector.wait_rows(JOURNAL, 2);
    let row = &found[0];
    assert_eq!(
        (&row["line"], &row["level"], &row["ns"]),
        (&"started".into(), &"err".into(), &1_795_723_200_000_001_000_i64.into())
    );
    let labels = &row["labels"];
    assert_eq!(
        (&labels["app"], &labels["unit"], &labels["host"]),
        (&"app".into(), &"app.service".into(), &"device".into())
    );
    assert_eq!((&row["fields"]["pid"], &row["fields"]["boot"]), (&"42".into(), &"b00".into()));
    assert_eq!(
        (found[1]["hex"].as_str(), &found[1]["labels"]["app"]),
        (Some("74776f0a6c696e657320ff0a"), &"tool".into())
    );
    // The reader dies, and is started behind what is stored.
    fs::write(folder.join("stop"), b"").expect("a file");
    entry(folder.path(), 3, b"MESSAGE=after\n");
    collector.wait_rows(JOURNAL, 3);
    wait_for("a second reader", || {
        fs::read_to_string(folder.join("calls")).ok().filter(|calls| calls.contains("--after-cursor=3"))
    });
    collector.stop();
    assert_eq!(texts(&folder.join("data"), JOURNAL)[2], "after");
}

#[test]
fn each_entry_is_stored_once_over_any_kill() {
    let folder = with_fake();
    let mut random = Random::new(setting("DURAMEN_SEED", 7));
    let kills = setting("DURAMEN_KILLS", 25).min(200) / 2;
    let mut written = 0;
    for _ in 0..kills {
        let collector = start(&folder, &["--journald"]);
        for _ in 0..1 + random.below(20) {
            written += 1;
            entry(folder.path(), written, format!("MESSAGE=line {written}\nPRIORITY=6\n").as_bytes());
        }
        std::thread::sleep(std::time::Duration::from_millis(random.below(60)));
        collector.kill();
    }
    let collector = start(&folder, &["--journald"]);
    wait_for("the last entry", || (rows(&collector.data, JOURNAL).len() as u64 >= written).then_some(()));
    collector.stop();
    let expected: Vec<String> = (1..=written).map(|number| format!("line {number}")).collect();
    let told = texts(&folder.join("data"), JOURNAL);
    let first = told.iter().zip(&expected).position(|(told, expected)| told != expected);
    assert!(
        told == expected,
        "{} rows of {}, the first difference: {:?}",
        told.len(),
        expected.len(),
        first.map(|at| &told[at.saturating_sub(3)..told.len().min(at + 5)])
    );
}

/// The journal of a machine with more programs than there is room for ended the daemon: nothing took the place of a stream.
#[test]
fn more_programs_than_there_is_room_for_are_fields() {
    let folder = with_fake();
    for number in 1..=60 {
        entry(folder.path(), number, format!("MESSAGE=line {number}\n_COMM=app{number}\n").as_bytes());
    }
    let collector = start_with(&folder, &["--journald"], |command| _ = command.env("DURAMEN__STORE__STREAMS_MAX", "5"));
    let found = collector.wait_rows(JOURNAL, 60);
    assert_eq!((&found[59]["fields"]["app"], &found[59]["fields"]["host"]), (&"app60".into(), &"device".into()));
    assert!(collector.figure("journald", "crowded") >= 55);
    collector.stop();
}

#[test]
fn a_message_over_the_bound_comes_in_parts() {
    let folder = with_fake();
    let long = "z".repeat(4_500);
    entry(folder.path(), 1, format!("MESSAGE={long}\nPRIORITY=6\n").as_bytes());
    let small = |command: &mut std::process::Command| _ = command.env("DURAMEN__STORE__ROW_BYTES_MAX", "1000");
    let collector = start_with(&folder, &["--journald"], small);
    collector.wait_rows(JOURNAL, 5);
    assert_eq!((texts(&collector.data, JOURNAL).concat(), collector.figure("journald", "odd")), (long, 4));
    collector.stop();
}

#[test]
fn a_machine_without_journalctl_is_told_so() {
    let folder = Folder::fast();
    let data = folder.join("data");
    let mut command = Collector::command(&data, &["--journald"]);
    let collector = Collector::of(&data, command.env("PATH", folder.path()));
    wait_for("the word about it", || collector.said().contains("there is no journalctl").then_some(()));
    collector.stop();
}
