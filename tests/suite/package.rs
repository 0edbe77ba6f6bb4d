//! The published package, and the files of the repository.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::files::{files, read, root};

/// The relative links of a page.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

#[test]
fn the_package_contains_what_its_pages_link_to() {
    let manifest = read("Cargo.toml");
    let (_, include) = manifest.split_once("\ninclude = [").unwrap();
    let (include, _) = include.split_once(']').unwrap();
    let included: Vec<_> = include.split('"').skip(1).step_by(2).collect();
    assert!(included.contains(&"/examples") && included.contains(&"/src"), "{included:?}");
    for page in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md"] {
        assert!(included.contains(&format!("/{page}").as_str()), "{page}");
        for link in links(&read(page)) {
            let is_included = included.iter().any(|part| {
                let part = part.trim_start_matches('/').trim_end_matches('*');
                link.starts_with(part)
            });
            assert!(is_included, "{page} links to {link}, which is not in the package");
            let file = root().join(link);
            assert!(file.exists(), "{page} links to {link}");
        }
    }
}

#[test]
fn every_example_names_its_features() {
    let manifest = read("Cargo.toml");
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let folder = entry.unwrap();
        if folder.path().join("main.rs").is_file() {
            let name = folder.file_name().into_string().unwrap();
            let named = format!("[[example]]\nname = \"{name}\"\nrequired-features = [");
            assert!(manifest.contains(&named), "{name} has no required-features in Cargo.toml");
        }
    }
}

#[test]
fn the_workflow_calls_the_script_and_repeats_no_version() {
    let workflow = read(".github/workflows/ci.yml");
    assert!(workflow.contains("bash .ci/run"));
    let manifest = read("Cargo.toml");
    let (_, version) = manifest.split_once("rust-version = \"").unwrap();
    let (version, _) = version.split_once('"').unwrap();
    assert!(!workflow.contains(version), "the minimum Rust version is in Cargo.toml");
}

/// The library and the examples compile on Windows, too.
#[test]
fn what_only_unix_has_is_behind_cfg() {
    let mut found = 0;
    for path in files(&["src", "examples"], "rs") {
        let mut is_behind_cfg = false;
        for line in read(&path).lines() {
            match line {
                "#[cfg(unix)]" => is_behind_cfg = true,
                "}" => is_behind_cfg = false,
                _ if line.contains("::unix::") => {
                    found += 1;
                    assert!(is_behind_cfg, "{}: {line}", path.display());
                }
                _ => {}
            }
        }
    }
    assert!(found > 0);
}

#[test]
fn the_manifest_names_no_repository() {
    let manifest = read("Cargo.toml");
    for key in ["\nrepository", "\nhomepage"] {
        assert!(!manifest.contains(key), "{key}");
    }
}

/// The crates that a selection of features adds to a tree, without this one and build dependencies.
fn dependencies(selection: &[&str]) -> usize {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let tree = ["tree", "--locked", "--edges", "normal", "--prefix", "none", "--no-dedupe"];
    let output = Command::new(cargo)
        .args(tree)
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .args(selection)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let crates = tree.lines().filter(|line| !line.is_empty());
    let crates: BTreeSet<_> = crates.map(|line| line.split(" (").next().unwrap()).collect();
    crates.len() - 1
}

#[test]
fn the_front_page_has_the_number_of_dependencies() {
    let library = read("src/lib.rs");
    let core = dependencies(&["--no-default-features"]);
    for (text, selection) in [
        (format!("has {core} dependencies without features"), &["--no-default-features"][..]),
        (format!("{} with the default ones", dependencies(&[])), &[]),
        (format!("and {} with all", dependencies(&["--all-features"])), &["--all-features"]),
    ] {
        assert!(library.contains(&text), "{selection:?}: {text}");
    }
    for feature in ["axum", "axum-core", "reqwest", "metrics", "redis", "sandbox"] {
        let more = dependencies(&["--no-default-features", "--features", feature]) - core;
        let row = format!("//! | `{feature}` |");
        let row = library.lines().find(|line| line.starts_with(&row)).unwrap();
        assert_eq!(row.split(" | ").nth(3), Some(&*more.to_string()), "{row}");
    }
}

/// A promise without a test is a wish.
#[test]
fn each_promise_has_tests_that_exist() {
    let policy = read("SECURITY.md");
    let (_, promises) = policy.split_once("| promise | tests |\n|---|---|\n").unwrap();
    let mut count = 0;
    for promise in promises.lines().map_while(|line| line.strip_prefix("| ")) {
        let (promise, tests) = promise.trim_end_matches(" |").split_once(" | ").unwrap();
        let mut tests = tests.split(", ").map(|test| test.trim_matches('`')).peekable();
        assert!(tests.peek().is_some(), "{promise}");
        for test in tests {
            let (module, name) = test.rsplit_once("::").unwrap_or_else(|| panic!("{promise}"));
            let file = read(format!("tests/suite/{}.rs", module.replace("::", "/")));
            let (before, _) = file
                .split_once(&format!("fn {name}() {{"))
                .unwrap_or_else(|| panic!("{promise}: there is no {test}"));
            let attribute = before.trim_end_matches("async ").trim_end().lines().next_back();
            assert!(attribute.is_some_and(|line| line.contains("test")), "{test} is no test");
        }
        count += 1;
    }
    assert!(count > 15, "{count}");
}
