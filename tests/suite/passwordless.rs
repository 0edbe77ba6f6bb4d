//! Logins by code and magic link, from the form to the session.

mod attacks;
mod codes;
mod limits;
mod links;
mod outages;
mod secrets;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::Value;
use tower_scalekit::middleware::RouteRejection;
use tower_scalekit::passwordless_login::{PasswordlessLoginBuilder, PasswordlessLoginError};
use tower_scalekit::sandbox::{Endpoint, OutboxMail};
use tower_scalekit::session::SessionsBuilder;
use tower_scalekit::{PasswordlessLogin, Sandbox};
use url::form_urlencoded;

use crate::support::{
    Browser, FETCH, NAVIGATION, ORIGIN, Reading as _, World, app, parameter, send, set_cookies,
};

const ADA: &str = "ada@acme.test";
const SEND: &str = "/passwordless/send";
const RESEND: &str = "/passwordless/resend";
const VERIFY: &str = "/passwordless/verify";

/// A browser that sends a form of the app's own page.
const SUBMISSION: [(&str, &str); 4] = [
    ("accept", "text/html,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("content-type", "application/x-www-form-urlencoded"),
];

/// An app whose users log in by e-mail.
struct MailWorld {
    world: World,
    app: Router,
    login: PasswordlessLogin,
}

impl MailWorld {
    fn new() -> Self {
        Self::with(|login| login)
    }

    fn with(change: impl FnOnce(PasswordlessLoginBuilder) -> PasswordlessLoginBuilder) -> Self {
        Self::of(|sessions| sessions, change)
    }

    fn of(
        sessions: impl FnOnce(SessionsBuilder) -> SessionsBuilder,
        change: impl FnOnce(PasswordlessLoginBuilder) -> PasswordlessLoginBuilder,
    ) -> Self {
        let world = World::with(|sandbox| sandbox, sessions);
        let login =
            PasswordlessLogin::builder(&world.sessions).start_page("/in").code_page("/code");
        let login = change(login).build().unwrap();
        let app = app(&world.sessions).merge(login.routes());
        Self { world, app, login }
    }

    fn sandbox(&self) -> &Sandbox {
        &self.world.sandbox
    }

    fn browser(&self) -> Browser {
        Browser::new(&self.app, self.sandbox())
    }

    /// Returns the number of API requests.
    fn asked(&self) -> usize {
        self.sandbox().requests().count(Endpoint::Api)
    }

    fn newest_mail(&self) -> OutboxMail {
        self.sandbox().mail().outbox().remove(0)
    }

    fn code(&self) -> String {
        self.newest_mail().code.unwrap()
    }

    fn link(&self) -> String {
        self.newest_mail().link.unwrap()
    }

    /// A code that is not the latest.
    fn wrong_code(&self) -> String {
        if self.code() == "123456" { "654321".to_owned() } else { "123456".to_owned() }
    }

    /// A browser that has requested an e-mail, and its attempt.
    async fn waiting(&self, return_to: &str) -> (Browser, String) {
        let mut browser = self.browser();
        let form = [("email", ADA), ("return_to", return_to)];
        let sent = submit(&mut browser, SEND, &form).await;
        (browser, attempt_of(&sent))
    }
}

/// The attempt in the redirect to the code page.
fn attempt_of(sent: &Response<Bytes>) -> String {
    assert_eq!(sent.status(), StatusCode::SEE_OTHER, "{}", sent.text());
    assert!(sent.location().starts_with("/code?"), "{}", sent.location());
    parameter(sent.location(), "attempt").unwrap()
}

fn submission(browser: &Browser, path: &str, form: &[(&str, &str)]) -> Request<Body> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut request = browser.request(Method::POST, path, &SUBMISSION);
    *request.body_mut() = body.into();
    request
}

async fn submit(browser: &mut Browser, path: &str, form: &[(&str, &str)]) -> Response<Bytes> {
    let response = send(browser.app(), submission(browser, path, form)).await;
    browser.store_cookies(&response);
    response
}

/// What a script of the app's page sends.
async fn fetch_json(browser: &mut Browser, path: &str, body: &Value) -> Response<Bytes> {
    let mut request = browser.request(Method::POST, path, &FETCH);
    let json = "application/json; charset=utf-8".parse().unwrap();
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    *request.body_mut() = body.to_string().into();
    let response = send(browser.app(), request).await;
    browser.store_cookies(&response);
    response
}

/// Opens the link of an e-mail.
async fn click(browser: &mut Browser, link: &str) -> Response<Bytes> {
    let headers = [NAVIGATION[0], NAVIGATION[1], ("sec-fetch-site", "cross-site")];
    browser.send(Method::GET, link.strip_prefix(ORIGIN).unwrap(), &headers).await
}

/// A link without the attempt in its path, as in earlier releases.
fn without_attempt(link: &str) -> String {
    let (path, query) = link.split_once('?').unwrap();
    format!("{}?{query}", path.rsplit_once('/').unwrap().0)
}

/// Submits the page that a link shows in another browser.
async fn press_the_button(browser: &mut Browser, page: &Response<Bytes>) -> Response<Bytes> {
    assert_eq!(page.status(), StatusCode::OK, "{}", page.text());
    let (token, secret) = (hidden(page, "link_token"), hidden(page, "page"));
    let mut form = vec![("link_token", token.as_str()), ("page", secret.as_str())];
    let attempt = hidden_if_there(page, "attempt");
    form.extend(attempt.as_deref().map(|attempt| ("attempt", attempt)));
    submit(browser, VERIFY, &form).await
}

fn hidden(page: &Response<Bytes>, name: &str) -> String {
    hidden_if_there(page, name).expect(name)
}

fn hidden_if_there(page: &Response<Bytes>, name: &str) -> Option<String> {
    let text = page.text();
    let (_, rest) = text.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(rest.split_once('"').unwrap().0.to_owned())
}

/// Returns the user who is logged in.
async fn email_of(browser: &mut Browser) -> Option<String> {
    let me = browser.fetch("/me").await;
    (me.status() == StatusCode::OK).then(|| me.json()["email"].as_str().unwrap().to_owned())
}

fn failure(response: &Response<Bytes>) -> PasswordlessLoginError {
    let rejection = response.extensions().get::<RouteRejection<PasswordlessLoginError>>();
    rejection.unwrap_or_else(|| panic!("no rejection: {response:?}")).error().clone()
}

/// Asserts a rejection that changes no session.
fn assert_rejected(response: &Response<Bytes>, status: u16, expected: &PasswordlessLoginError) {
    assert_eq!(&failure(response), expected);
    assert_eq!(response.status(), status);
    let session = set_cookies(response.headers()).iter().any(|line| line.contains("_session"));
    assert!(!session, "a rejection changes the session: {response:?}");
    assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
    response.assert_private();
}
