//! The rules of the house that a compiler does not check: arrows between crates, doors to the outside world, module
//! docs, lengths, documents that name what exists, and a released binary without the simulated disk. It reads the
//! repository and judges texts; each rule is a function that is itself tested on a planted violation.
//!
//! It stands apart from this crate's other integration tests because it tests the workspace, not the binary.

#![allow(clippy::disallowed_methods, reason = "a test of the repository reads the repository's files")]

mod manifest;
mod markdown;
mod source;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the simulated disk carries in itself, so that its presence in a program can be seen.
const SIMULATION_MARKER: &str = "duramen-simulated-disk";

/// A file of the repository.
struct File {
    /// Relative to the repository, with slashes.
    path: String,
    text: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file with this ending, sorted; what is built or fuzzed up is left out.
fn files(ending: &str) -> Vec<File> {
    let mut found = Vec::new();
    collect(&repository(), "", ending, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "the repository has no file that ends in {ending}");
    found
}

fn collect(folder: &Path, prefix: &str, ending: &str, found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("the repository's folders can be listed") {
        let entry = entry.expect("the repository's folders can be listed");
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().expect("the kind of a directory entry can be read");
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if kind.is_dir() && !["target", ".git", "corpus", "artifacts"].contains(&name.as_str()) {
            collect(&entry.path(), &path, ending, found);
        } else if kind.is_file() && name.ends_with(ending) {
            let text = fs::read_to_string(entry.path()).expect("a source file is UTF-8 and can be read");
            found.push(File { path, text });
        }
    }
}

/// The crates under `crates/`, by folder name.
fn crates() -> Vec<String> {
    let manifests = files("Cargo.toml");
    let folders = manifests.iter().filter_map(|file| file.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"));
    folders.map(str::to_string).collect()
}

/// Whether a Rust file is compiled into a crate, as opposed to its tests and examples.
fn in_a_crate(file: &File) -> bool {
    file.path.starts_with("crates/") && file.path.contains("/src/")
}

/// Whether a file is the unit tests of a module, moved out because of their length.
fn unit_tests(file: &File) -> bool {
    file.path.ends_with("/tests.rs") || file.path.contains("/src/tests/") || file.path.contains("/tests/")
}

fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Applies one rule to all the crates' sources, unit tests aside.
fn check_sources(rule: fn(&source::Source) -> Vec<String>) {
    let sources = files(".rs");
    let checked: Vec<&File> = sources.iter().filter(|file| in_a_crate(file) && !unit_tests(file)).collect();
    assert!(checked.len() >= 5, "the sources were not found");
    none(checked.iter().flat_map(|file| rule(&source::Source { path: &file.path, text: &file.text })).collect())
}

/// What a `cargo tree` says. Nothing is fetched: the build that runs this test has fetched it.
fn cargo_tree(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--offline", "--prefix", "none"]).args(arguments).current_dir(repository());
    let output = command.output().expect("cargo runs this test, so it can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

#[test]
fn every_module_says_what_it_owns() {
    check_sources(source::module_docs);
}

#[test]
fn no_file_is_too_long() {
    check_sources(source::length);
}

#[test]
fn nothing_unfinished_is_left() {
    let found = files(".rs");
    none(
        found.iter().flat_map(|file| source::markers(&source::Source { path: &file.path, text: &file.text })).collect(),
    );
}

#[test]
fn only_the_real_disk_meets_the_outside_world() {
    check_sources(source::outside_world);
}

#[test]
fn format_and_recovery_know_no_disk() {
    check_sources(source::purity);
}

#[test]
fn arrows_point_downwards() {
    none(files("Cargo.toml").iter().flat_map(|file| manifest::arrows(&file.text)).collect());
}

#[test]
fn a_folder_is_named_after_its_package() {
    let manifests = files("Cargo.toml");
    let inside = manifests.iter().filter(|file| file.path.starts_with("crates/"));
    let wrong = inside.filter(|file| file.path.split('/').nth(1).map(str::to_string) != manifest::package(&file.text));
    none(wrong.map(|file| format!("{} names another package than its folder", file.path)).collect());
}

#[test]
fn nothing_forbidden_stands_below_the_journal() {
    let tree = cargo_tree(&["--package", "duramen-journal", "--edges", "normal,build", "--all-features"]);
    assert!(tree.contains("crc-fast"), "the tree is not the journal's: {tree}");
    none(manifest::never_below_the_journal(&tree));
}

#[test]
fn a_format_is_drawn_beside_its_module() {
    let root = repository();
    let mut found = Vec::new();
    for name in crates() {
        let folder = root.join("crates").join(&name);
        let has_format = folder.join("src/format.rs").exists() || folder.join("src/format/mod.rs").exists();
        if has_format && !folder.join("FORMAT.md").exists() {
            found.push(format!("crates/{name} has a format module and no FORMAT.md"));
        }
    }
    none(found);
}

#[test]
fn documents_name_paths_that_exist() {
    let root = repository();
    let crates = crates();
    let exists = |path: &str| root.join(path).exists();
    let documents = files(".md");
    none(documents.iter().flat_map(|file| markdown::missing_paths(&file.path, &file.text, &crates, &exists)).collect());
}

#[test]
fn documents_name_tests_that_exist() {
    let sources: Vec<String> = files(".rs").into_iter().map(|file| file.text).collect();
    let documents = files(".md");
    let durability = documents.iter().filter(|file| file.path == "docs/durability.md");
    none(durability.flat_map(|file| markdown::missing_tests(&file.path, &file.text, &sources)).collect());
}

/// Whoever follows the README does what CI does.
#[test]
fn the_readme_and_ci_run_the_same_tests() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("the repository has a README.md");
    let mut command = Command::new("bash");
    let output = command.args([".ci/run", "test-command"]).current_dir(repository()).output();
    let printed = output.expect("bash is there: .ci/run is written for it").stdout;
    let test_command = "cargo test --workspace --all-features";
    assert_eq!(markdown::commands(&readme, "cargo test"), [test_command]);
    assert_eq!(String::from_utf8_lossy(&printed).trim(), test_command);
    assert_eq!(markdown::commands(&readme, "cargo run"), ["cargo run --release -- demo"]);
}

#[test]
fn no_manifest_switches_the_simulated_disk_on() {
    let manifests = files("Cargo.toml");
    let released = manifests.iter().filter(|file| !file.path.starts_with("bench/") && !file.path.starts_with("fuzz/"));
    none(released.flat_map(|file| manifest::simulation_switched_on(&file.text)).collect());
    let tree = cargo_tree(&["--package", "duramen", "--edges", "normal,build,features"]);
    assert!(tree.contains("duramen-journal feature"), "the tree is not the binary's: {tree}");
    none(manifest::simulation_in_tree(&tree));
}

/// Also where the tests' features compile the simulation in, no code of the binary reaches it, so the linker drops it.
/// This test's own program carries the marker, and shows that the search would find it.
#[test]
fn the_binary_carries_no_simulated_disk() {
    let carries = |program: &Path| {
        let bytes = fs::read(program).expect("a program that was just built can be read");
        bytes.windows(SIMULATION_MARKER.len()).any(|window| window == SIMULATION_MARKER.as_bytes())
    };
    let this_program = std::env::current_exe().expect("a running test has a path");
    assert!(carries(&this_program), "the search for the marker finds nothing");
    assert!(!carries(Path::new(env!("CARGO_BIN_EXE_duramen"))), "the binary carries the simulated disk");
    let simulation: Vec<File> =
        files(".rs").into_iter().filter(|file| file.path.starts_with("crates/duramen-journal/src/disk/sim")).collect();
    let marked = simulation.iter().any(|file| file.text.contains(SIMULATION_MARKER));
    assert!(marked, "the simulated disk does not carry its marker, so its absence proves nothing");
}
