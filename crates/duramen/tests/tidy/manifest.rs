//! The arrows between the crates, read from their manifests. Owns a reader for the part of TOML that a `Cargo.toml`
//! uses for dependencies and features. Pure: texts in, complaints out.

/// Which of Cargo's three tables a dependency stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Linked into what is released.
    Normal,
    /// For tests and benches.
    Development,
    /// For build scripts.
    Build,
}

/// One dependency, for every target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The package's name, also where the manifest renames it.
    pub package: String,
    /// Where it stands.
    pub table: Table,
    /// Its values as they are written, features included.
    pub value: String,
}

/// The crates between the journal and the facade. None of them may know another.
const MIDDLE: &[&str] = &["duramen-raft", "duramen-decisions", "duramen-store"];

/// What the journal stands on. A name more needs its reason in docs/decisions; loom and shuttle stand in for the
/// standard library where a cfg asks for them.
const BELOW_THE_JOURNAL: &[&str] = &["bytes", "crc-fast", "loom", "lz4_flex", "rustix", "shuttle", "zstd"];

/// Never at any depth below the journal: async runtimes, serde, random generators, clocks.
pub const NEVER_BELOW_THE_JOURNAL: &[&str] = &[
    "async-std",
    "chrono",
    "fastrand",
    "futures",
    "futures-executor",
    "getrandom",
    "jiff",
    "rand",
    "rand_core",
    "serde",
    "serde_core",
    "smol",
    "time",
    "tokio",
];

/// The lines of a manifest as (section, key, value); values that run over several lines are joined.
pub fn entries(manifest: &str) -> Vec<(String, String, String)> {
    let mut found: Vec<(String, String, String)> = Vec::new();
    let mut section = String::new();
    let mut open = 0;
    for line in manifest.lines() {
        let line = without_comment(line).trim();
        if open > 0 {
            found.last_mut().expect("a bracket is open, so an entry was begun").2.push_str(line);
        } else if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']).trim().to_string();
            continue;
        } else if let Some((key, value)) = line.split_once('=') {
            found.push((section.clone(), key.trim().trim_matches('"').to_string(), value.trim().to_string()));
        } else {
            continue;
        }
        let entry = &found.last().expect("an entry was just pushed or extended").2;
        open = entry.matches(['[', '{']).count().saturating_sub(entry.matches([']', '}']).count());
    }
    found
}

/// Cuts at the first `#` that stands outside of quotes.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, character) in line.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}

/// All dependencies of a manifest, the ones for a target included.
pub fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found: Vec<(String, Dependency)> = Vec::new();
    for (section, key, value) in entries(manifest) {
        let Some((table, named)) = dependency_section(&section) else {
            continue;
        };
        let (name, value) = match (named, key.split_once('.')) {
            (Some(name), _) => (name, format!("{key} = {value}")),
            (None, Some((name, field))) => (name.to_string(), format!("{field} = {value}")),
            (None, None) => (key, value),
        };
        match found.iter_mut().find(|(known, dependency)| *known == name && dependency.table == table) {
            Some((_, dependency)) => dependency.value = format!("{}, {value}", dependency.value),
            None => found.push((name.clone(), Dependency { package: name, table, value })),
        }
    }
    let renamed = |dependency: Dependency| match quoted_after(&dependency.value, "package") {
        Some(package) => Dependency { package, ..dependency },
        None => dependency,
    };
    found.into_iter().map(|(_, dependency)| renamed(dependency)).collect()
}

/// The table, and the name in `[dependencies.name]`.
fn dependency_section(section: &str) -> Option<(Table, Option<String>)> {
    let section = match section.strip_prefix("target.") {
        // A target's cfg may hold dots and quotes; what counts comes after them.
        Some(rest) => &rest[rest.find(".dependencies").or(rest.find(".dev-")).or(rest.find(".build-"))? + 1..],
        None => section.strip_prefix("workspace.").unwrap_or(section),
    };
    let (word, name) = section.split_once('.').map_or((section, None), |(word, name)| (word, Some(name.to_string())));
    let table = match word {
        "dependencies" => Table::Normal,
        "dev-dependencies" => Table::Development,
        "build-dependencies" => Table::Build,
        _ => return None,
    };
    Some((table, name))
}

