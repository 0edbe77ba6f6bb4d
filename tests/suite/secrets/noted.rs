//! The secrets of a run: recorded on the wire, and searched for afterwards.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use url::form_urlencoded;

/// Members of forms, queries and JSON whose values are secret.
const NAMES: [&str; 17] = [
    "access_token",
    "auth_request_id",
    "authorization_code",
    "client_secret",
    "code",
    "code_verifier",
    "id_token",
    "id_token_hint",
    "idp_initiated_login",
    "link",
    "link_token",
    "location",
    "nonce",
    "plain_secret",
    "refresh_token",
    "state",
    "token",
];

/// All secrets of a run.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Mutex<BTreeSet<String>>>);

impl Secrets {
    pub(crate) fn add(&self, secret: &str) {
        assert!(secret.len() >= 10, "{secret} would be found by chance");
        let mut secrets = self.0.lock().unwrap();
        secrets.insert(secret.to_owned());
        secrets.insert(utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string());
        // The signature reveals a token to someone who knows the rest.
        if let Some((_, signature)) = secret.rsplit_once('.')
            && signature.len() > 40
        {
            secrets.insert(signature.to_owned());
        }
    }

    /// Records a short secret, for instance a code of an e-mail, which is found as a whole word.
    pub(crate) fn add_word(&self, word: &str) {
        assert!(word.len() >= 6 && word.chars().all(char::is_alphanumeric), "{word} is no word");
        self.0.lock().unwrap().insert(word.to_owned());
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Records the secrets of a request.
    pub(crate) fn read_request<B: AsRef<[u8]>>(&self, request: &Request<B>) {
        self.read_query(request.uri().query().unwrap_or_default().as_bytes());
        self.read_headers(request.headers());
        self.read_body(request.headers(), request.body().as_ref());
    }

    /// Records the secrets of a response.
    pub(crate) fn read_response(&self, response: &Response<Bytes>) {
        self.read_headers(response.headers());
        self.read_body(response.headers(), response.body());
    }

    fn read_headers(&self, headers: &HeaderMap) {
        let all = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap());
        for value in all(header::AUTHORIZATION.as_str()) {
            self.add(value.split_once(' ').map_or(value, |(_, credentials)| credentials));
        }
        for signature in all("webhook-signature") {
            signature.split(' ').for_each(|signature| self.add(signature));
        }
        let set = all(header::SET_COOKIE.as_str()).filter_map(|line| line.split(';').next());
        let sent = all(header::COOKIE.as_str()).flat_map(|line| line.split("; "));
        for (_, value) in set.chain(sent).filter_map(|pair| pair.split_once('=')) {
            self.add_long(value);
        }
        for location in all(header::LOCATION.as_str()) {
            let query = location.split_once('?').map_or("", |(_, query)| query);
            self.read_query(query.split('#').next().unwrap_or_default().as_bytes());
        }
    }

    fn read_query(&self, pairs: &[u8]) {
        for (name, value) in form_urlencoded::parse(pairs) {
            if NAMES.contains(&&*name) {
                self.add_long(&value);
            }
        }
    }

    fn read_body(&self, headers: &HeaderMap, body: &[u8]) {
        let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap());
        if content_type == Some("application/x-www-form-urlencoded") {
            self.read_query(body);
        }
        if let Ok(json) = serde_json::from_slice(body) {
            self.read_json(&json);
        }
    }

    fn read_json(&self, json: &Value) {
        match json {
            Value::Array(items) => items.iter().for_each(|item| self.read_json(item)),
            Value::Object(members) => {
                for (name, value) in members {
                    match value {
                        Value::String(text) if NAMES.contains(&name.as_str()) => {
                            self.add_long(text);
                        }
                        value => self.read_json(value),
                    }
                }
            }
            _ => {}
        }
    }

    /// An error code, a number of six digits: texts this short match by chance.
    fn add_long(&self, text: &str) {
        if text.len() > 20 {
            self.add(text);
        }
    }

    /// A line with a secret, and the beginning of the secret.
    pub(crate) fn shown(&self, text: &str) -> Option<String> {
        let secrets = self.0.lock().unwrap();
        let is_in = |text: &str, secret: &str| match secret.len() {
            ..10 => text.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == secret),
            _ => text.contains(secret),
        };
        let mut shown = text.lines().filter_map(|line| {
            let secret = secrets.iter().find(|secret| is_in(line, secret))?;
            Some(format!("{secret:.20}… in {line}"))
        });
        // Some contain line breaks.
        shown.next().or_else(|| secrets.iter().find(|secret| is_in(text, secret)).cloned())
    }

    pub(crate) fn assert_absent(&self, what: &str, text: &str) {
        assert_eq!(self.shown(text), None, "{what} shows it");
    }

    pub(crate) fn assert_debug<T: Debug>(&self, value: &T) {
        self.assert_absent(std::any::type_name::<T>(), &format!("{value:?} {value:#?}"));
    }

    pub(crate) fn assert_error<T: Error>(&self, value: &T) {
        self.assert_debug(value);
        let mut source: Option<&dyn Error> = Some(value);
        while let Some(error) = source {
            self.assert_absent(std::any::type_name::<T>(), &error.to_string());
            source = error.source();
        }
    }
}

#[test]
fn recorded_secrets_are_found_and_nothing_else() {
    let secrets = Secrets::default();
    let request = Request::post("https://x.test/cb?code=a%20code%20of%20twenty%20letters&n=1");
    let request = request
        .header("authorization", "Bearer eyJh.eyJz.c2lnbmF0dXJl")
        .header("cookie", "a=1; b=the-value-of-some-cookie")
        .header("content-type", "application/x-www-form-urlencoded");
    secrets.read_request(&request.body("refresh_token=one-that-may-be-used-once").unwrap());
    let response = Response::builder()
        .header("set-cookie", "c=the-value-of-another-one; Path=/")
        .header("location", "https://y.test/?state=nobody-can-guess-that-one#top")
        .body(r#"{"a":[{"access_token":"deep-down-in-the-answer"}]}"#.into());
    secrets.read_response(&response.unwrap());
    secrets.add_word("123456");
    for text in [
        "a code of twenty letters",
        "a%20code%20of%20twenty%20letters",
        "Bearer eyJh.eyJz.c2lnbmF0dXJl",
        "x=the-value-of-some-cookie",
        "one-that-may-be-used-once",
        "the-value-of-another-one",
        "nobody-can-guess-that-one",
        "deep-down-in-the-answer",
        "the code is 123456.",
    ] {
        assert!(secrets.shown(&format!("first\n{text}")).is_some(), "{text}");
    }
    assert_eq!(secrets.shown("n=1 a=1 access_token refresh_token 1234567 .123456Z"), None);
}
