//! The application's own login page ("bring your own auth").

use std::time::Duration;

use super::*;
use crate::api::ApiError;
use crate::api::auth_requests::{LoginRequest, LoginUser};

const LOGIN: &str = "https://app.test/login?from=mcp";

struct OwnLogin {
    sandbox: Sandbox,
    connection_id: String,
}

impl OwnLogin {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let id = sandbox.mcp().resource_id();
        assert_eq!(sandbox.mcp().set_own_login("res_1", LOGIN), None);
        for url in ["/login", "javascript:alert(1)"] {
            assert_eq!(sandbox.mcp().set_own_login(&id, url), None, "{url}");
        }
        let connection_id = sandbox.mcp().set_own_login(&id, LOGIN).unwrap();
        Self { sandbox, connection_id }
    }

    async fn client(&self) -> McpClient<'_> {
        McpClient::new(&self.sandbox, &self.sandbox.mcp().resource_id()).await
    }

    /// Begins a login, which the environment redirects to the application.
    async fn begin(&self, client: &McpClient<'_>) -> LoginRequest {
        let redirected = get(&self.sandbox, &client.url(&[]), "").await;
        assert_eq!(redirected.status(), StatusCode::FOUND);
        let url = Url::parse(location(&redirected)).unwrap();
        assert!(url.as_str().starts_with(&format!("{LOGIN}&login_request_id=lri_")), "{url}");
        LoginRequest::from_query(url.query().unwrap()).unwrap()
    }

    async fn set_user(&self, login: &LoginRequest, user: &LoginUser) -> Result<(), ApiError> {
        let api = self.sandbox.scalekit().api().auth_requests();
        api.set_user(&self.connection_id, &login.id, user).await
    }

    async fn callback(&self, state: &str) -> Response<Bytes> {
        let api = self.sandbox.scalekit().api().auth_requests();
        let url = api.callback_url(&self.connection_id, state).unwrap();
        get(&self.sandbox, url.as_str(), "").await
    }
}

#[tokio::test]
async fn the_user_is_the_one_whom_the_application_has_logged_in() {
    let world = OwnLogin::new();
    let sandbox = &world.sandbox;
    let client = world.client().await;
    // An unknown user, and one who is known by the address.
    for (sub, email) in [("your-id-of-ada", "ada@acme.test"), ("your-id-of-jane", "JANE@acme.test")]
    {
        let login = world.begin(&client).await;
        let mut user = LoginUser::new(sub, email);
        user.given_name = Some("Ada".to_owned());
        world.set_user(&login, &user).await.unwrap();
        let returned = world.callback(&login.state).await;
        let cookie = returned.headers()[header::SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split_once(';').unwrap().0;
        let page = format!("{}{}", sandbox.environment_url(), location(&returned));
        let page = get(sandbox, &page, cookie).await;
        assert!(text(&page).contains(&email.to_ascii_lowercase()), "{}", text(&page));
        let form = [("transaction", &*transaction_of(&page)), ("action", "allow")];
        let request = Request::post(format!("{}/consent", sandbox.environment_url()))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::COOKIE, cookie)
            .body(Bytes::from(encoded(&form)))
            .unwrap();
        let allowed = sandbox.client().send(request).await.unwrap();
        let code = query_value(location(&allowed), "code").unwrap();
        let (status, tokens) = client.exchange(&code, &[]).await;
        assert_eq!(status, StatusCode::OK, "{tokens}");
        let user = sandbox.users().get(email).unwrap();
        assert_eq!(claims(string(&tokens, "access_token"))["sub"], user.id.as_str());
        // The own page is used even if the browser is logged in at the environment.
        let again = get(sandbox, &client.url(&[]), cookie).await;
        assert!(location(&again).starts_with(LOGIN));
        let silent = get(sandbox, &client.url(&[("prompt", "none")]), cookie).await;
        assert_eq!(query_value(location(&silent), "error").unwrap(), "login_required");
    }
    assert_eq!(sandbox.users().get("ada@acme.test").unwrap().given_name, "Ada");
    let external_id = sandbox.users().get("ada@acme.test").unwrap().external_id;
    assert_eq!(external_id.as_deref(), Some("your-id-of-ada"));
}

#[tokio::test]
async fn a_user_is_known_by_the_id_of_the_application() {
    let world = OwnLogin::new();
    let client = world.client().await;
    for email in ["ada@acme.test", "lovelace@acme.test"] {
        let mut user = LoginUser::new("your-id-of-ada", email);
        user.name = Some("Ada King Lovelace".to_owned());
        let login = world.begin(&client).await;
        world.set_user(&login, &user).await.unwrap();
        assert_eq!(world.callback(&login.state).await.status(), StatusCode::FOUND);
    }
    let ada = world.sandbox.users().get("ada@acme.test").unwrap();
    assert_eq!((&*ada.given_name, &*ada.family_name), ("Ada", "King Lovelace"));
    assert!(world.sandbox.users().get("lovelace@acme.test").is_none());
}

#[tokio::test]
async fn a_login_works_once_for_ten_minutes_and_at_its_connection() {
    let world = OwnLogin::new();
    let client = world.client().await;
    let user = LoginUser::new("1", "jane@acme.test");
    let login = world.begin(&client).await;
    let api = world.sandbox.scalekit().api().auth_requests();
    for (connection, id) in [("conn_1", &*login.id), (&*world.connection_id, "lri_1")] {
        let unknown = api.set_user(connection, id, &user).await.unwrap_err();
        assert!(matches!(unknown, ApiError::NotFound(_)), "{connection} {id}: {unknown}");
    }
    let resource = world.sandbox.mcp().resource_id();
    let unknown = api.set_user(&resource, &login.id, &user).await.unwrap_err();
    assert!(matches!(unknown, ApiError::InvalidRequest(_)), "{unknown}");
    let long = "1".repeat(256);
    for (sub, email) in
        [("", "jane@acme.test"), (&*long, "jane@acme.test"), ("1", ""), ("1", "jane")]
    {
        let invalid = world.set_user(&login, &LoginUser::new(sub, email)).await.unwrap_err();
        assert!(matches!(invalid, ApiError::InvalidRequest(_)), "{sub} {email}");
    }
    // Before the user is known, with another state, and at another connection.
    let early = world.begin(&client).await;
    let elsewhere = api.callback_url("conn_1", &login.state).unwrap();
    world.set_user(&login, &user).await.unwrap();
    for rejected in [
        world.callback(&early.state).await,
        world.callback("state").await,
        world.callback("").await,
        get(&world.sandbox, elsewhere.as_str(), "").await,
    ] {
        assert_eq!(rejected.status(), StatusCode::BAD_REQUEST);
        assert!(!rejected.headers().contains_key(header::SET_COOKIE));
    }
    assert_eq!(world.callback(&login.state).await.status(), StatusCode::FOUND);
    let again = world.callback(&login.state).await;
    assert!(text(&again).contains("invalid_state"), "{}", text(&again));

    let late = world.begin(&client).await;
    world.set_user(&late, &user).await.unwrap();
    world.sandbox.clock().advance(Duration::from_secs(600));
    assert!(text(&world.callback(&late.state).await).contains("invalid_state"));
    let expired = world.set_user(&late, &user).await.unwrap_err();
    assert!(matches!(expired, ApiError::NotFound(_)), "{expired}");
}
