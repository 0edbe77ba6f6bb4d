//! An app below a path: nested in an axum router, behind a proxy that removes the path, and behind
//! one that does not.

use std::collections::HashSet;
use std::future::ready;

use axum::Router;
use axum::body::Body;
use axum::extract::OriginalUri;
use axum::middleware::map_request;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use tower::{ServiceExt as _, service_fn};
use tower_scalekit::session::SessionsBuilder;
use tower_scalekit::{
    ConnectAccount, IdpInitiatedRedirect, PasswordlessLogin, RequireSession, Sandbox, Session,
    Sessions,
};

use crate::support::{
    Browser, JANE, JOHN, NAVIGATION, ORIGIN, Reading as _, app, parameter, sandbox_builder, secret,
    send,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deployment {
    /// In an axum router.
    Nested,
    /// As a service of an axum router.
    NestedService,
    /// Behind a proxy that removes the base path.
    Stripped,
    /// The same, with `X-Forwarded-Prefix`.
    StrippedWithHeader,
    /// Behind a proxy that removes nothing.
    Unchanged,
    /// The same, with `X-Forwarded-Prefix`.
    UnchangedWithHeader,
}

use Deployment::{
    Nested, NestedService, Stripped, StrippedWithHeader, Unchanged, UnchangedWithHeader,
};

const ALL: [Deployment; 6] =
    [Nested, NestedService, Stripped, StrippedWithHeader, Unchanged, UnchangedWithHeader];

impl Deployment {
    /// The app as browsers reach it. `app` has its pages at paths without the base path.
    fn deploy(self, app: Router, base: &str) -> Router {
        match self {
            Nested => Router::new().nest(base, app),
            NestedService => Router::new().nest_service(base, app),
            Stripped | StrippedWithHeader => stripping_proxy(app, base, self == StrippedWithHeader),
            Unchanged => app,
            UnchangedWithHeader => {
                let prefix: HeaderValue = base.parse().unwrap();
                app.layer(map_request(move |mut request: Request<Body>| {
                    request.headers_mut().insert("x-forwarded-prefix", prefix.clone());
                    ready(request)
                }))
            }
        }
    }

    /// The path of the app's own pages in its router.
    fn page(self, base: &str, path: &str) -> String {
        match self {
            Unchanged | UnchangedWithHeader => format!("{base}{path}"),
            _ => path.to_owned(),
        }
    }
}

/// Forwards requests below the base path without it. Others do not reach the app.
fn stripping_proxy(app: Router, base: &str, with_header: bool) -> Router {
    let base = base.to_owned();
    Router::new().fallback_service(service_fn(move |mut request: Request<Body>| {
        let (app, target) = (app.clone(), request.uri().to_string());
        let stripped = target.strip_prefix(&base).map(|rest| match rest.starts_with('/') {
            true => rest.to_owned(),
            false => format!("/{rest}"),
        });
        if with_header {
            request.headers_mut().insert("x-forwarded-prefix", base.parse().unwrap());
        }
        // The app is another process: it sees nothing of this router.
        request.extensions_mut().remove::<OriginalUri>();
        async move {
            let Some(stripped) = stripped else {
                let response = Response::builder().status(StatusCode::BAD_GATEWAY);
                return Ok(response.body(Body::empty()).unwrap());
            };
            *request.uri_mut() = stripped.parse::<Uri>().unwrap();
            app.oneshot(request).await
        }
    }))
}

fn sandbox(base: &str) -> Sandbox {
    sandbox_builder()
        .redirect_uri(&format!("{ORIGIN}{base}/auth/callback"))
        .post_logout_redirect_uri(&format!("{ORIGIN}{base}/auth/logout/callback"))
        .build()
}

fn builder(sandbox: &Sandbox, base: &str) -> SessionsBuilder {
    let redirect_uri = format!("{ORIGIN}{base}/auth/callback");
    Sessions::builder(sandbox.scalekit()).secret(secret(1)).redirect_uri(redirect_uri)
}

/// An app with these pages, which require a session.
fn pages(sessions: &Sessions, paths: impl IntoIterator<Item = String>) -> Router {
    let page = get(|session: Session| async move { session.user().email.clone() });
    let pages =
        paths.into_iter().fold(Router::new(), |router, path| router.route(&path, page.clone()));
    pages.route_layer(RequireSession::new(sessions)).merge(sessions.routes())
}

/// Logs in from a page that requires it, or from the login. Returns where that ends.
async fn log_in(browser: &mut Browser, sandbox: &Sandbox, page: &str, email: &str) -> String {
    let mut started = browser.open(page).await;
    if started.location().starts_with('/') {
        started = browser.open(started.location()).await;
    }
    let callback = sandbox.log_in(started.location(), email).unwrap();
    let done = browser.open(&callback).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", done.text());
    done.location().to_owned()
}

/// Where the environment redirects the browser after a logout.
fn logged_out(logout: &str) -> String {
    let [uri, state] =
        ["post_logout_redirect_uri", "state"].map(|name| parameter(logout, name).unwrap());
    format!("{uri}?state={state}")
}

#[tokio::test]
async fn all_of_a_sessions_life_is_below_the_base_path() {
    for (base, deployment) in ["/app", "/a/b"].into_iter().flat_map(|b| ALL.map(|d| (b, d))) {
        let sandbox = sandbox(base);
        let sessions = builder(&sandbox, base).build().unwrap();
        let paths = ["/me", "/"].map(|path| deployment.page(base, path));
        // A page at `/app/` has no path of its own.
        let paths = paths
            .map(|path| path.trim_end_matches('/').to_owned())
            .map(|path| if path.is_empty() { "/".to_owned() } else { path });
        let app = deployment.deploy(pages(&sessions, paths), base);
        let mut browser = Browser::new(&app, &sandbox);
        let what = format!("{deployment:?} {base}");

        let page = format!("{base}/me?x=1&y=%2F");
        let login = browser.open(&page).await;
        let encoded = |page: &str| -> String {
            url::form_urlencoded::byte_serialize(page.as_bytes()).collect()
        };
        let with_page = |page: &str| format!("{base}/login?return_to={}", encoded(page));
        assert_eq!(login.location(), with_page(&page), "{what}");
        assert_eq!(log_in(&mut browser, &sandbox, &page, JANE).await, page, "{what}");
        assert_eq!(browser.open(&page).await.text(), JANE, "{what}");
        let refreshed = browser.post(&format!("{base}/auth/refresh")).await;
        assert_eq!(refreshed.status(), StatusCode::OK, "{what}");

        // Another user: the page that asks is below the base path, too.
        let asked = log_in(&mut browser, &sandbox, &format!("{base}/login"), JOHN).await;
        assert!(asked.starts_with(&format!("{base}/auth/switch-account?attempt=")), "{asked}");
        let question = browser.open(&asked).await.text();
        assert!(question.contains(&format!("action=\"{base}/auth/switch-account?")), "{question}");

        let confirm = browser.send(Method::GET, &format!("{base}/logout"), &NAVIGATION[..1]).await;
        assert!(confirm.text().contains(&format!("action=\"{base}/logout\"")), "{what}");
        let out = browser.open(&format!("{base}/logout")).await;
        let returned = logged_out(out.location());
        assert!(
            returned.starts_with(&format!("{ORIGIN}{base}/auth/logout/callback?")),
            "{returned}"
        );
        let start = browser.open(&returned).await;
        assert_eq!(start.location(), format!("{ORIGIN}{base}"), "{what}");
        assert_eq!(browser.names(), browser.names_with("_switch_"), "{what}");

        // A login from the start page returns there, with the slash that a proxy adds.
        let (start, login) = match deployment {
            Stripped | StrippedWithHeader => (format!("{base}/"), with_page(&format!("{base}/"))),
            _ => (base.to_owned(), format!("{base}/login")),
        };
        assert_eq!(browser.open(base).await.location(), login, "{what}");
        assert_eq!(log_in(&mut browser, &sandbox, base, JANE).await, start, "{what}");
        assert_eq!(browser.open(&start).await.text(), JANE, "{what}");

        // Routes are no pages to return to, and error pages link to the login.
        for own in ["/login", "/auth/callback?a", "/logout", "/auth/refresh"] {
            let login = format!("{base}/login?return_to={base}{own}");
            assert_eq!(log_in(&mut browser, &sandbox, &login, JANE).await, base, "{what} {own}");
        }
        let failed = browser.open(&format!("{base}/login?error=access_denied")).await;
        assert!(failed.text().contains(&format!("href=\"{base}/login\"")), "{}", failed.text());
    }
}

#[tokio::test]
async fn a_page_whose_own_path_begins_with_the_base_path_works() {
    for deployment in ALL {
        let sandbox = sandbox("/app");
        let sessions = builder(&sandbox, "/app").build().unwrap();
        let paths =
            ["/x", "/app/x", "/app", "/app/app/x"].map(|path| deployment.page("/app", path));
        let app = deployment.deploy(pages(&sessions, paths), "/app");
        for page in ["/app/x", "/app/app/x", "/app/app", "/app/app/app/x?y=/app"] {
            let mut browser = Browser::new(&app, &sandbox);
            let returned = log_in(&mut browser, &sandbox, page, JANE).await;
            // A proxy that removes it hides that the path has it twice.
            let is_removed = matches!(deployment, Stripped | StrippedWithHeader);
            let is_hidden = is_removed && page.starts_with("/app/app");
            let expected = if is_hidden { &page["/app".len()..] } else { page };
            assert_eq!(returned, expected, "{deployment:?} {page}");
            assert_eq!(browser.open(page).await.text(), JANE, "{deployment:?} {page}");
        }
    }
}

#[tokio::test]
async fn two_apps_on_one_host_below_two_paths_do_not_share_cookies() {
    let bases = ["", "/app", "/other"];
    let sandbox = bases
        .iter()
        .fold(sandbox_builder(), |sandbox, base| {
            sandbox.redirect_uri(&format!("{ORIGIN}{base}/auth/callback"))
        })
        .build();
    let apps = bases.map(|base| builder(&sandbox, base).build().unwrap());
    let names: HashSet<_> = apps.iter().map(|sessions| sessions.cookie_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains("__Host-scalekit_session"), "{names:?}");
    let host = Router::new()
        .nest("/app", app(&apps[1]))
        .nest("/other", app(&apps[2]))
        .fallback_service(app(&apps[0]));
    let mut browser = Browser::new(&host, &sandbox);
    for (base, email) in bases.into_iter().zip([JANE, JOHN, JANE]) {
        let page = format!("{base}/me");
        assert_eq!(log_in(&mut browser, &sandbox, &page, email).await, page);
    }
    // Each has its own session, and a logout ends one.
    for (base, email) in bases.into_iter().zip([JANE, JOHN, JANE]) {
        assert_eq!(browser.fetch(&format!("{base}/me")).await.json()["email"], email, "{base}");
    }
    browser.open("/app/logout").await;
    let status = async |browser: &mut Browser, path| browser.fetch(path).await.status();
    assert_eq!(status(&mut browser, "/app/me").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&mut browser, "/me").await, StatusCode::OK);
    assert_eq!(status(&mut browser, "/other/me").await, StatusCode::OK);
}

