//! Queries of IdP-initiated logins: a token that the environment has signed starts a login, which keeps
//! its own security parameters; any other starts none.
#![no_main]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use tower_layer::Layer as _;
use tower_scalekit::sandbox::{NewIdpInitiatedLogin, TokenFault};
use tower_scalekit::{IdpInitiatedRedirect, Sandbox, SessionSecret, Sessions};
use tower_scalekit_fuzz::{Input, block_on, clock, mutate};
use tower_service::Service;
use url::{Url, form_urlencoded};

const NAME: &str = "idp_initiated_login";

fuzz_target!(|data: &[u8]| KNOWN.with(|known| known.check(&mut Input::new(data))));

thread_local! {
    static KNOWN: Known = Known::new();
}

struct Known {
    sandbox: Sandbox,
    good: Vec<String>,
    bad: Vec<String>,
}

impl Known {
    fn new() -> Self {
        let sandbox = Sandbox::builder().clock(clock()).build();
        let connection = sandbox.connections().list().remove(0).id;
        let login = || NewIdpInitiatedLogin::new(&connection).login_hint("jane@acme.test");
        let good = ["/page", "https://evil.test/", "//evil.test", "state=x&nonce=y", ""]
            .map(|state| sandbox.idp().login_token(login().relay_state(state)));
        let mut bad = vec![
            sandbox.tokens().access_token("jane@acme.test"),
            sandbox.tokens().id_token("jane@acme.test", None),
            "a.b.c".to_owned(),
        ];
        for fault in [
            TokenFault::Expired,
            TokenFault::InvalidSignature,
            TokenFault::MissingExpiry,
            TokenFault::SignedWithPublicKey,
            TokenFault::Unsigned,
        ] {
            let mut draft = sandbox.idp().login_token_draft(login());
            fault.apply(&mut draft);
            bad.push(sandbox.tokens().sign_draft(&draft));
        }
        Self { good: good.into(), bad, sandbox }
    }

    fn check(&self, input: &mut Input<'_>) {
        let uri = format!("/any?{}", self.query(input));
        let Ok(request) = Request::get(uri).body(()) else { return };
        // Without a fragment.
        let query = request.uri().query().unwrap_or_default().to_owned();
        // Portals do not encode the name. A query without it, and without an error, is not parsed.
        let is_parsed = query.contains(NAME) || query.contains("error");
        let tokens: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, value)| is_parsed && name == NAME && !value.is_empty())
            .map(|(_, value)| value.into_owned())
            .collect();
        // A new process, which has seen no token.
        let sessions = Sessions::builder(self.sandbox.scalekit())
            .secret(SessionSecret::new((0..32).collect::<Vec<_>>()).expect("a secret"))
            .redirect_uri("https://app.test/auth/callback")
            .cache_capacity(4);
        let sessions = sessions.build().expect("good settings");
        let mut service = IdpInitiatedRedirect::new(&sessions).layer(Inner);
        let first = block_on(async { service.call(request.clone()).await }).expect("infallible");
        let status = first.status();
        match &tokens[..] {
            [] => assert_eq!(status, StatusCode::IM_A_TEAPOT, "{query}"),
            [token] if self.good.contains(token) => {
                assert_eq!(status, StatusCode::FOUND, "{query}");
                self.check_login(&first);
                // Used once, it is an ordinary login.
                let second = block_on(async { service.call(request).await }).expect("infallible");
                assert_eq!(location(&second), "/login", "{query}");
            }
            _ => assert_eq!(status, StatusCode::BAD_REQUEST, "{query}"),
        }
    }

    fn check_login<B>(&self, started: &Response<B>) {
        let location = location(started);
        let url = Url::parse(location).expect("a URL");
        let authorize = format!("{}/oauth/authorize", self.sandbox.environment_url());
        assert_eq!(location.split('?').next(), Some(authorize.as_str()));
        for (name, expected) in [
            ("client_id", Some(self.sandbox.client_id())),
            ("redirect_uri", Some("https://app.test/auth/callback")),
            ("response_type", Some("code")),
            ("code_challenge_method", Some("S256")),
            ("login_hint", Some("jane@acme.test")),
            ("state", None),
            ("nonce", None),
            ("code_challenge", None),
        ] {
            let values: Vec<_> = url.query_pairs().filter(|(found, _)| found == name).collect();
            let [(_, value)] = &values[..] else { panic!("{name} in {location}") };
            assert!(expected.map_or(value.len() == 43, |text| text == value), "{location}");
        }
    }

    fn query(&self, input: &mut Input<'_>) -> String {
        let mut parts = Vec::new();
        for _ in 0..1 + input.byte() % 3 {
            let name =
                input.pick(&[NAME, NAME, NAME, "%69dp_initiated_login", "error", "state", "x"]);
            let mut value = match input.byte() % 4 {
                0 | 1 => input.pick(&self.good).clone().into_bytes(),
                2 => input.pick(&self.bad).clone().into_bytes(),
                _ => input.bytes().to_vec(),
            };
            if input.byte() % 4 == 0 {
                mutate(input, &mut value);
            }
            parts.push(match input.byte() % 4 {
                0 => format!(
                    "{name}={}",
                    form_urlencoded::byte_serialize(&value).collect::<String>()
                ),
                1 => String::from_utf8_lossy(&value).into_owned(),
                _ => format!("{name}={}", String::from_utf8_lossy(&value)),
            });
        }
        parts.join("&")
    }
}

fn location<B>(response: &Response<B>) -> &str {
    response.headers().get(header::LOCATION).expect("a location").to_str().expect("text")
}

/// The app.
#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        ready(Ok(response))
    }
}
