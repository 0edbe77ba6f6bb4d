//! Selection of connections, responses and failures of their identity provider, and tokens of
//! Modular SSO.

use std::collections::BTreeSet;

use super::*;

const ACME: &str = "org_59615193906282635";
const OKTA: &str = "conn_59615255777705100";
const ENTRA: &str = "conn_59615256201461900";
const SIMULATOR: &str = "conn_70087756662964366";

fn modular() -> Sandbox {
    Sandbox::builder().modular_sso().build()
}

async fn opened(sandbox: &Sandbox, changes: &[(&str, &str)]) -> Response<Bytes> {
    get(sandbox, &authorization_url(sandbox, changes), "").await
}

async fn error_of(sandbox: &Sandbox, changes: &[(&str, &str)]) -> Option<String> {
    let response = opened(sandbox, changes).await;
    response.headers().get(header::LOCATION)?;
    query_value(location(&response), "error")
}

async fn tokens_of(sandbox: &Sandbox, callback: &str) -> Value {
    let (status, tokens) = exchange(sandbox, &query_value(callback, "code").unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{tokens}");
    tokens
}

/// Which page is shown: an identity provider's, or the environment's own (`None`).
fn identity_provider_of(page: &Response<Bytes>) -> Option<&'static str> {
    assert_eq!(page.status(), StatusCode::OK);
    if !text(page).contains("Sign in at work") {
        return None;
    }
    let names = ["Acme", "Globex", "Test Organization"];
    let shown = |name: &&&str| text(page).contains(&format!("<span class=\"name\">{name}</span>"));
    names.iter().find(shown).copied()
}

#[tokio::test]
async fn the_strongest_selector_decides() {
    type Parameters<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Parameters<'_>, Option<&str>)] = &[
        (&[], None),
        (&[("login_hint", "ada@ACME.test")], Some("Acme")),
        (&[("login_hint", "ada@mail.acme.test")], None),
        (&[("login_hint", "acme.test")], None),
        (&[("login_hint", "x@globex.test@acme.test")], Some("Acme")),
        (&[("domain", "globex.test"), ("login_hint", "a@acme.test")], Some("Globex")),
        (&[("domain_hint", "globex.test"), ("login_hint", "a@acme.test")], Some("Globex")),
        (&[("domain", "nobody.test"), ("login_hint", "a@acme.test")], None),
        (&[("domain", "example.org")], Some("Test Organization")),
        (&[("organization_id", ACME), ("domain", "globex.test")], Some("Acme")),
        (&[("connection_id", ENTRA), ("organization_id", ACME)], Some("Globex")),
        (&[("provider", "google"), ("connection_id", ENTRA)], None),
    ];
    for sandbox in [Sandbox::new(), modular()] {
        for (changes, expected) in cases {
            let page = opened(&sandbox, changes).await;
            assert_eq!(identity_provider_of(&page), *expected, "{changes:?}");
        }
    }
}

#[tokio::test]
async fn disabled_connections_are_not_selected() {
    let (sandbox, full_stack) = (modular(), Sandbox::new());
    for sandbox in [&sandbox, &full_stack] {
        assert!(sandbox.connections().set_enabled(OKTA, false));
        let rejected = error_of(sandbox, &[("connection_id", OKTA)]).await;
        assert_eq!(rejected.as_deref(), Some("connection_not_active"));
        for miss in [("domain", "acme.test"), ("login_hint", "jane@acme.test")] {
            assert_eq!(identity_provider_of(&opened(sandbox, &[miss]).await), None);
        }
    }
    let rejected = error_of(&sandbox, &[("organization_id", ACME)]).await;
    assert_eq!(rejected.as_deref(), Some("no_active_connections"));
    // Members of an organization without single sign-on still have the hosted login.
    let own = opened(&full_stack, &[("organization_id", ACME)]).await;
    assert!(text(&own).contains("as a member of <strong>Acme</strong>"));

    assert!(sandbox.connections().set_enabled(OKTA, true));
    assert_eq!(
        identity_provider_of(&opened(&sandbox, &[("organization_id", ACME)]).await),
        Some("Acme")
    );
    assert!(!sandbox.connections().set_enabled("conn_1", true));
}

#[tokio::test]
async fn a_login_fails_if_its_connection_is_disabled_meanwhile() {
    let sandbox = Sandbox::new();
    let page = opened(&sandbox, &[("connection_id", OKTA)]).await;
    sandbox.connections().set_enabled(OKTA, false);
    let form = [("transaction", &*transaction_of(&page)), ("email", "jane@acme.test")];
    let response = post_form(&sandbox, "/login", &form).await.unwrap();
    assert_eq!(query_value(location(&response), "error").unwrap(), "connection_not_active");
}

