//! Challenges: the header parses back to any configured realm, scopes and URL.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tower_scalekit::challenge::{BearerError, Challenge, Realm, ScopeToken};
use tower_scalekit_fuzz::Input;
use url::Url;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut challenge = Challenge::new();
    let mut expected = Vec::new();
    if input.byte() & 1 == 1 {
        let realm = String::from_utf8_lossy(input.bytes()).into_owned();
        let visible = !realm.is_empty() && realm.bytes().all(|b| (b' '..=b'~').contains(&b));
        match Realm::new(&realm) {
            Ok(named) => {
                challenge = challenge.realm(named);
                expected.push(("realm", realm));
            }
            Err(_) => assert!(!visible, "{realm:?} was rejected"),
        }
    }
    let errors =
        [BearerError::InsufficientScope, BearerError::InvalidRequest, BearerError::InvalidToken];
    if input.byte() & 1 == 1 {
        let error = *input.pick(&errors);
        challenge = challenge.error(error);
        expected.push(("error", error.code().to_owned()));
        expected.push(("error_description", error.description().to_owned()));
    }
    let mut scopes = Vec::new();
    for _ in 0..input.byte() % 4 {
        let name = String::from_utf8_lossy(input.bytes()).into_owned();
        let legal = |b: u8| matches!(b, b'!' | b'#'..=b'[' | b']'..=b'~');
        match ScopeToken::new(&name) {
            Ok(scope) => scopes.push(scope),
            Err(_) => assert!(name.is_empty() || !name.bytes().all(legal), "{name:?} was rejected"),
        }
    }
    if !scopes.is_empty() {
        let names: Vec<_> = scopes.iter().map(ScopeToken::as_str).collect();
        expected.push(("scope", names.join(" ")));
        challenge = challenge.scope(scopes);
    }
    if let Ok(url) =
        Url::parse("https://h.test/").expect("a URL").join(&String::from_utf8_lossy(input.rest()))
    {
        expected.push(("resource_metadata", url.to_string()));
        challenge = challenge.resource_metadata(Arc::new(url));
    }
    let header = challenge.to_header_value();
    let parsed = parse(header.to_str().expect("visible text")).expect("a challenge");
    let parsed: Vec<_> = parsed.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    assert_eq!(parsed, expected, "{header:?}");
});

/// RFC 9110 section 11.6.1, quoted strings alone.
fn parse(header: &str) -> Option<Vec<(String, String)>> {
    let mut rest = header.strip_prefix("Bearer")?;
    let mut attributes = Vec::new();
    while !rest.is_empty() {
        rest = rest.strip_prefix(if attributes.is_empty() { " " } else { ", " })?;
        let (name, value) = rest.split_once("=\"")?;
        let mut text = String::new();
        let mut characters = value.char_indices();
        let end = loop {
            match characters.next()? {
                (index, '"') => break index,
                (_, '\\') => text.push(characters.next()?.1),
                (_, character) => text.push(character),
            }
        };
        attributes.push((name.to_owned(), text));
        rest = &value[end + 1..];
    }
    Some(attributes)
}
