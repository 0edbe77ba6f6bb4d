//! The calls of `src/api`, read from its source.

use std::collections::BTreeSet;

use crate::files::{files, read, root};

/// `Type::function` for each public function of each public type that sends calls.
pub(super) fn public_functions() -> BTreeSet<String> {
    files(&["src/api"], "rs")
        .iter()
        .filter(|path| !path.starts_with(root().join("src/api/tests")))
        .flat_map(|path| functions_of(&read(path)))
        .collect()
}

/// The code is formatted: items begin and end in the first column.
fn functions_of(source: &str) -> BTreeSet<String> {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let name_of = |text: &str| text.split(|letter| !is_name(letter)).next().unwrap().to_owned();
    let items: Vec<&str> = source.split("\npub struct ").skip(1).collect();
    let callers = items.iter().filter_map(|item| {
        let end = [";\n", "\n}\n"].iter().filter_map(|end| item.find(end)).min()?;
        let mut words = item[..end].split(|letter| !is_name(letter)).skip(1);
        words.any(|word| word == "Api" || word == "ApiRequest").then(|| name_of(item))
    });
    let mut found = BTreeSet::new();
    for caller in callers {
        let is_of_caller = |head: &str| {
            let generic = format!(" {caller}<");
            !head.contains(" for ")
                && (head.ends_with(&format!(" {caller}")) || head.contains(&generic))
        };
        let blocks = source.split("\nimpl").skip(1).filter_map(|item| item.split_once(" {\n"));
        for (_, block) in blocks.filter(|(head, _)| is_of_caller(head)) {
            let block = block.split("\n}\n").next().unwrap();
            for start in ["\n    pub fn ", "\n    pub async fn "] {
                let functions = format!("\n{block}");
                let functions = functions.split(start).skip(1).map(name_of);
                found.extend(functions.map(|function| format!("{caller}::{function}")));
            }
        }
    }
    found
}

#[test]
fn public_functions_of_types_that_send_calls_are_found() {
    let source = "
pub struct ThingsApi(Api);

impl ThingsApi {
    pub(super) fn new(api: Api) -> Self {
    }

    pub async fn get(&self) {
    }
}

pub struct Things {
    pages: Vec<ApiRequest>,
}

impl Things {
    pub fn page_size(self, size: u32) -> Self {
    }

    fn private(self) {
    }
}

pub struct Pages<T> {
    request: ApiRequest,
    item: PhantomData<T>,
}

impl<T: Send> Pages<T> {
    pub fn stream(self) {
    }
}

impl<T> Stream for Pages<T> {
    pub fn poll_next(self) {
    }
}

pub struct Thing {
    pub name: String,
}

impl Thing {
    pub fn is_big(&self) -> bool {
    }
}
";
    let found: Vec<_> = functions_of(source).into_iter().collect();
    assert_eq!(found, ["Pages::stream", "Things::page_size", "ThingsApi::get"]);
}
