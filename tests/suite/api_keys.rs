//! API keys on routes.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use http::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use tower_scalekit::api::api_keys::{CreatedApiKey, NewApiKey};
use tower_scalekit::http_client::{HttpClient, HttpClientError};
use tower_scalekit::require_token::{ApiKeyVerifier, TokenRejection};
use tower_scalekit::sandbox::{Endpoint, Fault, SandboxClient, SandboxUser};
use tower_scalekit::token::TokenError;
use tower_scalekit::{
    Principal, RequireAuth, RequireScope, RequireSession, RequireToken, Scalekit,
};

use crate::support::{
    JANE, JOHN, Reading as _, World, request, request_with_token, send, set_cookies, settle,
    token_layer,
};

struct Api {
    world: World,
    app: Router,
    verifier: ApiKeyVerifier,
}

impl Api {
    fn new() -> Self {
        Self::with(|token| token)
    }

    fn with(change: impl FnOnce(RequireToken) -> RequireToken) -> Self {
        Self::configured(|verifier| verifier, change)
    }

    fn configured(
        configure: impl FnOnce(ApiKeyVerifier) -> ApiKeyVerifier,
        change: impl FnOnce(RequireToken) -> RequireToken,
    ) -> Self {
        let world = World::new();
        let verifier = configure(ApiKeyVerifier::new(&world.sandbox.scalekit()));
        let token = change(token_layer(&world.sandbox).api_keys(&verifier));
        let layer = RequireAuth::new(RequireSession::new(&world.sessions), token);
        let admin = get(identity).layer(RequireScope::any_role(["admin"]));
        let app = Router::new().route("/", get(identity)).route("/admin", admin).route_layer(layer);
        Self { world, app, verifier }
    }

    fn user(&self, email: &str) -> SandboxUser {
        self.world.sandbox.users().get(email).unwrap()
    }

    /// A key of this user.
    async fn key(&self, email: &str) -> CreatedApiKey {
        let user = self.user(email);
        let mut new = NewApiKey::new(&user.organization_id);
        new.user_id = Some(user.id);
        self.created(&new).await
    }

    async fn created(&self, new: &NewApiKey) -> CreatedApiKey {
        self.world.sandbox.scalekit().api().api_keys().create(new).await.unwrap()
    }

    async fn invalidate(&self, key: &CreatedApiKey) {
        let api_keys = self.world.sandbox.scalekit().api().api_keys();
        api_keys.invalidate(&key.token_id).await.unwrap();
    }

    async fn call(&self, target: &str, credential: &str) -> Response<Bytes> {
        let credential = format!("Bearer {credential}");
        send(&self.app, request(Method::GET, target, &[("authorization", &credential)])).await
    }

    async fn status(&self, key: &CreatedApiKey) -> StatusCode {
        self.call("/", key.token.expose()).await.status()
    }

    /// Calls of the API.
    fn calls(&self) -> usize {
        self.world.sandbox.requests().count(Endpoint::Api)
    }
}

fn response(status: u16, body: &str) -> Fault {
    let response = Response::builder().status(status);
    Fault::Response(response.body(Bytes::from(body.to_owned())).unwrap())
}

async fn identity(principal: Principal) -> String {
    let organization = principal.organization_id().unwrap_or_default();
    format!("{:?} {} {organization}", principal.credential(), principal.subject())
}

#[tokio::test]
async fn a_key_has_the_organization_the_user_and_the_users_roles() {
    let api = Api::new();
    let jane = api.user(JANE);
    let key = api.key(JANE).await;
    let response = api.call("/admin", key.token.expose()).await;
    assert_eq!(response.text(), format!("ApiKey {} {}", jane.id, jane.organization_id));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let of_john = api.key(JOHN).await;
    let response = api.call("/admin", of_john.token.expose()).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);

    let mut new = NewApiKey::new(&jane.organization_id);
    // Claims of the app do not become roles or another subject.
    new.custom_claims = ["sub", "oid", "roles", "permissions", "scope"]
        .map(|name| (name.to_owned(), "admin".to_owned()))
        .into();
    let of_acme = api.created(&new).await;
    let response = api.call("/", of_acme.token.expose()).await;
    let expected = format!("ApiKey {} {}", of_acme.token_id, jane.organization_id);
    assert_eq!(response.text(), expected);
    let response = api.call("/admin", of_acme.token.expose()).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let principal = api.verifier.verify(of_acme.token.expose()).await.unwrap();
    assert_eq!(principal.raw_claims()["custom_claims"]["sub"], "admin");
    assert_eq!((principal.scopes().len(), principal.permissions().len()), (0, 0));
    assert_eq!(principal.expires_at().year(), 9999);
}

