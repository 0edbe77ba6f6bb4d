//! Callbacks: a session begins if and only if the browser has the cookie of the attempt that `state`
//! names, and the code is that attempt's.
#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tower_scalekit::http_client::{HttpClient, HttpClientError};
use tower_scalekit::sandbox::SandboxClient;
use tower_scalekit::{Sandbox, Scalekit, SessionSecret, Sessions};
use tower_scalekit_fuzz::{Input, block_on, clock, mutate};
use tower_service::Service as _;
use url::{Url, form_urlencoded};

fuzz_target!(|data: &[u8]| KNOWN.with(|known| known.check(&mut Input::new(data))));

thread_local! {
    static KNOWN: Known = Known::new();
}

struct Known {
    scalekit: Scalekit,
    attempts: Vec<Attempt>,
    /// A cookie that is sealed for another purpose, and one of another app.
    others: Vec<String>,
}

struct Attempt {
    cookie: String,
    state: String,
    code: String,
}

impl Known {
    fn new() -> Self {
        let sandbox = Sandbox::builder().clock(clock()).build();
        let sessions = sessions(sandbox.scalekit(), 0);
        let access_token = sandbox.tokens().access_token("jane@acme.test");
        let mut bodies = Vec::new();
        let attempts = ["/a", "/b", "/b?c=d"].map(|page| {
            let uri = format!("/login?return_to={page}");
            let started =
                block_on(sessions.login().call(Request::get(uri).body(()).expect("a URI")));
            let headers = started.expect("infallible").headers().clone();
            let url = Url::parse(text(&headers, header::LOCATION)).expect("a URL");
            let parameter = |wanted: &str| {
                let mut pairs = url.query_pairs().filter(|(name, _)| name == wanted);
                pairs.next().expect(wanted).1.into_owned()
            };
            let mut draft =
                sandbox.tokens().id_token_draft("jane@acme.test", Some(&parameter("nonce")));
            draft.claims.remove("at_hash");
            let id_token = sandbox.tokens().sign_draft(&draft);
            let body = json!({ "access_token": access_token, "id_token": id_token });
            let code = format!("code{}", bodies.len());
            bodies.push((code.clone(), Bytes::from(body.to_string())));
            let cookie = text(&headers, header::SET_COOKIE).split(';').next().expect("a pair");
            Attempt { cookie: cookie.to_owned(), state: parameter("state"), code }
        });
        let others = block_on(other_cookies(&sandbox));
        let client = Client { bodies: bodies.into(), keys: sandbox.client() };
        let scalekit = Scalekit::builder(sandbox.environment_url(), sandbox.client_id(), "secret");
        let scalekit = scalekit.http_client(client).clock(sandbox.clock().clock()).build();
        Self { scalekit: scalekit.expect("good settings"), attempts: attempts.into(), others }
    }

    fn check(&self, input: &mut Input<'_>) {
        let uri = format!("/auth/callback?{}", self.query(input));
        let Ok(mut request) = Request::get(uri).body(()) else { return };
        *request.headers_mut() = self.cookies(input);
        let headers = request.headers().clone();
        // Without a fragment.
        let query = request.uri().query().unwrap_or_default().to_owned();
        // A new process, to which no attempt was presented yet.
        let sessions = sessions(self.scalekit.clone(), 0);
        let response = block_on(sessions.callback().call(request)).expect("infallible");
        let set = response.headers().get_all(header::SET_COOKIE).iter();
        let set: Vec<_> = set.map(|cookie| cookie.to_str().expect("text")).collect();
        let begun = set.iter().any(|cookie| {
            cookie.starts_with("__Host-scalekit_session=") && !cookie.contains("Max-Age=0")
        });
        let context = || format!("{query} {headers:?}: {} {set:?}", response.status());
        assert_eq!(begun, self.is_complete(&query, &headers), "{}", context());
        let expected = if begun { StatusCode::SEE_OTHER } else { StatusCode::BAD_REQUEST };
        assert_eq!(response.status(), expected, "{}", context());
    }

    fn is_complete(&self, query: &str, headers: &HeaderMap) -> bool {
        let single = |wanted: &str| {
            let mut values = form_urlencoded::parse(query.as_bytes());
            let value = values.find(|(name, _)| name == wanted)?.1;
            values.all(|(name, _)| name != wanted).then(|| value.into_owned())
        };
        let none = |unwanted: &str| {
            form_urlencoded::parse(query.as_bytes()).all(|(name, _)| name != unwanted)
        };
        let cookies = headers.get_all(header::COOKIE).iter();
        let pairs = cookies.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
        let texts = pairs.filter_map(|pair| std::str::from_utf8(pair.trim_ascii()).ok());
        let pairs: Vec<_> = texts.filter_map(|pair| pair.split_once('=')).collect();
        self.attempts.iter().any(|attempt| {
            let (name, sealed) = attempt.cookie.split_once('=').expect("a pair");
            // Of cookies with one name, the first counts.
            let sent = pairs.iter().find(|(found, _)| *found == name);
            sent.is_some_and(|(_, value)| *value == sealed)
                && single("state").as_ref() == Some(&attempt.state)
                && single("code").as_ref() == Some(&attempt.code)
                && none("error")
                && none("iss")
        })
    }