#[tokio::test]
async fn idp_initiated_logins_and_errors_are_recognized_below_the_base_path() {
    for deployment in ALL {
        let sandbox = sandbox("/app");
        let sessions = builder(&sandbox, "/app").build().unwrap();
        let app = sessions.routes().layer(IdpInitiatedRedirect::new(&sessions));
        let app = deployment.deploy(app, "/app");
        let mut browser = Browser::new(&app, &sandbox);
        sandbox.idp().set_initiate_login_url(&format!("{ORIGIN}/app/login"));
        let connection = sandbox.connections().list().remove(0).id;
        let idp = tower_scalekit::sandbox::NewIdpInitiatedLogin::new(&connection);
        let target = format!("/app/login?idp_initiated_login={}", sandbox.idp().login_token(idp));
        let started = browser.open(&target).await;
        let found = parameter(started.location(), "connection_id");
        assert_eq!(found.as_ref(), Some(&connection), "{deployment:?}");
        assert_eq!(browser.open(&target).await.location(), "/app/login", "{deployment:?}");
        for path in ["/app/login", "/app/auth/callback"] {
            let failed = browser.open(&format!("{path}?error=access_denied")).await;
            assert_eq!(failed.status(), StatusCode::BAD_REQUEST, "{deployment:?} {path}");
        }
    }
}

