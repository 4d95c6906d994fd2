//! The rules for Rust files. Each is a pure function from a path and a text to complaints; walks no folder.

use crate::text;

/// A Rust file of the workspace.
pub struct Source<'a> {
    /// Relative to the repository, with slashes.
    pub path: &'a str,
    /// Everything in it.
    pub text: &'a str,
}

/// Lines that a file may have, its unit tests not counted.
const LINES_MAX: usize = 800;

/// What only a disk and its environment may name. Each is a run of path segments.
const OUTSIDE: &[&str] = &[
    "std::fs",
    "unix::fs",
    "std::time::Instant",
    "Instant::now",
    "SystemTime",
    "thread::spawn",
    "thread::scope",
    "thread::Builder",
    "thread::sleep",
    "thread::park",
    "thread::park_timeout",
    "Condvar",
    "RandomState",
    "rustix::fs",
    "rustix::mm",
    "rustix::process",
    "rustix::rand",
    "rustix::thread",
    "rustix::time",
    "libc",
    "getrandom",
    "rand",
    "tokio",
    "chrono",
];

/// What the simulated disk and its explorer may name besides: they spread their work over threads of their own.
const ALLOWED_IN_SIMULATION: &[&str] = &["thread::spawn", "thread::scope", "thread::Builder", "Condvar"];

/// What pure code may not name: it gets bytes and facts, and gives verdicts. Nor is anything stored by derive.
const IMPURE: &[&str] = &["disk", "Disk", "DiskFile", "Environment", "World", "serde", "Serialize", "Deserialize"];

/// Modules that are pure, in whichever crate they stand.
const PURE_MODULES: &[&str] = &["format", "recovery", "compaction/pick"];

/// `//!` stands first, and says something.
pub fn module_docs(source: &Source) -> Vec<String> {
    let first = source.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let said = first.strip_prefix("//!").is_some_and(|words| words.trim().len() >= 10);
    complain(source, !said, "does not begin with `//!`: what it owns, what it must not know")
}

/// A file that grew beyond its bound has more than one purpose.
pub fn length(source: &Source) -> Vec<String> {
    let lines = text::before_tests(&text::code_only(source.text)).lines().count();
    complain(source, lines > LINES_MAX, &format!("has {lines} lines without tests; {LINES_MAX} are the bound"))
}

/// Markers of unfinished work.
pub fn markers(source: &Source) -> Vec<String> {
    let macros = text::macros(&text::code_only(source.text));
    let found = ["todo", "unimplemented", "dbg"].into_iter().filter(|name| macros.iter().any(|found| found == name));
    found.map(|name| format!("{}: calls `{name}!`", source.path)).collect()
}

/// Files, clocks, threads and entropy are reached through the disk and its environment only.
pub fn outside_world(source: &Source) -> Vec<String> {
    let (package, module) = package_and_module(source.path);
    let real = package == "duramen-journal" && is_module(module, "disk/real");
    // The binary's inputs and tools read the user's files; clippy asks each of them for a reason.
    if real || package == "duramen" {
        return Vec::new();
    }
    let simulation = package == "duramen-journal" && is_module(module, "disk/sim");
    let code = text::code_only(source.text);
    let mut found = Vec::new();
    for path in text::paths(text::before_tests(&code)) {
        let named = OUTSIDE.iter().find(|outside| has_segments(&path, outside));
        if let Some(outside) = named.filter(|outside| !simulation || !ALLOWED_IN_SIMULATION.contains(outside)) {
            found.push(format!("{}: names `{path}`; `{outside}` is for the real disk alone", source.path));
        }
    }
    found
}

/// Format, recovery and compaction picking are bytes and facts in, verdicts out.
pub fn purity(source: &Source) -> Vec<String> {
    let (_, module) = package_and_module(source.path);
    if !PURE_MODULES.iter().any(|pure| is_module(module, pure)) {
        return Vec::new();
    }
    let code = text::code_only(source.text);
    let names = text::names(text::before_tests(&code));
    let found = IMPURE.iter().filter(|impure| names.iter().any(|name| name == *impure));
    found.map(|name| format!("{}: a pure module names `{name}`", source.path)).collect()
}

/// `crates/a/src/b/c.rs` gives `a` and `b/c`.
fn package_and_module(path: &str) -> (&str, &str) {
    let inside = path.strip_prefix("crates/").unwrap_or(path);
    let (package, rest) = inside.split_once('/').unwrap_or((inside, ""));
    let module = rest.strip_prefix("src/").unwrap_or(rest);
    (package, module.strip_suffix(".rs").unwrap_or(module))
}