#[tokio::test]
async fn an_invalidated_key_is_rejected_within_two_seconds() {
    let api = Api::new();
    let key = api.key(JANE).await;
    assert_eq!(api.status(&key).await, StatusCode::OK);
    let calls = api.calls();
    assert_eq!(api.status(&key).await, StatusCode::OK);
    assert_eq!(api.calls(), calls, "cached");
    api.invalidate(&key).await;
    api.world.advance(2);
    let response = api.call("/", key.token.expose()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(response.header("www-authenticate").unwrap().contains("invalid_token"));
    let rejection = response.extensions().get::<TokenRejection>();
    let expected = TokenError::InvalidApiKey;
    assert!(
        matches!(rejection, Some(TokenRejection::InvalidToken { error, .. }) if *error == expected)
    );

    // A user who is removed from the organization has no keys there.
    let john = api.user(JOHN);
    let key = api.key(JOHN).await;
    assert_eq!(api.status(&key).await, StatusCode::OK);
    let memberships = api.world.sandbox.scalekit().api().memberships();
    memberships.delete(&john.organization_id, &john.id).await.unwrap();
    api.world.advance(2);
    assert_eq!(api.status(&key).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_expires_although_it_is_cached() {
    let api = Api::new();
    let mut new = NewApiKey::new(api.user(JANE).organization_id);
    new.expiry = Some(api.world.sandbox.clock().clock().now() + Duration::from_secs(1));
    let key = api.created(&new).await;
    assert_eq!(api.status(&key).await, StatusCode::OK);
    api.world.advance(1);
    assert_eq!(api.status(&key).await, StatusCode::UNAUTHORIZED);
}

/// An environment that validates keys a minute after their expiry.
struct Late(SandboxClient);

impl HttpClient for Late {
    fn send(
        &self,
        request: Request<Bytes>,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpClientError>> {
        Box::pin(async move {
            let is_validation = request.uri().path().ends_with("/tokens:validate");
            let mut response = self.0.send(request).await?;
            if is_validation {
                let mut body: Value = serde_json::from_slice(response.body()).unwrap();
                // The sandbox's clock is at 17:46:40.
                body["token_info"]["expiry"] = "2030-03-17T17:45:40Z".into();
                *response.body_mut() = body.to_string().into();
            }
            Ok(response)
        })
    }
}

#[tokio::test]
async fn an_expired_key_is_rejected_although_the_environment_validates_it() {
    let api = Api::new();
    let key = api.key(JANE).await;
    let sandbox = &api.world.sandbox;
    let secret = sandbox.client_secret().clone();
    let scalekit = Scalekit::builder(sandbox.environment_url(), sandbox.client_id(), secret)
        .http_client(Late(sandbox.client()))
        .clock(sandbox.clock().clock())
        .build()
        .unwrap();
    let verifier = ApiKeyVerifier::new(&scalekit);
    for advanced in [0, 0, 2] {
        api.world.advance(advanced);
        let error = verifier.verify(key.token.expose()).await.unwrap_err();
        assert_eq!(error, TokenError::Expired);
    }
    let token = RequireToken::for_audience(&scalekit, scalekit.client_id()).unwrap();
    let app = Router::new().route("/", get(identity)).route_layer(token.api_keys(&verifier));
    let credential = format!("Bearer {}", key.token.expose());
    let response = send(&app, request(Method::GET, "/", &[("authorization", &credential)])).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(response.header("www-authenticate").unwrap().contains("invalid_token"));
}

#[tokio::test]
async fn concurrent_requests_with_a_key_are_one_call() {
    let api = Api::new();
    let (key, other) = (api.key(JANE).await, api.key(JOHN).await);
    let calls = api.calls();
    let held = api.world.sandbox.faults().hold(Endpoint::Api);
    let requests = (0..20).map(|_| api.status(&key)).chain([api.status(&other)]);
    let responses = async {
        let release = async {
            settle().await;
            drop(held);
        };
        futures::join!(join_all(requests), release).0
    };
    assert!(responses.await.iter().all(|status| *status == StatusCode::OK));
    assert_eq!(api.calls() - calls, 2, "one of each key");

    api.invalidate(&key).await;
    api.world.advance(2);
    let calls = api.calls();
    for _ in 0..3 {
        assert_eq!(api.status(&key).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(api.calls() - calls, 1, "an invalid key is cached, too");
}

#[tokio::test]
async fn a_request_does_not_join_a_validation_that_began_before_the_key_was_invalidated() {
    let api = Api::new();
    let key = api.key(JANE).await;
    let calls = api.calls();
    let held = api.world.sandbox.faults().hold(Endpoint::Api);
    let later = async {
        settle().await;
        // Longer than a result is used.
        api.world.advance(2);
        let later = api.status(&key);
        let release = async {
            settle().await;
            assert_eq!(api.calls() - calls, 2, "it asks again");
            drop(held);
        };
        futures::join!(later, release).0
    };
    let (earlier, later) = futures::join!(api.status(&key), later);
    assert_eq!((earlier, later), (StatusCode::OK, StatusCode::OK));
}

#[tokio::test]
async fn without_a_cache_time_concurrent_requests_are_one_call_and_a_key_is_known() {
    let configure =
        |verifier: ApiKeyVerifier| verifier.cache_ttl(Duration::ZERO).max_validations(0);
    let api = Api::configured(configure, |token| token);
    let key = api.key(JANE).await;
    for _ in 0..2 {
        let calls = api.calls();
        let responses = join_all((0..3).map(|_| api.status(&key))).await;
        assert!(responses.iter().all(|status| *status == StatusCode::OK));
        assert_eq!(api.calls() - calls, 1);
        api.world.sandbox.clock().advance(Duration::from_millis(100));
    }
    let held = api.world.sandbox.faults().hold(Endpoint::Api);
    let known = async {
        let made_up = "a1B2".repeat(16);
        let all = futures::future::join(api.call("/", &made_up), api.status(&key));
        let calls = api.calls();
        let release = async {
            settle().await;
            assert_eq!(api.calls() - calls, 2, "made-up keys do not delay it");
            drop(held);
        };
        futures::join!(all, release).0
    };
    assert_eq!(known.await.1, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn made_up_keys_have_a_limit_and_do_not_delay_known_ones() {
    let api = Api::new();
    let known = api.key(JANE).await;
    assert_eq!(api.status(&known).await, StatusCode::OK);
    api.world.advance(2);
    let calls = api.calls();
    let held = api.world.sandbox.faults().hold(Endpoint::Api);
    let texts: Vec<_> = (0..70).map(|number| format!("{number:032}")).collect();
    let made_up = join_all(texts.iter().map(|text| api.call("/", text)));
    let release = async {
        // The clock advances when everything else waits.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(api.calls() - calls, 64 + 1);
        drop(held);
    };
    let (made_up, known, ()) = futures::join!(made_up, api.status(&known), release);
    assert_eq!(known, StatusCode::OK);
    let (rejected, beyond): (Vec<_>, Vec<_>) =
        made_up.iter().partition(|response| response.status() == StatusCode::UNAUTHORIZED);
    assert_eq!((rejected.len(), beyond.len()), (64, 6));
    for response in beyond {
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.header("retry-after").is_some());
    }
    // Such a result is not cached.
    assert_eq!(api.call("/", &texts[69]).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn while_the_environment_is_unavailable_the_response_is_503() {
    let api = Api::new();
    let key = api.key(JANE).await;
    for fault in [
        Fault::Unreachable,
        Fault::Html,
        Fault::Status(StatusCode::BAD_GATEWAY),
        Fault::Status(StatusCode::TOO_MANY_REQUESTS),
        Fault::Status(StatusCode::FORBIDDEN),
        Fault::Status(StatusCode::METHOD_NOT_ALLOWED),
        Fault::Status(StatusCode::REQUEST_TIMEOUT),
        Fault::Status(StatusCode::TOO_EARLY),
        // Of a gateway.
        response(404, ""),
        response(404, "{}"),
        response(404, "<html>"),
        response(400, r#"{"message":"no Route matched with those values"}"#),
        response(413, r#"{"code":413,"message":"too large"}"#),
    ] {
        api.world.advance(2);
        api.world.sandbox.faults().add(Endpoint::Api, fault.clone());
        let response = api.call("/", key.token.expose()).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{fault:?}");
        assert!(response.header("retry-after").is_some());
        assert_eq!(response.header("www-authenticate"), None);
        let calls = api.calls();
        assert_eq!(api.status(&key).await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(api.calls(), calls, "remembered for a second");
        api.world.sandbox.faults().clear(Endpoint::Api);
        api.world.advance(1);
        assert_eq!(api.status(&key).await, StatusCode::OK, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_validation_takes_at_most_five_seconds_with_the_access_token_that_it_needs() {
    let slow = Fault::Delay(Duration::from_secs(3));
    let api = Api::new();
    let key = api.key(JANE).await;
    api.world.sandbox.faults().add_times(Endpoint::Token, 1, slow.clone());
    api.world.sandbox.faults().add_times(Endpoint::Api, 1, slow.clone());
    let started = Instant::now();
    assert_eq!(api.status(&key).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    api.world.advance(2);
    assert_eq!(api.status(&key).await, StatusCode::OK);

    // The environment does not accept the access token any more, and another one is fetched.
    for fault in [response(401, r#"{"code":16}"#), slow.clone()] {
        api.world.sandbox.faults().add_times(Endpoint::Api, 1, fault);
    }
    api.world.sandbox.faults().add_times(Endpoint::Token, 1, slow);
    api.world.advance(2);
    let started = Instant::now();
    assert_eq!(api.status(&key).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(started.elapsed(), Duration::from_secs(5));
}

#[tokio::test]
async fn each_credential_is_verified_as_what_it_is() {
    let api = Api::new();
    let key = api.key(JANE).await;
    let mut jane = api.world.logged_in(JANE).await.at(&api.app);
    let calls = api.calls();
    let token = api.world.sandbox.tokens().access_token(JANE);
    assert!(api.call("/", &token).await.text().starts_with("BearerToken"));
    let cut = &key.token.expose()[..15];
    let dotted = format!("{}.a.b", key.token.expose());
    for wrong in [&key.token_id, &key.token_id.to_uppercase(), cut, &dotted, "a.b.c", "%"] {
        let credential = format!("Bearer {wrong}");
        let response = jane.send(Method::GET, "/", &[("authorization", &credential)]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{wrong}");
        assert_eq!(response.json()["error"], "invalid_token");
        assert!(set_cookies(response.headers()).is_empty());
    }
    assert_eq!(api.calls(), calls, "the API is not asked");
    let unknown = "a1B2".repeat(16);
    assert_eq!(api.call("/", &unknown).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(api.calls(), calls + 1);

    // Without the setting, a key is a malformed token.
    let layer = token_layer(&api.world.sandbox);
    let app: Router = Router::new().route("/", get(identity)).route_layer(layer);
    let response = send(&app, request_with_token("/", key.token.expose())).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(api.calls(), calls + 1);
}

#[tokio::test]
async fn a_key_is_no_recent_authentication() {
    let api = Api::with(|token| token.authenticated_within(Duration::from_secs(3600)));
    let key = api.key(JANE).await;
    let response = api.call("/", key.token.expose()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.json()["error"], "insufficient_user_authentication");
}

#[tokio::test]
async fn errors_and_debug_output_do_not_contain_the_key() {
    let api = Api::new();
    let key = api.key(JANE).await;
    let token = key.token.expose();
    let echo = format!(r#"{{"code":5,"message":"token {token} is bad","error_code":"{token}"}}"#);
    api.world.sandbox.faults().add(Endpoint::Api, response(404, &echo));
    let api_keys = api.world.sandbox.scalekit().api().api_keys();
    let error = api_keys.validate(token).await.unwrap_err();
    assert_eq!(error.response().unwrap().status, StatusCode::NOT_FOUND);
    for shown in [format!("{error} {error:?}"), format!("{key:?} {:?}", api.verifier)] {
        assert!(!shown.contains(&token[..20]), "{shown}");
    }
}
