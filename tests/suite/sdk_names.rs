//! The search of the documentation finds each method of Scalekit's Node and Python SDKs that the
//! quickstarts call, and each that a method of the API corresponds to.

use std::collections::BTreeSet;

use crate::files::{files, read};

/// Methods that the quickstarts call, as the Node SDK spells them.
const QUICKSTARTS: &[&str] = &[
    "authenticateWithCode",
    "executeTool",
    "generatePortalLink",
    "getAuthorizationLink",
    "getAuthorizationUrl",
    "getDirectory",
    "getIdpInitiatedLoginClaims",
    "getLogoutUrl",
    "getOrCreateConnectedAccount",
    "getPrimaryDirectoryByOrganizationId",
    "listConnectionsByDomain",
    "listDirectoryGroups",
    "listDirectoryUsers",
    "refreshAccessToken",
    "resendPasswordlessEmail",
    "sendPasswordlessEmail",
    "validateAccessToken",
    "validateToken",
    "verifyPasswordlessEmail",
    "verifyWebhookPayload",
];

/// Methods of the API without a counterpart in the SDKs.
const NOT_IN_SDKS: &[&str] = &[
    "callback_url",
    "enabled_for_email",
    "forward_header",
    "list_by_domain",
    "search",
    "verified_authorization_link",
    "wait_until_active",
];

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn snake_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, letter| {
        if letter.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
        text
    })
}

/// The aliases of a file, and its public functions without one that are methods of an `…Api`.
fn names(source: &str) -> (BTreeSet<String>, Vec<String>) {
    let (mut aliases, mut unnamed) = (BTreeSet::new(), Vec::new());
    let (mut in_api, mut has_alias, mut in_alias) = (false, false, false);
    for line in source.lines() {
        if let Some(item) = line.strip_prefix("impl ") {
            in_api = item.ends_with("Api {") && item != "Api {";
        }
        in_alias |= line.trim_start().starts_with("#[doc(alias");
        if in_alias {
            has_alias = true;
            aliases.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
            in_alias = !line.ends_with(")]") && !line.ends_with("\"]");
            continue;
        }
        let function = ["pub fn ", "pub async fn "]
            .iter()
            .find_map(|start| line.trim_start().strip_prefix(start));
        if let Some(function) = function {
            if in_api && !has_alias {
                unnamed.extend(function.split(|letter| !is_name(letter)).next().map(str::to_owned));
            }
            has_alias = false;
        }
    }
    (aliases, unnamed)
}

#[test]
fn the_methods_of_the_sdks_are_found() {
    let (mut aliases, mut unnamed) = (BTreeSet::new(), Vec::new());
    for path in files(&["src"], "rs") {
        let (found, missing) = names(&read(&path));
        aliases.extend(found);
        unnamed.extend(missing);
    }
    for name in QUICKSTARTS {
        assert!(aliases.contains(*name), "no item has the alias {name}");
    }
    // Python's spelling of a Node name is there as well.
    let camel = aliases.iter().filter(|name| {
        name.starts_with(|first: char| first.is_lowercase()) && name.contains(char::is_uppercase)
    });
    for name in camel {
        let python = match name.as_str() {
            "listOrganization" => "list_organizations".to_owned(),
            name => snake_case(name),
        };
        assert!(aliases.contains(&python), "no item has the alias {python}");
    }
    unnamed.sort_unstable();
    assert_eq!(unnamed, NOT_IN_SDKS, "methods of the API without the name of the SDKs' method");
}