/// The string in `key = "string"`.
fn quoted_after(value: &str, key: &str) -> Option<String> {
    let rest = value[value.find(key)? + key.len()..].trim_start().strip_prefix('=')?;
    rest.trim_start().strip_prefix('"')?.split('"').next().map(str::to_string)
}

/// The name of the package that a manifest describes.
pub fn package(manifest: &str) -> Option<String> {
    let name = entries(manifest).into_iter().find(|(section, key, _)| section == "package" && key == "name")?;
    Some(name.2.trim_matches('"').to_string())
}

/// The arrows that start at one crate: nothing imports `duramen`, a middle crate imports no middle crate, and the
/// journal stands on its own short list.
pub fn arrows(manifest: &str) -> Vec<String> {
    let from = package(manifest).unwrap_or_default();
    let mut found = Vec::new();
    for Dependency { package: to, table, .. } in dependencies(manifest) {
        if to == "duramen" {
            found.push(format!("{from} imports duramen, which stands above everything"));
        }
        if MIDDLE.contains(&from.as_str()) && MIDDLE.contains(&to.as_str()) {
            found.push(format!("{from} imports {to}: a middle crate knows no other"));
        }
        if from == "duramen-journal" && table != Table::Development && !BELOW_THE_JOURNAL.contains(&to.as_str()) {
            found.push(format!("duramen-journal imports {to}, which is not on its list"));
        }
    }
    found
}

/// The simulated disk stays out of what is released: no manifest switches the feature `sim` on outside of tests.
pub fn simulation_switched_on(manifest: &str) -> Vec<String> {
    let from = package(manifest).unwrap_or_else(|| "the workspace".to_string());
    let mut found = Vec::new();
    for dependency in dependencies(manifest) {
        let ours = dependency.package.starts_with("duramen");
        if ours && dependency.table != Table::Development && dependency.value.contains("\"sim\"") {
            found.push(format!("{from} switches on `sim` of {}", dependency.package));
        }
    }
    for (section, key, value) in entries(manifest) {
        let through = value.contains("/sim\"") || value.contains("\"sim\"");
        // A feature that is itself called `sim` may hand the word on: whoever asks for it gets it.
        if section == "features" && key != "sim" && through {
            found.push(format!("{from}: the feature `{key}` switches on `sim`"));
        }
    }
    // Nobody can ask the binary for it: `--all-features` would build a binary that simulates.
    let offered = entries(manifest).iter().any(|(section, key, _)| section == "features" && key == "sim");
    if from == "duramen" && offered {
        found.push("duramen offers a feature `sim`".to_string());
    }
    found
}

/// The packages in the output of `cargo tree --prefix none` that must never be below the journal.
pub fn never_below_the_journal(tree: &str) -> Vec<String> {
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    let never = names.filter(|name| NEVER_BELOW_THE_JOURNAL.contains(name));
    never.map(|name| format!("duramen-journal stands on {name}")).collect()
}