#[tokio::test]
async fn an_identity_provider_lists_its_own_users_and_can_fail() {
    let sandbox = modular();
    let page = opened(&sandbox, &[("connection_id", OKTA), ("login_hint", "a@b.test\"><b>")]).await;
    let html = text(&page);
    assert!(html.contains("jane@acme.test") && !html.contains("gita@globex.test"));
    assert!(html.contains("Okta SAML") && html.contains("a@b.test&quot;&gt;&lt;b&gt;"));
    let stranger = [("transaction", &*transaction_of(&page)), ("email", "gita@globex.test")];
    let rejected = post_form(&sandbox, "/login", &stranger).await.unwrap();
    assert_eq!(rejected.status(), StatusCode::UNPROCESSABLE_ENTITY);

    let failing = |error| {
        [("transaction", transaction_of(&page)), ("action", "fail".into()), ("error", error)]
    };
    let unknown = failing("access_granted".to_owned());
    let unknown = unknown.each_ref().map(|(name, value)| (*name, value.as_str()));
    let again = post_form(&sandbox, "/login", &unknown).await.unwrap();
    assert_eq!(again.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let known = failing("invalid_saml_response".to_owned());
    let known = known.each_ref().map(|(name, value)| (*name, value.as_str()));
    let response = post_form(&sandbox, "/login", &known).await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let back = location(&response);
    assert_eq!(query_value(back, "error").unwrap(), "invalid_saml_response");
    assert_eq!(query_value(back, "error_description").unwrap(), "The SAML response is invalid");
    assert_eq!(query_value(back, "state").unwrap(), "s 1&2");

    let url = authorization_url(&sandbox, &[("connection_id", OKTA)]);
    let back = sandbox.fail_log_in(&url, "user_not_active").unwrap();
    assert_eq!(query_value(&back, "error").unwrap(), "user_not_active");
    assert!(sandbox.fail_log_in(&url, "access_granted").is_err());
    let no_users = authorization_url(&sandbox, &[]);
    assert!(sandbox.fail_log_in(&no_users, "user_not_active").is_err());

    let page = opened(&sandbox, &[("connection_id", OKTA)]).await;
    let form = [("transaction", &*transaction_of(&page)), ("action", "cancel")];
    let response = post_form(&sandbox, "/login", &form).await.unwrap();
    assert_eq!(query_value(location(&response), "error").unwrap(), "access_denied");
}

#[tokio::test]
async fn tokens_are_those_of_modular_sso() {
    let sandbox = modular();
    let url = authorization_url(&sandbox, &[("connection_id", SIMULATOR)]);
    let tokens = tokens_of(&sandbox, &sandbox.log_in(&url, "john@example.com").unwrap()).await;
    assert_eq!(tokens["expires_in"], 900);
    assert!(tokens.get("refresh_token").is_none(), "although offline_access was asked for");
    for (name, sample) in [
        ("id_token", include_str!("../../../tests/data/tokens/id_token.modular_sso.claims.json")),
        (
            "access_token",
            include_str!("../../../tests/data/tokens/access_token.modular_sso.claims.json"),
        ),
    ] {
        let token = string(&tokens, name);
        assert!(is_signed(&sandbox, token).await);
        let mut claims = claims(token);
        let sample: Value = serde_json::from_str(sample).unwrap();
        if let Some(nonce) = claims.as_object_mut().unwrap().remove("nonce") {
            assert_eq!(nonce, "n-0S6_WzA2Mj");
        }
        let members = |value: &Value| -> BTreeSet<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(members(&claims), members(&sample), "{name}");
        let subject = |value: &Value| -> Vec<usize> {
            string(value, "sub").split([';', '-']).map(str::len).collect()
        };
        assert_eq!(subject(&claims), subject(&sample), "conn_ and a UUID");
        assert!(string(&claims, "sub").starts_with("conn_70087756662964366;"));
    }
    let id_token = claims(string(&tokens, "id_token"));
    for (name, expected) in [
        ("email", "john@example.com"),
        ("preferred_username", "john@example.com"),
        ("given_name", "John"),
        ("family_name", "Doe"),
        ("oid", "org_70087756646187150"),
    ] {
        assert_eq!(id_token[name], expected);
    }
    assert_eq!(id_token["amr"], serde_json::json!([SIMULATOR]));

    // The same user always has the same subject, and no other user has it.
    let again = tokens_of(&sandbox, &sandbox.log_in(&url, "john@example.com").unwrap()).await;
    assert_eq!(claims(string(&again, "id_token"))["sub"], id_token["sub"]);
    let other = tokens_of(&sandbox, &sandbox.log_in(&url, "mina@example.org").unwrap()).await;
    assert_ne!(claims(string(&other, "id_token"))["sub"], id_token["sub"]);
    let drafted = claims(&sandbox.tokens().id_token("john@example.com", None));
    assert_eq!(drafted["sub"], id_token["sub"]);
}

#[tokio::test]
async fn without_a_selector_the_address_selects_the_identity_provider() {
    let sandbox = modular();
    let page = opened(&sandbox, &[]).await;
    assert!(text(&page).contains("Single sign-on") && !text(&page).contains("jane@acme.test"));
    let nowhere = [("transaction", &*transaction_of(&page)), ("email", "jane@nobody.test")];
    let rejected = post_form(&sandbox, "/login", &nowhere).await.unwrap();
    assert_eq!(rejected.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(text(&rejected).contains("Single sign-on is not available for this domain."));
    assert!(sandbox.users().get("jane@nobody.test").is_none(), "no user was created");

    let form = [("transaction", &*transaction_of(&page)), ("email", "Jane@acme.test")];
    let response = post_form(&sandbox, "/login", &form).await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let next = format!("{}{}", sandbox.environment_url(), location(&response));
    let page = get(&sandbox, &next, "").await;
    assert_eq!(identity_provider_of(&page), Some("Acme"));
    assert!(text(&page).contains("value=\"Jane@acme.test\""));
    let response = post_form(&sandbox, "/login", &form).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST, "the first transaction is over");

    let url = authorization_url(&sandbox, &[]);
    let tokens = tokens_of(&sandbox, &sandbox.log_in(&url, "gita@globex.test").unwrap()).await;
    assert_eq!(claims(string(&tokens, "id_token"))["amr"], serde_json::json!([ENTRA]));
    let lost = sandbox.log_in(&url, "peter@initech.test").unwrap_err();
    assert!(lost.reason.contains("Single sign-on is not available"), "{lost}");
}

#[tokio::test]
async fn modular_sso_keeps_the_browser_signed_in_until_the_logout() {
    let sandbox = modular();
    let page = opened(&sandbox, &[("connection_id", OKTA)]).await;
    let form = [("transaction", &*transaction_of(&page)), ("email", "jane@acme.test")];
    let response = post_form(&sandbox, "/login", &form).await.unwrap();
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let silently = async |changes: &[(&str, &str)]| {
        let back = get(&sandbox, &authorization_url(&sandbox, changes), cookie).await;
        query_value(location(&back), "error")
    };
    for selection in [&[("connection_id", OKTA)][..], &[("domain", "acme.test")], &[]] {
        assert_eq!(silently(selection).await, None, "{selection:?}");
    }
    let silent = |connection| [("connection_id", connection), ("prompt", "none")];
    assert_eq!(silently(&silent(OKTA)).await, None);
    assert_eq!(silently(&silent(ENTRA)).await.as_deref(), Some("login_required"));
    let out = get(&sandbox, &format!("{}/oidc/logout", sandbox.environment_url()), cookie).await;
    assert_eq!(out.status(), StatusCode::OK);
    assert_eq!(silently(&silent(OKTA)).await.as_deref(), Some("login_required"));
}

#[tokio::test]
async fn clients_of_resources_are_unaffected() {
    let sandbox = modular();
    let token = sandbox.tokens().resource_token(
        "jane@acme.test",
        &sandbox.mcp().resource_id(),
        &["todo:read"],
    );
    assert_eq!(claims(&token)["sub"], sandbox.users().get("jane@acme.test").unwrap().id);
}

#[tokio::test]
async fn an_organization_without_a_connection_is_an_error() {
    let sandbox = modular();
    let bearer = api::bearer(&sandbox).await;
    let target = format!("/organizations/{ACME}/connections/{OKTA}");
    api::call(&sandbox, http::Method::DELETE, &target, &bearer).await;
    let rejected = error_of(&sandbox, &[("organization_id", ACME)]).await;
    assert_eq!(rejected.as_deref(), Some("no_configured_connections"));
    let rejected = error_of(&sandbox, &[("connection_id", OKTA)]).await;
    assert_eq!(rejected.as_deref(), Some("invalid_connection_id"));
}