/// Whether a file is that module or lies within it.
fn is_module(module: &str, wanted: &str) -> bool {
    module.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the segments of `wanted` stand in `path` one after the other.
fn has_segments(path: &str, wanted: &str) -> bool {
    format!("::{path}::").contains(&format!("::{wanted}::"))
}

fn complain(source: &Source, wrong: bool, what: &str) -> Vec<String> {
    if wrong { vec![format!("{}: {what}", source.path)] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source<'a>(path: &'a str, text: &'a str) -> Source<'a> {
        Source { path, text }
    }

    #[test]
    fn a_missing_or_empty_module_doc_is_caught() {
        assert_eq!(module_docs(&source("a.rs", "\n//! Owns the letter a.\nfn a() {}")), Vec::<String>::new());
        for wrong in ["fn a() {}\n//! Owns the letter a.", "//!\nfn a() {}", "", "// Owns the letter a."] {
            assert_eq!(module_docs(&source("a.rs", wrong)).len(), 1, "{wrong:?}");
        }
    }

    #[test]
    fn a_long_file_is_caught_and_its_tests_are_not_counted() {
        let long = "//! x\n".to_string() + &"fn a() {}\n".repeat(LINES_MAX);
        assert_eq!(length(&source("a.rs", &long)).len(), 1);
        let tests = "//! x\n#[cfg(test)]\nmod tests {\n".to_string() + &"fn a() {}\n".repeat(LINES_MAX) + "}";
        assert!(length(&source("a.rs", &tests)).is_empty());
    }

    #[test]
    fn markers_are_caught_outside_of_text() {
        assert_eq!(markers(&source("a.rs", "fn a() { todo!(\"x\"); dbg! { 1 }; unimplemented!() }")).len(), 3);
        assert!(markers(&source("a.rs", "// todo!()\nfn todo() -> &'static str { \"dbg!\" }")).is_empty());
    }

    #[test]
    fn a_file_system_call_outside_the_real_disk_is_caught() {
        let violations = [
            "use std::{fs, io};",
            "fn a() { std::fs::read(b) }",
            "use std::time::{Duration, Instant};",
            "use std::{collections::BTreeMap, time::{self, SystemTime}};",
            "fn a() { thread::spawn(b) }",
            "use std::os::unix::fs::FileExt;",
            "use rustix::{io, rand::getrandom};",
            "#[cfg(not(test))] mod a { use std::fs; }",
        ];
        for text in violations {
            for path in ["crates/duramen-journal/src/pool.rs", "crates/duramen-store/src/disk/real.rs"] {
                assert!(!outside_world(&source(path, text)).is_empty(), "{text}");
            }
            assert!(outside_world(&source("crates/duramen-journal/src/disk/real.rs", text)).is_empty(), "{text}");
        }
        let clean =
            "// std::fs\nuse std::{io, fmt};\nuse std::time::Duration;\n#[cfg(test)]\nmod tests { use std::fs; }";
        assert!(outside_world(&source("crates/duramen-journal/src/pool.rs", clean)).is_empty());
    }

    #[test]
    fn the_simulation_has_threads_and_nothing_else() {
        let path = "crates/duramen-journal/src/disk/sim/explore.rs";
        assert!(outside_world(&source(path, "fn a() { std::thread::scope(b) }")).is_empty());
        assert_eq!(outside_world(&source(path, "fn a() { std::fs::read(b) }")).len(), 1);
        assert_eq!(
            outside_world(&source("crates/duramen-journal/src/disk/similar.rs", "use std::thread::scope;")).len(),
            1
        );
    }

    #[test]
    fn a_pure_module_that_knows_a_disk_is_caught() {
        let impure = "use crate::disk::Disk;";
        for path in ["format.rs", "format/header.rs", "recovery.rs", "recovery/table.rs", "compaction/pick.rs"] {
            assert_eq!(purity(&source(&format!("crates/duramen-store/src/{path}"), impure)).len(), 2, "{path}");
        }
        assert!(purity(&source("crates/duramen-journal/src/scan.rs", impure)).is_empty());
        assert!(
            purity(&source("crates/duramen-journal/src/format.rs", "/// Not a Disk.\nfn diskless() {}")).is_empty()
        );
        assert_eq!(purity(&source("crates/a/src/format.rs", "#[derive(Serialize)] struct A;")).len(), 1);
    }
}