async fn submit(browser: &mut Browser, path: &str, form: &str) -> Response<Bytes> {
    let headers = [
        ("accept", "text/html"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "same-origin"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let mut request = browser.request(Method::POST, path, &headers);
    *request.body_mut() = form.to_owned().into();
    let response = send(browser.app(), request).await;
    browser.store_cookies(&response);
    response
}

#[tokio::test]
async fn a_login_by_email_is_below_the_base_path() {
    for deployment in ALL {
        let sandbox = sandbox("/app");
        let sessions = builder(&sandbox, "/app").build().unwrap();
        let login = PasswordlessLogin::builder(&sessions).code_page("/code").build().unwrap();
        assert_eq!(login.send_path(), "/app/passwordless/send");
        assert_eq!(login.verify_path(), "/app/passwordless/verify");
        let app = pages(&sessions, [deployment.page("/app", "/me")]).merge(login.routes());
        let app = deployment.deploy(app, "/app");
        let mut browser = Browser::new(&app, &sandbox);
        let form = "email=jane%40acme.test&return_to=%2Fapp%2Fme";
        let sent = submit(&mut browser, login.send_path(), form).await;
        assert!(sent.location().starts_with("/app/code?attempt="), "{}", sent.location());
        let mail = sandbox.mail().outbox().remove(0);
        let link = mail.link.unwrap();
        assert!(link.starts_with(&format!("{ORIGIN}/app/passwordless/verify/")), "{link}");
        // Another browser gets the page with the button.
        let page = Browser::new(&app, &sandbox).open(&link).await;
        assert!(page.text().contains("action=\"/app/passwordless/verify\""), "{}", page.text());
        let done = browser.open(&link).await;
        assert_eq!((done.status(), done.location()), (StatusCode::SEE_OTHER, "/app/me"));
        assert_eq!(browser.open("/app/me").await.text(), JANE, "{deployment:?}");
        // An unknown attempt leads to the start page.
        let failed = submit(&mut browser, login.verify_path(), "code=123456&attempt=x").await;
        assert!(failed.text().contains("href=\"/app\""), "{}", failed.text());
        let own = "email=jane%40acme.test&return_to=%2Fapp%2Fpasswordless%2Fverify%2Fx";
        let resent = submit(&mut Browser::new(&app, &sandbox), login.send_path(), own).await;
        assert_eq!(resent.status(), StatusCode::SEE_OTHER, "{}", resent.text());
        // Each address gets a limited number of e-mails.
        for (user, page) in [
            ("ann", "%2Fapp%2Flogout"),
            ("bob", "%2Flogout"),
            ("eve", "%2Fapp%2Fme%3Fidp_initiated_login%3Dx"),
        ] {
            let mut browser = Browser::new(&app, &sandbox);
            let form = format!("email={user}%40acme.test&return_to={page}");
            submit(&mut browser, login.send_path(), &form).await;
            let link = sandbox.mail().outbox().remove(0).link.unwrap();
            let done = browser.open(&link).await;
            assert_eq!(done.location(), "/app", "{deployment:?}: {page}");
        }
    }
}

#[tokio::test]
async fn connecting_an_account_is_below_the_base_path() {
    for deployment in ALL {
        let sandbox = sandbox("/app");
        sandbox.connected_accounts().require_user_verification(true);
        let sessions = builder(&sandbox, "/app").build().unwrap();
        let connect = ConnectAccount::builder(&sessions, "gmail").build().unwrap();
        assert_eq!(connect.verify_path(), "/app/connect/gmail/verify");
        let app = pages(&sessions, [deployment.page("/app", "/me")]).merge(connect.routes());
        let app = deployment.deploy(app, "/app");
        let mut browser = Browser::new(&app, &sandbox);
        let page = "/app/connect/gmail";
        assert_eq!(log_in(&mut browser, &sandbox, page, JANE).await, page, "{deployment:?}");
        let shown = browser.open(page).await.text();
        assert!(shown.contains(&format!("action=\"{page}\"")), "{shown}");
        assert!(shown.contains("href=\"/app\""), "{shown}");
        let begun = browser.post(page).await;
        let returned = sandbox.consent(begun.location()).unwrap();
        assert!(returned.starts_with(&format!("{ORIGIN}{page}/verify?")), "{returned}");
        let done = browser.open(&returned).await;
        assert_eq!(done.status(), StatusCode::SEE_OTHER, "{deployment:?}: {}", done.text());
        let id = sandbox.users().get(JANE).unwrap().id;
        let account = sandbox.connected_accounts().get("gmail", &id).unwrap();
        assert_eq!(account.status, "ACTIVE", "{deployment:?}");
    }
}

#[tokio::test]
async fn a_page_of_a_deeper_router_is_returned_to() {
    let sandbox = sandbox("/app");
    let sessions = builder(&sandbox, "/app").build().unwrap();
    let page = Router::new().route("/page", get(|_: Session| async { "page" }));
    let with_axum = page.clone().route_layer(RequireSession::new(&sessions));
    let layer = RequireSession::new(&sessions).base_path("/app/area");
    let named = page.route_layer(layer);
    for deployment in [Nested, NestedService, Stripped, StrippedWithHeader] {
        for inner in [&with_axum, &named] {
            let app = Router::new().nest("/area", inner.clone());
            let app = deployment.deploy(app, "/app");
            let response = Browser::new(&app, &sandbox).open("/app/area/page").await;
            let expected = "/app/login?return_to=%2Fapp%2Farea%2Fpage";
            assert_eq!(response.location(), expected, "{deployment:?}");
        }
    }
}

#[tokio::test]
async fn a_spa_at_the_root_of_its_backend_is_a_page_to_return_to() {
    let sandbox = sandbox("/api");
    let sessions = builder(&sandbox, "/api").logged_out_page(format!("{ORIGIN}/")).build().unwrap();
    let app = Router::new().nest("/api", pages(&sessions, ["/me".to_owned()]));
    let mut browser = Browser::new(&app, &sandbox);
    for page in ["/", "/dashboard?a=1"] {
        let login = format!("/api/login?return_to={page}");
        assert_eq!(log_in(&mut browser, &sandbox, &login, JANE).await, page);
    }
    let out = browser.open("/api/logout").await;
    let returned = logged_out(out.location());
    assert_eq!(browser.open(&returned).await.location(), format!("{ORIGIN}/"));
}
