//! Values and logs of the shared store: whatever a new process reads there, a cookie is that of its own
//! session or of none, and a revoked session stays revoked unless its revocation was changed.
#![no_main]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use tower_layer::Layer as _;
use tower_scalekit::session::SessionsBuilder;
use tower_scalekit::shared_store::{
    KeyNamespace, LogCursor, LogPage, SharedStore, StoreError, StoreFuture, StoreKey,
};
use tower_scalekit::{RequireSession, Sandbox, Session, SessionSecret, Sessions};
use tower_scalekit_fuzz::{Input, clock, mutate, runtime};
use tower_service::Service;

fuzz_target!(|data: &[u8]| KNOWN.with(|known| {
    // Tasks that go on, such as retries, end with the run.
    runtime().block_on(known.check(&mut Input::new(data)));
}));

thread_local! {
    static KNOWN: Known = runtime().block_on(Known::new());
}

/// What one process has stored, and the cookies of its sessions.
struct Known {
    sandbox: Sandbox,
    values: Vec<(StoreKey, Bytes)>,
    log: (StoreKey, Vec<Bytes>),
    cookies: Vec<Kept>,
}

struct Kept {
    cookie: HeaderValue,
    email: &'static str,
    stored: bool,
    revoked: bool,
}

impl Known {
    async fn new() -> Self {
        let time = clock();
        let sandbox = Sandbox::builder().clock(time.clone()).build();
        let shelf = Shelf::default();
        let in_cookies = sessions(&sandbox, &shelf, |builder| builder);
        let stored = sessions(&sandbox, &shelf, SessionsBuilder::store_backed);
        let mut cookies = Vec::new();
        let mut log_in = async |email: &'static str, in_store: bool, revoked: bool| {
            let sessions = if in_store { &stored } else { &in_cookies };
            let cookie = sandbox.session_cookie(sessions, email).await;
            cookies.push(Kept { cookie: cookie.clone(), email, stored: in_store, revoked });
            cookie
        };
        // Both were refreshed, and a browser has not received the newer cookie.
        let older = [
            log_in("gita@globex.test", false, false).await,
            log_in("gita@globex.test", true, false).await,
        ];
        time.advance(Duration::from_secs(301));
        for (cookie, sessions) in older.iter().zip([&in_cookies, &stored]) {
            assert!(identity(sessions, cookie).await.0 == StatusCode::OK);
        }
        log_in("jane@acme.test", false, false).await;
        log_in("jane@acme.test", true, false).await;
        for in_store in [false, true] {
            let cookie = log_in("john@acme.test", in_store, true).await;
            let sessions = if in_store { &stored } else { &in_cookies };
            let id = identity(sessions, &cookie).await.1.expect("a session").1;
            sessions.revoke_session(&id).await.expect("the store");
        }
        let shelf = shelf.0.lock().expect("no panic so far");
        Self {
            values: shelf.values.clone(),
            log: shelf.log.clone().expect("a revocation"),
            sandbox,
            cookies,
        }
    }

    async fn check(&self, input: &mut Input<'_>) {
        let (mut values, mut log) = (self.values.clone(), self.log.1.clone());
        let mut changed = Vec::new();
        for _ in 0..1 + input.byte() % 4 {
            let at = input.below(values.len());
            let other = input.below(values.len());
            let namespace = values[at].0.namespace();
            match input.byte() % 8 {
                0..=2 => {
                    let mut value = values[at].1.to_vec();
                    mutate(input, &mut value);
                    values[at].1 = value.into();
                }
                3 => values[at].1 = values[other].1.clone(),
                4 => values[at].1 = Bytes::copy_from_slice(input.bytes()),
                5 => drop(values.remove(at)),
                6 if !log.is_empty() => {
                    let at = input.below(log.len());
                    let mut entry = log[at].to_vec();
                    mutate(input, &mut entry);
                    log[at] = entry.into();
                    changed.push(KeyNamespace::Revocation);
                    continue;
                }
                _ => {
                    let entry = log.iter().chain(values.iter().map(|(_, value)| value)).nth(at);
                    log.insert(input.below(log.len() + 1), entry.cloned().unwrap_or_default());
                    continue;
                }
            }
            changed.push(namespace);
        }
        let shelf = Shelf::default();
        {
            let mut contents = shelf.0.lock().expect("no panic so far");
            contents.values = values;
            contents.log = Some((self.log.0.clone(), log));
            contents.page = 1 + usize::from(input.byte() % 4);
            contents.loses_cursor = input.byte() % 8 == 0;
        }
        let in_cookies = sessions(&self.sandbox, &shelf, |builder| builder);
        let stored = sessions(&self.sandbox, &shelf, SessionsBuilder::store_backed);
        for kept in &self.cookies {
            let sessions = if kept.stored { &stored } else { &in_cookies };
            let (status, found) = identity(sessions, &kept.cookie).await;
            match found {
                Some((email, _)) => {
                    assert_eq!((status, &*email), (StatusCode::OK, kept.email));
                    let intact = !changed.contains(&KeyNamespace::Revocation);
                    assert!(!(kept.revoked && intact), "{email} {changed:?}");
                }
                None => {
                    let unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
                    assert!(unavailable || status == StatusCode::UNAUTHORIZED, "{status}");
                }
            }
        }
        // A new revocation is accepted or rejected, and a logout always.
        let _ = in_cookies.revoke_session("ses_1").await;
        let mut logout = Request::post("/logout").body(()).expect("a URI");
        let cookie = self.cookies[input.below(self.cookies.len())].cookie.clone();
        logout.headers_mut().insert(header::COOKIE, cookie);
        let left = in_cookies.logout().call(logout).await.expect("infallible");
        assert!(left.status().is_redirection() || left.status() == StatusCode::SERVICE_UNAVAILABLE);
    }
}

