//! Credentials do not appear in `Debug` output or traces.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tower_scalekit::http_client::{HttpClient, HttpClientError};
use tower_scalekit::sandbox::{Endpoint, Fault, SandboxClient};
use tower_scalekit::{PasswordlessLogin, Scalekit, Sessions};
use tracing::Dispatch;
use tracing_subscriber::filter::LevelFilter;

use super::{
    ADA, MailWorld, RESEND, SEND, VERIFY, click, hidden, press_the_button, submission, submit,
};
use crate::secrets::Captured;
use crate::support::{Browser, CALLBACK, World, app, sandbox_builder, secret};

type Secrets = Arc<Mutex<BTreeSet<String>>>;

/// Records the requests to the environment.
struct Wire {
    client: SandboxClient,
    secrets: Secrets,
}

impl Wire {
    fn note(&self, body: &Bytes) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        for name in ["access_token", "auth_request_id", "code", "email", "link_token", "state"] {
            let text = body[name].as_str().filter(|text| *text != "123456");
            self.secrets.lock().unwrap().extend(text.map(str::to_owned));
        }
    }
}

impl HttpClient for Wire {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        self.note(request.body());
        Box::pin(async move {
            let response = self.client.send(request).await?;
            self.note(response.body());
            Ok(response)
        })
    }
}

fn watched(secrets: &Secrets) -> MailWorld {
    let sandbox = sandbox_builder().build();
    let client = Wire { client: sandbox.client(), secrets: Arc::clone(secrets) };
    let (id, client_secret) = (sandbox.client_id(), sandbox.client_secret().clone());
    let scalekit = Scalekit::builder(sandbox.environment_url(), id, client_secret);
    let scalekit = scalekit.http_client(client).clock(sandbox.clock().clock()).build().unwrap();
    let sessions =
        Sessions::builder(scalekit).secret(secret(1)).redirect_uri(CALLBACK).build().unwrap();
    let login = PasswordlessLogin::builder(&sessions).code_page("/code").build().unwrap();
    let app = app(&sessions).merge(login.routes());
    MailWorld { world: World { sandbox, sessions, app: app.clone() }, app, login }
}

#[tokio::test]
async fn debug_output_and_traces_contain_no_credentials() {
    let captured = Captured::default();
    // Without the time, whose digits could match a code by chance.
    let subscriber = tracing_subscriber::fmt()
        .without_time()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(captured.clone())
        .finish();
    // While there is only one subscriber, an event that another test's thread reaches first is
    // disabled for all.
    let _second = Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish());
    let _guard = tracing::subscriber::set_default(subscriber);
    let secrets = Secrets::default();
    let mail = watched(&secrets);
    let note = |text: &str| secrets.lock().unwrap().insert(text.to_owned());
    let note_cookies = |browser: &Browser| {
        for name in browser.names() {
            note(browser.cookie(name).unwrap());
        }
    };

    let (mut browser, _) = mail.waiting("/me?a-page-to-return-to").await;
    note("a-page-to-return-to");
    note_cookies(&browser);
    submit(&mut browser, RESEND, &[]).await;
    note_cookies(&browser);
    submit(&mut browser, VERIFY, &[("code", "123456")]).await;
    let page = click(&mut mail.browser(), &mail.link()).await;
    note(&hidden(&page, "page"));
    for fault in [Fault::Unreachable, Fault::Html, Fault::Status(StatusCode::BAD_GATEWAY)] {
        mail.sandbox().faults().add_times(Endpoint::Api, 2, fault);
        click(&mut browser, &mail.link()).await;
        submit(&mut browser, SEND, &[("email", "other@acme.test")]).await;
    }
    submit(&mut browser, SEND, &[("email", ADA)]).await; // one more than the limit
    note("refused@acme.test");
    for (status, text) in [(400, "no template for"), (400, "bad email"), (403, "no mail to")] {
        let text =
            format!(r#"{{"code":3,"message":"{text} {ADA}, <{}>"}}"#, ADA.replace('@', "%40"));
        let rejection = Response::builder().status(status).body(Bytes::from(text)).unwrap();
        mail.sandbox().faults().add_times(Endpoint::Api, 1, Fault::Response(rejection));
        submit(&mut mail.browser(), SEND, &[("email", "refused@acme.test")]).await;
    }
    let code = mail.code();
    let mut shown = Vec::new();
    let mut show = |value: &dyn Debug| shown.push(format!("{value:?} {value:#?}"));
    let pending = [(http::header::COOKIE, browser.cookie_header().parse().unwrap())];
    show(&mail.login.pending(&pending.into_iter().collect(), None).unwrap());
    show(&mail.login);
    show(&mail.login.verify());
    show(&mail.login.link());
    show(&mail.app);
    let request = submission(&browser, VERIFY, &[("code", &code)]);
    show(&tower::Service::call(&mut mail.login.verify(), request));
    let request = browser.request(Method::GET, &mail.link(), &[]);
    show(&tower::Service::call(&mut mail.login.link(), request));
    let rejected = submit(&mut mail.browser(), VERIFY, &[("code", &code)]).await;
    show(&rejected.extensions());
    assert_eq!(press_the_button(&mut mail.browser(), &page).await.status(), 303);
    submit(&mut browser, VERIFY, &[("code", &code)]).await;
    note_cookies(&browser);

    let traces = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    for event in ["login_completed", "login_failed", "request_rejected", "internal_error"] {
        assert!(traces.contains(event), "{event} is missing:\n{traces}");
    }
    shown.push(traces);
    let secrets = secrets.lock().unwrap();
    assert!(secrets.len() > 8 && secrets.contains(&code) && secrets.contains(ADA), "{secrets:?}");
    for (secret, text) in secrets.iter().flat_map(|one| shown.iter().map(move |text| (one, text))) {
        assert!(!is_in(secret, text), "{secret:.20} shows in {text}");
    }
}

/// A code is searched for among whole numbers: a longer one may contain it by chance.
fn is_in(secret: &str, text: &str) -> bool {
    match secret.bytes().all(|letter| letter.is_ascii_digit()) {
        true => text.split(|letter: char| !letter.is_ascii_digit()).any(|number| number == secret),
        false => text.contains(secret),
    }
}
