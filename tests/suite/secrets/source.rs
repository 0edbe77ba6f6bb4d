//! Fields whose names suggest that a derived `Debug` would print a secret.

use crate::files::{files, read};

/// Suffixes of names of secrets.
const NAMES: [&str; 17] = [
    "body",
    "bytes",
    "code",
    "cookie",
    "credentials",
    "entries",
    "header",
    "headers",
    "key",
    "link",
    "nonce",
    "otp",
    "password",
    "secret",
    "state",
    "token",
    "verifier",
];

/// Types that print their content.
const OPEN: [&str; 4] = ["Bytes", "HeaderMap", "HeaderValue", "String"];

/// Fields with such a name that are not secret.
const NO_SECRETS: [(&str, &str); 11] = [
    // Error codes of the environment and of Scalekit.
    ("ApiError", "code"),
    ("ConnectAccountError", "code"),
    ("ErrorResponse", "error_code"),
    ("OAuthError", "code"),
    ("ToolError", "code"),
    // The name of a cookie.
    ("LoginError", "cookie"),
    // Of a JWT: algorithm, key ID, type.
    ("TokenDraft", "header"),
    // Names of fields, and of public DNS records.
    ("AttributeMapping", "key"),
    ("OrganizationDomain", "txt_record_key"),
    // The name of an identity provider, and the target of a test's login.
    ("Connection", "provider_key"),
    ("NewIdpInitiatedLogin", "relay_state"),
];

#[test]
fn no_public_type_derives_debug_over_a_field_named_like_a_secret() {
    let mut found = Vec::new();
    for path in files(&["src"], "rs") {
        fields_shown(&read(path), &mut found);
    }
    found.sort_unstable();
    found.dedup();
    let mut expected = NO_SECRETS.map(|(name, field)| (name.to_owned(), field.to_owned()));
    expected.sort_unstable();
    assert_eq!(found, expected, "write `Debug` by hand, use `SecretString`, or say here why not");
}

/// The code is formatted: types begin and end in the first column, a field has a line.
fn fields_shown(source: &str, found: &mut Vec<(String, String)>) {
    for item in source.split("\n#[derive(").skip(1) {
        let item = item.split("\n}\n").next().unwrap();
        let (derived, rest) = item.split_once(')').unwrap();
        let head = ["\npub struct ", "\npub enum "];
        let Some(start) = head.iter().find_map(|head| Some(rest.find(head)? + head.len())) else {
            continue;
        };
        let is_tuple = rest[start..].lines().next().is_some_and(|line| line.ends_with(';'));
        if !derived.contains("Debug") || is_tuple {
            continue;
        }
        let name: String = rest[start..].chars().take_while(|c| c.is_alphanumeric()).collect();
        for line in rest[start..].lines() {
            let Some((field, shown)) = line.trim().trim_start_matches("pub ").split_once(": ")
            else {
                continue;
            };
            let is_secret = field.rsplit('_').next().is_some_and(|end| NAMES.contains(&end));
            let is_open = shown
                .split(|letter: char| !letter.is_alphanumeric())
                .any(|word| OPEN.contains(&word));
            if is_secret && is_open {
                found.push((name.clone(), field.to_owned()));
            }
        }
    }
}

#[test]
fn a_derived_debug_over_a_secret_is_found() {
    let source = "
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tokens {
    /// A comment: String
    pub access_token: Option<String>,
    refresh_token: SecretString,
    pub name: String,
}

#[derive(Clone, Debug)]
pub struct Tuple(Tokens);

impl Tuple {
    pub fn tell(
        token: String,
    ) {
    }
}

#[derive(Clone)]
pub struct Quiet {
    pub token: String,
}
";
    let mut found = Vec::new();
    fields_shown(source, &mut found);
    assert_eq!(found, [("Tokens".to_owned(), "access_token".to_owned())]);
}
