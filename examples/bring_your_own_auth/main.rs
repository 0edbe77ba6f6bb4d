//! An MCP server whose users log in at the app's own login page instead of Scalekit's ("bring your
//! own auth").
//!
//! `cargo run --example bring_your_own_auth`, then add the printed URL with `/mcp` to any MCP
//! client. Its browser opens `/login` of this app: log in as `jane@acme.test` with the password
//! `demo`. `MCP_RESOURCE_ID` and `MCP_CONNECTION_ID` are the server's IDs in the dashboard, where the
//! URL of the login page is registered.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/page.rs"]
mod page;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::post;
use axum::{Form, Router};
use http::StatusCode;
use http::header::REFRESH;
use http::request::Parts;
use maud::html;
use rmcp::handler::server::tool::Extension;
use rmcp::model::{ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler, tool, tool_handler, tool_router};
use tower_scalekit::api::ApiError;
use tower_scalekit::api::auth_requests::{LoginRequest, LoginUser};
use tower_scalekit::protected_resource::{ProtectedResource, ResourceId};
use tower_scalekit::require_origin::RequireOrigin;
use tower_scalekit::{Principal, RequireToken, Scalekit};
use url::Url;

use crate::common::OrExit as _;

#[tokio::main]
async fn main() {
    let setup = common::Setup::from_env().await;
    let (resource_id, connection_id) = ids(&setup);
    let id = ResourceId::new(&resource_id).or_exit(2);
    let resource =
        ProtectedResource::builder(&setup.scalekit, format!("{}/mcp", setup.public_url), id)
            .name("Profile")
            .build()
            .or_exit(2);

    let public_url = Url::parse(&setup.public_url).or_exit(2);
    // A form of another site could log the browser in as another user.
    let own_pages = RequireOrigin::new([public_url.origin().ascii_serialization()]).or_exit(2);
    let login = LoginPage { scalekit: setup.scalekit.clone(), connection_id };
    let app = Router::new()
        .route_service("/mcp", mcp_service(&public_url))
        .route_layer(RequireToken::for_resource(&resource))
        .merge(
            Router::new()
                .route("/login", post(log_in).route_layer(own_pages).get(show))
                .with_state(Arc::new(login)),
        )
        .merge(resource.routes());
    setup.serve(app).await;
}

/// The IDs of the server and of its connection; those of the embedded sandbox if there is one.
fn ids(setup: &common::Setup) -> (String, String) {
    if let Some((sandbox, _)) = &setup.sandbox {
        let id = sandbox.mcp().resource_id();
        sandbox.mcp().set_resource_url(&id, &format!("{}/mcp", setup.public_url));
        let connection = sandbox.mcp().set_own_login(&id, &format!("{}/login", setup.public_url));
        return (id, connection.unwrap_or_default());
    }
    let ids = ["MCP_RESOURCE_ID", "MCP_CONNECTION_ID"]
        .map(|name| common::setting(name).ok_or_else(|| format!("{name} is not set")).or_exit(2));
    ids.into()
}

struct LoginPage {
    scalekit: Scalekit,
    connection_id: String,
}

#[derive(serde::Deserialize)]
struct Credentials {
    login_request_id: String,
    state: String,
    email: String,
    password: String,
}

/// `GET /login`: Scalekit redirects the browser here.
///
/// The password is required each time. An app whose users are logged in already asks them to confirm
/// with a button: another user may have sent the link.
async fn show(RawQuery(query): RawQuery) -> Response {
    match LoginRequest::from_query(&query.unwrap_or_default()) {
        Some(login) => Html(form(&login.id, &login.state, None)).into_response(),
        None => problem(StatusCode::BAD_REQUEST, "Start the login in your MCP client."),
    }
}

