//! Forms: a back-channel logout is accepted if and only if its one token is valid, and an e-mail goes to
//! the one address that the form has.
#![no_main]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tower_scalekit::http_client::{HttpClient, HttpClientError};
use tower_scalekit::sandbox::{SandboxClient, TokenFault};
use tower_scalekit::{PasswordlessLogin, Sandbox, Scalekit, SessionSecret, Sessions};
use tower_scalekit_fuzz::{Input, block_on, clock, mutate};
use tower_service::Service as _;
use url::form_urlencoded;

const TYPES: [&str; 6] = [
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded",
    "Application/X-WWW-Form-Urlencoded ; charset=utf-8",
    "application/json",
    "multipart/form-data; boundary=a",
    "",
];

const FIELDS: [&str; 9] = [
    "email=a@b.test",
    "email=jane%2Ba%40acme.test",
    "e%6dail=x@y.test",
    "email=a@b.test%0d%0aBcc:c@d.test",
    "return_to=/x",
    "return_to=//evil.test",
    "template=SIGNIN",
    "email=",
    "code=123456",
];

const OBJECTS: [&str; 4] = [
    r#"{"email":"a@b.test","return_to":"/x"}"#,
    r#"{"email":"a@b.test","email":"c@d.test"}"#,
    r#"{"email":["a@b.test"]}"#,
    r#"{"email":" a@b.test ","template":null}"#,
];

fuzz_target!(|data: &[u8]| KNOWN.with(|known| {
    let mut input = Input::new(data);
    match input.byte() % 2 {
        0 => known.check_logout(&mut input),
        _ => known.check_email(&mut input),
    }
}));

thread_local! {
    static KNOWN: Known = Known::new();
}

struct Known {
    scalekit: Scalekit,
    mails: Arc<Mutex<Vec<Value>>>,
    good: Vec<String>,
    bad: Vec<String>,
}

impl Known {
    fn new() -> Self {
        let sandbox = Sandbox::builder().clock(clock()).build();
        let good = ["ses_1", "ses_2"].map(|session| sandbox.tokens().logout_token(session));
        let mut bad = vec![
            sandbox.tokens().access_token("jane@acme.test"),
            sandbox.tokens().id_token("jane@acme.test", None),
            "a.b.c".to_owned(),
        ];
        for fault in [
            TokenFault::Expired,
            TokenFault::InvalidAudience,
            TokenFault::InvalidIssuer,
            TokenFault::InvalidNonce,
            TokenFault::InvalidSignature,
            TokenFault::MissingClaim("events".to_owned()),
            TokenFault::SignedWithPublicKey,
            TokenFault::Unsigned,
        ] {
            let mut draft = sandbox.tokens().logout_token_draft("ses_1");
            fault.apply(&mut draft);
            bad.push(sandbox.tokens().sign_draft(&draft));
        }
        let mails = Arc::<Mutex<Vec<Value>>>::default();
        let client = Client { mails: Arc::clone(&mails), environment: sandbox.client() };
        let secret = sandbox.client_secret().clone();
        let scalekit = Scalekit::builder(sandbox.environment_url(), sandbox.client_id(), secret);
        let scalekit = scalekit.http_client(client).clock(sandbox.clock().clock()).build();
        Self { scalekit: scalekit.expect("good settings"), mails, good: good.into(), bad }
    }

    /// A new process, which has seen no token.
    fn sessions(&self) -> Sessions {
        let builder = Sessions::builder(self.scalekit.clone())
            .secret(SessionSecret::new((0..32).collect::<Vec<_>>()).expect("a secret"))
            .redirect_uri("https://app.test/auth/callback")
            .cache_capacity(4);
        builder.build().expect("good settings")
    }

