//! IdP-initiated logins from a portal, with hostile texts.

use std::collections::BTreeSet;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::sandbox::NewIdpInitiatedLogin;
use crate::sandbox::hosted_login::idp_initiated::{login_token, token_draft};

const OKTA: &str = "conn_59615255777705100";
const LOGIN: &str = "https://app.example.com/login";

fn with_login_url() -> Sandbox {
    Sandbox::builder().modular_sso().initiate_login_url(LOGIN).build()
}

#[tokio::test]
async fn the_token_has_the_claims_of_scalekits() {
    let sandbox = at_fixed_time();
    let idp_login = NewIdpInitiatedLogin::new(OKTA).login_hint("jane@acme.test");
    let token = sandbox.idp().login_token(idp_login.clone());
    assert!(is_signed(&sandbox, &token).await);
    let sample = include_str!("../../../tests/data/tokens/idp_initiated_login.claims.json");
    let sample: Value = serde_json::from_str(sample).unwrap();
    let members = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(members(&claims(&token)), members(&sample));
    let expected = serde_json::json!({
        "organization_id": "org_59615193906282635",
        "connection_id": OKTA,
        "login_hint": "jane@acme.test",
        "iss": "https://acme.scalekit.test",
        "iat": 1_760_000_000,
        "nbf": 1_760_000_000,
        "exp": 1_760_000_300,
    });
    assert_eq!(claims(&token), expected);
    assert_eq!(part_of(&token, 0)["typ"], "JWT");

    sandbox.idp().set_initiate_login_url("https://app.example.com:8443/login?from=idp");
    let claims = claims(&sandbox.idp().login_token(idp_login.relay_state("/reports")));
    assert_eq!(claims["iss"], "https://app.example.com:8443");
    assert_eq!(claims["relay_state"], "/reports");
    let least = sandbox.idp().login_token_draft(OKTA).claims;
    assert!(!least.contains_key("login_hint") && !least.contains_key("relay_state"));
}

#[test]
fn logins_are_redirected_to_the_login_route() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.idp().login_url(OKTA), None);
    for not_a_page in ["", "/login", "javascript:alert(1)", "ftp://app.example.com/"] {
        sandbox.idp().set_initiate_login_url(not_a_page);
        assert_eq!(sandbox.idp().login_url(OKTA), None, "{not_a_page}");
        assert_eq!(sandbox.idp().failed_login_url("a", "b"), None, "{not_a_page}");
    }
    sandbox.idp().set_initiate_login_url("https://app.example.com/login?tenant=a%26b&x");
    let url = Url::parse(&sandbox.idp().login_url(OKTA).unwrap()).unwrap();
    let pairs: Vec<_> = url.query_pairs().collect();
    assert_eq!(pairs[0], ("tenant".into(), "a&b".into()));
    assert_eq!((&*pairs[2].0, pairs.len()), ("idp_initiated_login", 3));
    let failed = sandbox.idp().failed_login_url("access_denied", "a & b").unwrap();
    assert!(failed.ends_with("&error=access_denied&error_description=a+%26+b"), "{failed}");
}

#[test]
#[should_panic(expected = "there is no connection conn_1")]
fn an_unknown_connection_panics() {
    let _ = Sandbox::new().idp().login_token("conn_1");
}

/// The portal's redirect when the connection is deleted after the portal has read it.
#[test]
fn a_deleted_connection_causes_no_redirect_and_no_panic() {
    let sandbox = with_login_url();
    let idp_login = NewIdpInitiatedLogin::new(OKTA);
    assert!(login_token(&sandbox.environment, &idp_login).is_some());
    assert!(sandbox.environment.lock().delete_connection(OKTA));
    assert_eq!(login_token(&sandbox.environment, &idp_login), None);
}

#[test]
fn portals_tolerate_concurrent_changes_of_the_connection() {
    let sandbox = with_login_url();
    let okta = sandbox.connections().get(OKTA).unwrap();
    let responses = thread::scope(|scope| {
        let logging_in = scope.spawn(|| {
            let logins = (0..200).map(|_| portal_login(&sandbox).status());
            logins.collect::<Vec<_>>()
        });
        while !logging_in.is_finished() {
            sandbox.environment.lock().connections.all.retain(|known| known.id != OKTA);
            sandbox.environment.lock().connections.all.push(okta.clone());
        }
        logging_in.join().unwrap()
    });
    let is_expected =
        |status: &StatusCode| matches!(*status, StatusCode::SEE_OTHER | StatusCode::NOT_FOUND);
    assert!(responses.iter().all(is_expected), "{responses:?}");
}

