//! The page that lists the operations of the API, written from what the other test records.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::{env, fs};

use super::document::Document;
use super::{UNDOCUMENTED, recorded};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/docs/reference/api.md");

const INTRODUCTION: &str = "\
The operations of Scalekit's REST API. Those with a method in [`api`](crate::api) are compared with
Scalekit's OpenAPI document in the tests of this crate; [`Api::request`](crate::api::Api::request)
calls the others. The [sandbox](crate::sandbox) responds with 501 to those that it does not play.

";

/// `UPDATE_REFERENCE=1 cargo test --test suite reference` writes the page.
#[tokio::test]
async fn the_reference_lists_the_operations_with_a_method() {
    let (exchanges, _) = recorded().await;
    let document = Document::load();
    let mut operations: BTreeMap<(String, String), BTreeSet<bool>> =
        document.operations().map(|operation| (operation, BTreeSet::new())).collect();
    for (call, _) in UNDOCUMENTED {
        let (method, path) = call.split_once(' ').unwrap();
        operations.insert((path.to_owned(), method.to_owned()), BTreeSet::new());
    }
    for exchange in &exchanges {
        let undocumented = UNDOCUMENTED.iter().find(|(call, _)| exchange.is_of(call));
        let operation = match undocumented {
            Some((call, _)) => {
                let (method, path) = call.split_once(' ').unwrap();
                (path.to_owned(), method.to_owned())
            }
            None => document.operation_of(exchange).unwrap(),
        };
        operations.get_mut(&operation).unwrap().insert(exchange.status.is_success());
    }

    let with_a_method = operations.values().filter(|statuses| !statuses.is_empty()).count();
    let mut page = INTRODUCTION.to_owned();
    writeln!(page, "{with_a_method} of {} operations have a method.\n", operations.len()).unwrap();
    page.push_str("| operation | method | sandbox |\n|---|---|---|\n");
    for ((path, method), statuses) in &operations {
        let yes = |is: bool| if is { "yes" } else { "" };
        let undocumented = UNDOCUMENTED.iter().any(|(call, _)| *call == format!("{method} {path}"));
        let mark = if undocumented { " (not in the OpenAPI document)" } else { "" };
        let (called, played) = (yes(!statuses.is_empty()), yes(statuses.contains(&true)));
        writeln!(page, "| `{method} {path}`{mark} | {called} | {played} |").unwrap();
    }
    if env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(PAGE, &page).unwrap();
    }
    let written = fs::read_to_string(PAGE).unwrap();
    assert!(page == written, "the page is out of date: run this test with UPDATE_REFERENCE=1");
}