/// The lines in the output of `cargo tree --edges features` that switch the simulated disk on.
pub fn simulation_in_tree(tree: &str) -> Vec<String> {
    tree.lines().filter(|line| line.contains("feature \"sim\"")).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_dependency_is_read() {
        let manifest = r#"
            [package]
            name = "a" # not "b"
            [dependencies]
            one = "1"
            two.workspace = true
            two.features = ["x"]
            three = { version = "3", features = [
                "y", # a comment
                "z",
            ], package = "four" }
            [target.'cfg(target_os = "linux")'.dependencies]
            five = "5"
            [dev-dependencies.six]
            version = "6"
            features = ["w"]
            [target.'cfg(loom)'.build-dependencies]
            seven = "7"
            [features]
            default = ["one"]
        "#;
        assert_eq!(package(manifest).as_deref(), Some("a"));
        let found = dependencies(manifest);
        let names: Vec<_> = found.iter().map(|found| (found.package.as_str(), found.table)).collect();
        let normal = |name| (name, Table::Normal);
        let expected = [normal("one"), normal("two"), normal("four"), normal("five")];
        assert_eq!(names[..4], expected);
        assert_eq!(names[4..], [("six", Table::Development), ("seven", Table::Build)]);
        assert!(found[2].value.contains("\"z\"") && found[1].value.contains("\"x\""));
    }

    #[test]
    fn forbidden_arrows_are_caught() {
        let manifest = |name: &str, section: &str, other: &str| {
            format!("[package]\nname = \"{name}\"\n[{section}]\n{other}.workspace = true\n")
        };
        let violations = [
            manifest("duramen-journal", "dependencies", "serde"),
            manifest("duramen-journal", "build-dependencies", "cc"),
            manifest("duramen-journal", "target.'cfg(unix)'.dependencies", "tokio"),
            manifest("duramen-raft", "dependencies", "duramen-store"),
            manifest("duramen-store", "dev-dependencies", "duramen-raft"),
            manifest("duramen-bench", "dependencies", "duramen"),
        ];
        for text in violations {
            assert_eq!(arrows(&text).len(), 1, "{text}");
        }
        let allowed = [
            manifest("duramen-journal", "dependencies", "crc-fast"),
            manifest("duramen-journal", "dev-dependencies", "proptest"),
            manifest("duramen-raft", "dependencies", "duramen-journal"),
            manifest("duramen", "dependencies", "duramen-store"),
        ];
        for text in allowed {
            assert!(arrows(&text).is_empty(), "{text}");
        }
        let renamed = "[package]\nname = \"duramen-raft\"\n[dependencies]\nx = { package = \"duramen-store\" }";
        assert_eq!(arrows(renamed).len(), 1);
    }

    #[test]
    fn a_switched_on_simulation_is_caught() {
        let violations = [
            "[package]\nname = \"duramen\"\n[dependencies]\nduramen-journal = { workspace = true, features = [\"sim\"] }",
            "[package]\nname = \"duramen\"\n[dependencies.duramen-journal]\nworkspace = true\nfeatures = [\n\"sim\"\n]",
            "[package]\nname = \"duramen\"\n[features]\ndefault = [\"duramen-journal/sim\"]",
            "[package]\nname = \"duramen\"\n[features]\nsim = [\"duramen-journal/sim\"]",
            "[package]\nname = \"duramen-journal\"\n[features]\ndefault = [\"lz4\", \"sim\"]",
            "[workspace.dependencies]\nduramen-journal = { path = \"a\", features = [\"sim\"] }",
        ];
        for text in violations {
            assert_eq!(simulation_switched_on(text).len(), 1, "{text}");
        }
        let allowed = [
            "[package]\nname = \"duramen-raft\"\n[dev-dependencies]\nduramen-journal = { features = [\"sim\"] }",
            "[package]\nname = \"duramen-raft\"\n[features]\nsim = [\"duramen-journal/sim\"]",
            "[package]\nname = \"duramen-journal\"\n[features]\nsim = []",
        ];
        for text in allowed {
            assert!(simulation_switched_on(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn cargo_trees_are_read() {
        assert_eq!(never_below_the_journal("bytes v1.12.1\nserde v1.0.229\ntokio v1 (*)").len(), 2);
        assert!(never_below_the_journal("bytes v1.12.1\nserde_not v1").is_empty());
        let tree = "duramen v0.1.0\n├── duramen-journal feature \"default\"\n└── duramen-journal feature \"sim\"";
        assert_eq!(simulation_in_tree(tree).len(), 1);
    }
}
