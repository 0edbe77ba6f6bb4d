//! The pages of the documentation: complete, linked, and known to coding agents.

use std::collections::BTreeSet;

use crate::files::{files, read, root};

/// Name and file of each page of `guides`.
fn guides() -> Vec<(String, String)> {
    let library = read("src/lib.rs");
    let (_, guides) = library.split_once("pub mod guides {").unwrap();
    let (guides, _) = guides.split_once("\n}").unwrap();
    let pages = guides.split("include_str!(\"").skip(1).map(|page| {
        let (file, rest) = page.split_once('"').unwrap();
        let (_, rest) = rest.split_once("pub mod ").unwrap();
        (rest.split(' ').next().unwrap().to_owned(), format!("src/{file}"))
    });
    pages.collect()
}

/// A method as all SDKs spell it: without case and underscores.
fn folded(method: &str) -> String {
    method.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

/// What stands between backticks in a page.
fn code(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2)
}

/// The search aliases of the library that are names of the SDKs.
fn aliases() -> BTreeSet<String> {
    let mut aliases = BTreeSet::new();
    for file in files(&["src"], "rs") {
        let source = read(file);
        for attribute in source.split("#[doc(alias").skip(1) {
            let (attribute, _) = attribute.split_once(")]").unwrap();
            aliases.extend(attribute.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    aliases.retain(|alias| !alias.starts_with("feature "));
    aliases
}

#[test]
fn every_page_is_a_guide_and_every_guide_is_in_the_indexes() {
    let (library, index) = (read("src/lib.rs"), read("llms.txt"));
    let guides = guides();
    for page in files(&["src/docs"], "md") {
        let page = page.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        assert!(guides.iter().any(|(_, file)| *file == page), "{page} is no module of guides");
    }
    let (front, _) = library.split_once("\npub mod ").unwrap();
    for (name, _) in guides {
        assert!(front.contains(&format!("(guides::{name})")), "{name} is not on the front page");
        assert!(index.contains(&format!("/guides/{name}/)")), "{name} is not in llms.txt");
    }
}

/// The links that rustdoc does not check: of files for GitHub and for coding agents.
#[test]
fn links_between_files_exist() {
    let mut pages: Vec<_> = ["AGENTS.md", "llms.txt", "README.md", "examples/README.md"]
        .iter()
        .map(|page| root().join(page))
        .collect();
    pages.extend(files(&["skills"], "md"));
    let (library, guides) = (read("src/lib.rs"), guides());
    let mut links = 0;
    for page in pages {
        let text = read(&page);
        let sources = text.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in targets.chain(sources) {
            // A heading of a page is not checked.
            let link = link.split('#').next().unwrap();
            links += 1;
            let at_docs =
                link.strip_prefix("https://docs.rs/tower-scalekit/latest/tower_scalekit/");
            let exists = match (at_docs, link.split_once("://")) {
                (Some(path), _) => match path.trim_end_matches('/').split_once('/') {
                    Some(("guides", name)) => guides.iter().any(|(guide, _)| guide == name),
                    _ => path.split('/').next().is_some_and(|module| {
                        module.is_empty() || library.contains(&format!("\npub mod {module};"))
                    }),
                },
                (None, Some((scheme, _))) => ["http", "https"].contains(&scheme),
                (None, None) => page.parent().unwrap().join(link).exists(),
            };
            assert!(exists, "{} links to {link}", page.display());
        }
        // Files that a page names as code.
        for file in
            code(&text).filter(|code| code.starts_with("src/") || code.starts_with("examples/"))
        {
            assert!(root().join(file).exists(), "{} names {file}", page.display());
        }
    }
    assert!(links > 50, "{links}");
}

/// rustdoc checks that the page exists, not that it has the heading.
#[test]
fn linked_headings_exist() {
    let anchor = |heading: &str| {
        let letters = heading.trim_matches(['#', ' ']).to_lowercase();
        let letters = letters.chars().map(|c| if c.is_whitespace() { '-' } else { c });
        letters.filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect::<String>()
    };
    let anchors = guides().into_iter().flat_map(|(name, file)| {
        let page = read(&file);
        let headings = page.lines().filter(|line| line.starts_with('#'));
        headings.map(|heading| format!("{name}#{}", anchor(heading))).collect::<Vec<_>>()
    });
    let anchors: BTreeSet<_> = anchors.collect();
    let mut links = 0;
    for file in files(&["src"], "md").into_iter().chain(files(&["src"], "rs")) {
        let text = read(&file);
        for link in text.split("guides::").skip(1) {
            let link = link.split([')', ']', '`', ' ', '\n', '{', ';']).next().unwrap();
            if link.contains('#') {
                links += 1;
                assert!(anchors.contains(link), "{} links to {link}", file.display());
            }
        }
    }
    assert!(links > 20, "{links}");
}

#[test]
fn every_skill_is_compiled_and_has_a_name_and_a_description() {
    let library = read("src/lib.rs");
    let skills = files(&["skills"], "md");
    assert!(skills.len() >= 6);
    for skill in skills {
        let text = read(&skill);
        let folder = skill.parent().unwrap().file_name().unwrap().to_str().unwrap();
        assert!(text.starts_with(&format!("---\nname: {folder}\ndescription: ")), "{folder}");
        let (header, _) = text[4..].split_once("\n---\n").unwrap();
        assert!(header.len() < 1024 && header.lines().count() == 2, "{folder}");
        assert!(text.contains("\n```rust\n"), "{folder} has no code");
        assert!(
            library.contains(&format!("include_str!(\"../skills/{folder}/SKILL.md\")")),
            "{folder}"
        );
    }
    assert!(library.contains("include_str!(\"../AGENTS.md\")"));
}

/// The page has the calls of the quickstart guides and all calls that have a counterpart here.
/// `sdk_names` compares the counterparts.
#[test]
fn the_page_for_users_of_the_sdks_is_complete() {
    let page = read("src/docs/how_to/from_the_sdks.md");
    let listed: BTreeSet<_> = code(&page).flat_map(|code| code.split('.')).map(folded).collect();
    for alias in aliases() {
        let is_call = alias.contains('_') || alias.contains(char::is_uppercase);
        assert!(!is_call || listed.contains(&folded(&alias)), "{alias} is not in the page");
    }
    let data = read("tests/data/guide_calls.txt");
    let calls: Vec<_> = data.lines().skip(1).map(|line| line.split_once(' ').unwrap()).collect();
    assert!(calls.len() > 80, "{}", calls.len());
    for (guide, call) in calls {
        assert!(listed.contains(&folded(call)), "guide {guide}: {call} is not in the page");
    }
}
