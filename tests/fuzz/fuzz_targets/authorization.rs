//! `Authorization` headers: one valid token authenticates, anything else is challenged as RFC 6750
//! requires.
#![no_main]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use tower_layer::Layer as _;
use tower_scalekit::challenge::{Realm, ScopeToken};
use tower_scalekit::clock::ManualClock;
use tower_scalekit::require_token::RequireTokenService;
use tower_scalekit::sandbox::{Endpoint, Fault, TokenFault};
use tower_scalekit::{Principal, RequireToken, Sandbox};
use tower_scalekit_fuzz::{Input, block_on, clock, may_have_new_key, mutate};
use tower_service::Service;

fuzz_target!(|data: &[u8]| APPS.with(|apps| apps.check(&mut Input::new(data))));

thread_local! {
    static APPS: Apps = Apps::new();
}

/// The same app twice, once without its keys.
struct Apps {
    service: RequireTokenService<Inner>,
    keyless: RequireTokenService<Inner>,
    keyless_time: ManualClock,
    principal: Principal,
    good: String,
    /// Tokens with faults, and texts that matter to the header's grammar.
    fragments: Vec<Vec<u8>>,
}

impl Apps {
    fn new() -> Self {
        let sandbox = Sandbox::builder().clock(clock()).build();
        let verifier = sandbox.scalekit().token_verifier().audience(sandbox.client_id());
        let verifier = verifier.build().expect("good settings");
        let good = sandbox.tokens().access_token("jane@acme.test");
        let principal = block_on(verifier.verify(&good)).expect("the good token");

        let keyless_time = clock();
        let keyless = Sandbox::builder().clock(keyless_time.clone()).build();
        keyless.faults().add(Endpoint::Keys, Fault::Unreachable);
        let keyless_verifier = keyless.scalekit().token_verifier().audience(keyless.client_id());
        let keyless_verifier = keyless_verifier.build().expect("good settings");

        let mut fragments = [
            &b"Bearer "[..],
            b"bearer ",
            b"BEARER ",
            b"Bearer",
            b"Basic ",
            b"DPoP ",
            b" ",
            b"\t",
            b",",
            b"=",
            b"a.b.c",
            b"\"",
            b"\xff",
            b"token=",
            b"YTpi",
        ]
        .map(<[u8]>::to_vec)
        .to_vec();
        fragments.extend([good.clone().into_bytes(), good.clone().into_bytes()]);
        fragments.push(sandbox.tokens().id_token("jane@acme.test", None).into_bytes());
        fragments.push(sandbox.tokens().m2m_token(&["a"]).into_bytes());
        for fault in [
            TokenFault::Expired,
            TokenFault::InvalidAudience,
            TokenFault::InvalidIssuer,
            TokenFault::InvalidSignature,
            TokenFault::MissingExpiry,
            TokenFault::NotYetValid,
            TokenFault::SignedWithPublicKey,
            TokenFault::UnknownKeyId,
            TokenFault::Unsigned,
        ] {
            let mut draft = sandbox.tokens().access_token_draft("jane@acme.test");
            fault.apply(&mut draft);
            fragments.push(sandbox.tokens().sign_draft(&draft).into_bytes());
        }
        let layer = |verifier| {
            let scopes = ["a", "b:c"].map(|scope| ScopeToken::new(scope).expect("a scope"));
            let realm = Realm::new("to\"do\\s").expect("a realm");
            RequireToken::new(verifier).realm(realm).scope_hint(scopes).layer(Inner)
        };
        Self {
            service: layer(verifier),
            keyless: layer(keyless_verifier),
            keyless_time,
            principal,
            good,
            fragments,
        }
    }

    fn check(&self, input: &mut Input<'_>) {
        let (shape, request) = (input.byte(), self.request(input));
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let presented = self.presented(&headers);
        let with_keys = shape % 8 != 0;
        let mut service = if with_keys { self.service.clone() } else { self.keyless.clone() };
        self.keyless_time.advance(Duration::from_secs(2));
        let response = block_on(async { service.call(request).await }).expect("infallible");
        let (status, error) = (response.status(), challenge_error(response.headers()));
        let context = format!("{method} {headers:?}: {status} {:?}", response.headers());
        let rejected = |with: &str| error == Some(Some(with.to_owned()));
        match presented {
            Presented::Nothing => {
                assert!(status == StatusCode::UNAUTHORIZED && error == Some(None), "{context}");
            }
            Presented::Several => {
                assert!(
                    status == StatusCode::BAD_REQUEST && rejected("invalid_request"),
                    "{context}"
                );
            }
            Presented::Good if with_keys => {
                assert!(status == StatusCode::OK && error.is_none(), "{context}");
            }
            Presented::Bad if with_keys => {
                assert!(
                    status == StatusCode::UNAUTHORIZED && rejected("invalid_token"),
                    "{context}"
                );
            }
            Presented::Bad | Presented::OtherHeader if status == StatusCode::UNAUTHORIZED => {
                assert!(rejected("invalid_token"), "{context}");
            }
            // Its key may be a new one, and the budget of fetches is used up.
            Presented::Good | Presented::Bad | Presented::OtherHeader => {
                let retry = response.headers().contains_key(header::RETRY_AFTER);
                let unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
                assert!(unavailable && retry && error.is_none(), "{context}");
            }
        }
    }