    fn query(&self, input: &mut Input<'_>) -> String {
        let mut parts: Vec<String> = Vec::new();
        for _ in 0..1 + input.byte() % 4 {
            let attempt = input.pick(&self.attempts);
            let part = match input.byte() % 8 {
                0 | 1 => format!("code={}&state={}", attempt.code, attempt.state),
                2 => format!("code={}", attempt.code),
                3 => format!("state={}", attempt.state),
                4 => {
                    let mut part = format!("state={}", attempt.state).into_bytes();
                    mutate(input, &mut part);
                    String::from_utf8_lossy(&part).into_owned()
                }
                5 => (*input.pick(&["error=access_denied", "iss=x", "code=", "state", "c%6fde=1"]))
                    .to_owned(),
                6 => String::from_utf8_lossy(input.bytes()).into_owned(),
                _ => form_urlencoded::byte_serialize(input.bytes()).collect(),
            };
            parts.push(part);
        }
        parts.join("&")
    }

    fn cookies(&self, input: &mut Input<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for _ in 0..1 + input.byte() % 2 {
            let mut value = Vec::new();
            for _ in 0..input.byte() % 5 {
                let cookie = &input.pick(&self.attempts).cookie;
                let (name, sealed) = cookie.split_once('=').expect("a pair");
                match input.byte() % 8 {
                    0..=2 => value.extend(cookie.bytes()),
                    // The content of one under the name of another.
                    3 => {
                        let (_, other) =
                            input.pick(&self.attempts).cookie.split_once('=').expect("a pair");
                        value.extend(format!("{name}={other}").bytes());
                    }
                    4 => {
                        let mut sealed = sealed.as_bytes().to_vec();
                        mutate(input, &mut sealed);
                        value.extend([name.as_bytes(), b"=", &sealed].concat());
                    }
                    5 => {
                        let mut name = name.as_bytes().to_vec();
                        mutate(input, &mut name);
                        value.extend([&name, &b"="[..], sealed.as_bytes()].concat());
                    }
                    6 => {
                        let other = input.pick(&self.others);
                        value.extend(format!("{name}={other}").bytes());
                    }
                    _ => value.extend(input.bytes()),
                }
                value.extend(input.pick(&["; ", ";", " ; ", ", ", ""]).bytes());
            }
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(header::COOKIE, value);
            }
        }
        headers
    }
}

/// The values of cookies that are no attempts of this app.
async fn other_cookies(sandbox: &Sandbox) -> Vec<String> {
    let started = sessions(sandbox.scalekit(), 1).login().call(Request::new(())).await;
    let foreign = started.expect("infallible").headers()[header::SET_COOKIE].clone();
    let own = sandbox.session_cookie(&sessions(sandbox.scalekit(), 0), "jane@acme.test").await;
    let value = |cookie: &HeaderValue| {
        let text = cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned();
        text.split_once('=').expect("a pair").1.to_owned()
    };
    vec![value(&foreign), value(&own)]
}

fn sessions(scalekit: Scalekit, first: u8) -> Sessions {
    let secret = SessionSecret::new((first..first + 32).collect::<Vec<_>>()).expect("a secret");
    let builder = Sessions::builder(scalekit).secret(secret);
    builder
        .redirect_uri("https://app.test/auth/callback")
        .cache_capacity(4)
        .build()
        .expect("good settings")
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).expect("a header").to_str().expect("text")
}

/// Exchanges each code again and again, for tokens that were signed before.
struct Client {
    bodies: Arc<[(String, Bytes)]>,
    keys: SandboxClient,
}

impl HttpClient for Client {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        if request.uri().path() != "/oauth/token" {
            return self.keys.send(request);
        }
        let sent = form_urlencoded::parse(request.body()).find(|(name, _)| name == "code");
        let (_, sent) = sent.expect("a code");
        let known = self.bodies.iter().find(|(code, _)| *code == sent);
        let response = match known {
            Some((_, body)) => Response::new(body.clone()),
            None => {
                let mut response =
                    Response::new(Bytes::from_static(br#"{"error":"invalid_grant"}"#));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response
            }
        };
        Box::pin(async { Ok(response) })
    }
}
