use super::*;
use crate::http_client::UnreachableClient;

fn builder() -> SessionsBuilder {
    let scalekit = Scalekit::builder("https://acme.test", "skc_1", "hush");
    Sessions::builder(scalekit.http_client(UnreachableClient).build().unwrap())
}

fn good() -> SessionsBuilder {
    builder()
        .secret(SessionSecret::generate().unwrap())
        .redirect_uri("https://app.test/auth/callback")
}

/// The cookie name of an app with this redirect URI; `None` if the URI is invalid.
fn cookie_name(redirect_uri: &str) -> Option<String> {
    Some(good().redirect_uri(redirect_uri).build().ok()?.cookie_name().to_owned())
}

#[test]
fn all_missing_settings_are_reported_at_once() {
    let error = builder().build().unwrap_err();
    assert_eq!(error.to_string(), "secret is not set; redirect_uri is not set");
    let error = good()
        .redirect_uri("http://app.test/cb")
        .login_path("login")
        .cookie_name("a b")
        .scopes(["email"])
        .idle_timeout(Duration::ZERO)
        .build()
        .unwrap_err();
    assert_eq!(error.problems().len(), 5, "{error}");
}

#[test]
fn the_index_of_a_user_fits_into_a_value_of_the_store() {
    for (sessions, is_valid) in [(0, false), (1, true), (1000, true), (1001, false)] {
        let built = good().max_sessions_per_user(sessions).build();
        assert_eq!(built.is_ok(), is_valid, "{sessions}");
    }
}

#[test]
fn apps_with_different_base_paths_have_different_cookie_names() {
    let app = "__Host-scalekit-f1d4af8e_session";
    for (uri, expected) in [
        ("https://app.test/auth/callback", "__Host-scalekit_session"),
        ("https://app.test/app/auth/callback", app),
    ] {
        assert_eq!(cookie_name(uri).as_deref(), Some(expected));
    }
    let names = ["/app", "/other", "/app/x", "/app-x", "/app_x", "/APP"]
        .map(|path| cookie_name(&format!("https://app.test{path}/auth/callback")).unwrap());
    assert_eq!(std::collections::HashSet::from(names).len(), 6);
    let same = good().redirect_uri("https://app.test/app/auth/callback").base_path("/app/");
    assert_eq!(same.build().unwrap().cookie_name(), app);
    let set = good().redirect_uri("https://app.test/app/auth/callback").cookie_name("mine");
    assert_eq!(set.build().unwrap().cookie_name(), "__Host-mine_session");
}

#[test]
fn http_is_allowed_on_loopback_only_and_uses_plain_cookie_names() {
    let long = format!("https://app.test/{}", "x".repeat(256));
    for (uri, expected) in [
        ("https://app.test/cb", Some("__Host-scalekit_session")),
        ("http://localhost:3000/cb", Some("scalekit_session")),
        ("http://127.0.0.1:3000/cb", Some("scalekit_session")),
        ("http://app.test/cb", None),
        ("https://app.test/cb?a=b", None),
        ("https://APP.test/cb", None),
        ("/cb", None),
        (&long, None),
    ] {
        assert_eq!(cookie_name(uri).as_deref(), expected, "{uri}");
    }
}
