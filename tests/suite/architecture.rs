//! The order of the modules: imports run downwards only, and no two files import each other. Names of
//! public types.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::{files, read, root};

/// Top-level modules. Each imports from later lines only; modules of one line do not import from
/// each other. `lib.rs` comes before all.
const ORDER: &[&[&str]] = &[
    &["extract"],
    &["connect_account", "passwordless_login", "idp_initiated"],
    &["auth_routes"],
    &["forward_auth", "require_auth"],
    &[
        "add_access_token",
        "require_origin",
        "require_session",
        "require_scope",
        "require_token",
        "webhook_verify",
    ],
    &["session"],
    &["api"],
    &["webhook"],
    &["model"],
    &["protected_resource"],
    &["oauth"],
    &["scalekit"],
    &["sandbox"],
    &["middleware"],
    &["dpop"],
    &["token"],
    &["revocation"],
    &["http_client", "shared_store"],
    &["session_secret"],
    &["env"],
    &["util"],
    &["challenge"],
    &["clock", "error", "readiness", "secret"],
];

/// Names of more than one public type: of routes, whose modules distinguish them.
const SHARED_NAMES: &[&str] = &["Verify"];

/// A file as the path of its module, `session/store` for `src/session/store.rs`; empty for `lib.rs`.
type Module = Vec<String>;

/// What each file imports from other files, and the names.
type Imports = BTreeMap<Module, BTreeMap<Module, BTreeSet<String>>>;

#[test]
fn imports_run_downwards() {
    let upward = upward(&imports(&sources()));
    assert!(upward.is_empty(), "against the order:\n{}", upward.join("\n"));
}

#[test]
fn no_circle_of_imports() {
    let circular = circular(&imports(&sources()));
    assert!(circular.is_empty(), "on a circle:\n{}", circular.join("\n"));
}

#[test]
fn public_types_have_names_of_their_own() {
    let mut modules = BTreeMap::<String, Vec<Module>>::new();
    for (module, source) in sources() {
        let types = source.lines().filter_map(|line| {
            let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub type "];
            let name = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
            name.split(|letter: char| !letter.is_alphanumeric()).next()
        });
        for name in types {
            modules.entry(name.to_owned()).or_default().push(module.clone());
        }
    }
    modules.retain(|_, modules| modules.len() > 1);
    let shared: Vec<&str> = modules.keys().map(String::as_str).collect();
    assert_eq!(shared, SHARED_NAMES, "{modules:?}");
}

/// Imports against the order, also by modules that it does not name.
fn upward(imports: &Imports) -> Vec<String> {
    let line = |module: &Module| {
        let top = module.first()?;
        ORDER.iter().position(|line| line.contains(&top.as_str()))
    };
    imports
        .iter()
        .filter(|(from, _)| !from.is_empty())
        .flat_map(|(from, targets)| targets.iter().map(move |(to, names)| (from, to, names)))
        .filter(|(from, to, _)| to.first() != from.first())
        .filter(
            |(from, to, _)| !matches!((line(from), line(to)), (Some(from), Some(to)) if from < to),
        )
        .map(|(from, to, names)| edge(from, to, names))
        .collect()
}

/// Imports between files that import each other, directly or not. A module and its children may.
fn circular(imports: &Imports) -> Vec<String> {
    let is_family = |a: &Module, b: &Module| a.starts_with(b) || b.starts_with(a);
    let targets = |from: &Module| {
        let from = from.clone();
        let targets = imports.get(&from).into_iter().flatten();
        targets.filter(move |(to, _)| !is_family(&from, to))
    };
    let reaches = |start: &Module, end: &Module| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(module) = open.pop() {
            if module == *end {
                return true;
            }
            if seen.insert(module.clone()) {
                open.extend(targets(&module).map(|(to, _)| to.clone()));
            }
        }
        false
    };
    imports
        .keys()
        .flat_map(|from| targets(from).map(move |(to, names)| (from, to, names)))
        .filter(|(from, to, _)| reaches(to, from))
        .map(|(from, to, names)| edge(from, to, names))
        .collect()
}

fn edge(from: &Module, to: &Module, names: &BTreeSet<String>) -> String {
    let show = |module: &Module| match module.is_empty() {
        true => "lib".to_owned(),
        false => module.join("/"),
    };
    format!("{} -> {} {names:?}", show(from), show(to))
}