    fn request(&self, input: &mut Input<'_>) -> Request<()> {
        const NAMES: [HeaderName; 8] = [
            header::AUTHORIZATION,
            header::AUTHORIZATION,
            header::AUTHORIZATION,
            header::PROXY_AUTHORIZATION,
            header::ORIGIN,
            header::ACCESS_CONTROL_REQUEST_METHOD,
            header::COOKIE,
            HeaderName::from_static("authorization_"),
        ];
        let methods = [Method::GET, Method::POST, Method::OPTIONS, Method::HEAD];
        let mut request = Request::new(());
        *request.method_mut() = input.pick(&methods).clone();
        *request.uri_mut() = format!("/?access_token={}", self.good).parse().expect("a URI");
        request.extensions_mut().insert(self.principal.clone());
        for _ in 0..input.byte() % 6 {
            let name = input.pick(&NAMES).clone();
            let mut value = Vec::new();
            for _ in 0..input.byte() % 6 {
                value.extend(input.pick(&self.fragments));
            }
            match input.byte() % 4 {
                0 => value.extend(input.bytes()),
                1 => mutate(input, &mut value),
                _ => {}
            }
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                request.headers_mut().append(name, value);
            }
        }
        request
    }

    /// What RFC 6750 makes of a request.
    fn presented(&self, headers: &HeaderMap) -> Presented {
        let values: Vec<_> = headers.get_all(header::AUTHORIZATION).iter().collect();
        let value = match values[..] {
            [] => return Presented::Nothing,
            [value] => value.as_bytes(),
            _ => return Presented::Several,
        };
        let scheme_end = value.iter().position(|byte| matches!(byte, b' ' | b'\t'));
        let (scheme, rest) = value.split_at(scheme_end.unwrap_or(value.len()));
        let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            Presented::Nothing
        } else if rest[spaces..].trim_ascii_end() == self.good.as_bytes() {
            Presented::Good
        } else if may_have_new_key(&rest[spaces..], &self.good) {
            Presented::OtherHeader
        } else {
            Presented::Bad
        }
    }
}

#[derive(Clone, Copy)]
enum Presented {
    Nothing,
    Several,
    Good,
    Bad,
    /// Bad, and its header is not that of the good token: it may name another key.
    OtherHeader,
}

/// The `error` of the one challenge, if there is a challenge, if it has an error.
fn challenge_error(headers: &HeaderMap) -> Option<Option<String>> {
    let mut values = headers.get_all(header::WWW_AUTHENTICATE).iter();
    let value = values.next()?.to_str().expect("text");
    assert!(values.next().is_none(), "several challenges");
    let mut rest = value.strip_prefix("Bearer ").expect("the scheme");
    let mut attributes = Vec::new();
    loop {
        let (name, quoted) = rest.split_once("=\"").expect("an attribute");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{value}");
        let (text, after) = unquote(quoted);
        attributes.push((name.to_owned(), text));
        if after.is_empty() {
            break;
        }
        rest = after.strip_prefix(", ").expect("a comma");
    }
    let find = |name: &str| {
        let mut found = attributes.iter().filter(|(known, _)| known == name);
        let first = found.next().map(|(_, text)| text.clone());
        assert!(found.next().is_none(), "{name} twice: {value}");
        first
    };
    assert_eq!(find("realm").as_deref(), Some("to\"do\\s"));
    assert_eq!(find("scope").as_deref(), Some("a b:c"));
    Some(find("error"))
}

/// The text of a quoted string, and what follows it.
fn unquote(quoted: &str) -> (String, &str) {
    let (mut text, mut characters) = (String::new(), quoted.chars());
    loop {
        match characters.next().expect("a closing quote") {
            '"' => return (text, characters.as_str()),
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
}

/// The app: only requests with a principal of this very request come so far.
#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        assert!(request.extensions().get::<Principal>().is_some());
        ready(Ok(Response::new(())))
    }
}