fn portal_login(sandbox: &Sandbox) -> Response<Bytes> {
    let request = Request::post(format!("/idp/{OKTA}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from("action=login"))
        .unwrap();
    sandbox.environment.route(&request)
}

#[tokio::test]
async fn the_token_is_signed_by_the_key_it_names_despite_rotation() {
    let sandbox = with_login_url();
    let (draft, key) = token_draft(&sandbox.environment, &NewIdpInitiatedLogin::new(OKTA)).unwrap();
    sandbox.keys().rotate();
    assert!(is_signed(&sandbox, &draft.sign(&sandbox.environment, &key)).await);
}

#[tokio::test]
async fn users_open_the_application_from_the_portal() {
    let sandbox = with_login_url();
    let index = get(&sandbox, &format!("{}/", sandbox.environment_url()), "").await;
    assert!(text(&index).contains(&format!("href=\"/idp/{OKTA}\"")));
    let portal = format!("/idp/{OKTA}");
    let page = get(&sandbox, &format!("{}{portal}", sandbox.environment_url()), "").await;
    let html = text(&page);
    assert!(html.contains("Open the app") && html.contains("app.example.com"));
    assert!(html.contains("jane@acme.test") && !html.contains("gita@globex.test"));

    let form =
        [("action", "login"), ("login_hint", "john@acme.test"), ("relay_state", "/reports?a=1&b")];
    let response = post_form(&sandbox, &portal, &form).await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    let token = query_value(location(&response), "idp_initiated_login").unwrap();
    let claims = claims(&token);
    assert_eq!(
        (&claims["login_hint"], &claims["relay_state"]),
        (&form[1].1.into(), &form[2].1.into())
    );

    let failing = [("action", "fail"), ("error", "user_not_active"), ("error_description", "<b>")];
    let response = post_form(&sandbox, &portal, &failing).await.unwrap();
    let expected = format!("{LOGIN}?error=user_not_active&error_description=%3Cb%3E");
    assert_eq!(location(&response), expected);

    sandbox.connections().set_enabled(OKTA, false);
    let response = post_form(&sandbox, &portal, &form).await.unwrap();
    assert_eq!(query_value(location(&response), "error").unwrap(), "connection_not_active");
}

#[tokio::test]
async fn a_portal_rejects_unknown_connections_and_routes() {
    let sandbox = Sandbox::new();
    let portal = format!("/idp/{OKTA}");
    let page = get(&sandbox, &format!("{}{portal}", sandbox.environment_url()), "").await;
    assert!(text(&page).contains("no initiate-login URL"));
    let response = post_form(&sandbox, &portal, &[("action", "login")]).await.unwrap();
    assert_eq!(response.status(), StatusCode::CONFLICT);
    for path in ["/idp/conn_1", "/idp/%3Cb%3E"] {
        let url = format!("{}{path}", sandbox.environment_url());
        assert_eq!(get(&sandbox, &url, "").await.status(), StatusCode::NOT_FOUND);
        let response = post_form(&sandbox, path, &[("action", "login")]).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
    let request = Request::post(format!("{}{portal}", sandbox.environment_url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "cross-site")
        .body(Bytes::from("action=login"))
        .unwrap();
    let response = sandbox.client().send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

/// Texts that would end a value, a header or a line if they were not encoded, and any others.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\r\nset-cookie: a=b".to_owned()),
        Just("&idp_initiated_login=x&error=y#".to_owned()),
        Just("\"'><script>".to_owned()),
        Just("%0d%0a%00\0\t\\".to_owned()),
        Just("ü€😀\u{202e}\u{2028}".to_owned()),
        Just("a".repeat(10 * 1024)),
        ".{0,40}",
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// Whether no browser or server reads a delimiter into any byte.
fn is_safe_in_a_header(url: &str) -> bool {
    url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'#'))
}

fn pairs(url: &str) -> Vec<(String, String)> {
    let url = Url::parse(url).unwrap();
    assert_eq!((url.host_str(), url.path()), (Some("app.example.com"), "/login"));
    url.query_pairs().into_owned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_escapes_from_a_login_url(hint in hostile(), relay in hostile(), query in hostile()) {
        let sandbox = with_login_url();
        let mut login = Url::parse(LOGIN).unwrap();
        login.query_pairs_mut().append_pair("tenant", &query);
        sandbox.idp().set_initiate_login_url(login.as_str());
        let idp_login = NewIdpInitiatedLogin::new(OKTA).login_hint(&hint).relay_state(&relay);
        let url = sandbox.idp().login_url(idp_login).unwrap();
        prop_assert!(is_safe_in_a_header(&url));
        let pairs = pairs(&url);
        prop_assert_eq!(pairs.len(), 2);
        prop_assert_eq!(&pairs[0], &("tenant".to_owned(), query));
        prop_assert_eq!(&pairs[1].0, "idp_initiated_login");
        let claims = claims(&pairs[1].1);
        prop_assert_eq!(&claims["login_hint"], &hint);
        prop_assert_eq!(&claims["relay_state"], &relay);
    }

    #[test]
    fn no_text_escapes_from_a_failed_login_url(error in hostile(), description in hostile()) {
        let sandbox = with_login_url();
        let url = sandbox.idp().failed_login_url(&error, &description).unwrap();
        prop_assert!(is_safe_in_a_header(&url));
        let expected =
            [("error".to_owned(), error), ("error_description".to_owned(), description)];
        prop_assert_eq!(pairs(&url), expected);
    }

    #[test]
    fn no_text_escapes_from_the_portals_redirect(relay in hostile(), description in hostile()) {
        let sandbox = with_login_url();
        for form in [
            [("action", "login"), ("login_hint", "jane@acme.test"), ("relay_state", &*relay)],
            [("action", "fail"), ("error", "user_not_active"), ("error_description", &*description)],
        ] {
            let request = Request::post(format!("/idp/{OKTA}"))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Bytes::from(encoded(&form)))
                .unwrap();
            let response = sandbox.environment.route(&request);
            prop_assert_eq!(response.status(), StatusCode::SEE_OTHER);
            prop_assert_eq!(response.headers().get_all("set-cookie").iter().count(), 0);
            let location = response.headers()["location"].to_str().unwrap();
            prop_assert!(is_safe_in_a_header(location));
            for (name, value) in pairs(location) {
                match name.as_str() {
                    "idp_initiated_login" => {
                        let sent = claims(&value).get("relay_state").cloned();
                        let relayed = Some(Value::from(relay.as_str())).filter(|_| !relay.is_empty());
                        prop_assert_eq!(sent, relayed);
                    }
                    "error" => prop_assert_eq!(value, "user_not_active"),
                    "error_description" if description.is_empty() => {}
                    "error_description" => prop_assert_eq!(&value, &description),
                    _ => prop_assert!(false, "{}", name),
                }
            }
        }
    }

    #[test]
    fn no_text_escapes_from_the_redirect_after_a_login(state in hostile(), hint in hostile()) {
        let sandbox = Sandbox::builder().modular_sso().build();
        let changes =
            [("connection_id", OKTA), ("state", state.as_str()), ("login_hint", hint.as_str())];
        let url = authorization_url(&sandbox, &changes);
        let request = Request::get(url).body(Bytes::new());
        // A URI has at most 64 KiB.
        prop_assume!(request.is_ok());
        let page = sandbox.environment.route(&request.unwrap());
        prop_assert!(!text(&page).contains("<script"));
        let form = [("transaction", transaction_of(&page)), ("email", "jane@acme.test".to_owned())];
        let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
        let request = Request::post("/login")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(encoded(&form)))
            .unwrap();
        let response = sandbox.environment.route(&request);
        let back = location(&response);
        prop_assert!(is_safe_in_a_header(back) && back.starts_with(CALLBACK));
        let sent = query_value(back, "state");
        prop_assert_eq!(sent, Some(state).filter(|state| !state.is_empty()));
    }
}