/// All files of the library.
fn sources() -> BTreeMap<Module, String> {
    files(&["src"], "rs")
        .into_iter()
        .map(|path| {
            let mut module: Module = path
                .strip_prefix(root().join("src"))
                .unwrap()
                .with_extension("")
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            module.pop_if(|name| name == "mod" || name == "lib");
            (module, read(path))
        })
        .collect()
}

/// What each file imports. Test modules may import from anywhere and are left out.
fn imports(sources: &BTreeMap<Module, String>) -> Imports {
    let mut files = BTreeMap::new();
    let mut tests = Vec::new();
    for (module, source) in sources {
        let file = File::read(source);
        tests.extend(file.test_modules.iter().map(|name| child(module, name)));
        files.insert(module, file);
    }
    let is_test = |module: &Module| tests.iter().any(|test| module.starts_with(test));
    let mut imports = Imports::new();
    for (module, file) in files.into_iter().filter(|(module, _)| !is_test(module)) {
        for path in file.paths {
            let Some(path) = resolve(&path, module, sources) else { continue };
            let depth = (0..=path.len()).rev().find(|&depth| sources.contains_key(&path[..depth]));
            let (to, names) = path.split_at(depth.unwrap_or_default());
            if to != module.as_slice() {
                let names_of = imports.entry(module.clone()).or_default().entry(to.to_vec());
                names_of.or_default().insert(names.join("::"));
            }
        }
    }
    imports
}

fn child(module: &Module, name: &str) -> Module {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// The path from the crate's root, `None` for one of another crate.
fn resolve(path: &[String], module: &Module, sources: &BTreeMap<Module, String>) -> Option<Module> {
    let mut base = module.clone();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => (base, rest) = (Vec::new(), &path[1..]),
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|name| name == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        name if sources.contains_key(&child(module, name)) => {}
        _ => return None,
    }
    Some(base.into_iter().chain(rest.iter().cloned()).collect())
}

#[derive(Debug, Default)]
struct File {
    /// Paths of `use` items, and those in code that begin with `crate`, `self` or `super`.
    paths: Vec<Vec<String>>,
    /// Names of the modules under `#[cfg(test)]` that have a file of their own.
    test_modules: Vec<String>,
}

impl File {
    fn read(source: &str) -> Self {
        let tokens = tokens(source);
        let (mut file, mut at) = (Self::default(), 0);
        while at < tokens.len() {
            let rest = &tokens[at..];
            at += if let Some(length) = cfg_test(rest) {
                length + file.skip_test_module(&rest[length..])
            } else if rest[0] == "use" {
                1 + file.read_use(&rest[1..], &[])
            } else if ["crate", "self", "super"].contains(&rest[0].as_str())
                && rest.get(1).is_some_and(|next| next == "::")
            {
                file.read_path(rest)
            } else {
                1
            };
        }
        file
    }

    /// Skips a module, with the attributes before it; any other item is read as code.
    fn skip_test_module(&mut self, tokens: &[String]) -> usize {
        let visibility: &[&str] = &["pub", "(", "crate", "super", "in", "::", "session", ")"];
        let head = tokens.iter().take_while(|token| visibility.contains(&token.as_str())).count();
        let [module, name, next, ..] = &tokens[head..] else { return 0 };
        match (module.as_str(), next.as_str()) {
            ("mod", ";") => {
                self.test_modules.push(name.clone());
                head + 3
            }
            ("mod", "{") => {
                let mut depth = 0_usize;
                let is_end = |token: &String| {
                    match token.as_str() {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        _ => {}
                    }
                    depth == 0
                };
                let body = tokens[head + 2..].iter().position(is_end);
                head + 3 + body.expect("a module that ends")
            }
            _ => 0,
        }
    }

    /// Reads a tree of imports up to what ends it, and returns how many tokens it has.
    fn read_use(&mut self, tokens: &[String], prefix: &[String]) -> usize {
        let (mut path, mut at) = (prefix.to_vec(), 0);
        loop {
            match tokens[at].as_str() {
                ";" | "," | "}" => {
                    if path.len() > prefix.len() {
                        self.paths.push(path);
                    }
                    return at;
                }
                "{" => {
                    while tokens[at] != "}" {
                        at += 1 + self.read_use(&tokens[at + 1..], &path);
                    }
                    return at + 1;
                }
                "as" => at += 2,
                "::" => at += 1,
                name => {
                    path.push(name.to_owned());
                    at += 1;
                }
            }
        }
    }

