//! What Markdown promises: paths that exist, commands that work, tests that can be found. Pure but for the question
//! whether a path exists, which the caller answers.

/// Folders of the repository. What begins with one of them is meant as a path.
const FOLDERS: &[&str] = &["crates", "docs", "bench", "fuzz", ".ci", ".cargo", ".github", "tests", "src", "samples"];

/// Endings by which a name is recognised as a file of this repository.
const ENDINGS: &[&str] = &[".md", ".toml", ".rs", ".lock", ".svg", ".png"];

/// The lines within fences, and the lines outside.
fn fenced(markdown: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    let mut open = false;
    for line in markdown.lines() {
        let fence = line.trim_start().starts_with("```");
        if fence {
            open = !open;
        } else if open {
            inside.push(line);
        } else {
            outside.push(line);
        }
    }
    (inside, outside)
}

/// Everything in single backticks, outside of fences.
fn spans(markdown: &str) -> Vec<String> {
    let text = fenced(markdown).1.join("\n");
    text.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

/// The targets of links and pictures that point into the repository.
fn link_targets(markdown: &str) -> Vec<String> {
    let text = fenced(markdown).1.join("\n");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let inside = targets.filter(|target| !target.contains("://") && !target.starts_with(['#', '<']));
    inside.filter(|target| !target.starts_with("mailto:")).map(str::to_string).collect()
}

/// Whether a word in backticks is meant as a path of this repository.
fn looks_like_a_path(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    let first = word.split('/').next().unwrap_or_default();
    let in_folder = word.contains('/') && FOLDERS.contains(&first);
    let file = ENDINGS.iter().any(|ending| word.strip_suffix(ending).is_some_and(|stem| !stem.is_empty()));
    plain && (in_folder || file)
}

/// The paths that a document names and that lie neither beside it nor, from the repository's or a crate's folder, where
/// it says.
pub fn missing_paths(document: &str, markdown: &str, crates: &[String], exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut places = vec![folder.to_string(), String::new()];
    for name in crates {
        places.extend([format!("crates/{name}"), format!("crates/{name}/src")]);
    }
    let words = spans(markdown).into_iter().filter(|word| looks_like_a_path(word));
    let mut found = Vec::new();
    for path in words.chain(link_targets(markdown)) {
        let bare = path.split('#').next().unwrap_or_default().trim_start_matches("./");
        let somewhere = places.iter().any(|place| exists(&normal(&format!("{place}/{bare}"))));
        if !bare.is_empty() && !somewhere {
            found.push(format!("{document}: names `{path}`, which does not exist"));
        }
    }
    found
}

/// Resolves `..` and drops empty parts.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The commands of a document that begin with these words: lines in fences, a shell's prompt aside.
pub fn commands(markdown: &str, beginning: &str) -> Vec<String> {
    let lines = fenced(markdown).0.into_iter().map(|line| line.trim().trim_start_matches("$ "));
    let bare = lines.map(|line| line.split(" #").next().unwrap_or_default().trim_end());
    bare.filter(|line| line.starts_with(beginning)).map(str::to_string).collect()
}

/// The tests that a document names as `module::test` and that no source defines.
pub fn missing_tests(document: &str, markdown: &str, sources: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for span in spans(markdown) {
        let lower = span.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | ':'));
        let Some((_, test)) = span.rsplit_once("::").filter(|_| lower) else {
            continue;
        };
        let definition = format!("fn {test}(");
        if !sources.iter().any(|source| source.contains(&definition)) {
            found.push(format!("{document}: names the test `{span}`, which does not exist"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_exist_is_caught() {
        let exists = |path: &str| {
            ["docs/a.md", "Cargo.toml", "crates/x/src/scan.rs", "crates/x/tests/it/main.rs", "docs"].contains(&path)
        };
        let missing = |text: &str| missing_paths("docs/b.md", text, &["x".to_string()], &exists).len();
        let good = "`a.md` [x](a.md#part) [y](../Cargo.toml) `Cargo.toml` `scan.rs` `tests/it/main.rs` [z](#here) \
                    [w](https://example.org/c.md) `docs/` `.md` `a/b` `src/{a,b}.rs` `cargo test`\n```\n`docs/no.md`\n```";
        assert_eq!(missing(good), 0);
        for wrong in ["`docs/no.md`", "[x](no.md)", "`crates/x/src/no.rs`", "![x](no.svg)", "`NO.md`", "`docs/no`"] {
            assert_eq!(missing(wrong), 1, "{wrong}");
        }
    }

    #[test]
    fn commands_are_read_from_fences() {
        let markdown = "`cargo test no`\n```sh\n$ cargo test --workspace # all\ncargo run\n```\ncargo test no";
        assert_eq!(commands(markdown, "cargo test"), ["cargo test --workspace"]);
    }

    #[test]
    fn a_test_that_does_not_exist_is_caught() {
        let sources = ["#[test]\nfn torn_tail() {}".to_string()];
        assert!(missing_tests("a.md", "`campaign::torn_tail` `std::Io` `word`", &sources).is_empty());
        assert_eq!(missing_tests("a.md", "`campaign::torn`", &sources).len(), 1);
    }
}
