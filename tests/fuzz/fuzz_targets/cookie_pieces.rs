//! Session cookies: the first session whose chunks are complete is that of the request, and cookies that
//! are set or removed fit into the limits of browsers.
#![no_main]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use tower_layer::Layer as _;
use tower_scalekit::require_session::RequireSessionService;
use tower_scalekit::sandbox::TokenKind;
use tower_scalekit::session::SessionsBuilder;
use tower_scalekit::{Principal, RequireSession, Sandbox, Session, SessionSecret, Sessions};
use tower_scalekit_fuzz::{Input, block_on, clock, mutate};
use tower_service::Service;
use url::Url;

fuzz_target!(|data: &[u8]| APP.with(|app| app.check(&mut Input::new(data))));

thread_local! {
    static APP: App = App::new();
}

/// The names of the session's cookies, and names that are close to them.
const NAMES: [&str; 12] = [
    "__Host-scalekit_session",
    "__Host-scalekit_session.1",
    "__Host-scalekit_session.2",
    "__Host-scalekit_session.3",
    "__Host-scalekit_session.01",
    "__Host-scalekit_session.0",
    "__host-scalekit_session",
    "scalekit_session",
    "scalekit_session.1",
    "__Host-scalekit_login_AAAAAAAA",
    "lang",
    "",
];
const OURS: usize = 3;

struct App {
    sessions: Sessions,
    strict: RequireSessionService<Inner>,
    optional: RequireSessionService<Inner>,
    kept: Vec<Kept>,
    /// The cookie of a login that was begun, and its `state`.
    attempt: (String, String),
}

/// A session as a browser has it.
struct Kept {
    pieces: Vec<String>,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Live,
    /// Its cookie may be there again, with another session, before this response arrives.
    Ended,
    Dead,
    /// None of the app's keys opens it, so that it may be another app's.
    Foreign,
}

impl Kept {
    fn sealed(&self) -> String {
        self.pieces.concat()
    }
}

impl App {
    fn new() -> Self {
        let time = clock();
        let hour = Duration::from_secs(3600);
        let sandbox = Sandbox::builder().clock(time.clone()).access_token_lifetime(hour).build();
        let filler = Arc::new(AtomicUsize::new(0));
        let wanted = Arc::clone(&filler);
        sandbox.tokens().edit(TokenKind::AccessToken, move |draft| {
            draft.claims.insert("filler".into(), noise(wanted.load(Ordering::Relaxed)).into());
        });

        let secret = |byte: u8| SessionSecret::new((byte..byte + 32).collect::<Vec<_>>());
        let secret = |byte: u8| secret(byte).expect("a secret");
        let sessions = |change: &dyn Fn(SessionsBuilder) -> SessionsBuilder| {
            let builder = Sessions::builder(sandbox.scalekit())
                .secret(secret(1))
                .redirect_uri("https://app.test/auth/callback");
            change(builder).build().expect("good settings")
        };
        let idle = Duration::from_secs(1000);
        let app = sessions(&|builder| builder.previous_secret(secret(2)).idle_timeout(idle));
        let patient = sessions(&|builder| builder);
        let log_in = |sessions: &Sessions, email: &str, state: State| {
            let cookie = block_on(sandbox.session_cookie(sessions, email));
            let pairs = cookie.to_str().expect("text").split("; ");
            let values = pairs.map(|pair| pair.split_once('=').expect("a pair").1.to_owned());
            Kept { pieces: values.collect(), state }
        };

        let mut kept = vec![
            // Too long unused.
            log_in(&app, "jane@acme.test", State::Dead),
            // Expired, and not to be refreshed.
            log_in(&sessions(&|builder| builder.scopes(["openid"])), "jane@acme.test", State::Dead),
            log_in(&patient, "gita@globex.test", State::Ended),
            // To be refreshed.
            log_in(&patient, "john@acme.test", State::Live),
        ];
        sandbox.users().revoke_sessions("gita@globex.test");
        time.advance(Duration::from_secs(4400));
        // In use, which its cookie should say.
        kept.push(log_in(&app, "jane@acme.test", State::Live));
        time.advance(Duration::from_secs(600));
        for (bytes, pieces) in [(0, 1), (5000, 2), (9000, 3)] {
            filler.store(bytes, Ordering::Relaxed);
            let session = log_in(&app, "jane@acme.test", State::Live);
            assert_eq!(session.pieces.len(), pieces);
            kept.push(session);
        }
        // Sealed with a secret of before; with another one; for a cookie of another name.
        kept.push(log_in(
            &sessions(&|builder| builder.secret(secret(2))),
            "jane@acme.test",
            State::Live,
        ));
        kept.push(log_in(
            &sessions(&|builder| builder.secret(secret(3))),
            "jane@acme.test",
            State::Foreign,
        ));
        let other = sessions(&|builder| builder.cookie_name("other"));
        kept.push(log_in(&other, "jane@acme.test", State::Foreign));
        filler.store(4000, Ordering::Relaxed);

        let started = block_on(app.login().call(Request::new(()))).expect("infallible");
        let text = |name: http::HeaderName| {
            started.headers().get(name).expect("a header").to_str().expect("text").to_owned()
        };
        let attempt = text(header::SET_COOKIE).split(';').next().expect("a pair").to_owned();
        let location = Url::parse(&text(header::LOCATION)).expect("a URL");
        let (_, state) = location.query_pairs().find(|(name, _)| name == "state").expect("a state");
        let (_, sealed_attempt) = attempt.split_once('=').expect("a pair");
        kept.push(Kept { pieces: vec![sealed_attempt.to_owned()], state: State::Foreign });

        let strict = RequireSession::new(&app);
        Self {
            strict: strict.layer(Inner),
            optional: strict.clone().optional().layer(Inner),
            sessions: app,
            kept,
            attempt: (attempt, state.into_owned()),
        }
    }