fn sessions(
    sandbox: &Sandbox,
    shelf: &Shelf,
    change: impl FnOnce(SessionsBuilder) -> SessionsBuilder,
) -> Sessions {
    let builder = Sessions::builder(sandbox.scalekit())
        .secret(SessionSecret::new((0..32).collect::<Vec<_>>()).expect("a secret"))
        .shared_store(shelf.clone())
        .redirect_uri("https://app.test/auth/callback")
        .cache_capacity(4);
    change(builder).build().expect("good settings")
}

/// The status of a request with these cookies, and the address and the ID of its session.
async fn identity(
    sessions: &Sessions,
    cookie: &HeaderValue,
) -> (StatusCode, Option<(String, String)>) {
    let mut request = Request::new(());
    request.headers_mut().insert(header::COOKIE, cookie.clone());
    let mut service = RequireSession::new(sessions).layer(Inner);
    let response = service.call(request).await.expect("infallible");
    let session = response.extensions().get::<Session>().map(|session| {
        let id = session.principal().session_id().expect("an ID").to_owned();
        (session.user().email.clone(), id)
    });
    (response.status(), session)
}

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
        let session = Session::from_extensions(request.extensions()).expect("a session");
        let mut response = Response::new(());
        response.extensions_mut().insert(session);
        ready(Ok(response))
    }
}

/// A store whose contents a target has chosen.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    /// In the order in which they were first written, which is the same in each run.
    values: Vec<(StoreKey, Bytes)>,
    log: Option<(StoreKey, Vec<Bytes>)>,
    /// Entries of a page; zero is all.
    page: usize,
    loses_cursor: bool,
}

impl Shelf {
    fn with<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Contents) -> T,
    ) -> StoreFuture<'_, T> {
        let result = operation(&mut self.0.lock().expect("no panic so far"));
        Box::pin(ready(Ok::<_, StoreError>(result)))
    }
}

impl Contents {
    fn value(&mut self, key: &StoreKey) -> Option<&mut Bytes> {
        self.values.iter_mut().find(|(found, _)| found == key).map(|(_, value)| value)
    }

    fn set(&mut self, key: &StoreKey, value: Bytes) {
        match self.value(key) {
            Some(found) => *found = value,
            None => self.values.push((key.clone(), value)),
        }
    }
}

impl SharedStore for Shelf {
    fn get<'a>(&'a self, key: &'a StoreKey) -> StoreFuture<'a, Option<Bytes>> {
        self.with(|contents| contents.value(key).cloned())
    }

    fn put<'a>(&'a self, key: &'a StoreKey, value: Bytes, _: Duration) -> StoreFuture<'a, ()> {
        self.with(|contents| contents.set(key, value))
    }

    fn put_if_absent<'a>(
        &'a self,
        key: &'a StoreKey,
        value: Bytes,
        _: Duration,
    ) -> StoreFuture<'a, bool> {
        self.with(|contents| {
            let absent = contents.value(key).is_none();
            if absent {
                contents.set(key, value);
            }
            absent
        })
    }

    fn replace_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Bytes,
        value: Bytes,
        _: Duration,
    ) -> StoreFuture<'a, bool> {
        self.with(|contents| {
            let found = contents.value(key).filter(|found| **found == expected);
            found.map(|found| *found = value).is_some()
        })
    }

    fn remove_if<'a>(&'a self, key: &'a StoreKey, expected: Bytes) -> StoreFuture<'a, bool> {
        self.with(|contents| {
            let before = contents.values.len();
            contents.values.retain(|(found, value)| found != key || *value != expected);
            contents.values.len() < before
        })
    }

    fn append<'a>(&'a self, log: &'a StoreKey, entry: Bytes, _: Duration) -> StoreFuture<'a, ()> {
        self.with(|contents| {
            let (known, entries) = contents.log.get_or_insert_with(|| (log.clone(), Vec::new()));
            assert_eq!(known, log, "another log");
            entries.push(entry);
        })
    }

    fn read_since<'a>(&'a self, _: &'a StoreKey, cursor: LogCursor) -> StoreFuture<'a, LogPage> {
        self.with(|contents| {
            let entries = contents.log.as_ref().map_or(&[][..], |(_, entries)| entries);
            let from: usize = cursor.as_text().parse().unwrap_or(0);
            let lost = from > 0 && std::mem::take(&mut contents.loses_cursor);
            let from = if lost { 0 } else { from.min(entries.len()) };
            let size = if contents.page == 0 { entries.len() } else { contents.page };
            let page: Vec<_> = entries[from..].iter().take(size).cloned().collect();
            let next = match from + page.len() {
                0 => LogCursor::start(),
                next => LogCursor::from_text(next.to_string()),
            };
            if lost { LogPage::after_loss(page, next) } else { LogPage::new(page, next) }
        })
    }
}