    fn read_path(&mut self, tokens: &[String]) -> usize {
        let is_name = |token: &&String| {
            token.starts_with(|first: char| first.is_alphabetic() || first == '_')
        };
        let names = tokens.chunks(2).map_while(|pair| {
            Some((pair.first().filter(is_name)?, pair.get(1).is_some_and(|next| next == "::")))
        });
        let mut path: Vec<String> = Vec::new();
        for (name, goes_on) in names {
            path.push(name.clone());
            if !goes_on {
                break;
            }
        }
        let length = 2 * path.len() - 1;
        self.paths.push(path);
        length
    }
}

/// How many tokens `#[cfg(test)]` has, if it begins here, with the attributes behind it.
fn cfg_test(tokens: &[String]) -> Option<usize> {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    if !tokens.iter().map(String::as_str).take(attribute.len()).eq(attribute) {
        return None;
    }
    let mut length = attribute.len();
    while tokens.get(length).is_some_and(|token| token == "#") {
        length += 1 + tokens[length..].iter().position(|token| token == "]")?;
    }
    Some(length)
}

/// Names and punctuation, without comments and literals.
fn tokens(source: &str) -> Vec<String> {
    let (mut tokens, mut rest) = (Vec::new(), source);
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_text(rest) {
            length
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' {
            // A letter, or else a lifetime.
            let mut letters = rest[1..].chars();
            match (letters.next(), letters.next()) {
                (Some('\\'), _) | (_, Some('\'')) => quoted(rest, '\''),
                _ => 1,
            }
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let name = &rest[..end.unwrap_or(rest.len())];
            tokens.push(name.to_owned());
            name.len()
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// How many bytes a raw string has, if it begins here.
fn raw_text(source: &str) -> Option<usize> {
    let start = ["r", "br"].iter().find_map(|prefix| source.strip_prefix(prefix))?;
    let text = start.trim_start_matches('#');
    let text = text.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(start.len() - text.len() - 1));
    Some(source.len() - text.len() + text.find(&end)? + end.len())
}

/// How many bytes there are from a quotation mark to the next.
fn quoted(source: &str, mark: char) -> usize {
    let mut is_escaped = false;
    let end = source.char_indices().skip(1).find(|&(_, letter)| {
        let ends = letter == mark && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        ends
    });
    end.map_or(source.len(), |(at, letter)| at + letter.len_utf8())
}

#[test]
fn what_a_file_imports_is_found() {
    let file = File::read(
        r##"
        //! use crate::comment;
        pub(crate) use self::child::{Name, deep::{Other as Renamed, Third}};
        use super::*;
        use std::fmt;
        fn code<'a>(text: &'a str) -> char {
            let _ = ("\"use crate::text;", r#"crate::raw"#, b"crate::bytes", '\'', '"', "//");
            crate::inline::call(text); // crate::comment
            'x'
        }
        macro_rules! own { () => { $crate::inside::function() }; }
        #[cfg(test)]
        #[allow(unused)]
        pub(crate) mod helpers;
        #[cfg(test)]
        mod tests {
            use crate::only_in_tests;
            fn nested() {}
        }
        use crate::after;
        "##,
    );
    let paths: Vec<_> = file.paths.iter().map(|path| path.join("::")).collect();
    let expected = [
        "self::child::Name",
        "self::child::deep::Other",
        "self::child::deep::Third",
        "super::*",
        "std::fmt",
        "crate::inline::call",
        "crate::inside::function",
        "crate::after",
    ];
    assert_eq!(paths, expected);
    assert_eq!(file.test_modules, ["helpers"]);
}

#[test]
fn an_upward_import_and_a_circle_are_found() {
    let source = |module: &str, source: &str| {
        let module = module.split('/').filter(|name| !name.is_empty()).map(str::to_owned);
        (module.collect::<Module>(), source.to_owned())
    };
    let sources = BTreeMap::from([
        source("", "mod token; mod session; pub use self::token::Token;"),
        source("token", "use crate::session::load::load; use crate::Token;"),
        source("session", "mod load; mod store; use self::load::load;"),
        source("session/load", "use super::Sessions; use super::store::Store;"),
        source("session/store", "fn read() { super::load::load() }"),
        source("unknown", "use crate::clock::Clock;"),
        source("clock", ""),
    ]);
    let imports = imports(&sources);
    assert_eq!(
        upward(&imports),
        [
            r#"token -> lib {"Token"}"#,
            r#"token -> session/load {"load"}"#,
            r#"unknown -> clock {"Clock"}"#,
        ]
    );
    assert_eq!(
        circular(&imports),
        [r#"session/load -> session/store {"Store"}"#, r#"session/store -> session/load {"load"}"#]
    );
}
