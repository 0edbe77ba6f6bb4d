//! The published package, and the files of the repository.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

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
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(link);
            assert!(file.exists(), "{page} links to {link}");
        }
    }
}

#[test]
fn every_example_names_its_features() {
    let manifest = read("Cargo.toml");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
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
    let mut folders: Vec<_> =
        ["src", "examples"].map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).into();
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let mut is_behind_cfg = false;
                for line in fs::read_to_string(&path).unwrap().lines() {
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