    fn check(&self, input: &mut Input<'_>) {
        let shape = input.byte();
        let headers = self.cookies(input);
        let context = || format!("{headers:?}");
        let pairs = pairs(&headers);
        let state = self.state(&pairs);
        let live = state == State::Live;

        let navigation = shape & 1 == 1;
        let response = respond(&self.strict, &headers, navigation);
        let expected = match (live, navigation) {
            (true, _) => StatusCode::OK,
            (false, true) => StatusCode::FOUND,
            (false, false) => StatusCode::UNAUTHORIZED,
        };
        assert_eq!(response.status(), expected, "{}", context());
        if navigation && !live {
            assert_eq!(response.headers()[header::LOCATION], "/login?return_to=%2Fx%3Fy%3Dz");
        }
        let jar = apply(&pairs, &response);
        let is_single = |name: &&str| pairs.iter().filter(|(found, _)| found == name).count() < 2;
        let single = NAMES[..OURS].iter().all(is_single);
        if live && single {
            // What the browser has now is a live session, and needs no further care.
            let pairs = jar.iter().map(|(name, value)| format!("{name}={value}"));
            let cookie = pairs.collect::<Vec<_>>().join("; ");
            let cookie = HeaderValue::try_from(cookie).expect("a header value");
            let headers = HeaderMap::from_iter([(header::COOKIE, cookie)]);
            let again = respond(&self.strict, &headers, navigation);
            assert_eq!(again.status(), StatusCode::OK, "{}", context());
            assert!(!again.headers().contains_key(header::SET_COOKIE), "{}", context());
        } else if state == State::Foreign {
            assert!(!response.headers().contains_key(header::SET_COOKIE), "{}", context());
        } else if state == State::Dead {
            assert!(!NAMES[..OURS].iter().any(|name| jar.contains_key(*name)), "{}", context());
        }

        if shape & 2 == 2 {
            let optional = respond(&self.optional, &headers, navigation);
            assert_eq!(optional.status(), StatusCode::OK);
            assert_eq!(optional.extensions().get::<Session>().is_some(), live, "{}", context());
            apply(&pairs, &optional);
        }
        if shape & 4 == 4 {
            self.check_login(headers, shape & 8 == 8, live);
        }
    }

    /// Whatever comes along, a login can begin; and it ends with a rejection, for want of a code, or in
    /// the app if there is a session and no such attempt.
    fn check_login(&self, headers: HeaderMap, own_state: bool, live: bool) {
        let mut request = Request::new(());
        *request.headers_mut() = headers.clone();
        let started = block_on(self.sessions.login().call(request)).expect("infallible");
        assert_eq!(started.status(), StatusCode::FOUND);
        assert!(started.headers()[header::SET_COOKIE].len() <= 4096);

        let state = if own_state { &self.attempt.1 } else { "AAAAAAAAAAAAAAAA" };
        let uri = format!("/auth/callback?code=none&state={state}");
        let mut request = Request::get(uri).body(()).expect("a URI");
        *request.headers_mut() = headers;
        let completed = block_on(self.sessions.callback().call(request)).expect("infallible");
        let status = completed.status();
        let is_in_app = status == StatusCode::SEE_OTHER && live;
        assert!(is_in_app || status == StatusCode::BAD_REQUEST, "{status}");
    }

