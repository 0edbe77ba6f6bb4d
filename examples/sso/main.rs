//! Enterprise single sign-on for an app with its own users.
//!
//! `cargo run --example sso`, then open the printed URL. Without the SCALEKIT_ variables it runs on
//! an embedded sandbox, which also has a portal for IdP-initiated logins.
//!
//! `SSO_ADMINISTRATORS` lists who may set up single sign-on, as `org_1:jane@acme.test,org_2:…`.
//! Default: Jane at Acme in the embedded sandbox, otherwise none.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/me.rs"]
mod me;
#[path = "../common/page.rs"]
mod page;
mod pages;
mod users;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use serde::Deserialize;
use tower_scalekit::api::ApiError;
use tower_scalekit::api::connections::email_domain;
use tower_scalekit::api::organizations::PortalFeature;
use tower_scalekit::session::VerifiedLogin;
use tower_scalekit::{IdpInitiatedRedirect, RequireScope, RequireSession, Session, Sessions};

use crate::common::OrExit as _;
use crate::users::Users;

#[tokio::main]
async fn main() {
    let setup = common::Setup::with_sandbox(|sandbox| sandbox.modular_sso()).await;
    let administrators = common::setting("SSO_ADMINISTRATORS").unwrap_or_else(|| {
        setup.sandbox.as_ref().map_or(String::new(), |(sandbox, _)| {
            format!("{}:jane@acme.test", sandbox.organizations().list().remove(0).id)
        })
    });
    let users = Users::with_administrators(&administrators).or_exit(2);
    let sessions = Sessions::builder(setup.scalekit.clone())
        .secret(common::session_secret())
        .redirect_uri(format!("{}/auth/callback", setup.public_url))
        .shared_store(setup.store.clone())
        .cookie_name("sso")
        .scopes(["openid", "profile", "email"])
        .on_login(move |login: VerifiedLogin| {
            std::future::ready(users.admit(login.identity()).map(Into::into))
        })
        .build()
        .or_exit(2);

    let app = Router::new()
        .route("/admin-portal", get(admin_portal))
        .route_layer(RequireScope::all_permissions(["sso:manage"]).on_rejection(page::forbidden))
        .route("/api/me", get(me::me))
        .route_layer(RequireSession::new(&sessions))
        .merge(
            Router::new()
                .route("/", get(home))
                .route_layer(RequireSession::new(&sessions).optional()),
        )
        .route("/sso", get(sso))
        .merge(sessions.routes().route_layer(IdpInitiatedRedirect::new(&sessions)))
        .fallback(page::not_found)
        .with_state(sessions.clone());
    setup.serve(app).await;
    common::finish(sessions.shutdown(common::SHUTDOWN)).await;
}

async fn home(session: Option<Session>) -> Html<String> {
    Html(pages::home(session.as_ref(), None))
}

#[derive(Deserialize)]
struct SsoQuery {
    #[serde(default)]
    email: String,
}

/// Looks up whether the address has single sign-on, before it redirects the user.
async fn sso(State(sessions): State<Sessions>, Query(query): Query<SsoQuery>) -> Response {
    let email = query.email.trim();
    let Some(domain) = email_domain(email) else {
        return problem(StatusCode::BAD_REQUEST, None, "Enter your work e-mail address.");
    };
    let connections = sessions.scalekit().api().connections();
    match connections.enabled_for_domain(&domain).await {
        Ok(enabled) if enabled.is_empty() => {
            let text = format!("There is no single sign-on for {domain} yet.");
            problem(StatusCode::NOT_FOUND, None, &text)
        }
        Ok(_) => {
            let login = sessions.login_url().domain_hint(domain).login_hint(email);
            Redirect::to(&login.to_string()).into_response()
        }
        Err(error) => api_problem(&error, None),
    }
}

/// The page where a customer's administrator sets up the identity provider. Its link works once and
/// for a minute, so it is created when the page is opened.
async fn admin_portal(State(sessions): State<Sessions>, session: Session) -> Response {
    let Some(organization) = session.principal().organization_id() else {
        return problem(StatusCode::FORBIDDEN, Some(&session), "You belong to no organization.");
    };
    let organizations = sessions.scalekit().api().organizations();
    match organizations.portal_link(organization, &[PortalFeature::Sso]).await {
        Ok(link) => {
            let policy = common::content_security_policy(
                sessions.scalekit().environment_url(),
                link.frame_source(),
            );
            let page = pages::admin_portal(&session, link.location.expose());
            ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
        }
        Err(error) => api_problem(&error, Some(&session)),
    }
}

/// The log contains the reason; the user sees what they can do.
fn api_problem(error: &ApiError, session: Option<&Session>) -> Response {
    tracing::warn!(%error, "single sign-on");
    let (status, text) = match error {
        ApiError::NotFound(_) if session.is_some() => (
            StatusCode::NOT_FOUND,
            "Your organization is no longer registered here. Ask our support.",
        ),
        ApiError::RateLimited { .. } | ApiError::Unavailable(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "Try again in a moment.")
        }
        // Credentials, permissions, the environment's URL: a retry does not help.
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "This does not work at present. Ask our support."),
    };
    problem(status, session, text)
}

fn problem(status: StatusCode, session: Option<&Session>, text: &str) -> Response {
    (status, Html(pages::home(session, Some(text)))).into_response()
}
