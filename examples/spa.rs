//! A single-page app: its script learns who is logged in, notices when the session ends, and calls
//! an API.
//!
//! `cargo run --example spa`, then open the printed URL. `IDLE_SECONDS` (default 1800) limits how
//! long a session may be unused.

#[path = "common/mod.rs"]
mod common;

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tower_scalekit::{RequireSession, Session, Sessions};

use crate::common::OrExit as _;

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let idle = common::setting("IDLE_SECONDS").unwrap_or_else(|| "1800".to_owned());
    let sessions = Sessions::builder(setup.scalekit.clone())
        .secret(common::session_secret())
        .redirect_uri(format!("{}/auth/callback", setup.public_url))
        .shared_store(setup.store.clone())
        .cookie_name("spa")
        .idle_timeout(Duration::from_secs(idle.parse().or_exit(2)))
        .build()
        .or_exit(2);

    let app = Router::new()
        .route("/api/report", get(report))
        .route_layer(RequireSession::new(&sessions))
        // The page and its script are the same for everyone.
        .route("/", get(page))
        .route("/app.js", get(([(header::CONTENT_TYPE, "text/javascript")], SCRIPT)))
        .merge(sessions.routes());
    setup.serve(app).await;
    common::finish(sessions.shutdown(common::SHUTDOWN)).await;
}

async fn report(session: Session) -> Result<Json<Value>, StatusCode> {
    Ok(Json(json!({ "title": "Today", "reader": session.user().email })))
}

async fn page() -> impl IntoResponse {
    let policy = "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; \
                  connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    let page =
        PAGE.replace("BASE", &common::at("")).replace("STYLE", include_str!("common/style.css"));
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page))
}

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Reports</title>
<style>STYLE</style>
<body data-base="BASE">
<header><a class="brand" href="BASE/">Reports</a></header>
<main>
  <h1>Reports</h1>
  <p id="status">Loading …</p>
  <p id="warning" hidden>Your session is about to end. <button id="stay">Stay logged in</button></p>
  <p><a id="login" hidden>Log in</a> <button id="load" hidden>Show the report</button></p>
  <pre id="report"></pre>
</main>
<script src="BASE/app.js"></script>
</html>
"#;

const SCRIPT: &str = r#"
const base = document.body.dataset.base;
const element = (id) => document.getElementById(id);
let timer;

/** Loads the session. This neither refreshes it nor counts as use of it. */
async function loadSession() {
  clearTimeout(timer);
  const response = await fetch(`${base}/auth/session`).catch(() => undefined);
  if (response?.ok) show(await response.json());
  else if (response?.status === 401) loggedOut();
  else timer = setTimeout(loadSession, 5000);
}

function show(session) {
  element("status").textContent = `Logged in as ${session.user.email} (${session.roles.join(", ")})`;
  element("login").hidden = true;
  element("load").hidden = false;
  // By the server's clock. Another tab may extend the session: it is loaded again before the warning.
  const left = session.expires_at - session.now;
  element("warning").hidden = left > 60;
  const next = left > 60 ? Math.min(left - 60, 3600) : Math.min(left, 10);
  clearTimeout(timer);
  timer = setTimeout(loadSession, Math.max(next, 1) * 1000);
}

function loggedOut() {
  clearTimeout(timer);
  const page = location.pathname + location.search;
  element("status").textContent = "You are not logged in, or your session has ended.";
  element("warning").hidden = element("load").hidden = true;
  element("login").href = `${base}/login?return_to=${encodeURIComponent(page)}`;
  element("login").hidden = false;
}

/** Calls the API. The session may have ended earlier than expected, for instance by a logout. */
async function api(path, options) {
  const response = await fetch(base + path, options);
  if (response.status === 401) loggedOut();
  return response;
}

element("load").onclick = async () => {
  const response = await api("/api/report");
  if (response.ok) element("report").textContent = JSON.stringify(await response.json(), null, 2);
};

// The response has the members of `/auth/session`.
element("stay").onclick = async () => {
  const response = await api("/auth/refresh", { method: "POST" });
  if (response.ok) show(await response.json());
};

// In a background tab, the timer may be late, and the user may have logged out elsewhere.
document.onvisibilitychange = () => document.hidden || loadSession();
// Back after a logout: a page that the browser has kept shows nothing of the former user.
onpageshow = (event) => event.persisted && location.reload();
loadSession();
"#;
