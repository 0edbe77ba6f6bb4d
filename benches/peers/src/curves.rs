//! How the cost grows: with credentials, bodies, live tokens and threads.

use std::rc::Rc;
use std::thread;

use axum::Router;
use axum::body::Body;
use http::header;
use tokio::runtime::{Builder, Runtime};
use tower::Service as _;
use tower_scalekit::{RequireScope, RequireSession, RequireToken};

use crate::cases::{self, App, Requests, bare, mcp_call, mcp_routes, noise, route};
use crate::measure::{Batch, Case, Group};
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
    let live = [1, 64, 1024, 4096].map(|count| {
        let name = format!("{count} tokens");
        route(runtime, name, CALLS.max(count), guard(), bearers(939, count))
    });
    let app = App::new(4096, true);
    let permissions = [1, 10, 100, 1000].map(|count| {
        let requests = Requests::get(header::COOKIE, app.cookies(runtime, count, 1));
        let last = noise(count).remove(count - 1);
        let layer = RequireScope::all_permissions([last]);
        let app = bare().layer(layer).layer(RequireSession::new(&app.sessions));
        route(runtime, format!("{count} permissions"), CALLS, app, requests)
    });
    let bodies = cases::SHAPES.into_iter().flat_map(|(shape, item)| {
        [1024, 64 * 1024, 1024 * 1024].map(|bytes| {
            let app = mcp_routes(issuer)[1].clone();
            let body = mcp_call(item, bytes);
            let requests = Requests::post(header::AUTHORIZATION, issuer.bearer(939, 0), body);
            route(runtime, format!("{bytes} bytes of {shape}"), 8, app, requests)
        })
    });
    let threads = [1, 2].map(|threads| on_threads(threads, guard(), bearers(939, 1)));
    [
        ("RequireToken, by size of the token", Vec::from(sizes)),
        ("RequireToken, by live tokens", Vec::from(live)),
        ("RequireSession, by permissions", Vec::from(permissions)),
        ("RequireMcpScope, by body", bodies.collect()),
        ("RequireToken, threads on one token", Vec::from(threads)),
    ]
    .into_iter()
    .map(|(title, cases)| Group { title, cases })
    .collect()
}

/// Each thread makes all calls.
fn on_threads(threads: usize, app: Router, requests: Requests) -> Case {
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
        let all: Vec<_> = (0..threads).map(|_| (app.clone(), requests.clone())).collect();
        Box::new(move || {
            let start = |(app, requests)| thread::spawn(move || work(app, requests));
            let started: Vec<_> = all.into_iter().map(start).collect();
            started.into_iter().for_each(|thread| thread.join().unwrap());
        }) as Batch
    })
}
