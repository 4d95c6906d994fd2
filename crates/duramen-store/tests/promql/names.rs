//! Every function that the parser crate knows is in one of the two lists. Its own list is private, so its source is read.

use std::collections::BTreeSet;
use std::process::Command;

use duramen_store::promql::{refused_functions, supported_functions};

/// The names in the parser's table, from its source in cargo's own store.
fn known_to_the_parser() -> Option<BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
    let mut metadata = Command::new(cargo);
    // With this feature and platform alone, all packages are there: this test was built from them.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    metadata.args([
        "metadata",
        "--format-version",
        "1",
        "--offline",
        "--features",
        "promql",
        "--filter-platform",
        &platform,
    ]);
    metadata.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = metadata.output().ok().filter(|output| output.status.success())?;
    let packages: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let parser = packages["packages"].as_array()?.iter().find(|package| package["name"] == "promql-parser")?;
    let source = std::path::Path::new(parser["manifest_path"].as_str()?).with_file_name("src/parser/function.rs");
    let text = std::fs::read_to_string(source).ok()?;
    let table = text.split("static ref FUNCTIONS").nth(1)?.split("]);").next()?;
    let names = table.split("function!(").skip(1).filter_map(|entry| entry.split('"').nth(1));
    Some(names.map(str::to_string).collect())
}

#[test]
fn every_function_is_in_one_list() {
    let Some(known) = known_to_the_parser() else {
        println!("skipped: the parser's source is not where cargo says");
        return;
    };
    assert!(known.len() > 80, "{known:?}");
    let (supported, refused): (BTreeSet<&str>, BTreeSet<&str>) =
        (supported_functions().collect(), refused_functions().collect());
    assert_eq!(supported.intersection(&refused).next(), None);
    let listed: BTreeSet<String> = supported.union(&refused).map(ToString::to_string).collect();
    assert_eq!(listed, known);
}

#[test]
fn the_module_names_every_function() {
    let documentation = include_str!("../../src/promql/mod.rs");
    for name in supported_functions().chain(refused_functions()) {
        let words = documentation.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        assert!(words.into_iter().any(|word| word == name), "{name}");
    }
}