    fn check_logout(&self, input: &mut Input<'_>) {
        let content_type = input.pick(&TYPES);
        let mut parts = Vec::new();
        for _ in 0..input.byte() % 4 {
            let name = input.pick(&["logout_token", "logout_token", "logout%5ftoken", "x", ""]);
            let mut value = match input.byte() % 4 {
                0 | 1 => input.pick(&self.good).clone().into_bytes(),
                2 => input.pick(&self.bad).clone().into_bytes(),
                _ => input.bytes().to_vec(),
            };
            if input.byte() % 4 == 0 {
                mutate(input, &mut value);
            }
            parts.push([name.as_bytes(), b"=", &value].concat());
        }
        let body = parts.join(&b'&');
        let tokens: Vec<_> = form_urlencoded::parse(&body)
            .filter(|(name, _)| name == "logout_token")
            .map(|(_, value)| value.into_owned())
            .collect();
        let is_form = is_form(content_type);
        let valid = is_form && matches!(&tokens[..], [token] if self.good.contains(token));
        let sessions = self.sessions();
        let send = || {
            let request = post("/auth/backchannel-logout", content_type, &body);
            block_on(sessions.backchannel_logout().call(request)).expect("infallible").status()
        };
        let context = || format!("{content_type} {}", String::from_utf8_lossy(&body));
        let first = send();
        assert_eq!(first == StatusCode::OK, valid, "{first} {}", context());
        // The process knows the environment's keys, and may not ask for an unknown one again.
        for status in [first, send()].into_iter().skip(usize::from(valid)) {
            let rejected = [StatusCode::BAD_REQUEST, StatusCode::SERVICE_UNAVAILABLE];
            assert!(rejected.contains(&status), "{status} {}", context());
            assert!(!valid || status == StatusCode::BAD_REQUEST, "a second use");
        }
    }

    fn check_email(&self, input: &mut Input<'_>) {
        let content_type = input.pick(&TYPES);
        let mut body = if input.byte() % 2 == 0 {
            input.pick(&OBJECTS).as_bytes().to_vec()
        } else {
            let fields: Vec<_> = (0..input.byte() % 5).map(|_| *input.pick(&FIELDS)).collect();
            fields.join("&").into_bytes()
        };
        for _ in 0..input.byte() % 4 {
            mutate(input, &mut body);
        }
        let sessions = self.sessions();
        let login = PasswordlessLogin::builder(&sessions).admit_everyone().build();
        let login = login.expect("good settings");
        self.mails.lock().expect("no panic so far").clear();
        let request = post("/passwordless/send", content_type, &body);
        let response = block_on(login.send_email().call(request)).expect("infallible");
        let mails = self.mails.lock().expect("no panic so far");
        let context = format!("{content_type} {}: {mails:?}", String::from_utf8_lossy(&body));
        let [mail] = &mails[..] else {
            assert!(mails.is_empty() && response.status().is_client_error(), "{context}");
            return;
        };
        assert!(response.status().is_success() || response.status().is_redirection(), "{context}");
        let addresses: Vec<_> = if is_form(content_type) {
            let fields = form_urlencoded::parse(&body).filter(|(name, _)| name == "email");
            fields.map(|(_, value)| value.into_owned()).collect()
        } else {
            let value: Value = serde_json::from_slice(&body).expect("JSON");
            value["email"].as_str().map(str::to_owned).into_iter().collect()
        };
        let [address] = &addresses[..] else { panic!("{context}") };
        let sent = mail["email"].as_str().expect("an address");
        assert!(address.contains(sent) && !sent.contains(char::is_whitespace), "{context}");
        assert!(!sent.contains(char::is_control) && sent.contains('@'), "{context}");
    }
}

fn is_form(content_type: &str) -> bool {
    content_type.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded")
}

fn post(uri: &str, content_type: &str, body: &[u8]) -> Request<Body> {
    let request = Request::post(uri).header(header::CONTENT_TYPE, content_type);
    request.body(Body(Some(Bytes::copy_from_slice(body)))).expect("a request")
}

/// A body of one frame.
struct Body(Option<Bytes>);

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.take().map(|data| Ok(http_body::Frame::data(data))))
    }
}

/// An environment that accepts each e-mail.
struct Client {
    mails: Arc<Mutex<Vec<Value>>>,
    environment: SandboxClient,
}

impl HttpClient for Client {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        if !request.uri().path().starts_with("/api/v1/passwordless/") {
            return self.environment.send(request);
        }
        let mail = serde_json::from_slice(request.body()).expect("JSON");
        self.mails.lock().expect("no panic so far").push(mail);
        let response = json!({
            "auth_request_id": "auth_1",
            "expires_at": "1800000300",
            "expires_in": 300,
            "passwordless_type": "OTP",
        });
        Box::pin(async move { Ok(Response::new(response.to_string().into())) })
    }
}