    fn cookies(&self, input: &mut Input<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for _ in 0..1 + input.byte() % 3 {
            let mut value = Vec::new();
            for _ in 0..8 {
                let operation = input.byte() % 8;
                if operation == 0 {
                    break;
                }
                let session = input.pick(&self.kept);
                match operation {
                    // A session in order, or at least its values.
                    1 | 2 => {
                        for (name, piece) in NAMES.iter().zip(&session.pieces) {
                            let separator = input.pick(&["; ", ";", " ;\t"]);
                            value.extend(format!("{name}={piece}{separator}").into_bytes());
                        }
                    }
                    3 => {
                        let (name, piece) = (input.pick(&NAMES), input.pick(&session.pieces));
                        value.extend(format!("{name}={piece}").into_bytes());
                    }
                    4 => {
                        let mut piece = input.pick(&session.pieces).clone().into_bytes();
                        mutate(input, &mut piece);
                        value.extend(format!("{}=", input.pick(&NAMES)).into_bytes());
                        value.extend(piece);
                    }
                    // Cut in another way.
                    5 => {
                        let sealed = session.sealed();
                        let (one, two) = (input.below(sealed.len()), input.below(sealed.len()));
                        let (one, two) = (one.min(two), one.max(two));
                        let cut = [&sealed[..one], &sealed[one..two], &sealed[two..]];
                        for (name, piece) in NAMES.iter().zip(&cut[..1 + input.below(3)]) {
                            value.extend(format!("{name}={piece};").into_bytes());
                        }
                    }
                    6 => value.extend(self.attempt.0.bytes()),
                    _ => value.extend(input.bytes()),
                }
                value.extend(input.pick(&["; ", ";", " ; ", "\t;", ", ", ""]).bytes());
            }
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(header::COOKIE, value);
            }
        }
        headers
    }

    /// The first session that the pieces are, put together: of each the first three values count.
    fn state(&self, pairs: &[(&str, &str)]) -> State {
        let values = |name: &str| -> Vec<&str> {
            let found = pairs.iter().filter(|(found, _)| *found == name);
            found.map(|(_, value)| *value).take(3).collect()
        };
        let mut candidates: Vec<Vec<String>> = Vec::new();
        for name in &NAMES[..OURS] {
            let start = candidates.last().cloned().unwrap_or_else(|| vec![String::new()]);
            let all = start.iter().flat_map(|start| {
                values(name).into_iter().map(move |value| format!("{start}{value}"))
            });
            candidates.push(all.collect());
        }
        let states = candidates.iter().rev().flatten().filter_map(|sealed| {
            let known = self.kept.iter().find(|session| session.sealed() == *sealed)?;
            Some(known.state).filter(|state| *state != State::Foreign)
        });
        states.into_iter().next().unwrap_or(State::Foreign)
    }
}

/// The cookies of a request; those that are not text are no one's.
fn pairs(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let values = headers.get_all(header::COOKIE).iter();
    let pairs = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let texts = pairs.filter_map(|pair| std::str::from_utf8(pair.trim_ascii()).ok());
    texts.filter_map(|pair| pair.split_once('=')).collect()
}

/// The session's cookies that a browser has after a response.
fn apply<B>(pairs: &[(&str, &str)], response: &Response<B>) -> BTreeMap<String, String> {
    let ours = |name: &str| NAMES[..OURS].contains(&name);
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let sent = pairs.iter().filter(|(name, _)| ours(name));
    let mut jar: BTreeMap<_, _> = sent.map(|pair| owned(*pair)).collect();
    let mut changed = Vec::new();
    for cookie in response.headers().get_all(header::SET_COOKIE) {
        let cookie = cookie.to_str().expect("text");
        assert!(cookie.len() <= 4096, "{} bytes", cookie.len());
        let (pair, attributes) = cookie.split_once("; ").expect("attributes");
        let (name, value) = owned(pair.split_once('=').expect("a pair"));
        assert!(ours(&name) && !changed.contains(&name), "{name} in {changed:?}");
        assert!(attributes.starts_with("HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age="));
        if attributes.ends_with("Max-Age=0") {
            assert!(jar.remove(&name).is_some() && value.is_empty(), "{name} was not sent");
        } else {
            jar.insert(name.clone(), value);
        }
        changed.push(name);
    }
    jar
}

fn respond(
    service: &RequireSessionService<Inner>,
    cookies: &HeaderMap,
    navigation: bool,
) -> Response<()> {
    let mut request = Request::get("/x?y=z").body(()).expect("a request");
    *request.headers_mut() = cookies.clone();
    if navigation {
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/html"));
    }
    let mut service = service.clone();
    block_on(async { service.call(request).await }).expect("infallible").map(|_| ())
}

/// Text that does not compress.
fn noise(length: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state % 64) as usize])
    };
    (0..length).map(letter).collect()
}

/// The app: it tells in the response whose request it saw.
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
        let session = Session::from_extensions(request.extensions());
        assert_eq!(session.is_some(), request.extensions().get::<Principal>().is_some());
        let mut response = Response::new(());
        session.map(|session| response.extensions_mut().insert(session));
        ready(Ok(response))
    }
}