/// `POST /login`: names the user to Scalekit, and leads the browser back.
///
/// By a page, not a redirect: from Scalekit the browser may be redirected to the MCP client, which
/// Chromium blocks after a form, because `form-action` of the page with the form does not allow it.
async fn log_in(
    State(page): State<Arc<LoginPage>>,
    Form(credentials): Form<Credentials>,
) -> Response {
    let Credentials { login_request_id, state, email, password } = &credentials;
    let Some(user) = authenticate(email, password) else {
        let form = form(login_request_id, state, Some("The e-mail address or password is wrong."));
        return (StatusCode::UNAUTHORIZED, Html(form)).into_response();
    };
    let api = page.scalekit.api().auth_requests();
    let set = api.set_user(&page.connection_id, login_request_id, &user).await;
    match set.and_then(|()| api.callback_url(&page.connection_id, state)) {
        Ok(callback) => {
            ([(REFRESH, format!("0; url={callback}"))], continue_at(&callback)).into_response()
        }
        Err(error @ (ApiError::NotFound(_) | ApiError::InvalidCall(_))) => {
            // Also if MCP_CONNECTION_ID is the ID of another connection.
            tracing::warn!(%error, connection_id = %page.connection_id);
            problem(StatusCode::BAD_REQUEST, "The login has expired. Start it again.")
        }
        Err(error) => {
            tracing::warn!(%error);
            problem(StatusCode::SERVICE_UNAVAILABLE, "Logins are unavailable. Try again later.")
        }
    }
}

/// In place of the app's own users and passwords.
fn authenticate(email: &str, password: &str) -> Option<LoginUser> {
    let (id, name) = match email.trim() {
        "jane@acme.test" => ("1", "Jane Roe"),
        "john@acme.test" => ("2", "John Doe"),
        _ => return None,
    };
    let mut user = LoginUser::new(id, email.trim());
    user.name = Some(name.to_owned());
    user.email_verified = Some(true);
    (password == "demo").then_some(user)
}

fn form(login_request_id: &str, state: &str, problem: Option<&str>) -> String {
    let content = html! {
        h1 { "Log in" }
        @if let Some(problem) = problem { p role="alert" { (problem) } }
        form.card method="post" action=(common::at("/login")) {
            input type="hidden" name="login_request_id" value=(login_request_id);
            input type="hidden" name="state" value=(state);
            label for="email" { "E-mail address" }
            input #email type="email" name="email" required autocomplete="username" autofocus;
            label for="password" { "Password" }
            input #password type="password" name="password" required autocomplete="current-password";
            button.button { "Log in" }
        }
        p.muted { "This is the app's own page. Try jane@acme.test with the password demo." }
    };
    page::page("Profile", "Log in", html! {}, content)
}

fn continue_at(callback: &Url) -> Html<String> {
    let content = html! {
        h1 { "You are logged in" }
        p.lead { a href=(callback.as_str()) { "Continue" } }
    };
    Html(page::page("Profile", "Logged in", html! {}, content))
}

fn problem(status: StatusCode, text: &str) -> Response {
    let content = html! { h1 { "Login failed" } p.lead { (text) } };
    (status, Html(page::page("Profile", "Login failed", html! {}, content))).into_response()
}

fn mcp_service(public_url: &Url) -> StreamableHttpService<Profile, NeverSessionManager> {
    // Against DNS rebinding.
    let hosts = [public_url.host_str().unwrap_or_default(), "localhost", "127.0.0.1"];
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(hosts)
        .with_legacy_session_mode(false)
        .with_json_response(true);
    StreamableHttpService::new(|| Ok(Profile), Arc::default(), config)
}

#[derive(Clone)]
struct Profile;

#[tool_router]
impl Profile {
    #[tool(description = "Returns the user's ID")]
    fn whoami(&self, Extension(parts): Extension<Parts>) -> Result<String, ErrorData> {
        parts
            .extensions
            .get::<Principal>()
            .map(|principal| principal.subject().to_owned())
            .ok_or_else(|| ErrorData::internal_error("no principal", None))
    }
}

#[tool_handler]
impl ServerHandler for Profile {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}
