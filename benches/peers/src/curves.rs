//! How the cost grows: with credentials, bodies, live tokens and threads.

use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, header};
use tokio::runtime::{Builder, Runtime};
use tower::Service as _;
use tower_scalekit::clock::Clock;
use tower_scalekit::shared_store::{KeyNamespace, MemoryStore, SharedStore as _, StoreScope};
use tower_scalekit::{RequireScope, RequireSession, RequireToken};

use crate::cases::{self, App, Requests, bare, mcp_call, mcp_routes, noise, route};
use crate::measure::{Batch, Case, Group, leave_out};
use crate::sockets::thread_cpu_nanos;
use crate::tokens::Issuer;

const CALLS: usize = 200;

pub fn groups(runtime: &Rc<Runtime>, issuer: &Issuer) -> Vec<Group> {
    let guard = || bare().layer(RequireToken::new(issuer.verifier(4096)));
    let bearers = |bytes: usize, count: usize| {
        let values = (0..count).map(|number| issuer.bearer(bytes, number)).collect();
        Requests::get(header::AUTHORIZATION, values)
    };
    let sizes = [600, 1000, 2000, 4000, 8000]
        .map(|bytes| route(runtime, format!("{bytes} bytes"), CALLS, guard(), bearers(bytes, 1)));
    let all = bearers(939, 8192);
    let live = [1, 64, 1024, 4096, 8192].map(|count| {
        let values = all.values[..count].to_vec();
        let requests = Requests { values, ..all.clone() };
        route(runtime, format!("{count} tokens"), CALLS.max(count), guard(), requests)
    });
    let app = App::new(4096, true);
    let pieces = [(50, 1), (220, 2), (380, 3)].map(|(permissions, pieces)| {
        let app = App::new(4096, false);
        let requests = Requests::get(header::COOKIE, app.cookies(runtime, permissions, 1));
        let layer = RequireSession::new(&app.sessions);
        route(runtime, format!("{pieces} cookies"), CALLS, bare().layer(layer), requests)
    });
    let permissions = [1, 10, 100, 1000].map(|count| {
        let requests = Requests::get(header::COOKIE, app.cookies(runtime, count, 1));
        let last = noise(count).remove(count - 1);
        let layer = RequireScope::all_permissions([last]);
        let app = bare().layer(layer).layer(RequireSession::new(&app.sessions));
        route(runtime, format!("{count} permissions"), CALLS, app, requests)
    });
    let bodies = cases::SHAPES.into_iter().flat_map(|(shape, item)| {
        [1000, 64_000, 1_000_000].map(|bytes| {
            let app = mcp_routes(issuer)[1].clone();
            let body = mcp_call(item, bytes);
            let requests = Requests::post(header::AUTHORIZATION, issuer.bearer(939, 0), body);
            route(runtime, format!("{bytes} bytes of {shape}"), 8, app, requests)
        })
    });
    let entries = [1_000, 10_000, 100_000, 1_000_000].map(|entries| stored(runtime, entries));
    let threads = |app: Router| [1, 2].map(|threads| on_threads(threads, &app, &bearers(939, 1)));
    [
        (
            "RequireToken, by size of the token",
            Vec::from(sizes),
            "The whole token is compared with the cached one.",
        ),
        (
            "RequireToken, by live tokens",
            Vec::from(live),
            "Up to the capacity of 4096, a request costs misses of the processor's caches. Beyond it, tokens \
             that take turns evict each other: each is verified again.",
        ),
        (
            "RequireSession, by cookies",
            Vec::from(pieces),
            "Each cookie is searched for its end, and compared with the cached one.",
        ),
        (
            "RequireSession, by permissions",
            Vec::from(permissions),
            "The required permission, which is the last one, is searched in the list.",
        ),
        (
            "RequireMcpScope, by body",
            bodies.collect(),
            "The message is read once. Short values cost more than long texts.",
        ),
        (
            "MemoryStore, put and get by entries",
            Vec::from(entries),
            "A tree of expiries in each shard grows with the logarithm of its entries, and leaves the \
             processor's caches.",
        ),
        (
            "bare axum, threads on one route",
            Vec::from(threads(bare())),
            "Processor time of the slowest thread. All count the references of what axum shares.",
        ),
        (
            "RequireToken, threads on one token",
            Vec::from(threads(guard())),
            "All count the references of one cached token and of the layer too.",
        ),
    ]
    .into_iter()
    .map(|(title, cases, explanation)| Group { title, cases, explanation })
    .collect()
}

/// Writes and reads values in a store with this many others.
fn stored(runtime: &Rc<Runtime>, entries: usize) -> Case {
    const MINUTE: Duration = Duration::from_secs(60);
    let scope = StoreScope::new(["bench"]);
    let key = move |number: usize| scope.key(KeyNamespace::Refresh, &number.to_string());
    let store = Rc::new(MemoryStore::with_max_bytes(Clock::system(), usize::MAX));
    runtime.block_on(async {
        for number in 0..entries {
            let value = Bytes::from_static(b"a value");
            store.put(&key(number), value, MINUTE * 60).await.unwrap();
        }
    });
    let (runtime, mut next) = (Rc::clone(runtime), 0);
    Case::new(format!("{entries} entries"), CALLS, move |calls| {
        // Far from each other, as those of different users are.
        let numbers = (next..next + calls).map(|number| number * 7919 % entries);
        let keys: Vec<_> = numbers.map(&key).collect();
        next += calls;
        let (runtime, store) = (Rc::clone(&runtime), Rc::clone(&store));
        Box::new(move || {
            runtime.block_on(async {
                for key in &keys {
                    store.put(key, Bytes::from_static(b"a value"), MINUTE).await.unwrap();
                    store.get(key).await.unwrap();
                }
            });
        })
    })
}

/// Each thread makes all calls, with a token that its own connection has received.
fn on_threads(threads: usize, app: &Router, requests: &Requests) -> Case {
    let (app, requests) = (app.clone(), requests.clone());
    Case::new(format!("{threads} threads"), 20_000, move |calls| {
        let work = move |app: Router, requests: Requests| {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let mut app = app.into_service::<Body>();
            runtime.block_on(async {
                for number in 0..calls {
                    app.call(requests.build(number)).await.unwrap();
                }
            });
        };
        let received = || {
            let copy = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).unwrap();
            let values = requests.values.iter().map(copy).collect();
            (app.clone(), Requests { values, ..requests.clone() })
        };
        let all: Vec<_> = (0..threads).map(|_| received()).collect();
        Box::new(move || {
            let begun = Instant::now();
            let start = |(app, requests)| {
                thread::spawn(move || {
                    work(app, requests);
                    Duration::from_nanos(thread_cpu_nanos())
                })
            };
            let started: Vec<_> = all.into_iter().map(start).collect();
            let times = started.into_iter().map(|thread| thread.join().unwrap());
            // Other programs may have the processors in between.
            leave_out(begun.elapsed().saturating_sub(times.max().unwrap()));
        }) as Batch
    })
}
